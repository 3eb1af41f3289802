//! Why a pass runs.
//!
//! A trigger says *look again at this ClusterPullSecret*, nothing more: it carries no secret and no
//! instruction. Losing one is harmless, the next repairs it; so is one too many.

/// What made a pass run. The names of the variants are told in statuses and metrics.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::Display,
    strum::IntoStaticStr,
    strum::VariantNames,
)]
pub enum Trigger {
    /// The process began to lead.
    Start,
    /// The ClusterPullSecret is new, or its spec changed.
    Spec,
    /// Somebody set the annotation `regcred.dev/rotate`.
    Annotation,
    /// The refresh interval is over, or a key that could not be read is tried again.
    Refresh,
    /// Something in the cluster changed: a namespace, a ServiceAccount, a Secret. Nothing is read.
    Drift,
}

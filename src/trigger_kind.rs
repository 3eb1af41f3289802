//! The kinds of trigger that start a reconciliation, for triggers, metrics and statuses alike.

/// The reason why a reconciliation runs. Statuses show the names of the variants, metrics the same in `snake_case`; of
/// triggers that are merged into one reconciliation the first of this list is reported.
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
    strum::VariantArray,
)]
pub enum Trigger {
    /// The process became the leader.
    Start,
    /// The ClusterPullSecret is new, or its spec changed.
    Spec,
    /// The annotation `regcred.dev/rotate` was set.
    Annotation,
    /// A message of an SQS queue named a secret.
    Sqs,
    /// A request to the webhook.
    Webhook,
    /// A store answered a poll with another version than the known one.
    Poll,
    /// The refresh interval is over, or a key that could not be read is retried.
    Refresh,
    /// Something in the cluster changed: a namespace, a ServiceAccount, a Secret. No store is read.
    Drift,
}

impl Trigger {
    /// The triggers that external sources send.
    pub const EXTERNAL: [Self; 3] = [Self::Sqs, Self::Webhook, Self::Poll];
}

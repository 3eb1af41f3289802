//! The reasons of the conditions: three closed lists, each reason with what it means.
//!
//! The README shows them as a table that is made from here. A report carries the same values.

use std::fmt::{self, Display, Write as _};

use serde::{Deserialize, Serialize, Serializer};
use strum::{EnumMessage, IntoEnumIterator};

use super::{ConditionStatus, ConditionType};

/// Why a condition holds or not. With the reason goes its condition, and whether it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Of `Ready`.
    Ready(ReadyReason),
    /// Of `Fetched`.
    Fetched(FetchedReason),
    /// Of `Applied`.
    Applied(AppliedReason),
}

/// Why a ClusterPullSecret is ready or not.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumIter,
    strum::EnumMessage,
    strum::IntoStaticStr,
)]
pub enum ReadyReason {
    /// Every registry was read, and every namespace holds what it should.
    InSync,
    /// The first pass over this spec is under way.
    Progressing,
    /// `suspend` is true: nothing is read and nothing is written.
    Suspended,
    /// The spec holds a mistake, which the message tells: mend it. What the cluster has stays.
    Invalid,
    /// A registry could not be read: see the condition `Fetched`. What the cluster has of it stays.
    FetchFailed,
    /// A namespace does not hold what it should: see the condition `Applied` and `failures`.
    ApplyFailed,
    /// The ClusterPullSecret is being deleted, and its Secrets with it unless `deletion` is `Retain`.
    Deleting,
}

/// Why the credentials of all registries could be read or not: the first that could not.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
    strum::EnumMessage,
    strum::IntoStaticStr,
)]
pub enum FetchedReason {
    /// All were read.
    Fetched,
    /// The store has no such key.
    NotFound,
    /// The key is there, but its current version is deleted or destroyed.
    Deleted,
    /// The store refused regcred; the message says which right is missing.
    Denied,
    /// The `keys` of the store do not admit this key, so it was not asked.
    NotAllowed,
    /// The key or a setting of the store can never be right.
    Misconfigured,
    /// The Vault is sealed.
    Sealed,
    /// The store asks for fewer requests.
    Throttled,
    /// The value has none of the known shapes.
    Malformed,
    /// The store did not answer in time.
    TimedOut,
    /// The store could not be reached, or answered that it is broken.
    Unavailable,
}

/// Why all namespaces hold what they should or not: the first that does not.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
    strum::EnumMessage,
    strum::IntoStaticStr,
)]
pub enum AppliedReason {
    /// All do.
    Applied,
    /// The first pass over this spec is under way.
    Progressing,
    /// A Secret of that name is there that regcred did not make, or another ClusterPullSecret has it.
    Conflict,
    /// The Secret has a type that the kubelet does not read as a docker config.
    WrongType,
    /// The Secret is immutable.
    Immutable,
    /// No registry could be read, and no earlier credential is left in the cluster.
    NoCredential,
    /// A ServiceAccount that the spec names is not there: `default` in a namespace, or another one anywhere.
    ServiceAccountMissing,
    /// The spec selects no namespace any more. What looks like a typo removes nothing.
    NothingSelected,
    /// A `ResourceQuota` of the namespace is used up.
    QuotaExceeded,
    /// An admission webhook or policy refused the write.
    AdmissionDenied,
    /// RBAC refused the request: is the `secretName` in the `resourceNames` of regcred's role?
    Forbidden,
    /// The API server does not know regcred's token.
    Unauthorized,
    /// The API server refused the object.
    Invalid,
    /// Other writers kept changing the object.
    Changed,
    /// The object was deleted meanwhile.
    NotFound,
    /// The object came into being meanwhile.
    AlreadyExists,
    /// The API server did not answer in time.
    TimedOut,
    /// The API server could not be reached, or is overloaded.
    Unavailable,
    /// Somebody keeps undoing what regcred does; it is put back with growing pauses.
    Contested,
    /// Another replica leads now, so that the write was not sent.
    NotLeading,
    /// regcred was stopped before it came to the namespace.
    Interrupted,
}

impl Reason {
    /// The condition it is a reason of.
    #[must_use]
    pub fn condition(self) -> ConditionType {
        match self {
            Self::Ready(_) => ConditionType::Ready,
            Self::Fetched(_) => ConditionType::Fetched,
            Self::Applied(_) => ConditionType::Applied,
        }
    }

    /// Whether the condition holds for this reason.
    #[must_use]
    pub fn status(self) -> ConditionStatus {
        match self {
            Self::Ready(ReadyReason::InSync)
            | Self::Fetched(FetchedReason::Fetched)
            | Self::Applied(AppliedReason::Applied) => ConditionStatus::True,
            Self::Ready(ReadyReason::Progressing) | Self::Applied(AppliedReason::Progressing) => {
                ConditionStatus::Unknown
            }
            Self::Ready(_) | Self::Fetched(_) | Self::Applied(_) => ConditionStatus::False,
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let ready = ReadyReason::iter().map(Self::Ready);
        ready.chain(FetchedReason::iter().map(Self::Fetched)).chain(AppliedReason::iter().map(Self::Applied))
    }

    fn meaning(self) -> &'static str {
        let documentation = match &self {
            Self::Ready(reason) => reason.get_documentation(),
            Self::Fetched(reason) => reason.get_documentation(),
            Self::Applied(reason) => reason.get_documentation(),
        };
        documentation.unwrap_or_default()
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(reason) => reason.fmt(f),
            Self::Fetched(reason) => reason.fmt(f),
            Self::Applied(reason) => reason.fmt(f),
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<ReadyReason> for Reason {
    fn from(reason: ReadyReason) -> Self {
        Self::Ready(reason)
    }
}

impl From<FetchedReason> for Reason {
    fn from(reason: FetchedReason) -> Self {
        Self::Fetched(reason)
    }
}

impl From<AppliedReason> for Reason {
    fn from(reason: AppliedReason) -> Self {
        Self::Applied(reason)
    }
}

/// Every reason of every condition as a Markdown table, for people.
#[must_use]
pub fn reasons() -> String {
    let mut table = "| Condition | Status | Reason | Meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for reason in Reason::all() {
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| `{}` | {} | `{reason}` | {} |",
            reason.condition(),
            reason.status(),
            reason.meaning()
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_meaning_and_stands_in_the_table() {
        let table = reasons();
        for reason in Reason::all() {
            assert!(!reason.meaning().is_empty(), "{reason}");
            assert!(table.contains(&format!(
                "| `{}` | {} | `{reason}` |",
                reason.condition(),
                reason.status()
            )));
        }
        assert_eq!(table.lines().count(), 2 + Reason::all().count());
    }
}

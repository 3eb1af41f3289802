//! The reasons of the conditions: three closed lists, each reason with its meaning.
//!
//! `docs/reference/status.md` has a table generated from these lists. Reports carry the same values.

use std::fmt::{self, Display, Write as _};

use serde::{Deserialize, Serialize, Serializer};
use strum::{EnumMessage, IntoEnumIterator};

use super::condition::{ConditionStatus, ConditionType};

/// The reason of a condition, which determines the type and the status of the condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A reason of `Ready`.
    Ready(ReadyReason),
    /// A reason of `Fetched`.
    Fetched(FetchedReason),
    /// A reason of `Applied`.
    Applied(AppliedReason),
}

/// A reason of the condition `Ready`.
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
    /// Every registry was read, and every namespace is in sync.
    InSync,
    /// The first reconciliation of this spec is in progress.
    Progressing,
    /// `suspend` is true: nothing is read and nothing is written.
    Suspended,
    /// The spec has an error, which the message names: fix it. Existing Secrets are kept.
    Invalid,
    /// A registry could not be read: see the condition `Fetched`. Its existing credentials are kept, unless `hosts` of the store do not admit it.
    FetchFailed,
    /// A namespace is not in sync: see the condition `Applied` and `failures`.
    ApplyFailed,
    /// The ClusterPullSecret is being deleted, and its Secrets with it unless `deletion` is `Retain`.
    Deleting,
}

/// A reason of the condition `Fetched`: that of the first registry that could not be read.
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
    /// All registries were read.
    Fetched,
    /// The store does not have the key.
    NotFound,
    /// The key exists, but its current version is deleted or destroyed.
    Deleted,
    /// The store denied access; the message names the missing permission.
    Denied,
    /// The `keys` of the store do not admit the key, or its `hosts` the registry, so the key was not read.
    NotAllowed,
    /// The key or a setting of the store is invalid.
    Misconfigured,
    /// The Vault is sealed.
    Sealed,
    /// The store limits the rate of requests.
    Throttled,
    /// The value, or an entry of its docker config, has none of the supported formats, or cannot be a password.
    Malformed,
    /// The store did not answer in time.
    TimedOut,
    /// The store could not be reached, or reported an internal error.
    Unavailable,
    /// The store answers an older version than before: a replica that lags behind, or a restored snapshot. The older version is taken after five minutes.
    OlderVersion,
    /// The credential has expired, and the store issued no other one; the message has the failure of the last read.
    Expired,
}

/// A reason of the condition `Applied`: that of the first namespace that is not in sync.
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
    /// All namespaces are in sync.
    Applied,
    /// The first reconciliation of this spec is in progress.
    Progressing,
    /// A Secret of that name exists that regcred did not create, or that another ClusterPullSecret owns.
    Conflict,
    /// The type of the Secret is not one that the kubelet reads as a docker config.
    WrongType,
    /// The Secret is immutable.
    Immutable,
    /// The Secret holds a later version than the store answers. The older version is written after five minutes, by `rotate` only with `--accept-older`.
    OlderVersion,
    /// A registry could not be read, and its entry is missing from the Secret, and its last good value is older than the version that the Secret names: the entry is written when the store can be read.
    OlderLastGood,
    /// No registry could be read, and the cluster holds no earlier credential.
    NoCredential,
    /// The credentials exceed the capacity of a Secret, so nothing new is written.
    TooLarge,
    /// A store does not admit the namespace, so no credential of the store is in it.
    NotAdmitted,
    /// A key of the namespace could not be read, as the message explains; its existing entry is kept.
    FetchFailed,
    /// A ServiceAccount of the spec does not exist: `default` in one namespace, or another one in all of them.
    ServiceAccountMissing,
    /// The spec no longer selects any namespace. As this may be a typo, nothing is pruned.
    NothingSelected,
    /// A `ResourceQuota` of the namespace is exhausted.
    QuotaExceeded,
    /// An admission webhook or policy denied the write.
    AdmissionDenied,
    /// RBAC denied the request: check that `secretName` is in the `resourceNames` of regcred's role.
    Forbidden,
    /// The API server rejected regcred's token.
    Unauthorized,
    /// The API server rejected the object as invalid.
    Invalid,
    /// Every write conflicted with those of other clients.
    Changed,
    /// The object was deleted by another client.
    NotFound,
    /// The object was created by another client.
    AlreadyExists,
    /// The API server did not answer in time.
    TimedOut,
    /// The API server could not be reached, or is overloaded.
    Unavailable,
    /// Another writer keeps reverting regcred's changes; they are restored with increasing back-off.
    Contested,
    /// Another replica became leader, so the write was not sent.
    NotLeading,
    /// regcred stopped before it reached the namespace.
    Interrupted,
    /// A last good value has no room in regcred's own namespace, or access to its Secret is denied: raise `lastGoodShards` or apply the Role, or it is lost at a restart.
    NotRecorded,
}

impl FetchedReason {
    /// Returns true if a read that failed for this reason may succeed later by itself.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Sealed | Self::Throttled | Self::TimedOut | Self::Unavailable | Self::Expired)
    }
}

impl Reason {
    /// Returns the type of the condition.
    #[must_use]
    pub fn condition(self) -> ConditionType {
        match self {
            Self::Ready(_) => ConditionType::Ready,
            Self::Fetched(_) => ConditionType::Fetched,
            Self::Applied(_) => ConditionType::Applied,
        }
    }

    /// Returns the status of the condition.
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

/// Returns every reason of every condition as a Markdown table.
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
    fn every_reason_has_a_meaning_in_the_table() {
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

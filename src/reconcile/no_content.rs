//! The reasons why a namespace gets no content.

use crate::cluster::error::Error;
use crate::docker_config::capacity::TooLarge;
use crate::manifest::status::reason::AppliedReason;
use crate::object_name::SecretName;
use crate::rotator::OlderLastGood;

/// The reason why a namespace gets no content. Its Secret, where there is one, stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoContent {
    /// No registry has a credential, neither a fetched one nor a last good one.
    #[error("no registry could be read, and no earlier credential is left in the cluster")]
    NoCredential,
    /// No Secret can hold what was read, which is a [problem](super::desired_secret::DesiredSecret::problem) of the ClusterPullSecret
    /// as a whole.
    #[error("the credentials of the ClusterPullSecret are too large for a Secret, so they are not written")]
    TooLarge,
    /// No Secret can hold what was read together with the entries that this namespace alone has.
    #[error("with the entries of this namespace alone {0}")]
    TooLargeHere(TooLarge),
    /// No registry could be read, and the last good value is older than the one that the Secret names.
    #[error(transparent)]
    OlderLastGood(Box<OlderLastGood>),
    /// The Secret has to be read before anything is decided, and the request failed.
    #[error(
        "cannot read Secret {secret_name}, so it was not compared: {}. {}",
        .error.without_fix(),
        .error.fix().unwrap_or("Run again")
    )]
    Unread {
        /// The name of the Secret.
        secret_name: SecretName,
        /// The failure of the request.
        error: Error,
    },
}

impl NoContent {
    /// Returns the reason in a report.
    #[must_use]
    pub fn reason(&self) -> AppliedReason {
        match self {
            Self::NoCredential => AppliedReason::NoCredential,
            Self::TooLarge | Self::TooLargeHere(_) => AppliedReason::TooLarge,
            Self::OlderLastGood(_) => AppliedReason::OlderLastGood,
            Self::Unread { error, .. } => error.applied_reason().unwrap_or(AppliedReason::Unavailable),
        }
    }
}

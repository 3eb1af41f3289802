//! The reasons in the report of a target.
//!
//! Pure. Every reason is a value of a closed list and is written by its name.

use std::fmt::{self, Display};

use serde::{Serialize, Serializer};

use crate::cluster::error::Error;
use crate::manifest::status::reason::AppliedReason;

/// The reason why a target was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetReason {
    /// The target failed or was refused: a reason of the condition `Applied`.
    Applied(AppliedReason),
    /// The namespace is being deleted, so nothing was sent.
    Terminating,
    /// The namespace began to terminate while a request was in flight.
    NamespaceTerminating,
}

impl TargetReason {
    /// Returns the reason of the condition `Applied`; `None` where the target did not fail.
    #[must_use]
    pub fn applied(self) -> Option<AppliedReason> {
        match self {
            Self::Applied(reason) => Some(reason),
            Self::Terminating | Self::NamespaceTerminating => None,
        }
    }

    /// Returns the name of the reason.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied(reason) => reason.into(),
            Self::Terminating => "Terminating",
            Self::NamespaceTerminating => "NamespaceTerminating",
        }
    }
}

impl From<AppliedReason> for TargetReason {
    fn from(reason: AppliedReason) -> Self {
        Self::Applied(reason)
    }
}

impl From<&Error> for TargetReason {
    fn from(error: &Error) -> Self {
        error.applied_reason().map_or(Self::NamespaceTerminating, Self::Applied)
    }
}

impl Display for TargetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for TargetReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::{IntoEnumIterator, VariantNames};

    use super::*;
    use crate::cluster::error::{Detail, ErrorReason};
    use crate::manifest::status::reason::FetchedReason;
    use crate::provider;

    #[test]
    fn cluster_error_has_the_reason_of_its_name() {
        let errors = [
            Error::Changed(Detail::default()),
            Error::NotFound(Detail::default()),
            Error::AlreadyExists(Detail::default()),
            Error::NamespaceTerminating,
            Error::QuotaExceeded(Detail::default()),
            Error::AdmissionDenied(Detail::default()),
            Error::Forbidden(Detail::default()),
            Error::Unauthorized(Detail::default()),
            Error::Invalid(Detail::default()),
            Error::NotLeading,
            Error::TimedOut,
            Error::Unavailable(Detail::default()),
        ];
        // A list that expired is read again.
        assert_eq!(errors.len(), <ErrorReason as strum::VariantArray>::VARIANTS.len() - ["Expired"].len());
        for error in errors {
            assert_eq!(TargetReason::from(&error).as_str(), error.reason().to_string());
        }
    }

    #[test]
    fn store_errors_and_success_are_all_fetched_reasons() {
        let errors = provider::ErrorKind::VARIANTS.iter().map(ToString::to_string);
        let reasons: BTreeSet<_> = errors.chain([FetchedReason::Fetched.to_string()]).collect();
        assert_eq!(reasons, FetchedReason::iter().map(|reason| reason.to_string()).collect());
    }
}

//! The errors of requests to the API server, by the decisions that callers take on them.
//!
//! In goes what the client returns, out comes an [`Error`] with a message of regcred's own. A message of the
//! API server is never quoted: admission policies and webhooks write into it, and may quote the object.

use std::time::Duration;

use kube::runtime::watcher;

use crate::manifest::status::reason::AppliedReason;

mod admission;
mod connection;
mod detail;
mod proxy;
mod status;

pub use connection::connection_failure;
pub use detail::Detail;
pub use proxy::proxy_failure;

/// The timeout of one request, the retries of the client included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why a request to the API server failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, strum::EnumDiscriminants)]
#[strum_discriminants(
    name(ErrorReason),
    doc = "The variants of [`Error`].",
    derive(strum::Display, strum::VariantArray)
)]
pub enum Error {
    /// Another client wrote the object since it was read: read it again and decide again.
    #[error("the object was changed by another writer: {0}")]
    Changed(Detail),
    /// The object does not exist (any more).
    #[error("not found: {0}")]
    NotFound(Detail),
    /// The object was created since it was read.
    #[error("already exists: {0}")]
    AlreadyExists(Detail),
    /// The continue token of a list is too old: list again.
    #[error("the list expired")]
    Expired,
    /// The namespace is being deleted. Not a failure.
    #[error("the namespace is terminating")]
    NamespaceTerminating,
    /// A `ResourceQuota` of the namespace is exceeded.
    #[error("{0}")]
    QuotaExceeded(Detail),
    /// An admission webhook or policy rejected the write.
    #[error("{0}")]
    AdmissionDenied(Detail),
    /// RBAC, or another authorizer, rejected the request.
    #[error("{0}")]
    Forbidden(Detail),
    /// The API server did not accept the credentials.
    #[error("{0}")]
    Unauthorized(Detail),
    /// The API server rejected the object or the request for another reason.
    #[error("{0}")]
    Invalid(Detail),
    /// This process does not lead: the write was not sent, or leadership ended before the answer.
    #[error("this replica does not lead")]
    NotLeading,
    /// No answer in time.
    #[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    TimedOut,
    /// The API server cannot be reached, or reports a failure or overload.
    #[error("the API server is unavailable: {0}")]
    Unavailable(Detail),
}

impl Error {
    /// Describes a response that broke off or could not be read.
    pub(super) fn unavailable(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Unavailable(Detail::from_own_words(connection::describe(error)))
    }

    /// Returns the variant without its message, for logs.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        self.into()
    }

    /// Returns the fix, if regcred knows one.
    #[must_use]
    pub fn fix(&self) -> Option<&str> {
        self.detail()?.fix()
    }

    /// Returns the error without its fix, for a caller that words a better one.
    #[must_use]
    pub fn without_fix(&self) -> Self {
        self.clone().map_detail(Detail::without_fix)
    }

    /// Returns the error with another fix.
    #[must_use]
    pub fn with_fix(self, fix: impl Into<Box<str>>) -> Self {
        let fix = fix.into();
        self.map_detail(|detail| detail.with_fix(fix))
    }

    /// Returns the resource that the request did not find or that another writer changed: `namespaces`.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        self.detail()?.resource()
    }

    fn detail(&self) -> Option<&Detail> {
        match self {
            Self::Changed(detail)
            | Self::NotFound(detail)
            | Self::AlreadyExists(detail)
            | Self::QuotaExceeded(detail)
            | Self::AdmissionDenied(detail)
            | Self::Forbidden(detail)
            | Self::Unauthorized(detail)
            | Self::Invalid(detail)
            | Self::Unavailable(detail) => Some(detail),
            Self::Expired | Self::NamespaceTerminating | Self::NotLeading | Self::TimedOut => None,
        }
    }

    fn map_detail(mut self, map: impl FnOnce(Detail) -> Detail) -> Self {
        match &mut self {
            Self::Changed(detail)
            | Self::NotFound(detail)
            | Self::AlreadyExists(detail)
            | Self::QuotaExceeded(detail)
            | Self::AdmissionDenied(detail)
            | Self::Forbidden(detail)
            | Self::Unauthorized(detail)
            | Self::Invalid(detail)
            | Self::Unavailable(detail) => *detail = map(std::mem::take(detail)),
            Self::Expired | Self::NamespaceTerminating | Self::NotLeading | Self::TimedOut => {}
        }
        self
    }

    /// Returns the reason of a target with a failed request; `None` where its namespace is terminating, which
    /// is no failure.
    #[must_use]
    pub fn applied_reason(&self) -> Option<AppliedReason> {
        Some(match self {
            Self::NamespaceTerminating => return None,
            Self::Changed(_) => AppliedReason::Changed,
            Self::NotFound(_) => AppliedReason::NotFound,
            Self::AlreadyExists(_) => AppliedReason::AlreadyExists,
            Self::QuotaExceeded(_) => AppliedReason::QuotaExceeded,
            Self::AdmissionDenied(_) => AppliedReason::AdmissionDenied,
            Self::Forbidden(_) => AppliedReason::Forbidden,
            Self::Unauthorized(_) => AppliedReason::Unauthorized,
            Self::Invalid(_) => AppliedReason::Invalid,
            Self::NotLeading => AppliedReason::NotLeading,
            Self::TimedOut => AppliedReason::TimedOut,
            // A list that expired is read again.
            Self::Expired | Self::Unavailable(_) => AppliedReason::Unavailable,
        })
    }
}

impl From<&watcher::Error> for Error {
    fn from(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => Self::from(error),
            watcher::Error::WatchError(status) => Self::from(status.as_ref()),
            watcher::Error::NoResourceVersion => {
                Self::Invalid("the API server sent a list without a resourceVersion".into())
            }
        }
    }
}

/// Waits for one request, at most [`REQUEST_TIMEOUT`]; a client with kube's own retries on retries 429, 503
/// and 504 within that time.
pub async fn with_timeout<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| Error::from(&error)),
        Err(_) => Err(Error::TimedOut),
    }
}

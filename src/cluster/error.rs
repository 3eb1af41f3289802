//! The errors of requests to the API server, by the decisions that callers take on them.

use std::time::Duration;

use kube::core::Status;

use crate::manifest::status::reason::AppliedReason;

/// The timeout of one request, the retries of the client included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why a request to the API server failed. Messages are the API server's own, which never
/// quotes a Secret's data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, strum::EnumDiscriminants)]
#[strum_discriminants(
    name(ErrorReason),
    doc = "The variants of [`Error`].",
    derive(strum::Display, strum::VariantArray)
)]
pub enum Error {
    /// Another client wrote the object since it was read: read it again and decide again.
    #[error("the object was changed by another writer: {0}")]
    Changed(String),
    /// The object does not exist (any more).
    #[error("not found: {0}")]
    NotFound(String),
    /// The object was created since it was read.
    #[error("already exists: {0}")]
    AlreadyExists(String),
    /// The continue token of a list is too old: list again.
    #[error("the list expired")]
    Expired,
    /// The namespace is being deleted. Not a failure.
    #[error("the namespace is terminating")]
    NamespaceTerminating,
    /// A `ResourceQuota` of the namespace is exceeded.
    #[error("{0}")]
    QuotaExceeded(String),
    /// An admission webhook or policy rejected the write.
    #[error("{0}")]
    AdmissionDenied(String),
    /// RBAC, or another authorizer, rejected the request.
    #[error("{0}")]
    Forbidden(String),
    /// The API server did not accept the credentials.
    #[error("{0}")]
    Unauthorized(String),
    /// The API server rejected the object or the request for another reason.
    #[error("{0}")]
    Invalid(String),
    /// This process does not lead: the write was not sent, or leadership ended before the answer.
    #[error("this replica does not lead")]
    NotLeading,
    /// No answer in time.
    #[error("no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    TimedOut,
    /// The API server cannot be reached, or reports a failure or overload.
    #[error("the API server is unavailable: {0}")]
    Unavailable(String),
}

impl Error {
    /// Returns the variant without its message, for logs.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        self.into()
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

/// Waits for one request, at most [`REQUEST_TIMEOUT`]; a client with kube's own retries on retries 429, 503
/// and 504 within that time.
pub async fn with_timeout<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| Error::from(&error)),
        Err(_) => Err(Error::TimedOut),
    }
}

impl From<&kube::Error> for Error {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::from(status.as_ref()),
            // regcred's own layer under the client may have answered in place of the API server.
            kube::Error::Service(cause) => {
                cause.downcast_ref().cloned().unwrap_or_else(|| Self::Unavailable(innermost_cause(error)))
            }
            other => Self::Unavailable(innermost_cause(other)),
        }
    }
}

impl From<&Status> for Error {
    fn from(status: &Status) -> Self {
        let message = status.message.clone();
        match status.code {
            401 => Self::Unauthorized(message),
            403 if has_cause(status, "NamespaceTerminating") => Self::NamespaceTerminating,
            403 if message.contains("exceeded quota") => Self::QuotaExceeded(message),
            _ if is_admission(&message) => Self::AdmissionDenied(message),
            403 => Self::Forbidden(message),
            404 => Self::NotFound(message),
            409 if status.is_already_exists() => Self::AlreadyExists(message),
            409 => Self::Changed(message),
            410 => Self::Expired,
            429 | 500.. => Self::Unavailable(message),
            _ => Self::Invalid(message),
        }
    }
}

fn has_cause(status: &Status, reason: &str) -> bool {
    status.details.iter().flat_map(|details| &details.causes).any(|cause| cause.reason == reason)
}

/// Returns true if admission rejected the write. Webhooks choose their own status code, but the API server's
/// words around their message are fixed.
fn is_admission(message: &str) -> bool {
    message.contains("admission webhook") || message.contains("ValidatingAdmissionPolicy")
}

/// Returns the innermost cause, which names the failure of the connection; the layers above it only say
/// that there was one.
fn innermost_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(status: serde_json::Value, reason: &str) {
        let status: Status = serde_json::from_value(status).expect("a Status");
        assert_eq!(Error::from(&status).reason().to_string(), reason);
    }

    fn failure(code: u16, reason: &str, message: &str) -> serde_json::Value {
        json!({"code": code, "reason": reason, "message": message})
    }

    #[test]
    fn every_status_maps_to_an_error() {
        check(failure(409, "Conflict", "the object has been modified"), "Changed");
        check(failure(409, "AlreadyExists", r#"secrets "regcred" already exists"#), "AlreadyExists");
        check(failure(404, "NotFound", r#"secrets "regcred" not found"#), "NotFound");
        check(failure(410, "Expired", "the provided continue parameter is too old"), "Expired");
        check(
            failure(403, "Forbidden", r#"secrets "regcred" is forbidden: exceeded quota: q"#),
            "QuotaExceeded",
        );
        check(failure(403, "Forbidden", r#"secrets is forbidden: User "x" cannot list"#), "Forbidden");
        check(failure(401, "Unauthorized", "Unauthorized"), "Unauthorized");
        check(
            failure(400, "BadRequest", r#"admission webhook "x" denied the request: no"#),
            "AdmissionDenied",
        );
        check(failure(422, "Invalid", r#"Secret "regcred" is invalid"#), "Invalid");
        check(failure(429, "TooManyRequests", "slow down"), "Unavailable");
        check(failure(500, "InternalError", "etcd"), "Unavailable");
        let mut terminating = failure(403, "Forbidden", "unable to create new content");
        terminating["details"] = json!({"causes": [{"reason": "NamespaceTerminating", "message": "x"}]});
        check(terminating, "NamespaceTerminating");
    }

    #[test]
    fn own_error_below_the_client_is_kept() {
        let error = kube::Error::Service(Error::NotLeading.into());
        assert_eq!(Error::from(&error), Error::NotLeading);
        let error = kube::Error::Service("connection refused".into());
        assert_eq!(Error::from(&error), Error::Unavailable("connection refused".to_owned()));
    }
}

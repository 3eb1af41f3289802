//! Classification of SQS errors, and a log of failures that reports each once.
//!
//! Pure. Quotes no word of a response.

use std::error::Error as StdError;

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

use crate::provider::aws::{self, ClientContext, ErrorResponse};
use crate::provider::{Denied, ErrorKind};

/// The permission that a request to the queue takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub(super) enum Permission {
    /// Receive messages.
    #[strum(to_string = "sqs:ReceiveMessage")]
    Receive,
    /// Delete messages.
    #[strum(to_string = "sqs:DeleteMessage")]
    Delete,
    /// Change the visibility timeout of messages.
    #[strum(to_string = "sqs:ChangeMessageVisibility")]
    ChangeVisibility,
}

/// Classifies an SDK error of a request that takes a permission.
pub(super) fn classify<E>(
    error: &SdkError<E, HttpResponse>,
    permission: Permission,
    context: &ClientContext,
) -> ErrorKind
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    aws::error_kind(error, context, |refusal| classify_sqs(refusal, permission))
}

/// Classifies the errors that only SQS has, by the names of both of its protocols.
fn classify_sqs(refusal: &ErrorResponse<'_>, permission: Permission) -> Option<ErrorKind> {
    Some(match refusal.code {
        "QueueDoesNotExist"
        | "AWS.SimpleQueueService.NonExistentQueue"
        | "QueueDeletedRecently"
        | "AWS.SimpleQueueService.QueueDeletedRecently" => ErrorKind::NotFound,
        "InvalidAddress" | "InvalidAddressException" => {
            ErrorKind::Misconfigured("`queueUrl` is not the URL of a queue in this region".to_owned())
        }
        "AccessDeniedException" | "AccessDenied" => {
            ErrorKind::Denied(Denied::Key(format!("no policy grants `{permission}` on the queue")))
        }
        "KmsThrottled" | "KMS.ThrottlingException" => ErrorKind::Throttled,
        code if code.to_ascii_lowercase().starts_with("kms") => ErrorKind::Denied(Denied::Key(
            "no policy grants `kms:Decrypt` on the key of the queue, or the key is disabled".to_owned(),
        )),
        // All readers together have too many messages in flight.
        "OverLimit" => ErrorKind::Throttled,
        _ => return None,
    })
}

/// Describes a failure and its fix.
pub(super) fn describe(failure: &ErrorKind) -> String {
    match failure {
        ErrorKind::NotFound => "queue not found; check `queueUrl` and `region`".to_owned(),
        ErrorKind::Denied(what) => format!("access denied: {what}"),
        ErrorKind::Misconfigured(what) => what.clone(),
        ErrorKind::Throttled => "SQS is throttling requests".to_owned(),
        ErrorKind::TimedOut => "the request timed out".to_owned(),
        ErrorKind::Unavailable(what) => format!("SQS is unavailable: {what}"),
        ErrorKind::Deleted
        | ErrorKind::NotAllowed
        | ErrorKind::Sealed(_)
        | ErrorKind::Malformed(_)
        | ErrorKind::OlderVersion(_)
        | ErrorKind::Expired(_) => failure.reason().to_string(),
    }
}

/// The last logged failure of the requests that take one permission.
#[derive(Debug, Default)]
pub(super) struct FailureLog(Option<ErrorKind>);

/// A change that has to be logged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FailureChange {
    /// Requests fail from now on, or for another reason than before.
    Started(String),
    /// Requests succeed again.
    Resolved,
}

impl FailureLog {
    /// Records the outcome of a request; returns a change to log. All retryable failures count as the same one.
    pub(super) fn record(&mut self, outcome: Result<(), ErrorKind>) -> Option<FailureChange> {
        let Err(failure) = outcome else {
            return self.0.take().map(|_| FailureChange::Resolved);
        };
        let is_known = self
            .0
            .as_ref()
            .is_some_and(|before| *before == failure || (before.is_retryable() && failure.is_retryable()));
        let change = (!is_known).then(|| FailureChange::Started(describe(&failure)));
        self.0 = Some(failure);
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_logged_when_it_starts_changes_and_resolves() {
        let (refused, late) = (ErrorKind::Unavailable("connection refused".to_owned()), ErrorKind::TimedOut);
        let started = [&refused, &ErrorKind::NotFound].map(|it| Some(FailureChange::Started(describe(it))));
        let mut log = FailureLog::default();
        assert_eq!(log.record(Ok(())), None);
        assert_eq!(log.record(Err(refused)), started[0]);
        assert_eq!(log.record(Err(late)), None);
        assert_eq!(log.record(Err(ErrorKind::NotFound)), started[1]);
        assert_eq!(log.record(Err(ErrorKind::NotFound)), None);
        assert_eq!(log.record(Ok(())), Some(FailureChange::Resolved));
        assert_eq!(log.record(Ok(())), None);
    }
}

//! What does not work with a queue: what it means, and whether it was told already.
//!
//! Pure. Quotes no word of an answer.

use std::error::Error as StdError;

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

use crate::provider::ErrorKind as Failure;
use crate::provider::aws::{self, ErrorResponse};

/// What is asked of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub(super) enum Right {
    /// Read messages.
    #[strum(to_string = "sqs:ReceiveMessage")]
    Receive,
    /// Delete them.
    #[strum(to_string = "sqs:DeleteMessage")]
    Delete,
    /// Hide them from others for longer.
    #[strum(to_string = "sqs:ChangeMessageVisibility")]
    Hide,
}

/// What an error of the SDK means for a request that takes a right; `profile` is what `AWS_PROFILE` says.
pub(super) fn of<E>(error: &SdkError<E, HttpResponse>, right: Right, profile: Option<&str>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    aws::error_kind(error, profile, |refusal| own(refusal, right))
}

/// What only SQS refuses in this way, by the names of both of its protocols.
fn own(refusal: &ErrorResponse<'_>, right: Right) -> Option<Failure> {
    let denied = |what: &str| Some(Failure::Denied(what.to_owned()));
    match refusal.code {
        "QueueDoesNotExist"
        | "AWS.SimpleQueueService.NonExistentQueue"
        | "QueueDeletedRecently"
        | "AWS.SimpleQueueService.QueueDeletedRecently" => Some(Failure::NotFound),
        "InvalidAddress" | "InvalidAddressException" => {
            Some(Failure::Misconfigured("`queueUrl` is not the URL of a queue in this region".to_owned()))
        }
        "AccessDeniedException" | "AccessDenied" => {
            denied(&format!("no policy grants `{right}` on the queue"))
        }
        "KmsThrottled" | "KMS.ThrottlingException" => Some(Failure::Throttled),
        code if code.to_ascii_lowercase().starts_with("kms") => {
            denied("no policy grants `kms:Decrypt` on the key of the queue, or the key is disabled")
        }
        // Too many messages are held by all readers together.
        "OverLimit" => Some(Failure::Throttled),
        _ => None,
    }
}

/// A failure, with what to do about it.
pub(super) fn told(failure: &Failure) -> String {
    match failure {
        Failure::NotFound => "there is no such queue: check `queueUrl` and `region`".to_owned(),
        Failure::Denied(what) => format!("access denied: {what}"),
        Failure::Misconfigured(what) => what.clone(),
        Failure::Throttled => "SQS is throttling requests".to_owned(),
        Failure::TimedOut => "no answer in time".to_owned(),
        Failure::Unavailable(what) => format!("SQS is unavailable: {what}"),
        Failure::Deleted | Failure::NotAllowed | Failure::Sealed | Failure::Malformed(_) => {
            failure.reason().to_string()
        }
    }
}

/// The trouble there is with one right.
#[derive(Debug, Default)]
pub(super) struct Trouble(Option<Failure>);

/// What somebody should hear.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It does not work from now on, or for another reason than before.
    Began(String),
    /// It works again.
    Ended,
}

impl Trouble {
    /// A request ended: what there is to tell about it. What may pass by itself is one trouble, by whatever name.
    pub(super) fn note(&mut self, outcome: Result<(), Failure>) -> Option<News> {
        let Err(failure) = outcome else {
            return self.0.take().map(|_| News::Ended);
        };
        let is_known = self
            .0
            .as_ref()
            .is_some_and(|before| *before == failure || (before.is_retryable() && failure.is_retryable()));
        let news = (!is_known).then(|| News::Began(told(&failure)));
        self.0 = Some(failure);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_when_it_begins_when_it_changes_and_when_it_ends() {
        let (refused, late) = (Failure::Unavailable("connection refused".to_owned()), Failure::TimedOut);
        let began = |failure: &Failure| Some(News::Began(told(failure)));
        let mut trouble = Trouble::default();
        assert_eq!(trouble.note(Ok(())), None);
        assert_eq!(trouble.note(Err(refused.clone())), began(&refused));
        assert_eq!(trouble.note(Err(late)), None);
        assert_eq!(trouble.note(Err(Failure::NotFound)), began(&Failure::NotFound));
        assert_eq!(trouble.note(Err(Failure::NotFound)), None);
        assert_eq!(trouble.note(Ok(())), Some(News::Ended));
        assert_eq!(trouble.note(Ok(())), None);
    }
}

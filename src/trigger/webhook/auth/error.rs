//! Authentication failures: logged with their fix, never sent to the client.
//!
//! A claim of a request is trusted only as far as a key authenticates it, and never quoted.

use strum::VariantArray as _;
use tokio::time::Instant;

use crate::log_throttle::LogThrottle;

/// The cause of an authentication failure. The message continues the log line "webhook request rejected: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::VariantArray)]
pub(in crate::trigger::webhook) enum AuthError {
    /// There is neither a token nor a signature.
    #[error(
        "no bearer token and no signature; have the sender add `Authorization: Bearer TOKEN`, or sign its requests"
    )]
    Missing,
    /// The headers can be neither.
    #[error(
        "malformed credentials; `Authorization` has to be `Bearer TOKEN`, or `X-Regcred-Timestamp` Unix time in \
         seconds and `X-Regcred-Signature` `sha256=` with 64 hexadecimal digits, each header once"
    )]
    Malformed,
    /// Tokens are not configured.
    #[error(
        "bearer token sent, but no `tokenFile` configured; name one in `triggers.webhook`, or have the sender sign \
         its requests"
    )]
    NoTokenFile,
    /// The token is none of the file's.
    #[error("bearer token not found in `tokenFile`; compare it with the sender's")]
    UnknownToken,
    /// Signatures are not configured.
    #[error(
        "signature sent, but no `hmacKeyFile` configured; name one in `triggers.webhook`, or give the sender a token"
    )]
    NoKeyFile,
    /// No key made that signature of that timestamp and body.
    #[error(
        "signature made by no key of `hmacKeyFile`, or of another body; compare the sender's key with that file, and \
         have it sign the timestamp, a dot and the body, byte for byte as they are sent"
    )]
    InvalidSignature,
    /// The signature is valid, but its timestamp is too far from this machine's clock.
    #[error(
        "signature valid, but its timestamp more than 5 min from this machine's clock; synchronise both clocks and \
         have the sender sign each attempt; if that is so, an overheard request is being replayed"
    )]
    TimestampOutOfWindow,
    /// The signature is valid, but was accepted before.
    #[error(
        "signature already used; have the sender sign each attempt, and no body twice in a second; if that is so, \
         an overheard request is being replayed"
    )]
    Replayed,
}

/// Counts of rejected requests by cause since the last log line about each.
#[derive(Debug, Default)]
pub(in crate::trigger::webhook) struct RejectionLog([LogThrottle; AuthError::VARIANTS.len()]);

impl RejectionLog {
    /// Counts one rejection; returns the count for that cause once it is due to be logged.
    pub(in crate::trigger::webhook) fn count(&mut self, error: AuthError, now: Instant) -> Option<u64> {
        self.0[error as usize].count(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejection_log_throttles_each_cause_separately() {
        let (now, mut rejection_log) = (Instant::now(), RejectionLog::default());
        assert_eq!(rejection_log.count(AuthError::Missing, now), Some(1));
        for _ in 0..1000 {
            assert_eq!(rejection_log.count(AuthError::Missing, now), None);
        }
        for error in &AuthError::VARIANTS[1..] {
            assert_eq!(rejection_log.count(*error, now), Some(1), "{error:?}");
        }
    }
}

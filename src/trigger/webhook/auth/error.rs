//! Why nobody knows who sent a request: told in the log with the mend, and never to whoever sent it.
//!
//! What a request says of itself is believed only as far as a key vouches for it, and never quoted.

use strum::VariantArray as _;
use tokio::time::Instant;

use crate::log_throttle::LogThrottle;

/// Why nobody knows who it is. The message goes on where "the webhook refused" ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::VariantArray)]
pub(in crate::trigger::webhook) enum AuthError {
    /// Neither a token nor a signature is there.
    #[error(
        "who shows neither a token nor a signature: have the sender bring `Authorization: Bearer TOKEN`, or sign"
    )]
    ShowsNothing,
    /// Something is there that cannot be one.
    #[error(
        "who shows what can be neither a token nor a signature: `Authorization` has to be `Bearer TOKEN`, or \
         `X-Regcred-Timestamp` Unix time in seconds and `X-Regcred-Signature` `sha256=` with 64 hexadecimal \
         digits, each of them once"
    )]
    Garbled,
    /// Tokens are not taken here.
    #[error(
        "who shows a token, for there is no `tokenFile`: name one in `triggers.webhook`, or have the sender sign"
    )]
    NoTokenFile,
    /// The token is none of those.
    #[error("who shows a token that is on no line of `tokenFile`: compare the sender's with that file")]
    WrongToken,
    /// Signatures are not taken here.
    #[error(
        "who signs, for there is no `hmacKeyFile`: name one in `triggers.webhook`, or give the sender a token"
    )]
    NoKeyFile,
    /// No key made that signature of that time and body.
    #[error(
        "who signs with no key of `hmacKeyFile`, or something else than what arrived: compare the sender's key \
         with that file, and have it sign the timestamp, a dot and the body, byte for byte as they are sent"
    )]
    WrongSignature,
    /// A key made it, and the time it vouches for is another than that of this machine.
    #[error(
        "who signs with a right key, but for a time more than 5 min from this machine's: both clocks have to agree, \
         and the sender has to sign each attempt anew; where that is so, somebody sends again what they overheard"
    )]
    WrongTime,
    /// A key made it, and it was taken already.
    #[error(
        "a signature that was taken before: the sender has to sign each attempt anew, and no body twice in a second; \
         where that is so, somebody sends again what they overheard"
    )]
    Repeated,
}

/// How often each of them was refused since it was last told.
#[derive(Debug, Default)]
pub(in crate::trigger::webhook) struct RejectionLog([LogThrottle; AuthError::VARIANTS.len()]);

impl RejectionLog {
    /// One more: how many there were for that reason, where it is time to tell it again.
    pub(in crate::trigger::webhook) fn count(&mut self, stranger: AuthError, now: Instant) -> Option<u64> {
        self.0[stranger as usize].count(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_of_one_kind_hides_no_other() {
        let (now, mut strangers) = (Instant::now(), RejectionLog::default());
        assert_eq!(strangers.count(AuthError::ShowsNothing, now), Some(1));
        for _ in 0..1000 {
            assert_eq!(strangers.count(AuthError::ShowsNothing, now), None);
        }
        for stranger in &AuthError::VARIANTS[1..] {
            assert_eq!(strangers.count(*stranger, now), Some(1), "{stranger:?}");
        }
    }
}

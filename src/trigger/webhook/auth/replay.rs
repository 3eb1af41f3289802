//! Signatures that were used.
//!
//! They are remembered for as long as they would be taken, and only those that were valid: whoever has no
//! key fills no memory, and who has one fills no more than its allowance. No other replica hears of them,
//! and none after a restart: what one brings a second time is one look too many.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::signature::{self, Signature};

/// How much of a signature is kept, which is more than anybody finds a second one for.
const KEPT: usize = 16;

/// The signatures that were used, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Replays(BTreeSet<(i64, [u8; KEPT])>);

impl Replays {
    /// Whether this signature was used before.
    pub(super) fn holds(&self, signature: &Signature) -> bool {
        self.0.contains(&entry(signature))
    }

    /// This signature is used now.
    pub(super) fn remember(&mut self, signature: &Signature, now: Timestamp) {
        // Those that are too old are refused without being remembered.
        while self.0.first().is_some_and(|&(at, _)| !signature::is_timely(at, now)) {
            self.0.pop_first();
        }
        self.0.insert(entry(signature));
    }

    /// This signature may be used once more.
    pub(super) fn forget(&mut self, signature: &Signature) {
        self.0.remove(&entry(signature));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn entry(signature: &Signature) -> (i64, [u8; KEPT]) {
    let mut kept = [0; KEPT];
    kept.copy_from_slice(&signature.code()[..KEPT]);
    (signature.at(), kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(at: i64, code: u8) -> Signature {
        Signature::new(
            at.to_string().as_bytes(),
            format!("sha256={}", format!("{code:02x}").repeat(32)).as_bytes(),
        )
        .expect("a signature")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_signature_is_used_once() {
        let mut replays = Replays::default();
        assert!(!replays.holds(&signature(1000, 1)));
        replays.remember(&signature(1000, 1), at(1000));
        assert!(replays.holds(&signature(1000, 1)));
        assert!(!replays.holds(&signature(1000, 2)));
        assert!(!replays.holds(&signature(1001, 1)));
    }

    #[test]
    fn a_signature_is_forgotten_when_it_would_be_refused_as_too_old() {
        let mut replays = Replays::default();
        let early = signature(1300, 1);
        replays.remember(&early, at(1000));
        replays.remember(&signature(1600, 2), at(1600));
        assert!(early.is_timely(at(1600)) && replays.holds(&early));
        replays.remember(&signature(1601, 3), at(1601));
        assert!(!early.is_timely(at(1601)) && !replays.holds(&early));
        assert_eq!(replays.len(), 2);
    }
}

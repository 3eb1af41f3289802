//! Replay protection: signatures that were accepted before.
//!
//! Only valid signatures are kept, and only while their timestamp is accepted: a sender without a key uses no
//! memory, and one with a key no more than its rate limit allows. The list is neither shared with other
//! replicas nor kept across a restart: a replay there costs one superfluous fetch.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::signature::{self, Signature};

/// The bytes kept of a signature, too many for a collision to be found.
const PREFIX_LENGTH: usize = 16;

/// The accepted signatures, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Replays(BTreeSet<(i64, [u8; PREFIX_LENGTH])>);

impl Replays {
    /// Returns true if this signature was accepted before.
    pub(super) fn contains(&self, signature: &Signature) -> bool {
        self.0.contains(&entry(signature))
    }

    /// Records an accepted signature.
    pub(super) fn insert(&mut self, signature: &Signature, now: Timestamp) {
        // Those that are too old are rejected by their timestamp.
        while self.0.first().is_some_and(|&(at, _)| !signature::is_fresh(at, now)) {
            self.0.pop_first();
        }
        self.0.insert(entry(signature));
    }

    /// Allows this signature once more.
    pub(super) fn remove(&mut self, signature: &Signature) {
        self.0.remove(&entry(signature));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn entry(signature: &Signature) -> (i64, [u8; PREFIX_LENGTH]) {
    let mut prefix = [0; PREFIX_LENGTH];
    prefix.copy_from_slice(&signature.mac()[..PREFIX_LENGTH]);
    (signature.at(), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(at: i64, byte: u8) -> Signature {
        Signature::parse(
            at.to_string().as_bytes(),
            format!("sha256={}", format!("{byte:02x}").repeat(32)).as_bytes(),
        )
        .expect("a signature")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn accepted_signature_is_a_replay() {
        let mut replays = Replays::default();
        assert!(!replays.contains(&signature(1000, 1)));
        replays.insert(&signature(1000, 1), at(1000));
        assert!(replays.contains(&signature(1000, 1)));
        assert!(!replays.contains(&signature(1000, 2)));
        assert!(!replays.contains(&signature(1001, 1)));
    }

    #[test]
    fn signature_outside_the_window_is_forgotten() {
        let mut replays = Replays::default();
        let early = signature(1300, 1);
        replays.insert(&early, at(1000));
        replays.insert(&signature(1600, 2), at(1600));
        assert!(early.is_fresh(at(1600)) && replays.contains(&early));
        replays.insert(&signature(1601, 3), at(1601));
        assert!(!early.is_fresh(at(1601)) && !replays.contains(&early));
        assert_eq!(replays.len(), 2);
    }
}

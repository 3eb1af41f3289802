//! The expiry of a stored value, and the time to read it again.
//!
//! Pure: the store names the times of a credential, and the caller has the clock.

use std::time::Duration;

use jiff::Timestamp;

/// The end of a stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The store deletes this version at that time. Another read returns the same version.
    Deletion(Timestamp),
    /// The store issued a credential for a time. Another read returns one that is valid for longer.
    Issued(Life),
}

/// The time for which an issued credential is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The time at which the store issued the credential.
    pub issued: Timestamp,
    /// The time from which the credential is invalid.
    pub expires: Timestamp,
}

impl Expiry {
    /// Returns the time from which the value is invalid.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Deletion(at) => *at,
            Self::Issued(life) => life.expires,
        }
    }

    /// Returns the life of an issued credential.
    #[must_use]
    pub fn life(&self) -> Option<&Life> {
        match self {
            Self::Deletion(_) => None,
            Self::Issued(life) => Some(life),
        }
    }
}

impl Life {
    /// Creates the life of a credential that was issued for `lifetime`.
    #[must_use]
    pub fn new(issued: Timestamp, lifetime: Duration) -> Self {
        let expires = issued.checked_add(lifetime).unwrap_or(Timestamp::MAX);
        Self { issued, expires }
    }

    /// Returns the time at which the credential is read again: two thirds of its life.
    #[must_use]
    pub fn refresh_at(&self) -> Timestamp {
        let lifetime = Duration::try_from(self.expires.duration_since(self.issued)).unwrap_or_default();
        self.issued.checked_add(lifetime / 3 * 2).unwrap_or(self.expires)
    }

    /// Returns true if the credential is invalid at that time.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn credential_is_read_again_at_two_thirds_of_its_life() {
        for (seconds, expect) in [(3600, 2400), (3, 2), (0, 0)] {
            let life = Life::new(at(1000), Duration::from_secs(seconds));
            assert_eq!(life.refresh_at(), at(1000 + expect), "{seconds}");
        }
        let backwards = Life { issued: at(1000), expires: at(900) };
        assert_eq!(backwards.refresh_at(), at(1000), "the clocks differ");
    }

    #[test]
    fn life_is_over_from_its_last_instant_on() {
        let life = Life::new(at(1000), Duration::from_mins(1));
        assert!(!life.is_over(at(1059)));
        assert!(life.is_over(at(1060)));
    }

    #[test]
    fn endless_life_is_bounded() {
        let life = Life::new(at(1000), Duration::MAX);
        assert_eq!(life.expires, Timestamp::MAX);
        assert!(life.refresh_at() > at(1000));
    }

    #[test]
    fn deletion_is_no_life() {
        assert_eq!(Expiry::Deletion(at(5)).at(), at(5));
        assert_eq!(Expiry::Deletion(at(5)).life(), None);
    }
}

//! How long a token lives, and what is to be done about it before a read.
//!
//! In goes the time, out comes a [`Step`]; nothing here asks a Vault or a clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::provider::READ_TIMEOUT;

/// Ten years, in seconds.
const MAX_LIFE: u64 = 10 * 365 * 24 * 3600;

/// How long a token that could not be renewed is left alone while it lives: so long that no read
/// which waited for one attempt waits for another.
const REST: Duration = READ_TIMEOUT;

/// How long a token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    since: Instant,
    /// `None` never ends.
    life: Option<Duration>,
    is_renewable: bool,
    /// When it was last tried to renew or replace the token, which then did not come about.
    tried: Option<Instant>,
}

/// What to do with a token before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Keep,
    Renew,
    LogIn,
}

impl Lease {
    /// A lease of no seconds never ends.
    pub(super) fn new(since: Instant, seconds: u64, is_renewable: bool) -> Self {
        // The bound keeps the sum of the two within what an `Instant` holds.
        let life = Duration::from_secs(seconds.min(MAX_LIFE));
        Self { since, life: (!life.is_zero()).then_some(life), is_renewable, tried: None }
    }

    /// The same lease, of which somebody now tries to make a longer one.
    pub(super) fn tried_at(self, now: Instant) -> Self {
        Self { tried: Some(now), ..self }
    }

    /// At two thirds of its life a token is renewed, or replaced where it cannot be.
    pub(super) fn step(&self, now: Instant) -> Step {
        let Some(life) = self.life else { return Step::Keep };
        let is_young = now < self.since + life * 2 / 3;
        let rests = self.tried.is_some_and(|tried| now < tried + REST);
        match self.is_alive(now) {
            true if is_young || rests => Step::Keep,
            true if self.is_renewable => Step::Renew,
            _ => Step::LogIn,
        }
    }

    pub(super) fn is_alive(&self, now: Instant) -> bool {
        self.life.is_none_or(|life| now < self.since + life)
    }

    /// Whether a renewal brought less than half of what there was: the token nears its maximal life,
    /// where each renewal is shorter than the one before.
    pub(super) fn is_running_out(&self, before: &Self) -> bool {
        match (self.life, before.life) {
            (Some(life), Some(life_before)) => life * 2 < life_before,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps at seconds after a lease of sixty that somebody tried to renew at `tried`.
    fn check(is_renewable: bool, tried: Option<u64>, steps: &[(u64, Step)]) {
        let since = Instant::now();
        let at = |second: u64| since + Duration::from_secs(second);
        let mut lease = Lease::new(since, 60, is_renewable);
        if let Some(second) = tried {
            lease = lease.tried_at(at(second));
        }
        for (second, step) in steps {
            assert_eq!(lease.step(at(*second)), *step, "at {second} s");
        }
    }

    #[test]
    fn a_token_is_renewed_at_two_thirds_of_its_life() {
        let steps = [(0, Step::Keep), (39, Step::Keep), (40, Step::Renew), (59, Step::Renew)];
        check(true, None, &steps);
        check(true, None, &[(60, Step::LogIn)]);
    }

    #[test]
    fn a_token_that_is_not_renewable_is_replaced_at_two_thirds_of_its_life() {
        let steps = [(0, Step::Keep), (39, Step::Keep), (40, Step::LogIn), (600, Step::LogIn)];
        check(false, None, &steps);
    }

    #[test]
    fn a_token_that_could_not_be_renewed_rests_while_it_lives() {
        let steps = [(45, Step::Keep), (59, Step::Keep), (60, Step::LogIn)];
        check(true, Some(45), &steps);
        check(false, Some(45), &steps);
        check(true, Some(20), &[(49, Step::Keep), (50, Step::Renew)]);
        check(false, Some(20), &[(49, Step::Keep), (50, Step::LogIn)]);
    }

    #[test]
    fn a_token_without_an_end_is_kept() {
        let since = Instant::now();
        let lease = Lease::new(since, 0, true);
        assert_eq!(lease.step(since + Duration::from_secs(MAX_LIFE)), Step::Keep);
    }

    #[test]
    fn an_absurd_life_is_no_panic() {
        let since = Instant::now();
        assert_eq!(Lease::new(since, u64::MAX, true).step(since), Step::Keep);
    }

    #[test]
    fn a_renewal_that_brings_less_than_half_means_that_the_end_is_near() {
        let lease = |seconds| Lease::new(Instant::now(), seconds, true);
        assert!(!lease(60).is_running_out(&lease(60)));
        assert!(!lease(30).is_running_out(&lease(60)));
        assert!(lease(29).is_running_out(&lease(60)));
        assert!(!lease(0).is_running_out(&lease(60)));
    }
}

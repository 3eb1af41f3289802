//! The lifetime of a token, and the action it needs before a read.
//!
//! In: the time. Out: a [`TokenAction`]. Nothing here sends a request or reads a clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::provider::READ_TIMEOUT;

/// Ten years, in seconds.
const MAX_LIFETIME: u64 = 10 * 365 * 24 * 3600;

/// The pause after a failed renewal of a live token, long enough that no read waits for two attempts.
const RENEWAL_BACKOFF: Duration = READ_TIMEOUT;

/// The lifetime of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenLease {
    since: Instant,
    /// `None` never expires.
    lifetime: Option<Duration>,
    is_renewable: bool,
    /// The last attempt to renew or replace the token, if that failed.
    attempted: Option<Instant>,
}

/// The action to take before a token is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenAction {
    Keep,
    Renew,
    LogIn,
}

impl TokenLease {
    /// Creates a lease. A lease of zero seconds never expires.
    pub(super) fn new(since: Instant, seconds: u64, is_renewable: bool) -> Self {
        // The bound keeps the sum of the two within the range of an `Instant`.
        let lifetime = Duration::from_secs(seconds.min(MAX_LIFETIME));
        Self { since, lifetime: (!lifetime.is_zero()).then_some(lifetime), is_renewable, attempted: None }
    }

    /// Records an attempt to renew or replace the token.
    pub(super) fn attempted_at(self, now: Instant) -> Self {
        Self { attempted: Some(now), ..self }
    }

    /// Returns the action for this time. At two thirds of its lifetime a token is renewed, or replaced if
    /// it is not renewable.
    pub(super) fn action(&self, now: Instant) -> TokenAction {
        let Some(lifetime) = self.lifetime else { return TokenAction::Keep };
        let is_fresh = now < self.since + lifetime * 2 / 3;
        let is_backing_off = self.attempted.is_some_and(|attempted| now < attempted + RENEWAL_BACKOFF);
        match self.is_alive(now) {
            true if is_fresh || is_backing_off => TokenAction::Keep,
            true if self.is_renewable => TokenAction::Renew,
            _ => TokenAction::LogIn,
        }
    }

    /// Returns the rest of the lifetime; `None` if it never ends.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.lifetime.map(|lifetime| (self.since + lifetime).saturating_duration_since(now))
    }

    pub(super) fn is_alive(&self, now: Instant) -> bool {
        self.lifetime.is_none_or(|lifetime| now < self.since + lifetime)
    }

    /// Returns true if a renewal granted less than half the previous lifetime: the token nears its maximum
    /// TTL, where each renewal is shorter than the one before.
    pub(super) fn is_running_out(&self, before: &Self) -> bool {
        match (self.lifetime, before.lifetime) {
            (Some(lifetime), Some(lifetime_before)) => lifetime * 2 < lifetime_before,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks actions by second of a lease of sixty seconds, after a failed renewal at `attempted`.
    fn check(is_renewable: bool, attempted: Option<u64>, actions: &[(u64, TokenAction)]) {
        let since = Instant::now();
        let mut lease = TokenLease::new(since, 60, is_renewable);
        if let Some(second) = attempted {
            lease = lease.attempted_at(since + Duration::from_secs(second));
        }
        for (second, action) in actions {
            assert_eq!(lease.action(since + Duration::from_secs(*second)), *action, "at {second} s");
        }
    }

    #[test]
    fn token_is_renewed_at_two_thirds_of_its_lifetime() {
        let actions = [
            (0, TokenAction::Keep),
            (39, TokenAction::Keep),
            (40, TokenAction::Renew),
            (59, TokenAction::Renew),
        ];
        check(true, None, &actions);
        check(true, None, &[(60, TokenAction::LogIn)]);
    }

    #[test]
    fn non_renewable_token_is_replaced_at_two_thirds() {
        let actions = [
            (0, TokenAction::Keep),
            (39, TokenAction::Keep),
            (40, TokenAction::LogIn),
            (600, TokenAction::LogIn),
        ];
        check(false, None, &actions);
    }

    #[test]
    fn failed_renewal_backs_off_while_the_token_lives() {
        let actions = [(45, TokenAction::Keep), (59, TokenAction::Keep), (60, TokenAction::LogIn)];
        check(true, Some(45), &actions);
        check(false, Some(45), &actions);
        check(true, Some(20), &[(49, TokenAction::Keep), (50, TokenAction::Renew)]);
        check(false, Some(20), &[(49, TokenAction::Keep), (50, TokenAction::LogIn)]);
    }

    #[test]
    fn token_without_expiry_is_kept() {
        let since = Instant::now();
        let lease = TokenLease::new(since, 0, true);
        assert_eq!(lease.action(since + Duration::from_secs(MAX_LIFETIME)), TokenAction::Keep);
    }

    #[test]
    fn huge_lifetime_does_not_panic() {
        let since = Instant::now();
        assert_eq!(TokenLease::new(since, u64::MAX, true).action(since), TokenAction::Keep);
    }

    fn lease(seconds: u64) -> TokenLease {
        TokenLease::new(Instant::now(), seconds, true)
    }

    #[test]
    fn renewal_below_half_the_lifetime_is_running_out() {
        assert!(!lease(60).is_running_out(&lease(60)));
        assert!(!lease(30).is_running_out(&lease(60)));
        assert!(lease(29).is_running_out(&lease(60)));
        assert!(!lease(0).is_running_out(&lease(60)));
    }
}

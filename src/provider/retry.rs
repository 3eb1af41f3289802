//! How long a provider waits and how often it asks again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::time::Instant;
use tracing::debug;

use super::failure::Failure;
use super::{READ_TIMEOUT, REQUEST_TIMEOUT};
use crate::credential::{Key, StoreName};

/// How many requests a provider has in flight at one store.
pub(super) const CONCURRENT_READS: usize = 16;

/// The bounds of one `read`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryPolicy {
    /// For one request.
    pub(super) request: Duration,
    /// For the whole of a `read`.
    pub(super) total: Duration,
    /// The pauses between attempts.
    pub(super) pauses: ExponentialBuilder,
}

impl RetryPolicy {
    /// What every provider outside of tests has: three attempts, the last under two seconds after
    /// the first when the store answers at once.
    pub(super) const USUAL: Self = Self {
        request: REQUEST_TIMEOUT,
        total: READ_TIMEOUT,
        pauses: ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(250))
            .with_max_times(2)
            .with_jitter(),
    };

    /// Patience for tests: requests may take their time, the two pauses between them do not.
    #[cfg(test)]
    pub(super) const UNHURRIED: Self = Self {
        request: REQUEST_TIMEOUT,
        total: READ_TIMEOUT,
        pauses: ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(1))
            .with_max_delay(Duration::from_millis(1))
            .with_max_times(2),
    };

    /// Patience for tests of an answer that does not come.
    #[cfg(test)]
    pub(super) const SHORT: Self = Self { request: Duration::from_millis(50), ..Self::UNHURRIED };

    /// Asks again while the failure may pass by itself, until `deadline`; says how often it asked.
    ///
    /// Without a `key` it is a login that is asked for.
    pub(super) async fn retry<T, Fut>(
        &self,
        deadline: Instant,
        store: &StoreName,
        key: Option<&Key>,
        mut ask: impl FnMut() -> Fut,
    ) -> (Result<T, Failure>, usize)
    where
        Fut: Future<Output = Result<T, Failure>>,
    {
        let attempts = AtomicUsize::new(0);
        let counted = || {
            attempts.fetch_add(1, Ordering::Relaxed);
            ask()
        };
        let key = key.map(tracing::field::display);
        let asked = counted.retry(self.pauses).when(Failure::is_retryable).notify(|failure, pause| {
            let (attempt, reason) = (attempts.load(Ordering::Relaxed), failure.reason());
            debug!(%store, key, attempt, reason, ?pause, "attempt failed, asking again");
        });
        let outcome = until(deadline, asked).await;
        (outcome, attempts.load(Ordering::Relaxed))
    }
}

/// Ends `ask` as timed out at `deadline`.
pub(super) async fn until<T>(
    deadline: Instant,
    ask: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout_at(deadline, ask).await.unwrap_or(Err(Failure::TimedOut))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use backon::BackoffBuilder;

    use super::*;
    use crate::provider::without_tracing::tests::Log;

    async fn attempts_at(failure: Failure) -> usize {
        let asked = Cell::new(0);
        let (outcome, attempts): (Result<(), Failure>, usize) = RetryPolicy::UNHURRIED
            .retry(Instant::now() + RetryPolicy::UNHURRIED.total, &"s".into(), Some(&"k".into()), || {
                asked.set(asked.get() + 1);
                std::future::ready(Err(failure.clone()))
            })
            .await;
        assert_eq!(outcome, Err(failure));
        assert_eq!(attempts, asked.get());
        attempts
    }

    #[tokio::test]
    async fn what_may_pass_is_asked_three_times_and_what_may_not_once() {
        assert_eq!(attempts_at(Failure::Throttled).await, 3);
        assert_eq!(attempts_at(Failure::NotFound).await, 1);
    }

    #[tokio::test]
    async fn each_retry_is_logged() {
        let (log, _guard) = Log::listen();
        attempts_at(Failure::Throttled).await;
        let text = log.text();
        let told = |attempt: usize| {
            let fields = format!("store=s key=k attempt={attempt} reason=\"Throttled\"");
            text.lines().filter(|line| line.contains(&fields)).count()
        };
        assert_eq!([told(1), told(2), told(3)], [1, 1, 0], "{text}");
    }

    #[tokio::test]
    async fn no_answer_ends_with_the_deadline() {
        let (outcome, attempts): (Result<(), Failure>, usize) =
            RetryPolicy::UNHURRIED.retry(Instant::now(), &"s".into(), None, std::future::pending).await;
        assert_eq!((outcome, attempts), (Err(Failure::TimedOut), 1));
    }

    #[test]
    fn the_usual_pauses_leave_time_for_the_requests() {
        let attempts = 3;
        assert!(RetryPolicy::USUAL.request * attempts <= RetryPolicy::USUAL.total);
        let longest: Duration = RetryPolicy::USUAL.pauses.build().sum();
        assert!(longest < Duration::from_secs(2), "{longest:?}");
    }
}

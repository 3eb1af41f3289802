//! Timeouts and retries of a provider.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::time::Instant;
use tracing::debug;

use super::{ErrorKind, READ_TIMEOUT, REQUEST_TIMEOUT};
use crate::credential::{Key, StoreName};

/// The number of requests a provider has in flight at one store.
pub(super) const CONCURRENT_READS: usize = 16;

/// The bounds of one `read`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryPolicy {
    /// Timeout of one request.
    pub(super) request_timeout: Duration,
    /// Timeout of the whole `read`.
    pub(super) total_timeout: Duration,
    /// The pauses between attempts.
    pub(super) backoff: ExponentialBuilder,
}

impl RetryPolicy {
    /// The policy outside tests: three attempts, the last less than two seconds after the first when the
    /// store answers at once.
    pub(super) const DEFAULT: Self = Self {
        request_timeout: REQUEST_TIMEOUT,
        total_timeout: READ_TIMEOUT,
        backoff: ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(250))
            .with_max_times(2)
            .with_jitter(),
    };

    /// For tests: the usual timeouts, with two short pauses between attempts.
    #[cfg(test)]
    pub(super) const SHORT_BACKOFF: Self = Self {
        request_timeout: REQUEST_TIMEOUT,
        total_timeout: READ_TIMEOUT,
        backoff: ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(1))
            .with_max_delay(Duration::from_millis(1))
            .with_max_times(2),
    };

    /// For tests of a missing response.
    #[cfg(test)]
    pub(super) const SHORT_TIMEOUT: Self =
        Self { request_timeout: Duration::from_millis(50), ..Self::SHORT_BACKOFF };

    /// Retries `request` while its failure is retryable, until `deadline`; returns the number of attempts.
    ///
    /// Without a `key` the request is a login or concerns a lease.
    pub(super) async fn retry<T, Fut>(
        &self,
        deadline: Instant,
        store: &StoreName,
        key: Option<&Key>,
        request: impl FnMut() -> Fut,
    ) -> (Result<T, ErrorKind>, usize)
    where
        Fut: Future<Output = Result<T, ErrorKind>>,
    {
        self.retry_when(deadline, store, key, ErrorKind::is_retryable, request).await
    }

    /// Retries a `request` that must not be carried out twice, while the store refuses it for its rate.
    pub(super) async fn retry_throttled<T, Fut>(
        &self,
        deadline: Instant,
        store: &StoreName,
        key: &Key,
        request: impl FnMut() -> Fut,
    ) -> (Result<T, ErrorKind>, usize)
    where
        Fut: Future<Output = Result<T, ErrorKind>>,
    {
        self.retry_when(deadline, store, Some(key), |kind| *kind == ErrorKind::Throttled, request).await
    }

    async fn retry_when<T, Fut>(
        &self,
        deadline: Instant,
        store: &StoreName,
        key: Option<&Key>,
        is_retryable: impl FnMut(&ErrorKind) -> bool,
        mut request: impl FnMut() -> Fut,
    ) -> (Result<T, ErrorKind>, usize)
    where
        Fut: Future<Output = Result<T, ErrorKind>>,
    {
        let attempts = AtomicUsize::new(0);
        let key = key.map(tracing::field::display);
        let retried = (|| {
            attempts.fetch_add(1, Ordering::Relaxed);
            request()
        })
        .retry(self.backoff)
        .when(is_retryable)
        .notify(|kind, pause| {
            let attempt = attempts.load(Ordering::Relaxed);
            debug!(%store, key, attempt, reason = %kind.reason(), ?pause, "attempt failed, retrying");
        });
        let outcome = until(deadline, retried).await;
        (outcome, attempts.load(Ordering::Relaxed))
    }
}

/// Ends `request` as timed out at `deadline`.
pub(super) async fn until<T>(
    deadline: Instant,
    request: impl Future<Output = Result<T, ErrorKind>>,
) -> Result<T, ErrorKind> {
    tokio::time::timeout_at(deadline, request).await.unwrap_or(Err(ErrorKind::TimedOut))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use backon::BackoffBuilder;

    use super::*;
    use crate::provider::without_tracing::tests::Log;

    async fn attempts_at(kind: ErrorKind) -> usize {
        let requests = Cell::new(0);
        let deadline = Instant::now() + RetryPolicy::SHORT_BACKOFF.total_timeout;
        let (outcome, attempts): (Result<(), ErrorKind>, usize) = RetryPolicy::SHORT_BACKOFF
            .retry(deadline, &"s".into(), Some(&"k".into()), || {
                requests.set(requests.get() + 1);
                std::future::ready(Err(kind.clone()))
            })
            .await;
        assert_eq!(outcome, Err(kind));
        assert_eq!(attempts, requests.get());
        attempts
    }

    #[tokio::test]
    async fn only_retryable_failure_is_retried() {
        assert_eq!(attempts_at(ErrorKind::Throttled).await, 3);
        assert_eq!(attempts_at(ErrorKind::NotFound).await, 1);
    }

    #[tokio::test]
    async fn each_retry_is_logged() {
        let (log, _guard) = Log::capture();
        attempts_at(ErrorKind::Throttled).await;
        let text = log.text();
        for (attempt, expect) in [(1, 1), (2, 1), (3, 0)] {
            let fields = format!("store=s key=k attempt={attempt} reason=Throttled");
            assert_eq!(text.lines().filter(|line| line.contains(&fields)).count(), expect, "{text}");
        }
    }

    #[tokio::test]
    async fn missing_response_times_out_at_the_deadline() {
        let (outcome, attempts): (Result<(), ErrorKind>, usize) =
            RetryPolicy::SHORT_BACKOFF.retry(Instant::now(), &"s".into(), None, std::future::pending).await;
        assert_eq!((outcome, attempts), (Err(ErrorKind::TimedOut), 1));
    }

    #[test]
    fn default_backoff_leaves_time_for_the_requests() {
        let attempts = 3;
        assert!(RetryPolicy::DEFAULT.request_timeout * attempts <= RetryPolicy::DEFAULT.total_timeout);
        let longest: Duration = RetryPolicy::DEFAULT.backoff.build().sum();
        assert!(longest < Duration::from_secs(2), "{longest:?}");
    }
}

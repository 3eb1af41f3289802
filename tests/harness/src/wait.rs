//! Waiting for conditions: a test continues once its condition holds, or fails with the place that waited.

use std::time::Duration;

/// The longest wait for a condition; anything slow on a busy machine is done by then.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The pause between two checks of a condition; each check costs the API server something.
const PAUSE: Duration = Duration::from_millis(25);

/// Waits until a condition holds.
#[track_caller]
pub fn until<'a>(what: &'a str, condition: impl AsyncFn() -> bool + 'a) -> impl Future<Output = ()> + 'a {
    until_within(TIMEOUT, what, condition)
}

/// The same for a condition that takes longer by its nature.
#[track_caller]
pub fn until_within<'a>(
    timeout: Duration,
    what: &'a str,
    condition: impl AsyncFn() -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let holds = is_true_within(timeout, condition).await;
        assert!(holds, "{what}: not so within {timeout:?}, waited for at {caller}");
    }
}

/// Returns true once a condition holds, false when the time is up.
pub async fn is_true_within(timeout: Duration, condition: impl AsyncFn() -> bool) -> bool {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(timeout, wait).await.is_ok()
}

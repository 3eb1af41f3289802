//! Handling of write conflicts: 409, or a failed precondition on `resourceVersion`.
//!
//! [`rotator`](crate::rotator) and [`patcher`](crate::patcher) read the object again and decide again, with these
//! pauses; [`leader_election`](crate::leader_election) reads the Lease again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// Returns the back-off after write conflicts on one object: a dozen retries, from 10 ms to 1 s, jittered so
/// that two writers do not stay in step.
pub fn conflict_backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(10))
        .with_max_delay(Duration::from_secs(1))
        .with_max_times(12)
        .with_jitter()
        .build()
}

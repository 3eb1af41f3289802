//! The connections of a port: a limited number of slots, and the decision about who gives one up.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{Instant, sleep_until, timeout};

use super::Limits;
use super::connection::ConnectionState;

/// The connections of a port.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    /// The tasks of the slots, and of connections that were closed a moment ago.
    tasks: JoinSet<()>,
    /// In the order of acceptance.
    slots: VecDeque<Slot>,
}

/// The slot of a connection.
#[derive(Debug)]
struct Slot {
    accepted: Instant,
    state: ConnectionState,
    task: AbortHandle,
}

/// The decision about the next connection to close for one that waits.
#[derive(Debug, PartialEq, Eq)]
enum Eviction {
    /// The connection at this place is closed.
    Now(usize),
    /// None may be closed before this time, at which the decision is repeated.
    NotBefore(Instant),
}

impl Connections {
    /// No connections yet.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, tasks: JoinSet::new(), slots: VecDeque::new() }
    }

    /// Runs a connection within its timeout. A broken or slow connection is no error of this server.
    pub(super) fn spawn(
        &mut self,
        connection: impl Future<Output = ()> + Send + 'static,
        state: ConnectionState,
    ) {
        let limit = self.limits.timeout;
        let task = self.tasks.spawn(async move {
            let _ = timeout(limit, connection).await;
        });
        self.slots.push_back(Slot { accepted: Instant::now(), state, task });
    }

    /// Waits until a connection ends; forever if there is none.
    pub(super) async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(_) => self.slots.retain(|slot| !slot.task.is_finished()),
            None => std::future::pending().await,
        }
    }

    /// Waits until there is a slot for one more connection; closes an idle one if all are taken.
    pub(super) async fn free_slot(&mut self) {
        while self.slots.len() >= self.limits.connections {
            self.evict().await;
        }
    }

    /// Waits until every connection has ended; closes those that stay idle.
    pub(super) async fn finish(mut self) {
        while !self.slots.is_empty() {
            self.evict().await;
        }
    }

    /// Closes the next connection that may be closed, or waits until one ends or may be closed.
    async fn evict(&mut self) {
        // The requests that have arrived by now are read first: on a busy machine a grace period may pass before
        // its connection is looked at.
        yield_now().await;
        let slots = self.slots.iter().map(|slot| (slot.accepted, slot.state.is_active()));
        match eviction(slots, Instant::now(), self.limits.grace_period) {
            Eviction::Now(index) => {
                if let Some(slot) = self.slots.remove(index) {
                    slot.task.abort();
                }
            }
            Eviction::NotBefore(time) => tokio::select! {
                () = self.ended() => {}
                () = sleep_until(time) => {}
            },
        }
    }
}

/// Decides about connections in the order of acceptance, each with its state: the first idle one is closed once
/// its grace period is over.
fn eviction(
    connections: impl Iterator<Item = (Instant, bool)>,
    now: Instant,
    grace_period: Duration,
) -> Eviction {
    let first_idle = connections.enumerate().find(|(_, (_, is_active))| !is_active);
    match first_idle {
        Some((index, (accepted, _))) if accepted + grace_period <= now => Eviction::Now(index),
        Some((_, (accepted, _))) => Eviction::NotBefore(accepted + grace_period),
        // One that has been answered is idle without a further event.
        None => Eviction::NotBefore(now + grace_period),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE_PERIOD: Duration = Duration::from_millis(20);

    /// Decides about connections of these ages in milliseconds, with their states; returns the place of the one
    /// to close, or the milliseconds until the next decision.
    fn decide(connections: &[(u64, bool)]) -> Result<usize, u128> {
        let begin = Instant::now();
        let now = begin + Duration::from_secs(1);
        let connections =
            connections.iter().map(|(age, is_active)| (now - Duration::from_millis(*age), *is_active));
        match eviction(connections, now, GRACE_PERIOD) {
            Eviction::Now(index) => Ok(index),
            Eviction::NotBefore(time) => Err((time - now).as_millis()),
        }
    }

    #[test]
    fn connection_idle_for_longest_is_evicted() {
        assert_eq!(decide(&[(300, false), (200, false)]), Ok(0));
        assert_eq!(decide(&[(300, true), (200, true), (100, false), (50, false)]), Ok(2));
    }

    #[test]
    fn idle_connection_keeps_its_slot_for_the_grace_period() {
        assert_eq!(decide(&[(20, false)]), Ok(0));
        assert_eq!(decide(&[(19, false), (5, false)]), Err(1));
        assert_eq!(decide(&[(300, true), (5, false)]), Err(15));
    }

    #[test]
    fn active_connections_are_never_evicted() {
        assert_eq!(decide(&[(3000, true), (300, true)]), Err(20));
    }
}

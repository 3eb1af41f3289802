//! Whether the caches hold what there is, and if not, what is awaited.

use tokio::sync::watch;

/// What is awaited before the process is ready, shared between who waits and whoever asks.
///
/// It speaks of the cluster only. A store that is down makes nobody unready: what the cluster holds
/// stays true without it.
#[derive(Clone, Debug)]
pub struct Readiness(watch::Sender<Option<String>>);

impl Readiness {
    /// Not ready: `what` is awaited, such as `the first list of namespaces`.
    #[must_use]
    pub fn awaiting(what: impl Into<String>) -> Self {
        Self(watch::Sender::new(Some(what.into())))
    }

    /// Something else is awaited now.
    pub fn await_next(&self, what: impl Into<String>) {
        self.0.send_replace(Some(what.into()));
    }

    /// Nothing is awaited any more.
    pub fn ready(&self) {
        self.0.send_replace(None);
    }

    /// What is awaited; `None` once the process is ready.
    #[must_use]
    pub fn awaited(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

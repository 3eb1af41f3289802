//! The readiness of the process: synced caches, or the reason why they are not.

use tokio::sync::watch;

/// The reason why the process is not ready, shared between the controller and the server.
///
/// It is about the cluster only. An unavailable store does not make a replica unready: the state of the
/// cluster stays valid without it.
#[derive(Clone, Debug)]
pub struct Readiness(watch::Sender<Option<String>>);

impl Readiness {
    /// Not ready, for a reason such as `waiting for the first list of namespaces`.
    #[must_use]
    pub fn not_ready(reason: impl Into<String>) -> Self {
        Self(watch::Sender::new(Some(reason.into())))
    }

    /// Replaces the reason. A process that is ready stays ready: a list that a new ClusterPullSecret needs must not take
    /// every replica from the Service of the webhook.
    pub fn set_not_ready(&self, reason: impl Into<String>) {
        self.0.send_if_modified(|known| known.is_some() && known.replace(reason.into()).is_some());
    }

    /// Marks the process as ready.
    pub fn set_ready(&self) {
        self.0.send_replace(None);
    }

    /// Returns the reason; `None` once the process is ready.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_process_stays_ready() {
        let readiness = Readiness::not_ready("starting");
        readiness.set_not_ready("waiting for the first list of namespaces");
        assert_eq!(readiness.reason().as_deref(), Some("waiting for the first list of namespaces"));
        readiness.set_ready();
        readiness.set_not_ready("waiting for the first list of Secrets other");
        assert_eq!(readiness.reason(), None);
    }
}

//! Restores of etcd from a backup: one watch finds them, and all others list again.
//!
//! A watch finds a restore where the API server's version is older than the last one it has seen. Until it resumes,
//! the versions of a busy cluster may have passed that one, and then it finds nothing by itself.

use tokio::sync::watch;

/// The restores that any watch of a cluster has found.
#[derive(Clone, Debug)]
pub struct Restores(watch::Sender<u64>);

impl Default for Restores {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Restores {
    /// Returns what one watch knows of the restores.
    pub(super) fn subscribe(&self) -> KnownRestores {
        KnownRestores { all: self.clone(), known: self.0.subscribe() }
    }
}

/// The restores after which a watch has listed again, or is about to.
pub(super) struct KnownRestores {
    all: Restores,
    known: watch::Receiver<u64>,
}

impl KnownRestores {
    /// Announces a restore to the other watches, unless one of them did.
    pub(super) fn announce(&mut self) {
        if !self.take() {
            self.all.0.send_modify(|restores| *restores += 1);
            self.take();
        }
    }

    /// Returns true if another watch has found a restore; once for each.
    pub(super) fn take(&mut self) -> bool {
        let is_new = self.known.has_changed().unwrap_or_default();
        self.known.mark_unchanged();
        is_new
    }

    /// Waits until another watch finds a restore, which stays to be taken.
    pub(super) async fn announced(&mut self) {
        // The sender lives as long as this receiver.
        let _ = self.known.changed().await;
        self.known.mark_changed();
    }
}

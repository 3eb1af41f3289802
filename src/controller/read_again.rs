//! Decides about a namespace at once after its Secret was read.
//!
//! The bytes that were read decide here, and not after another turn of the queue: the cache may have no room for them,
//! and would ask for them again without end.

use std::borrow::Cow;
use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Controller;
use super::queue::{Item, Priority};
use crate::cluster::{Namespace, Secret};
use crate::object_name::SecretName;
use crate::reconcile::guards::Guards;

/// Secrets that were just read in full.
pub(super) type ReadSecrets = BTreeMap<SecretName, Secret>;

impl Controller {
    /// Plans an item with the Secrets that its task read, and carries the plan out.
    pub(super) fn decide_again(&mut self, item: &Item, read: &ReadSecrets, now: Instant) {
        let Some(state) = self.objects.get(&item.cluster_pull_secret) else { return self.queue.done(item) };
        if !self.is_leading || self.has_stale_claims || !self.can_write(state) {
            self.queue.push(&item.cluster_pull_secret, &item.namespace, Priority::High);
            return self.queue.done(item);
        }
        let guards = Guards::new(&state.manifest, &self.cache.cluster);
        match self.plan(item, &guards, read, now) {
            None => self.queue.done(item),
            Some(plan) => self.execute(item.clone(), plan, now),
        }
    }
}

/// Returns the namespace with the Secrets that were read, unless they were written since.
pub(super) fn with_read<'a>(namespace: &'a Namespace, read: &ReadSecrets) -> Cow<'a, Namespace> {
    let mut namespace = Cow::Borrowed(namespace);
    for (name, secret) in read {
        let cached = namespace.secrets.get(name);
        if cached.is_some_and(|cached| cached.resource_version == secret.resource_version) {
            namespace.to_mut().secrets.insert(name.clone(), secret.clone());
        }
    }
    namespace
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::fixture::{namespace, secret, service_account};

    fn has_bytes(cached_at: &str, read_at: &str) -> bool {
        let entries = [("ghcr.io", "1", "pw")];
        let cached = Secret { body: None, ..secret(cached_at, &entries) };
        let web = namespace(Some(cached), service_account(&[], &[]));
        let read = ReadSecrets::from([("regcred".into(), secret(read_at, &entries))]);
        with_read(&web, &read).secrets["regcred"].body.is_some()
    }

    #[test]
    fn read_secret_is_decided_on_unless_written_since() {
        assert!(has_bytes("5", "5"));
        assert!(!has_bytes("6", "5"), "the event of another writer was first");
    }

    #[test]
    fn secret_that_is_gone_since_is_not_put_back() {
        let web = namespace(None, service_account(&[], &[]));
        let read = ReadSecrets::from([("regcred".into(), secret("5", &[]))]);
        assert!(with_read(&web, &read).secrets.is_empty());
    }
}

//! The leases of the credentials that this process obtained.
//!
//! Pure. A lease that another one replaced is kept until its credential is in use nowhere; the caller decides that, and
//! then revokes it, or returns it to be taken again. A lease that is forgotten runs out by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::issued::GrantedLease;
use super::session::Session;
use crate::credential::Key;

/// A lease with what its renewal depends on.
#[derive(Clone)]
pub(super) struct LeaseOfKey {
    pub(super) granted: GrantedLease,
    /// The time of the last grant.
    pub(super) since: Instant,
    /// The time for which it was granted last.
    pub(super) lifetime: Duration,
    /// The session that obtained the lease: the Vault revokes the lease together with its token.
    pub(super) session: Arc<Session>,
}

impl LeaseOfKey {
    fn is_alive(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < self.lifetime
    }
}

/// The leases by key.
#[derive(Default)]
pub(super) struct HeldLeases {
    current: BTreeMap<Key, LeaseOfKey>,
    replaced: BTreeMap<Key, Vec<LeaseOfKey>>,
    /// The replaced leases that were taken, by id.
    taken: BTreeMap<String, (Key, LeaseOfKey)>,
}

impl HeldLeases {
    /// Records the lease of a new credential; the one before is replaced.
    pub(super) fn on_issued(&mut self, key: &Key, lease: Option<LeaseOfKey>) {
        let before = match lease {
            Some(lease) => self.current.insert(key.clone(), lease),
            None => self.current.remove(key),
        };
        if let Some(before) = before {
            self.replaced.entry(key.clone()).or_default().push(before);
        }
    }

    /// Returns the lease of a key, if it can be renewed.
    pub(super) fn renewable(&self, key: &Key) -> Option<LeaseOfKey> {
        self.current.get(key).filter(|it| it.granted.is_renewable).cloned()
    }

    /// Records the time at which and for which a lease was renewed. Returns false if the credential has to be replaced: another one
    /// was issued since, or the lease nears its maximum TTL, where each renewal is shorter than the one before.
    pub(super) fn on_renewed(&mut self, key: &Key, id: &str, since: Instant, lifetime: Duration) -> bool {
        match self.current.get_mut(key).filter(|it| it.granted.id == id) {
            Some(lease) if lifetime * 2 >= lease.lifetime => {
                (lease.since, lease.lifetime) = (since, lifetime);
                true
            }
            _ => false,
        }
    }

    /// Takes the replaced leases of a key, which are in use nowhere.
    pub(super) fn take_replaced(&mut self, key: &Key) -> Vec<String> {
        let replaced = self.replaced.remove(key).unwrap_or_default();
        let ids = replaced.iter().map(|it| it.granted.id.clone()).collect();
        self.taken.extend(replaced.into_iter().map(|it| (it.granted.id.clone(), (key.clone(), it))));
        ids
    }

    /// Removes a lease that was taken: it is revoked, or runs out.
    pub(super) fn remove_taken(&mut self, id: &str) {
        self.taken.remove(id);
    }

    /// Returns a lease that was taken, to be taken again unless it has run out.
    pub(super) fn return_taken(&mut self, id: &str, now: Instant) {
        if let Some((key, lease)) = self.taken.remove(id)
            && lease.is_alive(now)
        {
            self.replaced.entry(key).or_default().push(lease);
        }
    }

    /// Forgets the leases of a key, which then run out together with their tokens.
    pub(super) fn forget(&mut self, key: &Key) {
        let replaced = self.replaced.remove(key).into_iter().flatten();
        for lease in self.current.remove(key).into_iter().chain(replaced) {
            lease.session.let_expire();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::config::VaultAuth;
    use crate::provider::vault::client::ClientFactory;
    use crate::provider::vault::lease::TokenLease;
    use crate::provider::vault::tests::settings;

    const MINUTE: Duration = Duration::from_mins(1);

    fn lease(id: &str) -> LeaseOfKey {
        let settings = settings("http://127.0.0.1:1", VaultAuth::Environment);
        let client = ClientFactory::new(&settings, MINUTE).expect("a client").client(None);
        let now = Instant::now();
        let session = Session::new(client, now, true, TokenLease::new(now, 0, false));
        let granted = GrantedLease { id: id.into(), is_renewable: true };
        LeaseOfKey { granted, since: now, lifetime: MINUTE, session }
    }

    #[test]
    fn replaced_lease_is_taken_once_and_the_current_never() {
        let (key, mut leases) = (Key::from("a"), HeldLeases::default());
        leases.on_issued(&key, Some(lease("1")));
        assert!(leases.take_replaced(&key).is_empty());
        leases.on_issued(&key, Some(lease("2")));
        leases.on_issued(&key, Some(lease("3")));
        assert_eq!(leases.take_replaced(&key), ["1", "2"]);
        assert!(leases.take_replaced(&key).is_empty());
        leases.on_issued(&key, None);
        assert_eq!(leases.take_replaced(&key), ["3"]);
    }

    #[test]
    fn returned_lease_is_taken_again_until_it_runs_out() {
        let (key, mut leases) = (Key::from("a"), HeldLeases::default());
        let first = lease("1");
        let ends = first.since + MINUTE;
        leases.on_issued(&key, Some(first));
        leases.on_issued(&key, Some(lease("2")));
        assert_eq!(leases.take_replaced(&key), ["1"]);
        leases.return_taken("1", ends.checked_sub(Duration::from_secs(1)).expect("a time"));
        assert_eq!(leases.take_replaced(&key), ["1"]);
        leases.return_taken("1", ends);
        assert!(leases.take_replaced(&key).is_empty());
        leases.on_issued(&key, Some(lease("3")));
        assert_eq!(leases.take_replaced(&key), ["2"]);
        leases.remove_taken("2");
        leases.return_taken("2", ends);
        assert!(leases.take_replaced(&key).is_empty());
    }

    #[test]
    fn only_a_renewable_lease_is_renewed() {
        let (key, mut leases) = (Key::from("a"), HeldLeases::default());
        leases.on_issued(&key, Some(lease("1")));
        assert_eq!(leases.renewable(&key).map(|it| it.granted.id).as_deref(), Some("1"));
        let mut fixed = lease("2");
        fixed.granted.is_renewable = false;
        leases.on_issued(&key, Some(fixed));
        assert!(leases.renewable(&key).is_none());
    }

    #[test]
    fn renewal_below_half_the_lifetime_replaces_the_credential() {
        let (key, now, mut leases) = (Key::from("a"), Instant::now(), HeldLeases::default());
        leases.on_issued(&key, Some(lease("1")));
        assert!(leases.on_renewed(&key, "1", now, MINUTE));
        assert!(leases.on_renewed(&key, "1", now, MINUTE / 2));
        assert!(!leases.on_renewed(&key, "1", now, MINUTE / 5));
        leases.on_issued(&key, Some(lease("2")));
        assert!(!leases.on_renewed(&key, "1", now, MINUTE), "another one was issued since");
    }

    #[test]
    fn forgotten_lease_is_never_revoked() {
        let (key, mut leases) = (Key::from("a"), HeldLeases::default());
        let [first, second] = [lease("1"), lease("2")];
        let sessions = [&first, &second].map(|it| Arc::clone(&it.session));
        leases.on_issued(&key, Some(first));
        leases.on_issued(&key, Some(second));
        leases.forget(&key);
        leases.on_issued(&key, Some(lease("3")));
        assert!(leases.take_replaced(&key).is_empty());
        assert!(sessions.iter().all(|it| it.must_expire()), "nor are their tokens");
    }
}

//! The leases of the credentials that this process obtained.
//!
//! Pure. A lease that another one replaced is kept until its credential is in use nowhere; the caller decides that. A
//! lease that is forgotten runs out by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::issued::GrantedLease;
use crate::credential::Key;

/// A lease with what its renewal depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseOfKey {
    pub(super) granted: GrantedLease,
    pub(super) lifetime: Duration,
    /// The login of the token that obtained the lease: the Vault revokes both together.
    pub(super) logged_in: Instant,
}

/// The leases by key.
#[derive(Debug, Default)]
pub(super) struct HeldLeases {
    current: BTreeMap<Key, LeaseOfKey>,
    replaced: BTreeMap<Key, Vec<String>>,
}

impl HeldLeases {
    /// Records the lease of a new credential; the one before is replaced.
    pub(super) fn on_issued(&mut self, key: &Key, lease: Option<LeaseOfKey>) {
        let before = match lease {
            Some(lease) => self.current.insert(key.clone(), lease),
            None => self.current.remove(key),
        };
        if let Some(before) = before {
            self.replaced.entry(key.clone()).or_default().push(before.granted.id);
        }
    }

    /// Returns the lease of a key, if it can be renewed by the token of this login.
    pub(super) fn renewable(&self, key: &Key, logged_in: Instant) -> Option<LeaseOfKey> {
        let lease = self.current.get(key)?;
        (lease.granted.is_renewable && lease.logged_in == logged_in).then(|| lease.clone())
    }

    /// Records the time for which a lease was renewed. Returns false if the credential has to be replaced: another one
    /// was issued since, or the lease nears its maximum TTL, where each renewal is shorter than the one before.
    pub(super) fn on_renewed(&mut self, key: &Key, id: &str, lifetime: Duration) -> bool {
        match self.current.get_mut(key).filter(|it| it.granted.id == id) {
            Some(lease) if lifetime * 2 >= lease.lifetime => {
                lease.lifetime = lifetime;
                true
            }
            _ => false,
        }
    }

    /// Removes and returns the replaced leases of a key.
    pub(super) fn take_replaced(&mut self, key: &Key) -> Vec<String> {
        self.replaced.remove(key).unwrap_or_default()
    }

    /// Forgets the leases of a key, which then run out.
    pub(super) fn forget(&mut self, key: &Key) {
        self.current.remove(key);
        self.replaced.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn lease(id: &str, logged_in: Instant) -> LeaseOfKey {
        let granted = GrantedLease { id: id.into(), is_renewable: true };
        LeaseOfKey { granted, lifetime: MINUTE, logged_in }
    }

    #[test]
    fn replaced_lease_is_taken_once_and_the_current_never() {
        let (key, now, mut leases) = (Key::from("a"), Instant::now(), HeldLeases::default());
        leases.on_issued(&key, Some(lease("1", now)));
        assert!(leases.take_replaced(&key).is_empty());
        leases.on_issued(&key, Some(lease("2", now)));
        leases.on_issued(&key, Some(lease("3", now)));
        assert_eq!(leases.take_replaced(&key), ["1", "2"]);
        assert!(leases.take_replaced(&key).is_empty());
        leases.on_issued(&key, None);
        assert_eq!(leases.take_replaced(&key), ["3"]);
    }

    #[test]
    fn lease_of_another_login_is_not_renewed() {
        let (key, now, mut leases) = (Key::from("a"), Instant::now(), HeldLeases::default());
        leases.on_issued(&key, Some(lease("1", now)));
        assert!(leases.renewable(&key, now).is_some());
        assert_eq!(leases.renewable(&key, now + MINUTE), None);
        let mut fixed = lease("2", now);
        fixed.granted.is_renewable = false;
        leases.on_issued(&key, Some(fixed));
        assert_eq!(leases.renewable(&key, now), None);
    }

    #[test]
    fn renewal_below_half_the_lifetime_replaces_the_credential() {
        let (key, now, mut leases) = (Key::from("a"), Instant::now(), HeldLeases::default());
        leases.on_issued(&key, Some(lease("1", now)));
        assert!(leases.on_renewed(&key, "1", MINUTE));
        assert!(leases.on_renewed(&key, "1", MINUTE / 2));
        assert!(!leases.on_renewed(&key, "1", MINUTE / 5));
        leases.on_issued(&key, Some(lease("2", now)));
        assert!(!leases.on_renewed(&key, "1", MINUTE), "another one was issued since");
    }

    #[test]
    fn forgotten_lease_is_never_revoked() {
        let (key, now, mut leases) = (Key::from("a"), Instant::now(), HeldLeases::default());
        leases.on_issued(&key, Some(lease("1", now)));
        leases.on_issued(&key, Some(lease("2", now)));
        leases.forget(&key);
        leases.on_issued(&key, Some(lease("3", now)));
        assert!(leases.take_replaced(&key).is_empty());
    }
}

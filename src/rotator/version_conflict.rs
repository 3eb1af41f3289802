//! Finds versions in an observed Secret that a content must not replace.
//!
//! Pure. In go the versions of a content and the versions annotation of a Secret, out come the entries that
//! ask for another read of the store. Each Secret is compared with its own annotation alone: a forged one
//! concerns no other namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::cluster::Secret;
use crate::credential::{StoreKey, Version, VersionOrder};
use crate::docker_config::host_key::HostKey;
use crate::docker_config::versions::{EntryOrigin, KeyFingerprint, parse_lenient};

/// The versions at which the entries of a content were fetched, by host. Last good entries have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchedVersions(pub BTreeMap<HostKey, FetchedVersion>);

/// The version at which one entry was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedVersion {
    /// The key that was read.
    pub store_key: StoreKey,
    /// The version that the store answered.
    pub version: Version,
    /// A later version that was given up for this one: a Secret that holds it, or an earlier one, may be
    /// written.
    pub given_up: Option<Version>,
    /// The fingerprint of the key, which every Secret is compared with.
    fingerprint: KeyFingerprint,
}

/// The keys at which an older version may replace a later one that a Secret holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptedOlder {
    /// These keys: the store answered nothing later for five minutes.
    Keys(BTreeSet<StoreKey>),
    /// Every key: the operator said so.
    All,
}

/// A recorded last good value that is older than the version that a Secret names for the same key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}: the last good value has version {}, which is older than version {}, which this Secret names for {}. The entry, which is missing, is written when the store can be read",
    .0.store_key,
    .0.fetched.with_time(),
    .0.held.with_time(),
    .0.host
)]
pub struct OlderLastGood(pub VersionConflict);

/// An entry of a Secret at a version that the content must not replace before the store was read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionConflict {
    /// The host of the entry.
    pub host: HostKey,
    /// The key that was read.
    pub store_key: StoreKey,
    /// The version in the annotation of the Secret.
    pub held: Version,
    /// The version that the store answered.
    pub fetched: Version,
}

impl AcceptedOlder {
    /// Returns true if a key is one of these.
    #[must_use]
    pub fn contains(&self, store_key: &StoreKey) -> bool {
        match self {
            Self::Keys(keys) => keys.contains(store_key),
            Self::All => true,
        }
    }

    /// Returns true if there is no such key.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Keys(keys) if keys.is_empty())
    }
}

impl Default for AcceptedOlder {
    fn default() -> Self {
        Self::Keys(BTreeSet::new())
    }
}

impl FetchedVersions {
    /// Returns the entries of a Secret that are later than those of the content.
    #[must_use]
    pub fn later_than_fetched(&self, observed: Option<&Secret>) -> Vec<VersionConflict> {
        let later = self.matching(observed).filter(|(_, origin, fetched)| {
            origin.version.compare(&fetched.version) == VersionOrder::Older
                && !fetched.has_given_up(&origin.version)
        });
        later.map(conflict).collect()
    }

    /// Returns the entries of a Secret whose order to those of the content is unknown.
    #[must_use]
    pub fn unordered(&self, observed: Option<&Secret>) -> Vec<VersionConflict> {
        let unordered = self.matching(observed);
        let unordered = unordered.filter(|(_, origin, fetched)| {
            origin.version.compare(&fetched.version) == VersionOrder::Unordered
        });
        unordered.map(conflict).collect()
    }

    /// Returns the entries of a Secret that the content replaces although they are later.
    #[must_use]
    pub fn given_up(&self, observed: Option<&Secret>) -> Vec<VersionConflict> {
        let later = self.matching(observed).filter(|(_, origin, fetched)| {
            origin.version.compare(&fetched.version) == VersionOrder::Older
                && fetched.has_given_up(&origin.version)
        });
        later.map(conflict).collect()
    }

    /// Returns the first entry that another writer wrote since the plan, at a version of unknown order.
    /// `planned_for` is the annotation that the plan was made for.
    #[must_use]
    pub(super) fn unknown_since(
        &self,
        planned_for: Option<&str>,
        observed: Option<&Secret>,
    ) -> Option<VersionConflict> {
        self.first_since(planned_for, observed, |order| order == VersionOrder::Unordered)
    }

    /// Returns the first entry that another writer wrote since the plan, at a later version or one of unknown
    /// order.
    #[must_use]
    pub(super) fn overtaken_since(
        &self,
        planned_for: Option<&str>,
        observed: Option<&Secret>,
    ) -> Option<VersionConflict> {
        self.first_since(planned_for, observed, |order| {
            matches!(order, VersionOrder::Older | VersionOrder::Unordered)
        })
    }

    fn first_since(
        &self,
        planned_for: Option<&str>,
        observed: Option<&Secret>,
        is_conflict: impl Fn(VersionOrder) -> bool,
    ) -> Option<VersionConflict> {
        let annotation = observed.and_then(|secret| secret.versions.as_deref());
        if annotation == planned_for || self.0.is_empty() {
            return None;
        }
        let before = planned_for.map(parse_lenient).unwrap_or_default();
        let mut since = self.matching(observed).filter(|(host, origin, fetched)| {
            before.get(host) != Some(origin) && is_conflict(origin.version.compare(&fetched.version))
        });
        since.next().map(conflict)
    }

    /// Returns the versions of a content that gives up these later ones.
    #[must_use]
    pub fn giving_up(&self, conflicts: &[VersionConflict]) -> Self {
        let mut versions = self.clone();
        for VersionConflict { host, held, .. } in conflicts {
            if let Some(fetched) = versions.0.get_mut(host) {
                fetched.given_up = Some(held.clone());
            }
        }
        versions
    }

    /// Returns the entries of a Secret that came from the same keys as those of the content.
    fn matching(
        &self,
        observed: Option<&Secret>,
    ) -> impl Iterator<Item = (HostKey, EntryOrigin, &FetchedVersion)> {
        let annotation = observed.and_then(|secret| secret.versions.as_deref());
        let origins = annotation.map(parse_lenient).unwrap_or_default();
        origins.into_iter().filter_map(|(host, origin)| {
            let fetched = self.0.get(&host)?;
            let is_same_key = origin.is_from_fingerprint(&fetched.store_key.store, &fetched.fingerprint);
            is_same_key.then_some((host, origin, fetched))
        })
    }
}

fn conflict((host, origin, fetched): (HostKey, EntryOrigin, &FetchedVersion)) -> VersionConflict {
    VersionConflict {
        host,
        store_key: fetched.store_key.clone(),
        held: origin.version,
        fetched: fetched.version.clone(),
    }
}

impl FetchedVersion {
    /// Creates the version of an entry that gives up none.
    #[must_use]
    pub fn new(store_key: &StoreKey, version: Version) -> Self {
        let fingerprint = KeyFingerprint::from(&store_key.key);
        Self { store_key: store_key.clone(), version, given_up: None, fingerprint }
    }

    /// Returns true if `version` is no later than the one that was given up.
    #[must_use]
    pub fn has_given_up(&self, version: &Version) -> bool {
        let given_up = self.given_up.as_ref().map(|given_up| version.compare(given_up));
        given_up.is_some_and(|order| {
            matches!(order, VersionOrder::Same | VersionOrder::Newer | VersionOrder::Recreated)
        })
    }
}

impl VersionConflict {
    /// Returns true if the Secret holds a later version, and false if the order of the two is unknown.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.held.compare(&self.fetched) == VersionOrder::Older
    }
}

impl fmt::Display for VersionConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, store_key, held, fetched } = self;
        let (found, held) = (fetched.with_time(), held.with_time());
        if self.is_ordered() {
            write!(
                f,
                "{store_key}: version {found} is older than version {held}, which this Secret holds for {host}"
            )
        } else {
            write!(
                f,
                "{store_key}: another writer wrote version {held} for {host}, and the store answered version {found}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_key(key: &str) -> StoreKey {
        StoreKey { store: "vault".into(), key: key.into() }
    }

    fn host(host: &str) -> HostKey {
        HostKey::parse(host).expect("a host key")
    }

    /// Each of these is `host=version`, read from the key of the same name.
    fn fetched(versions: &[&str]) -> FetchedVersions {
        let pairs = versions.iter().map(|text| text.split_once('=').expect("host=version"));
        let versions =
            pairs.map(|(name, version)| (host(name), FetchedVersion::new(&store_key(name), version.into())));
        FetchedVersions(versions.collect())
    }

    fn secret(versions: &str) -> Secret {
        Secret { versions: Some(versions.into()), ..Secret::default() }
    }

    fn held(conflicts: &[VersionConflict]) -> Vec<String> {
        conflicts.iter().map(|it| format!("{}={}", it.host, it.held.serialized())).collect()
    }

    #[track_caller]
    fn check_later(versions: &[&str], annotation: &str, expect: &[&str]) {
        assert_eq!(held(&fetched(versions).later_than_fetched(Some(&secret(annotation)))), expect);
    }

    #[test]
    fn later_entry_is_found() {
        check_later(&["ghcr.io=7"], "ghcr.io=vault:8,quay.io=vault:9", &["ghcr.io=8"]);
        check_later(
            &["ghcr.io=7@2026-11-27T10:00:00Z"],
            "ghcr.io=vault:7@2026-11-27T11:00:00Z",
            &["ghcr.io=7@2026-11-27T11:00:00Z"],
        );
    }

    #[test]
    fn earlier_same_and_unordered_entries_are_replaced() {
        for annotation in ["ghcr.io=vault:6", "ghcr.io=vault:7", "ghcr.io=vault:6a7e-8feb", "", "ghcr.io"] {
            check_later(&["ghcr.io=7"], annotation, &[]);
        }
        assert_eq!(fetched(&["ghcr.io=7"]).later_than_fetched(None), []);
    }

    #[test]
    fn entry_without_order_is_found() {
        for (annotation, expect) in [
            ("ghcr.io=vault:6a7e-8feb", &["ghcr.io=6a7e-8feb"][..]),
            ("ghcr.io=vault:8", &[]),
            ("ghcr.io=other:6a7e", &[]),
            ("", &[]),
        ] {
            assert_eq!(held(&fetched(&["ghcr.io=7"]).unordered(Some(&secret(annotation)))), expect);
        }
    }

    #[test]
    fn key_created_again_replaces_a_higher_number() {
        check_later(&["ghcr.io=1@2026-11-27T11:00:00Z"], "ghcr.io=vault:7@2026-11-27T10:00:00Z", &[]);
    }

    #[test]
    fn entry_of_another_store_or_key_has_no_order() {
        check_later(&["ghcr.io=7"], "ghcr.io=other:8", &[]);
        let other = EntryOrigin::new(&store_key("prod/ghcr"), "9@2026-11-27T11:00:00Z".into());
        let annotation = format!("ghcr.io={}", other.annotation());
        check_later(&["ghcr.io=7@2026-11-27T10:00:00Z"], &annotation, &[]);
    }

    #[test]
    fn given_up_version_is_replaced_and_a_later_one_is_not() {
        let versions = fetched(&["ghcr.io=7"]);
        let conflicts = versions.later_than_fetched(Some(&secret("ghcr.io=vault:9")));
        let accepted = versions.giving_up(&conflicts);
        for (annotation, later, given_up) in [
            ("ghcr.io=vault:8", vec![], vec!["ghcr.io=8"]),
            ("ghcr.io=vault:9", vec![], vec!["ghcr.io=9"]),
            ("ghcr.io=vault:10", vec!["ghcr.io=10"], vec![]),
            ("ghcr.io=vault:6", vec![], vec![]),
        ] {
            let secret = secret(annotation);
            assert_eq!(held(&accepted.later_than_fetched(Some(&secret))), later, "{annotation}");
            assert_eq!(held(&accepted.given_up(Some(&secret))), given_up, "{annotation}");
        }
    }

    /// The version that another writer wrote since the plan; the content has `id-1`.
    fn unknown(planned_for: Option<&str>, observed: &str) -> Option<String> {
        let conflict = fetched(&["ghcr.io=id-1"]).unknown_since(planned_for, Some(&secret(observed)));
        conflict.map(|it| it.held.to_string())
    }

    #[test]
    fn name_that_appeared_since_the_plan_is_unknown() {
        assert_eq!(unknown(Some("ghcr.io=vault:id-0"), "ghcr.io=vault:id-2").as_deref(), Some("id-2"));
        assert_eq!(unknown(None, "ghcr.io=vault:id-2").as_deref(), Some("id-2"));
        assert_eq!(unknown(Some("ghcr.io=vault:id-0"), "ghcr.io=vault:id-0"), None);
        assert_eq!(unknown(Some("ghcr.io=vault:id-0"), "ghcr.io=vault:id-1"), None);
        assert_eq!(unknown(Some("ghcr.io=vault:id-0"), ""), None);
    }

    #[test]
    fn last_good_entry_is_overtaken_by_a_later_or_unknown_version() {
        for (planned_for, observed, is_overtaken) in
            [("7", "8", true), ("7", "id", true), ("7", "6", false), ("8", "7", false), ("8", "8", false)]
        {
            let [planned_for, observed] = [planned_for, observed].map(|it| format!("ghcr.io=vault:{it}"));
            let conflict =
                fetched(&["ghcr.io=7"]).overtaken_since(Some(&planned_for), Some(&secret(&observed)));
            assert_eq!(conflict.is_some(), is_overtaken, "{planned_for} {observed}");
        }
    }

    #[test]
    fn message_names_store_key_and_both_versions() {
        let versions = fetched(&["ghcr.io=6@2026-11-27T10:00:00Z"]);
        let conflicts = versions.later_than_fetched(Some(&secret("ghcr.io=vault:7")));
        let messages: Vec<_> = conflicts.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "store vault, key ghcr.io: version 6 (created 2026-11-27T10:00:00Z) is older than version 7, which this Secret holds for ghcr.io"
            ]
        );
    }
}

//! Events and writes that change the cache, and those that do not.

use std::sync::Arc;

use super::Origin::{List, Watch};
use super::*;
use crate::cluster::DockerConfigBytes;
use crate::cluster::ownership::evidence::Marks;
use crate::cluster::ownership::key::OwnershipKey;
use crate::reconcile::claims::Others;
use crate::reconcile::fixture::{cluster_pull_secret, secret, service_account};

fn web(name: &str) -> ObjectRef {
    ObjectRef::namespaced("web".into(), name)
}

fn cluster_scoped(name: &str) -> ObjectRef {
    ObjectRef::cluster_scoped(name)
}

fn labels(value: &str) -> ObjectMap<String, String> {
    [("team".to_owned(), value.to_owned())].into()
}

fn namespace(value: &str, terminating: bool) -> WatchedObject {
    WatchedObject::Namespace { labels: labels(value), terminating }
}

/// The managed Secret by its metadata.
fn metadata_only(resource_version: &str) -> Secret {
    Secret { body: None, ..secret(resource_version, &[("ghcr.io", "1", "pw")]) }
}

fn entry(resource_version: &str, list: &[&str]) -> ServiceAccount {
    ServiceAccount { resource_version: resource_version.into(), ..service_account(list, &["regcred"]) }
}

/// A cache of one namespace, `web`, with the managed Secret and the entry, written at 5 and 6.
fn cache() -> Cache {
    let mut cache = Cache::default();
    cache.apply(cluster_scoped("web"), namespace("a", false), Watch);
    cache.begin_write(&"web".into());
    cache.finish_write(&"web".into(), &mut written(), &Claims::default());
    cache
}

/// The result of our writes.
fn written() -> Applied {
    let secret = AfterWrite {
        before: String::new(),
        now: Some(secret("5", &[("ghcr.io", "1", "pw")])),
        is_written: true,
    };
    let account = AfterWrite { before: "3".into(), now: Some(entry("6", &["regcred"])), is_written: true };
    Applied {
        reports: Vec::new(),
        secrets: [("regcred".into(), secret)].into(),
        service_accounts: [("default".to_owned(), account)].into(),
        writes: Vec::new(),
        difference: None,
        restored_entries: Vec::new(),
        is_read: false,
    }
}

fn reverted(change: CacheChange) -> Option<Vec<ManagedResource>> {
    match change {
        CacheChange::Changed { reverted, .. } => Some(reverted),
        CacheChange::Unchanged => None,
    }
}

fn managed_entry() -> ManagedResource {
    ManagedResource::Entry { service_account: "default".into(), secret_name: "regcred".into() }
}

fn managed_secret() -> ManagedResource {
    ManagedResource::Secret("regcred".into())
}

#[test]
fn event_of_own_write_changes_nothing() {
    let mut cache = cache();
    assert_eq!(
        cache.apply(web("regcred"), WatchedObject::Secret(metadata_only("5")), Watch),
        CacheChange::Unchanged
    );
    assert_eq!(
        cache.apply(web("default"), WatchedObject::ServiceAccount(entry("6", &["regcred"])), Watch),
        CacheChange::Unchanged
    );
    // Neither does a late event from before it.
    assert_eq!(
        cache.apply(web("default"), WatchedObject::ServiceAccount(entry("4", &[])), Watch),
        CacheChange::Unchanged
    );
    assert_eq!(
        cache.delete(&WatchedResource::Secrets("regcred".into()), &web("regcred"), 3),
        CacheChange::Unchanged
    );
    assert!(cache.cluster.namespaces["web"].secrets["regcred"].has_known_data());
}

#[test]
fn edited_secret_has_to_be_read_again() {
    let mut cache = cache();
    let change = cache.apply(web("regcred"), WatchedObject::Secret(metadata_only("9")), Watch);
    assert_eq!(reverted(change), Some(Vec::new()), "a revert is detected once it was read");
    assert!(cache.cluster.namespaces["web"].secrets["regcred"].body.is_none());
}

#[test]
fn removed_resource_is_reported_as_reverted() {
    let mut cache = cache();
    let change = cache.apply(web("default"), WatchedObject::ServiceAccount(entry("9", &["own"])), Watch);
    assert_eq!(reverted(change), Some(vec![managed_entry()]));
    let change = cache.delete(&WatchedResource::Secrets("regcred".into()), &web("regcred"), 9);
    assert_eq!(reverted(change), Some(vec![managed_secret()]));
    assert!(cache.cluster.namespaces["web"].secrets.is_empty());
}

#[test]
fn unrelated_change_updates_resource_version_only() {
    let mut cache = cache();
    let change = cache.apply(web("default"), WatchedObject::ServiceAccount(entry("9", &["regcred"])), Watch);
    assert_eq!(change, CacheChange::Unchanged);
    assert_eq!(cache.cluster.namespaces["web"].service_accounts["default"].resource_version, "9");
}

#[test]
fn namespace_changes_by_labels_and_termination_only() {
    let mut cache = cache();
    assert_eq!(cache.apply(cluster_scoped("web"), namespace("a", false), Watch), CacheChange::Unchanged);
    assert_eq!(reverted(cache.apply(cluster_scoped("web"), namespace("b", false), Watch)), Some(Vec::new()));
    assert_eq!(reverted(cache.apply(cluster_scoped("web"), namespace("b", true), Watch)), Some(Vec::new()));
    assert!(cache.cluster.namespaces["web"].secrets["regcred"].has_known_data(), "its content stays cached");
}

#[test]
fn object_seen_before_its_namespace_is_kept() {
    let mut cache = Cache::default();
    cache.apply(web("default"), WatchedObject::ServiceAccount(entry("3", &[])), Watch);
    assert!(cache.cluster.namespaces.is_empty());
    cache.apply(cluster_scoped("web"), namespace("a", false), Watch);
    assert!(cache.cluster.namespaces["web"].service_accounts.contains_key("default"));
}

#[test]
fn object_missing_from_list_is_deleted() {
    let mut cache = cache();
    let resource = WatchedResource::Secrets("regcred".into());
    let kept = cache.relist(&resource, &[web("regcred")].into());
    assert!(kept.is_empty());
    let deleted = cache.relist(&resource, &BTreeSet::new());
    assert_eq!(deleted.into_iter().map(reverted).collect::<Vec<_>>(), [Some(vec![managed_secret()])]);
    cache.relist(&WatchedResource::Namespaces, &BTreeSet::new());
    assert!(cache.cluster.namespaces.is_empty());
}

fn docker_config<'a>(cache: &'a Cache, namespace: &str, name: &str) -> Option<&'a DockerConfigBytes> {
    let secret = &cache.cluster.namespaces[namespace].secrets[name];
    secret.body.as_ref().expect("a body").docker_config.as_ref()
}

#[test]
fn equal_docker_configs_are_interned_and_foreign_ones_dropped() {
    let mut cache = cache();
    cache.apply(cluster_scoped("db"), namespace("a", false), Watch);
    let foreign = Secret { evidence: Evidence::Foreign, ..secret("8", &[("ghcr.io", "1", "theirs")]) };
    cache.apply(
        ObjectRef::namespaced("db".into(), "regcred"),
        WatchedObject::Secret(metadata_only("7")),
        Watch,
    );
    cache.apply(
        web("other"),
        WatchedObject::Secret(Secret { evidence: Evidence::Foreign, ..metadata_only("8") }),
        Watch,
    );
    let listed = vec![
        (ObjectRef::namespaced("db".into(), "regcred"), secret("7", &[("ghcr.io", "1", "pw")])),
        (web("other"), foreign),
        // Older than our last write.
        (web("regcred"), secret("2", &[("ghcr.io", "1", "old")])),
    ];
    cache.fill_bodies(listed, &Claims::default());
    let one = docker_config(&cache, "web", "regcred").expect("bytes");
    let other = docker_config(&cache, "db", "regcred").expect("bytes");
    assert!(Arc::ptr_eq(one, other));
    assert!(docker_config(&cache, "web", "other").is_none());
}

#[test]
fn object_deleted_during_write_stays_deleted() {
    let mut cache = cache();
    cache.begin_write(&"web".into());
    cache.delete(&WatchedResource::Secrets("regcred".into()), &web("regcred"), 9);
    cache.delete(&WatchedResource::ServiceAccounts, &web("default"), 9);
    cache.finish_write(&"web".into(), &mut written(), &Claims::default());
    let namespace = &cache.cluster.namespaces["web"];
    assert!(namespace.secrets.is_empty() && namespace.service_accounts.is_empty());
    // A tombstone lasts until the end of the write.
    cache.begin_write(&"web".into());
    cache.finish_write(&"web".into(), &mut written(), &Claims::default());
    assert!(cache.cluster.namespaces["web"].secrets.contains_key("regcred"));
}

#[test]
fn secret_deleted_during_list_stays_deleted() {
    let mut cache = cache();
    cache.delete(&WatchedResource::Secrets("regcred".into()), &web("regcred"), 9);
    let listed = vec![(web("regcred"), secret("5", &[("ghcr.io", "1", "pw")]))];
    assert!(cache.fill_bodies(listed, &Claims::default()).is_empty());
    assert!(cache.cluster.namespaces["web"].secrets.is_empty());
}

#[test]
fn recreated_namespace_keeps_its_newer_objects() {
    let mut cache = cache();
    cache.apply(web("builder"), WatchedObject::ServiceAccount(entry("30", &[])), Watch);
    cache.delete(&WatchedResource::Namespaces, &cluster_scoped("web"), 20);
    cache.apply(cluster_scoped("web"), namespace("a", false), Watch);
    let namespace = &cache.cluster.namespaces["web"];
    assert_eq!(namespace.service_accounts.keys().collect::<Vec<_>>(), ["builder"]);
    assert!(namespace.secrets.is_empty() && cache.orphans.iter().next().is_none());
}

const UID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const OTHER_UID: &str = "00000000-0000-0000-0000-000000000001";

/// The Secret as a watch shows it: its UID, and the labels of `images` or none.
fn observed(resource_version: &str, uid: &str, is_labelled: bool) -> WatchedObject {
    let cluster_pull_secret = is_labelled.then(|| "images".to_owned());
    let marks = Marks { managed: is_labelled, cluster_pull_secret, signature: None };
    let evidence = Evidence::default();
    WatchedObject::Secret(Secret {
        uid: uid.into(),
        evidence,
        marks: Some(Box::new(marks)),
        ..metadata_only(resource_version)
    })
}

fn evidence(cache: &Cache) -> &Evidence {
    &cache.cluster.namespaces["web"].secrets["regcred"].evidence
}

/// A cache that knows the key of the installation, with the Secret that was written at 5.
fn judging_cache() -> Cache {
    let mut cache = Cache::default();
    cache.apply(cluster_scoped("web"), namespace("a", false), Watch);
    cache.set_installation(Installation::new(Arc::new(OwnershipKey::new("a", &[1; 32], None)), 16));
    let mut written = written();
    let secret = written.secrets.get_mut("regcred").and_then(|it| it.now.as_mut()).expect("a Secret");
    secret.uid = UID.into();
    cache.begin_write(&"web".into());
    cache.finish_write(&"web".into(), &mut written, &Claims::default());
    cache
}

#[test]
fn written_secret_stays_ours_without_its_labels() {
    let mut cache = judging_cache();
    cache.apply(web("regcred"), observed("9", UID, false), Watch);
    assert_eq!(*evidence(&cache), Evidence::Recorded("images".into()));
    // Also after a deletion was missed, by the record alone.
    cache.delete(&WatchedResource::Secrets("regcred".into()), &web("regcred"), 10);
    cache.apply(web("regcred"), observed("11", UID, false), Watch);
    assert_eq!(*evidence(&cache), Evidence::Recorded("images".into()));
}

#[test]
fn labels_on_another_uid_prove_nothing() {
    let mut cache = judging_cache();
    cache.apply(web("regcred"), observed("9", OTHER_UID, true), Watch);
    assert_eq!(*evidence(&cache), Evidence::Labelled(Some("images".into())));
}

#[test]
fn secret_seen_before_the_key_is_judged_by_it_later() {
    let mut cache = Cache::default();
    cache.apply(cluster_scoped("web"), namespace("a", false), Watch);
    cache.apply(web("regcred"), observed("9", UID, true), Watch);
    assert_eq!(*evidence(&cache), Evidence::Foreign, "nothing is decided yet");
    let mut installation = Installation::new(Arc::new(OwnershipKey::new("a", &[1; 32], None)), 16);
    installation.owned.record_write(&"web".into(), &"regcred".into(), "heir", UID);
    cache.set_installation(installation);
    assert_eq!(*evidence(&cache), Evidence::Recorded("heir".into()));
}

#[test]
fn labels_count_until_there_is_a_key() {
    let mut cache = Cache::default();
    cache.apply(cluster_scoped("web"), namespace("a", false), Watch);
    cache.set_installation(Installation::default());
    cache.apply(web("regcred"), observed("9", UID, true), Watch);
    assert_eq!(*evidence(&cache), Evidence::Unverified("images".into()));
    cache.set_installation(Installation::new(Arc::new(OwnershipKey::new("a", &[1; 32], None)), 16));
    cache.apply(web("regcred"), observed("10", UID, true), Watch);
    assert_eq!(*evidence(&cache), Evidence::Labelled(Some("images".into())));
}

#[test]
fn bytes_of_a_copy_are_kept_only_where_it_is_claimed() {
    for (claims, is_kept) in [
        (Claims::default(), false),
        (Claims::new(&[Arc::new(cluster_pull_secret("images", &["ghcr.io"]))], Others::Unknown), true),
    ] {
        let mut cache = judging_cache();
        cache.apply(web("regcred"), observed("9", OTHER_UID, true), Watch);
        let WatchedObject::Secret(copy) = observed("9", OTHER_UID, true) else { unreachable!() };
        let body = secret("9", &[("ghcr.io", "1", "pw")]).body;
        cache.fill_bodies(vec![(web("regcred"), Secret { body, ..copy })], &claims);
        assert_eq!(docker_config(&cache, "web", "regcred").is_some(), is_kept);
    }
}

#[test]
fn removed_annotation_is_reported_and_kept() {
    let mut cache = cache();
    let bare = ServiceAccount { resource_version: "9".into(), ..service_account(&["regcred"], &[]) };
    let change = cache.apply(web("default"), WatchedObject::ServiceAccount(bare), Watch);
    assert_eq!(reverted(change), Some(vec![managed_entry()]));
    let kept = &cache.cluster.namespaces["web"].service_accounts["default"];
    assert_eq!(kept.annotation, Annotation::Lost { is_present: false });
    assert!(kept.added.contains_key("regcred"));
    // Another change while it is lost is no second revert.
    let later = ServiceAccount { resource_version: "10".into(), ..service_account(&["a", "regcred"], &[]) };
    let change = cache.apply(web("default"), WatchedObject::ServiceAccount(later), Watch);
    assert_eq!(reverted(change), Some(Vec::new()));
}

#[test]
fn unseen_annotation_stays_foreign() {
    let mut cache = Cache::default();
    cache.apply(cluster_scoped("web"), namespace("a", false), Watch);
    for version in ["3", "4"] {
        let foreign =
            ServiceAccount { resource_version: version.into(), ..service_account(&["regcred"], &[]) };
        cache.apply(web("default"), WatchedObject::ServiceAccount(foreign), Watch);
    }
    let kept = &cache.cluster.namespaces["web"].service_accounts["default"];
    assert_eq!((kept.annotation, kept.added.len()), (Annotation::Absent, 0));
}

#[test]
fn list_of_a_restored_etcd_replaces_newer_objects() {
    let mut cache = cache();
    let secrets = WatchedResource::Secrets("regcred".into());
    cache.begin_list(secrets.clone());
    cache.begin_list(WatchedResource::ServiceAccounts);
    assert_eq!(
        reverted(cache.apply(web("regcred"), WatchedObject::Secret(metadata_only("3")), List)),
        Some(Vec::new())
    );
    let account = cache.apply(web("default"), WatchedObject::ServiceAccount(entry("2", &[])), List);
    assert_eq!(reverted(account), Some(vec![managed_entry()]));
    cache.relist(&secrets, &[web("regcred")].into());
    cache.relist(&WatchedResource::ServiceAccounts, &[web("default")].into());
    let namespace = &cache.cluster.namespaces["web"];
    assert_eq!(namespace.secrets["regcred"].resource_version, "3");
    assert!(namespace.secrets["regcred"].body.is_none(), "it has to be read");
    assert_eq!(namespace.service_accounts["default"].resource_version, "2");
}

#[test]
fn restored_etcd_makes_equal_versions_unknown() {
    let mut cache = cache();
    cache.apply(cluster_scoped("db"), namespace("a", false), Watch);
    let db = ObjectRef::namespaced("db".into(), "regcred");
    cache.apply(db.clone(), WatchedObject::Secret(metadata_only("9")), Watch);
    let secrets = WatchedResource::Secrets("regcred".into());
    cache.begin_list(secrets.clone());
    assert_eq!(
        cache.apply(web("regcred"), WatchedObject::Secret(metadata_only("5")), List),
        CacheChange::Unchanged
    );
    assert!(cache.cluster.namespaces["web"].secrets["regcred"].has_known_data());
    cache.apply(db.clone(), WatchedObject::Secret(metadata_only("7")), List);
    cache.relist(&secrets, &[web("regcred"), db].into());
    assert!(!cache.cluster.namespaces["web"].secrets["regcred"].has_known_data());
}

#[test]
fn own_write_since_the_list_began_is_newer_than_the_list() {
    let mut cache = cache();
    cache.begin_list(WatchedResource::Secrets("regcred".into()));
    cache.begin_list(WatchedResource::ServiceAccounts);
    cache.begin_write(&"web".into());
    let mut applied = written();
    for (_, after) in applied.secrets.iter_mut() {
        after.now = Some(secret("8", &[("ghcr.io", "2", "new")]));
    }
    for (_, after) in applied.service_accounts.iter_mut() {
        after.now = Some(entry("9", &["regcred"]));
    }
    cache.finish_write(&"web".into(), &mut applied, &Claims::default());
    let secret = cache.apply(web("regcred"), WatchedObject::Secret(metadata_only("5")), List);
    let account = cache.apply(web("default"), WatchedObject::ServiceAccount(entry("4", &[])), List);
    assert_eq!((secret, account), (CacheChange::Unchanged, CacheChange::Unchanged));
    cache.relist(&WatchedResource::Secrets("regcred".into()), &[web("regcred")].into());
    assert!(cache.cluster.namespaces["web"].secrets["regcred"].has_known_data());
}

/// The result of a write that was planned before etcd was restored from a backup, and that succeeded after it.
fn written_after_restore(before: &str) -> Applied {
    let mut applied = written();
    for (_, after) in applied.secrets.iter_mut() {
        (after.before, after.now) = (before.into(), Some(secret("8", &[("ghcr.io", "2", "new")])));
    }
    for (_, after) in applied.service_accounts.iter_mut() {
        (after.before, after.now) = (before.into(), Some(entry("9", &["regcred"])));
    }
    applied
}

/// A cache with a Secret and an entry that were seen at a version from before the restore.
fn cache_before_restore(version: &str) -> Cache {
    let mut cache = cache();
    cache.apply(web("regcred"), WatchedObject::Secret(metadata_only(version)), Watch);
    cache.apply(web("default"), WatchedObject::ServiceAccount(entry(version, &["regcred"])), Watch);
    cache
}

/// The cached versions of the Secret and the ServiceAccount.
fn versions(cache: &Cache) -> (&str, &str) {
    let Namespace { secrets, service_accounts, .. } = &cache.cluster.namespaces["web"];
    (&secrets["regcred"].resource_version, &service_accounts["default"].resource_version)
}

#[test]
fn write_after_a_restore_of_etcd_replaces_the_version_before() {
    let mut cache = cache_before_restore("9000");
    cache.begin_list(WatchedResource::Secrets("regcred".into()));
    cache.begin_list(WatchedResource::ServiceAccounts);
    cache.begin_write(&"web".into());
    cache.finish_write(&"web".into(), &mut written_after_restore("9000"), &Claims::default());
    assert_eq!(versions(&cache), ("8", "9"));
    // The list may be older than the write.
    cache.apply(web("regcred"), WatchedObject::Secret(metadata_only("7")), List);
    cache.apply(web("default"), WatchedObject::ServiceAccount(entry("7", &[])), List);
    assert_eq!(versions(&cache), ("8", "9"));
}

#[test]
fn dropped_write_leaves_the_list_of_a_restored_etcd() {
    let mut cache = cache_before_restore("9001");
    cache.begin_list(WatchedResource::Secrets("regcred".into()));
    cache.begin_list(WatchedResource::ServiceAccounts);
    cache.begin_write(&"web".into());
    cache.finish_write(&"web".into(), &mut written_after_restore("9000"), &Claims::default());
    assert_eq!(versions(&cache), ("9001", "9001"), "another writer may have been later");
    cache.apply(web("regcred"), WatchedObject::Secret(metadata_only("8")), List);
    cache.apply(web("default"), WatchedObject::ServiceAccount(entry("9", &["regcred"])), List);
    assert_eq!(versions(&cache), ("8", "9"));
}

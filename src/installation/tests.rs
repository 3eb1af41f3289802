//! The writes after a change, and the state after a restart.

use k8s_openapi::ByteString;

use super::api::ShardWrite;
use super::*;
use crate::docker_config::DockerConfig;
use crate::reconcile::fixture::{host_key, recorded, registry};

const UID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
const SHARDS: u16 = 16;

/// An installation of which no shard exists.
fn empty() -> Installation {
    let mut installation = Installation::new(Arc::new(OwnershipKey::new("a", &[1; 32], None)), SHARDS);
    for index in 0..SHARDS {
        let content = Ok(Shard::default());
        installation.restore(StoredShard { index, resource_version: None, content });
    }
    installation
}

fn record_password(installation: &mut Installation, password: &str) {
    let credential = crate::credential::Credential { username: "robot".into(), password: password.into() };
    let config = DockerConfig { auths: [(host_key("ghcr.io"), credential)].into() };
    installation.record_value(
        "images",
        &registry("ghcr.io"),
        LastGoodValue { version: "1".into(), config, expires: None },
    );
}

/// Both a value and a record.
fn filled() -> Installation {
    let mut installation = empty();
    record_password(&mut installation, "one");
    installation.owned.record_write(&"web".into(), &"regcred".into(), "images", UID);
    installation
}

/// Restarts with the shards as they would be written.
fn restart(mut before: Installation, shards: u16) -> Installation {
    let mut next = Installation::new(Arc::new(OwnershipKey::new("a", &[1; 32], None)), shards);
    for PendingShard { index, encoded, .. } in before.take_pending() {
        let resource_version = Some("1".to_owned());
        next.restore(StoredShard { index, resource_version, content: Shard::decode(&encoded.data) });
    }
    next
}

fn knows_everything(installation: &Installation) -> bool {
    installation.values().get("images", &registry("ghcr.io")).is_some()
        && installation.owned.owner(&"web".into(), &"regcred".into(), UID) == Some("images")
}

#[test]
fn nothing_is_written_without_a_change() {
    let mut installation = empty();
    assert!(installation.take_pending().is_empty());
    record_password(&mut installation, "one");
    assert_eq!(installation.take_pending().len(), 1);
    record_password(&mut installation, "one");
    assert!(!installation.has_changes());
}

#[test]
fn value_that_replaces_another_is_written_first() {
    let mut installation = filled();
    assert!(!installation.has_rotated_values(), "nothing older can come back");
    installation.take_pending();
    record_password(&mut installation, "two");
    let recreated = "00000000-0000-0000-0000-000000000001";
    installation.owned.record_write(&"web".into(), &"regcred".into(), "images", recreated);
    assert!(installation.has_rotated_values());
    let first = installation.take_rotated();
    assert_eq!(first.len(), 1);
    assert!(!installation.has_rotated_values());
    let later = installation.take_pending();
    assert!(later.len() == 1 && later[0].index != first[0].index, "the record of the Secret");
    installation.on_failed(first[0].index);
    assert!(!installation.has_rotated_values(), "a failed write is tried again with back-off");
    assert_eq!(installation.take_pending().len(), 1);
}

#[test]
fn restart_restores_values_and_records() {
    let mut next = restart(filled(), SHARDS);
    assert!(knows_everything(&next));
    assert!(!next.has_changes());
}

#[test]
fn other_number_of_shards_moves_what_is_stored() {
    let mut next = restart(filled(), 3);
    assert!(knows_everything(&next));
    for index in 0..3 {
        next.versions.entry(index).or_insert(None);
    }
    assert!(next.has_changes());
    assert!(knows_everything(&restart(next, 3)));
}

#[test]
fn failed_write_is_tried_again() {
    let mut installation = filled();
    let pending = installation.take_pending();
    let failed = pending[0].index;
    installation.on_failed(failed);
    installation.on_written(pending[1].index, "5".into());
    let again: Vec<_> = installation.take_pending().iter().map(|it| it.index).collect();
    assert_eq!(again, [failed]);
}

#[test]
fn invalid_shard_is_rebuilt_from_memory() {
    let mut installation = filled();
    let index = installation.take_pending()[0].index;
    let broken = [("values".to_owned(), ByteString(b"x".to_vec()))].into();
    let content = Shard::decode(&broken);
    let resource_version = Some("9".to_owned());
    assert!(installation.restore(StoredShard { index, resource_version, content }).is_some());
    let pending = installation.take_pending();
    assert_eq!((pending.len(), pending[0].resource_version.as_deref()), (1, Some("9")));
    assert!(knows_everything(&installation));
}

#[test]
fn shard_of_another_writer_adds_what_is_not_known() {
    let mut installation = empty();
    record_password(&mut installation, "newer");
    let mut other = filled();
    for PendingShard { index, encoded, .. } in other.take_pending() {
        let content = Shard::decode(&encoded.data);
        installation.restore(StoredShard { index, resource_version: Some("4".to_owned()), content });
    }
    assert!(knows_everything(&installation));
    let value = installation.values().get("images", &registry("ghcr.io")).expect("a value");
    assert_eq!(
        secrecy::ExposeSecret::expose_secret(&value.config.auths[&host_key("ghcr.io")].password),
        "newer"
    );
}

/// Records a value with a password that is the version.
fn record_version(installation: &mut Installation, version: &str) {
    let credential = crate::credential::Credential { username: "robot".into(), password: version.into() };
    let config = DockerConfig { auths: [(host_key("ghcr.io"), credential)].into() };
    installation.record_value(
        "images",
        &registry("ghcr.io"),
        LastGoodValue { version: version.into(), config, expires: None },
    );
}

#[test]
fn later_value_of_another_writer_survives_a_conflict() {
    let (mut installation, mut other) = (empty(), empty());
    record_version(&mut installation, "7");
    record_version(&mut other, "8");
    let index = installation.take_pending()[0].index;
    let content = Shard::decode(&other.take_pending()[0].encoded.data);
    let stored = StoredShard { index, resource_version: Some("9".to_owned()), content };
    assert!(installation.finish_save(vec![ShardWrite::Conflict(stored)]).is_empty());
    let pending = installation.take_pending();
    assert_eq!(pending[0].resource_version.as_deref(), Some("9"));
    let written = Shard::decode(&pending[0].encoded.data).expect("a shard");
    let versions: Vec<_> = written.values.iter().map(|(_, value)| value.version.to_string()).collect();
    assert_eq!(versions, ["8"]);
}

/// An installation of one shard, which was read with these values: host and version.
fn loaded(values: &[(&str, &str)]) -> Installation {
    let mut installation = Installation::new(Arc::new(OwnershipKey::new("a", &[1; 32], None)), 1);
    installation.restore(stored_at("1", values));
    installation
}

fn stored_at(resource_version: &str, values: &[(&str, &str)]) -> StoredShard {
    let values: Vec<_> = values.iter().map(|(host, version)| (*host, *version, *version)).collect();
    let values = recorded("images", &values);
    let values = values.iter().map(|(id, value)| (id.clone(), value.clone())).collect();
    let content = Ok(Shard { values, records: Vec::new() });
    StoredShard { index: 0, resource_version: Some(resource_version.to_owned()), content }
}

fn read(installation: &mut Installation, host: &str, version: &str) {
    let values = recorded("images", &[(host, version, version)]);
    let value = values.get("images", &registry(host)).expect("a value").clone();
    installation.record_value("images", &registry(host), value);
}

/// Host and version of each value.
fn versions(installation: &Installation) -> Vec<(String, String)> {
    let values = installation.values().iter();
    values
        .map(|(id, value)| (id.host.as_ref().expect("a host").to_string(), value.version.to_string()))
        .collect()
}

fn expected(values: &[(&str, &str)]) -> Vec<(String, String)> {
    values.iter().map(|(host, version)| ((*host).to_owned(), (*version).to_owned())).collect()
}

#[test]
fn conflict_keeps_what_only_the_other_writer_changed() {
    let mut installation =
        loaded(&[("a.io", "id-1"), ("gone.io", "id-1"), ("ours.io", "id-1"), ("vault.io", "8")]);
    read(&mut installation, "a.io", "id-1");
    read(&mut installation, "ours.io", "id-3");
    assert_eq!(installation.take_pending().len(), 1);
    let stored =
        stored_at("2", &[("a.io", "id-2"), ("new.io", "id-1"), ("ours.io", "id-2"), ("vault.io", "7")]);
    installation.finish_save(vec![ShardWrite::Conflict(stored)]);
    let merged = [("a.io", "id-2"), ("new.io", "id-1"), ("ours.io", "id-3"), ("vault.io", "8")];
    assert_eq!(versions(&installation), expected(&merged));
    assert_eq!(installation.take_pending()[0].resource_version.as_deref(), Some("2"));
}

#[test]
fn conflict_does_not_bring_back_a_removed_value() {
    let mut installation = loaded(&[("a.io", "id-1"), ("b.io", "id-1")]);
    let removed = ValueId::new("images", &registry("a.io"));
    installation.retain(|id| *id != removed, |_, _| true);
    installation
        .finish_save(vec![ShardWrite::Conflict(stored_at("2", &[("a.io", "id-1"), ("b.io", "id-1")]))]);
    assert_eq!(versions(&installation), expected(&[("b.io", "id-1")]));
}

#[test]
fn written_value_counts_as_stored() {
    let mut installation = loaded(&[]);
    read(&mut installation, "a.io", "id-1");
    installation.take_pending();
    read(&mut installation, "b.io", "id-1");
    installation.on_written(0, "2".into());
    assert_eq!(installation.unsaved.len(), 2, "the shard changed during the write");
    installation.take_pending();
    installation.on_written(0, "3".into());
    installation.finish_save(vec![ShardWrite::Conflict(stored_at("4", &[("a.io", "id-2")]))]);
    assert_eq!(versions(&installation), expected(&[("a.io", "id-2")]));
}

#[test]
fn deleted_shard_is_rebuilt_from_memory() {
    let mut installation = loaded(&[("a.io", "id-1")]);
    let deleted = StoredShard { index: 0, resource_version: None, content: Ok(Shard::default()) };
    installation.finish_save(vec![ShardWrite::Conflict(deleted)]);
    assert_eq!(versions(&installation), expected(&[("a.io", "id-1")]));
    assert_eq!(installation.take_pending()[0].resource_version, None);
}

#[test]
fn value_of_a_denied_shard_is_not_recorded() {
    let mut installation = Installation::new(Arc::new(OwnershipKey::new("a", &[1; 32], None)), 1);
    installation.on_denied(0);
    assert!(installation.not_recorded().is_empty() && !installation.take_denied_changes());
    read(&mut installation, "a.io", "id-1");
    assert!(!installation.has_changes(), "there is no shard to write");
    assert_eq!(installation.not_recorded(), [("images", NotRecorded::Denied)].into());
    assert!(installation.take_denied_changes() && !installation.take_denied_changes());
}

#[test]
fn nothing_is_kept_of_what_does_not_exist() {
    let mut installation = filled();
    installation.take_pending();
    installation.retain(|id| id.cluster_pull_secret != "images", |owner, _| owner != "images");
    assert_eq!(installation.take_pending().len(), 2);
    assert!(installation.values().iter().next().is_none() && installation.owned.iter().next().is_none());
}

#[test]
fn without_access_nothing_is_written() {
    let mut installation = Installation::default();
    record_password(&mut installation, "one");
    installation.owned.record_write(&"web".into(), &"regcred".into(), "images", UID);
    assert!(!installation.has_changes() && installation.take_pending().is_empty());
    assert!(knows_everything(&installation), "it is known to this process");
}

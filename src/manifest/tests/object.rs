//! ClusterPullSecrets as the API server sends them.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use super::super::Manifests;
use super::super::cluster_pull_secret::ClusterPullSecret;
use super::super::field::FieldErrors;
use super::super::life::sort_by_age;
use super::super::object::{Object, read};
use super::super::status::reason::ReadyReason;
use super::{SMALLEST, good};

fn object(spec: Json) -> Json {
    json!({
        "apiVersion": "regcred.dev/v1alpha1",
        "kind": "ClusterPullSecret",
        "metadata": {
            "name": "images", "uid": "0b1f", "generation": 3, "resourceVersion": "17",
            "creationTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["regcred.dev/cleanup"],
            "annotations": {"regcred.dev/rotate": "now"}, "managedFields": [{"manager": "kubectl"}],
        },
        "spec": spec,
        "status": {"observedGeneration": 2, "secretNames": ["regcred", "old"]},
    })
}

fn spec() -> Json {
    json!({"registries": [{"host": "ghcr.io", "from": {"store": "files", "key": "ghcr"}}]})
}

/// Read beside the one store there is without a Config, `files`.
fn check(object: &Json) -> Result<ClusterPullSecret, FieldErrors> {
    read(object, &good(SMALLEST).stores)
}

fn known(object: &Json) -> Object {
    check(object).expect("no mistake").object.expect("an object")
}

#[test]
fn what_the_api_server_knows_is_kept() {
    let object = known(&object(spec()));
    assert_eq!((object.uid.as_str(), object.generation, object.resource_version.as_str()), ("0b1f", 3, "17"));
    assert_eq!((object.deleting, object.finalizers), (false, vec!["regcred.dev/cleanup".to_owned()]));
    assert_eq!((object.rotate.as_deref(), object.status.observed_generation), (Some("now"), 2));
    assert_eq!(object.secret_names, ["regcred", "old"]);
    assert_eq!(object.created.0.to_string(), "2026-01-02T03:04:05Z");
}

#[test]
fn an_object_means_what_the_same_file_means() {
    let Manifests { cluster_pull_secrets, .. } = good(SMALLEST);
    let mut of_cluster = check(&object(spec())).expect("no mistake");
    of_cluster.object = None;
    assert_eq!(format!("{of_cluster:?}"), format!("{:?}", cluster_pull_secrets[0]));
}

#[test]
fn every_mistake_is_told_with_the_name_in_the_place_of_the_file() {
    let spec = json!({
        "registries": [
            {"host": "ghcr.io", "from": {"store": "fils", "key": "ghcr"}},
            {"host": "https://GHCR.io", "from": {"store": "files", "key": ".."}},
        ],
        "refreshInterval": "5s",
        "registires": 1,
    });
    let mistakes = check(&object(spec)).expect_err("there are mistakes");
    assert_snapshot!(mistakes, @r"
    ClusterPullSecret images: spec.registires: unknown field; did you mean registries? known: deletion, existing, namespaces, refreshInterval, registries, secretName, serviceAccounts, suspend
    ClusterPullSecret images: spec.registries[0].from.store: no store has this name; did you mean files? known: files
    ClusterPullSecret images: spec.registries[1].from.key: must not have . or .. between its slashes
    ClusterPullSecret images: spec.registries[1].host: is ghcr.io, which spec.registries[0].host is already: each registry may be there once
    ClusterPullSecret images: spec.refreshInterval: must be hours, minutes and seconds, such as 1h, 90m or 1h30m, and be from 10s to 720h
    ");
}

#[test]
fn one_that_is_being_deleted_is_at_rest() {
    let mut object = object(spec());
    object["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:06Z");
    assert_eq!(check(&object).expect("no mistake").at_rest(), Some(ReadyReason::Deleting));
}

#[test]
fn a_status_that_nobody_here_understands_keeps_the_names_of_its_secrets() {
    let mut object = object(spec());
    object["status"]["conditions"] = json!([{"type": "Blessed"}]);
    let known = known(&object);
    assert_eq!((known.secret_names.len(), known.status.observed_generation), (2, 0));
}

#[test]
fn the_older_goes_before_the_younger_and_a_file_before_both() {
    let made = |name: &str, created: &str| {
        let mut object = object(spec());
        object["metadata"]["name"] = json!(name);
        object["metadata"]["creationTimestamp"] = json!(created);
        check(&object).expect("no mistake")
    };
    let Manifests { cluster_pull_secrets, .. } = good(&SMALLEST.replace("name: images", "name: z"));
    let mut all = vec![
        made("c", "2026-01-01T00:00:01Z"),
        made("b", "2026-01-01T00:00:01Z"),
        made("d", "2026-01-01T00:00:00Z"),
    ];
    all.extend(cluster_pull_secrets);
    sort_by_age(&mut all);
    assert_eq!(all.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["z", "d", "b", "c"]);
}

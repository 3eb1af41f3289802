//! ClusterPullSecrets as the API server sends them.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use super::super::Manifests;
use super::super::cluster_pull_secret::{ClusterPullSecret, sort_by_age};
use super::super::field::FieldErrors;
use super::super::object::LiveObject;
use super::super::read_object;
use super::super::status::reason::ReadyReason;
use super::{SMALLEST, errors, good};

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

/// Reads an object with the one store that exists without a Config, `files`.
fn check(object: &Json) -> Result<ClusterPullSecret, FieldErrors> {
    read_object(object, &good(SMALLEST).stores)
}

fn known(object: &Json) -> LiveObject {
    check(object).expect("valid").object.expect("an object")
}

#[test]
fn state_in_the_api_server_is_read() {
    let object = known(&object(spec()));
    assert_eq!((object.uid.as_str(), object.generation, object.resource_version.as_str()), ("0b1f", 3, "17"));
    assert_eq!((object.deleting, object.finalizers), (false, vec!["regcred.dev/cleanup".to_owned()]));
    assert_eq!((object.rotate.as_deref(), object.status.observed_generation), (Some("now"), 2));
    assert_eq!(object.secret_names, ["regcred", "old"]);
    assert_eq!(object.created.0.to_string(), "2026-01-02T03:04:05Z");
}

#[test]
fn object_equals_the_same_file() {
    let Manifests { cluster_pull_secrets, .. } = good(SMALLEST);
    let mut in_cluster = check(&object(spec())).expect("valid");
    in_cluster.object = None;
    assert_eq!(format!("{in_cluster:?}"), format!("{:?}", cluster_pull_secrets[0]));
}

#[test]
fn object_has_the_allow_lists_of_the_stores() {
    let stores = good(&format!(
        "apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores: [{{name: files, file: {{directory: x}}, hosts: [quay.io]}}]\n---\n{SMALLEST}"
    ));
    let object = read_object(&object(spec()), &stores.stores).expect("valid");
    let host = object.registries[0].host.as_ref().expect("a host");
    assert!(!object.admission.admits_host(&"files".into(), host));
}

#[test]
fn errors_name_the_object_instead_of_a_file() {
    let spec = json!({
        "registries": [
            {"host": "ghcr.io", "from": {"store": "fils", "key": "ghcr"}},
            {"host": "https://GHCR.io", "from": {"store": "files", "key": ".."}},
        ],
        "refreshInterval": "5s",
        "existing": "Merge",
    });
    let errors = check(&object(spec)).expect_err("errors");
    assert_snapshot!(errors, @r"
    ClusterPullSecret images: spec.existing: no such value; known: Refuse, Adopt, AdoptAndKeep
    ClusterPullSecret images: spec.registries[0].from.store: no store has this name; did you mean files? known: files
    ClusterPullSecret images: spec.registries[1].from.key: must not have . or .. between its slashes
    ClusterPullSecret images: spec.registries[1].host: is ghcr.io, which spec.registries[0].host has already: list each registry only once
    ClusterPullSecret images: spec.refreshInterval: must be hours, minutes and seconds, such as 1h, 90m or 1h30m, and be from 10s to 720h
    ");
}

#[test]
fn unknown_field_of_an_object_is_reported_and_refused_in_a_file() {
    let mut object = object(spec());
    object["spec"]["verify"] = json!("Enforce");
    object["spec"]["registries"][0]["from"]["nextKey"] = json!("x");
    let read = check(&object).expect("an object of a newer CRD is served");
    assert_eq!(read.registries[0].store_key.key.0, "ghcr");
    let live = read.object.expect("an object");
    assert_eq!(live.unknown_fields, ["spec.registries[0].from.nextKey", "spec.verify"]);
    assert_eq!(
        live.unknown_fields_message().as_deref(),
        Some(
            "ignored what only a newer regcred knows: spec.registries[0].from.nextKey, spec.verify. \
             Upgrade regcred to the version of the CRD"
        )
    );
    let file = errors(&object.to_string());
    assert!(file.contains("spec.verify: unknown field"), "{file}");
    assert!(file.contains("spec.registries[0].from.nextKey: unknown field"), "{file}");
}

#[test]
fn many_unknown_fields_are_counted() {
    let mut object = object(spec());
    for n in 0..7 {
        object["spec"][format!("new{n}")] = json!(n);
    }
    let message = known(&object).unknown_fields_message().expect("a message");
    assert!(
        message.contains("spec.new0, spec.new1, spec.new2, spec.new3, spec.new4 and 2 more."),
        "{message}"
    );
}

#[test]
fn unknown_value_or_type_of_an_object_is_invalid() {
    for (field, value) in [("existing", json!("Merge")), ("suspend", json!("yes")), ("namespaces", json!([]))]
    {
        let mut object = object(spec());
        object["spec"][field] = value;
        assert!(check(&object).is_err(), "{field}");
    }
}

#[test]
fn deleted_object_is_inactive() {
    let mut object = object(spec());
    object["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:06Z");
    assert_eq!(check(&object).expect("valid").inactive_reason(), Some(ReadyReason::Deleting));
}

#[test]
fn unknown_status_keeps_the_secret_names() {
    let mut object = object(spec());
    object["status"]["conditions"] = json!([{"type": "Blessed"}]);
    let known = known(&object);
    assert_eq!((known.secret_names.len(), known.status.observed_generation), (2, 0));
}

fn created(name: &str, at: &str) -> ClusterPullSecret {
    let mut object = object(spec());
    object["metadata"]["name"] = json!(name);
    object["metadata"]["creationTimestamp"] = json!(at);
    check(&object).expect("valid")
}

#[test]
fn older_sorts_before_younger_and_files_first() {
    let Manifests { cluster_pull_secrets, .. } = good(&SMALLEST.replace("name: images", "name: z"));
    let mut all = vec![
        created("c", "2026-01-01T00:00:01Z"),
        created("b", "2026-01-01T00:00:01Z"),
        created("d", "2026-01-01T00:00:00Z"),
    ];
    all.extend(cluster_pull_secrets);
    sort_by_age(&mut all);
    assert_eq!(all.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["z", "d", "b", "c"]);
}

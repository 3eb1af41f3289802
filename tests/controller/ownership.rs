//! The evidence that a Secret is regcred's: labels decide nothing, a copy is left alone, and nothing depends on the UID
//! of a ClusterPullSecret.

use std::collections::BTreeMap;

use harness::{CLUSTER_PULL_SECRETS, NAMESPACE, TestCluster, docker_config, line, until};
use serde_json::{Value, json};

use crate::cluster::{QUIET, test_cluster};
use crate::controller::RunController as _;

const OWNER: &str = "regcred.dev/owner";
const VERSIONS: &str = "regcred.dev/versions";

fn secret_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/regcred")
}

/// The edits by which a tenant tries to make a Secret somebody else's; each puts an older password into it.
fn edits() -> [Value; 4] {
    let old = "eyJhdXRocyI6eyJnaGNyLmlvIjp7ImF1dGgiOiJjbTlpYjNRNmIyeGsifX19";
    let data = json!({".dockerconfigjson": old});
    let labels = |manager: Value, name: Value| json!({"app.kubernetes.io/managed-by": manager, "regcred.dev/pull-secret": name});
    [
        json!({"metadata": {"labels": labels(Value::Null, Value::Null)}, "data": data}),
        json!({"metadata": {"labels": labels(json!("regcred"), json!("other"))}, "data": data}),
        json!({"metadata": {"annotations": {OWNER: null}}, "data": data}),
        json!({"metadata": {"labels": null, "annotations": null}, "data": data}),
    ]
}

/// The marks and the content of a Secret, which an edit must not change for long.
fn substance(secret: &Value) -> (Value, Value, Value) {
    let metadata = &secret["metadata"];
    (metadata["labels"].clone(), metadata["annotations"].clone(), docker_config(secret))
}

async fn uids(cluster: &TestCluster) -> BTreeMap<String, Value> {
    let secrets = cluster.secrets().await.into_iter();
    secrets.map(|(namespace, secret)| (namespace, secret["metadata"]["uid"].clone())).collect()
}

/// The Secret as `kubectl get -o yaml` shows it, for another namespace.
fn copy_of(secret: &Value) -> Value {
    let metadata = &secret["metadata"];
    json!({
        "metadata": {"name": "regcred", "labels": metadata["labels"], "annotations": metadata["annotations"]},
        "type": secret["type"], "data": secret["data"],
    })
}

/// The owner reference that earlier versions wrote into pull secrets.
async fn owner_reference(cluster: &TestCluster) -> Value {
    let object = cluster.get_cluster_pull_secret(cluster.name).await.expect("it is there");
    json!([{
        "apiVersion": "regcred.dev/v1alpha1", "kind": "ClusterPullSecret", "name": cluster.name,
        "uid": object["metadata"]["uid"],
    }])
}

/// Deletes a ClusterPullSecret without its finalizer, as a restore from a backup does.
async fn drop_object(cluster: &TestCluster) -> Value {
    let path = format!("{CLUSTER_PULL_SECRETS}/{}", cluster.name);
    let mut object = cluster.get_cluster_pull_secret(cluster.name).await.expect("it is there");
    cluster.kube.patch(&path, &json!({"metadata": {"finalizers": null}})).await.expect("a patch");
    cluster.kube.delete(&path).await.expect("a deletion");
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"] {
        object["metadata"].as_object_mut().expect("metadata").remove(field);
    }
    object
}

#[tokio::test]
async fn removed_or_forged_labels_pin_no_password() {
    for (name, existing) in [("owner-refuse", "Refuse"), ("owner-adopt", "Adopt")] {
        let cluster = test_cluster(name, 2).await;
        let _controller = cluster.start_synced_with("one", "existing", json!(existing)).await;
        let namespace = cluster.namespace(0);
        let good = cluster.secret(namespace).await.expect("a Secret");
        for edit in &edits()[..2] {
            cluster.kube.patch(&secret_path(namespace), edit).await.expect("an edit");
            until("the Secret is as before", async || {
                cluster.secret(namespace).await.is_some_and(|it| substance(&it) == substance(&good))
            })
            .await;
        }
        cluster.put_password("two").await;
        cluster.request_rotation(cluster.name).await;
        cluster.until_synced("two").await;
    }
}

#[tokio::test]
async fn marks_removed_while_stopped_are_restored() {
    let cluster = test_cluster("owner-stopped", 4).await;
    let controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    assert_eq!(controller.terminate().await.0, Some(0));
    let before = cluster.secrets().await;
    for (namespace, edit) in cluster.namespaces.iter().zip(edits()) {
        cluster.kube.patch(&secret_path(namespace), &edit).await.expect("an edit");
    }
    let _next = cluster.controller().start().await;
    until("every Secret is as before", async || {
        let now = cluster.secrets().await;
        before
            .iter()
            .all(|(namespace, it)| now.get(namespace).is_some_and(|now| substance(now) == substance(it)))
    })
    .await;
}

#[tokio::test]
async fn copy_in_another_namespace_is_never_removed() {
    let cluster = test_cluster("owner-copy", 2).await;
    let _controller = cluster.start_synced("one").await;
    cluster.select("owner-copy-001", false).await;
    until("the Secret is gone", async || cluster.secret("owner-copy-001").await.is_none()).await;
    let copy = copy_of(&cluster.secret("owner-copy-000").await.expect("a Secret"));
    cluster.until_idle().await;
    let mark = cluster.mark();
    cluster.kube.post("/api/v1/namespaces/owner-copy-001/secrets", &copy).await.expect("a copy");
    tokio::time::sleep(QUIET).await;
    assert_eq!(cluster.writes(mark).await, Vec::<String>::new());
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/owner-copy")).await.expect("a deletion");
    until("the ClusterPullSecret is gone", async || {
        cluster.get_cluster_pull_secret("owner-copy").await.is_none()
    })
    .await;
    assert!(cluster.secret("owner-copy-000").await.is_none(), "it is regcred's own");
    tokio::time::sleep(QUIET).await;
    assert!(cluster.secret("owner-copy-001").await.is_some(), "it is a tenant's");
}

/// Replaces the pull secret of a namespace by an `Opaque` Secret with the same marks, as a tenant may.
async fn replace_by_opaque(cluster: &TestCluster, namespace: &str, marks: &Value) {
    if cluster.secret(namespace).await.is_some() {
        cluster.kube.delete(&secret_path(namespace)).await.expect("a deletion");
    }
    let opaque = json!({
        "metadata": {
            "name": "regcred", "labels": marks["labels"], "annotations": marks["annotations"],
            "ownerReferences": marks["ownerReferences"],
        },
        "type": "Opaque",
    });
    cluster.kube.post(&format!("/api/v1/namespaces/{namespace}/secrets"), &opaque).await.expect("a Secret");
}

#[tokio::test]
async fn signed_secret_of_another_type_holds_no_deletion() {
    let cluster = test_cluster("owner-opaque", 3).await;
    let controller = cluster.start_synced("one").await;
    let mut marks = Vec::new();
    for namespace in &cluster.namespaces {
        marks.push(cluster.secret(namespace).await.expect("a Secret")["metadata"].clone());
    }
    cluster.select("owner-opaque-002", false).await;
    until("the Secret is gone", async || cluster.secret("owner-opaque-002").await.is_none()).await;
    cluster.until_idle().await;
    let mark = cluster.mark();
    // One namespace is selected, where the Secret is read; of the other one only the metadata is known.
    controller.pause();
    for n in [1, 2] {
        replace_by_opaque(&cluster, cluster.namespace(n), &marks[n]).await;
    }
    controller.resume();
    until("the other type is reported", async || {
        cluster.condition("owner-opaque", "Applied").await == "False WrongType"
    })
    .await;
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/owner-opaque")).await.expect("a deletion");
    until("the ClusterPullSecret is gone", async || {
        cluster.get_cluster_pull_secret("owner-opaque").await.is_none()
    })
    .await;
    let mut left = cluster.secrets().await;
    assert_eq!(left.remove("owner-opaque-000"), None);
    assert!(left.len() == 2 && left.values().all(|it| it["type"] == "Opaque"), "{left:?}");
    let mut deletions = cluster.writes(mark).await;
    deletions.retain(|it| it.starts_with("delete secrets"));
    assert_eq!(deletions, ["delete secrets owner-opaque-000/regcred 200"]);
}

#[tokio::test]
async fn opaque_secret_with_long_versions_holds_no_deletion() {
    for (name, deletion) in [("owner-long", "Delete"), ("owner-long-retain", "Retain")] {
        let cluster = test_cluster(name, 2).await;
        let controller = cluster.start_synced_with("one", "deletion", json!(deletion)).await;
        let namespace = cluster.namespace(1);
        let mut marks = cluster.secret(namespace).await.expect("a Secret")["metadata"].clone();
        // More than is kept of each Secret, so the Secret is read again before each decision.
        marks["annotations"][VERSIONS] = json!("x".repeat(17 << 10));
        marks["ownerReferences"] = owner_reference(&cluster).await;
        cluster.until_idle().await;
        controller.pause();
        replace_by_opaque(&cluster, namespace, &marks).await;
        controller.resume();
        until("the other type is reported", async || {
            cluster.condition(name, "Applied").await == "False WrongType"
        })
        .await;
        cluster.until_idle().await;
        let mark = cluster.mark();
        cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/{name}")).await.expect("a deletion");
        until("the ClusterPullSecret is gone", async || {
            cluster.get_cluster_pull_secret(name).await.is_none()
        })
        .await;
        let requests = cluster.requests(mark).await;
        let reads =
            requests.iter().map(line).filter(|it| it.contains(&format!("secrets {namespace}/regcred")));
        let reads: Vec<_> = reads.collect();
        assert!(reads.len() <= 2 && reads.iter().all(|it| it.starts_with("get ")), "{reads:?}");
    }
}

#[tokio::test]
async fn copy_is_taken_over_where_its_namespace_is_selected() {
    let cluster = test_cluster("owner-claim", 2).await;
    let _controller = cluster.start_synced("one").await;
    cluster.select("owner-claim-001", false).await;
    until("the Secret is gone", async || cluster.secret("owner-claim-001").await.is_none()).await;
    let copy = copy_of(&cluster.secret("owner-claim-000").await.expect("a Secret"));
    cluster.kube.post("/api/v1/namespaces/owner-claim-001/secrets", &copy).await.expect("a copy");
    cluster.select("owner-claim-001", true).await;
    cluster.until_synced("one").await;
    until("it is signed for its own namespace", async || {
        let secret = cluster.secret("owner-claim-001").await.expect("a Secret");
        secret["metadata"]["annotations"][OWNER] != copy["metadata"]["annotations"][OWNER]
    })
    .await;
}

#[tokio::test]
async fn name_repeated_by_a_tenant_costs_few_requests() {
    const REPEATED: usize = 5000;
    let cluster = test_cluster("owner-repeat", 1).await;
    let _controller = cluster.start_synced("one").await;
    let path = "/api/v1/namespaces/owner-repeat-000/serviceaccounts/default";
    let mut account = cluster.kube.get(path).await.expect("a ServiceAccount");
    let entries = (0..REPEATED).map(|_| json!({"name": "regcred"}));
    account["imagePullSecrets"] = entries.chain([json!({"name": "theirs"})]).collect();
    cluster.kube.put(path, &account).await.expect("an edit");
    let mark = cluster.mark();
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/owner-repeat")).await.expect("a deletion");
    until("the ClusterPullSecret is gone", async || {
        cluster.get_cluster_pull_secret("owner-repeat").await.is_none()
    })
    .await;
    assert_eq!(cluster.references("owner-repeat-000", "default").await, ["theirs"]);
    assert!(cluster.secret("owner-repeat-000").await.is_none());
    let patches = cluster.writes(mark).await.into_iter().filter(|it| it.contains("serviceaccounts")).count();
    assert!(patches <= REPEATED / 500 + 2, "{patches} patches");
}

#[tokio::test]
async fn successor_takes_over_retained_secrets() {
    let cluster = test_cluster("owner-retain", 2).await;
    let _controller = cluster.start_synced_with("one", "deletion", json!("Retain")).await;
    let before = uids(&cluster).await;
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/owner-retain")).await.expect("a deletion");
    until("the ClusterPullSecret is gone", async || {
        cluster.get_cluster_pull_secret("owner-retain").await.is_none()
    })
    .await;
    cluster.put_password("two").await;
    let mut successor = cluster.cluster_pull_secret("owner-successor");
    successor["metadata"]["name"] = json!("owner-successor");
    cluster.apply(&successor).await;
    cluster.until_synced("two").await;
    assert_eq!(uids(&cluster).await, before, "they are taken over in place");
    until("the successor is ready", async || {
        cluster.condition("owner-successor", "Ready").await.starts_with("True")
    })
    .await;
}

#[tokio::test]
async fn successor_of_a_suspended_owner_keeps_its_secrets() {
    let cluster = test_cluster("owner-suspended", 20).await;
    let _controller = cluster.start_synced("one").await;
    cluster.patch_spec(cluster.name, json!({"suspend": true})).await;
    until("it is suspended", async || cluster.condition(cluster.name, "Ready").await == "False Suspended")
        .await;
    // As earlier versions wrote them: a suspended ClusterPullSecret writes nothing since the upgrade.
    let owned = json!({"metadata": {"ownerReferences": owner_reference(&cluster).await}});
    for namespace in &cluster.namespaces {
        cluster.kube.patch(&secret_path(namespace), &owned).await.expect("an owner reference");
    }
    let mut successor = cluster.cluster_pull_secret("owner-heir");
    successor["metadata"]["name"] = json!("owner-heir");
    cluster.apply(&successor).await;
    until("the conflict is reported", async || {
        cluster.condition("owner-heir", "Applied").await.starts_with("False")
    })
    .await;
    cluster.until_idle().await;
    let (before, mark) = (uids(&cluster).await, cluster.mark());
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/{}", cluster.name)).await.expect("a deletion");
    until("the ClusterPullSecret is gone", async || {
        cluster.get_cluster_pull_secret(cluster.name).await.is_none()
    })
    .await;
    until("the successor is ready", async || {
        cluster.condition("owner-heir", "Ready").await.starts_with("True")
    })
    .await;
    // The garbage collector would take about a second.
    tokio::time::sleep(2 * QUIET).await;
    assert_eq!(uids(&cluster).await, before, "no Secret was removed or made anew");
    let writes = cluster.writes(mark).await;
    let finalized = writes.iter().rposition(|it| it.contains("clusterpullsecrets owner-suspended "));
    let taken_over = writes.iter().rposition(|it| it.starts_with("patch secrets "));
    assert!(taken_over.is_some() && taken_over < finalized, "{writes:?}");
}

#[tokio::test]
async fn copy_with_an_owner_holds_no_retained_deletion() {
    let cluster = test_cluster("owner-held", 3).await;
    let controller = cluster.start_synced_with("one", "deletion", json!("Retain")).await;
    cluster.select("owner-held-002", false).await;
    until("the Secret is gone", async || cluster.secret("owner-held-002").await.is_none()).await;
    let owner = owner_reference(&cluster).await;
    let mut copy = copy_of(&cluster.secret("owner-held-000").await.expect("a Secret"));
    copy["metadata"]["ownerReferences"] = owner;
    cluster.kube.post("/api/v1/namespaces/owner-held-002/secrets", &copy).await.expect("a copy");
    cluster.until_idle().await;
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/owner-held")).await.expect("a deletion");
    controller.resume();
    until("the ClusterPullSecret is gone", async || {
        cluster.get_cluster_pull_secret("owner-held").await.is_none()
    })
    .await;
    for namespace in ["owner-held-000", "owner-held-001"] {
        assert!(cluster.secret(namespace).await.is_some(), "{namespace} is retained");
    }
    let lines = controller.lines();
    let warnings =
        lines.iter().filter(|line| line.to_string().contains("the garbage collector removes them"));
    let named: Vec<_> = warnings.map(|line| line["namespaces"].clone()).collect();
    assert_eq!(named, ["owner-held-002"]);
}

#[tokio::test]
async fn restore_from_a_backup_removes_nothing() {
    let cluster = test_cluster("owner-restore", 3).await;
    let controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    controller.pause();
    let object = drop_object(&cluster).await;
    cluster.apply(&object).await;
    for (namespace, secret) in cluster.secrets().await {
        cluster.kube.delete(&secret_path(&namespace)).await.expect("a deletion");
        let mut restored = copy_of(&secret);
        restored["metadata"]["ownerReferences"] = secret["metadata"]["ownerReferences"].clone();
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        cluster.kube.post(&path, &restored).await.expect("a restored Secret");
    }
    let (mark, restored) = (cluster.mark(), uids(&cluster).await);
    controller.resume();
    until("the new object is ready", async || {
        cluster.condition("owner-restore", "Ready").await.starts_with("True")
    })
    .await;
    // The garbage collector would take about a second.
    tokio::time::sleep(2 * QUIET).await;
    assert_eq!(uids(&cluster).await, restored, "no Secret was removed or made anew");
    assert_eq!(cluster.out_of_sync("one").await, Vec::<String>::new());
    let writes = cluster.writes(mark).await;
    assert!(!writes.iter().any(|it| it.contains("secrets owner-restore")), "{writes:?}");

    // They are regcred's still: they go with the object.
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/owner-restore")).await.expect("a deletion");
    until("the Secrets are gone", async || cluster.secrets().await.is_empty()).await;
}

#[tokio::test]
async fn secret_of_the_baseline_is_signed_in_one_write() {
    let cluster = test_cluster("owner-upgrade", 3).await;
    let controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    assert_eq!(controller.terminate().await.0, Some(0));
    let object = cluster.get_cluster_pull_secret("owner-upgrade").await.expect("it is there");
    let ours = json!({
        "apiVersion": "regcred.dev/v1alpha1", "kind": "ClusterPullSecret", "name": "owner-upgrade",
        "uid": object["metadata"]["uid"],
    });
    for namespace in &cluster.namespaces {
        let map = json!({"metadata": {"name": "tenants"}});
        let map = cluster.kube.post(&format!("/api/v1/namespaces/{namespace}/configmaps"), &map).await;
        let uid = map.expect("a ConfigMap")["metadata"]["uid"].clone();
        let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "tenants", "uid": uid});
        let baseline = json!({"metadata": {"annotations": {OWNER: null}, "ownerReferences": [theirs, ours]}});
        cluster.kube.patch(&secret_path(namespace), &baseline).await.expect("a patch");
    }
    forget_records(&cluster).await;
    let (mark, before) = (cluster.mark(), uids(&cluster).await);
    let _next = cluster.controller().start().await;
    until("every Secret is signed and has the tenant's owner alone", async || {
        cluster.secrets().await.values().all(|secret| {
            let metadata = &secret["metadata"];
            let owners = metadata["ownerReferences"].as_array().cloned().unwrap_or_default();
            metadata["annotations"][OWNER].is_string()
                && owners.iter().map(|it| &it["kind"]).eq([&json!("ConfigMap")])
        })
    })
    .await;
    assert_eq!(uids(&cluster).await, before);
    let mut writes = cluster.writes(mark).await;
    writes.retain(|it| it.contains(" secrets "));
    let expect: Vec<_> =
        cluster.namespaces.iter().map(|it| format!("patch secrets {it}/regcred 200")).collect();
    writes.sort();
    assert_eq!(writes, expect);
}

/// Deletes the Secrets with the last good values and the record of Secrets.
async fn forget_records(cluster: &TestCluster) {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let list = cluster.kube.get(&format!("{path}?fieldSelector=type%3Dregcred.dev/last-good")).await;
    for secret in list.expect("a list")["items"].as_array().into_iter().flatten() {
        let name = secret["metadata"]["name"].as_str().expect("a name");
        cluster.kube.delete(&format!("{path}/{name}")).await.expect("a deletion");
    }
}

#[tokio::test]
async fn upgrade_with_an_empty_selection_removes_nothing() {
    let cluster = test_cluster("owner-typo", 3).await;
    let controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    assert_eq!(controller.terminate().await.0, Some(0));
    // As under a version without signatures, whose guard held: the Secrets are there, and nothing is selected.
    let unsigned = json!({"metadata": {"annotations": {OWNER: null}}});
    for namespace in &cluster.namespaces {
        cluster.kube.patch(&secret_path(namespace), &unsigned).await.expect("a patch");
    }
    forget_records(&cluster).await;
    cluster
        .patch_spec("owner-typo", json!({"namespaces": {"selector": null, "include": ["owner-tpyo-*"]}}))
        .await;
    let mark = cluster.mark();
    let _next = cluster.controller().start().await;
    until("the typo is reported", async || {
        cluster.condition("owner-typo", "Applied").await == "False NothingSelected"
    })
    .await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(cluster.writes_in_namespaces(mark).await, Vec::<String>::new());
    assert_eq!(cluster.out_of_sync("one").await, Vec::<String>::new());
}

#[tokio::test]
async fn leftover_of_the_baseline_outside_the_selection_is_left_alone() {
    let cluster = test_cluster("owner-leftover", 2).await;
    let controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    assert_eq!(controller.terminate().await.0, Some(0));
    let unsigned = json!({"metadata": {"annotations": {OWNER: null}}});
    cluster.kube.patch(&secret_path("owner-leftover-001"), &unsigned).await.expect("a patch");
    forget_records(&cluster).await;
    cluster.select("owner-leftover-001", false).await;
    let _next = cluster.controller().start().await;
    until("the entry is removed", async || {
        cluster.references("owner-leftover-001", "default").await.is_empty()
    })
    .await;
    tokio::time::sleep(QUIET).await;
    assert!(cluster.secret("owner-leftover-001").await.is_some());
}

#[tokio::test]
async fn entry_without_annotation_goes_before_its_secret() {
    let cluster = test_cluster("owner-entry", 2).await;
    let _controller = cluster.start_synced("one").await;
    let account = "/api/v1/namespaces/owner-entry-001/serviceaccounts/default";
    let bare = json!({"metadata": {"annotations": null}, "imagePullSecrets": [{"name": "own"}, {"name": "regcred"}]});
    cluster.kube.patch(account, &bare).await.expect("a patch");
    cluster.until_idle().await;
    let mark = cluster.mark();
    cluster.select("owner-entry-001", false).await;
    until("the Secret is gone", async || cluster.secret("owner-entry-001").await.is_none()).await;
    assert_eq!(cluster.references("owner-entry-001", "default").await, ["own"]);
    let writes = cluster.writes(mark).await;
    let expect =
        ["patch serviceaccounts owner-entry-001/default 200", "delete secrets owner-entry-001/regcred 200"];
    assert_eq!(writes.iter().filter(|it| it.contains("owner-entry-001")).collect::<Vec<_>>(), expect);
}

const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterpullsecrets.regcred.dev";

#[tokio::test]
async fn deleted_crd_removes_every_secret_with_a_running_controller() {
    let cluster = test_cluster("owner-crd", 2).await;
    let controller = cluster.start_synced("one").await;
    cluster.kube.delete(CRD).await.expect("a deletion");
    until("the CRD is gone", async || cluster.kube.get(CRD).await.is_err()).await;
    assert!(cluster.secrets().await.is_empty());
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn deleted_crd_waits_for_a_controller_that_is_away() {
    let cluster = test_cluster("owner-crd-away", 2).await;
    let controller = cluster.start_synced("one").await;
    controller.kill().await;
    cluster.kube.delete(CRD).await.expect("a deletion");
    until("the object waits for its finalizer", async || {
        let object = cluster.get_cluster_pull_secret("owner-crd-away").await;
        object.is_some_and(|it| it["metadata"]["deletionTimestamp"].is_string())
    })
    .await;
    assert_eq!(cluster.out_of_sync("one").await, Vec::<String>::new());
    let _next = cluster.controller().start().await;
    until("the CRD is gone", async || cluster.kube.get(CRD).await.is_err()).await;
    assert!(cluster.secrets().await.is_empty());
}

#[tokio::test]
async fn object_dropped_without_its_finalizer_owns_nothing() {
    let cluster = test_cluster("owner-dropped", 2).await;
    let controller = cluster.start_synced("one").await;
    controller.kill().await;
    drop_object(&cluster).await;
    let _next = cluster.controller().start().await;
    tokio::time::sleep(2 * QUIET).await;
    assert_eq!(cluster.out_of_sync("one").await, Vec::<String>::new());
}

//! Objects that the baseline stored, under this version: the rows of the table in `docs/operations/upgrade.md` that other
//! tests do not prove.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::{
    CLUSTER_PULL_SECRETS, SECOND_SECRET, SECRET, TestCluster, condition_of, text, until, until_within,
};
use serde_json::{Value, json};
use tokio::process::Command;
use world::Baseline;

use super::version::{Version, cluster_pull_secret, put_passwords};
use crate::cluster::{now, test_cluster};
use crate::controller::{Controller, RunController as _};

/// Enters a cluster with the binary of the baseline.
async fn enter(name: &'static str, namespaces: usize) -> (Baseline, TestCluster) {
    // The turn at the servers comes after the build, which takes minutes the first time.
    let baseline = Baseline::build().await.expect("the baseline");
    (baseline, test_cluster(name, namespaces).await)
}

/// Starts the baseline with an object, and waits until it has written and reported everything, a rotation included.
async fn start_baseline(baseline: &Baseline, cluster: &TestCluster, object: &Value) -> Controller {
    put_passwords(cluster, "first").await;
    cluster.apply(object).await;
    let version = Version::baseline(baseline);
    let controller = version.controller(cluster).start().await;
    version.until_synced(cluster, "first").await;
    put_passwords(cluster, "one").await;
    cluster.request_rotation(cluster.name).await;
    version.until_synced(cluster, "one").await;
    until("the rotation is reported", async || {
        let status = cluster.status(cluster.name).await;
        status["lastRotation"].is_object() && condition_of(&status, "Ready") == "True InSync"
    })
    .await;
    cluster.until_idle().await;
    controller
}

/// The same, and ends it.
async fn run_baseline(baseline: &Baseline, cluster: &TestCluster, object: &Value) {
    let controller = start_baseline(baseline, cluster, object).await;
    assert_eq!(controller.terminate().await.0, Some(0));
}

/// Starts this version and waits until it has rewritten everything.
async fn upgrade(cluster: &TestCluster) -> Controller {
    let controller = cluster.controller().start().await;
    Version::current(cluster).until_synced(cluster, "one").await;
    cluster.until_idle().await;
    controller
}

async fn delete_object(cluster: &TestCluster) {
    let path = format!("{CLUSTER_PULL_SECRETS}/{}", cluster.name);
    cluster.kube.delete(&path).await.expect("a deletion");
}

async fn until_object_is_gone(cluster: &TestCluster) {
    until("the ClusterPullSecret is gone", async || {
        cluster.get_cluster_pull_secret(cluster.name).await.is_none()
    })
    .await;
}

fn uids(secrets: &BTreeMap<String, Value>) -> BTreeMap<&String, &Value> {
    secrets.iter().map(|(namespace, secret)| (namespace, &secret["metadata"]["uid"])).collect()
}

fn account_path(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/serviceaccounts/default")
}

#[tokio::test]
async fn objects_of_the_baseline_are_taken_over_in_one_write() {
    let (baseline, cluster) = enter("skew-objects", 3).await;
    run_baseline(&baseline, &cluster, &cluster_pull_secret(&cluster)).await;
    let before = cluster.secrets().await;
    let owned = &before[cluster.namespace(0)]["metadata"];
    assert_eq!(
        text(&owned["annotations"]["regcred.dev/versions"]),
        "ghcr.io=vault:2,https://index.docker.io/v1/=vault:2"
    );
    assert_eq!(owned["ownerReferences"][0]["kind"], "ClusterPullSecret", "the baseline wrote it: {owned}");
    let object = cluster.get_cluster_pull_secret(cluster.name).await.expect("an object");

    let mark = cluster.mark();
    let controller = upgrade(&cluster).await;
    let after = cluster.secrets().await;
    assert_eq!(uids(&after), uids(&before));
    for (namespace, secret) in &after {
        let (metadata, earlier) = (&secret["metadata"], &before[namespace]["metadata"]);
        assert_eq!(metadata["labels"], earlier["labels"]);
        assert_eq!(metadata.get("ownerReferences"), None);
        assert!(
            text(&metadata["annotations"]["regcred.dev/owner"]).starts_with("skew-objects/"),
            "{metadata}"
        );
        let versions = text(&metadata["annotations"]["regcred.dev/versions"]);
        assert!(
            versions.starts_with("docker.io=vault:2@") && versions.contains(",ghcr.io=vault:2@"),
            "{versions}"
        );
    }
    let mut writes = cluster.writes(mark).await;
    writes.retain(|it| it.contains(" secrets ") || it.contains(" serviceaccounts "));
    writes.sort_unstable();
    let expected: Vec<_> =
        cluster.namespaces.iter().map(|it| format!("patch secrets {it}/regcred 200")).collect();
    assert_eq!(writes, expected, "entries and annotations of ServiceAccounts stay");
    let now = cluster.get_cluster_pull_secret(cluster.name).await.expect("an object");
    assert_eq!(now["metadata"]["finalizers"], object["metadata"]["finalizers"]);
    for field in ["lastRotation", "observedRotate", "secretNames"] {
        assert_eq!(now["status"][field], object["status"][field], "{field}");
    }
    assert_eq!(
        now["status"]["conditions"][0]["lastTransitionTime"],
        object["status"]["conditions"][0]["lastTransitionTime"]
    );
    let lines = controller.lines();
    assert!(lines.iter().all(|line| line["is_rotation"] != json!(true)), "{lines:?}");
}

#[tokio::test]
async fn annotation_without_a_cluster_pull_secret_is_completed() {
    let (baseline, cluster) = enter("skew-annotation", 2).await;
    run_baseline(&baseline, &cluster, &cluster_pull_secret(&cluster)).await;
    let namespace = cluster.namespace(0);
    let annotation = async || {
        let account = cluster.object(namespace, "serviceaccounts", "default").await.expect("an account");
        text(&account["metadata"]["annotations"]["regcred.dev/image-pull-secrets"])
    };
    assert_eq!(annotation().await, "regcred=skew-annotation", "the form of the baseline");
    let earlier = json!({"metadata": {"annotations": {"regcred.dev/image-pull-secrets": "regcred"}}});
    cluster.kube.patch(&account_path(namespace), &earlier).await.expect("a patch");

    let _controller = upgrade(&cluster).await;
    assert_eq!(annotation().await, "regcred=skew-annotation");
    cluster.select(namespace, false).await;
    until("nothing is left", async || {
        cluster.secret(namespace).await.is_none() && cluster.references(namespace, "default").await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn copy_with_an_owner_reference_goes_with_its_object() {
    let (baseline, mut cluster) = enter("skew-copy", 1).await;
    run_baseline(&baseline, &cluster, &cluster_pull_secret(&cluster)).await;
    let secret = cluster.secret(cluster.namespace(0)).await.expect("a Secret");
    for (namespace, owners) in
        [("skew-copy-kept", Value::Null), ("skew-copy-owned", secret["metadata"]["ownerReferences"].clone())]
    {
        cluster.add_namespace(namespace).await;
        cluster.select(namespace, false).await;
        let copy = json!({
            "metadata": {"name": SECRET, "labels": secret["metadata"]["labels"],
                "annotations": secret["metadata"]["annotations"], "ownerReferences": owners},
            "type": secret["type"], "data": secret["data"],
        });
        cluster.kube.post(&format!("/api/v1/namespaces/{namespace}/secrets"), &copy).await.expect("a copy");
    }
    let copies = cluster.namespaces.split_off(1);
    let secret_of = async |namespace: &str| cluster.object(namespace, "secrets", SECRET).await;
    let before = [secret_of(&copies[0]).await, secret_of(&copies[1]).await];

    let controller = upgrade(&cluster).await;
    assert_eq!([secret_of(&copies[0]).await, secret_of(&copies[1]).await], before, "copies are left alone");
    assert_eq!(controller.metric("regcred_copies{cluster_pull_secret=\"skew-copy\"}").await, Some(2.0));
    delete_object(&cluster).await;
    until_object_is_gone(&cluster).await;
    until("the garbage collector acts on the owner reference", async || {
        secret_of(&copies[1]).await.is_none()
    })
    .await;
    assert_eq!(secret_of(&copies[0]).await, before[0], "a copy without one stays");
}

#[tokio::test]
async fn retained_secrets_of_the_baseline_go_to_a_successor() {
    let (baseline, cluster) = enter("skew-retain", 2).await;
    let mut object = cluster_pull_secret(&cluster);
    object["spec"]["deletion"] = json!("Retain");
    let controller = start_baseline(&baseline, &cluster, &object).await;
    delete_object(&cluster).await;
    until_object_is_gone(&cluster).await;
    assert_eq!(controller.terminate().await.0, Some(0));
    let before = cluster.secrets().await;
    assert_eq!(before.len(), 2);

    object["metadata"]["name"] = json!("skew-successor");
    cluster.apply(&object).await;
    let _controller = upgrade(&cluster).await;
    let after = cluster.secrets().await;
    assert_eq!(uids(&after), uids(&before), "taken over in place");
    for secret in after.values() {
        let owner = text(&secret["metadata"]["annotations"]["regcred.dev/owner"]);
        assert!(owner.starts_with("skew-successor/"), "{owner}");
    }
}

#[tokio::test]
async fn request_that_the_baseline_forwarded_is_served() {
    let (baseline, cluster) = enter("skew-request", 2).await;
    run_baseline(&baseline, &cluster, &cluster_pull_secret(&cluster)).await;
    let _controller = upgrade(&cluster).await;
    put_passwords(&cluster, "two").await;
    let at = now().to_string();
    let request =
        json!({"at": at, "expected": [{"store": "vault", "key": cluster.key("ghcr"), "version": "3"}]});
    let annotation = json!({"metadata": {"annotations": {"regcred.dev/request": request.to_string()}}});
    let path = format!("{CLUSTER_PULL_SECRETS}/{}", cluster.name);
    cluster.kube.patch(&path, &annotation).await.expect("a patch");
    Version::current(&cluster).until_synced(&cluster, "two").await;
    until("the status answers", async || {
        cluster.status(cluster.name).await["observedRequest"] == at.as_str()
    })
    .await;
}

#[tokio::test]
async fn rotate_of_the_baseline_works_beside_this_version() {
    let (baseline, cluster) = enter("skew-rotate", 2).await;
    put_passwords(&cluster, "one").await;
    let object = cluster_pull_secret(&cluster);
    cluster.apply(&object).await;
    let controller = upgrade(&cluster).await;
    let before = cluster.secrets().await;
    put_passwords(&cluster, "two").await;
    let manifests = cluster.manifests_with(&[&object]);
    let mut command = Command::new(&baseline.regcred);
    command.args(["rotate", "-f"]).arg(&manifests).env_clear().env("KUBECONFIG", &cluster.kubeconfig);
    let output = command.env("VAULT_TOKEN", &cluster.vault.root_token).output().await.expect("regcred runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The controller restores its own form, with the password that `rotate` brought.
    Version::current(&cluster).until_synced(&cluster, "two").await;
    cluster.until_idle().await;
    assert_eq!(uids(&cluster.secrets().await), uids(&before));
    assert!(!controller.log().contains("is older than"), "{}", controller.log());
}

#[tokio::test]
async fn lease_of_a_killed_baseline_is_acquired_at_its_expiry() {
    let (baseline, cluster) = enter("skew-lease", 1).await;
    let launch = Version::baseline(&baseline).controller(&cluster).identity("old");
    let old = launch.args(&["--lease-duration", "5s"]).start().await;
    until("the baseline leads", async || old.is_leader().await).await;
    old.kill().await;
    let new = cluster.controller().identity("new").args(&["--lease-duration", "5s"]).start().await;
    until_within(Duration::from_secs(20), "this version leads", async || new.is_leader().await).await;
}

#[tokio::test]
async fn deletion_begun_under_the_baseline_is_completed() {
    let (baseline, cluster) = enter("skew-deletion", 2).await;
    run_baseline(&baseline, &cluster, &cluster_pull_secret(&cluster)).await;
    delete_object(&cluster).await;
    let _controller = cluster.controller().start().await;
    until_object_is_gone(&cluster).await;
    until("the Secrets are gone", async || cluster.secrets().await.is_empty()).await;
    assert_eq!(cluster.references(cluster.namespace(0), "default").await, Vec::<String>::new());
}

#[tokio::test]
async fn rename_begun_under_the_baseline_leaves_a_copy() {
    let (baseline, cluster) = enter("skew-rename", 2).await;
    run_baseline(&baseline, &cluster, &cluster_pull_secret(&cluster)).await;
    let before = cluster.secrets().await;
    cluster.patch_spec(cluster.name, json!({"secretName": SECOND_SECRET})).await;
    let controller = cluster.controller().start().await;
    until("every entry has the new name", async || {
        cluster.references(cluster.namespace(0), "default").await == [SECOND_SECRET]
            && cluster.references(cluster.namespace(1), "default").await == [SECOND_SECRET]
    })
    .await;
    cluster.until_idle().await;
    assert_eq!(cluster.secrets_named(SECOND_SECRET).await.len(), 2);
    assert_eq!(cluster.secrets().await, before, "no proof says that they are regcred's");
    until("both copies are counted", async || {
        controller.metric("regcred_copies{cluster_pull_secret=\"skew-rename\"}").await == Some(2.0)
    })
    .await;
    let removals = controller.lines().iter().filter(|line| line["message"] == "Secret removed").count();
    assert_eq!(removals, 0, "nothing says that they are gone");
}

//! A CRD of a newer version: its fields are in every object, and this version does not know them.

use harness::{TestCluster, install_crd, text, until};
use serde_json::{Value, json};

use crate::cluster::test_cluster;
use crate::controller::RunController as _;

const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterpullsecrets.regcred.dev";

/// Adds an optional field to a structural schema, also to the rule that counts the fields.
fn add_field(schema: &mut Value, name: &str, field: Value) {
    schema["properties"][name] = field;
    for rule in schema["x-kubernetes-validations"].as_array_mut().into_iter().flatten() {
        let expression = text(&rule["rule"]);
        if expression.starts_with("dyn(self).size() ==") {
            rule["rule"] = json!(format!("{expression} + (has(self.{name}) ? 1 : 0)"));
        }
    }
}

/// Replaces the CRD by one with two more fields, one of them with a default; waits until the API server serves it.
async fn install_newer_crd(cluster: &TestCluster) {
    install_crd(&cluster.kube).await.expect("the CRD");
    let mut crd = cluster.kube.get(CRD).await.expect("the CRD");
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    add_field(spec, "verify", json!({"type": "string", "default": "Enforce"}));
    let from = &mut spec["properties"]["registries"]["items"]["properties"]["from"];
    add_field(from, "nextKey", json!({"type": "string"}));
    cluster.kube.put(CRD, &crd).await.expect("a newer CRD");
    until("the newer CRD is served", async || {
        let probe = cluster.cluster_pull_secret("probe");
        let created =
            cluster.kube.post(&format!("{}?dryRun=All", harness::CLUSTER_PULL_SECRETS), &probe).await;
        created.is_ok_and(|created| created["spec"]["verify"] == "Enforce")
    })
    .await;
}

async fn restore_crd(cluster: &TestCluster) {
    cluster
        .kube
        .delete(&format!("{}/{}", harness::CLUSTER_PULL_SECRETS, cluster.name))
        .await
        .expect("a deletion");
    until("the object is gone", async || cluster.get_cluster_pull_secret(cluster.name).await.is_none()).await;
    cluster.kube.delete(CRD).await.expect("a deletion of the CRD");
    until("the CRD is gone", async || cluster.kube.get(CRD).await.is_err()).await;
    install_crd(&cluster.kube).await.expect("the CRD");
}

#[tokio::test]
async fn object_with_fields_of_a_newer_crd_is_served_and_reported() {
    let cluster = test_cluster("unknown-fields", 2).await;
    install_newer_crd(&cluster).await;
    cluster.put_password("one").await;
    let mut object = cluster.cluster_pull_secret(cluster.name);
    object["spec"]["registries"][0]["from"]["nextKey"] = json!("x");
    cluster.apply(&object).await;
    let stored = cluster.get_cluster_pull_secret(cluster.name).await.expect("an object");
    assert_eq!(stored["spec"]["verify"], "Enforce", "the API server fills in the default");

    let controller = cluster.controller().start().await;
    cluster.until_synced("one").await;
    until("it is ready", async || cluster.condition(cluster.name, "Ready").await == "True InSync").await;
    cluster.request_rotation(cluster.name).await;
    let status = cluster.status(cluster.name).await;
    let conditions = status["conditions"].as_array().expect("conditions");
    let ready = conditions.iter().find(|it| it["type"] == "Ready").expect("Ready");
    let ignored = "ignored what only a newer regcred knows: spec.registries[0].from.nextKey, spec.verify";
    assert!(text(&ready["message"]).contains(ignored), "{ready}");

    // The same as a file is refused, and rotate without one serves it, too.
    let file = cluster.rotate(&cluster.write(&[&cluster.config(""), &object.to_string()]), &[]).await;
    assert_eq!(file.code, 1, "{file:?}");
    assert!(file.stderr.contains("spec.registries[0].from.nextKey: unknown field"), "{}", file.stderr);
    let objects = cluster.rotate(&cluster.write(&[&cluster.config("")]), &[]).await;
    assert_eq!((objects.code, objects.results().len()), (0, 2), "{objects:?}");
    assert!(objects.stderr.contains(ignored), "{}", objects.stderr);

    restore_crd(&cluster).await;
    controller.terminate().await;
    let warnings = controller.lines().iter().filter(|line| text(&line["message"]).contains(ignored)).count();
    assert_eq!(warnings, 1, "once for the generation");
}

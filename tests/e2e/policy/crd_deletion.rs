//! The optional policy `regcred-crd`: the CRD stays while a ClusterPullSecret exists.

use harness::{CLUSTER_PULL_SECRETS, NAMESPACE, install_crd, until};
use serde_json::json;
use world::{Kube, Reaper, docs, helm};

use super::{POLICIES, cluster_pull_secret};

const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterpullsecrets.regcred.dev";
const OBJECT: &str = "/apis/regcred.dev/v1alpha1/clusterpullsecrets/images";
const FIRST: &str =
    "ClusterPullSecret images exists. Delete the ClusterPullSecrets first, while regcred runs";

/// Applies the policy as the chart renders it.
async fn apply_policy(kube: &Kube) {
    let chart = docs::path("deploy/chart").display().to_string();
    let template = ["template", "regcred", &chart, "--namespace", NAMESPACE, "--kube-version", "1.37.2"];
    let set = ["--set", "refuseCrdDeletion=true", "-s", "templates/admission-policies.yaml"];
    let rendered = helm(&[template.as_slice(), &set].concat()).await.expect("the chart renders");
    let of_crd = rendered.split("---\n").filter(|it| it.contains("\n  name: regcred-crd\n"));
    let policy: Vec<&str> = of_crd.collect();
    assert_eq!(policy.len(), 2, "a policy and its binding: {rendered}");
    kube.apply_yaml(&policy.join("---\n")).await.expect("the policy is applied");
}

/// The answer to a deletion of the CRD that is not carried out; empty if it is allowed.
async fn answer(kube: &Kube) -> String {
    let deleted = kube.delete(&format!("{CRD}?dryRun=All")).await;
    deleted.err().map(|error| format!("{error:#}")).unwrap_or_default()
}

async fn create_object(kube: &Kube, finalizers: &[&str]) {
    let mut object = cluster_pull_secret("images");
    object["metadata"]["finalizers"] = json!(finalizers);
    kube.post(CLUSTER_PULL_SECRETS, &object).await.expect("a ClusterPullSecret");
}

#[tokio::test]
async fn crd_is_deleted_only_without_objects() {
    let reaper = Reaper::new().expect("a reaper");
    let kube = Kube::start(&reaper).await.expect("an API server");
    // In either order: `kubectl apply` sends both at once.
    apply_policy(&kube).await;
    install_crd(&kube).await.expect("the CRD");

    create_object(&kube, &[]).await;
    until("the policy refuses", async || answer(&kube).await.contains(FIRST)).await;
    let refused = kube.delete(CRD).await.expect_err("a ClusterPullSecret exists").to_string();
    assert!(refused.contains("ValidatingAdmissionPolicy 'regcred-crd'"), "{refused}");
    kube.get(OBJECT).await.expect("the ClusterPullSecret is still there");
    kube.delete(OBJECT).await.expect("the ClusterPullSecret is deleted");
    until("nothing refuses", async || answer(&kube).await.is_empty()).await;
    kube.delete(CRD).await.expect("the CRD is deleted");
    until("the CRD is gone", async || kube.get(CRD).await.is_err()).await;

    // A CRD that is installed again is protected again.
    install_crd(&kube).await.expect("the CRD");
    create_object(&kube, &["regcred.dev/cleanup"]).await;
    until("the policy refuses again", async || answer(&kube).await.contains(FIRST)).await;

    // Without the policy and without a controller, the finalizer holds the ClusterPullSecret and the CRD.
    kube.delete(&format!("{POLICIES}/regcred-crd")).await.expect("the policy is deleted");
    until("nothing refuses", async || answer(&kube).await.is_empty()).await;
    kube.delete(CRD).await.expect("the deletion begins");
    until("the ClusterPullSecret is being deleted", async || {
        kube.get(OBJECT).await.is_ok_and(|it| it["metadata"]["deletionTimestamp"].is_string())
    })
    .await;
    kube.get(CRD).await.expect("the CRD waits for it");
    kube.patch(OBJECT, &json!({"metadata": {"finalizers": null}})).await.expect("the finalizer is removed");
    until("the CRD is gone", async || kube.get(CRD).await.is_err()).await;
}

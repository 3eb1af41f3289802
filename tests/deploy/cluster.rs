//! Chart and base on a real API server: admission of the pods, and the rights of the accounts.

use serde_json::json;
use world::{Kube, Reaper};

use crate::rendering::{NAME, NAMESPACE, deploy};

const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterpullsecrets.regcred.dev";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/regcred-system/deployments/regcred";

/// The rights of both accounts, as `verb group/resource/name namespace`.
const ROTATE: &[&str] = &[
    "list regcred.dev/clusterpullsecrets",
    "list /namespaces",
    "list /serviceaccounts",
    "get /serviceaccounts/default team-a",
    "patch /serviceaccounts/default team-a",
    "list /secrets/regcred",
    "get /secrets/regcred team-a",
    "patch /secrets/regcred team-a",
    "delete /secrets/regcred team-a",
    "create /secrets team-a",
    "get /secrets/regcred-last-good-0 regcred-system",
    "patch /secrets/regcred-last-good-15 regcred-system",
    "patch /secrets/regcred-ownership-key regcred-system",
];

/// The rights of the controller only.
const CONTROLLER: &[&str] = &[
    "watch /namespaces",
    "watch /serviceaccounts",
    "watch /secrets/regcred",
    "watch regcred.dev/clusterpullsecrets",
    "patch regcred.dev/clusterpullsecrets/images",
    "patch regcred.dev/clusterpullsecrets:status/images",
    "create events.k8s.io/events team-a",
    "create coordination.k8s.io/leases regcred-system",
    "get coordination.k8s.io/leases/regcred regcred-system",
    "list coordination.k8s.io/leases/regcred regcred-system",
    "watch coordination.k8s.io/leases/regcred regcred-system",
    "patch coordination.k8s.io/leases/regcred regcred-system",
];

/// The rights that neither account has.
const FORBIDDEN: &[&str] = &[
    "patch events.k8s.io/events/x team-a",
    "get regcred.dev/clusterpullsecrets/images",
    "get /secrets/other team-a",
    "list /secrets team-a",
    "watch /secrets",
    "update /secrets/regcred team-a",
    "get /secrets/regcred-last-good-0 team-a",
    "get /secrets/regcred-last-good-16 regcred-system",
    "update /secrets/regcred-last-good-15 regcred-system",
    "delete /secrets/regcred-ownership-key regcred-system",
    "get /secrets/regcred-ownership-key team-a",
    "list /secrets regcred-system",
    "create /serviceaccounts team-a",
    "update /serviceaccounts/default team-a",
    "create regcred.dev/clusterpullsecrets",
    "update regcred.dev/clusterpullsecrets/images",
    "patch admissionregistration.k8s.io/validatingadmissionpolicies/regcred",
    "delete /serviceaccounts/default team-a",
    "create /serviceaccounts:token/default team-a",
    "patch /namespaces/team-a",
    "get /configmaps/x team-a",
    "create /pods team-a",
    "delete regcred.dev/clusterpullsecrets/images",
    "patch coordination.k8s.io/leases/other regcred-system",
    "create coordination.k8s.io/leases team-a",
    "bind rbac.authorization.k8s.io/clusterroles/cluster-admin",
];

#[tokio::test]
async fn helm_and_kustomize_install_with_the_needed_rights_only() {
    let reaper = Reaper::new().expect("a reaper");
    let kube = Kube::start(&reaper).await.expect("an API server");
    let base = deploy("base").display().to_string();
    let chart = deploy("chart").display().to_string();

    // The Namespace comes first, with the strictest Pod Security level: Helm finds it.
    let namespace = deploy("base/namespace.yaml").display().to_string();
    kube.kubectl(&["apply", "-f", &namespace]).await.expect("a Namespace");
    kube.helm(&["install", NAME, &chart, "-n", NAMESPACE]).await.expect("helm installs");
    check_controller(&kube).await;
    check_notes(&kube, &chart).await;
    let crd = deploy("crd.yaml").display().to_string();
    kube.kubectl(&["apply", "-f", &crd]).await.expect("kubectl updates the CRD of Helm");
    let uninstalled = kube.helm(&["uninstall", NAME, "-n", NAMESPACE]).await;
    uninstalled.expect("helm uninstalls");
    kube.get(CRD).await.expect("the CRD, and every ClusterPullSecret, outlives the release");
    kube.delete(CRD).await.expect("the CRD is deleted");

    kube.kubectl(&["apply", "-k", &base]).await.expect("kubectl applies the base");
    check_controller(&kube).await;
    kube.kubectl(&["delete", "-k", &base, "--wait=true"]).await.expect("kubectl deletes the base");

    let rbac = deploy("rbac.yaml").display().to_string();
    kube.kubectl(&["apply", "-f", &rbac]).await.expect("kubectl applies the rights of rotate");
    check_rights(&kube, ROTATE, &[CONTROLLER, FORBIDDEN].concat()).await;
}

/// Expects the notes to name each file from the Secret, once, and no other file.
async fn check_notes(kube: &Kube, chart: &str) {
    const TOKENS: &str = "config.triggers.webhook.tokenFile";
    const KEYS: &str = "config.triggers.webhook.hmacKeyFile";
    for (set, files) in [
        (
            format!("{TOKENS}=/run/webhook/tokens,{KEYS}=/run/webhook/keys"),
            "--from-file=tokens --from-file=keys",
        ),
        (format!("{TOKENS}=/run/webhook/tokens,{KEYS}=/vault/secrets/keys"), "--from-file=tokens"),
        (format!("{TOKENS}=/run/webhook/both,{KEYS}=/run/webhook/both"), "--from-file=both"),
    ] {
        let upgrade = ["upgrade", NAME, chart, "-n", NAMESPACE, "--set", &set];
        let notes = kube.helm(&upgrade).await.expect("helm upgrades");
        let command = format!("create secret generic regcred-webhook -n {NAMESPACE} {files}\n");
        assert!(notes.contains(&command), "{set}: {notes}");
    }
}

async fn check_controller(kube: &Kube) {
    let crd = kube.get(CRD).await.expect("the CRD");
    assert_eq!(crd["spec"]["names"]["kind"], "ClusterPullSecret");
    check_pod(kube).await;
    check_rights(kube, &[ROTATE, CONTROLLER].concat(), FORBIDDEN).await;
}

/// Expects the pods of the Deployment to be admitted under the Pod Security level `restricted`, which is enforced.
async fn check_pod(kube: &Kube) {
    let deployment = kube.get(DEPLOYMENT).await.expect("a Deployment");
    let template = &deployment["spec"]["template"];
    let mut pod = json!({
        "metadata": {"generateName": "regcred-", "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
    });
    let creation = format!("/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All");
    kube.post(&creation, &pod).await.expect("the pod is admitted");
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
    let refused = kube.post(&creation, &pod).await.expect_err("a pod that may escalate").to_string();
    assert!(refused.contains("PodSecurity"), "{refused}");
}

async fn check_rights(kube: &Kube, granted: &[&str], denied: &[&str]) {
    for (rights, allowed) in [(granted, true), (denied, false)] {
        for right in rights {
            assert_eq!(is_allowed(kube, right).await, allowed, "{right}");
        }
    }
}

/// Returns true if the account has a right, by a `SubjectAccessReview`.
async fn is_allowed(kube: &Kube, right: &str) -> bool {
    let mut words = right.split(' ');
    let (verb, what, namespace) = (words.next(), words.next().expect("a resource"), words.next());
    let mut parts = what.split('/');
    let (group, resource, name) = (parts.next(), parts.next().expect("a resource"), parts.next());
    let (resource, subresource) = resource.split_once(':').unwrap_or((resource, ""));
    let review = json!({"spec": {
        "user": world::service_account_user(NAMESPACE, NAME),
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "resourceAttributes": {
            "verb": verb, "group": group, "resource": resource, "subresource": subresource,
            "name": name.unwrap_or_default(), "namespace": namespace.unwrap_or_default(),
        },
    }});
    let answer = kube.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
    answer.expect("an answer about rights")["status"]["allowed"] == true
}

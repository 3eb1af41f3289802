//! What stands on the stage before a test: the control plane, Vault and what `deploy/` applies; and how it is cleared.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use world::{Kube, LocalStack, Reaper, Vault, service_account_user};

use super::{NAMESPACE, PULL_SECRETS, REPLICAS, SECOND_SECRET, SECRET, SERVICE_ACCOUNT, until};

/// The label of namespaces that outlive a test.
const CROWD: &str = "crowd";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterpullsecrets.regcred.dev";

/// What all tests share, started by the first.
pub(super) async fn shared() -> (&'static Kube, &'static Vault, &'static Reaper) {
    static SHARED: OnceCell<(Kube, Vault, Reaper)> = OnceCell::const_new();
    let start = || async {
        let reaper = Reaper::new()?;
        let (kube, vault) = tokio::try_join!(Kube::start(&reaper), Vault::start(&reaper))?;
        apply_file(&kube, "base/namespace.yaml").await?;
        apply_file(&kube, "base/rbac.yaml").await?;
        widen_rights(&kube).await?;
        anyhow::Ok((kube, vault, reaper))
    };
    let shared = SHARED.get_or_try_init(start).await;
    let (kube, vault, reaper) = shared.unwrap_or_else(|error| panic!("the world did not start: {error:#}"));
    (kube, vault, reaper)
}

/// What some tests share, started by the first of them.
pub(super) async fn localstack(reaper: &Reaper) -> &'static LocalStack {
    static SHARED: OnceCell<LocalStack> = OnceCell::const_new();
    let localstack = SHARED.get_or_try_init(|| LocalStack::start(reaper)).await;
    localstack.unwrap_or_else(|error| panic!("LocalStack did not start: {error:#}"))
}

/// Applies a file of `deploy/` as an administrator does.
pub(super) async fn apply_file(kube: &Kube, name: &str) -> anyhow::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    kube.kubectl(&["apply", "-f", &file.display().to_string()]).await?;
    Ok(())
}

/// Lets the other replicas do what regcred may, and all of them write a second name of Secrets.
async fn widen_rights(kube: &Kube) -> anyhow::Result<()> {
    for name in REPLICAS {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
        kube.post(&path, &json!({"metadata": {"name": name}})).await?;
    }
    for bindings in ["clusterrolebindings", "rolebindings"] {
        let list = kube.get(&format!("{RBAC}/{bindings}")).await?;
        for mut binding in list["items"].as_array().cloned().unwrap_or_default() {
            let subjects = binding["subjects"].as_array().cloned().unwrap_or_default();
            let is_ours = |it: &&Value| it["name"] == SERVICE_ACCOUNT && it["namespace"] == NAMESPACE;
            let Some(ours) = subjects.iter().find(is_ours) else { continue };
            let others =
                REPLICAS.map(|name| json!({"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}));
            binding["subjects"] = [ours.clone()].into_iter().chain(others).collect();
            let name = binding["metadata"]["name"].as_str().unwrap_or_default();
            let path = match binding["metadata"]["namespace"].as_str() {
                Some(namespace) => format!("{RBAC}/namespaces/{namespace}/{bindings}/{name}"),
                None => format!("{RBAC}/{bindings}/{name}"),
            };
            kube.put(&path, &binding).await?;
        }
    }
    let path = format!("{RBAC}/clusterroles/{SERVICE_ACCOUNT}");
    let mut role = kube.get(&path).await?;
    for rule in role["rules"].as_array_mut().into_iter().flatten() {
        if rule["resources"] == json!(["secrets"])
            && let Some(names) = rule["resourceNames"].as_array_mut()
        {
            names.push(json!(SECOND_SECRET));
        }
    }
    kube.put(&path, &role).await?;
    for name in REPLICAS {
        until_bound(kube, &service_account_user(NAMESPACE, name)).await;
    }
    Ok(())
}

/// A right is there an instant after it was given.
async fn until_bound(kube: &Kube, user: &str) {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "resourceAttributes": {"verb": "patch", "resource": "secrets", "name": SECOND_SECRET, "namespace": "default"},
        },
    });
    until("the rights of the replicas", async || {
        let answer = kube.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
        answer.is_ok_and(|answer| answer["status"]["allowed"] == true)
    })
    .await;
}

/// Takes away what earlier tests left, and puts back what they took.
pub(super) async fn clear(kube: &Kube, vault: &Vault) -> anyhow::Result<()> {
    vault.unseal().await.context("Vault cannot be unsealed")?;
    if kube.get(CRD).await.is_err() {
        apply_crd(kube).await?;
    }
    remove_pull_secrets(kube).await?;
    // Its holder is gone; the next need not wait for it.
    let _ = kube.delete(&format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/regcred")).await;
    let namespaces = kube.get(&format!("/api/v1/namespaces?labelSelector=stage,!{CROWD}")).await?;
    kube.delete_all(names(&namespaces).map(|name| format!("/api/v1/namespaces/{name}")).collect()).await?;
    strip_crowd(kube).await
}

/// The CRD, once the API server serves it.
pub(super) async fn apply_crd(kube: &Kube) -> anyhow::Result<()> {
    apply_file(kube, "crd.yaml").await?;
    until("the CRD is served", async || kube.get(PULL_SECRETS).await.is_ok()).await;
    Ok(())
}

/// With the CRD go all ClusterPullSecrets.
pub(super) async fn remove_crd(kube: &Kube) -> anyhow::Result<()> {
    remove_pull_secrets(kube).await?;
    kube.delete(CRD).await?;
    until("the CRD is gone", async || kube.get(PULL_SECRETS).await.is_err() && kube.get(CRD).await.is_err())
        .await;
    Ok(())
}

/// Nobody is left who would finish them, so the finalizer is taken off by hand.
async fn remove_pull_secrets(kube: &Kube) -> anyhow::Result<()> {
    let freed = json!({"metadata": {"finalizers": null}});
    until("no ClusterPullSecret is left", async || {
        let Ok(list) = kube.get(PULL_SECRETS).await else { return false };
        let paths: Vec<_> = names(&list).map(|name| format!("{PULL_SECRETS}/{name}")).collect();
        // One that is being deleted is gone as soon as it is free.
        let _ = kube.patch_all(paths.iter().map(|path| (path.clone(), freed.clone())).collect()).await;
        let _ = kube.delete_all(paths.clone()).await;
        paths.is_empty()
    })
    .await;
    Ok(())
}

/// The first of the namespaces that outlive a test, made where they are not there yet, labelled for this one.
pub(super) async fn crowd(kube: &Kube, count: usize, stage: &str) -> anyhow::Result<Vec<String>> {
    let crowd: Vec<_> = (0..count).map(|n| format!("{CROWD}-{n:03}")).collect();
    let list = kube.get(&format!("/api/v1/namespaces?labelSelector={CROWD}")).await?;
    let there: Vec<_> = names(&list).collect();
    let missing: Vec<_> = crowd.iter().filter(|name| !there.contains(name)).cloned().collect();
    kube.create_namespaces(missing, &[(CROWD, "yes")]).await?;
    let label = json!({"metadata": {"labels": {"stage": stage}}});
    let label = |name: &String| (format!("/api/v1/namespaces/{name}"), label.clone());
    kube.patch_all(crowd.iter().map(label).collect()).await?;
    Ok(crowd)
}

/// Makes the crowd as it was when it was made.
async fn strip_crowd(kube: &Kube) -> anyhow::Result<()> {
    let crowd = kube.get(&format!("/api/v1/namespaces?labelSelector={CROWD},stage")).await?;
    let label = json!({"metadata": {"labels": {"stage": null}}});
    kube.patch_all(names(&crowd).map(|name| (format!("/api/v1/namespaces/{name}"), label.clone())).collect())
        .await?;

    let bare = json!({"metadata": {"annotations": null}, "imagePullSecrets": null});
    let accounts = kube.get("/api/v1/serviceaccounts").await?;
    let (mut changed, mut added) = (Vec::new(), Vec::new());
    for account in accounts["items"].as_array().into_iter().flatten().filter(|it| is_of_crowd(it)) {
        let path = path_of(account, "serviceaccounts");
        if account["metadata"]["name"] != "default" {
            added.push(path);
        } else if account.get("imagePullSecrets").is_some()
            || account["metadata"].get("annotations").is_some()
        {
            changed.push((path, bare.clone()));
        }
    }
    kube.patch_all(changed).await?;
    kube.delete_all(added).await?;
    // The garbage collector may be at the same Secrets.
    until("the crowd has no Secrets", async || {
        let mut paths = Vec::new();
        for name in [SECRET, SECOND_SECRET] {
            let Ok(list) = kube.get(&format!("/api/v1/secrets?fieldSelector=metadata.name%3D{name}")).await
            else {
                return false;
            };
            let secrets = list["items"].as_array().into_iter().flatten().filter(|it| is_of_crowd(it));
            paths.extend(secrets.map(|secret| path_of(secret, "secrets")));
        }
        let is_clear = paths.is_empty();
        let _ = kube.delete_all(paths).await;
        is_clear
    })
    .await;
    Ok(())
}

fn is_of_crowd(object: &Value) -> bool {
    object["metadata"]["namespace"].as_str().is_some_and(|namespace| namespace.starts_with("crowd-"))
}

fn path_of(object: &Value, plural: &str) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    format!("/api/v1/namespaces/{}/{plural}/{}", text("namespace"), text("name"))
}

fn names(list: &Value) -> impl Iterator<Item = String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned))
}

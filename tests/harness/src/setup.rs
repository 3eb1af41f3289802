//! The servers that tests share, with what `deploy/` applies, and the removal of what earlier tests left.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};
use world::{Kube, Reaper, Vault, World, service_account_user};

use crate::lane::Exclusive;
use crate::{
    CLUSTER_PULL_SECRETS, LABEL, NAMESPACE, REPLICAS, SECOND_SECRET, SECRET, SERVICE_ACCOUNT, TestCluster,
    shared_namespaces, until,
};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterpullsecrets.regcred.dev";

/// Starts the servers of a lane.
pub(crate) async fn start() -> anyhow::Result<Exclusive> {
    let reaper = Reaper::new()?;
    let (kube, vault) = tokio::try_join!(Kube::start(&reaper), Vault::start(&reaper))?;
    apply_file(&kube, "base/namespace.yaml").await?;
    apply_file(&kube, "base/rbac.yaml").await?;
    widen_rights(&kube).await?;
    kube.kubectl_stdin(&["apply", "--server-side", "-f", "-"], &widened_policies()?).await?;
    let kubeconfig = kube.kubeconfig_as(NAMESPACE, SERVICE_ACCOUNT).await?;
    Ok(Exclusive { kube, vault, kubeconfig, reaper })
}

/// Returns the kubeconfig of regcred's ServiceAccount in the shared world; the first test creates the ServiceAccount.
pub(crate) async fn world_kubeconfig(world: &World) -> &'static Path {
    static KUBECONFIG: OnceCell<PathBuf> = OnceCell::const_new();
    KUBECONFIG
        .get_or_init(async || {
            apply_file(&world.kube, "rbac.yaml").await.expect("deploy/rbac.yaml applies");
            world.kube.kubeconfig_as(NAMESPACE, SERVICE_ACCOUNT).await.expect("a token")
        })
        .await
}

/// Applies a file of `deploy/` as an administrator does.
pub async fn apply_file(kube: &Kube, name: &str) -> anyhow::Result<()> {
    apply_path(kube, &deploy_file(name)).await
}

/// Applies a file as an administrator does.
pub async fn apply_path(kube: &Kube, file: &Path) -> anyhow::Result<()> {
    kube.kubectl(&["apply", "--server-side", "-f", &file.display().to_string()]).await?;
    Ok(())
}

fn deploy_file(name: &str) -> PathBuf {
    deploy_folder().join(name)
}

/// The folder `deploy/` of this version.
pub fn deploy_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

/// Returns the admission policies, which restrict the replicas too and allow the second Secret name. They are applied
/// in this form: a policy that is changed later takes effect at an unknown time.
fn widened_policies() -> anyhow::Result<String> {
    let mut text = std::fs::read_to_string(deploy_file("base/admission-policies.yaml"))?;
    let user = service_account_user(NAMESPACE, SERVICE_ACCOUNT);
    for (from, to) in [
        (format!("username == \"{user}\""), format!("username.startsWith(\"{user}\")")),
        (format!("'[\"{SECRET}\"]'"), format!("'[\"{SECRET}\", \"{SECOND_SECRET}\"]'")),
    ] {
        anyhow::ensure!(text.contains(&from), "deploy/base/admission-policies.yaml has no {from}");
        text = text.replace(&from, &to);
    }
    Ok(text)
}

/// Gives the other replicas the rights of regcred, and all of them a second Secret name.
async fn widen_rights(kube: &Kube) -> anyhow::Result<()> {
    for name in REPLICAS {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts");
        kube.post(&path, &json!({"metadata": {"name": name}})).await?;
    }
    for bindings in ["clusterrolebindings", "rolebindings"] {
        let list = kube.get(&format!("{RBAC}/{bindings}")).await?;
        for mut binding in list["items"].as_array().cloned().unwrap_or_default() {
            let subjects = binding["subjects"].as_array().cloned().unwrap_or_default();
            let Some(regcred) = subjects.iter().find(|it| is_regcred(it)) else { continue };
            let replicas =
                REPLICAS.map(|name| json!({"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}));
            binding["subjects"] = [regcred.clone()].into_iter().chain(replicas).collect();
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

fn is_regcred(subject: &Value) -> bool {
    subject["name"] == SERVICE_ACCOUNT && subject["namespace"] == NAMESPACE
}

/// Waits until the API server's authorizer has a new binding.
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

/// Removes what earlier tests left, and restores what they removed.
pub(crate) async fn clear(kube: &Kube, vault: &Vault) -> anyhow::Result<()> {
    vault.unseal().await.context("Vault cannot be unsealed")?;
    install_crd(kube).await?;
    delete_cluster_pull_secrets(kube).await?;
    // The holder has ended; the next leader need not wait for its Lease.
    let _ = kube.delete(&format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/regcred")).await;
    delete_last_good_values(kube).await?;
    let selector = format!("{LABEL},!{}", shared_namespaces::LABEL);
    let namespaces = kube.get(&format!("/api/v1/namespaces?labelSelector={selector}")).await?;
    kube.delete_all(names(&namespaces).map(|name| format!("/api/v1/namespaces/{name}")).collect()).await?;
    shared_namespaces::clear(kube).await
}

/// Deletes the Secrets with the last good values of earlier tests; the key of the installation stays.
async fn delete_last_good_values(kube: &Kube) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let list = kube.get(&format!("{path}?fieldSelector=type%3Dregcred.dev/last-good")).await?;
    kube.delete_all(names(&list).map(|name| format!("{path}/{name}")).collect()).await
}

/// Applies the CRD where it is absent, and waits until the API server serves it.
pub async fn install_crd(kube: &Kube) -> anyhow::Result<()> {
    // Tests of the shared world install it at the same time.
    static INSTALLS: Mutex<()> = Mutex::const_new(());
    let _install = INSTALLS.lock().await;
    if kube.get(CRD).await.is_err() {
        apply_file(kube, "crd.yaml").await?;
    }
    until("the CRD is served", async || kube.get(CLUSTER_PULL_SECRETS).await.is_ok()).await;
    Ok(())
}

/// Deletes all ClusterPullSecrets. No controller is left that removes the finalizer, so it is removed here.
async fn delete_cluster_pull_secrets(kube: &Kube) -> anyhow::Result<()> {
    let unfinalized = json!({"metadata": {"finalizers": null}});
    until("no ClusterPullSecret is left", async || {
        let Ok(list) = kube.get(CLUSTER_PULL_SECRETS).await else { return false };
        let paths: Vec<_> = names(&list).map(|name| format!("{CLUSTER_PULL_SECRETS}/{name}")).collect();
        // An object that is being deleted is gone as soon as its finalizer is.
        let _ = kube.patch_all(paths.iter().map(|path| (path.clone(), unfinalized.clone())).collect()).await;
        let _ = kube.delete_all(paths.clone()).await;
        paths.is_empty()
    })
    .await;
    Ok(())
}

/// Returns the names in a list of objects.
pub(crate) fn names(list: &Value) -> impl Iterator<Item = String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned))
}

impl TestCluster {
    /// Deletes the CRD and with it all ClusterPullSecrets; the next exclusive cluster restores it.
    pub async fn remove_crd(&self) {
        let kube = &self.kube;
        delete_cluster_pull_secrets(kube).await.expect("the ClusterPullSecrets are deleted");
        kube.delete(CRD).await.expect("the CRD is deleted");
        until("the CRD is gone", async || {
            kube.get(CLUSTER_PULL_SECRETS).await.is_err() && kube.get(CRD).await.is_err()
        })
        .await;
    }

    /// Restores the CRD.
    pub async fn apply_crd(&self) {
        install_crd(&self.kube).await.expect("deploy/crd.yaml applies");
    }
}

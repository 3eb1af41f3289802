//! The edits of tenants, each applied to the cluster and to the expected state.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::{SECRET, TestCluster, references_of, text, until};
use serde_json::{Value, json};

use super::checker::{ADDED, ExpectedNamespace, LABELS};
use super::history::{Recorder, TENANT_HOST};

/// One namespace of a tenant.
pub(crate) struct Tenant<'a> {
    pub(crate) cluster: &'a TestCluster,
    pub(crate) recorder: &'a Recorder,
    pub(crate) name: &'a str,
    pub(crate) state: &'a mut ExpectedNamespace,
}

impl Tenant<'_> {
    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{SECRET}", self.name)
    }

    /// Returns the UID of the pull secret; `None` where there is none, or a tenant's own.
    async fn pull_secret(&self) -> Option<String> {
        let secret = self.cluster.secret(self.name).await?;
        let is_ours = self.state.is_selected && self.state.foreign.is_none();
        is_ours.then(|| text(&secret["metadata"]["uid"]))
    }

    /// Deletes the pull secret.
    pub(crate) async fn delete_secret(&mut self) -> bool {
        let Some(uid) = self.pull_secret().await else { return false };
        self.recorder.history().tenant(uid);
        self.state.copy = None;
        self.cluster.kube.delete(&self.path()).await.is_ok()
    }

    /// Writes another docker config into the pull secret.
    pub(crate) async fn edit_secret(&mut self) -> bool {
        if self.pull_secret().await.is_none() {
            return false;
        }
        let config = json!({"auths": {TENANT_HOST: {"auth": STANDARD.encode("tenant:tenant-0")}}});
        let change = json!({"data": {".dockerconfigjson": STANDARD.encode(config.to_string())}});
        self.cluster.kube.patch(&self.path(), &change).await.is_ok()
    }

    /// Removes regcred's labels from the pull secret.
    pub(crate) async fn unlabel(&mut self) -> bool {
        if self.pull_secret().await.is_none() {
            return false;
        }
        let labels = LABELS.map(|name| (name.to_owned(), Value::Null));
        let change = json!({"metadata": {"labels": Value::Object(labels.into_iter().collect())}});
        self.cluster.kube.patch(&self.path(), &change).await.is_ok()
    }

    /// Copies the pull secret of another namespace, as `kubectl get -o yaml` shows it, where none is.
    pub(crate) async fn copy_from(&mut self, namespace: &str) -> bool {
        if self.has_a_secret() {
            return false;
        }
        let Some(secret) = self.cluster.secret(namespace).await else { return false };
        let metadata = &secret["metadata"];
        // A tenant's own Secret, and one that lost its labels a moment ago, are no copies of a pull secret.
        if LABELS.iter().any(|name| metadata["labels"].get(*name).is_none()) {
            return false;
        }
        let copy = json!({
            "metadata": {"name": SECRET, "labels": metadata["labels"], "annotations": metadata["annotations"]},
            "type": secret["type"], "data": secret["data"],
        });
        let path = format!("/api/v1/namespaces/{}/secrets", self.name);
        let Ok(secret) = self.cluster.kube.post(&path, &copy).await else { return false };
        self.state.copy = Some(text(&secret["metadata"]["uid"]));
        true
    }

    /// Returns true if the namespace is selected, or has a Secret of the tenant.
    fn has_a_secret(&self) -> bool {
        self.state.is_selected || self.state.foreign.is_some() || self.state.copy.is_some()
    }

    /// Creates a Secret under the name of the pull secret where none is.
    pub(crate) async fn plant(&mut self) -> bool {
        if self.has_a_secret() {
            return false;
        }
        let path = format!("/api/v1/namespaces/{}/secrets", self.name);
        let object = json!({
            "metadata": {"name": SECRET}, "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": STANDARD.encode("{\"auths\":{}}")},
        });
        // The pull secret of a namespace that has just left the selection may still be there.
        let Ok(secret) = self.cluster.kube.post(&path, &object).await else { return false };
        let uid = text(&secret["metadata"]["uid"]);
        self.recorder.history().tenant(uid.clone());
        self.state.foreign = Some(uid);
        true
    }

    /// Empties `imagePullSecrets`.
    pub(crate) async fn wipe_entries(&mut self) -> bool {
        self.rewrite(|_| Vec::new()).await;
        self.state.entries.clear();
        true
    }

    /// Removes regcred's annotation from the ServiceAccount.
    pub(crate) async fn unannotate(&mut self) -> bool {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/default", self.name);
        let change = json!({"metadata": {"annotations": {ADDED: null}}});
        self.cluster.kube.patch(&path, &change).await.is_ok()
    }

    /// Adds an entry of the tenant.
    pub(crate) async fn add_entry(&mut self, name: String) -> bool {
        self.rewrite(|entries| entries.into_iter().chain([name.clone()]).collect()).await;
        self.state.entries.push(name);
        true
    }

    /// Reverses the list.
    pub(crate) async fn reorder_entries(&mut self) -> bool {
        self.rewrite(|entries| entries.into_iter().rev().collect()).await;
        self.state.entries.reverse();
        true
    }

    /// Reads, changes and writes the list of the ServiceAccount `default`, again after a conflict.
    async fn rewrite(&self, change: impl Fn(Vec<String>) -> Vec<String>) {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/default", self.name);
        until("a write of the tenant", async || {
            let Ok(mut object) = self.cluster.kube.get(&path).await else { return false };
            let entries = change(references_of(&object));
            object["imagePullSecrets"] = entries.iter().map(|name| json!({"name": name})).collect::<Value>();
            self.cluster.kube.put(&path, &object).await.is_ok()
        })
        .await;
    }
}

//! Manifests and stored values: files for `-f`, ClusterPullSecrets in the cluster, passwords in Vault.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::{CLUSTER_PULL_SECRETS, HOST, LABEL, SECRET, TestCluster};

/// The `spec.registries` of a ClusterPullSecret, from `(host, store, key)`.
pub fn registries(registries: &[(&str, &str, &str)]) -> Value {
    registries
        .iter()
        .map(|(host, store, key)| json!({"host": host, "from": {"store": store, "key": key}}))
        .collect()
}

impl TestCluster {
    /// A `Config` with the stores `vault`, `files`, `down` (a closed port), and `aws` if there is a LocalStack; then
    /// `more` lines.
    pub fn config(&self, more: &str) -> String {
        self.config_with_vault(&format!("address: \"{}\"", self.vault.address), more)
    }

    /// The same with other fields of the store `vault`.
    pub fn config_with_vault(&self, vault: &str, more: &str) -> String {
        let aws = self.localstack.map(|it| {
            let (region, endpoint) = (world::REGION, &it.endpoint);
            format!("- name: aws\n  awsSecretsManager: {{region: {region}, endpointUrl: \"{endpoint}\"}}\n")
        });
        // Each test chooses its own triggers.
        let triggers = if more.contains("triggers:") { "" } else { "triggers: {pollInterval: 0s}\n" };
        format!(
            "apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores:\n\
             - name: vault\n  vault: {{{vault}}}\n\
             - name: down\n  vault: {{address: \"http://127.0.0.1:1\"}}\n\
             - name: files\n  file: {{directory: \"{}\"}}\n{}{more}{triggers}",
            self.files().display(),
            aws.unwrap_or_default()
        )
    }

    /// The directory of the store `files`.
    pub fn files(&self) -> PathBuf {
        let files = self.directory.path().join("files");
        std::fs::create_dir_all(&files).expect("a directory");
        files
    }

    /// Writes documents into a new file for `-f`.
    pub fn write(&self, documents: &[&str]) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("manifests-{}.yaml", NEXT.fetch_add(1, Ordering::Relaxed));
        let file = self.directory.path().join(name);
        std::fs::write(&file, documents.join("\n---\n")).expect("a writable directory");
        file
    }

    /// Writes the `Config` and a ClusterPullSecret of these registries, named like the test.
    pub fn manifests(&self, registries: &[(&str, &str, &str)]) -> PathBuf {
        let mut object = self.cluster_pull_secret(self.name);
        object["spec"]["registries"] = self::registries(registries);
        self.manifests_with(&[&object])
    }

    /// Writes the `Config` and these ClusterPullSecrets.
    pub fn manifests_with(&self, cluster_pull_secrets: &[&Value]) -> PathBuf {
        let mut documents = vec![self.config("")];
        documents.extend(cluster_pull_secrets.iter().map(ToString::to_string));
        self.write(&documents.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A ClusterPullSecret for the namespaces of this test, with one registry at the key `NAME/ghcr`.
    pub fn cluster_pull_secret(&self, name: &str) -> Value {
        json!({
            "apiVersion": "regcred.dev/v1alpha1",
            "kind": "ClusterPullSecret",
            "metadata": {"name": name},
            "spec": {
                "secretName": SECRET,
                "registries": registries(&[(HOST, "vault", &self.key("ghcr"))]),
                "namespaces": {"selector": {"matchLabels": {LABEL: self.name}}},
            },
        })
    }

    /// Applies a ClusterPullSecret to the cluster.
    pub async fn apply(&self, cluster_pull_secret: &Value) {
        let name = cluster_pull_secret["metadata"]["name"].as_str().expect("a name");
        let path = format!("{CLUSTER_PULL_SECRETS}/{name}");
        self.kube.apply(&path, cluster_pull_secret).await.expect("a ClusterPullSecret");
    }

    /// Changes the spec of a ClusterPullSecret by a merge patch.
    pub async fn patch_spec(&self, name: &str, spec: Value) {
        self.patch_cluster_pull_secret(name, &json!({"spec": spec})).await;
    }

    /// Requests another fetch of a ClusterPullSecret by the annotation, with a value of its own.
    pub async fn request_rotation(&self, name: &str) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.annotate_rotation(name, &NEXT.fetch_add(1, Ordering::Relaxed).to_string()).await;
    }

    /// The same with this value.
    pub async fn annotate_rotation(&self, name: &str, value: &str) {
        let annotation = json!({"metadata": {"annotations": {"regcred.dev/rotate": value}}});
        self.patch_cluster_pull_secret(name, &annotation).await;
    }

    async fn patch_cluster_pull_secret(&self, name: &str, change: &Value) {
        let path = format!("{CLUSTER_PULL_SECRETS}/{name}");
        self.kube.patch(&path, change).await.expect("a patch of a ClusterPullSecret");
    }

    /// The full key of a value of this test.
    pub fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }

    /// Puts `{username: robot, password}` at the key of [`TestCluster::cluster_pull_secret`]; returns the version.
    pub async fn put_password(&self, password: &str) -> u64 {
        self.put("ghcr", &json!({"username": "robot", "password": password})).await
    }

    /// Puts a value at a key of this test; returns the version.
    pub async fn put(&self, key: &str, value: &Value) -> u64 {
        self.vault.put_kv2("secret", &self.key(key), value).await.expect("Vault takes a value")
    }
}

//! The connection to the API server, compared with kubectl: each case is given to both, with the same files and
//! variables, and both succeed or both fail.

mod forward_proxy;
mod kubeconfig_fields;
mod proxies;

use std::path::{Path, PathBuf};

use harness::{Run, TestCluster};
use serde_json::{Value, json};
use tokio::process::Command;
use world::kubectl_command;

/// A cluster with a manifest that needs nothing but the API server.
pub(crate) struct Connections {
    pub(crate) cluster: TestCluster,
    manifests: PathBuf,
}

impl Connections {
    /// Enters the shared world.
    pub(crate) async fn new(name: &'static str) -> Self {
        let cluster = crate::cluster::test_cluster(name, 1).await;
        let manifests = cluster.manifests(&[("ghcr.io", "files", "ghcr")]);
        std::fs::write(cluster.files().join("ghcr"), r#"{"username":"robot","password":"p"}"#)
            .expect("a file");
        Self { cluster, manifests }
    }

    /// Takes the credential from another store, under the key `ghcr`.
    pub(crate) fn use_store(&mut self, store: &Value) {
        let config = json!({"apiVersion": "regcred.dev/v1alpha1", "kind": "Config", "stores": [store]});
        let mut object = self.cluster.cluster_pull_secret("remote");
        object["spec"]["registries"][0]["from"] = json!({"store": store["name"], "key": "ghcr"});
        self.manifests = self.write("remote.yaml", &format!("{config}\n---\n{object}\n")).into();
    }

    /// `HOST:PORT` of the API server.
    pub(crate) fn server(&self) -> &str {
        self.cluster.kube.url.trim_start_matches("https://")
    }

    /// A kubeconfig of regcred's ServiceAccount.
    pub(crate) fn kubeconfig(&self) -> Value {
        read(&self.cluster.kubeconfig)
    }

    /// A kubeconfig of the administrator.
    pub(crate) fn admin(&self) -> Value {
        read(&self.cluster.kube.kubeconfig())
    }

    /// Writes a file into the directory of the test.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.cluster.directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// Runs regcred with `KUBECONFIG` and variables of its environment.
    pub(crate) async fn regcred(&self, kubeconfig: &str, environment: &[(&str, &str)]) -> Run {
        let manifests = self.manifests.display().to_string();
        let mut command =
            self.cluster.command(&["rotate", "-f", &manifests, "--dry-run", "--output", "json"]);
        self.prepare(&mut command, kubeconfig, environment);
        command.output().await.expect("regcred runs").into()
    }

    /// Runs kubectl in the same way.
    pub(crate) async fn kubectl(&self, kubeconfig: &str, environment: &[(&str, &str)]) -> Run {
        let mut command = kubectl_command().await.expect("kubectl");
        command.args(["get", "--raw", "/api/v1/namespaces?limit=1"]).stdin(std::process::Stdio::null());
        self.prepare(&mut command, kubeconfig, environment);
        command.output().await.expect("kubectl runs").into()
    }

    fn prepare(&self, command: &mut Command, kubeconfig: &str, environment: &[(&str, &str)]) {
        command.current_dir(self.cluster.directory.path()).env("PATH", "/usr/bin:/bin");
        command.env("KUBECONFIG", kubeconfig).envs(environment.iter().copied());
    }
}

fn read(kubeconfig: &Path) -> Value {
    let text = std::fs::read_to_string(kubeconfig).expect("a kubeconfig");
    serde_json::from_str(&text).expect("a kubeconfig in JSON")
}

/// Returns a kubeconfig with other fields in its cluster and its user; null removes a field.
pub(crate) fn changed(mut kubeconfig: Value, cluster: Value, user: Value) -> Value {
    for (section, entry, changes) in [("clusters", "cluster", cluster), ("users", "user", user)] {
        let target = kubeconfig[section][0][entry].as_object_mut().expect("a map");
        for (key, value) in changes.as_object().expect("a map") {
            if value.is_null() {
                target.remove(key);
            } else {
                target.insert(key.clone(), value.clone());
            }
        }
    }
    kubeconfig
}

/// Fields that name no change.
pub(crate) fn same() -> Value {
    json!({})
}

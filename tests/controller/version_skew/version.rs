//! A version of regcred: its binary, and the form in which it writes the entries of the test's registries.

use std::path::Path;

use harness::{SECRET, TestCluster, docker_config, entry, registries, until};
use serde_json::{Value, json};
use world::Baseline;

use crate::controller::{Launch, RunController as _};

/// The key of Docker Hub in a docker config.
const HUB: &str = "https://index.docker.io/v1/";

/// A binary of regcred.
#[derive(Clone, Copy)]
pub(super) struct Version<'a> {
    binary: &'a Path,
    auths: fn(&str) -> Value,
}

impl<'a> Version<'a> {
    pub(super) fn baseline(baseline: &'a Baseline) -> Self {
        let auths = |password: &str| {
            let mut entry = entry("robot", password);
            entry["username"] = json!("robot");
            entry["password"] = json!(password);
            json!({"ghcr.io": entry, HUB: entry})
        };
        Self { binary: &baseline.regcred, auths }
    }

    pub(super) fn current(cluster: &'a TestCluster) -> Self {
        let auths = |password: &str| {
            let entry = entry("robot", password);
            json!({"ghcr.io": entry, "docker.io": entry, HUB: entry})
        };
        Self { binary: cluster.regcred(), auths }
    }

    /// Prepares a controller of this version.
    pub(super) fn controller(&self, cluster: &'a TestCluster) -> Launch<'a> {
        cluster.controller().binary(self.binary)
    }

    /// Waits until each namespace holds this password in the form of this version, and its `default` ServiceAccount has
    /// one entry.
    pub(super) async fn until_synced(&self, cluster: &TestCluster, password: &str) {
        let expected = (self.auths)(password);
        until(&format!("the password {password} everywhere"), async || {
            let secrets = cluster.secrets().await;
            for namespace in &cluster.namespaces {
                let references = cluster.references(namespace, "default").await;
                let has_entry = references.iter().filter(|name| *name == SECRET).count() == 1;
                let secret = secrets.get(namespace);
                if !has_entry || secret.is_none_or(|it| docker_config(it)["auths"] != expected) {
                    return false;
                }
            }
            true
        })
        .await;
    }
}

/// A ClusterPullSecret with `ghcr.io` and Docker Hub, named like the test.
pub(super) fn cluster_pull_secret(cluster: &TestCluster) -> Value {
    let mut object = cluster.cluster_pull_secret(cluster.name);
    let keys = ["ghcr", "hub"].map(|key| cluster.key(key));
    object["spec"]["registries"] =
        registries(&[("ghcr.io", "vault", &keys[0]), ("docker.io", "vault", &keys[1])]);
    object
}

/// Puts the password of both registries.
pub(super) async fn put_passwords(cluster: &TestCluster, password: &str) {
    cluster.put("hub", &json!({"username": "robot", "password": password})).await;
    cluster.put_password(password).await;
}

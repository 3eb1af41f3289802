//! What every test of the controller plays on: one control plane and one Vault for all of them, and one test at a time,
//! because what is measured is time.
//!
//! A stage is clean when a test enters it: no ClusterPullSecret, no Lease and nothing of earlier tests in a namespace.

mod furniture;
mod sight;

pub(crate) use sight::{docker_config, is_write, line, password_of, references_of};

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use world::{Kube, LocalStack, Reaper, Vault};

use crate::controller::Launch;

/// Where `deploy/` puts regcred, and the ServiceAccount it runs as.
pub(crate) const NAMESPACE: &str = "regcred-system";
pub(crate) const SERVICE_ACCOUNT: &str = "regcred";
/// Two more that may do the same, so that the audit log can tell replicas apart.
pub(crate) const REPLICAS: [&str; 2] = ["regcred-a", "regcred-b"];
/// The name of pull secrets, and another that the role of the tests allows as well.
pub(crate) const SECRET: &str = "regcred";
pub(crate) const SECOND_SECRET: &str = "second";
/// The registry of [`Stage::cluster_pull_secret`].
pub(crate) const HOST: &str = "ghcr.io";
/// Where ClusterPullSecrets are.
pub(crate) const PULL_SECRETS: &str = "/apis/regcred.dev/v1alpha1/clusterpullsecrets";
/// The bound on what is done at once: from the API server's answer to whoever made a change to its answer to regcred.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(1);
/// How long silence is listened to before it counts as silence.
pub(crate) const QUIET: Duration = Duration::from_secs(2);
/// How long a condition of the world is waited for; whatever is slow on a busy machine is done by then.
const PATIENCE: Duration = Duration::from_mins(1);
/// Time between two looks at the world; each look costs the API server something.
const PAUSE: Duration = Duration::from_millis(25);

/// Held by the test whose turn it is.
static TURN: Mutex<()> = Mutex::const_new(());

/// The world for one test.
pub(crate) struct Stage {
    pub(crate) kube: &'static Kube,
    pub(crate) vault: &'static Vault,
    pub(crate) reaper: &'static Reaper,
    /// The label value by which the namespaces of this test are selected, and the prefix of its keys.
    pub(crate) name: &'static str,
    pub(crate) namespaces: Vec<String>,
    pub(crate) directory: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    /// Waits for its turn, and enters a clean stage with that many namespaces, `NAME-000` and on.
    pub(crate) async fn new(name: &'static str, namespaces: usize) -> Self {
        let mut stage = Self::enter(name).await;
        for n in 0..namespaces {
            stage.namespaces.push(format!("{name}-{n:03}"));
        }
        let labels = [("stage", name)];
        stage.kube.create_namespaces(stage.namespaces.clone(), &labels).await.expect("namespaces");
        stage
    }

    /// The same with many namespaces, `crowd-000` and on, which are made once for all tests.
    pub(crate) async fn with_crowd(name: &'static str, namespaces: usize) -> Self {
        let mut stage = Self::enter(name).await;
        stage.namespaces = furniture::crowd(stage.kube, namespaces, name).await.expect("namespaces");
        stage
    }

    async fn enter(name: &'static str) -> Self {
        let turn = TURN.lock().await;
        let (kube, vault, reaper) = furniture::shared().await;
        furniture::clear(kube, vault).await.expect("the stage can be cleared");
        let directory = tempfile::tempdir().expect("a directory");
        Self { kube, vault, reaper, name, namespaces: Vec::new(), directory, _turn: turn }
    }

    /// An AWS for all tests that need one, started by the first.
    pub(crate) async fn localstack(&self) -> &'static LocalStack {
        furniture::localstack(self.reaper).await
    }

    /// Adds one namespace that is selected, and its `default` ServiceAccount.
    pub(crate) async fn add_namespace(&mut self, name: &str) {
        self.kube.create_namespaces([name], &[("stage", self.name)]).await.expect("a namespace");
        self.namespaces.push(name.to_owned());
    }

    /// Puts a namespace into the selection or takes it out.
    pub(crate) async fn select(&self, namespace: &str, selected: bool) {
        let label = json!({"metadata": {"labels": {"stage": selected.then_some(self.name)}}});
        self.kube.patch(&format!("/api/v1/namespaces/{namespace}"), &label).await.expect("a label");
    }

    /// A `Config` with the stores `vault`, `files` and `down`, at whose address nobody listens, and further lines.
    pub(crate) fn config(&self, more: &str) -> String {
        let files = self.directory.path().join("files");
        std::fs::create_dir_all(&files).expect("a directory");
        // What wakes the controller is up to each test.
        let triggers = if more.contains("triggers:") { "" } else { "triggers: {pollInterval: 0s}\n" };
        format!(
            "apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores:\n\
             - name: vault\n  vault: {{address: \"{}\"}}\n\
             - name: down\n  vault: {{address: \"http://127.0.0.1:1\"}}\n\
             - name: files\n  file: {{directory: \"{}\"}}\n{more}{triggers}",
            self.vault.address,
            files.display()
        )
    }

    /// Writes documents into a file for `regcred run -f`.
    pub(crate) fn write(&self, documents: &[&str]) -> PathBuf {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("manifests-{}.yaml", NEXT.fetch_add(1, Ordering::Relaxed));
        let file = self.directory.path().join(name);
        std::fs::write(&file, documents.join("\n---\n")).expect("a writable directory");
        file
    }

    /// A ClusterPullSecret of that name for the namespaces of this test, with one registry at the key `STAGE/ghcr`.
    pub(crate) fn cluster_pull_secret(&self, name: &str) -> Value {
        json!({
            "apiVersion": "regcred.dev/v1alpha1",
            "kind": "ClusterPullSecret",
            "metadata": {"name": name},
            "spec": {
                "secretName": SECRET,
                "registries": [{"host": HOST, "from": {"store": "vault", "key": self.key("ghcr")}}],
                "namespaces": {"selector": {"matchLabels": {"stage": self.name}}},
            },
        })
    }

    /// Puts a ClusterPullSecret into the cluster.
    pub(crate) async fn apply(&self, cluster_pull_secret: &Value) {
        let name = cluster_pull_secret["metadata"]["name"].as_str().expect("a name");
        self.kube
            .apply(&format!("{PULL_SECRETS}/{name}"), cluster_pull_secret)
            .await
            .expect("a ClusterPullSecret");
    }

    /// Lets nobody create a Secret in a namespace, until the quota at the path that is returned goes.
    pub(crate) async fn forbid_secrets(&self, namespace: &str) -> String {
        let quotas = format!("/api/v1/namespaces/{namespace}/resourcequotas");
        let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/secrets": "0"}}});
        self.kube.post(&quotas, &quota).await.expect("a quota");
        let path = format!("{quotas}/none");
        until("the quota binds", async || {
            self.kube.get(&path).await.is_ok_and(|it| it["status"]["hard"]["count/secrets"] == "0")
        })
        .await;
        path
    }

    /// Changes the spec of a ClusterPullSecret by a merge patch.
    pub(crate) async fn respec(&self, name: &str, spec: Value) {
        let change = json!({"spec": spec});
        self.kube.patch(&format!("{PULL_SECRETS}/{name}"), &change).await.expect("another spec");
    }

    /// Asks for a ClusterPullSecret to be fetched again, by hand as a person does.
    pub(crate) async fn ask(&self, name: &str) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let value = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        let change = json!({"metadata": {"annotations": {"regcred.dev/rotate": value}}});
        self.kube.patch(&format!("{PULL_SECRETS}/{name}"), &change).await.expect("an annotation");
    }

    /// The key of this test in Vault.
    pub(crate) fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }

    /// Puts `{username: robot, password}` at the key of [`Stage::cluster_pull_secret`].
    pub(crate) async fn put_password(&self, password: &str) -> u64 {
        self.put("ghcr", &json!({"username": "robot", "password": password})).await
    }

    /// Puts a value at a key of this test.
    pub(crate) async fn put(&self, key: &str, value: &Value) -> u64 {
        self.vault.put_kv2("secret", &self.key(key), value).await.expect("Vault takes a value")
    }

    /// How a controller is started on this stage, with the `Config` of [`Stage::config`].
    pub(crate) fn controller(&self) -> Launch<'_> {
        Launch::new(self, self.write(&[&self.config("")]))
    }

    /// The most common beginning: a password, a ClusterPullSecret named like the stage, and a controller that has served it.
    pub(crate) async fn serve(&self, password: &str) -> crate::controller::Controller {
        self.serve_object(password, &self.cluster_pull_secret(self.name)).await
    }

    /// The same with a field of the spec that is set to something of its own.
    pub(crate) async fn serve_with(
        &self,
        password: &str,
        field: &str,
        value: Value,
    ) -> crate::controller::Controller {
        let mut cluster_pull_secret = self.cluster_pull_secret(self.name);
        cluster_pull_secret["spec"][field] = value;
        self.serve_object(password, &cluster_pull_secret).await
    }

    async fn serve_object(
        &self,
        password: &str,
        cluster_pull_secret: &Value,
    ) -> crate::controller::Controller {
        self.put_password(password).await;
        self.apply(cluster_pull_secret).await;
        let controller = self.controller().start().await;
        self.until_served(password).await;
        controller
    }

    /// Waits until nothing is written any more: a status and an Event come a moment after what they tell of.
    pub(crate) async fn until_quiet(&self) {
        until("nothing is written", async || {
            let mark = self.mark();
            tokio::time::sleep(QUIET).await;
            self.writes(mark).await.is_empty()
        })
        .await;
    }

    /// Waits until every namespace holds this password and every `default` ServiceAccount names it.
    pub(crate) async fn until_served(&self, password: &str) {
        let what = format!("the password {password} in every namespace and ServiceAccount");
        until(&what, async || self.unserved(password).await.is_empty()).await;
    }
}

/// Waits for a condition of the world. When a test fails, its controllers print what they said last.
#[track_caller]
pub(crate) fn until<'a>(
    what: &'a str,
    condition: impl AsyncFn() -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    until_within(PATIENCE, what, condition)
}

/// The same for what takes longer by its nature.
#[track_caller]
pub(crate) fn until_within<'a>(
    patience: Duration,
    what: &'a str,
    condition: impl AsyncFn() -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let is_so = comes_true(patience, condition).await;
        assert!(is_so, "{what}: not so within {patience:?}, waited for at {caller}");
    }
}

/// Whether a condition of the world comes true in time.
pub(crate) async fn comes_true(patience: Duration, condition: impl AsyncFn() -> bool) -> bool {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(patience, wait).await.is_ok()
}

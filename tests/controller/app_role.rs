//! AppRole logins of the controller: a refused one is made once, is seen in the status, and is over when its file is
//! corrected.

use std::path::PathBuf;
use std::time::Duration;

use harness::{REPLICAS, TestCluster, until, until_within};
use serde_json::json;
use world::VaultAuditMark;

use crate::cluster::test_cluster;
use crate::controller::{Controller, RunController as _};

/// A poll of one second, the read after it and the write of the status, on a busy machine.
const ONE_POLL: Duration = Duration::from_secs(15);

/// An AppRole of the Vault of a test.
pub(crate) struct AppRole {
    secret_id: String,
    files: PathBuf,
}

impl AppRole {
    /// Creates an auth method, a policy and a role with the name of the test, and the files of a login.
    pub(crate) async fn create(cluster: &TestCluster, rules: &str) -> Self {
        let (name, vault) = (cluster.name, &cluster.vault);
        vault.write(&format!("sys/auth/{name}"), &json!({"type": "approle"})).await.expect("an auth method");
        vault.put_policy(name, rules).await.expect("a policy");
        let role = format!("auth/{name}/role/regcred");
        let settings = json!({"token_policies": [name], "token_ttl": "20m"});
        vault.write(&role, &settings).await.expect("a role");
        let role_id = vault.read(&format!("{role}/role-id")).await.expect("a role id");
        let secret_id = vault.write(&format!("{role}/secret-id"), &json!({})).await.expect("a secret id");
        let secret_id = secret_id["data"]["secret_id"].as_str().expect("a secret id").to_owned();
        let it = Self { secret_id, files: cluster.files() };
        let role_id = role_id["data"]["role_id"].as_str().expect("a role id");
        std::fs::write(it.file("role-id"), role_id).expect("a file");
        it.set_secret_id(&it.secret_id);
        it
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    fn set_secret_id(&self, secret_id: &str) {
        std::fs::write(self.file("secret-id"), secret_id).expect("a file");
    }

    /// The fields of a store that logs in with this role.
    pub(crate) fn vault(&self, cluster: &TestCluster) -> String {
        let (name, address) = (cluster.name, &cluster.vault.address);
        let [role_id, secret_id] = ["role-id", "secret-id"].map(|name| self.file(name).display().to_string());
        format!(
            "address: \"{address}\", auth: {{appRole: {{mount: {name}, roleIdFile: {role_id}, \
             secretIdFile: {secret_id}}}}}"
        )
    }
}

/// A cluster with a Vault that is read with an AppRole.
struct AppRoleCluster {
    cluster: TestCluster,
    role: AppRole,
    beginning: VaultAuditMark,
}

impl AppRoleCluster {
    async fn new(name: &'static str) -> Self {
        let cluster = test_cluster(name, 2).await;
        let rules = ["data", "metadata"]
            .map(|part| format!("path \"secret/{part}/{name}/*\" {{ capabilities = [\"read\"] }}"));
        let role = AppRole::create(&cluster, &rules.join("\n")).await;
        let beginning = cluster.vault_mark();
        cluster.put_password("one").await;
        cluster.apply(&cluster.cluster_pull_secret(name)).await;
        Self { cluster, role, beginning }
    }

    fn set_secret_id(&self, secret_id: &str) {
        self.role.set_secret_id(secret_id);
    }

    /// A Config whose store logs in with the two files.
    fn manifests(&self) -> PathBuf {
        let vault = self.role.vault(&self.cluster);
        let config = self.cluster.config_with_vault(&vault, "triggers: {pollInterval: 1s}\n");
        self.cluster.write(&[&config])
    }

    async fn start(&self, replica: &str) -> Controller {
        let launch = self.cluster.controller().manifests(&self.manifests()).replica(replica);
        launch.args(&["--lease-duration", "3s"]).start().await
    }

    fn logins(&self) -> usize {
        let events = self.cluster.vault.audit_events_since(self.beginning).expect("Vault's audit log");
        let path = format!("auth/{}/login", self.cluster.name);
        events.iter().filter(|event| event.kind == "request" && event.path == path).count()
    }

    /// Requests a fetch by hand, and waits until it is answered with a denial.
    async fn fetch_in_vain(&self, value: &str) {
        let name = self.cluster.name;
        self.cluster.annotate_rotation(name, value).await;
        until("an answer to the request", async || {
            self.cluster.status(name).await["observedRotate"] == value
                && self.cluster.condition(name, "Fetched").await.contains("Denied")
        })
        .await;
    }

    async fn is_ready(&self) -> bool {
        self.cluster.condition(self.cluster.name, "Ready").await.starts_with("True")
    }
}

#[tokio::test]
async fn stale_secret_id_is_tried_once_by_replicas_and_restarts() {
    let cluster = AppRoleCluster::new("role-stale").await;
    cluster.set_secret_id("stale");
    let leader = cluster.start(REPLICAS[0]).await;
    until("a leader", async || leader.is_leader().await).await;
    let other = cluster.start(REPLICAS[1]).await;
    for n in 0..6 {
        cluster.fetch_in_vain(&format!("leader-{n}")).await;
    }
    assert_eq!(cluster.logins(), 1, "the servers lock the role after five");
    leader.kill().await;
    cluster.fetch_in_vain("next-leader").await;
    assert!(other.is_leader().await);
    assert_eq!(cluster.logins(), 1, "the next leader knows of it");
    other.kill().await;
    let restarted = cluster.start(REPLICAS[0]).await;
    cluster.fetch_in_vain("restarted").await;
    assert_eq!(cluster.logins(), 1, "a restart does not forget it");

    let log = restarted.log();
    assert!(!log.contains("remembered by this process only"), "{log}");
    cluster.set_secret_id(&cluster.role.secret_id);
    cluster.cluster.until_synced("one").await;
    assert_eq!(cluster.logins(), 2);
}

#[tokio::test]
async fn stale_secret_id_is_tried_once_by_dry_runs() {
    let cluster = AppRoleCluster::new("role-dry-run").await;
    let (manifests, name) = (cluster.manifests(), cluster.cluster.name);
    // The first run of an installation creates the Secret with the record, which a dry run does not.
    cluster.set_secret_id(&cluster.role.secret_id);
    let first = cluster.cluster.rotate(&manifests, &[name]).await;
    assert_eq!(first.code, 0, "{first:?}");
    cluster.set_secret_id("stale");
    for _ in 0..3 {
        let run = cluster.cluster.rotate(&manifests, &["--dry-run", name]).await;
        assert!(run.stdout.contains("roleIdFile"), "{run:?}");
    }
    assert_eq!(cluster.logins(), 2, "the servers lock the role after five");
}

#[tokio::test]
async fn refused_login_is_seen_and_corrected_within_one_poll() {
    let cluster = AppRoleCluster::new("role-poll").await;
    cluster.set_secret_id(&cluster.role.secret_id);
    let _controller = cluster.start(REPLICAS[0]).await;
    cluster.cluster.until_synced("one").await;
    until("a good status", async || cluster.is_ready().await).await;

    cluster.set_secret_id("stale");
    let path = format!("sys/leases/revoke-prefix/auth/{}/login", cluster.cluster.name);
    cluster.cluster.vault.write(&path, &json!({"sync": true})).await.expect("tokens are revoked");
    let refused = async || !cluster.is_ready().await;
    until_within(ONE_POLL, "a status that names the login", refused).await;
    let fetched = cluster.cluster.status(cluster.cluster.name).await.to_string();
    assert!(fetched.contains("roleIdFile") && !fetched.contains("no policy grants"), "{fetched}");

    cluster.cluster.put_password("two").await;
    cluster.set_secret_id(&cluster.role.secret_id);
    until_within(ONE_POLL, "a good status", async || cluster.is_ready().await).await;
    cluster.cluster.until_synced("two").await;
    assert_eq!(cluster.logins(), 3, "the first, the refused and the corrected one");
}

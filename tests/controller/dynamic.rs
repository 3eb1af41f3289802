//! Credentials that an engine of the Vault issues for a time: the serial numbers of certificates stand for passwords.

mod identity_token;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use harness::{HOST, SECRET, TestCluster, until, until_within};
use serde_json::{Value, json};
use tokio::time::Instant;
use world::VaultAuditMark;

use crate::cluster::{now, test_cluster};
use crate::controller::RunController as _;

/// The life of a credential. It is replaced after 30 seconds.
const LIFE: Duration = Duration::from_secs(45);

/// A cluster with a credential that an engine issues in its pull secrets.
struct DynamicCluster {
    cluster: TestCluster,
    /// The path of the credential.
    path: String,
    beginning: VaultAuditMark,
}

impl DynamicCluster {
    /// An engine that issues credentials on `POST NAME/issue/puller`, with leases that cannot be renewed.
    async fn new(name: &'static str, life: Duration) -> Self {
        let cluster = test_cluster(name, 2).await;
        let vault = &cluster.vault;
        vault.write(&format!("sys/mounts/{name}"), &json!({"type": "pki"})).await.expect("an engine");
        let root = json!({"common_name": "root", "ttl": "2h", "key_type": "ec"});
        vault.write(&format!("{name}/root/generate/internal"), &root).await.expect("an authority");
        let path = format!("{name}/issue/puller");
        let from = json!({"store": "vault", "path": path, "method": "write", "passwordKey": "serial_number"});
        let it = Self::with(cluster, path, &from).await;
        it.create_role(life).await;
        it
    }

    /// An engine that answers `GET NAME/puller` with the password `one`, and a lease that can be renewed.
    async fn renewable(name: &'static str, life: Duration) -> Self {
        let cluster = test_cluster(name, 2).await;
        let mount = json!({"type": "kv", "options": {"version": "1", "leased_passthrough": "true"}});
        cluster.vault.write(&format!("sys/mounts/{name}"), &mount).await.expect("an engine");
        let path = format!("{name}/puller");
        let value = json!({"password": "one", "ttl": format!("{}s", life.as_secs())});
        cluster.vault.write(&path, &value).await.expect("a credential");
        let from = json!({"store": "vault", "path": path});
        Self::with(cluster, path, &from).await
    }

    async fn with(cluster: TestCluster, path: String, from: &Value) -> Self {
        let mut object = cluster.cluster_pull_secret(cluster.name);
        object["spec"]["registries"] = json!([{"host": HOST, "username": "robot", "from": from}]);
        // The least that is possible: none of these refreshes may issue a credential.
        object["spec"]["refreshInterval"] = json!("10s");
        cluster.apply(&object).await;
        let beginning = cluster.vault_mark();
        Self { cluster, path, beginning }
    }

    fn role(&self) -> String {
        format!("{}/roles/puller", self.cluster.name)
    }

    async fn create_role(&self, life: Duration) {
        let seconds = format!("{}s", life.as_secs());
        let role = json!({
            "allow_any_name": true, "require_cn": false, "generate_lease": true, "key_type": "ec",
            "ttl": seconds, "max_ttl": seconds,
        });
        self.cluster.vault.write(&self.role(), &role).await.expect("a role");
    }

    /// A Config with a store that admits these keys.
    fn config(&self, keys: &str) -> PathBuf {
        let config = self.cluster.config("triggers: {pollInterval: 1s}\n");
        self.cluster.write(&[&with_keys(&config, keys)])
    }

    fn named(&self) -> PathBuf {
        self.config(&format!("\"ci/*\", \"{}\"", self.path))
    }

    /// The passwords that the namespaces hold.
    async fn passwords(&self) -> Vec<Option<String>> {
        let mut passwords = Vec::new();
        for namespace in &self.cluster.namespaces {
            passwords.push(self.cluster.passwords(namespace).await.into_values().next());
        }
        passwords
    }

    /// Waits until all namespaces hold one password other than `before`, and returns it.
    async fn until_other_than(&self, before: Option<&str>) -> String {
        until_within(LIFE, "another password in all namespaces", async || {
            let passwords: BTreeSet<_> = self.passwords().await.into_iter().collect();
            passwords.len() == 1
                && passwords.first().is_some_and(|it| it.is_some() && it.as_deref() != before)
        })
        .await;
        self.passwords().await.swap_remove(0).expect("a password")
    }

    /// The number of leases that are alive.
    async fn leases(&self) -> usize {
        let path = format!("sys/leases/lookup/{}", self.path);
        let listed: Value = self.cluster.vault.request("LIST", &path, None).await.unwrap_or_default();
        listed["data"]["keys"].as_array().map_or(0, Vec::len)
    }

    /// The number of credentials that were issued.
    fn issued(&self) -> usize {
        let events = self.cluster.vault.audit_events_since(self.beginning).expect("Vault's audit log");
        events.iter().filter(|event| event.kind == "request" && event.path == self.path).count()
    }

    /// The number of leases that were renewed.
    fn renewals(&self) -> usize {
        let events = self.cluster.vault.audit_events_since(self.beginning).expect("Vault's audit log");
        events.iter().filter(|event| event.kind == "request" && event.path == "sys/leases/renew").count()
    }

    /// The metric of the expiry of the credential.
    fn expiry(&self, method: &str) -> String {
        let path = &self.path;
        format!("regcred_credential_expiry_timestamp_seconds{{store=\"vault\",key=\"{method} /{path}\"}}")
    }
}

/// A Config with a store `vault` that admits these keys.
fn with_keys(config: &str, keys: &str) -> String {
    config.replace("- name: down\n", &format!("  keys: [{keys}]\n- name: down\n"))
}

#[tokio::test]
async fn lease_is_replaced_at_two_thirds_and_then_revoked() {
    let dynamic = DynamicCluster::new("dynamic-lease", LIFE).await;
    let controller = dynamic.cluster.controller().manifests(&dynamic.named()).start().await;
    let first = dynamic.until_other_than(None).await;
    let issued_at = Instant::now();
    assert_eq!((dynamic.leases().await, dynamic.issued()), (1, 1));
    let series = dynamic.expiry("POST");
    let expiry = controller.metric(&series).await.expect("an expiry");

    let second = dynamic.until_other_than(Some(&first)).await;
    assert_ne!(first, second);
    until("the end of the first lease", async || dynamic.leases().await == 1).await;
    assert!(issued_at.elapsed() < LIFE, "it ran out by itself: {:?}", issued_at.elapsed());
    assert_eq!(dynamic.issued(), 2, "neither a poll nor a refresh issues a credential");
    let later = controller.metric(&series).await.expect("an expiry");
    assert!(later > expiry, "{expiry} {later}");
}

#[tokio::test]
async fn renewable_lease_keeps_its_credential() {
    let dynamic = DynamicCluster::renewable("dynamic-renew", Duration::from_secs(15)).await;
    let controller = dynamic.cluster.controller().manifests(&dynamic.named()).start().await;
    dynamic.cluster.until_synced("one").await;
    let series = dynamic.expiry("GET");
    let mut expiry = controller.metric(&series).await.expect("an expiry");
    for renewal in 1..=3 {
        until("a later expiry", async || {
            controller.metric(&series).await.is_some_and(|later| later > expiry)
        })
        .await;
        expiry = controller.metric(&series).await.expect("an expiry");
        assert_eq!((dynamic.leases().await, dynamic.issued()), (1, 1), "renewal {renewal}");
    }
    assert_eq!(dynamic.renewals(), 3, "one at two thirds of each life");
    assert_eq!(dynamic.cluster.out_of_sync("one").await, Vec::<String>::new());
}

#[tokio::test]
async fn credential_that_cannot_be_read_again_expires() {
    let life = Duration::from_secs(20);
    let mut dynamic = DynamicCluster::new("dynamic-expired", life).await;
    let controller = dynamic.cluster.controller().manifests(&dynamic.named()).start().await;
    let first = dynamic.until_other_than(None).await;
    let expiry = controller.metric(&dynamic.expiry("POST")).await.expect("an expiry");
    dynamic.cluster.vault.delete(&dynamic.role()).await.expect("no role");
    let name = dynamic.cluster.name;
    until("a failed read", async || dynamic.cluster.condition(name, "Fetched").await.starts_with("False"))
        .await;
    until("the expiry", async || dynamic.cluster.condition(name, "Fetched").await == "False Expired").await;
    assert!(now().duration_since(jiff::Timestamp::UNIX_EPOCH).as_secs_f64() >= expiry, "not before its end");
    let series = dynamic.expiry("POST");
    assert_eq!(controller.metric(&series).await, Some(expiry), "the metric shows when it expired");
    let registry = dynamic.cluster.status(name).await["registries"][0].clone();
    assert_eq!(registry["result"], "Expired", "{registry}");
    assert!(controller.log().contains("the credential has expired"), "{}", controller.log());
    let ready = format!("regcred_ready{{cluster_pull_secret=\"{name}\"}}");
    assert_eq!(controller.metric(&ready).await, Some(0.0));

    dynamic.cluster.add_namespace("dynamic-expired-late").await;
    until("the new namespace has a status", async || {
        let namespaces = dynamic.cluster.status(name).await["namespaces"].clone();
        namespaces["selected"] == 3 && namespaces["inSync"] == 2
    })
    .await;
    dynamic.cluster.until_idle().await;
    assert!(dynamic.cluster.passwords("dynamic-expired-late").await.is_empty(), "it gets no expired value");

    dynamic.create_role(Duration::from_hours(1)).await;
    dynamic.until_other_than(Some(&first)).await;
    until("it is ready", async || dynamic.cluster.condition(name, "Ready").await == "True InSync").await;
}

#[tokio::test]
async fn lease_that_a_namespace_still_holds_is_not_revoked() {
    let dynamic = DynamicCluster::new("dynamic-held", Duration::from_hours(1)).await;
    let _controller = dynamic.cluster.controller().manifests(&dynamic.named()).start().await;
    let first = dynamic.until_other_than(None).await;
    let cluster = &dynamic.cluster;
    let held = format!("/api/v1/namespaces/{}/secrets/{SECRET}", cluster.namespace(1));
    cluster.kube.patch(&held, &json!({"immutable": true})).await.expect("an immutable Secret");
    cluster.request_rotation(cluster.name).await;
    until("the second password in one namespace", async || {
        dynamic.passwords().await[0].as_deref().is_some_and(|it| it != first)
    })
    .await;
    until("a failure of the other", async || {
        cluster.condition(cluster.name, "Applied").await.starts_with("False")
    })
    .await;
    assert_eq!(dynamic.passwords().await[1].as_deref(), Some(first.as_str()));
    assert_eq!(dynamic.leases().await, 2, "the other namespace holds the first");
    cluster.kube.delete(&held).await.expect("a deletion");
    dynamic.until_other_than(Some(&first)).await;
    until("the end of the first lease", async || dynamic.leases().await == 1).await;
    assert_eq!(dynamic.issued(), 2);
}

#[tokio::test]
async fn forged_version_of_an_issued_credential_issues_none() {
    let dynamic = DynamicCluster::new("dynamic-forged", Duration::from_hours(1)).await;
    let _controller = dynamic.cluster.controller().manifests(&dynamic.named()).start().await;
    let password = dynamic.until_other_than(None).await;
    let cluster = &dynamic.cluster;
    let held = format!("/api/v1/namespaces/{}/secrets/{SECRET}", cluster.namespace(1));
    for forged in ["forged", "7", "9@2030-01-01T00:00:00Z"] {
        let versions = json!({"regcred.dev/versions": format!("{HOST}=vault:{forged}")});
        let mut edit = json!({"metadata": {"annotations": versions}});
        cluster.kube.patch(&held, &edit).await.expect("a patch");
        edit["data"] = json!({".dockerconfigjson": "e30="});
        cluster.kube.patch(&held, &edit).await.expect("a patch");
        until("the password is put back", async || {
            dynamic.passwords().await[1].as_deref() == Some(password.as_str())
        })
        .await;
    }
    cluster.until_idle().await;
    assert_eq!(dynamic.passwords().await, [Some(password.clone()), Some(password)]);
    assert_eq!(dynamic.issued(), 1);
}

#[tokio::test]
async fn keys_are_polled_beside_a_path_of_the_same_store() {
    let dynamic = DynamicCluster::new("dynamic-poll", Duration::from_hours(1)).await;
    let cluster = &dynamic.cluster;
    cluster.put_password("one").await;
    let key = cluster.key("ghcr");
    let from = json!({
        "store": "vault", "path": dynamic.path, "method": "write", "passwordKey": "serial_number",
    });
    let registries = json!([
        {"host": HOST, "username": "robot", "from": from},
        {"host": "quay.io", "from": {"store": "vault", "key": key}},
    ]);
    let spec = json!({"registries": registries, "refreshInterval": "1h"});
    cluster.patch_spec(cluster.name, spec).await;
    let manifests = dynamic.config(&format!("\"{key}\", \"{}\"", dynamic.path));
    let _controller = cluster.controller().manifests(&manifests).start().await;
    for password in ["one", "two"] {
        cluster.put_password(password).await;
        until("the password of the key", async || {
            cluster.passwords(cluster.namespace(1)).await.get("quay.io").is_some_and(|it| it == password)
        })
        .await;
    }
    assert_eq!(dynamic.issued(), 1);
}

#[tokio::test]
async fn path_that_no_entry_names_is_never_requested() {
    let dynamic = DynamicCluster::new("dynamic-refused", LIFE).await;
    let manifests = dynamic.config("\"*\", \"*/issue/*\"");
    let _controller = dynamic.cluster.controller().manifests(&manifests).start().await;
    let cluster = &dynamic.cluster;
    until("a refusal", async || cluster.condition(cluster.name, "Fetched").await == "False NotAllowed").await;
    assert_eq!(dynamic.issued(), 0);
}

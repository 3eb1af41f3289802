//! Vault and OpenBao, with both KV engines and every way to log in.

mod login;
mod namespaces;
mod server;
mod tls;

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use regcred::credential::VersionOrder;
use regcred::manifest::config::{KvVersion, VaultAuth, VaultSettings};
use regcred::provider::vault::Vault;
use regcred::provider::{Environment, Provider};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

pub(super) use self::namespaces::NestedNamespace;
pub(super) use self::server::{HashiCorp, OpenBao};
use self::server::{Server, VaultServer, on_every_server};
use super::{KeepingSubject, Subject, closed_address, json_of, password, read};

/// The longest wait of a test for an expiry.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Kv2<S> {
    server: &'static Server,
    kind: PhantomData<S>,
}

pub(super) struct Kv1<S> {
    server: &'static Server,
    kind: PhantomData<S>,
}

#[async_trait]
impl<S: VaultServer> Subject for Kv2<S> {
    async fn new() -> Self {
        Self { server: S::shared().await, kind: PhantomData }
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        open(&settings(self.server, "secret", KvVersion::V2))
    }

    async fn unreachable(&self) -> Arc<dyn Provider> {
        let address = closed_address().parse().unwrap();
        open(&VaultSettings { address, ..settings(self.server, "secret", KvVersion::V2) })
    }

    async fn put(&self, key: &str, value: &Value) {
        self.server.vault.put_kv2("secret", key, value).await.unwrap();
    }

    fn reads_of(&self, key: &str) -> Option<usize> {
        Some(reads_of(self.server.vault, &format!("secret/data/{key}")))
    }
}

#[async_trait]
impl<S: VaultServer> KeepingSubject for Kv2<S> {
    const DELETED: &str = "Deleted";

    async fn delete(&self, key: &str) {
        self.server.vault.delete(&format!("secret/data/{key}")).await.unwrap();
    }
}

#[async_trait]
impl<S: VaultServer> Subject for Kv1<S> {
    const HAS_VERSIONS: bool = false;

    async fn new() -> Self {
        Self { server: S::shared().await, kind: PhantomData }
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        open(&settings(self.server, "kv1", KvVersion::V1))
    }

    async fn unreachable(&self) -> Arc<dyn Provider> {
        let address = closed_address().parse().unwrap();
        open(&VaultSettings { address, ..settings(self.server, "kv1", KvVersion::V1) })
    }

    async fn put(&self, key: &str, value: &Value) {
        self.server.vault.put_kv1("kv1", key, value).await.unwrap();
    }

    fn reads_of(&self, key: &str) -> Option<usize> {
        Some(reads_of(self.server.vault, &format!("kv1/{key}")))
    }
}

#[async_trait]
impl<S: VaultServer> KeepingSubject for Kv1<S> {
    const DELETED: &str = "NotFound";

    async fn delete(&self, key: &str) {
        self.server.vault.delete(&format!("kv1/{key}")).await.unwrap();
    }
}

/// The settings of a store that reads this mount with the root token.
fn settings(server: &Server, mount: &str, kv: KvVersion) -> VaultSettings {
    VaultSettings {
        address: server.vault.address.parse().unwrap(),
        mount: mount.to_owned(),
        kv,
        namespace: None,
        ca_file: None,
        redirect_hosts: Vec::new(),
        allow_http: false,
        auth: VaultAuth::TokenFile(server.token_file.clone()),
    }
}

fn open(settings: &VaultSettings) -> Arc<dyn Provider> {
    Arc::new(Vault::open("vault".into(), settings, &Environment::default()).unwrap())
}

fn reads_of(vault: &world::Vault, path: &str) -> usize {
    let beginning = vault.audit_events().unwrap();
    beginning
        .iter()
        .filter(|event| event.kind == "request" && event.operation == "read" && event.path == path)
        .count()
}

/// The error of a read of `key`.
async fn message(provider: &dyn Provider, key: &str) -> String {
    read(provider, key).await.unwrap_err().to_string()
}

/// Waits until a condition is true.
async fn until(is_true: impl AsyncFn() -> bool) {
    let begin = Instant::now();
    while !is_true().await {
        assert!(begin.elapsed() < TIMEOUT);
        sleep(Duration::from_millis(50)).await;
    }
}

on_every_server! {
    destroyed_version_is_deleted_and_empty_key_not_found
    recreated_key_has_a_lower_number_and_a_later_time
    version_with_a_deletion_time_reports_it_and_is_deleted
    mount_may_have_slashes_and_key_any_character
    wrong_engine_version_is_reported_where_vault_returns_it
    missing_mount_is_reported
    sealed_vault_is_reported_until_it_is_unsealed
}

/// The version of `key`, or the reason for its absence.
async fn version(provider: &dyn Provider, key: &str) -> String {
    let version = provider.versions(&[key.into()]).await.remove(0);
    version.map_or_else(|error| error.reason().to_string(), |version| version.to_string())
}

async fn destroyed_version_is_deleted_and_empty_key_not_found<S: VaultServer>() {
    let subject = Kv2::<S>::new().await;
    let provider = subject.provider().await;
    subject.put("destroyed", &password("hunter2")).await;
    subject.server.vault.write("secret/destroy/destroyed", &json!({"versions": [1]})).await.unwrap();
    let deleted = "store vault, key destroyed: the current version is deleted";
    assert_eq!(message(&*provider, "destroyed").await, deleted);
    assert_eq!(version(&*provider, "destroyed").await, "Deleted");
    subject.server.vault.delete("secret/metadata/destroyed").await.unwrap();
    let absent =
        "store vault, key destroyed: not found at secret/data/destroyed (mount secret, KV version 2)";
    assert_eq!(message(&*provider, "destroyed").await, absent);
    assert_eq!(version(&*provider, "destroyed").await, "NotFound");
    subject.server.vault.write("secret/metadata/destroyed", &json!({"max_versions": 3})).await.unwrap();
    assert_eq!(message(&*provider, "destroyed").await, absent);
    assert_eq!(version(&*provider, "destroyed").await, "NotFound");
}

async fn recreated_key_has_a_lower_number_and_a_later_time<S: VaultServer>() {
    let subject = Kv2::<S>::new().await;
    let provider = subject.provider().await;
    for expect in ["1", "2"] {
        subject.put("recreated", &password("hunter2")).await;
        assert_eq!(version(&*provider, "recreated").await, expect);
    }
    let before = read(&*provider, "recreated").await.unwrap().version;
    subject.server.vault.delete("secret/metadata/recreated").await.unwrap();
    subject.put("recreated", &password("hunter2")).await;
    assert_eq!(version(&*provider, "recreated").await, "1");
    let anew = read(&*provider, "recreated").await.unwrap().version;
    assert_eq!((anew.to_string().as_str(), before.compare(&anew)), ("1", VersionOrder::Recreated));
    assert_eq!(anew.compare(&before), VersionOrder::Newer, "a number alone cannot tell");
}

async fn version_with_a_deletion_time_reports_it_and_is_deleted<S: VaultServer>() {
    let subject = Kv2::<S>::new().await;
    let (vault, provider) = (subject.server.vault, subject.provider().await);
    let (created, deletion) = put_expiring(vault, "expiring/hour", "1h").await;
    let value = read(&*provider, "expiring/hour").await.unwrap();
    assert_eq!(value.expiry.map(|it| it.at()), deletion);
    assert_eq!(value.expiry.map(|it| it.at()), Some(created + Duration::from_hours(1)));
    assert_eq!(version(&*provider, "expiring/hour").await, value.version.to_string());
    assert_eq!(put_expiring(vault, "expiring/never", "0s").await.1, None);
    assert_eq!(read(&*provider, "expiring/never").await.unwrap().expiry, None);

    put_expiring(vault, "expiring/soon", "2s").await;
    let begin = Instant::now();
    let error = loop {
        match read(&*provider, "expiring/soon").await {
            Ok(value) => assert!(value.expiry.is_some()),
            Err(error) => break error,
        }
        assert!(begin.elapsed() < TIMEOUT);
        sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(error.to_string(), "store vault, key expiring/soon: the current version is deleted");
    // The HTTP date of an answer has no fractions of a second.
    while version(&*provider, "expiring/soon").await != "Deleted" {
        assert!(begin.elapsed() < TIMEOUT);
        sleep(Duration::from_millis(100)).await;
    }
}

/// Puts a version that is deleted after this time; returns its times of creation and of deletion.
async fn put_expiring(vault: &world::Vault, key: &str, after: &str) -> (Timestamp, Option<Timestamp>) {
    let metadata = json!({"delete_version_after": after});
    vault.write(&format!("secret/metadata/{key}"), &metadata).await.unwrap();
    let data = json!({"data": password("hunter2")});
    let written = vault.write(&format!("secret/data/{key}"), &data).await.unwrap();
    let [created, deletion] = ["created_time", "deletion_time"]
        .map(|field| written["data"][field].as_str().unwrap().parse::<Timestamp>().ok());
    (created.unwrap(), deletion)
}

async fn mount_may_have_slashes_and_key_any_character<S: VaultServer>() {
    let server = S::shared().await;
    let vault = server.vault;
    vault.enable_kv("team/a/kv", 2).await.unwrap();
    let provider = open(&settings(server, "team/a/kv", KvVersion::V2));
    for key in ["ci/ghcr.io", "ci/a b", "ci/größe", "ci/a+b@c:5000"] {
        vault.put_kv2("team/a/kv", key, &password(key)).await.unwrap();
        assert_eq!(json_of(&read(&*provider, key).await.unwrap()), password(key));
        assert_eq!(version(&*provider, key).await, "1");
    }
}

async fn wrong_engine_version_is_reported_where_vault_returns_it<S: VaultServer>() {
    let server = S::shared().await;
    let vault = server.vault;
    vault.put_kv2("secret", "wrong-version", &password("hunter2")).await.unwrap();
    let provider = open(&settings(server, "secret", KvVersion::V1));
    assert_eq!(
        message(&*provider, "wrong-version").await,
        "store vault, key wrong-version: the engine is KV version 2, `kvVersion` says 1"
    );
    vault.put_kv1("kv1", "wrong-version", &password("hunter2")).await.unwrap();
    let provider = open(&settings(server, "kv1", KvVersion::V2));
    assert_eq!(
        message(&*provider, "wrong-version").await,
        "store vault, key wrong-version: not found at kv1/data/wrong-version (mount kv1, KV version 2)"
    );
}

async fn missing_mount_is_reported<S: VaultServer>() {
    let provider = open(&settings(S::shared().await, "nowhere", KvVersion::V2));
    assert_eq!(
        message(&*provider, "key").await,
        "store vault, key key: no engine is mounted at nowhere; check `mount`"
    );
}

async fn sealed_vault_is_reported_until_it_is_unsealed<S: VaultServer>() {
    let server = S::shared().await;
    let (world, vault) = (server.world, S::own(server.world).await);
    vault.put_kv2("secret", "key", &password("hunter2")).await.unwrap();
    let directory = world.reaper().new_directory("sealed").unwrap();
    std::fs::write(directory.join("token"), &vault.root_token).unwrap();
    let provider = open(&VaultSettings {
        address: vault.address.parse().unwrap(),
        auth: VaultAuth::TokenFile(directory.join("token")),
        ..settings(server, "secret", KvVersion::V2)
    });
    vault.seal().await.unwrap();
    for _ in 0..2 {
        assert_eq!(message(&*provider, "key").await, "store vault, key key: the Vault is sealed");
    }
    vault.unseal().await.unwrap();
    assert!(read(&*provider, "key").await.is_ok());
    vault.seal().await.unwrap();
    assert_eq!(message(&*provider, "key").await, "store vault, key key: the Vault is sealed");
}

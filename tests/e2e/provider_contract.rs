//! The contract of every provider, tested for each against the real store.
//!
//! The contract is a list of functions over a [`Subject`]; a store joins it by a line in `contract!`.
//! The features of a single kind of store are tested in a module of their own.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports, in its helpers too")]

mod ecr;
mod files;
mod secrets_manager;
mod vault;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use regcred::credential::{Key, StoredValue, Version};
use regcred::provider::{Error, ErrorKind, Provider};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// The longest delay until a version shows that it is deleted: dates of HTTP have no fractions of a second.
const LAG: Duration = Duration::from_secs(3);

/// A real store, in which the keys below `prefix` belong to one test.
#[async_trait]
trait Subject: Send + Sync {
    /// True if the store gives each value its own version, which can be looked up.
    const HAS_VERSIONS: bool = true;
    /// True if each read has its own version.
    const HAS_READ_VERSIONS: bool = Self::HAS_VERSIONS;
    /// The reason for a key that the store does not have.
    const MISSING: &str = "NotFound";

    async fn new() -> Self;

    /// A provider of the store, opened as from a `Config`.
    async fn provider(&self) -> Arc<dyn Provider>;

    /// A provider of a store that is unreachable.
    async fn unreachable(&self) -> Arc<dyn Provider>;

    /// Puts a value, which is JSON, as a user of the store would.
    async fn put(&self, key: &str, value: &Value);

    /// The key of the store for a name of the contract.
    fn key(&self, name: &str) -> String {
        name.to_owned()
    }

    /// The value that a read returns after this one was put.
    fn expected(&self, _key: &str, put: &Value) -> Value {
        put.clone()
    }

    /// The number of reads of a key so far, if the store counts them.
    fn reads_of(&self, _key: &str) -> Option<usize> {
        None
    }
}

/// A real store that keeps what is put into it.
#[async_trait]
trait KeepingSubject: Subject {
    /// The reason for a key with a deleted value.
    const DELETED: &str;

    /// Deletes the current value, as a user of the store would.
    async fn delete(&self, key: &str);

    /// Puts a value after a deletion, as a user of the store would.
    async fn restore(&self, key: &str, value: &Value) {
        self.put(key, value).await;
    }
}

macro_rules! contract {
    (keeps: {$($keeps:ident: $keeping:ty),* $(,)?} issues: {$($issues:ident: $issuing:ty),* $(,)?}) => {
        $(mod $keeps {
            contract!(@every $keeping);
            contract!(@ $keeping:
                unchanged_value_keeps_its_version
                deleted_value_is_reported_as_such
                versions_equal_those_of_a_read
            );
        })*
        $(mod $issues {
            contract!(@every $issuing);
        })*
    };
    (@every $subject:ty) => {
        contract!(@ $subject:
            value_is_read_with_its_version
            new_value_has_a_new_version
            missing_key_is_not_found
            results_follow_the_order_of_the_keys
            forty_five_keys_are_read_in_one_call
            each_key_is_read_once
            forty_five_versions_follow_the_order_of_the_keys
            version_is_returned_without_a_read
            no_keys_give_no_results
            unreachable_store_is_unavailable
        );
    };
    (@ $subject:ty: $($promise:ident)*) => {$(
        #[tokio::test]
        async fn $promise() {
            super::$promise::<$subject>(stringify!($promise)).await;
        }
    )*};
}

contract! {
    keeps: {
        vault_kv2: crate::provider_contract::vault::Kv2<crate::provider_contract::vault::HashiCorp>,
        vault_kv1: crate::provider_contract::vault::Kv1<crate::provider_contract::vault::HashiCorp>,
        openbao_kv2: crate::provider_contract::vault::Kv2<crate::provider_contract::vault::OpenBao>,
        openbao_kv1: crate::provider_contract::vault::Kv1<crate::provider_contract::vault::OpenBao>,
        openbao_namespace: crate::provider_contract::vault::NestedNamespace,
        aws: crate::provider_contract::secrets_manager::LocalStack,
        aws_moto: crate::provider_contract::secrets_manager::Moto,
        directory: crate::provider_contract::files::Files,
    }
    // Each read makes these issue another value; none can be put or deleted.
    issues: {
        aws_ecr: crate::provider_contract::ecr::Registry,
    }
}

async fn value_is_read_with_its_version<S: Subject>(prefix: &str) {
    let subject = S::new().await;
    let key = subject.key(&format!("{prefix}/ci/ghcr"));
    subject.put(&key, &password("hunter2")).await;
    let value = read(&*subject.provider().await, &key).await.unwrap();
    assert_eq!(json_of(&value), subject.expected(&key, &password("hunter2")));
    assert_eq!(value.version.is_unversioned(), !S::HAS_READ_VERSIONS, "{}", value.version);
    assert!(!format!("{value:?}").contains("hunter2"));
}

async fn unchanged_value_keeps_its_version<S: KeepingSubject>(prefix: &str) {
    let subject = S::new().await;
    let key = format!("{prefix}/key");
    subject.put(&key, &password("hunter2")).await;
    let first = read(&*subject.provider().await, &key).await.unwrap();
    let second = read(&*subject.provider().await, &key).await.unwrap();
    assert_eq!(first.version, second.version);
}

async fn new_value_has_a_new_version<S: Subject>(prefix: &str) {
    let subject = S::new().await;
    let key = subject.key(&format!("{prefix}/key"));
    subject.put(&key, &password("old")).await;
    let provider = subject.provider().await;
    let old = read(&*provider, &key).await.unwrap();
    subject.put(&key, &password("new")).await;
    let new = read(&*provider, &key).await.unwrap();
    assert_eq!(json_of(&new), subject.expected(&key, &password("new")));
    assert_eq!(old.version != new.version, S::HAS_READ_VERSIONS, "{} and {}", old.version, new.version);
}

async fn missing_key_is_not_found<S: Subject>(prefix: &str) {
    let subject = S::new().await;
    let key = subject.key(&format!("{prefix}/nothing"));
    let error = read(&*subject.provider().await, &key).await.unwrap_err();
    assert_eq!(error.reason().to_string(), S::MISSING, "{error}");
    assert!(error.to_string().contains(&format!("key {key}")), "{error}");
}

async fn deleted_value_is_reported_as_such<S: KeepingSubject>(prefix: &str) {
    let subject = S::new().await;
    let (gone, kept) = (format!("{prefix}/gone"), format!("{prefix}/kept"));
    subject.put(&gone, &password("hunter2")).await;
    subject.put(&kept, &password("hunter2")).await;
    let provider = subject.provider().await;
    read(&*provider, &gone).await.unwrap();
    subject.delete(&gone).await;
    assert_eq!(read(&*provider, &gone).await.unwrap_err().reason().to_string(), S::DELETED);
    // Some stores take different requests for one key and for several.
    let values = provider.read(&[Key(kept), Key(gone)]).await;
    assert!(values[0].is_ok());
    assert_eq!(values[1].as_ref().unwrap_err().reason().to_string(), S::DELETED);
}

async fn results_follow_the_order_of_the_keys<S: Subject>(prefix: &str) {
    let subject = S::new().await;
    let keys = ["b", "nothing", "a"].map(|name| Key(subject.key(&format!("{prefix}/{name}"))));
    for (key, name) in [(&keys[2], "a"), (&keys[0], "b")] {
        subject.put(&key.0, &password(name)).await;
    }
    let values = subject.provider().await.read(&keys).await;
    assert_eq!(values.len(), 3);
    assert_eq!(json_of(values[0].as_ref().unwrap()), subject.expected(&keys[0].0, &password("b")));
    let missing = values[1].as_ref().unwrap_err();
    assert_eq!((missing.reason().to_string().as_str(), &missing.at.key), (S::MISSING, &keys[1]), "{missing}");
    assert_eq!(json_of(values[2].as_ref().unwrap()), subject.expected(&keys[2].0, &password("a")));
}

async fn forty_five_keys_are_read_in_one_call<S: Subject>(prefix: &str) {
    let subject = S::new().await;
    let keys: Vec<Key> = (0..45).map(|i| Key(subject.key(&format!("{prefix}/{i}")))).collect();
    for key in &keys {
        subject.put(&key.0, &password(&key.0)).await;
    }
    let values = subject.provider().await.read(&keys).await;
    assert_eq!(values.len(), keys.len());
    for (key, value) in keys.iter().zip(&values) {
        assert_eq!(json_of(value.as_ref().unwrap()), subject.expected(&key.0, &password(&key.0)));
    }
}

async fn each_key_is_read_once<S: Subject>(prefix: &str) {
    let subject = S::new().await;
    let keys = ["a", "b"].map(|name| Key(subject.key(&format!("{prefix}/{name}"))));
    for key in &keys {
        subject.put(&key.0, &password("hunter2")).await;
    }
    let before = keys.each_ref().map(|key| subject.reads_of(&key.0));
    assert!(subject.provider().await.read(&keys).await.iter().all(Result::is_ok));
    let after = keys.each_ref().map(|key| subject.reads_of(&key.0));
    assert_eq!(after, before.map(|reads| reads.map(|reads| reads + 1)));
}

async fn versions_equal_those_of_a_read<S: KeepingSubject>(prefix: &str) {
    let subject = S::new().await;
    let provider = subject.provider().await;
    let key = Key(format!("{prefix}/key"));
    compared_version::<S>(&*provider, &key).await;
    subject.put(&key.0, &password("old")).await;
    let old = compared_version::<S>(&*provider, &key).await;
    assert_eq!(compared_version::<S>(&*provider, &key).await, old);
    subject.put(&key.0, &password("new")).await;
    assert_eq!(compared_version::<S>(&*provider, &key).await != old, S::HAS_VERSIONS);
    subject.delete(&key.0).await;
    compared_version::<S>(&*provider, &key).await;
    subject.restore(&key.0, &password("again")).await;
    compared_version::<S>(&*provider, &key).await;
}

/// Reads a key, waits until its version alone is the same, and returns the version.
async fn compared_version<S: Subject>(provider: &dyn Provider, key: &Key) -> String {
    let read = outcome(read(provider, &key.0).await.map(|value| value.version));
    // Without versions a store cannot tell if a value exists.
    let expect = if S::HAS_VERSIONS { read } else { Version::UNVERSIONED.to_owned() };
    let begin = Instant::now();
    loop {
        let version = outcome(provider.versions(std::slice::from_ref(key)).await.remove(0));
        if version == expect {
            return version;
        }
        assert!(begin.elapsed() < LAG, "{version} and not {expect}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn forty_five_versions_follow_the_order_of_the_keys<S: Subject>(prefix: &str) {
    let subject = S::new().await;
    let keys: Vec<Key> = (0..45).rev().map(|i| Key(subject.key(&format!("{prefix}/{i}")))).collect();
    for key in keys.iter().step_by(2) {
        subject.put(&key.0, &password(&key.0)).await;
    }
    let provider = subject.provider().await;
    let versions = provider.versions(&keys).await;
    let values = provider.read(&keys).await;
    assert_eq!((versions.len(), values.len()), (keys.len(), keys.len()));
    for ((key, version), value) in keys.iter().zip(versions).zip(values) {
        let read = outcome(value.map(|value| value.version));
        let expect = if S::HAS_VERSIONS { &read } else { Version::UNVERSIONED };
        assert_eq!(outcome(version), expect, "{key}");
    }
}

async fn version_is_returned_without_a_read<S: Subject>(prefix: &str) {
    let subject = S::new().await;
    let key = Key(subject.key(&format!("{prefix}/key")));
    subject.put(&key.0, &password("hunter2")).await;
    let before = subject.reads_of(&key.0);
    assert!(subject.provider().await.versions(std::slice::from_ref(&key)).await[0].is_ok());
    assert_eq!(subject.reads_of(&key.0), before);
}

async fn no_keys_give_no_results<S: Subject>(_: &str) {
    let provider = S::new().await.unreachable().await;
    assert!(provider.read(&[]).await.is_empty());
    assert!(provider.versions(&[]).await.is_empty());
}

async fn unreachable_store_is_unavailable<S: Subject>(prefix: &str) {
    let subject = S::new().await;
    let keys = ["a", "b"].map(|name| Key(subject.key(&format!("{prefix}/{name}"))));
    for key in &keys {
        subject.put(&key.0, &password("hunter2")).await;
    }
    let provider = subject.unreachable().await;
    for value in provider.read(&keys).await {
        let error = value.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Unavailable(_)), "{error}");
    }
    for version in provider.versions(&keys).await {
        let expect = if S::HAS_VERSIONS { "Unavailable" } else { Version::UNVERSIONED };
        assert_eq!(outcome(version), expect);
    }
}

/// A version with its time, or the reason for its absence.
fn outcome(version: Result<Version, Error>) -> String {
    version.map_or_else(|error| error.reason().to_string(), |version| version.serialized())
}

/// A value as a user stores it.
fn password(password: &str) -> Value {
    json!({"username": "robot", "password": password})
}

fn json_of(value: &StoredValue) -> Value {
    serde_json::from_slice(value.bytes.expose_secret()).unwrap()
}

async fn read(provider: &dyn Provider, key: &str) -> Result<StoredValue, Error> {
    provider.read(&[Key(key.to_owned())]).await.remove(0)
}

/// An address with a closed port.
fn closed_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

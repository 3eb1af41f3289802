//! Amazon ECR, in the shape of moto behind a proxy that gives each token a password and an end of its own.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use regcred::credential::{Expiry, Key, VersionOrder};
use regcred::manifest::config::EcrStore;
use regcred::provider::ecr::Ecr;
use regcred::provider::{ErrorKind, Provider, WallClock};
use serde_json::{Value, json};
use world::{EcrProxy, Moto, REGION, World};

use super::{Subject, closed_address, json_of, read};

/// The time for which ECR issues a token.
const LIFE: Duration = Duration::from_hours(12);

pub(super) struct Registry {
    proxy: EcrProxy,
    /// The registries of the store: those for which a value was put.
    registry_ids: Mutex<BTreeSet<String>>,
}

impl Registry {
    fn open(&self, address: &str) -> Arc<dyn Provider> {
        open(address, self.registry_ids.lock().unwrap().iter().cloned().collect())
    }
}

#[async_trait]
impl Subject for Registry {
    const HAS_VERSIONS: bool = false;
    const HAS_READ_VERSIONS: bool = true;
    const MISSING: &str = "Misconfigured";

    async fn new() -> Self {
        let moto = World::shared().await.moto().await;
        let proxy = EcrProxy::start(moto, LIFE).await.unwrap();
        Self { proxy, registry_ids: Mutex::default() }
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        self.open(&self.proxy.endpoint)
    }

    async fn unreachable(&self) -> Arc<dyn Provider> {
        self.open(&closed_address())
    }

    /// Every read has a new token, so there is nothing to put; the store admits the registry.
    async fn put(&self, key: &str, _: &Value) {
        self.registry_ids.lock().unwrap().insert(key.to_owned());
    }

    /// 12 digits, different ones for different names.
    fn key(&self, name: &str) -> String {
        let hash = name.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(1_000_003) ^ u64::from(byte));
        format!("{:012}", hash % 1_000_000_000_000)
    }

    /// The docker config of the last token.
    fn expected(&self, key: &str, _: &Value) -> Value {
        let password = self.proxy.issued().pop().unwrap();
        json!({"auths": {host(key): {"auth": BASE64_STANDARD.encode(format!("AWS:{password}"))}}})
    }

    /// One request serves all keys.
    fn reads_of(&self, _: &str) -> Option<usize> {
        Some(self.proxy.issued().len())
    }
}

fn host(id: &str) -> String {
    format!("{id}.dkr.ecr.{REGION}.amazonaws.com")
}

fn open(address: &str, registry_ids: Vec<String>) -> Arc<dyn Provider> {
    let credentials = Credentials::new("test", "test", None, None, "test");
    let shared = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let (region, endpoint_url) = (REGION.to_owned(), Some(address.to_owned()));
    let settings = EcrStore { region, registry_ids, endpoint_url, role_arn: None };
    Arc::new(Ecr::with_config("ecr".into(), &settings, &shared, WallClock::default()))
}

#[tokio::test]
async fn later_token_replaces_an_earlier_one() {
    let registry = Registry::new().await;
    registry.put(Moto::ACCOUNT, &Value::Null).await;
    let provider = registry.provider().await;
    let first = read(&*provider, Moto::ACCOUNT).await.unwrap();
    let second = read(&*provider, Moto::ACCOUNT).await.unwrap();
    assert_eq!(first.version.compare(&second.version), VersionOrder::Newer);
    assert_eq!(second.version.compare(&first.version), VersionOrder::Older);
    let Some(Expiry::Issued(life)) = second.expiry else { panic!("{second:?}") };
    let hours =
        Duration::try_from(life.refresh_at().duration_since(life.issued)).unwrap().as_secs_f64() / 3600.0;
    assert!((hours - 8.0).abs() < 0.01, "two thirds of twelve hours: {hours}");
}

#[tokio::test]
async fn expired_token_of_moto_is_refused() {
    let moto = World::shared().await.moto().await;
    let provider = open(&moto.endpoint, vec![Moto::ACCOUNT.to_owned()]);
    let error = read(&*provider, Moto::ACCOUNT).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Expired(_)), "{error}");
    assert!(error.to_string().contains("expired at 2015-01-01T"), "{error}");
}

#[tokio::test]
async fn token_names_the_host_in_the_region_of_the_answer() {
    let registry = Registry::new().await;
    let other = "999999999999";
    for id in [Moto::ACCOUNT, other] {
        registry.put(id, &Value::Null).await;
    }
    let values = registry.provider().await.read(&[Key(other.to_owned()), Moto::ACCOUNT.into()]).await;
    for (id, value) in [other, Moto::ACCOUNT].into_iter().zip(values) {
        let config = json_of(&value.unwrap());
        assert!(config["auths"][host(id)]["auth"].is_string(), "{config}");
    }
    assert_eq!(registry.proxy.issued().len(), 1);
}

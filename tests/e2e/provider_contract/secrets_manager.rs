//! AWS Secrets Manager, in the shapes of LocalStack and of moto.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use regcred::credential::Key;
use regcred::manifest::config::SecretsManagerStore;
use regcred::provider::Provider;
use regcred::provider::secrets_manager::SecretsManager;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use world::{AwsEndpoint, REGION, World};

use super::{KeepingSubject, Subject, closed_address, json_of, password, read};

/// A server that answers as Secrets Manager does.
#[async_trait]
pub(super) trait SecretsManagerServer: Send + Sync {
    async fn endpoint() -> &'static AwsEndpoint;
}

pub(super) struct OfLocalStack;

pub(super) struct OfMoto;

#[async_trait]
impl SecretsManagerServer for OfLocalStack {
    async fn endpoint() -> &'static AwsEndpoint {
        &World::shared().await.localstack
    }
}

#[async_trait]
impl SecretsManagerServer for OfMoto {
    async fn endpoint() -> &'static AwsEndpoint {
        World::shared().await.moto().await
    }
}

pub(super) struct SecretsManagerOf<S>(PhantomData<S>);

pub(super) type LocalStack = SecretsManagerOf<OfLocalStack>;

pub(super) type Moto = SecretsManagerOf<OfMoto>;

#[async_trait]
impl<S: SecretsManagerServer> Subject for SecretsManagerOf<S> {
    async fn new() -> Self {
        Self(PhantomData)
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        open(&S::endpoint().await.endpoint)
    }

    async fn unreachable(&self) -> Arc<dyn Provider> {
        open(&closed_address())
    }

    async fn put(&self, key: &str, value: &Value) {
        let server = S::endpoint().await;
        if server.put_secret(key, &value.to_string()).await.is_err() {
            server.create_secret(key, &value.to_string()).await.unwrap();
        }
    }
}

#[async_trait]
impl<S: SecretsManagerServer> KeepingSubject for SecretsManagerOf<S> {
    const DELETED: &str = "Deleted";

    async fn delete(&self, key: &str) {
        let in_a_week = json!({"SecretId": key, "RecoveryWindowInDays": 7});
        S::endpoint().await.request("secretsmanager", "DeleteSecret", &in_a_week).await.unwrap();
    }

    async fn restore(&self, key: &str, value: &Value) {
        let id = json!({"SecretId": key});
        S::endpoint().await.request("secretsmanager", "RestoreSecret", &id).await.unwrap();
        self.put(key, value).await;
    }
}

fn open(address: &str) -> Arc<dyn Provider> {
    let credentials = Credentials::new("test", "test", None, None, "test");
    let shared = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let (region, endpoint_url) = (REGION.to_owned(), Some(address.to_owned()));
    let settings = SecretsManagerStore { region, endpoint_url, role_arn: None };
    Arc::new(SecretsManager::with_config("aws".into(), &settings, &shared))
}

async fn localstack_provider() -> Arc<dyn Provider> {
    open(&World::shared().await.localstack.endpoint)
}

async fn request(action: &str, body: &Value) -> Value {
    World::shared().await.localstack.request("secretsmanager", action, body).await.unwrap()
}

#[tokio::test]
async fn secret_is_read_by_arn_and_by_partial_arn() {
    let localstack = &World::shared().await.localstack;
    let value = password("hunter2");
    let arn = localstack.create_secret("by-arn/ghcr", &value.to_string()).await.unwrap();
    let other = localstack.create_secret("by-arn/other", "other").await.unwrap();
    let partial = arn.rsplit_once('-').unwrap().0.to_owned();
    let provider = localstack_provider().await;
    for key in [&arn, &partial] {
        assert_eq!(json_of(&read(&*provider, key).await.unwrap()), value, "{key}");
    }
    let keys = [partial, other, "by-arn/ghcr".to_owned(), arn].map(Key);
    let values = provider.read(&keys).await;
    for (key, answer) in keys.iter().zip(&values) {
        let bytes = answer.as_ref().unwrap().bytes.expose_secret();
        assert_eq!(bytes == b"other", key == &keys[1], "{key}");
    }
}

#[tokio::test]
async fn version_is_found_by_any_name_and_after_recreation() {
    let localstack = &World::shared().await.localstack;
    let arn = localstack.create_secret("recreated/ghcr", "old").await.unwrap();
    let keys = [arn.rsplit_once('-').unwrap().0.to_owned(), "recreated/ghcr".to_owned()].map(Key);
    let provider = localstack_provider().await;
    let old = versions(&*provider, &keys).await;
    request("DeleteSecret", &json!({"SecretId": arn, "ForceDeleteWithoutRecovery": true})).await;
    localstack.create_secret("recreated/ghcr", "new").await.unwrap();
    assert_ne!(versions(&*provider, &keys).await, old);
}

/// The versions of keys, which a read and a request for versions both return.
async fn versions(provider: &dyn Provider, keys: &[Key]) -> Vec<String> {
    let read = provider.read(keys).await.into_iter().map(|value| value.unwrap().version.to_string());
    let read: Vec<_> = read.collect();
    let polled = provider.versions(keys).await.into_iter().map(|version| version.unwrap().to_string());
    assert_eq!(polled.collect::<Vec<_>>(), read);
    read
}

#[tokio::test]
async fn binary_secret_is_read_as_its_bytes() {
    let bytes = [0, 159, 146, 150];
    for name in ["binary/a", "binary/b"] {
        let token = format!("{name:-<32}").replace('/', "-");
        let body = json!({
            "Name": name, "SecretBinary": BASE64_STANDARD.encode(bytes), "ClientRequestToken": token,
        });
        request("CreateSecret", &body).await;
    }
    let provider = localstack_provider().await;
    assert_eq!(read(&*provider, "binary/a").await.unwrap().bytes.expose_secret(), bytes);
    for value in provider.read(&["binary/a".into(), "binary/b".into()]).await {
        assert_eq!(value.unwrap().bytes.expose_secret(), bytes);
    }
}

#[tokio::test]
async fn version_is_the_id_of_the_current_version() {
    let localstack = &World::shared().await.localstack;
    localstack.create_secret("current", "old").await.unwrap();
    let new = localstack.put_secret("current", "new").await.unwrap();
    // A rotation that has not finished: its version is not current.
    let body = json!({
        "SecretId": "current", "SecretString": "pending", "VersionStages": ["AWSPENDING"],
        "ClientRequestToken": "pending-0000000000000000000000000000",
    });
    request("PutSecretValue", &body).await;
    let provider = localstack_provider().await;
    let value = read(&*provider, "current").await.unwrap();
    assert_eq!((value.version.to_string(), value.bytes.expose_secret()), (new.clone(), &b"new"[..]));
    assert_eq!(provider.versions(&["current".into()]).await.remove(0).unwrap().to_string(), new);
}

#[tokio::test]
async fn secret_without_a_value_is_not_found() {
    request(
        "CreateSecret",
        &json!({"Name": "hollow", "ClientRequestToken": "hollow-0000000000000000000000000000"}),
    )
    .await;
    let provider = localstack_provider().await;
    let not_found = format!("store aws, key hollow: not found in {REGION}");
    assert_eq!(read(&*provider, "hollow").await.unwrap_err().to_string(), not_found);
    assert_eq!(provider.versions(&["hollow".into()]).await.remove(0).unwrap_err().to_string(), not_found);
}

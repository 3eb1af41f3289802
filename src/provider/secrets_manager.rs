//! AWS Secrets Manager in one region.
//!
//! A key is the name or the ARN of a secret, a value is the `SecretString` or `SecretBinary` with the
//! label AWSCURRENT, and its version is the `VersionId`, which `DescribeSecret` returns without the value.
//! Several keys are read by `BatchGetSecretValue`; `batch` assigns its results to the keys. The SDK
//! retries by itself; `error` classifies an error without quoting it.

use std::error::Error as StdError;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::config::retry::RetryPartition;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::primitives::Blob;
use backon::BackoffBuilder;
use futures::StreamExt;
use tokio::time::Instant;

use self::batch::BatchResults;
use super::aws::store::{AwsSettings, AwsStore, Service, retries};
use super::retry::{CONCURRENT_READS, RetryPolicy, until};
use super::without_tracing::without_tracing;
use super::{Error, ErrorKind, Provider, aws, log_read, log_version};
use crate::credential::arn::Arn;
use crate::credential::{Key, StoreName, StoredValue, Version};
use crate::manifest::config::SecretsManagerStore;

mod batch;
mod error;

/// The largest number of secrets in one `BatchGetSecretValue`.
const BATCH_SIZE: usize = 20;

/// The number of batches in flight.
const CONCURRENT_BATCHES: usize = 4;

/// The label of the version that is read; events about other labels are ignored.
pub(crate) const CURRENT: &str = "AWSCURRENT";

const SERVICE: Service = Service { name: "AWS Secrets Manager", endpoint: "secretsmanager" };

/// AWS Secrets Manager in one region.
#[derive(Debug)]
pub struct SecretsManager {
    store: AwsStore,
    client: Client,
}

impl SecretsManager {
    /// Makes no request. The first read loads credentials from the SDK's default chain.
    pub async fn open(store: StoreName, settings: &SecretsManagerStore) -> Self {
        let (shared, profile) = aws::chain_with_role(aws_settings(settings)).await;
        let mut opened = Self::with_config(store, settings, &shared);
        opened.store.context.profile = profile;
        opened
    }

    /// Opens the store as [`SecretsManager::open`] does, with credentials that the caller loaded.
    #[must_use]
    pub fn with_config(store: StoreName, settings: &SecretsManagerStore, shared: &SdkConfig) -> Self {
        Self::with_retry_policy(store, settings, shared, retries(), RetryPolicy::DEFAULT)
    }

    fn with_retry_policy(
        store: StoreName,
        settings: &SecretsManagerStore,
        shared: &SdkConfig,
        retries: RetryConfig,
        retry_policy: RetryPolicy,
    ) -> Self {
        let (store, client) =
            AwsStore::new(store, SERVICE, aws_settings(settings), shared, retries, retry_policy);
        let mut client = aws_sdk_secretsmanager::config::Builder::from(&client)
            .retry_partition(RetryPartition::custom(store.retry_quota()).build());
        if let Some(url) = &settings.endpoint_url {
            client = client.endpoint_url(url);
        }
        Self { store, client: Client::from_conf(client.build()) }
    }

    /// Reads up to [`BATCH_SIZE`] keys.
    async fn read_chunk(&self, keys: &[&Key], deadline: Instant) -> Vec<Result<StoredValue, ErrorKind>> {
        if let [key] = keys {
            return vec![self.get(key, deadline).await];
        }
        let mut results = match self.get_batch(keys, deadline).await {
            Ok(results) => results,
            Err(kind) => return keys.iter().map(|_| Err(kind.clone())).collect(),
        };
        // The SDK retries a rejected batch, but a batch with throttled parts counts as a success.
        for pause in self.store.retry_policy.backoff.build() {
            let retried: Vec<&Key> =
                keys.iter().copied().filter(|key| batch::is_retryable(&results, key)).collect();
            if retried.is_empty() {
                break;
            }
            tokio::time::sleep(pause).await;
            match self.get_batch(&retried, deadline).await {
                Ok(more) => results.extend(more),
                Err(_) => break,
            }
        }
        let reads: Vec<_> = keys
            .iter()
            .map(|key| {
                let result = results.remove(*key);
                async move {
                    match result {
                        Some(result) => result,
                        None => self.get(key, deadline).await,
                    }
                }
            })
            .collect();
        futures::stream::iter(reads).buffered(CONCURRENT_READS / CONCURRENT_BATCHES).collect().await
    }

    async fn get(&self, Key(key): &Key, deadline: Instant) -> Result<StoredValue, ErrorKind> {
        let request = async {
            let response = without_tracing(self.client.get_secret_value().secret_id(key).send()).await;
            let secret = response.map_err(|error| self.error_kind(&error, error::READ))?;
            value(secret.arn(), secret.version_id(), secret.secret_string(), secret.secret_binary())
        };
        until(deadline, request).await
    }

    /// Returns the results of a batch, which may lack some of its keys.
    async fn get_batch<'a>(
        &self,
        keys: &[&'a Key],
        deadline: Instant,
    ) -> Result<BatchResults<'a>, ErrorKind> {
        let ids = keys.iter().map(|Key(key)| key.clone()).collect();
        let request = async {
            let request = self.client.batch_get_secret_value().set_secret_id_list(Some(ids));
            match without_tracing(request.send()).await {
                Ok(batch) => Ok(batch::results_by_key(keys, &batch)),
                // Single reads may still succeed: another permission applies, or only one key is invalid.
                Err(error) if error::can_read_singly(&error) => Ok(BatchResults::new()),
                Err(error) => Err(self.error_kind(&error, error::READ)),
            }
        };
        until(deadline, request).await
    }

    /// Returns the version that a read would return now.
    async fn describe(&self, key: &Key, deadline: Instant) -> Result<Version, ErrorKind> {
        self.validate(key)?;
        let request = async {
            let response = without_tracing(self.client.describe_secret().secret_id(&key.0).send()).await;
            let secret = response.map_err(|error| self.error_kind(&error, error::DESCRIBE))?;
            if secret.deleted_date().is_some() {
                return Err(ErrorKind::Deleted);
            }
            let mut versions = secret.version_ids_to_stages().into_iter().flatten();
            let current = versions.find(|(_, labels)| labels.iter().any(|label| label == CURRENT));
            current.map(|(version, _)| Version::Unordered(version.clone())).ok_or(ErrorKind::NotFound)
        };
        until(deadline, request).await
    }

    async fn version_of(&self, key: &Key, started: Instant) -> Result<Version, Error> {
        let outcome = self.describe(key, started + self.store.retry_policy.total_timeout).await;
        let outcome = outcome
            .map_err(|kind| kind.in_request(self.store.store_key(key), self.store.request_context(started)));
        log_version(&self.store.store_key(key), &outcome, started);
        outcome
    }

    /// Classifies an error; `permission` is the one that the request needs.
    fn error_kind<E>(&self, error: &SdkError<E, HttpResponse>, permission: &str) -> ErrorKind
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        error::error_kind(error, permission, &self.store.context)
    }

    /// Rejects a key that AWS would only report as invalid or not found.
    fn validate(&self, Key(key): &Key) -> Result<(), ErrorKind> {
        if key.is_empty() {
            return Err(ErrorKind::Misconfigured("the key is empty".to_owned()));
        }
        match Arn::parse(key) {
            Some(Arn { region, .. }) if region != self.store.region => Err(ErrorKind::Misconfigured(
                format!("the ARN is in region {region}, the store reads {}", self.store.region),
            )),
            _ => Ok(()),
        }
    }
}

fn aws_settings(settings: &SecretsManagerStore) -> AwsSettings<'_> {
    let SecretsManagerStore { region, endpoint_url, role_arn } = settings;
    AwsSettings { region, endpoint_url: endpoint_url.as_deref(), role_arn: role_arn.as_deref() }
}

#[async_trait]
impl Provider for SecretsManager {
    async fn read(&self, keys: &[Key]) -> Vec<Result<StoredValue, Error>> {
        let started = Instant::now();
        let deadline = started + self.store.retry_policy.total_timeout;
        let checked: Vec<Result<(), ErrorKind>> = keys.iter().map(|key| self.validate(key)).collect();
        let valid: Vec<&Key> =
            keys.iter().zip(&checked).filter(|(_, checked)| checked.is_ok()).map(|(key, _)| key).collect();
        let chunks: Vec<_> = valid.chunks(BATCH_SIZE).map(|chunk| self.read_chunk(chunk, deadline)).collect();
        let chunks: Vec<_> = futures::stream::iter(chunks).buffered(CONCURRENT_BATCHES).collect().await;
        let mut read = chunks.into_iter().flatten();
        keys.iter()
            .zip(checked)
            .map(|(key, checked)| {
                let outcome = checked.and_then(|()| read.next().unwrap_or(Err(ErrorKind::TimedOut)));
                let outcome = outcome.map_err(|kind| {
                    kind.in_request(self.store.store_key(key), self.store.request_context(started))
                });
                log_read(&self.store.store_key(key), &outcome, started);
                outcome
            })
            .collect()
    }

    async fn versions(&self, keys: &[Key]) -> Vec<Result<Version, Error>> {
        let started = Instant::now();
        let lookups: Vec<_> = keys.iter().map(|key| self.version_of(key, started)).collect();
        futures::stream::iter(lookups).buffered(CONCURRENT_READS).collect().await
    }
}

/// The value of a secret: either text or bytes.
fn value(
    arn: Option<&str>,
    version: Option<&str>,
    text: Option<&str>,
    binary: Option<&Blob>,
) -> Result<StoredValue, ErrorKind> {
    let bytes = text.map(str::as_bytes).or(binary.map(AsRef::as_ref));
    let bytes = bytes.ok_or_else(|| {
        ErrorKind::Malformed("the response has neither `SecretString` nor `SecretBinary`".to_owned())
    })?;
    let version =
        version.ok_or_else(|| ErrorKind::Malformed("the response has no `VersionId`".to_owned()))?;
    Ok(StoredValue {
        version: Version::Unordered(version.to_owned()),
        bytes: bytes.to_vec().into(),
        expiry: None,
        account: arn.and_then(Arn::parse).map(|arn| arn.account.to_owned()),
    })
}

#[cfg(test)]
mod tests;

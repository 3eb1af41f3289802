//! AWS Secrets Manager in one region.
//!
//! A key is the name of a secret or its ARN, a value is the `SecretString` or `SecretBinary` that is
//! labelled AWSCURRENT and its version the `VersionId`, which `DescribeSecret` tells without the value.
//! More than one key is read by `BatchGetSecretValue`, in batches that `batch` takes apart again. The
//! SDK retries by itself; `failure` says what an error means without quoting it.

use std::error::Error as StdError;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::primitives::Blob;
use backon::BackoffBuilder;
use futures::StreamExt;
use tokio::time::Instant;

use self::batch::Answers;
use super::failure::{Asked, Failure, store_at};
use super::retry::{CONCURRENT_READS, RetryPolicy, until};
use super::without_tracing::unheard;
use super::{Error, Provider, aws, log_read, log_version};
use crate::credential::arn::Arn;
use crate::credential::{Key, StoreKey, StoreName, StoredValue, Version};
use crate::manifest::config::SecretsManagerStore;

mod batch;
mod failure;

/// How many secrets `BatchGetSecretValue` takes.
const BATCH: usize = 20;

/// How often the SDK tries a request.
const ATTEMPTS: u32 = 3;

/// How many batches are in flight.
const CONCURRENT_BATCHES: usize = 4;

/// The label of the version that is read, which is the only one that anybody need tell of.
pub(crate) const CURRENT: &str = "AWSCURRENT";

/// AWS Secrets Manager in one region.
#[derive(Debug)]
pub struct SecretsManager {
    store: StoreName,
    region: String,
    /// The store, with its address where that is not the usual one, as errors name it.
    whom: String,
    /// What `AWS_PROFILE` says.
    profile: Option<String>,
    client: Client,
    patience: RetryPolicy,
}

impl SecretsManager {
    /// Makes no request. Credentials come from the SDK's default chain when the first read needs them.
    pub async fn open(store: StoreName, settings: &SecretsManagerStore) -> Self {
        let (shared, profile) = aws::chain(&settings.region).await;
        Self { profile, ..Self::with_config(store, settings, &shared) }
    }

    /// As [`SecretsManager::open`], with credentials and profile as somebody has loaded them.
    #[must_use]
    pub fn with_config(store: StoreName, settings: &SecretsManagerStore, shared: &SdkConfig) -> Self {
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
        Self::with_patience(store, settings, shared, retries, RetryPolicy::USUAL)
    }

    fn with_patience(
        store: StoreName,
        settings: &SecretsManagerStore,
        shared: &SdkConfig,
        retries: RetryConfig,
        patience: RetryPolicy,
    ) -> Self {
        let SecretsManagerStore { region, endpoint_url } = settings;
        let mut config = aws_sdk_secretsmanager::config::Builder::from(shared)
            .region(Region::new(region.clone()))
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(patience.request).build())
            .retry_config(retries);
        let address = endpoint_url.as_deref().or(shared.endpoint_url()).and_then(|url| url.parse().ok());
        let whom = match address {
            Some(address) => store_at(&address),
            None => format!("AWS Secrets Manager in {region}"),
        };
        if let Some(url) = endpoint_url {
            // Here and not in what is shared, where it would be the endpoint of STS as well.
            config = config.endpoint_url(url);
        }
        let client = Client::from_conf(config.build());
        Self { store, region: region.clone(), whom, profile: None, client, patience }
    }

    /// Reads up to [`BATCH`] keys.
    async fn read_chunk(&self, keys: &[&Key], deadline: Instant) -> Vec<Result<StoredValue, Failure>> {
        if let [key] = keys {
            return vec![self.get(key, deadline).await];
        }
        let mut answers = match self.get_batch(keys, deadline).await {
            Ok(answers) => answers,
            Err(failure) => return keys.iter().map(|_| Err(failure.clone())).collect(),
        };
        // The SDK retries what is refused as a whole, but a batch succeeds that was throttled in parts.
        for pause in self.patience.pauses.build() {
            let may_pass =
                |key: &Key| matches!(answers.get(key), Some(Err(failure)) if failure.is_retryable());
            let again: Vec<&Key> = keys.iter().copied().filter(|key| may_pass(key)).collect();
            if again.is_empty() {
                break;
            }
            tokio::time::sleep(pause).await;
            match self.get_batch(&again, deadline).await {
                Ok(more) => answers.extend(more),
                Err(_) => break,
            }
        }
        let reads: Vec<_> = keys
            .iter()
            .map(|key| {
                let answer = answers.remove(*key);
                async move {
                    match answer {
                        Some(answer) => answer,
                        None => self.get(key, deadline).await,
                    }
                }
            })
            .collect();
        futures::stream::iter(reads).buffered(CONCURRENT_READS / CONCURRENT_BATCHES).collect().await
    }

    async fn get(&self, Key(key): &Key, deadline: Instant) -> Result<StoredValue, Failure> {
        let request = async {
            let answer = unheard(self.client.get_secret_value().secret_id(key).send()).await;
            let secret = answer.map_err(|error| self.failure_of(&error, failure::READ))?;
            value(secret.arn(), secret.version_id(), secret.secret_string(), secret.secret_binary())
        };
        until(deadline, request).await
    }

    /// What a batch answers for its keys, which may be nothing for some.
    async fn get_batch<'a>(&self, keys: &[&'a Key], deadline: Instant) -> Result<Answers<'a>, Failure> {
        let ids = keys.iter().map(|Key(key)| key.clone()).collect();
        let request = async {
            let request = self.client.batch_get_secret_value().set_secret_id_list(Some(ids));
            match unheard(request.send()).await {
                Ok(batch) => Ok(batch::take_apart(keys, &batch)),
                // Singly the keys may yet be read: with another right, or but for one bad key.
                Err(error) if failure::is_of_the_batch(&error) => Ok(Answers::new()),
                Err(error) => Err(self.failure_of(&error, failure::READ)),
            }
        };
        until(deadline, request).await
    }

    /// The version that a read would find now.
    async fn describe(&self, key: &Key, deadline: Instant) -> Result<Version, Failure> {
        self.refuse_odd(key)?;
        let request = async {
            let answer = unheard(self.client.describe_secret().secret_id(&key.0).send()).await;
            let secret = answer.map_err(|error| self.failure_of(&error, failure::DESCRIBE))?;
            if secret.deleted_date().is_some() {
                return Err(Failure::Deleted);
            }
            let is_current = |labels: &Vec<String>| labels.iter().any(|label| label == CURRENT);
            let mut versions = secret.version_ids_to_stages().into_iter().flatten();
            let current = versions.find(|(_, labels)| is_current(labels));
            current.map(|(version, _)| Version(version.clone())).ok_or(Failure::NotFound)
        };
        until(deadline, request).await
    }

    async fn version_of(&self, key: &Key, started: Instant) -> Result<Version, Error> {
        let outcome = self.describe(key, started + self.patience.total).await;
        let at = self.place(key);
        let outcome = outcome.map_err(|failure| failure.at(at.clone(), &self.asked(started)));
        log_version(&at, &outcome, started);
        outcome
    }

    /// `right` is what the request took.
    fn failure_of<E>(&self, error: &SdkError<E, HttpResponse>, right: &str) -> Failure
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        failure::of(error, right, self.profile.as_deref())
    }

    fn place(&self, key: &Key) -> StoreKey {
        StoreKey { store: self.store.clone(), key: key.clone() }
    }

    /// What an error tells of a request.
    fn asked(&self, since: Instant) -> Asked<'_> {
        Asked {
            whom: &self.whom,
            looked: format!("in {}", self.region),
            waited: since.elapsed(),
            // The SDK does not say how often it has tried.
            attempts: None,
        }
    }

    /// Refuses a key that AWS would only call invalid or not found.
    fn refuse_odd(&self, Key(key): &Key) -> Result<(), Failure> {
        if key.is_empty() {
            return Err(Failure::Misconfigured("the key is empty".to_owned()));
        }
        match Arn::parse(key) {
            Some(Arn { region, .. }) if region != self.region => Err(Failure::Misconfigured(format!(
                "the ARN is of region {region}, the store reads {}",
                self.region
            ))),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Provider for SecretsManager {
    async fn read(&self, keys: &[Key]) -> Vec<Result<StoredValue, Error>> {
        let started = Instant::now();
        let deadline = started + self.patience.total;
        let refused: Vec<Option<Failure>> = keys.iter().map(|key| self.refuse_odd(key).err()).collect();
        let wanted: Vec<&Key> =
            keys.iter().zip(&refused).filter(|(_, refused)| refused.is_none()).map(|(key, _)| key).collect();
        let chunks: Vec<_> = wanted.chunks(BATCH).map(|chunk| self.read_chunk(chunk, deadline)).collect();
        let chunks: Vec<_> = futures::stream::iter(chunks).buffered(CONCURRENT_BATCHES).collect().await;
        let mut read = chunks.into_iter().flatten();
        let asked = self.asked(started);
        keys.iter()
            .zip(refused)
            .map(|(key, refused)| {
                let at = self.place(key);
                let outcome = match refused {
                    Some(failure) => Err(failure),
                    None => read.next().unwrap_or(Err(Failure::TimedOut)),
                };
                let outcome = outcome.map_err(|failure| failure.at(at.clone(), &asked));
                log_read(&at, &outcome, started);
                outcome
            })
            .collect()
    }

    async fn versions(&self, keys: &[Key]) -> Vec<Result<Version, Error>> {
        let started = Instant::now();
        let asked: Vec<_> = keys.iter().map(|key| self.version_of(key, started)).collect();
        futures::stream::iter(asked).buffered(CONCURRENT_READS).collect().await
    }
}

/// The value of a secret, whose password is either text or bytes.
fn value(
    arn: Option<&str>,
    version: Option<&str>,
    text: Option<&str>,
    binary: Option<&Blob>,
) -> Result<StoredValue, Failure> {
    let malformed = |what: &str| Failure::Malformed(what.to_owned());
    let bytes = text.map(str::as_bytes).or(binary.map(AsRef::as_ref));
    let bytes = bytes.ok_or_else(|| malformed("neither `SecretString` nor `SecretBinary`"))?;
    let version = version.ok_or_else(|| malformed("no `VersionId`"))?;
    Ok(StoredValue {
        version: Version(version.to_owned()),
        bytes: bytes.to_vec().into(),
        expires_at: None,
        account: arn.and_then(Arn::parse).map(|arn| arn.account.to_owned()),
    })
}

#[cfg(test)]
mod tests;

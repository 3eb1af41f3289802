//! Amazon ECR in one region.
//!
//! A key is a registry id, a value is a docker config with a token for that registry, and its version is the end of
//! the token: each read makes ECR issue another one, so the versions of keys cannot be looked up. One request serves
//! any number of keys, because a token is valid at every registry that its principal may read; `token` has the value
//! of each key. The SDK retries by itself; `error` classifies an error without quoting it.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::retry::RetryPartition;
use futures::future::OptionFuture;
use tokio::time::Instant;

use self::token::EcrToken;
use super::aws::store::{AwsSettings, AwsStore, Service, retries};
use super::retry::{RetryPolicy, until};
use super::without_tracing::without_tracing;
use super::{Environment, Error, ErrorKind, Provider, WallClock, aws, log_read};
use crate::credential::{Key, StoreName, StoredValue, Version};
use crate::docker_config::ecr_host;
use crate::manifest::config::EcrStore;

mod error;
mod token;

const SERVICE: Service = Service { name: "Amazon ECR", endpoint: "api.ecr" };

/// Amazon ECR in one region.
#[derive(Debug)]
pub struct Ecr {
    store: AwsStore,
    /// The only keys.
    registry_ids: Vec<String>,
    client: Client,
    wall_clock: WallClock,
}

impl Ecr {
    /// Makes no request. The first read loads credentials from the SDK's default chain.
    pub async fn open(store: StoreName, settings: &EcrStore, environment: &Environment) -> Self {
        let (shared, profile) = aws::chain_with_role(aws_settings(settings)).await;
        let mut opened = Self::with_config(store, settings, &shared, environment.wall_clock);
        opened.store.context.profile = profile;
        opened
    }

    /// Opens the store as [`Ecr::open`] does, with credentials that the caller loaded.
    #[must_use]
    pub fn with_config(
        store: StoreName,
        settings: &EcrStore,
        shared: &SdkConfig,
        wall_clock: WallClock,
    ) -> Self {
        let opened = Self::with_retry_policy(store, settings, shared, retries(), RetryPolicy::DEFAULT);
        Self { wall_clock, ..opened }
    }

    fn with_retry_policy(
        store: StoreName,
        settings: &EcrStore,
        shared: &SdkConfig,
        retries: RetryConfig,
        retry_policy: RetryPolicy,
    ) -> Self {
        let (store, client) =
            AwsStore::new(store, SERVICE, aws_settings(settings), shared, retries, retry_policy);
        let mut client = aws_sdk_ecr::config::Builder::from(&client)
            .retry_partition(RetryPartition::custom(store.retry_quota()).build());
        if let Some(url) = &settings.endpoint_url {
            client = client.endpoint_url(url);
        }
        Self {
            store,
            registry_ids: settings.registry_ids.clone(),
            client: Client::from_conf(client.build()),
            wall_clock: WallClock::default(),
        }
    }

    /// Requests a token. `registryIds` of the API is not sent: it is deprecated, and changes neither the token nor the
    /// registries at which it is valid.
    async fn request_token(&self, deadline: Instant) -> Result<EcrToken, ErrorKind> {
        let request = async {
            let response = without_tracing(self.client.get_authorization_token().send()).await;
            let output = response.map_err(|error| error::error_kind(&error, &self.store.context))?;
            EcrToken::from_output(&output)
        };
        until(deadline, request).await
    }

    /// Rejects a key that is not one of the registries of the store.
    fn validate(&self, Key(key): &Key) -> Result<(), ErrorKind> {
        let what = if ecr_host::is_public(key) {
            "the public gallery has tokens of another API, which regcred does not request. Its images can be pulled without a credential"
        } else if !ecr_host::is_registry_id(key) {
            "the key is no registry id: give the 12 digits of the AWS account of the registry"
        } else if !self.registry_ids.contains(key) {
            "`registryIds` of the store does not have this registry. Add it there, or correct the key"
        } else {
            return Ok(());
        };
        Err(ErrorKind::Misconfigured(what.to_owned()))
    }
}

fn aws_settings(settings: &EcrStore) -> AwsSettings<'_> {
    let EcrStore { region, registry_ids: _, endpoint_url, role_arn } = settings;
    AwsSettings { region, endpoint_url: endpoint_url.as_deref(), role_arn: role_arn.as_deref() }
}

#[async_trait]
impl Provider for Ecr {
    async fn read(&self, keys: &[Key]) -> Vec<Result<StoredValue, Error>> {
        let started = Instant::now();
        let checked: Vec<Result<(), ErrorKind>> = keys.iter().map(|key| self.validate(key)).collect();
        let request = checked.iter().any(Result::is_ok).then(|| {
            let deadline = started + self.store.retry_policy.total_timeout;
            self.request_token(deadline)
        });
        let token = OptionFuture::from(request).await.unwrap_or(Err(ErrorKind::TimedOut));
        let issued = (self.wall_clock.0)();
        keys.iter()
            .zip(checked)
            .map(|(key, checked)| {
                let token = token.as_ref().map_err(ErrorKind::clone);
                let outcome = checked.and(token).and_then(|token| token.value_of(key, issued));
                let outcome = outcome.map_err(|kind| {
                    kind.in_request(self.store.store_key(key), self.store.request_context(started))
                });
                log_read(&self.store.store_key(key), &outcome, started);
                outcome
            })
            .collect()
    }

    async fn versions(&self, keys: &[Key]) -> Vec<Result<Version, Error>> {
        keys.iter().map(|_| Ok(Version::unversioned())).collect()
    }

    /// Any token that is issued after an event is as good as another.
    fn can_lag(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;

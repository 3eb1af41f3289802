//! Amazon ECR in one region.
//!
//! A key is a registry id, a value is a docker config with a token for that registry, and its version is the end of
//! the token: each read makes ECR issue another one, so the versions of keys cannot be looked up. One request serves
//! any number of keys, because a token is valid at every registry that its principal may read; `token` has the value
//! of each key. The SDK retries by itself; `error` classifies an error without quoting it.

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::retry::RetryPartition;
use futures::future::OptionFuture;
use tokio::time::Instant;

use self::token::EcrToken;
use super::aws::ClientContext;
use super::error::RequestContext;
use super::retry::{RetryPolicy, until};
use super::without_tracing::without_tracing;
use super::{Environment, Error, ErrorKind, Provider, WallClock, aws, log_read};
use crate::credential::{Key, StoreKey, StoreName, StoredValue, Version};
use crate::docker_config::ecr_host;
use crate::manifest::config::EcrStore;

mod error;
mod token;

/// The number of attempts the SDK makes per request.
const ATTEMPTS: u32 = 3;

/// Amazon ECR in one region.
#[derive(Debug)]
pub struct Ecr {
    store: StoreName,
    region: String,
    /// The only keys.
    registry_ids: Vec<String>,
    /// The store in error messages, with its address where that is not the default.
    display_name: String,
    /// The profile, the role and the proxy, for messages about requests that were never sent.
    context: ClientContext,
    client: Client,
    retry_policy: RetryPolicy,
    wall_clock: WallClock,
}

impl Ecr {
    /// Makes no request. The first read loads credentials from the SDK's default chain.
    pub async fn open(store: StoreName, settings: &EcrStore, environment: &Environment) -> Self {
        let (shared, profile) = aws::chain(&settings.region).await;
        let shared = aws::with_role(shared, settings.role_arn.as_deref()).await;
        let mut opened = Self::with_config(store, settings, &shared, environment.wall_clock);
        opened.context.profile = profile;
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
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
        let opened = Self::with_retry_policy(store, settings, shared, retries, RetryPolicy::DEFAULT);
        Self { wall_clock, ..opened }
    }

    fn with_retry_policy(
        store: StoreName,
        settings: &EcrStore,
        shared: &SdkConfig,
        retries: RetryConfig,
        retry_policy: RetryPolicy,
    ) -> Self {
        let EcrStore { region, registry_ids, endpoint_url, role_arn } = settings;
        let mut config = aws_sdk_ecr::config::Builder::from(shared)
            .region(Region::new(region.clone()))
            .timeout_config(
                TimeoutConfig::builder().operation_attempt_timeout(retry_policy.request_timeout).build(),
            )
            .retry_config(retries)
            // Else all stores of a region share one quota of retries, and one that is down uses it up.
            .retry_partition(RetryPartition::custom(store.to_string()).build());
        let address = endpoint_url.as_deref().or(shared.endpoint_url());
        let (display_name, proxy) = aws::describe("Amazon ECR", "api.ecr", region, address);
        let context = ClientContext { profile: None, role_arn: role_arn.clone(), proxy };
        if let Some(url) = endpoint_url {
            // Set here and not in the shared configuration, where it would apply to STS as well.
            config = config.endpoint_url(url);
        }
        Self {
            store,
            region: region.clone(),
            registry_ids: registry_ids.clone(),
            display_name,
            context,
            client: Client::from_conf(config.build()),
            retry_policy,
            wall_clock: WallClock::default(),
        }
    }

    /// Requests a token. `registryIds` of the API is not sent: it is deprecated, and changes neither the token nor the
    /// registries at which it is valid.
    async fn request_token(&self, deadline: Instant) -> Result<EcrToken, ErrorKind> {
        let request = async {
            let response = without_tracing(self.client.get_authorization_token().send()).await;
            let output = response.map_err(|error| error::error_kind(&error, &self.context))?;
            EcrToken::from_output(&output)
        };
        until(deadline, request).await
    }

    fn store_key(&self, key: &Key) -> StoreKey {
        StoreKey { store: self.store.clone(), key: key.clone() }
    }

    /// The context of an error.
    fn request_context(&self, since: Instant) -> RequestContext {
        RequestContext {
            store: self.display_name.clone(),
            location: format!("in {}", self.region),
            waited: since.elapsed(),
            // The SDK does not report its attempts.
            attempts: None,
        }
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

#[async_trait]
impl Provider for Ecr {
    async fn read(&self, keys: &[Key]) -> Vec<Result<StoredValue, Error>> {
        let started = Instant::now();
        let checked: Vec<Result<(), ErrorKind>> = keys.iter().map(|key| self.validate(key)).collect();
        let request = checked.iter().any(Result::is_ok).then(|| {
            let deadline = started + self.retry_policy.total_timeout;
            self.request_token(deadline)
        });
        let token = OptionFuture::from(request).await.unwrap_or(Err(ErrorKind::TimedOut));
        let issued = (self.wall_clock.0)();
        keys.iter()
            .zip(checked)
            .map(|(key, checked)| {
                let token = token.as_ref().map_err(ErrorKind::clone);
                let outcome = checked.and(token).and_then(|token| token.value_of(key, issued));
                let outcome = outcome
                    .map_err(|kind| kind.in_request(self.store_key(key), self.request_context(started)));
                log_read(&self.store_key(key), &outcome, started);
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

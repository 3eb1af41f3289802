//! The common part of the stores of AWS: a name, a region, the settings of the client, and the context of errors.

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use tokio::time::Instant;

use super::{ClientContext, describe};
use crate::credential::{Key, StoreKey, StoreName};
use crate::provider::error::RequestContext;
use crate::provider::retry::RetryPolicy;

/// The number of attempts the SDK makes per request.
const ATTEMPTS: u32 = 3;

/// Returns the retries of the SDK.
pub(in crate::provider) fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS)
}

/// The service of a store.
#[derive(Clone, Copy, Debug)]
pub(in crate::provider) struct Service {
    /// The name in error messages.
    pub(in crate::provider) name: &'static str,
    /// The start of its default address.
    pub(in crate::provider) endpoint: &'static str,
}

/// The settings that every store of AWS has.
#[derive(Clone, Copy, Debug)]
pub(in crate::provider) struct AwsSettings<'a> {
    pub(in crate::provider) region: &'a str,
    pub(in crate::provider) endpoint_url: Option<&'a str>,
    pub(in crate::provider) role_arn: Option<&'a str>,
}

/// A store of AWS in one region.
#[derive(Debug)]
pub(in crate::provider) struct AwsStore {
    name: StoreName,
    pub(in crate::provider) region: String,
    /// The store in error messages, with its address where that is not the default.
    display_name: String,
    /// The profile, the role and the proxy, for messages about requests that were never sent.
    pub(in crate::provider) context: ClientContext,
    pub(in crate::provider) retry_policy: RetryPolicy,
}

impl AwsStore {
    /// Describes a store, and returns the settings of its client but for `endpoint_url`: only the builder of the service
    /// gives that precedence over the environment. Makes no request.
    pub(in crate::provider) fn new(
        name: StoreName,
        service: Service,
        settings: AwsSettings<'_>,
        shared: &SdkConfig,
        retries: RetryConfig,
        retry_policy: RetryPolicy,
    ) -> (Self, SdkConfig) {
        let AwsSettings { region, endpoint_url, role_arn } = settings;
        let address = endpoint_url.or(shared.endpoint_url());
        let (display_name, proxy) = describe(service.name, service.endpoint, region, address);
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(retry_policy.request_timeout);
        let client = shared
            .to_builder()
            .region(Region::new(region.to_owned()))
            .timeout_config(timeouts.build())
            .retry_config(retries);
        let context = ClientContext { profile: None, role_arn: role_arn.map(str::to_owned), proxy };
        let store = Self { name, region: region.to_owned(), display_name, context, retry_policy };
        (store, client.build())
    }

    /// Returns the name of the quota of retries. Otherwise all stores of a region share one, and a store that is down
    /// uses it up.
    pub(in crate::provider) fn retry_quota(&self) -> String {
        self.name.to_string()
    }

    pub(in crate::provider) fn store_key(&self, key: &Key) -> StoreKey {
        StoreKey { store: self.name.clone(), key: key.clone() }
    }

    /// Returns the context of an error.
    pub(in crate::provider) fn request_context(&self, since: Instant) -> RequestContext {
        RequestContext {
            store: self.display_name.clone(),
            location: format!("in {}", self.region),
            waited: since.elapsed(),
            // The SDK does not report its attempts.
            attempts: None,
        }
    }
}

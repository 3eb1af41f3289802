//! The clients for one cluster, all with the same proxy and the same source of tokens.

use std::fmt;
use std::sync::Arc;

use anyhow::anyhow;
use http::{Request, Response};
use kube::client::{Body, ClientBuilder, DynBody};
use kube::{Client, Config};
use tower::{BoxError, Service};

use super::failure;
use super::proxy::{Proxy, ProxyEnvironment};
use super::proxy_layer::ProxyLayer;
use super::token::{TokenLayer, TokenSource};
use crate::cli::Failure;
use crate::cluster::error::connection_failure;
use crate::leader_election::fence::{self, Fence};

/// The configuration of the clients for one cluster.
pub struct ClientConfig {
    config: Config,
    tokens: TokenLayer,
    proxy: ProxyLayer,
}

/// The address of a proxy may hold a password.
impl fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig").finish_non_exhaustive()
    }
}

impl ClientConfig {
    pub(super) fn new(mut config: Config, tokens: Option<TokenSource>, proxy: Option<Proxy>) -> Self {
        config.proxy_url = proxy.as_ref().map(|it| it.uri().clone());
        let proxy = proxy.map(|it| Arc::from(it.address()));
        Self { config, tokens: TokenLayer(tokens.map(Arc::new)), proxy: ProxyLayer(proxy) }
    }

    /// Creates the configuration of a pod. As in client-go, the variables for proxies apply there, too.
    pub(super) fn from_service_account(
        config: Config,
        environment: &ProxyEnvironment,
    ) -> Result<Self, Failure> {
        let proxy = environment.proxy_for(&config.cluster_url).map_err(failure::unusable_proxy)?;
        Ok(Self::new(config, None, proxy))
    }

    /// Returns the certificate that the client shows, in base64.
    #[cfg(test)]
    pub(super) fn client_certificate(&self) -> Option<&str> {
        self.config.auth_info.client_certificate_data.as_deref()
    }

    /// Returns the address of the proxy, without user and password.
    #[must_use]
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.0.as_deref()
    }

    /// Returns the address of the API server.
    #[must_use]
    pub fn address(&self) -> String {
        self.config.cluster_url.to_string()
    }

    /// Creates a client.
    pub fn client(&self) -> Result<Client, Failure> {
        let builder = self.builder(self.config.clone()).map_err(|error| self.no_client(&error))?;
        Ok(builder.build())
    }

    /// Creates a client that sends writes only while this process leads.
    pub fn fenced_client(&self, fence: &Fence) -> Result<Client, Failure> {
        let client = fence::client(self.config.clone(), fence, |config| self.builder(config));
        client.map_err(|error| self.no_client(&error))
    }

    fn builder(
        &self,
        config: Config,
    ) -> kube::Result<
        ClientBuilder<
            impl Service<
                Request<Body>,
                Response = Response<Box<DynBody>>,
                Error = BoxError,
                Future: Send + 'static,
            >
            + Send
            + 'static
            + use<>,
        >,
    > {
        Ok(ClientBuilder::try_from(config)?.with_layer(&self.proxy).with_layer(&self.tokens))
    }

    /// Creates the failure of a client that cannot be built.
    fn no_client(&self, error: &kube::Error) -> Failure {
        let address = self.address();
        Failure::external(anyhow!(
            "cannot connect to the cluster at {address}: {}",
            connection_failure(error)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy of a pod with these variables, as it is used and as it is shown.
    fn proxy(variables: &[(&str, &str)]) -> (Option<String>, Option<String>) {
        let config = Config::new("https://10.96.0.1".parse().expect("a URL"));
        let environment = ProxyEnvironment::example(variables);
        let config = ClientConfig::from_service_account(config, &environment).expect("a configuration");
        (config.config.proxy_url.as_ref().map(ToString::to_string), config.proxy().map(str::to_owned))
    }

    #[test]
    fn proxy_of_a_pod_follows_its_environment() {
        let variable = ("HTTPS_PROXY", "http://user:hunter2@proxy:3128");
        let (url, shown) = ("http://user:hunter2@proxy:3128/", "http://proxy:3128");
        assert_eq!(proxy(&[]), (None, None));
        assert_eq!(proxy(&[variable]), (Some(url.to_owned()), Some(shown.to_owned())));
        for list in ["10.96.0.1", "10.96.0.0/12,.svc", "10.96.0.1:443"] {
            assert_eq!(proxy(&[variable, ("NO_PROXY", list)]), (None, None), "{list}");
        }
        assert!(proxy(&[variable, ("NO_PROXY", ".svc,.cluster.local")]).0.is_some());
    }
}

//! Kubeconfig files, for the admin and for any ServiceAccount.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Kube, credentials};
use crate::proxy::Proxy;

impl Kube {
    /// Writes a kubeconfig that acts as a ServiceAccount, with a token for a day.
    ///
    /// Its context is called `NAMESPACE-SERVICEACCOUNT`, with that namespace as default.
    pub async fn kubeconfig_as(&self, namespace: &str, service_account: &str) -> anyhow::Result<PathBuf> {
        let name = format!("{namespace}-{service_account}");
        self.write_kubeconfig(&name, &self.url, Some(&self.ca_file), namespace, service_account).await
    }

    /// Writes the same kubeconfig for requests through a proxy.
    pub async fn kubeconfig_through(
        &self,
        proxy: &Proxy,
        namespace: &str,
        service_account: &str,
    ) -> anyhow::Result<PathBuf> {
        let name = format!("{namespace}-{service_account}-{}", proxy.port());
        self.write_kubeconfig(&name, &proxy.url(), None, namespace, service_account).await
    }

    async fn write_kubeconfig(
        &self,
        name: &str,
        url: &str,
        ca_file: Option<&Path>,
        namespace: &str,
        service_account: &str,
    ) -> anyhow::Result<PathBuf> {
        let token = self.token(namespace, service_account, 86_400).await?;
        let path = self.directory.join(format!("{name}.kubeconfig"));
        credentials::write_private(&path, &text(url, ca_file, name, namespace, &token))?;
        Ok(path)
    }
}

/// Renders a kubeconfig with one cluster `world`, and one user and one context called `name`, as JSON, which is YAML.
pub(super) fn text(url: &str, ca_file: Option<&Path>, name: &str, namespace: &str, token: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{ "name": "world", "cluster": { "server": url, "certificate-authority": ca_file } }],
        "users": [{ "name": name, "user": { "token": token } }],
        "contexts": [{ "name": name, "context": { "cluster": "world", "user": name, "namespace": namespace } }],
    });
    format!("{config:#}\n")
}

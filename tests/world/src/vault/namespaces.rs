//! Namespaces, which OpenBao has, and of Vault the Enterprise releases only. A path may begin with a namespace.

use serde_json::json;

use super::Vault;

impl Vault {
    /// Creates a namespace such as `team/nested`, with those above it, and KV version 2 at `secret/` in it.
    pub async fn create_namespace(&self, namespace: &str) -> anyhow::Result<()> {
        let mut above = String::new();
        for name in namespace.split('/') {
            // Creating a namespace that exists changes nothing.
            self.write(&format!("{above}sys/namespaces/{name}"), &json!({})).await?;
            above = format!("{above}{name}/");
        }
        self.enable_kv_in(&above, "secret", 2).await
    }
}

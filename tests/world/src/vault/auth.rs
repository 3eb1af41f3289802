//! The Kubernetes auth method, which needs a real API server.

use serde_json::json;

use super::Vault;
use crate::kube::Kube;

/// The namespace of the token reviewer of Vault's Kubernetes auth method.
const REVIEWER_NAMESPACE: &str = "kube-system";
const REVIEWER: &str = "vault-reviewer";

impl Vault {
    /// Mounts the Kubernetes auth method, with `kube` as the API server that reviews tokens.
    pub async fn enable_kubernetes_auth(&self, mount: &str, kube: &Kube) -> anyhow::Result<()> {
        create_reviewer(kube).await?;
        self.write(&format!("sys/auth/{mount}"), &json!({ "type": "kubernetes" })).await?;
        let config = json!({
            "kubernetes_host": kube.url,
            "kubernetes_ca_cert": kube.ca_pem()?,
            "token_reviewer_jwt": kube.token(REVIEWER_NAMESPACE, REVIEWER, 86_400).await?,
        });
        self.write(&format!("auth/{mount}/config"), &config).await?;
        Ok(())
    }

    /// Creates a role of the Kubernetes auth method for these ServiceAccounts in these namespaces (`"*"` for any).
    pub async fn create_kubernetes_role(
        &self,
        mount: &str,
        role: &str,
        service_accounts: &[&str],
        namespaces: &[&str],
        policies: &[&str],
        token_ttl: &str,
    ) -> anyhow::Result<()> {
        let body = json!({
            "bound_service_account_names": service_accounts,
            "bound_service_account_namespaces": namespaces,
            "token_policies": policies,
            "token_ttl": token_ttl,
        });
        self.write(&format!("auth/{mount}/role/{role}"), &body).await?;
        Ok(())
    }
}

async fn create_reviewer(kube: &Kube) -> anyhow::Result<()> {
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": REVIEWER, "namespace": REVIEWER_NAMESPACE },
    });
    let path = format!("/api/v1/namespaces/{REVIEWER_NAMESPACE}/serviceaccounts/{REVIEWER}");
    kube.apply(&path, &account).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": REVIEWER },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator" },
        "subjects": [{ "kind": "ServiceAccount", "name": REVIEWER, "namespace": REVIEWER_NAMESPACE }],
    });
    let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{REVIEWER}");
    kube.apply(&path, &binding).await?;
    Ok(())
}

//! Obstacles in a namespace: a quota and an admission policy that deny the creation of objects.

use serde_json::json;

use crate::{TestCluster, until};

impl TestCluster {
    /// Prevents the creation of Secrets in a namespace until the quota at the returned path is deleted.
    pub async fn forbid_secrets(&self, namespace: &str) -> String {
        let quotas = format!("/api/v1/namespaces/{namespace}/resourcequotas");
        let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/secrets": "0"}}});
        self.kube.post(&quotas, &quota).await.expect("a quota");
        let path = format!("{quotas}/none");
        until("the quota binds", async || {
            self.kube.get(&path).await.is_ok_and(|it| it["status"]["hard"]["count/secrets"] == "0")
        })
        .await;
        path
    }

    /// Denies the creation of `resource` in a namespace by an admission policy, and waits until the policy binds.
    pub async fn forbid_creation(&self, namespace: &str, resource: &str, message: &str) {
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": namespace},
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "resourceRules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]},
                    ],
                },
                "validations": [{"expression": "false", "message": message}],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": namespace}, "spec": {"policyName": namespace, "validationActions": ["Deny"]},
        });
        let base = "/apis/admissionregistration.k8s.io/v1";
        self.kube.post(&format!("{base}/validatingadmissionpolicies"), &policy).await.expect("a policy");
        let bindings = format!("{base}/validatingadmissionpolicybindings");
        self.kube.post(&bindings, &binding).await.expect("a binding");
        let probe = json!({"metadata": {"generateName": "probe-"}});
        let creation = format!("/api/v1/namespaces/{namespace}/{resource}?dryRun=All");
        until("the policy binds", async || self.kube.post(&creation, &probe).await.is_err()).await;
    }
}

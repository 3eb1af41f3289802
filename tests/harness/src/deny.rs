//! Obstacles in a namespace: a quota, an admission policy and a webhook that deny the creation of objects.

use serde_json::{Value, json};
use world::AuditMark;

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

    /// Waits until several writes of a Secret were rejected since the mark; by then the back-off is several seconds.
    pub async fn until_writes_are_rejected(&self, mark: AuditMark) {
        until("several writes are rejected", async || {
            let mut requests = self.requests(mark).await;
            requests.retain(|it| it.verb == "create" && it.resource == "secrets" && it.code == 403);
            requests.len() >= 4
        })
        .await;
    }

    /// Denies the creation of `resource` in a namespace by an admission policy, and waits until the policy binds.
    pub async fn forbid_creation(&self, namespace: &str, resource: &str, message: &str) {
        self.deny_by_policy(namespace, resource, &json!({"expression": "false", "message": message})).await;
    }

    /// Denies the creation of Secrets in a namespace by an admission policy with a message that quotes the docker
    /// config in base64 and in its URL-safe form, and holds the password, which the policy cannot decode itself.
    pub async fn forbid_secrets_quoting_them(&self, namespace: &str, password: &str) {
        let data = "object.data['.dockerconfigjson']";
        let url_safe = format!("{data}.replace('+', '-').replace('/', '_')");
        let message = format!("'{password} ' + {data} + ' ' + {url_safe}");
        let validation = json!({"expression": "false", "message": "no", "messageExpression": message});
        self.deny_by_policy(namespace, "secrets", &validation).await;
    }

    /// Denies every write of Secrets in a namespace by a webhook of this name that cannot be called.
    pub async fn break_webhook(&self, namespace: &str, name: &str) {
        let webhook = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": namespace},
            "webhooks": [{
                "name": name, "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 1, "clientConfig": {"url": "https://127.0.0.1:1/"},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["secrets"]}],
            }],
        });
        let base = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
        self.kube.post(base, &webhook).await.expect("a webhook");
        self.until_creation_fails(namespace, "secrets").await;
    }

    async fn deny_by_policy(&self, namespace: &str, resource: &str, validation: &Value) {
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
                "validations": [validation],
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
        self.until_creation_fails(namespace, resource).await;
    }

    async fn until_creation_fails(&self, namespace: &str, resource: &str) {
        let probe = json!({"metadata": {"generateName": "probe-"}});
        let creation = format!("/api/v1/namespaces/{namespace}/{resource}?dryRun=All");
        until("the creation is denied", async || self.kube.post(&creation, &probe).await.is_err()).await;
    }
}

//! The admission policies of `deploy/`: the writes that a token of regcred's ServiceAccount can make, and those that it
//! cannot. Each write is a dry run, which passes admission like any other, unless a test needs the object.

mod ci_account;
mod cluster_pull_secrets;
mod crd_deletion;
mod large_objects;
mod secrets;
mod service_accounts;
mod team_keys;

use harness::{CLUSTER_PULL_SECRETS, NAMESPACE, SERVICE_ACCOUNT, apply_file, install_crd, until};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use world::{Kube, Reaper};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";

/// An API server with everything that `deploy/base` creates for the account, and a token of that account.
pub(crate) struct Policies {
    pub(crate) kube: Kube,
    token: String,
    _reaper: Reaper,
}

/// One write with the token.
#[derive(Clone, Copy)]
pub(crate) struct Write<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    content_type: &'a str,
}

impl<'a> Write<'a> {
    pub(crate) fn create(path: &'a str) -> Self {
        Self { method: "POST", path, content_type: "application/json" }
    }

    pub(crate) fn replace(path: &'a str) -> Self {
        Self { method: "PUT", path, content_type: "application/json" }
    }

    pub(crate) fn delete(path: &'a str) -> Self {
        Self { method: "DELETE", path, content_type: "application/json" }
    }

    pub(crate) fn merge(path: &'a str) -> Self {
        Self { method: "PATCH", path, content_type: "application/merge-patch+json" }
    }

    pub(crate) fn json_patch(path: &'a str) -> Self {
        Self { method: "PATCH", path, content_type: "application/json-patch+json" }
    }
}

impl Policies {
    /// Returns the servers, which the first test starts.
    pub(crate) async fn get() -> &'static Self {
        static POLICIES: OnceCell<Policies> = OnceCell::const_new();
        let started = POLICIES.get_or_try_init(Self::start).await;
        started.unwrap_or_else(|error| panic!("the servers did not start: {error:#}"))
    }

    async fn start() -> anyhow::Result<Self> {
        let reaper = Reaper::new()?;
        let kube = Kube::start(&reaper).await?;
        for file in ["base/namespace.yaml", "base/rbac.yaml", "base/admission-policies.yaml"] {
            apply_file(&kube, file).await?;
        }
        install_crd(&kube).await?;
        let token = kube.token(NAMESPACE, SERVICE_ACCOUNT, 3600).await?;
        let policies = Self { kube, token, _reaper: reaper };
        policies.until_bound().await?;
        Ok(policies)
    }

    /// Waits until every policy refuses a write.
    async fn until_bound(&self) -> anyhow::Result<()> {
        self.kube.post(CLUSTER_PULL_SECRETS, &cluster_pull_secret("bound")).await?;
        let account = "/api/v1/namespaces/default/serviceaccounts/default".to_owned();
        let labels = json!({"metadata": {"labels": {"not": "ours"}}});
        for (path, policy) in [
            ("/api/v1/namespaces/default/secrets/regcred".to_owned(), "regcred"),
            (account, "regcred-serviceaccounts"),
            (format!("{CLUSTER_PULL_SECRETS}/bound"), "regcred-clusterpullsecrets"),
        ] {
            if policy == "regcred" {
                self.kube.post("/api/v1/namespaces/default/secrets", &secrets::pull_secret()).await?;
            }
            until("the policy binds", async || {
                let refused = self.dry_run(Write::merge(&path), &labels).await.err();
                refused.is_some_and(|it| it.contains(&format!("'{policy}'")))
            })
            .await;
        }
        Ok(())
    }

    /// Sends a write with the token; the error is the message of the API server.
    pub(crate) async fn send(&self, write: Write<'_>, body: &Value) -> Result<Value, String> {
        let body = Some((write.content_type, body.to_string()));
        let sent = self.kube.request_as(&self.token, write.method, write.path, body).await;
        sent.map_err(|error| format!("{error:#}"))
    }

    /// The same without a change of the cluster.
    pub(crate) async fn dry_run(&self, write: Write<'_>, body: &Value) -> Result<Value, String> {
        let path = format!("{}?dryRun=All", write.path);
        self.send(Write { path: &path, ..write }, body).await
    }

    /// Expects a write to be accepted.
    #[track_caller]
    pub(crate) fn accept<'a>(&'a self, write: Write<'a>, body: Value) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let refused = self.dry_run(write, &body).await.err();
            assert!(
                refused.is_none(),
                "{} {}, at {caller}: {}",
                write.method,
                write.path,
                refused.unwrap_or_default()
            );
        }
    }

    /// Expects a policy to refuse a write, with a message that contains this text.
    #[track_caller]
    pub(crate) fn refuse<'a>(
        &'a self,
        policy: &'a str,
        message: &'a str,
        write: Write<'a>,
        body: Value,
    ) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let refused = self.dry_run(write, &body).await.err().unwrap_or_default();
            let is_by_policy =
                refused.contains(&format!("ValidatingAdmissionPolicy '{policy}' with binding"));
            assert!(
                is_by_policy && refused.contains(message),
                "{} {} {body:.300}, at {caller}: {refused}",
                write.method,
                write.path
            );
        }
    }
}

/// A ClusterPullSecret that selects no namespace.
pub(crate) fn cluster_pull_secret(name: &str) -> Value {
    json!({
        "apiVersion": "regcred.dev/v1alpha1",
        "kind": "ClusterPullSecret",
        "metadata": {"name": name},
        "spec": {
            "registries": [{"host": "ghcr.io", "from": {"store": "vault", "key": "teams/web/ghcr"}}],
            "namespaces": {"include": []},
        },
    })
}

#[tokio::test]
async fn policies_pass_the_type_check_of_the_api_server() {
    let policies = Policies::get().await;
    for name in ["regcred", "regcred-serviceaccounts", "regcred-clusterpullsecrets"] {
        let path = format!("{POLICIES}/{name}");
        until("the controller manager checks the policy", async || {
            let policy = policies.kube.get(&path).await.expect("a policy");
            policy["status"]["observedGeneration"] == policy["metadata"]["generation"]
        })
        .await;
        let policy = policies.kube.get(&path).await.expect("a policy");
        let warnings = &policy["status"]["typeChecking"]["expressionWarnings"];
        assert!(warnings.is_null(), "{name}: {warnings:#}");
    }
}

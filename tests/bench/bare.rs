//! The bare side of a rotation while the controller runs. It has its own account with the same few rights, and its own
//! Secrets, which differ from regcred's in their name alone: regcred would revert writes to its own Secrets at once, and
//! both sides would run at the same time.

use anyhow::{Context as _, ensure};
use harness::bench::measure::Spread;
use harness::{NAMESPACE, SECRET, SERVICE_ACCOUNT, TestCluster};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;
use world::service_account_user;

use crate::arrival::{Writes, now};
use crate::cluster::{Bench as _, client};
use crate::controller::policies_file;
use crate::floor;

/// The name of its account, its role and its Secrets.
const NAME: &str = "bare";

pub(crate) struct Bare {
    /// A client that keeps its connections, as the controller does.
    client: Client,
    user: String,
}

impl Bare {
    /// Creates the account, and a Secret in every namespace.
    pub(crate) async fn install(cluster: &TestCluster) -> anyhow::Result<Self> {
        let metadata = json!({ "name": NAME, "namespace": NAMESPACE });
        let rights = json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": [
                { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata },
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRole",
                    "metadata": { "name": NAME },
                    "rules": [
                        { "apiGroups": [""], "resources": ["secrets"], "resourceNames": [NAME], "verbs": ["patch"] },
                        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["create"] },
                    ],
                },
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRoleBinding",
                    "metadata": { "name": NAME },
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME },
                    "subjects": [{ "kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE }],
                },
            ],
        });
        cluster.kube.kubectl_stdin(&["apply", "-f", "-"], &rights.to_string()).await?;
        cluster.kube.kubectl_stdin(&["apply", "-f", "-"], &policies()?).await?;
        let client = client(&cluster.kube.kubeconfig_as(NAMESPACE, NAME).await?).await?;
        let secret = floor::secret(NAME)?;
        cluster
            .in_every_namespace(async |namespace| {
                let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
                secrets.create(&PostParams::default(), &secret).await.map(drop)
            })
            .await?;
        Ok(Self { client, user: service_account_user(NAMESPACE, NAME) })
    }

    /// Rotates; returns the seconds until each namespace was reached.
    pub(crate) async fn rotate(&self, cluster: &TestCluster) -> anyhow::Result<Spread> {
        cluster.wait_idle().await?;
        let writes = Writes { user: self.user.clone(), secret: NAME, since: cluster.kube.audit_mark()? };
        let departure = now();
        floor::patch(cluster, &self.client, NAME).await?;
        writes.arrivals(cluster, departure).await
    }
}

/// regcred's admission policies for this account: the API server evaluates as much for its writes.
fn policies() -> anyhow::Result<String> {
    let mut text = std::fs::read_to_string(policies_file()).context("cannot read the admission policies")?;
    for (from, to) in [
        (service_account_user(NAMESPACE, SERVICE_ACCOUNT), service_account_user(NAMESPACE, NAME)),
        (format!("'[\"{SECRET}\"]'"), format!("'[\"{NAME}\"]'")),
        ("\n  name: regcred".to_owned(), format!("\n  name: {NAME}")),
        ("\n  policyName: regcred".to_owned(), format!("\n  policyName: {NAME}")),
    ] {
        ensure!(text.contains(&from), "the admission policies have no {from}");
        text = text.replace(&from, &to);
    }
    Ok(text)
}

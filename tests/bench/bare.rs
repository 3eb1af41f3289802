//! The bare side of a rotation while the controller runs. It has an account of its own with the same few
//! rights, and Secrets of its own that are alike in everything but their name: what it wrote into
//! regcred's would be put right at once, and both sides would run at the same time.

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;
use world::service_account_user;

use crate::arrival::{Writes, now};
use crate::floor;
use crate::measure::Spread;
use crate::stage::{SERVICE_ACCOUNT, Stage, client};

/// What everything of it is called.
const NAME: &str = "bare";

pub(crate) struct Bare {
    /// Keeps its connections, as the controller does.
    client: Client,
    user: String,
}

impl Bare {
    /// The account, and a Secret in every namespace.
    pub(crate) async fn set(stage: &Stage) -> anyhow::Result<Self> {
        let metadata = json!({ "name": NAME, "namespace": SERVICE_ACCOUNT.0 });
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
                    "subjects": [{ "kind": "ServiceAccount", "name": NAME, "namespace": SERVICE_ACCOUNT.0 }],
                },
            ],
        });
        stage.kube.kubectl_stdin(&["apply", "-f", "-"], &rights.to_string()).await?;
        let client = client(&stage.kube.kubeconfig_as(SERVICE_ACCOUNT.0, NAME).await?).await?;
        let secret = floor::secret(NAME)?;
        let create = async |namespace: &str| {
            let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
            secrets.create(&PostParams::default(), &secret).await.map(drop)
        };
        stage.in_every_namespace(create).await?;
        Ok(Self { client, user: service_account_user(SERVICE_ACCOUNT.0, NAME) })
    }

    /// Rotates, and tells the seconds after which each namespace was reached.
    pub(crate) async fn rotate(&self, stage: &Stage) -> anyhow::Result<Spread> {
        stage.rest().await?;
        let writes = Writes { user: &self.user, secret: NAME, since: stage.kube.audit_mark()? };
        let departure = now();
        floor::patch(stage, &self.client, NAME).await?;
        writes.arrivals(stage, departure).await
    }
}

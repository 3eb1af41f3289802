//! The reads of a dry run.
//!
//! In goes a plan, out comes the plan with a decision for each Secret that has to be read first: the first list keeps
//! the bytes of a bounded number of Secrets. A run that writes reads such a Secret right before the write.

use futures::{StreamExt, stream};
use kube::Client;
use tracing::warn;

use super::plan::{NamespacePlan, Plan};
use super::target::Action;
use crate::rotator::{self, Decision};

/// Reads the Secrets that no decision is possible for, and decides.
pub(super) async fn read(client: &Client, plan: Plan, concurrency: usize) -> Plan {
    let Plan { cluster_pull_secrets, namespaces } = plan;
    let namespaces = stream::iter(namespaces).map(|namespace| read_namespace(client, namespace));
    let namespaces = namespaces.buffered(concurrency).collect().await;
    Plan { cluster_pull_secrets, namespaces }
}

async fn read_namespace(client: &Client, mut plan: NamespacePlan) -> NamespacePlan {
    let NamespacePlan { name, secrets, targets, .. } = &mut plan;
    for target in targets {
        let owner = &target.owner;
        let Action::Apply { content, secret: secret @ Decision::Read, take_over_from, .. } =
            &mut target.action
        else {
            continue;
        };
        match rotator::read(client, name, secrets.get(&owner.secret_name), owner).await {
            Ok(read) => {
                *secret = rotator::decide(read.as_ref(), content, owner, take_over_from.as_deref());
                match read {
                    Some(read) => drop(secrets.insert(owner.secret_name.clone(), read)),
                    None => drop(secrets.remove(&owner.secret_name)),
                }
            }
            Err(error) => warn!(
                namespace = name.as_str(),
                secret = owner.secret_name.as_str(),
                "cannot read the Secret, a change is assumed: {error}"
            ),
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    use super::*;
    use crate::cluster::script::{exchange, play};
    use crate::provider::stores::Values;
    use crate::reconcile::claims::{Claims, Others};
    use crate::reconcile::desired_secret::{DesiredSecret, KnownValues};
    use crate::reconcile::fixture::{self, cluster_pull_secret, recorded, service_account, values};
    use crate::reconcile::version_order::KeyOrder;
    use crate::reconcile::{plan, resolve};

    /// The plan for a Secret with this password, of which only the metadata was kept.
    async fn decision(held: &str) -> Decision {
        let images = Arc::new(cluster_pull_secret("images", &["ghcr.io"]));
        let resolved = resolve::resolve(&images, &values(&[("ghcr.io", "1", "pw")]));
        let desired = DesiredSecret::new(resolved, &recorded("images", &[]));
        let whole = fixture::secret("1", &[("ghcr.io", "1", held)]);
        let bytes = whole.body.clone().and_then(|body| body.docker_config).expect("bytes");
        let unread = crate::cluster::Secret { body: None, uid: "u".into(), ..whole.clone() };
        let cluster =
            fixture::cluster(vec![("web", fixture::namespace(Some(unread), service_account(&[], &[])))]);
        let no_values = Values::default();
        let known = KnownValues { values: &no_values, recorded: None, order: &|_| KeyOrder::default() };
        let claims = Claims::new(std::slice::from_ref(&images), Others::Unknown);
        let plan = plan::plan(&claims, &[desired], &known, &cluster, None);
        let listed = json!({
            "metadata": {
                "name": "regcred", "namespace": "web", "uid": "u", "resourceVersion": "1",
                "labels": {"app.kubernetes.io/managed-by": "regcred", "regcred.dev/pull-secret": "images"},
                "annotations": {"regcred.dev/versions": whole.versions},
            },
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": BASE64_STANDARD.encode(bytes.expose_secret())},
        });
        let script = vec![exchange("GET /api/v1/namespaces/web/secrets/regcred", 200, listed)];
        let plan = play(script, async |client| read(&client, plan, 1).await).await.0;
        match &plan.namespaces[0].targets[0].action {
            Action::Apply { secret, .. } => secret.clone(),
            _ => unreachable!("the namespace is selected"),
        }
    }

    #[tokio::test]
    async fn secret_without_bytes_is_read_before_it_is_judged() {
        assert_eq!(decision("pw").await, Decision::Unchanged);
        assert!(matches!(decision("other").await, Decision::Update { .. }));
    }
}

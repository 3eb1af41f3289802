//! The last good entries that a namespace holds itself.
//!
//! Pure. Where a store is down or a value is malformed, a target keeps its entries. They are never copied to
//! another namespace: whoever may edit the Secret of one namespace must not decide what others get. A target
//! without an entry gets the value that regcred recorded in its own namespace.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;

use crate::cluster::ownership::evidence::Evidence;
use crate::cluster::{Namespace, Secret};
use crate::credential::Credential;
use crate::docker_config::DockerConfig;
use crate::docker_config::host_key::HostKey;
use crate::docker_config::versions::{self, EntryOrigin};
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::object_name::SecretName;

/// An entry of a pull secret with its origin.
#[derive(Clone, Debug)]
pub struct SecretEntry {
    /// The credential.
    pub credential: Credential,
    /// The store and the version that the credential was read at.
    pub origin: EntryOrigin,
}

/// The entries of one pull secret.
pub type SecretEntries = BTreeMap<HostKey, SecretEntry>;

/// Returns the entries that regcred wrote into `secret` and that can still be parsed.
#[must_use]
pub fn from_secret(secret: &Secret) -> SecretEntries {
    let mut origins = secret.versions.as_deref().map(versions::parse_lenient).unwrap_or_default();
    let bytes = secret.body.as_ref().and_then(|body| body.docker_config.as_ref());
    let config = bytes.map(|bytes| DockerConfig::parse_lenient(bytes.expose_secret()));
    let auths = config.unwrap_or_default().auths.into_iter();
    auths
        .filter_map(|(host, credential)| {
            Some((host.clone(), SecretEntry { credential, origin: origins.remove(&host)? }))
        })
        .collect()
}

/// Returns the Secret of a namespace that regcred created for `cluster_pull_secret`, with its current or previous
/// name. Labels without a proof suffice under the current name: such a Secret is taken over in place.
#[must_use]
pub fn own_secret<'a>(
    namespace: &'a Namespace,
    cluster_pull_secret: &ClusterPullSecret,
) -> Option<(&'a SecretName, &'a Secret)> {
    let owner = &cluster_pull_secret.name;
    let mut secrets =
        cluster_pull_secret.secret_names().filter_map(|name| namespace.secrets.get_key_value(name));
    let labelled = || {
        let current = namespace.secrets.get_key_value(&cluster_pull_secret.secret_name);
        current.filter(|(_, it)| matches!(&it.evidence, Evidence::Labelled(Some(label)) if label == owner))
    };
    secrets.find(|(_, secret)| secret.is_created_for(owner)).or_else(labelled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ServiceAccount;
    use crate::reconcile::fixture::{cluster_pull_secret, namespace, secret};

    fn has_own(secret: Secret, cluster_pull_secret: &ClusterPullSecret) -> bool {
        own_secret(&namespace(Some(secret), ServiceAccount::default()), cluster_pull_secret).is_some()
    }

    fn with(evidence: Evidence) -> Secret {
        Secret { evidence, ..secret("1", &[("ghcr.io", "1", "known")]) }
    }

    #[test]
    fn own_secret_is_proven_or_carries_its_label() {
        let images = cluster_pull_secret("images", &["ghcr.io"]);
        assert!(has_own(with(Evidence::Signed("images".into())), &images));
        assert!(has_own(with(Evidence::Labelled(Some("images".into()))), &images));
        for evidence in [
            Evidence::Foreign,
            Evidence::Labelled(None),
            Evidence::Labelled(Some("other".into())),
            Evidence::Recorded("other".into()),
        ] {
            assert!(!has_own(with(evidence.clone()), &images), "{evidence:?}");
        }
    }

    #[test]
    fn secret_under_a_previous_name_needs_a_proof() {
        let mut renamed = cluster_pull_secret("images", &["ghcr.io"]);
        renamed.secret_name = "new".into();
        let object = serde_json::json!({"status": {"secretNames": ["regcred", "new"]}});
        renamed.object = Some(crate::manifest::object::LiveObject::from_json(&object));
        assert!(has_own(with(Evidence::Recorded("images".into())), &renamed));
        assert!(!has_own(with(Evidence::Labelled(Some("images".into()))), &renamed));
    }

    #[test]
    fn entry_not_in_the_annotation_is_ignored() {
        let ours = secret("1", &[("ghcr.io", "1", "pw")]);
        assert_eq!(from_secret(&ours).len(), 1);
        let other_host = Secret { versions: Some("quay.io=vault:1".into()), ..ours.clone() };
        assert!(from_secret(&other_host).is_empty());
        assert!(from_secret(&Secret { versions: None, ..ours }).is_empty());
    }
}

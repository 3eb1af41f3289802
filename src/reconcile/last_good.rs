//! The last good entries, kept in the cluster itself.
//!
//! Pure. Where a store is down or a value is malformed, a target keeps its entry; a target without an
//! entry, such as a new namespace, gets the one that regcred wrote for the same ClusterPullSecret in other
//! namespaces.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;

use crate::cluster::{Cluster, Namespace, Secret, revision};
use crate::credential::Credential;
use crate::docker_config::DockerConfig;
use crate::docker_config::host_key::HostKey;
use crate::docker_config::versions::{self, EntryOrigin};
use crate::manifest::cluster_pull_secret::ClusterPullSecret;

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

/// Returns the Secret of a namespace that regcred created for `cluster_pull_secret`, under its current or a
/// previous name.
#[must_use]
pub fn own_secret<'a>(
    namespace: &'a Namespace,
    cluster_pull_secret: &ClusterPullSecret,
) -> Option<&'a Secret> {
    let mut secrets = cluster_pull_secret.secret_names().filter_map(|name| namespace.secrets.get(name));
    secrets.find(|secret| secret.is_created_for(&cluster_pull_secret.name))
}

/// Elects for every host the entry that most namespaces of `cluster_pull_secret` hold, and the newest among
/// equals. A tenant that may edit the Secret of one namespace must not decide what other namespaces get.
#[must_use]
pub fn from_cluster(cluster: &Cluster, cluster_pull_secret: &ClusterPullSecret) -> SecretEntries {
    let selected = cluster
        .namespaces
        .iter()
        .filter(|(name, it)| cluster_pull_secret.selection.selects(name, &it.labels));
    let mut votes: BTreeMap<HostKey, Vec<Vote>> = BTreeMap::new();
    for secret in selected.filter_map(|(_, namespace)| own_secret(namespace, cluster_pull_secret)) {
        for (host, entry) in from_secret(secret) {
            let votes = votes.entry(host).or_default();
            let revision = revision(&secret.resource_version);
            match votes.iter_mut().find(|vote| vote.entry.is_same(&entry)) {
                Some(vote) => {
                    *vote = Vote { count: vote.count + 1, newest: vote.newest.max(revision), entry }
                }
                None => votes.push(Vote { count: 1, newest: revision, entry }),
            }
        }
    }
    let elected = votes.into_iter().filter_map(|(host, votes)| {
        Some((host, votes.into_iter().max_by_key(|vote| (vote.count, vote.newest))?.entry))
    });
    elected.collect()
}

/// An entry with the number of namespaces that hold it, and the age of the newest.
struct Vote {
    count: usize,
    newest: u128,
    entry: SecretEntry,
}

impl SecretEntry {
    fn is_same(&self, other: &Self) -> bool {
        self.origin == other.origin
            && self.credential.username == other.credential.username
            && self.credential.password.expose_secret() == other.credential.password.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ServiceAccount;
    use crate::manifest::selection::Patterns;
    use crate::reconcile::fixture::{cluster, cluster_pull_secret, namespace, secret};

    /// One namespace for each Secret.
    fn cluster_with(secrets: Vec<Secret>) -> Cluster {
        let names: Vec<_> = (0..secrets.len()).map(|n| format!("ns-{n}")).collect();
        let namespaces = secrets.into_iter().map(|it| namespace(Some(it), ServiceAccount::default()));
        cluster(names.iter().map(String::as_str).zip(namespaces).collect())
    }

    fn passwords(entries: &SecretEntries) -> Vec<&str> {
        entries.values().map(|entry| entry.credential.password.expose_secret()).collect()
    }

    #[test]
    fn newest_own_secret_is_the_last_good() {
        let cluster = cluster_with(vec![
            secret("9", &[("ghcr.io", "1", "older")]),
            secret("10", &[("ghcr.io", "2", "newest")]),
            secret("8", &[("ghcr.io", "0", "oldest")]),
        ]);
        assert_eq!(
            passwords(&from_cluster(&cluster, &cluster_pull_secret("images", &["ghcr.io"]))),
            ["newest"]
        );
    }

    #[test]
    fn entry_of_most_namespaces_wins_over_an_edited_one() {
        let versions = [("1", "known"), ("2", "known"), ("99", "planted")];
        let secrets = versions.map(|(version, password)| secret(version, &[("ghcr.io", "1", password)]));
        let cluster = cluster_with(secrets.into());
        assert_eq!(
            passwords(&from_cluster(&cluster, &cluster_pull_secret("images", &["ghcr.io"]))),
            ["known"]
        );
    }

    #[test]
    fn secret_under_a_previous_name_is_a_last_good() {
        let mut renamed = cluster_pull_secret("images", &["ghcr.io"]);
        renamed.secret_name = "new".into();
        let object = serde_json::json!({"status": {"secretNames": ["regcred", "new"]}});
        renamed.object = Some(crate::manifest::object::LiveObject::from_json(&object));
        let cluster = cluster_with(vec![secret("1", &[("ghcr.io", "1", "known")])]);
        assert_eq!(passwords(&from_cluster(&cluster, &renamed)), ["known"]);
    }

    #[test]
    fn namespace_not_selected_is_no_last_good() {
        let cluster = cluster_with(vec![secret("1", &[("ghcr.io", "1", "known")])]);
        let mut elsewhere = cluster_pull_secret("images", &["ghcr.io"]);
        elsewhere.selection.exclude = Patterns::compile(&["ns-*".to_owned()]).expect("a glob");
        assert!(from_cluster(&cluster, &elsewhere).is_empty());
    }

    #[test]
    fn foreign_secret_is_no_last_good() {
        let theirs = secret("10", &[("ghcr.io", "2", "theirs")]);
        let foreign = Secret { managed: false, ..theirs.clone() };
        let other = Secret { cluster_pull_secret: Some("other".into()), ..theirs };
        assert!(
            from_cluster(&cluster_with(vec![foreign, other]), &cluster_pull_secret("images", &["ghcr.io"]))
                .is_empty()
        );
    }

    #[test]
    fn entry_not_in_the_annotation_is_ignored() {
        let ours = secret("1", &[("ghcr.io", "1", "pw")]);
        let other_host = Secret { versions: Some("quay.io=vault:1".into()), ..ours.clone() };
        assert!(from_secret(&other_host).is_empty());
        assert!(from_secret(&Secret { versions: None, ..ours }).is_empty());
    }
}

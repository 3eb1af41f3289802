//! The last good entries: the cluster is the memory.
//!
//! Pure. Where a store is down or a value malformed, a target keeps the entry it has; a target that
//! has none, such as a new namespace, gets the one that regcred wrote for the same ClusterPullSecret
//! elsewhere.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;

use crate::cluster::{Cluster, Namespace, Secret, age};
use crate::credential::Credential;
use crate::docker_config::DockerConfig;
use crate::docker_config::host_key::HostKey;
use crate::docker_config::versions::{self, Origin};
use crate::manifest::cluster_pull_secret::ClusterPullSecret;

/// An entry of a pull secret with where it came from.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The credential.
    pub credential: Credential,
    /// Where it came from.
    pub origin: Origin,
}

/// The entries of one pull secret.
pub type Entries = BTreeMap<HostKey, Entry>;

/// The entries that regcred wrote into `secret` and that can still be read.
#[must_use]
pub fn of_secret(secret: &Secret) -> Entries {
    let mut origins = secret.versions.as_deref().map(versions::parse_lenient).unwrap_or_default();
    let bytes = secret.body.as_ref().and_then(|body| body.docker_config.as_ref());
    let config = bytes.map(|bytes| DockerConfig::parse_lenient(bytes.expose_secret()));
    let auths = config.unwrap_or_default().auths.into_iter();
    auths
        .filter_map(|(host, credential)| {
            Some((host.clone(), Entry { credential, origin: origins.remove(&host)? }))
        })
        .collect()
}

/// The Secret of a namespace that regcred made for `cluster_pull_secret`, under the name it has now or had before.
#[must_use]
pub fn own<'a>(namespace: &'a Namespace, cluster_pull_secret: &ClusterPullSecret) -> Option<&'a Secret> {
    let made_for_it =
        |name| namespace.secrets.get(name).filter(|it| it.is_created_for(&cluster_pull_secret.name));
    cluster_pull_secret.secret_names().find_map(made_for_it)
}

/// For every host the entry that most namespaces of `cluster_pull_secret` hold, and of equals the newest.
/// Whoever may edit the Secret of one namespace must not decide what the next one gets.
#[must_use]
pub fn of_cluster(cluster: &Cluster, cluster_pull_secret: &ClusterPullSecret) -> Entries {
    let selected = cluster
        .namespaces
        .iter()
        .filter(|(name, it)| cluster_pull_secret.selection.selects(name, &it.labels));
    let mut votes: BTreeMap<HostKey, Vec<Vote>> = BTreeMap::new();
    for secret in selected.filter_map(|(_, namespace)| own(namespace, cluster_pull_secret)) {
        for (host, entry) in of_secret(secret) {
            let votes = votes.entry(host).or_default();
            let age = age(&secret.resource_version);
            match votes.iter_mut().find(|vote| vote.entry.is_same(&entry)) {
                Some(vote) => *vote = Vote { count: vote.count + 1, newest: vote.newest.max(age), entry },
                None => votes.push(Vote { count: 1, newest: age, entry }),
            }
        }
    }
    let elected = |votes: Vec<Vote>| votes.into_iter().max_by_key(|vote| (vote.count, vote.newest));
    votes.into_iter().filter_map(|(host, votes)| Some((host, elected(votes)?.entry))).collect()
}

/// An entry, by how many namespaces hold it and when the last of them was written.
struct Vote {
    count: usize,
    newest: u128,
    entry: Entry,
}

impl Entry {
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

    /// A namespace each.
    fn many(secrets: Vec<Secret>) -> Cluster {
        let names: Vec<_> = (0..secrets.len()).map(|n| format!("ns-{n}")).collect();
        let namespaces = secrets.into_iter().map(|it| namespace(Some(it), ServiceAccount::default()));
        cluster(names.iter().map(String::as_str).zip(namespaces).collect())
    }

    fn passwords(entries: &Entries) -> Vec<&str> {
        entries.values().map(|entry| entry.credential.password.expose_secret()).collect()
    }

    #[test]
    fn the_newest_secret_of_ours_is_the_memory() {
        let cluster = many(vec![
            secret("9", &[("ghcr.io", "1", "older")]),
            secret("10", &[("ghcr.io", "2", "newest")]),
            secret("8", &[("ghcr.io", "0", "oldest")]),
        ]);
        assert_eq!(
            passwords(&of_cluster(&cluster, &cluster_pull_secret("images", &["ghcr.io"]))),
            ["newest"]
        );
    }

    #[test]
    fn what_most_namespaces_hold_goes_before_what_one_was_edited_to() {
        let known = |at| secret(at, &[("ghcr.io", "1", "known")]);
        let cluster = many(vec![known("1"), known("2"), secret("99", &[("ghcr.io", "1", "planted")])]);
        assert_eq!(passwords(&of_cluster(&cluster, &cluster_pull_secret("images", &["ghcr.io"]))), ["known"]);
    }

    #[test]
    fn a_secret_under_a_name_of_before_is_memory_too() {
        let mut renamed = cluster_pull_secret("images", &["ghcr.io"]);
        renamed.secret_name = "new".into();
        let object = serde_json::json!({"status": {"secretNames": ["regcred", "new"]}});
        renamed.object = Some(crate::manifest::object::Object::of(&object));
        let cluster = many(vec![secret("1", &[("ghcr.io", "1", "known")])]);
        assert_eq!(passwords(&of_cluster(&cluster, &renamed)), ["known"]);
    }

    #[test]
    fn a_namespace_that_is_not_selected_is_no_memory() {
        let cluster = many(vec![secret("1", &[("ghcr.io", "1", "known")])]);
        let mut elsewhere = cluster_pull_secret("images", &["ghcr.io"]);
        elsewhere.selection.exclude = Patterns::compile(&["ns-*".to_owned()]).expect("a glob");
        assert!(of_cluster(&cluster, &elsewhere).is_empty());
    }

    #[test]
    fn a_secret_of_somebody_else_is_no_memory() {
        let theirs = || secret("10", &[("ghcr.io", "2", "theirs")]);
        let foreign = Secret { managed: false, ..theirs() };
        let other = Secret { cluster_pull_secret: Some("other".into()), ..theirs() };
        assert!(
            of_cluster(&many(vec![foreign, other]), &cluster_pull_secret("images", &["ghcr.io"])).is_empty()
        );
    }

    #[test]
    fn an_entry_that_the_annotation_does_not_know_is_not_ours() {
        let ours = || secret("1", &[("ghcr.io", "1", "pw")]);
        assert!(of_secret(&Secret { versions: Some("quay.io=vault:1".into()), ..ours() }).is_empty());
        assert!(of_secret(&Secret { versions: None, ..ours() }).is_empty());
    }
}

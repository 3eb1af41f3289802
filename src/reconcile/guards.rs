//! How much of a ClusterPullSecret may be carried out, by what the cluster as a whole looks like.
//!
//! Pure. A typo in a selector or in the name of a ServiceAccount must not take working pull secrets
//! away from a thousand namespaces: what looks like one is told, and nothing is removed.

use crate::cluster::{Cluster, Namespace};
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, ServiceAccounts};
use crate::report::Problem;

/// What may be done for one ClusterPullSecret.
#[derive(Debug, PartialEq, Eq)]
pub struct Guards {
    /// What is wrong with it as a whole.
    pub problems: Vec<Problem>,
    /// Its Secrets could be read.
    pub can_write: bool,
    /// What is left in namespaces that are not selected may be removed.
    pub can_prune: bool,
    /// Its name may be removed from ServiceAccounts that the spec does not name.
    pub can_remove_entries: bool,
}

impl Guards {
    /// What may be done for this one.
    #[must_use]
    pub fn of(cluster_pull_secret: &ClusterPullSecret, cluster: &Cluster) -> Self {
        let unreadable = unreadable(&cluster_pull_secret.secret_name, cluster);
        let previous = cluster_pull_secret.previous_names().find_map(|name| self::unreadable(name, cluster));
        let nothing_selected = nothing_selected(cluster_pull_secret, cluster);
        let unknown_names = unknown_service_accounts(cluster_pull_secret, cluster);
        Self {
            can_write: unreadable.is_none(),
            can_prune: nothing_selected.is_none(),
            can_remove_entries: unknown_names.is_none(),
            problems: [unreadable, previous, nothing_selected, unknown_names].into_iter().flatten().collect(),
        }
    }
}

fn unreadable(name: &str, cluster: &Cluster) -> Option<Problem> {
    let error = cluster.unreadable.get(name)?;
    let message = match error.reason() {
        "Forbidden" => format!(
            "{error}; nothing was done for it: add {name} to the `resourceNames` of regcred's ClusterRole"
        ),
        _ => format!("the Secrets named {name} could not be listed, so nothing was done for it: {error}"),
    };
    Some(Problem { reason: error.reason(), message })
}

/// The namespaces it selects. Nearly always the first few tell all that is asked here.
fn selected<'a>(
    cluster_pull_secret: &ClusterPullSecret,
    cluster: &'a Cluster,
) -> impl Iterator<Item = &'a Namespace> {
    let namespaces = cluster.namespaces.iter();
    let is_selected = |name: &str, it: &Namespace| {
        !it.terminating && cluster_pull_secret.selection.selects(name, &it.labels)
    };
    namespaces.filter(move |(name, it)| is_selected(name, it)).map(|(_, it)| it)
}

fn nothing_selected(cluster_pull_secret: &ClusterPullSecret, cluster: &Cluster) -> Option<Problem> {
    if cluster_pull_secret.selection.is_empty() || selected(cluster_pull_secret, cluster).next().is_some() {
        return None;
    }
    let secrets =
        cluster.namespaces.values().filter_map(|it| it.secrets.get(&cluster_pull_secret.secret_name));
    let left = secrets.filter(|secret| secret.is_made_for(&cluster_pull_secret.name)).count();
    let message = format!(
        "it selects no namespace any more, and {left} still hold its Secret; nothing was removed: \
         mend `namespaces`, or write `include: []` to remove them"
    );
    (left > 0).then_some(Problem { reason: "NothingSelected", message })
}

fn unknown_service_accounts(cluster_pull_secret: &ClusterPullSecret, cluster: &Cluster) -> Option<Problem> {
    let ServiceAccounts::Named(names) = &cluster_pull_secret.service_accounts else {
        return None;
    };
    let exists = |name: &String| {
        selected(cluster_pull_secret, cluster).any(|it| it.service_accounts.contains_key(name))
    };
    let unknown: Vec<_> = names.iter().filter(|name| !exists(name)).map(String::as_str).collect();
    if unknown.is_empty() || selected(cluster_pull_secret, cluster).next().is_none() {
        return None;
    }
    let unknown = unknown.join(", ");
    let message = format!(
        "no selected namespace has a ServiceAccount {unknown}; our entries in others stay as they are"
    );
    Some(Problem { reason: "ServiceAccountMissing", message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::error::Error;
    use crate::manifest::selection::Patterns;
    use crate::reconcile::fixture::{cluster, cluster_pull_secret, namespace, secret, service_account};

    fn web() -> Cluster {
        let ours = secret("1", &[("ghcr.io", "1", "pw")]);
        cluster(vec![("web", namespace(Some(ours), service_account(&["regcred"], &["regcred"])))])
    }

    fn reasons(cluster_pull_secret: &ClusterPullSecret, cluster: &Cluster) -> Vec<&'static str> {
        Guards::of(cluster_pull_secret, cluster).problems.iter().map(|problem| problem.reason).collect()
    }

    #[test]
    fn everything_may_be_done_where_nothing_is_wrong() {
        let scope = Guards::of(&cluster_pull_secret("images", &["ghcr.io"]), &web());
        assert_eq!(
            scope,
            Guards { problems: Vec::new(), can_write: true, can_prune: true, can_remove_entries: true }
        );
    }

    #[test]
    fn a_selector_that_selects_nothing_removes_nothing() {
        let mut typo = cluster_pull_secret("images", &["ghcr.io"]);
        typo.selection.include = Some(Patterns::compile(&["wbe".to_owned()]).expect("a pattern"));
        assert_eq!(reasons(&typo, &web()), ["NothingSelected"]);
        assert!(!Guards::of(&typo, &web()).can_prune);
    }

    #[test]
    fn an_empty_include_is_meant() {
        let mut nothing = cluster_pull_secret("images", &["ghcr.io"]);
        nothing.selection.include = Some(Patterns::default());
        assert_eq!(reasons(&nothing, &web()), Vec::<&str>::new());
        assert!(Guards::of(&nothing, &web()).can_prune);
    }

    #[test]
    fn a_service_account_that_is_nowhere_takes_no_entry_away() {
        let mut typo = cluster_pull_secret("images", &["ghcr.io"]);
        typo.service_accounts = ServiceAccounts::Named(vec!["defualt".into()]);
        assert_eq!(reasons(&typo, &web()), ["ServiceAccountMissing"]);
        assert!(!Guards::of(&typo, &web()).can_remove_entries);
    }

    #[test]
    fn a_secret_name_that_may_not_be_listed_is_told_with_the_mend() {
        let mut cluster = web();
        cluster.unreadable.insert("regcred".into(), Error::Forbidden("secrets is forbidden".into()));
        let scope = Guards::of(&cluster_pull_secret("images", &["ghcr.io"]), &cluster);
        assert!(!scope.can_write && scope.problems[0].message.contains("resourceNames"), "{scope:?}");
    }
}

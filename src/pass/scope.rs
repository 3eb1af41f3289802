//! How much of a ClusterPullSecret may be carried out, by what the cluster as a whole looks like.
//!
//! Pure. A typo in a selector or in the name of a ServiceAccount must not take working pull secrets
//! away from a thousand namespaces: what looks like one is told, and nothing is removed.

use crate::cluster::{Cluster, Namespace};
use crate::manifest::cluster_pull_secret::{PullSecret, ServiceAccounts};
use crate::report::Problem;

/// What may be done for one ClusterPullSecret.
#[derive(Debug, PartialEq, Eq)]
pub struct Scope {
    /// What is wrong with it as a whole.
    pub problems: Vec<Problem>,
    /// Its Secrets could be read.
    pub may_write: bool,
    /// What is left in namespaces that are not selected may be removed.
    pub may_leave: bool,
    /// Its name may be removed from ServiceAccounts that the spec does not name.
    pub may_strip: bool,
}

impl Scope {
    /// What may be done for this one.
    #[must_use]
    pub fn of(pull_secret: &PullSecret, cluster: &Cluster) -> Self {
        let unreadable = unreadable(&pull_secret.secret_name, cluster);
        let former = pull_secret.former_names().find_map(|name| self::unreadable(name, cluster));
        let nothing_selected = nothing_selected(pull_secret, cluster);
        let unknown_names = unknown_service_accounts(pull_secret, cluster);
        Self {
            may_write: unreadable.is_none(),
            may_leave: nothing_selected.is_none(),
            may_strip: unknown_names.is_none(),
            problems: [unreadable, former, nothing_selected, unknown_names].into_iter().flatten().collect(),
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
fn selected<'a>(pull_secret: &PullSecret, cluster: &'a Cluster) -> impl Iterator<Item = &'a Namespace> {
    let namespaces = cluster.namespaces.iter();
    let is_selected =
        |name: &str, it: &Namespace| !it.terminating && pull_secret.selection.selects(name, &it.labels);
    namespaces.filter(move |(name, it)| is_selected(name, it)).map(|(_, it)| it)
}

fn nothing_selected(pull_secret: &PullSecret, cluster: &Cluster) -> Option<Problem> {
    if pull_secret.selection.is_nothing() || selected(pull_secret, cluster).next().is_some() {
        return None;
    }
    let secrets = cluster.namespaces.values().filter_map(|it| it.secrets.get(&pull_secret.secret_name));
    let left = secrets.filter(|secret| secret.is_made_for(&pull_secret.name)).count();
    let message = format!(
        "it selects no namespace any more, and {left} still hold its Secret; nothing was removed: \
         mend `namespaces`, or write `include: []` to remove them"
    );
    (left > 0).then_some(Problem { reason: "NothingSelected", message })
}

fn unknown_service_accounts(pull_secret: &PullSecret, cluster: &Cluster) -> Option<Problem> {
    let ServiceAccounts::Named(names) = &pull_secret.service_accounts else {
        return None;
    };
    let exists =
        |name: &String| selected(pull_secret, cluster).any(|it| it.service_accounts.contains_key(name));
    let unknown: Vec<_> = names.iter().filter(|name| !exists(name)).map(String::as_str).collect();
    if unknown.is_empty() || selected(pull_secret, cluster).next().is_none() {
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
    use crate::pass::fixture::{cluster, namespace, pull_secret, secret, service_account};

    fn web() -> Cluster {
        let ours = secret("1", &[("ghcr.io", "1", "pw")]);
        cluster(vec![("web", namespace(Some(ours), service_account(&["regcred"], &["regcred"])))])
    }

    fn reasons(pull_secret: &PullSecret, cluster: &Cluster) -> Vec<&'static str> {
        Scope::of(pull_secret, cluster).problems.iter().map(|problem| problem.reason).collect()
    }

    #[test]
    fn everything_may_be_done_where_nothing_is_wrong() {
        let scope = Scope::of(&pull_secret("images", &["ghcr.io"]), &web());
        assert_eq!(scope, Scope { problems: Vec::new(), may_write: true, may_leave: true, may_strip: true });
    }

    #[test]
    fn a_selector_that_selects_nothing_removes_nothing() {
        let mut typo = pull_secret("images", &["ghcr.io"]);
        typo.selection.include = Some(Patterns::compile(&["wbe".to_owned()]).expect("a pattern"));
        assert_eq!(reasons(&typo, &web()), ["NothingSelected"]);
        assert!(!Scope::of(&typo, &web()).may_leave);
    }

    #[test]
    fn an_empty_include_is_meant() {
        let mut nothing = pull_secret("images", &["ghcr.io"]);
        nothing.selection.include = Some(Patterns::default());
        assert_eq!(reasons(&nothing, &web()), Vec::<&str>::new());
        assert!(Scope::of(&nothing, &web()).may_leave);
    }

    #[test]
    fn a_service_account_that_is_nowhere_takes_no_entry_away() {
        let mut typo = pull_secret("images", &["ghcr.io"]);
        typo.service_accounts = ServiceAccounts::Named(vec!["defualt".into()]);
        assert_eq!(reasons(&typo, &web()), ["ServiceAccountMissing"]);
        assert!(!Scope::of(&typo, &web()).may_strip);
    }

    #[test]
    fn a_secret_name_that_may_not_be_listed_is_told_with_the_mend() {
        let mut cluster = web();
        cluster.unreadable.insert("regcred".into(), Error::Forbidden("secrets is forbidden".into()));
        let scope = Scope::of(&pull_secret("images", &["ghcr.io"]), &cluster);
        assert!(!scope.may_write && scope.problems[0].message.contains("resourceNames"), "{scope:?}");
    }
}

//! Guards against mistakes that would remove working pull secrets, for each ClusterPullSecret.
//!
//! Pure: decides by the state of the whole cluster. A typo in a selector or in the name of a
//! ServiceAccount must not take working pull secrets away from a thousand namespaces: what looks like a
//! typo is reported, and nothing is removed.

use crate::cluster::error::Error;
use crate::cluster::{Cluster, Namespace};
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, ServiceAccounts};
use crate::manifest::status::reason::AppliedReason;
use crate::named;
use crate::object_name::SecretName;
use crate::report::Problem;

/// The permitted actions for one ClusterPullSecret.
#[derive(Debug, PartialEq, Eq)]
pub struct Guards {
    /// The problems of the ClusterPullSecret as a whole.
    pub problems: Vec<Problem>,
    /// True if its Secrets could be read.
    pub can_write: bool,
    /// True if its objects in namespaces that are not selected may be removed.
    pub can_prune: bool,
    /// True if its entries may be removed from ServiceAccounts that the spec does not name.
    pub can_remove_entries: bool,
}

impl Guards {
    /// Determines the permitted actions.
    #[must_use]
    pub fn new(cluster_pull_secret: &ClusterPullSecret, cluster: &Cluster) -> Self {
        let unreadable = unreadable(&cluster_pull_secret.secret_name, cluster);
        let previous = cluster_pull_secret.previous_names().find_map(|name| self::unreadable(name, cluster));
        let nothing_selected = nothing_selected(cluster_pull_secret, cluster);
        let unknown_names = unknown_service_accounts(cluster_pull_secret, cluster);
        let can_write = unreadable.is_none();
        let mut guards = Self {
            can_write,
            can_prune: nothing_selected.is_none(),
            can_remove_entries: unknown_names.is_none(),
            problems: [unreadable, previous].into_iter().flatten().collect(),
        };
        // While nothing can be written, a typo has no effect, and its message would hide the cause.
        if can_write {
            guards.problems.extend([nothing_selected, unknown_names].into_iter().flatten());
        }
        guards
    }
}

fn unreadable(name: &SecretName, cluster: &Cluster) -> Option<Problem> {
    let error = cluster.unreadable.get(name)?;
    let message = match error {
        Error::Forbidden(_) => format!(
            "cannot list Secrets named `{name}`, nothing was written: {}. Add `{name}` to the `resourceNames` of regcred's ClusterRole",
            error.without_fix()
        ),
        _ => format!("cannot list Secrets named `{name}`, nothing was written: {error}"),
    };
    let reason = error.applied_reason().unwrap_or(AppliedReason::Unavailable);
    Some(Problem { reason: reason.into(), message })
}

/// Returns the namespaces that are selected. The callers need only the first few nearly always.
fn selected<'a>(
    cluster_pull_secret: &ClusterPullSecret,
    cluster: &'a Cluster,
) -> impl Iterator<Item = &'a Namespace> {
    let namespaces = cluster.namespaces.iter().filter(|(name, namespace)| {
        !namespace.terminating && cluster_pull_secret.selection.selects(name, &namespace.labels)
    });
    namespaces.map(|(_, namespace)| namespace)
}

fn nothing_selected(cluster_pull_secret: &ClusterPullSecret, cluster: &Cluster) -> Option<Problem> {
    if cluster_pull_secret.selection.is_empty() || selected(cluster_pull_secret, cluster).next().is_some() {
        return None;
    }
    // What is in a namespace that is being deleted goes with it.
    let namespaces = cluster.namespaces.values().filter(|it| !it.terminating);
    let left = namespaces.filter(|it| has_leftovers(it, cluster_pull_secret)).count();
    let message = format!(
        "the selection matches no namespace, but {left} still hold the Secret or its entry; nothing was removed. \
         Fix `namespaces`, or set `include: []` to remove the Secrets"
    );
    (left > 0).then_some(Problem { reason: AppliedReason::NothingSelected.into(), message })
}

/// Returns true if a namespace holds a Secret or an entry that names the ClusterPullSecret, proven or not: after an
/// upgrade from a version without signatures, or the loss of the key, no Secret has a proof.
fn has_leftovers(namespace: &Namespace, cluster_pull_secret: &ClusterPullSecret) -> bool {
    let ClusterPullSecret { name, secret_name, .. } = cluster_pull_secret;
    let secret = namespace.secrets.get(secret_name);
    let mut entries = namespace.service_accounts.values().filter_map(|it| it.added.get(secret_name));
    secret.is_some_and(|it| it.evidence.owner_or_label() == Some(name))
        || entries.any(|added_for| added_for.as_ref() == Some(name))
}

fn unknown_service_accounts(cluster_pull_secret: &ClusterPullSecret, cluster: &Cluster) -> Option<Problem> {
    let ServiceAccounts::Named(names) = &cluster_pull_secret.service_accounts else {
        return None;
    };
    let unknown = names.iter().filter(|name| {
        !selected(cluster_pull_secret, cluster).any(|it| it.service_accounts.contains_key(*name))
    });
    let unknown: Vec<_> = unknown.collect();
    if unknown.is_empty() || selected(cluster_pull_secret, cluster).next().is_none() {
        return None;
    }
    let unknown = named::join(unknown, ", ");
    let message = format!(
        "no selected namespace has a ServiceAccount {unknown}; no entry was removed from other ServiceAccounts. \
         Fix `serviceAccounts`, or create the ServiceAccount"
    );
    Some(Problem { reason: AppliedReason::ServiceAccountMissing.into(), message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Secret;
    use crate::cluster::ownership::evidence::Evidence;
    use crate::manifest::selection::Patterns;
    use crate::manifest::status::reason::Reason;
    use crate::reconcile::fixture::{cluster, cluster_pull_secret, namespace, secret, service_account};

    fn web() -> Cluster {
        let ours = secret("1", &[("ghcr.io", "1", "pw")]);
        cluster(vec![("web", namespace(Some(ours), service_account(&["regcred"], &["regcred"])))])
    }

    fn reasons(cluster_pull_secret: &ClusterPullSecret, cluster: &Cluster) -> Vec<Reason> {
        Guards::new(cluster_pull_secret, cluster).problems.iter().map(|problem| problem.reason).collect()
    }

    #[test]
    fn guards_without_problems_permit_everything() {
        let guards = Guards::new(&cluster_pull_secret("images", &["ghcr.io"]), &web());
        assert_eq!(
            guards,
            Guards { problems: Vec::new(), can_write: true, can_prune: true, can_remove_entries: true }
        );
    }

    #[test]
    fn selector_that_selects_nothing_prunes_nothing() {
        let mut typo = cluster_pull_secret("images", &["ghcr.io"]);
        typo.selection.include = Some(Patterns::compile(&["wbe".to_owned()]).expect("a pattern"));
        assert_eq!(reasons(&typo, &web()), [AppliedReason::NothingSelected.into()]);
        assert!(!Guards::new(&typo, &web()).can_prune);
    }

    #[test]
    fn terminating_namespaces_are_no_typo() {
        let mut images = cluster_pull_secret("images", &["ghcr.io"]);
        images.selection.include = Some(Patterns::compile(&["w*".to_owned()]).expect("a pattern"));
        let mut last = web();
        for namespace in last.namespaces.values_mut() {
            namespace.terminating = true;
        }
        assert_eq!(reasons(&images, &last), Vec::new());
    }

    #[test]
    fn leftovers_without_a_proof_are_kept_from_a_typo() {
        let mut typo = cluster_pull_secret("images", &["ghcr.io"]);
        typo.selection.include = Some(Patterns::compile(&["wbe".to_owned()]).expect("a pattern"));
        for (label, entries, expect) in [
            ("images", &[][..], false),
            ("other", &["regcred"], false),
            ("other", &[], true),
            ("other", &["own"], true),
        ] {
            let evidence = Evidence::Labelled(Some(label.to_owned()));
            let secret = Secret { evidence, ..secret("1", &[("ghcr.io", "1", "pw")]) };
            let web = namespace(Some(secret), service_account(entries, entries));
            let guards = Guards::new(&typo, &cluster(vec![("web", web)]));
            assert_eq!(guards.can_prune, expect, "{label} {entries:?}");
        }
    }

    #[test]
    fn empty_include_permits_pruning() {
        let mut nothing = cluster_pull_secret("images", &["ghcr.io"]);
        nothing.selection.include = Some(Patterns::default());
        assert_eq!(reasons(&nothing, &web()), Vec::new());
        assert!(Guards::new(&nothing, &web()).can_prune);
    }

    #[test]
    fn unknown_service_account_removes_no_entry() {
        let mut typo = cluster_pull_secret("images", &["ghcr.io"]);
        typo.service_accounts = ServiceAccounts::Named(vec!["defualt".into()]);
        assert_eq!(reasons(&typo, &web()), [AppliedReason::ServiceAccountMissing.into()]);
        assert!(!Guards::new(&typo, &web()).can_remove_entries);
    }

    #[test]
    fn forbidden_secret_name_is_reported_with_the_fix() {
        let mut cluster = web();
        cluster.unreadable.insert("regcred".into(), Error::Forbidden("secrets is forbidden".into()));
        let guards = Guards::new(&cluster_pull_secret("images", &["ghcr.io"]), &cluster);
        assert!(!guards.can_write && guards.problems[0].message.contains("resourceNames"), "{guards:?}");
        assert!(guards.problems[0].message.contains("named `regcred`"), "{guards:?}");
    }

    #[test]
    fn unlistable_secrets_hide_other_problems() {
        let mut typo = cluster_pull_secret("images", &["ghcr.io"]);
        typo.service_accounts = ServiceAccounts::Named(vec!["defualt".into()]);
        let mut cluster = web();
        cluster.unreadable.insert("regcred".into(), Error::Forbidden("secrets is forbidden".into()));
        assert_eq!(reasons(&typo, &cluster), [AppliedReason::Forbidden.into()]);
        assert!(!Guards::new(&typo, &cluster).can_remove_entries);
    }
}

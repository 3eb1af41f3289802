//! Namespaces and hosts that a store does not admit.

use super::*;
use crate::manifest::admission::Admission;
use crate::manifest::admission::tests::admission;

/// The plan for `images` in the namespace `web`, where the only store has these allow-lists, and the reason in its
/// report.
fn admitted_by(admission: Arc<Admission>, web: Namespace) -> (String, Option<String>) {
    let images = ClusterPullSecret { admission, ..cluster_pull_secret("images", &["ghcr.io"]) };
    let (images, cluster) = (Arc::new(images), cluster(vec![("web", web)]));
    let plan = plan_one(&images, desired(&images), &cluster);
    let (web, target) = (&plan.namespaces[0], &plan.namespaces[0].targets[0]);
    let report = apply::dry_run_target(web, target);
    (line(web, target), report.reason.map(|reason| reason.to_string()))
}

/// The same where the store does not admit the namespace.
fn denied(web: Namespace) -> (String, Option<String>) {
    admitted_by(admission(Some(&["team-*"]), None), web)
}

/// The same where the store does not admit the host.
fn host_denied(web: Namespace) -> (String, Option<String>) {
    admitted_by(admission(None, Some(&["quay.io"])), web)
}

#[test]
fn namespace_not_admitted_loses_its_secret_and_entry() {
    let not_admitted = Some("NotAdmitted".to_owned());
    let before = namespace(Some(current()), service_account(&["own", "regcred"], &["regcred"]));
    assert_eq!(denied(before), ("images/web: prune default=own".to_owned(), not_admitted.clone()));
    let bare = namespace(None, service_account(&["own"], &[]));
    assert_eq!(denied(bare), ("images/web: none".to_owned(), not_admitted));
}

#[test]
fn secret_with_a_host_not_admitted_alone_is_removed() {
    let no_credential = Some("NoCredential".to_owned());
    let before = namespace(Some(current()), service_account(&["own", "regcred"], &["regcred"]));
    assert_eq!(host_denied(before), ("images/web: prune default=own".to_owned(), no_credential.clone()));
    let bare = namespace(None, service_account(&["own"], &[]));
    assert_eq!(host_denied(bare), ("images/web: none".to_owned(), no_credential));
}

#[test]
fn terminating_namespace_not_admitted_is_no_failure() {
    let dying = Namespace { terminating: true, ..namespace(Some(current()), service_account(&[], &[])) };
    assert_eq!(denied(dying), ("images/web: terminating".to_owned(), Some("Terminating".to_owned())));
}

//! The printed table.

use super::*;
use crate::manifest::field::{FieldError, FieldErrors};
use crate::manifest::status::reason::{AppliedReason, FetchedReason, ReadyReason};
use crate::reconcile::fixture::cluster_pull_secret;
use crate::reconcile::no_content::NoContent;
use crate::report::diff::CredentialChange;
use crate::report::{ServiceAccountReport, ServiceAccountResult};

fn registry(
    host: &str,
    version: Option<&str>,
    result: FetchedReason,
    message: Option<&str>,
) -> RegistryReport {
    RegistryReport {
        host: host.into(),
        store: "vault".into(),
        key: "ci/ghcr".into(),
        version: version.map(str::to_owned),
        result,
        message: message.map(str::to_owned),
        is_host_denied: false,
    }
}

fn namespace(name: &str, result: ResultKind) -> NamespaceReport {
    let service_accounts =
        vec![ServiceAccountReport { name: "default".into(), result: ServiceAccountResult::Unchanged }];
    NamespaceReport { service_accounts, ..NamespaceReport::new(name.into(), result) }
}

fn failed(name: &str) -> NamespaceReport {
    NamespaceReport {
        reason: Some(AppliedReason::QuotaExceeded.into()),
        message: Some(
            "the ResourceQuota none is exceeded. Raise it, or delete objects that it counts".to_owned(),
        ),
        service_accounts: Vec::new(),
        ..namespace(name, ResultKind::Failed)
    }
}

fn report(dry_run: bool, registries: Vec<RegistryReport>, namespaces: Vec<NamespaceReport>) -> Report {
    let cluster_pull_secrets = vec![ClusterPullSecretReport {
        name: "images".into(),
        secret_name: "regcred".into(),
        left_alone: None,
        problems: Vec::new(),
        registries,
        namespaces,
    }];
    Report::new(dry_run, cluster_pull_secrets)
}

#[test]
fn equal_rows_are_folded_into_one_line() {
    let mut namespaces: Vec<_> =
        (0..998).map(|n| namespace(&format!("team-{n:03}"), ResultKind::Updated)).collect();
    namespaces.extend([failed("web-a"), failed("web-b")]);
    let registries = vec![registry("ghcr.io", Some("7"), FetchedReason::Fetched, None)];
    insta::assert_snapshot!(report(false, registries, namespaces), @r"
    images: Secret regcred in each namespace

      REGISTRY  STORE  KEY      VERSION  RESULT
      ghcr.io   vault  ci/ghcr  7        Fetched

      NAMESPACES                           RESULT   REASON         SERVICEACCOUNTS
      998 namespaces: team-000 … team-997  updated  -              998 unchanged
      web-a, web-b                         failed   QuotaExceeded  -

      ! web-a, web-b: QuotaExceeded: the ResourceQuota none is exceeded. Raise it, or delete objects that it counts

    1000 namespaces: 998 updated, 2 failed
    ");
}

#[test]
fn dry_run_shows_changes_without_passwords() {
    let changes = vec![
        PlannedChange::EntryChanged {
            host: "ghcr.io".into(),
            from: "vault:6".into(),
            to: "vault:7".into(),
            credential: CredentialChange::Password,
        },
        PlannedChange::EntryAdded { host: "quay.io".into(), to: "aws:6a7e".into(), username: "robot".into() },
        PlannedChange::ReferenceAdded { service_account: "default".into(), secret: "regcred".into() },
    ];
    let updated = ["a", "b"]
        .map(|name| NamespaceReport { changes: changes.clone(), ..namespace(name, ResultKind::Updated) });
    let mut namespaces = Vec::from(updated);
    namespaces.push(namespace("c", ResultKind::Unchanged));
    let registries = vec![registry("ghcr.io", Some("7"), FetchedReason::Fetched, None)];
    insta::assert_snapshot!(report(true, registries, namespaces), @r"
    images: Secret regcred in each namespace (dry run)

      REGISTRY  STORE  KEY      VERSION  RESULT
      ghcr.io   vault  ci/ghcr  7        Fetched

      NAMESPACES  RESULT     REASON  SERVICEACCOUNTS
      a, b        updated    -       2 unchanged
      c           unchanged  -       1 unchanged

      a, b would change:
        ~ ghcr.io  vault:6 → vault:7  password (changed)
        + quay.io  aws:6a7e  username robot  password (new)
        + regcred in ServiceAccount default

    dry run, nothing was written: 3 namespaces: 2 updated, 1 unchanged
    ");
}

#[test]
fn left_alone_come_last_with_the_reason() {
    let mistake = FieldError {
        file: "ClusterPullSecret broken".into(),
        document: None,
        path: "spec.registries[0].from.store".into(),
        line: None,
        detail: "no store has this name; known: vault".into(),
    };
    let registries = vec![registry("ghcr.io", Some("7"), FetchedReason::Fetched, None)];
    let paused = cluster_pull_secret("paused", &["ghcr.io"]);
    let suspended = ClusterPullSecretReport::at_rest(&paused, ReadyReason::Suspended);
    let active = report(false, registries, vec![namespace("web", ResultKind::Unchanged)]);
    assert!(active.clone().with_left_alone(vec![suspended.clone()]).in_sync);
    let all = active.with_left_alone(vec![
        suspended.clone(),
        ClusterPullSecretReport::invalid("broken", &FieldErrors(vec![mistake])),
    ]);
    assert!(!all.in_sync);
    insta::assert_snapshot!(all, @r"
    images: Secret regcred in each namespace

      REGISTRY  STORE  KEY      VERSION  RESULT
      ghcr.io   vault  ci/ghcr  7        Fetched

      NAMESPACES  RESULT     REASON  SERVICEACCOUNTS
      web         unchanged  -       1 unchanged

    paused: left unchanged

      Suspended: `suspend` is true: nothing is read and nothing is written.

    broken: left unchanged

      ! Invalid: spec.registries[0].from.store: no store has this name; known: vault

    1 namespace: 1 unchanged; 2 ClusterPullSecrets were left unchanged
    ");
    let nothing = Report::new(false, vec![suspended]);
    assert_eq!(nothing.summary, "nothing was reconciled; 1 ClusterPullSecret was left unchanged");
}

#[test]
fn failed_read_is_reported_with_store_and_key() {
    let message = "store vault, key ci/ghcr: the Vault is sealed";
    let registries = vec![registry("ghcr.io", None, FetchedReason::Sealed, Some(message))];
    insta::assert_snapshot!(report(false, registries, Vec::new()), @r"
    images: Secret regcred in each namespace

      REGISTRY  STORE  KEY      VERSION  RESULT
      ghcr.io   vault  ci/ghcr  -        Sealed

      ! ghcr.io: Sealed: store vault, key ci/ghcr: the Vault is sealed; existing entries are kept

    no namespace is selected; 1 registry could not be read
    ");
}

#[test]
fn no_entry_is_kept_where_the_store_denies_the_host() {
    let message =
        "store vault, key ci/ghcr: not allowed by the store's `hosts`: ghcr.io; its entries are removed";
    let sealed = registry("quay.io", None, FetchedReason::Sealed, Some("the Vault is sealed"));
    let denied = RegistryReport {
        is_host_denied: true,
        ..registry("ghcr.io", None, FetchedReason::NotAllowed, Some(message))
    };
    let text = report(false, vec![denied, sealed], Vec::new()).to_string();
    assert!(text.contains(&format!("! ghcr.io: NotAllowed: {message}\n")), "{text}");
    assert!(text.contains("! quay.io: Sealed: the Vault is sealed; existing entries are kept\n"), "{text}");
}

#[test]
fn no_entry_is_kept_where_none_existed() {
    let message = "store vault, key ci/ghcr: not found";
    let registries = vec![registry("ghcr.io", None, FetchedReason::NotFound, Some(message))];
    let none = NoContent::NoCredential;
    let namespace = NamespaceReport::no_content(&"web".into(), none.reason(), none.to_string());
    let text = report(false, registries, vec![namespace]).to_string();
    assert!(text.contains(&format!("! ghcr.io: NotFound: {message}\n")), "{text}");
    assert!(text.contains("no earlier credential") && !text.contains("are kept"), "{text}");
}

#[test]
fn blocked_cluster_pull_secret_is_not_called_unselected() {
    let registries = vec![registry("ghcr.io", Some("7"), FetchedReason::Fetched, None)];
    let mut blocked = report(false, registries, Vec::new()).cluster_pull_secrets;
    for (reason, summary) in [
        (AppliedReason::Forbidden, "no namespace was reconciled"),
        (AppliedReason::NothingSelected, "no namespace is selected"),
    ] {
        blocked[0].problems = vec![Problem { reason: reason.into(), message: String::new() }];
        assert_eq!(Report::new(false, blocked.clone()).summary, summary);
    }
}

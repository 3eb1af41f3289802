//! Carrying out a plan.
//!
//! In goes a [`Plan`], out comes a [`Report`]. Namespaces are worked on side by side, at most as many
//! as `concurrency`, and each makes one request at a time; one that fails does not stop the others.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use kube::Client;
use tracing::{debug, info};

use super::execute::{self, Applied, Placed};
use super::plan::{ClusterPullSecretPlan, NamespacePlan, Plan};
use super::target::{Action, Target};
use super::{Progress, Watcher};
use crate::cluster::ownership::Ownership;
use crate::manifest::status::reason::AppliedReason;
use crate::patcher;
use crate::report::diff;
use crate::report::{ClusterPullSecretReport, NamespaceReport, Report, ResultKind, ServiceAccountReport};
use crate::rotator::{Decision, Outcome};

/// Writes what the plan says, and reports what became of it. When the watcher says to stop, what is
/// under way is finished and nothing else is begun.
pub async fn apply(client: &Client, plan: Plan, concurrency: usize, watcher: &Watcher<'_>) -> Report {
    let Plan { cluster_pull_secrets, namespaces } = plan;
    let has_work = |it: &NamespacePlan| it.targets.iter().any(|target| it.has_work(target));
    (watcher.tell)(Progress::Planned(namespaces.iter().filter(|it| has_work(it)).count()));
    let apply_one = |namespace: NamespacePlan| async {
        let has_work = has_work(&namespace);
        if has_work && watcher.is_stopping() {
            return interrupted(&namespace);
        }
        let Applied { reports, .. } = execute::apply(client, namespace).await;
        if has_work {
            (watcher.tell)(Progress::Finished);
            for (index, report) in &reports {
                log(report, &cluster_pull_secrets[*index].owner);
            }
        }
        reports
    };
    let reports = stream::iter(namespaces).map(apply_one).buffer_unordered(concurrency).collect().await;
    assemble(false, cluster_pull_secrets, reports)
}

/// Reports what [`apply`] would do, and what would change, without a write.
#[must_use]
pub fn dry_run(plan: Plan) -> Report {
    let Plan { cluster_pull_secrets, namespaces } = plan;
    let dry_run_one = |namespace: &NamespacePlan| {
        let targets = namespace.targets.iter();
        targets.map(|target| (target.cluster_pull_secret, dry_run_target(namespace, target))).collect()
    };
    let reports = namespaces.iter().map(dry_run_one).collect();
    assemble(true, cluster_pull_secrets, reports)
}

fn assemble(
    dry_run: bool,
    cluster_pull_secrets: Vec<ClusterPullSecretPlan>,
    reports: Vec<Vec<Placed>>,
) -> Report {
    let mut by_pull_secret: BTreeMap<usize, Vec<NamespaceReport>> = BTreeMap::new();
    for (index, report) in reports.into_iter().flatten() {
        by_pull_secret.entry(index).or_default().push(report);
    }
    let report = |(index, ClusterPullSecretPlan { owner, registries, problems })| {
        let mut namespaces = by_pull_secret.remove(&index).unwrap_or_default();
        namespaces.sort_by(|a, b| a.namespace.cmp(&b.namespace));
        let (name, secret_name) = (owner.cluster_pull_secret.clone(), owner.secret_name.clone());
        ClusterPullSecretReport { name, secret_name, left_alone: None, problems, registries, namespaces }
    };
    Report::new(dry_run, cluster_pull_secrets.into_iter().enumerate().map(report).collect())
}

fn interrupted(namespace: &NamespacePlan) -> Vec<Placed> {
    let report = |target: &Target| {
        let mut report = NamespaceReport::new(namespace.name.clone(), ResultKind::Failed);
        report
            .explain(AppliedReason::Interrupted, "not reached before the interruption: run again".to_owned());
        (target.cluster_pull_secret, report)
    };
    namespace.targets.iter().map(report).collect()
}

/// What carrying out a target would make of it.
#[must_use]
pub fn dry_run_target(plan: &NamespacePlan, target: &Target) -> NamespaceReport {
    let namespace = plan.name.as_str();
    let Target { owner, step, previous, .. } = target;
    let mut report = match step {
        Action::Terminating => NamespaceReport::terminating(namespace),
        Action::NoCredential => NamespaceReport::no_credential(namespace),
        Action::None => NamespaceReport::new(namespace.to_owned(), ResultKind::Removed),
        Action::Read => NamespaceReport::new(namespace.to_owned(), ResultKind::Unchanged),
        Action::Apply { secret: Decision::Unchanged, .. } => {
            NamespaceReport::of_secret(namespace, Ok(Outcome::Unchanged))
        }
        Action::Apply { secret: Decision::Refuse(refusal), .. } => {
            NamespaceReport::of_secret(namespace, Ok(Outcome::Refused(refusal.clone())))
        }
        Action::Apply { secret: Decision::Create, content, .. } => {
            let mut report = NamespaceReport::of_secret(namespace, Ok(Outcome::Created));
            report.changes = diff::of_secret(None, content);
            report
        }
        Action::Apply { secret: Decision::Read | Decision::Update { .. }, content, .. } => {
            let observed = plan.secrets.get(&owner.secret_name);
            let mut report = NamespaceReport::of_secret(namespace, Ok(Outcome::Updated));
            report.changes = diff::of_secret(observed, content);
            report
        }
        Action::Prune { .. } => {
            let mut report = NamespaceReport::new(namespace.to_owned(), ResultKind::Removed);
            report.changes.push(diff::Change::SecretRemoved);
            report
        }
    };
    for (owner, entry_change) in target.entry_changes() {
        let change = plan.change(entry_change, owner);
        let outcome = if change.is_some() { patcher::Outcome::Patched } else { patcher::Outcome::Unchanged };
        report.add_service_account(&entry_change.service_account, Ok(outcome));
        report.changes.extend(change.map(|_| {
            diff::of_reference(&entry_change.service_account, entry_change.wanted, &owner.secret_name)
        }));
    }
    report.changes.extend(previous.iter().map(|_| diff::Change::SecretRemoved));
    if let Action::Apply { missing, .. } = step {
        report.miss(missing.clone());
    }
    report
}

/// Tells what became of a target that something was done about.
pub fn log(report: &NamespaceReport, owner: &Ownership) {
    let NamespaceReport { namespace, result, reason, message, service_accounts, .. } = report;
    let (cluster_pull_secret, secret) = (&owner.cluster_pull_secret, &owner.secret_name);
    if let (Some(reason), Some(message)) = (reason, message) {
        info!(%cluster_pull_secret, %namespace, %secret, %result, %reason, "target not in sync: {message}");
    } else {
        info!(%cluster_pull_secret, %namespace, %secret, %result, "target written");
    }
    for ServiceAccountReport { name, result } in service_accounts {
        debug!(%cluster_pull_secret, %namespace, service_account = name, %result, "ServiceAccount looked at");
    }
}

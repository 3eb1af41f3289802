//! Carries out a plan.
//!
//! In goes a [`Plan`], out comes a [`Report`]. At most `concurrency` namespaces are worked on at once,
//! each with one request at a time; a failure in one does not stop the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use kube::Client;
use tracing::{debug, info};

use super::execute::{self, Applied, IndexedReport};
use super::given_up::GivenUp;
use super::plan::{ClusterPullSecretPlan, NamespacePlan, Plan};
use super::progress::{Monitor, Progress};
use super::target::{Action, Target};
use super::unread::Unread;
use crate::cluster::ownership::Ownership;
use crate::cluster::ownership::owned_secrets::OwnedSecrets;
use crate::manifest::status::reason::AppliedReason;
use crate::object_name::NamespaceName;
use crate::patcher;
use crate::report::diff::{self, PlannedChange};
use crate::report::{ClusterPullSecretReport, NamespaceReport, Report, ResultKind, ServiceAccountReport};
use crate::rotator::{Decision, Outcome};

/// Writes the plan, reports the results, and records the Secrets that were written. After a stop signal the namespaces in flight are finished and
/// no other is started.
pub(super) async fn apply(
    client: &Client,
    plan: Plan,
    concurrency: usize,
    monitor: &Monitor<'_>,
    unread: &Unread<'_>,
    owned: &mut OwnedSecrets,
) -> Report {
    let Plan { mut cluster_pull_secrets, namespaces } = plan;
    (monitor.on_progress)(Progress::Planned(namespaces.iter().filter(|it| it.has_any_work()).count()));
    let owners = cluster_pull_secrets.iter().map(|it| Arc::clone(&it.owner)).collect::<Vec<_>>();
    let mut results = stream::iter(namespaces)
        .map(|namespace| apply_one(client, &owners, namespace, monitor, unread))
        .buffer_unordered(concurrency);
    let (mut reports, mut given_up) = (Vec::new(), GivenUp::default());
    while let Some((namespace, applied, replaced)) = results.next().await {
        applied.record_writes(&namespace, owned);
        given_up.extend(replaced);
        reports.push(applied.reports);
    }
    drop(results);
    given_up.report(&mut cluster_pull_secrets);
    build_report(false, cluster_pull_secrets, reports)
}

async fn apply_one(
    client: &Client,
    owners: &[Arc<Ownership>],
    namespace: NamespacePlan,
    monitor: &Monitor<'_>,
    unread: &Unread<'_>,
) -> (NamespaceName, Applied, GivenUp) {
    let (name, has_work, mut given_up) =
        (namespace.name.clone(), namespace.has_any_work(), GivenUp::default());
    if has_work && monitor.is_stopping() {
        let reports = namespace.targets.iter().map(|target| interrupted(&namespace, target)).collect();
        return (name, Applied::without_requests(reports), given_up);
    }
    let namespace = unread.decide(namespace).await;
    given_up.add(&namespace);
    let applied = execute::execute(client, namespace).await;
    if has_work {
        (monitor.on_progress)(Progress::Finished);
        for (index, report) in &applied.reports {
            log(report, &owners[*index]);
        }
    }
    (name, applied, given_up)
}

fn interrupted(namespace: &NamespacePlan, target: &Target) -> IndexedReport {
    let mut report = NamespaceReport::new(namespace.name.clone(), ResultKind::Failed);
    report.explain(
        AppliedReason::Interrupted,
        "interrupted before this namespace was reached. Run again".to_owned(),
    );
    (target.cluster_pull_secret, report)
}

/// Reports the results that [`apply`] would have, and the changes, without a write.
pub(super) async fn dry_run(plan: Plan, concurrency: usize, unread: &Unread<'_>) -> Report {
    let Plan { mut cluster_pull_secrets, namespaces } = plan;
    let mut plans = stream::iter(namespaces).map(|namespace| unread.compare(namespace)).buffered(concurrency);
    let (mut reports, mut given_up) = (Vec::new(), GivenUp::default());
    while let Some(namespace) = plans.next().await {
        given_up.add(&namespace);
        let targets = namespace.targets.iter();
        let targets = targets.map(|target| (target.cluster_pull_secret, dry_run_target(&namespace, target)));
        reports.push(targets.collect());
    }
    drop(plans);
    given_up.report(&mut cluster_pull_secrets);
    build_report(true, cluster_pull_secrets, reports)
}

fn build_report(
    dry_run: bool,
    cluster_pull_secrets: Vec<ClusterPullSecretPlan>,
    reports: Vec<Vec<IndexedReport>>,
) -> Report {
    let mut by_index: BTreeMap<usize, Vec<NamespaceReport>> = BTreeMap::new();
    for (index, report) in reports.into_iter().flatten() {
        by_index.entry(index).or_default().push(report);
    }
    let reports = cluster_pull_secrets.into_iter().enumerate().map(|(index, plan)| {
        let ClusterPullSecretPlan { owner, registries, problems } = plan;
        let mut namespaces = by_index.remove(&index).unwrap_or_default();
        namespaces.sort_by(|a, b| a.namespace.cmp(&b.namespace));
        let (name, secret_name) = (owner.cluster_pull_secret.clone(), owner.secret_name.clone());
        ClusterPullSecretReport { name, secret_name, left_alone: None, problems, registries, namespaces }
    });
    Report::new(dry_run, reports.collect())
}

/// Returns the report that a target would have, with the changes.
#[must_use]
pub fn dry_run_target(plan: &NamespacePlan, target: &Target) -> NamespaceReport {
    let namespace = &plan.name;
    let Target { owner, action, previous, .. } = target;
    let mut report = match action {
        Action::Terminating => NamespaceReport::terminating(namespace),
        Action::NoContent(no_content) => {
            NamespaceReport::no_content(namespace, no_content.reason(), no_content.to_string())
        }
        Action::None => NamespaceReport::new(namespace.clone(), ResultKind::Removed),
        Action::Read { .. } => NamespaceReport::new(namespace.clone(), ResultKind::Unchanged),
        Action::Apply { secret: Decision::Unchanged, .. } => {
            NamespaceReport::from_outcome(namespace, Ok(Outcome::Unchanged))
        }
        Action::Apply { secret: Decision::Refuse(refusal), .. } => {
            NamespaceReport::from_outcome(namespace, Ok(Outcome::Refused(refusal.clone())))
        }
        Action::Apply { secret: Decision::Outdated(conflict), .. } => {
            NamespaceReport::from_outcome(namespace, Ok(Outcome::Outdated(conflict.clone())))
        }
        Action::Apply { secret: Decision::Create, content, .. } => {
            let mut report = NamespaceReport::from_outcome(namespace, Ok(Outcome::Created));
            report.changes = diff::secret_changes(None, content);
            report
        }
        Action::Apply { secret: Decision::Read | Decision::Update { .. }, content, .. } => {
            let observed = plan.secrets.get(&owner.secret_name);
            let mut report = NamespaceReport::new(namespace.clone(), ResultKind::Updated);
            report.changes = diff::secret_changes(observed, content);
            report
        }
        Action::Prune { .. } => {
            let mut report = NamespaceReport::new(namespace.clone(), ResultKind::Removed);
            report.changes.extend(secret_removed(plan, owner));
            report
        }
    };
    for (owner, entry_change) in target.entry_changes() {
        let service_account = &entry_change.service_account;
        let outcome = match plan.decide_entry(entry_change, owner) {
            patcher::Decision::Unchanged => Ok(patcher::Outcome::Unchanged),
            patcher::Decision::Read | patcher::Decision::Patch(_) => Ok(patcher::Outcome::Patched),
            patcher::Decision::Malformed => Err(patcher::malformed()),
        };
        if outcome == Ok(patcher::Outcome::Patched) {
            let change = PlannedChange::from_entry(service_account, entry_change.desired, &owner.secret_name);
            report.changes.push(change);
        }
        report.add_service_account(service_account, outcome);
    }
    report.changes.extend(previous.iter().filter_map(|it| secret_removed(plan, &it.owner)));
    if let Action::Apply { missing, content, .. } = action {
        report.set_missing_service_accounts(missing.clone());
        report.withhold(&content.withheld);
    }
    report.set_shortfall(target.shortfall.as_ref());
    report
}

/// Returns the removal of a Secret that is regcred's. Beside one of another owner only the entries go.
fn secret_removed(plan: &NamespacePlan, owner: &Ownership) -> Option<PlannedChange> {
    let secret = plan.secrets.get(&owner.secret_name)?;
    secret.is_created_for(&owner.cluster_pull_secret).then_some(PlannedChange::SecretRemoved)
}

/// Logs the result of a target that was worked on.
pub fn log(report: &NamespaceReport, owner: &Ownership) {
    let NamespaceReport { namespace, result, reason, message, service_accounts, .. } = report;
    let (cluster_pull_secret, secret) = (&owner.cluster_pull_secret, &owner.secret_name);
    if let (Some(reason), Some(message)) = (reason, message) {
        info!(%cluster_pull_secret, %namespace, %secret, %result, %reason, "target not in sync: {message}");
    } else {
        info!(%cluster_pull_secret, %namespace, %secret, %result, "target written");
    }
    for ServiceAccountReport { name, result } in service_accounts {
        debug!(%cluster_pull_secret, %namespace, service_account = name, %result, "ServiceAccount processed");
    }
}

//! Carrying out a plan.
//!
//! In goes a [`Plan`], out comes a [`Report`]. Namespaces are worked on side by side, at most as many
//! as `concurrency`, and each makes one request at a time; one that fails does not stop the others.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use kube::Client;
use tracing::{debug, info};

use super::plan::{NamespacePlan, Plan, PullSecretPlan};
use super::target::{Step, Target, Wish};
use super::{Progress, Watcher};
use crate::cluster;
use crate::cluster::{Secret, ServiceAccount};
use crate::metrics::{WriteKind, WriteOutcome};
use crate::patcher;
use crate::report::diff;
use crate::report::{NamespaceReport, PullSecretReport, Report, ResultKind, ServiceAccountReport};
use crate::rotator::{self, Decision, Outcome, Owner};

/// Writes what the plan says, and reports what became of it. When the watcher says to stop, what is
/// under way is finished and nothing else is begun.
pub async fn apply(client: &Client, plan: Plan, concurrency: usize, watcher: &Watcher<'_>) -> Report {
    let Plan { pull_secrets, namespaces } = plan;
    let has_work = |it: &NamespacePlan| it.targets.iter().any(|target| it.has_work(target));
    (watcher.tell)(Progress::Planned(namespaces.iter().filter(|it| has_work(it)).count()));
    let apply_one = |namespace: NamespacePlan| async {
        let has_work = has_work(&namespace);
        if has_work && watcher.is_stopping() {
            return interrupted(&namespace);
        }
        let Applied { reports, .. } = apply_namespace(client, namespace).await;
        if has_work {
            (watcher.tell)(Progress::Finished);
            for (index, report) in &reports {
                log(report, &pull_secrets[*index].owner);
            }
        }
        reports
    };
    let reports = stream::iter(namespaces).map(apply_one).buffer_unordered(concurrency).collect().await;
    assemble(false, pull_secrets, reports)
}

/// Reports what [`apply`] would do, and what would change, without a write.
#[must_use]
pub fn pretend(plan: Plan) -> Report {
    let Plan { pull_secrets, namespaces } = plan;
    let pretend_one = |namespace: &NamespacePlan| {
        let targets = namespace.targets.iter();
        targets.map(|target| (target.pull_secret, pretend_target(namespace, target))).collect()
    };
    let reports = namespaces.iter().map(pretend_one).collect();
    assemble(true, pull_secrets, reports)
}

/// A report with the place of its pull secret.
type Placed = (usize, NamespaceReport);

fn assemble(dry_run: bool, pull_secrets: Vec<PullSecretPlan>, reports: Vec<Vec<Placed>>) -> Report {
    let mut by_pull_secret: BTreeMap<usize, Vec<NamespaceReport>> = BTreeMap::new();
    for (index, report) in reports.into_iter().flatten() {
        by_pull_secret.entry(index).or_default().push(report);
    }
    let report = |(index, PullSecretPlan { owner, registries, problems })| {
        let mut namespaces = by_pull_secret.remove(&index).unwrap_or_default();
        namespaces.sort_by(|a, b| a.namespace.cmp(&b.namespace));
        let (name, secret_name) = (owner.pull_secret.clone(), owner.secret_name.clone());
        PullSecretReport { name, secret_name, left_alone: None, problems, registries, namespaces }
    };
    Report::new(dry_run, pull_secrets.into_iter().enumerate().map(report).collect())
}

fn interrupted(namespace: &NamespacePlan) -> Vec<Placed> {
    let report = |target: &Target| {
        let mut report = NamespaceReport::new(namespace.name.clone(), ResultKind::Failed);
        report.explain("Interrupted", "not reached before the interruption: run again".to_owned());
        (target.pull_secret, report)
    };
    namespace.targets.iter().map(report).collect()
}

/// What became of the plan for one namespace.
pub struct Applied {
    /// A report for each target.
    pub reports: Vec<Placed>,
    /// The Secrets that are not any more what the plan took them for.
    pub secrets: BTreeMap<String, Left<Secret>>,
    /// The ServiceAccounts that are not.
    pub service_accounts: BTreeMap<String, Left<ServiceAccount>>,
    /// A Secret was read for the first time: it has to be decided on anew.
    pub is_read: bool,
    /// Every write that was tried.
    pub writes: Vec<(WriteKind, WriteOutcome)>,
}

/// An object that was written, or found to be another one.
#[derive(Debug)]
pub struct Left<T> {
    /// The `resourceVersion` that the plan took it for; empty where it was not there.
    pub before: String,
    /// What the cluster holds now; `None` where it is gone.
    pub now: Option<T>,
}

/// Carries out the plan for one namespace, a request at a time.
pub async fn apply_namespace(client: &Client, plan: NamespacePlan) -> Applied {
    let NamespacePlan { name, secrets, service_accounts, targets } = plan;
    // With the body that was read, a Secret is another one than by its metadata.
    let secret_key = |it: &Secret| (it.resource_version.clone(), it.body.is_some());
    let secrets_before: BTreeMap<_, _> =
        secrets.iter().map(|(name, it)| (name.clone(), secret_key(it))).collect();
    let accounts_before: BTreeMap<_, _> =
        service_accounts.iter().map(|(name, it)| (name.clone(), it.resource_version.clone())).collect();
    let mut site = Site {
        client,
        namespace: &name,
        secrets: secrets.into_iter().map(|(name, it)| (name, Some(it))).collect(),
        service_accounts: service_accounts.into_iter().map(|(name, it)| (name, Some(it))).collect(),
        writes: Vec::new(),
        is_read: false,
    };
    let mut reports = Vec::new();
    for Target { pull_secret, owner, step, former } in targets {
        let mut report = site.apply(step, &owner).await;
        for former in former {
            if report.is_done() {
                site.leave(&former.wishes, &former.owner, &mut report).await;
            }
        }
        reports.push((pull_secret, report));
    }
    let Site { secrets, service_accounts, writes, is_read, .. } = site;
    let secrets = secrets.into_iter().filter_map(|(name, now)| {
        let before = secrets_before.get(&name);
        let is_other = before != now.as_ref().map(secret_key).as_ref();
        let before = before.map(|(version, _)| version.clone()).unwrap_or_default();
        is_other.then_some((name, Left { before, now }))
    });
    let service_accounts = service_accounts.into_iter().filter_map(|(name, now)| {
        let before = accounts_before.get(&name).cloned().unwrap_or_default();
        let is_other = now.as_ref().is_none_or(|it| it.resource_version != before);
        is_other.then_some((name, Left { before, now }))
    });
    Applied {
        secrets: secrets.collect(),
        service_accounts: service_accounts.collect(),
        reports,
        writes,
        is_read,
    }
}

/// Where steps are carried out, and what is there.
struct Site<'a> {
    client: &'a Client,
    namespace: &'a str,
    secrets: BTreeMap<String, Option<Secret>>,
    service_accounts: BTreeMap<String, Option<ServiceAccount>>,
    writes: Vec<(WriteKind, WriteOutcome)>,
    is_read: bool,
}

impl Site<'_> {
    async fn apply(&mut self, step: Step, owner: &Owner) -> NamespaceReport {
        let Self { client, namespace, .. } = *self;
        match step {
            Step::Terminating => NamespaceReport::terminating(namespace),
            Step::NoCredential => NamespaceReport::no_credential(namespace),
            Step::Absent => NamespaceReport::new(namespace.to_owned(), ResultKind::Removed),
            Step::Look => self.look(owner).await,
            Step::Keep { secret: Decision::Refuse(refusal), .. } => {
                NamespaceReport::of_secret(namespace, Ok(Outcome::Refused(refusal)))
            }
            Step::Keep { content, heir_of, wishes, missing, .. } => {
                let observed = self.secrets.entry(owner.secret_name.clone()).or_default();
                let outcome =
                    rotator::act(client, namespace, observed, &content, owner, heir_of.as_deref()).await;
                self.writes.extend(match &outcome {
                    Ok(Outcome::Unchanged | Outcome::Refused(_)) => None,
                    Ok(Outcome::Created) => Some((WriteKind::Secret, WriteOutcome::Created)),
                    Ok(Outcome::Updated) => Some((WriteKind::Secret, WriteOutcome::Updated)),
                    Err(_) => Some((WriteKind::Secret, WriteOutcome::Failed)),
                });
                let is_refused = matches!(outcome, Ok(Outcome::Refused(_)) | Err(_));
                let mut report = NamespaceReport::of_secret(namespace, outcome);
                if !is_refused {
                    self.grant(&wishes, owner, &mut report).await;
                    report.miss(missing);
                }
                report
            }
            Step::Leave { wishes } => {
                let mut report = NamespaceReport::new(namespace.to_owned(), ResultKind::Removed);
                self.leave(&wishes, owner, &mut report).await;
                report
            }
        }
    }

    /// Reads the Secret, so that it can be decided what of it is to be kept.
    async fn look(&mut self, owner: &Owner) -> NamespaceReport {
        let Self { client, namespace, .. } = *self;
        let mut report = NamespaceReport::new(namespace.to_owned(), ResultKind::Unchanged);
        match cluster::secret(client, namespace, &owner.secret_name).await {
            Ok(secret) => {
                self.secrets.insert(owner.secret_name.clone(), secret);
                self.is_read = true;
            }
            Err(error) => report.fail(&error, &error.to_string()),
        }
        report
    }

    /// A ServiceAccount that still names the Secret keeps it: pods would report it missing.
    async fn leave(&mut self, wishes: &[Wish], owner: &Owner, report: &mut NamespaceReport) {
        self.grant(wishes, owner, report).await;
        if report.is_done() {
            let Self { client, namespace, .. } = *self;
            let observed = self.secrets.entry(owner.secret_name.clone()).or_default();
            let was_there = observed.is_some();
            match rotator::remove(client, namespace, observed, owner).await {
                Ok(()) if was_there => {
                    let (pull_secret, secret) = (&owner.pull_secret, &owner.secret_name);
                    info!(%pull_secret, %namespace, %secret, "Secret removed");
                    self.writes.push((WriteKind::Secret, WriteOutcome::Removed));
                }
                Ok(()) => {}
                Err(error) => {
                    self.writes.push((WriteKind::Secret, WriteOutcome::Failed));
                    report.fail(&error, &error.to_string());
                }
            }
        }
    }

    async fn grant(&mut self, wishes: &[Wish], owner: &Owner, report: &mut NamespaceReport) {
        let Self { client, namespace, .. } = *self;
        for Wish { service_account: name, wanted } in wishes {
            let Some(slot) = self.service_accounts.get_mut(name) else { continue };
            let Some(observed) = slot else { continue };
            let outcome = patcher::act(client, namespace, name, observed, owner, *wanted).await;
            match &outcome {
                Ok(patcher::Outcome::Unchanged) => {}
                Ok(patcher::Outcome::Gone) => *slot = None,
                Ok(patcher::Outcome::Patched) => {
                    self.writes.push((WriteKind::ServiceAccount, WriteOutcome::Updated));
                }
                Err(_) => self.writes.push((WriteKind::ServiceAccount, WriteOutcome::Failed)),
            }
            report.add_service_account(name, outcome);
        }
    }
}

/// What carrying out a target would make of it.
#[must_use]
pub fn pretend_target(plan: &NamespacePlan, target: &Target) -> NamespaceReport {
    let namespace = plan.name.as_str();
    let Target { owner, step, former, .. } = target;
    let mut report = match step {
        Step::Terminating => NamespaceReport::terminating(namespace),
        Step::NoCredential => NamespaceReport::no_credential(namespace),
        Step::Absent => NamespaceReport::new(namespace.to_owned(), ResultKind::Removed),
        Step::Look => NamespaceReport::new(namespace.to_owned(), ResultKind::Unchanged),
        Step::Keep { secret: Decision::Unchanged, .. } => {
            NamespaceReport::of_secret(namespace, Ok(Outcome::Unchanged))
        }
        Step::Keep { secret: Decision::Refuse(refusal), .. } => {
            NamespaceReport::of_secret(namespace, Ok(Outcome::Refused(refusal.clone())))
        }
        Step::Keep { secret: Decision::Create, content, .. } => {
            let mut report = NamespaceReport::of_secret(namespace, Ok(Outcome::Created));
            report.changes = diff::of_secret(None, content);
            report
        }
        Step::Keep { secret: Decision::Read | Decision::Update { .. }, content, .. } => {
            let observed = plan.secrets.get(&owner.secret_name);
            let mut report = NamespaceReport::of_secret(namespace, Ok(Outcome::Updated));
            report.changes = diff::of_secret(observed, content);
            report
        }
        Step::Leave { .. } => {
            let mut report = NamespaceReport::new(namespace.to_owned(), ResultKind::Removed);
            report.changes.push(diff::Change::SecretRemoved);
            report
        }
    };
    for (owner, wish) in target.wishes() {
        let change = plan.change(wish, owner);
        let outcome = if change.is_some() { patcher::Outcome::Patched } else { patcher::Outcome::Unchanged };
        report.add_service_account(&wish.service_account, Ok(outcome));
        report.changes.extend(change.map(|_| diff::of_wish(wish, &owner.secret_name)));
    }
    report.changes.extend(former.iter().map(|_| diff::Change::SecretRemoved));
    if let Step::Keep { missing, .. } = step {
        report.miss(missing.clone());
    }
    report
}

/// Tells what became of a target that something was done about.
pub fn log(report: &NamespaceReport, owner: &Owner) {
    let NamespaceReport { namespace, result, reason, message, service_accounts, .. } = report;
    let (pull_secret, secret) = (&owner.pull_secret, &owner.secret_name);
    if let (Some(reason), Some(message)) = (reason, message) {
        info!(%pull_secret, %namespace, %secret, %result, reason, "target not in sync: {message}");
    } else {
        info!(%pull_secret, %namespace, %secret, %result, "target written");
    }
    for ServiceAccountReport { name, result } in service_accounts {
        debug!(%pull_secret, %namespace, service_account = name, result, "ServiceAccount looked at");
    }
}

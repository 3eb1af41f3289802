//! Carrying out a plan.
//!
//! In goes a [`Plan`], out comes a [`Report`]. Namespaces are worked on side by side, at most as many
//! as `concurrency`, and each makes one request at a time; one that fails does not stop the others.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use kube::Client;
use tracing::{debug, info};

use super::plan::{NamespacePlan, Plan, PullSecretPlan, Step, Target, Wish};
use super::{Progress, Watcher};
use crate::cluster::error::Error;
use crate::cluster::{Secret, ServiceAccount};
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

/// The ServiceAccount that the controller manager makes in every namespace.
const DEFAULT: &str = "default";

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
        PullSecretReport { name, secret_name, problems, registries, namespaces }
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
    /// The Secrets it was about as the cluster holds them now; `None` where there is none.
    pub secrets: BTreeMap<String, Option<Secret>>,
    /// The ServiceAccounts it was about; `None` where it is gone.
    pub service_accounts: BTreeMap<String, Option<ServiceAccount>>,
}

/// Carries out the plan for one namespace, a request at a time.
pub async fn apply_namespace(client: &Client, plan: NamespacePlan) -> Applied {
    let NamespacePlan { name, secrets, service_accounts, targets } = plan;
    let mut site = Site {
        client,
        namespace: &name,
        secrets: secrets.into_iter().map(|(name, it)| (name, Some(it))).collect(),
        service_accounts: service_accounts.into_iter().map(|(name, it)| (name, Some(it))).collect(),
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
    let Site { secrets, service_accounts, .. } = site;
    Applied { reports, secrets, service_accounts }
}

/// Where steps are carried out, and what is there.
struct Site<'a> {
    client: &'a Client,
    namespace: &'a str,
    secrets: BTreeMap<String, Option<Secret>>,
    service_accounts: BTreeMap<String, Option<ServiceAccount>>,
}

impl Site<'_> {
    async fn apply(&mut self, step: Step, owner: &Owner) -> NamespaceReport {
        let Self { client, namespace, .. } = *self;
        match step {
            Step::Terminating => NamespaceReport::terminating(namespace),
            Step::NoCredential => NamespaceReport::no_credential(namespace),
            Step::Absent => NamespaceReport::new(namespace.to_owned(), ResultKind::Removed),
            Step::Keep { secret: Decision::Refuse(refusal), .. } => {
                NamespaceReport::of_secret(namespace, Ok(Outcome::Refused(refusal)))
            }
            Step::Keep { content, heir_of, wishes, missing, .. } => {
                let observed = self.secrets.entry(owner.secret_name.clone()).or_default();
                let outcome =
                    rotator::act(client, namespace, observed, &content, owner, heir_of.as_deref()).await;
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

    /// A ServiceAccount that still names the Secret keeps it: pods would report it missing.
    async fn leave(&mut self, wishes: &[Wish], owner: &Owner, report: &mut NamespaceReport) {
        self.grant(wishes, owner, report).await;
        if report.is_done() {
            let Self { client, namespace, .. } = *self;
            let observed = self.secrets.entry(owner.secret_name.clone()).or_default();
            if let Err(error) = rotator::remove(client, namespace, observed, owner).await {
                report.fail(&error, &error.to_string());
            }
        }
    }

    async fn grant(&mut self, wishes: &[Wish], owner: &Owner, report: &mut NamespaceReport) {
        let Self { client, namespace, .. } = *self;
        for Wish { service_account: name, wanted } in wishes {
            let Some(slot) = self.service_accounts.get_mut(name) else { continue };
            let Some(observed) = slot else { continue };
            let outcome = patcher::act(client, namespace, name, observed, owner, *wanted).await;
            if outcome == Ok(patcher::Outcome::Gone) {
                *slot = None;
            }
            report.add_service_account(name, outcome);
        }
    }
}

fn pretend_target(plan: &NamespacePlan, target: &Target) -> NamespaceReport {
    let namespace = plan.name.as_str();
    let Target { owner, step, former, .. } = target;
    let mut report = match step {
        Step::Terminating => NamespaceReport::terminating(namespace),
        Step::NoCredential => NamespaceReport::no_credential(namespace),
        Step::Absent => NamespaceReport::new(namespace.to_owned(), ResultKind::Removed),
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
    let former_wishes = former.iter().flat_map(|it| it.wishes.iter().map(|wish| (&it.owner, wish)));
    for (owner, wish) in step.wishes().iter().map(|wish| (owner.as_ref(), wish)).chain(former_wishes) {
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

fn log(report: &NamespaceReport, owner: &Owner) {
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

impl NamespaceReport {
    /// Whether everything so far is as it should be.
    fn is_done(&self) -> bool {
        !matches!(self.result, ResultKind::Refused | ResultKind::Failed | ResultKind::Skipped)
    }

    fn terminating(namespace: &str) -> Self {
        let mut report = Self::new(namespace.to_owned(), ResultKind::Skipped);
        report.explain("Terminating", "the namespace is being deleted".to_owned());
        report
    }

    fn no_credential(namespace: &str) -> Self {
        let mut report = Self::new(namespace.to_owned(), ResultKind::Failed);
        report.explain(
            "NoCredential",
            "no registry could be read, and no earlier credential is left in the cluster".to_owned(),
        );
        report
    }

    fn of_secret(namespace: &str, outcome: Result<Outcome, Error>) -> Self {
        let mut report = Self::new(namespace.to_owned(), ResultKind::Unchanged);
        match outcome {
            Ok(Outcome::Unchanged) => {}
            Ok(Outcome::Created) => report.result = ResultKind::Created,
            Ok(Outcome::Updated) => report.result = ResultKind::Updated,
            Ok(Outcome::Refused(refusal)) => {
                report.result = ResultKind::Refused;
                report.explain(refusal.reason(), refusal.to_string());
            }
            Err(error) => report.fail(&error, &error.to_string()),
        }
        report
    }

    /// A terminating namespace is no failure, even when it began to terminate under our hands; of
    /// several failures the first is told.
    fn fail(&mut self, error: &Error, message: &str) {
        if self.result == ResultKind::Failed {
            return;
        }
        self.result = match error {
            Error::NamespaceTerminating => ResultKind::Skipped,
            _ => ResultKind::Failed,
        };
        self.explain(error.reason(), message.to_owned());
    }

    fn explain(&mut self, reason: &'static str, message: String) {
        self.reason = Some(reason);
        self.message = Some(message);
    }

    fn add_service_account(&mut self, name: &str, outcome: Result<patcher::Outcome, Error>) {
        let result = match outcome {
            Ok(patcher::Outcome::Unchanged) => "unchanged",
            Ok(patcher::Outcome::Gone) => "gone",
            Ok(patcher::Outcome::Patched) => {
                if self.result == ResultKind::Unchanged {
                    self.result = ResultKind::Updated;
                }
                "patched"
            }
            Err(error) => {
                self.fail(&error, &format!("ServiceAccount {name}: {error}"));
                "failed"
            }
        };
        self.service_accounts.push(ServiceAccountReport { name: name.to_owned(), result });
    }

    /// Every namespace has a ServiceAccount `default`, a moment after it was made; any other may be
    /// meant for some namespaces only.
    fn miss(&mut self, missing: Vec<String>) {
        if missing.iter().any(|name| name == DEFAULT) && self.result != ResultKind::Failed {
            self.result = ResultKind::Failed;
            let message = "the namespace has no ServiceAccount default yet: run again".to_owned();
            self.explain("ServiceAccountMissing", message);
        }
        self.missing_service_accounts = missing;
    }
}

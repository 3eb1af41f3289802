//! One namespace in which a plan is carried out, a request at a time.
//!
//! In goes a [`NamespacePlan`], out comes [`Applied`]: a report for each target, and what of the namespace
//! is not any more what the plan took it for.

use std::collections::BTreeMap;

use kube::Client;
use tracing::info;

use super::plan::NamespacePlan;
use super::target::{Action, EntryChange, Target};
use crate::cluster::{self, Secret, ServiceAccount};
use crate::metrics::{WriteKind, WriteOutcome};
use crate::patcher;
use crate::report::{NamespaceReport, ResultKind};
use crate::rotator::{self, Decision, Outcome, Ownership};

/// A report with the place of its pull secret.
pub(super) type Placed = (usize, NamespaceReport);

/// What became of the plan for one namespace.
pub struct Applied {
    /// A report for each target.
    pub reports: Vec<Placed>,
    /// The Secrets that are not any more what the plan took them for.
    pub secrets: BTreeMap<String, AfterWrite<Secret>>,
    /// The ServiceAccounts that are not.
    pub service_accounts: BTreeMap<String, AfterWrite<ServiceAccount>>,
    /// A Secret was read for the first time: it has to be decided on anew.
    pub is_read: bool,
    /// Every write that was tried.
    pub writes: Vec<(WriteKind, WriteOutcome)>,
}

/// An object that was written, or found to be another one.
#[derive(Debug)]
pub struct AfterWrite<T> {
    /// The `resourceVersion` that the plan took it for; empty where it was not there.
    pub before: String,
    /// What the cluster holds now; `None` where it is gone.
    pub now: Option<T>,
}

/// Carries out the plan for one namespace, a request at a time.
pub async fn apply(client: &Client, plan: NamespacePlan) -> Applied {
    let NamespacePlan { name, secrets, service_accounts, targets } = plan;
    // With the body that was read, a Secret is another one than by its metadata.
    let secret_key = |it: &Secret| (it.resource_version.clone(), it.body.is_some());
    let secrets_before: BTreeMap<_, _> =
        secrets.iter().map(|(name, it)| (name.clone(), secret_key(it))).collect();
    let accounts_before: BTreeMap<_, _> =
        service_accounts.iter().map(|(name, it)| (name.clone(), it.resource_version.clone())).collect();
    let mut site = NamespaceExecutor {
        client,
        namespace: &name,
        secrets: secrets.into_iter().map(|(name, it)| (name, Some(it))).collect(),
        service_accounts: service_accounts.into_iter().map(|(name, it)| (name, Some(it))).collect(),
        writes: Vec::new(),
        is_read: false,
    };
    let mut reports = Vec::new();
    for Target { cluster_pull_secret, owner, step, previous } in targets {
        let mut report = site.apply(step, &owner).await;
        for previous in previous {
            if report.is_done() {
                site.leave(&previous.entry_changes, &previous.owner, &mut report).await;
            }
        }
        reports.push((cluster_pull_secret, report));
    }
    let NamespaceExecutor { secrets, service_accounts, writes, is_read, .. } = site;
    let secrets = secrets.into_iter().filter_map(|(name, now)| {
        let before = secrets_before.get(&name);
        let is_other = before != now.as_ref().map(secret_key).as_ref();
        let before = before.map(|(version, _)| version.clone()).unwrap_or_default();
        is_other.then_some((name, AfterWrite { before, now }))
    });
    let service_accounts = service_accounts.into_iter().filter_map(|(name, now)| {
        let before = accounts_before.get(&name).cloned().unwrap_or_default();
        let is_other = now.as_ref().is_none_or(|it| it.resource_version != before);
        is_other.then_some((name, AfterWrite { before, now }))
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
struct NamespaceExecutor<'a> {
    client: &'a Client,
    namespace: &'a str,
    secrets: BTreeMap<String, Option<Secret>>,
    service_accounts: BTreeMap<String, Option<ServiceAccount>>,
    writes: Vec<(WriteKind, WriteOutcome)>,
    is_read: bool,
}

impl NamespaceExecutor<'_> {
    async fn apply(&mut self, step: Action, owner: &Ownership) -> NamespaceReport {
        let Self { client, namespace, .. } = *self;
        match step {
            Action::Terminating => NamespaceReport::terminating(namespace),
            Action::NoCredential => NamespaceReport::no_credential(namespace),
            Action::None => NamespaceReport::new(namespace.to_owned(), ResultKind::Removed),
            Action::Read => self.look(owner).await,
            Action::Apply { secret: Decision::Refuse(refusal), .. } => {
                NamespaceReport::of_secret(namespace, Ok(Outcome::Refused(refusal)))
            }
            Action::Apply { content, take_over_from, entry_changes, missing, .. } => {
                let observed = self.secrets.entry(owner.secret_name.clone()).or_default();
                let outcome =
                    rotator::act(client, namespace, observed, &content, owner, take_over_from.as_deref())
                        .await;
                self.writes.extend(match &outcome {
                    Ok(Outcome::Unchanged | Outcome::Refused(_)) => None,
                    Ok(Outcome::Created) => Some((WriteKind::Secret, WriteOutcome::Created)),
                    Ok(Outcome::Updated) => Some((WriteKind::Secret, WriteOutcome::Updated)),
                    Err(_) => Some((WriteKind::Secret, WriteOutcome::Failed)),
                });
                let is_refused = matches!(outcome, Ok(Outcome::Refused(_)) | Err(_));
                let mut report = NamespaceReport::of_secret(namespace, outcome);
                if !is_refused {
                    self.grant(&entry_changes, owner, &mut report).await;
                    report.miss(missing);
                }
                report
            }
            Action::Prune { entry_changes } => {
                let mut report = NamespaceReport::new(namespace.to_owned(), ResultKind::Removed);
                self.leave(&entry_changes, owner, &mut report).await;
                report
            }
        }
    }

    /// Reads the Secret, so that it can be decided what of it is to be kept.
    async fn look(&mut self, owner: &Ownership) -> NamespaceReport {
        let Self { client, namespace, .. } = *self;
        let mut report = NamespaceReport::new(namespace.to_owned(), ResultKind::Unchanged);
        match cluster::get_secret(client, namespace, &owner.secret_name).await {
            Ok(secret) => {
                self.secrets.insert(owner.secret_name.clone(), secret);
                self.is_read = true;
            }
            Err(error) => report.fail(&error, &error.to_string()),
        }
        report
    }

    /// A ServiceAccount that still names the Secret keeps it: pods would report it missing.
    async fn leave(
        &mut self,
        entry_changes: &[EntryChange],
        owner: &Ownership,
        report: &mut NamespaceReport,
    ) {
        self.grant(entry_changes, owner, report).await;
        if report.is_done() {
            let Self { client, namespace, .. } = *self;
            let observed = self.secrets.entry(owner.secret_name.clone()).or_default();
            let was_there = observed.is_some();
            match rotator::remove(client, namespace, observed, owner).await {
                Ok(()) if was_there => {
                    let (cluster_pull_secret, secret) = (&owner.cluster_pull_secret, &owner.secret_name);
                    info!(%cluster_pull_secret, %namespace, %secret, "Secret removed");
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

    async fn grant(
        &mut self,
        entry_changes: &[EntryChange],
        owner: &Ownership,
        report: &mut NamespaceReport,
    ) {
        let Self { client, namespace, .. } = *self;
        for EntryChange { service_account: name, wanted } in entry_changes {
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

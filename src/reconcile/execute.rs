//! Executes the plan for one namespace, one request at a time.
//!
//! In goes a [`NamespacePlan`], out comes [`Applied`]: a report for each target, and the objects that differ
//! from those that the plan was made for.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use tracing::info;

use super::entry_change::EntryChange;
use super::plan::NamespacePlan;
use super::target::{Action, Target};
use crate::cluster::ownership::Ownership;
use crate::cluster::ownership::owned_secrets::OwnedSecrets;
use crate::cluster::{Secret, ServiceAccount};
use crate::metrics::{WriteKind, WriteOutcome};
use crate::object_map::ObjectMap;
use crate::object_name::{NamespaceName, SecretName};
use crate::patcher::{self, DesiredEntry};
use crate::report::{NamespaceReport, ResultKind};
use crate::rotator::{self, Decision, Difference, Outcome};

/// A report with the index of its ClusterPullSecret.
pub(super) type IndexedReport = (usize, NamespaceReport);

/// The results of the plan for one namespace.
pub struct Applied {
    /// A report for each target.
    pub reports: Vec<IndexedReport>,
    /// The Secrets that differ from the plan's.
    pub secrets: ObjectMap<SecretName, AfterWrite<Secret>>,
    /// The ServiceAccounts that differ from the plan's.
    pub service_accounts: ObjectMap<String, AfterWrite<ServiceAccount>>,
    /// True if a Secret was read for the first time, so the target has to be decided again.
    pub is_read: bool,
    /// The writes that were attempted.
    pub writes: Vec<(WriteKind, WriteOutcome)>,
    /// The part of the Secret that was changed; `None` where it was not written.
    pub difference: Option<Difference>,
    /// The ServiceAccounts that regcred's record was in, and its entry was not: a list that is too long to be kept does
    /// not show the revert before it is read.
    pub restored_entries: Vec<(String, SecretName)>,
}

/// The state of an object that was written or was found to differ from the plan's.
#[derive(Debug)]
pub struct AfterWrite<T> {
    /// The `resourceVersion` that the plan was made for; empty where the object did not exist.
    pub before: String,
    /// The object in the cluster now; `None` where it is gone.
    pub now: Option<T>,
    /// True if this process wrote it last.
    pub is_written: bool,
}

impl Applied {
    /// Creates the results of a namespace in which nothing was requested.
    pub(super) fn without_requests(reports: Vec<IndexedReport>) -> Self {
        Self {
            reports,
            secrets: ObjectMap::default(),
            service_accounts: ObjectMap::default(),
            is_read: false,
            writes: Vec::new(),
            difference: None,
            restored_entries: Vec::new(),
        }
    }

    /// Returns the Secrets that differ from the plan's, as they are now.
    #[must_use]
    pub fn observed_secrets(&self) -> BTreeMap<SecretName, Secret> {
        let secrets = self.secrets.iter();
        secrets.filter_map(|(name, it)| Some((name.clone(), it.now.clone()?))).collect()
    }

    /// Returns true if an object was read, apart from what was written.
    #[must_use]
    pub fn has_read(&self) -> bool {
        self.is_read || !self.secrets.is_empty() || !self.service_accounts.is_empty()
    }

    /// Records the Secrets that were written or removed.
    pub fn record_writes(&self, namespace: &NamespaceName, owned: &mut OwnedSecrets) {
        for (name, AfterWrite { now, is_written, .. }) in self.secrets.iter() {
            match now {
                None => owned.remove(namespace, name),
                Some(secret) if *is_written => {
                    if let Some(owner) = secret.evidence.owner() {
                        owned.record_write(namespace, name, owner, &secret.uid);
                    }
                }
                Some(_) => {}
            }
        }
    }
}

/// Executes the plan for one namespace, one request at a time.
pub async fn execute(client: &Client, plan: NamespacePlan) -> Applied {
    let NamespacePlan { name, secrets, service_accounts, targets } = plan;
    let secrets_before: ObjectMap<_, _> =
        secrets.iter().map(|(name, it)| (name.clone(), secret_key(it))).collect();
    let accounts_before = service_accounts.clone();
    let mut executor = NamespaceExecutor {
        client,
        namespace: &name,
        secrets: secrets.into_iter().map(|(name, it)| (name, Some(it))).collect(),
        service_accounts: service_accounts.into_iter().map(|(name, it)| (name, Some(it))).collect(),
        written: BTreeSet::new(),
        writes: Vec::new(),
        difference: None,
        restored_entries: Vec::new(),
        is_read: false,
    };
    let mut reports = Vec::new();
    for Target { cluster_pull_secret, owner, action, previous, shortfall } in targets {
        let mut report = executor.execute(action, &owner).await;
        for previous in previous {
            // A target that was only read is decided again.
            if report.is_ok() && !executor.is_read {
                executor.prune(&previous.entry_changes, &previous.owner, &mut report).await;
            }
        }
        report.set_shortfall(shortfall.as_ref());
        reports.push((cluster_pull_secret, report));
    }
    let NamespaceExecutor {
        secrets,
        service_accounts,
        written,
        writes,
        difference,
        restored_entries,
        is_read,
        ..
    } = executor;
    let secrets = secrets.into_iter().filter_map(|(name, now)| {
        let before = secrets_before.get(&name);
        let is_other = before != now.as_ref().map(secret_key).as_ref();
        let before = before.map(|(version, _)| version.clone()).unwrap_or_default();
        let is_written = written.contains(&name);
        is_other.then_some((name, AfterWrite { before, now, is_written }))
    });
    let service_accounts = service_accounts.into_iter().filter_map(|(name, now)| {
        let before = accounts_before.get(&name);
        let is_other = before != now.as_ref();
        let before = before.map(|it| it.resource_version.clone()).unwrap_or_default();
        is_other.then_some((name, AfterWrite { before, now, is_written: true }))
    });
    Applied {
        secrets: secrets.collect(),
        service_accounts: service_accounts.collect(),
        reports,
        writes,
        difference,
        restored_entries,
        is_read,
    }
}

/// Identifies a state of a Secret: after its body was read, a Secret differs from its metadata alone.
fn secret_key(secret: &Secret) -> (String, bool) {
    let has_bytes = secret.body.as_ref().is_some_and(|body| !body.is_dropped);
    (secret.resource_version.clone(), has_bytes)
}

/// Executes actions in one namespace and keeps track of its objects.
struct NamespaceExecutor<'a> {
    client: &'a Client,
    namespace: &'a NamespaceName,
    secrets: ObjectMap<SecretName, Option<Secret>>,
    service_accounts: ObjectMap<String, Option<ServiceAccount>>,
    /// The Secrets that were written.
    written: BTreeSet<SecretName>,
    writes: Vec<(WriteKind, WriteOutcome)>,
    difference: Option<Difference>,
    restored_entries: Vec<(String, SecretName)>,
    is_read: bool,
}

impl NamespaceExecutor<'_> {
    async fn execute(&mut self, action: Action, owner: &Ownership) -> NamespaceReport {
        let Self { client, namespace, .. } = *self;
        match action {
            Action::Terminating => NamespaceReport::terminating(namespace),
            Action::NoContent(no_content) => {
                NamespaceReport::no_content(namespace, no_content.reason(), no_content.to_string())
            }
            Action::None => NamespaceReport::new(namespace.clone(), ResultKind::Removed),
            Action::Read { secret_name } => self.read(&Ownership { secret_name, ..owner.clone() }).await,
            Action::Apply { secret: Decision::Refuse(refusal), .. } => {
                NamespaceReport::from_outcome(namespace, Ok(Outcome::Refused(refusal)))
            }
            Action::Apply { content, secret, take_over_from, entry_changes, missing } => {
                let observed = self.secrets.get_or_default(owner.secret_name.clone());
                let take_over_from = take_over_from.as_deref();
                let outcome = match secret {
                    Decision::Outdated(conflict) => Ok(Outcome::Outdated(conflict)),
                    _ => rotator::apply(client, namespace, observed, &content, owner, take_over_from).await,
                };
                self.difference = match &outcome {
                    Ok(Outcome::Created) => Some(Difference::Credentials),
                    Ok(Outcome::Updated(difference)) => Some(*difference),
                    Ok(Outcome::Unchanged | Outcome::Refused(_) | Outcome::Outdated(_)) | Err(_) => None,
                };
                self.writes.extend(match &outcome {
                    Ok(Outcome::Unchanged | Outcome::Refused(_) | Outcome::Outdated(_)) => None,
                    Ok(Outcome::Created) => Some((WriteKind::Secret, WriteOutcome::Created)),
                    Ok(Outcome::Updated(_)) => Some((WriteKind::Secret, WriteOutcome::Updated)),
                    Err(_) => Some((WriteKind::Secret, WriteOutcome::Failed)),
                });
                if matches!(outcome, Ok(Outcome::Created | Outcome::Updated(_))) {
                    self.written.insert(owner.secret_name.clone());
                }
                let is_refused = matches!(outcome, Ok(Outcome::Refused(_)) | Err(_));
                let mut report = NamespaceReport::from_outcome(namespace, outcome);
                if !is_refused {
                    self.change_entries(&entry_changes, owner, &mut report).await;
                    report.set_missing_service_accounts(missing);
                    report.withhold(&content.withheld);
                }
                report
            }
            Action::Prune { entry_changes } => {
                let mut report = NamespaceReport::new(namespace.clone(), ResultKind::Removed);
                self.prune(&entry_changes, owner, &mut report).await;
                report
            }
        }
    }

    /// Reads the Secret, so that its last good entries can be kept.
    async fn read(&mut self, owner: &Ownership) -> NamespaceReport {
        let Self { client, namespace, .. } = *self;
        let before = self.secrets.get(&owner.secret_name).and_then(Option::as_ref);
        let mut report = NamespaceReport::new(namespace.clone(), ResultKind::Unchanged);
        match rotator::read(client, namespace, before, owner).await {
            Ok(secret) => {
                self.secrets.insert(owner.secret_name.clone(), secret);
                self.is_read = true;
            }
            Err(error) => report.fail(&error, &error.to_string()),
        }
        report
    }

    /// Removes the entries, then the Secret. A Secret that a ServiceAccount still names stays: pods would
    /// report it missing.
    async fn prune(
        &mut self,
        entry_changes: &[EntryChange],
        owner: &Ownership,
        report: &mut NamespaceReport,
    ) {
        self.change_entries(entry_changes, owner, report).await;
        if report.is_ok() {
            let Self { client, namespace, .. } = *self;
            let observed = self.secrets.get_or_default(owner.secret_name.clone());
            let was_there = observed.is_some();
            match rotator::remove(client, namespace, observed, owner).await {
                // A copy is still there.
                Ok(()) if was_there && observed.is_none() => {
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

    async fn change_entries(
        &mut self,
        entry_changes: &[EntryChange],
        owner: &Ownership,
        report: &mut NamespaceReport,
    ) {
        let Self { client, namespace, .. } = *self;
        for EntryChange { service_account: name, desired } in entry_changes {
            let Some(slot) = self.service_accounts.get_mut(name) else { continue };
            let Some(observed) = slot else { continue };
            let is_unseen = *desired == DesiredEntry::Present && observed.is_entry_unseen(&owner.secret_name);
            let outcome = patcher::apply(client, namespace, name, observed, owner, *desired).await;
            if is_unseen && outcome == Ok(patcher::Outcome::Patched) {
                self.restored_entries.push((name.clone(), owner.secret_name.clone()));
            }
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

//! One ClusterPullSecret as the controller knows it.
//!
//! Pure: what is wanted, what its Secrets are to hold, and how it stands in each namespace. Times are
//! parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::reconciliation::{Cause, Pass, Rotation};
use crate::cluster::Namespace;
use crate::credential::StoreKey;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::manifest::status::reason::ReadyReason;
use crate::manifest::status::{Condition, ConditionType, RegistryStatus};
use crate::reconcile::desired_secret::DesiredSecret;
use crate::report::{NamespaceReport, Problem, RegistryReport};

mod target_status;

pub use target_status::{Change, TargetStatus};

/// The least time from one status to the next while a pass is under way.
pub const PUBLISH_EVERY: Duration = Duration::from_secs(5);
/// The time after a pass in which what belongs together comes together, before its status is told.
pub const PUBLISH_AFTER: Duration = Duration::from_millis(300);

/// The reason of a namespace in which somebody keeps undoing us.
pub const CONTESTED: &str = "Contested";

/// The longest pause before a target is tried again whose failure may pass by itself: the API server is
/// away for seconds, a quota is full for days.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// One ClusterPullSecret as the controller knows it.
pub struct ObjectState {
    /// What is wanted.
    pub wanted: Arc<ClusterPullSecret>,
    /// What its Secrets are to hold; `None` until every key was read once.
    pub contents: Option<DesiredSecret>,
    /// When each key was last read with success.
    pub fetched_at: BTreeMap<StoreKey, Timestamp>,
    /// The version at which each key was last read with success.
    versions: BTreeMap<StoreKey, String>,
    /// How it stands in each namespace that it has to do with.
    pub standings: BTreeMap<String, TargetStatus>,
    /// What is wrong with it as a whole.
    pub problems: Vec<Problem>,
    /// The pass that is under way.
    pub pass: Option<Pass>,
    /// The last time a new version went out.
    pub last_rotation: Option<Rotation>,
    /// A trigger wants its keys read, and they were not yet.
    pub awaits_read: bool,
    /// Reads that failed in a row.
    pub failed_reads: u32,
    /// When everything is read again.
    pub refresh_at: Option<Instant>,
    /// Requests about the ClusterPullSecret itself.
    pub attempts: Attempts,
    /// When its status is looked at.
    pub publish_at: Option<Instant>,
    /// What the log last said of it.
    pub said: Option<Condition>,
    /// The generation of the spec that a pass came to its end for.
    pub passed: Option<i64>,
    /// The annotation `regcred.dev/rotate` that a pass came to its end for.
    pub observed_rotate: Option<String>,
    /// When that was handed over which a pass came to its end for.
    pub observed_request: Option<String>,
}

/// Requests about a ClusterPullSecret itself, one at a time.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    /// One is under way.
    pub under_way: bool,
    /// That many failed in a row.
    pub failures: u32,
    /// None is begun before this instant.
    pub not_before: Option<Instant>,
}

impl Attempts {
    /// Whether another one may begin.
    pub(super) fn is_free(&self, now: Instant) -> bool {
        !self.under_way && self.not_before.is_none_or(|instant| instant <= now)
    }
}

impl ObjectState {
    /// A ClusterPullSecret of which nothing is known yet.
    #[must_use]
    pub fn new(wanted: Arc<ClusterPullSecret>) -> Self {
        Self {
            wanted,
            contents: None,
            fetched_at: BTreeMap::new(),
            versions: BTreeMap::new(),
            standings: BTreeMap::new(),
            problems: Vec::new(),
            pass: None,
            last_rotation: None,
            awaits_read: false,
            failed_reads: 0,
            refresh_at: None,
            attempts: Attempts::default(),
            publish_at: None,
            said: None,
            passed: None,
            observed_rotate: None,
            observed_request: None,
        }
    }

    /// The keys it reads.
    pub fn places(&self) -> impl Iterator<Item = &StoreKey> {
        self.wanted.registries.iter().map(|registry| &registry.store_key)
    }

    /// The names under which Secrets of it may be.
    pub fn secret_names(&self) -> impl Iterator<Item = &String> {
        self.wanted.secret_names()
    }

    /// Whether its keys are read at all.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.wanted.inactive_reason().is_none() && !self.wanted.is_deleting_secrets()
    }

    /// Begins a pass, or joins the one under way.
    pub fn begin(&mut self, cause: Cause, now: Instant) -> &mut Pass {
        let pass = self.pass.get_or_insert_with(|| Pass::new(cause, now));
        pass.join(cause);
        pass
    }

    /// Takes note, at the end of a pass, of what it was asked for. Where it leaves something to the next,
    /// a request that was handed over may be of that.
    pub fn answer(&mut self, leaves_something: bool) {
        let Some(object) = &self.wanted.object else { return };
        self.observed_rotate.clone_from(&object.rotate);
        if !leaves_something {
            self.observed_request = object.request.as_ref().map(|request| request.at.to_string());
        }
    }

    /// Whether every namespace was written, or may not be.
    #[must_use]
    pub fn is_written(&self, now: Instant) -> bool {
        let is_left = |standing: &TargetStatus| {
            standing.failures > 0 || standing.not_before.is_some_and(|instant| instant > now)
        };
        !self.standings.values().any(is_left)
    }

    /// Whether a key could not be read this time, and may be the next.
    #[must_use]
    pub fn is_unread(&self, place: &StoreKey) -> bool {
        let registries = self.contents.as_ref().map(DesiredSecret::registries).unwrap_or_default();
        let is_of = |it: &RegistryReport| it.store == place.store.0 && it.key == place.key.0;
        registries.iter().any(|it| is_of(it) && it.is_passing())
    }

    /// Takes note of how it stands in a namespace, and tells what of that is new.
    pub fn stands(
        &mut self,
        report: &NamespaceReport,
        now: Instant,
        pause: impl FnOnce(u32) -> Duration,
    ) -> Change {
        let before = self.standings.get(&report.namespace);
        let failures = before.map_or(0, |standing| standing.failures);
        let known = before.and_then(|standing| standing.trouble.as_ref()).map(|(reason, _)| *reason);
        // Who undoes us does not stop because a write that was under way came to its end.
        if self.is_in_trouble(&report.namespace, CONTESTED) && self.is_held(&report.namespace, now) {
            return Change::None;
        }
        let before = before.cloned();
        match TargetStatus::of(report, failures) {
            None => drop(self.standings.remove(&report.namespace)),
            Some(mut standing) => {
                if standing.failures > 0 {
                    let pause = pause(standing.failures);
                    let longest = if report.is_passing() { LONGEST_PAUSE } else { Duration::MAX };
                    standing.not_before = Some(now + pause.min(longest));
                }
                self.standings.insert(report.namespace.clone(), standing);
            }
        }
        match (&before, self.standings.get(&report.namespace)) {
            (_, Some(after)) if after.trouble.is_some() && report.reason != known => Change::Trouble,
            (Some(before), Some(after)) if before.is_as(after) => Change::None,
            (None, None) => Change::None,
            _ => Change::Other,
        }
    }

    /// Whether it may have to do with a namespace: it selects it, stands in it, or left something there.
    #[must_use]
    pub fn is_concerned(&self, name: &str, namespace: Option<&Namespace>) -> bool {
        let mine = |added_for: &Option<String>| added_for.as_ref().is_none_or(|it| *it == self.wanted.name);
        let has_left_something = |namespace: &Namespace| {
            self.wanted.selection.selects(name, &namespace.labels)
                || namespace.secrets.values().any(|it| it.is_made_for(&self.wanted.name))
                || namespace.service_accounts.values().any(|it| it.added.values().any(mine))
        };
        self.standings.contains_key(name) || namespace.is_some_and(has_left_something)
    }

    /// Lets everything be tried at once that waits for its back-off: somebody mended something. A contest
    /// goes on.
    pub fn release(&mut self) {
        self.attempts.not_before = None;
        for standing in self.standings.values_mut() {
            if standing.trouble.as_ref().is_none_or(|(reason, _)| *reason != CONTESTED) {
                standing.not_before = None;
            }
        }
    }

    /// Whether nothing may be tried in a namespace yet.
    #[must_use]
    pub fn is_held(&self, namespace: &str, now: Instant) -> bool {
        let standing = self.standings.get(namespace);
        standing.and_then(|standing| standing.not_before).is_some_and(|instant| instant > now)
    }

    /// In how many namespaces it is not as it should be.
    #[must_use]
    pub fn behind(&self) -> usize {
        self.standings.values().filter(|standing| standing.trouble.is_some()).count()
    }

    /// Whether this is why it is not as it should be in a namespace.
    #[must_use]
    pub fn is_in_trouble(&self, namespace: &str, reason: &str) -> bool {
        let trouble = self.standings.get(namespace).and_then(|standing| standing.trouble.as_ref());
        trouble.is_some_and(|(known, _)| *known == reason)
    }

    /// Nothing is tried in a namespace before an instant, for a reason.
    pub fn hold(&mut self, namespace: &str, until: Instant, trouble: (&'static str, String)) {
        let standing = self.standings.entry(namespace.to_owned()).or_insert_with(TargetStatus::in_sync);
        standing.not_before = Some(until);
        standing.trouble = Some(trouble);
    }

    /// Whether the first pass over the spec as it is now has not come to its end, under whoever led.
    #[must_use]
    pub fn is_progressing(&self) -> bool {
        self.passed != Some(self.generation()) && self.told().is_none()
    }

    /// What the leader before told, where this one has not looked for itself yet: that is nearer to the
    /// truth than what is known here.
    #[must_use]
    pub fn hearsay(&self) -> Option<&Condition> {
        let is_blind = self.passed.is_none() && self.wanted.inactive_reason().is_none();
        self.told().filter(|_| is_blind)
    }

    /// `Ready`, where the status tells of a pass over the spec as it is now.
    fn told(&self) -> Option<&Condition> {
        let ready = self.wanted.object.as_ref()?.status.condition(ConditionType::Ready)?;
        let is_current = ready.observed_generation == self.generation();
        (is_current && ready.reason != ReadyReason::Progressing.to_string()).then_some(ready)
    }

    /// The generation of the spec; 0 where it comes from a file.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.wanted.object.as_ref().map_or(0, |object| object.generation)
    }

    /// The version at which a key was last read: by this process, or by whoever wrote the status.
    #[must_use]
    pub fn last_version(&self, place: &StoreKey) -> Option<&String> {
        let told = || {
            let is_it = |it: &&RegistryStatus| it.store == place.store.0 && it.key == place.key.0;
            let status = &self.wanted.object.as_ref()?.status;
            status.registries.iter().find(is_it)?.version.as_ref()
        };
        self.versions.get(place).or_else(told)
    }

    /// Takes note of the versions that were read: whether one is another than before. One at rest does so when
    /// it is awake again, since what was read meanwhile, for others, went nowhere.
    pub fn note_versions(&mut self) -> bool {
        if !self.is_awake() {
            return false;
        }
        let reports = self.contents.as_ref().map(DesiredSecret::registries).unwrap_or_default();
        let read = self.places().cloned().zip(reports).filter_map(|(place, report)| {
            let is_good = report.result == RegistryReport::FETCHED;
            report.version.filter(|_| is_good).map(|version| (place, version))
        });
        let read: Vec<_> = read.collect();
        let is_other = |(place, version): &(StoreKey, String)| {
            self.last_version(place).is_some_and(|before| before != version)
        };
        let is_any_other = read.iter().any(is_other);
        self.versions.extend(read);
        is_any_other
    }

    /// Forgets what was read of keys that it does not read any more.
    pub fn forget_keys(&mut self) {
        let places: BTreeSet<_> = self.places().cloned().collect();
        self.versions.retain(|place, _| places.contains(place));
        self.fetched_at.retain(|place, _| places.contains(place));
    }

    /// Whether a registry could not be read.
    #[must_use]
    pub fn has_failed_read(&self) -> bool {
        self.contents.as_ref().is_some_and(|contents| !contents.is_complete())
    }
}

#[cfg(test)]
mod tests;

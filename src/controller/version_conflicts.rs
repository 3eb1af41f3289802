//! Targets whose Secret holds a later version than the store answered, and keys that a store answers at an
//! older version.
//!
//! The key of such a target is fetched again at once, and nothing is reported before that read. What is still
//! older then is written after five minutes. A forged annotation delays the one namespace that has it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::Controller;
use super::object_state::{ConflictStep, ObjectState, VersionHold};
use super::queue::Priority;
use super::timers::Timer;
use crate::credential::StoreKey;
use crate::fetches::{AnswerVerdict, ChangeNotice};
use crate::manifest::status::reason::{AppliedReason, FetchedReason};
use crate::object_name::NamespaceName;
use crate::report::{NamespaceReport, ResultKind};
use crate::rotator::AcceptedOlder;

impl Controller {
    /// Counts and logs the decisions about fetched values; returns the keys whose values were taken.
    pub(super) fn record_verdicts(
        &self,
        verdicts: &[(StoreKey, Result<AnswerVerdict, FetchedReason>)],
        took: Duration,
    ) -> BTreeSet<StoreKey> {
        let mut fetched = BTreeSet::new();
        for (store_key, verdict) in verdicts {
            let reason = match verdict {
                Ok(AnswerVerdict::Taken | AnswerVerdict::TakenOlder) => FetchedReason::Fetched,
                Ok(AnswerVerdict::HeldBack { .. }) => FetchedReason::OlderVersion,
                Err(reason) => *reason,
            };
            self.context.health.metrics.fetched(&store_key.store, reason, took);
            if reason == FetchedReason::Fetched {
                fetched.insert(store_key.clone());
            }
            let order = self.fetches.order(store_key);
            let StoreKey { store, key } = store_key;
            match (verdict, order.held_back, order.given_up) {
                (Ok(AnswerVerdict::HeldBack { is_first: true }), Some(found), _) => {
                    let found = found.with_time();
                    warn!(%store, %key, found, "the store answers an older version than before (replication lag, or a restored backup); it is taken after five minutes");
                }
                (Ok(AnswerVerdict::TakenOlder), _, Some(given_up)) => {
                    let given_up = given_up.with_time();
                    warn!(%store, %key, given_up, "took an older version, which the store answered for five minutes");
                }
                _ => {}
            }
        }
        fetched
    }

    /// Handles the report of a target whose Secret may hold a later version. Returns true if the report is not
    /// to be recorded, because the store is read again first.
    pub(super) fn defer_conflict(
        &mut self,
        cluster_pull_secret: &str,
        report: &mut NamespaceReport,
        now: Instant,
    ) -> bool {
        let Some(state) = self.objects.get_mut(cluster_pull_secret) else { return false };
        let namespace = report.namespace.clone();
        let Some(conflict) = &report.version_conflict else {
            // A request that failed after the hold was over is tried again without another one.
            if report.result != ResultKind::Failed || report.is_waiting() {
                state.version_holds.remove(&namespace);
            }
            return false;
        };
        if self.fetches.is_fresh(&conflict.store_key, now) {
            // Another writer came in between: it is overwritten, because another read would issue a credential.
            self.queue.push(cluster_pull_secret, &namespace, Priority::High);
            return true;
        }
        let holds = state.version_holds.entry(namespace.clone()).or_default();
        let hold = holds.entry(conflict.store_key.clone()).or_insert_with(|| VersionHold::new(conflict, now));
        match hold.next_step(conflict, now) {
            ConflictStep::Read => {
                // As for an event: tenants who edit annotations cause at most one read per second. The hold itself
                // waits for replicas that lag behind.
                let notice = ChangeNotice { before: now, version: None, can_lag: false };
                self.fetches.on_change_notice(&conflict.store_key, notice, now);
                true
            }
            ConflictStep::Report => {
                let message = format!("{conflict}. It is written after five minutes");
                report.explain(AppliedReason::OlderVersion, message);
                let due = hold.ends_at();
                self.timers.set(due, Timer::Requeue(cluster_pull_secret.to_owned(), namespace));
                false
            }
            ConflictStep::Accept => {
                warn!(cluster_pull_secret, %namespace, "writing an older version, which the store answered for five minutes: {conflict}");
                self.queue.push(cluster_pull_secret, &namespace, Priority::High);
                true
            }
        }
    }

    /// Returns the keys at which what is held replaces any other version in the Secret of a namespace: an older one after
    /// a wait, and a credential that was issued and is valid, of which another read would bring another one.
    pub(super) fn accepted_older(
        &self,
        state: &ObjectState,
        namespace: &NamespaceName,
        now: Instant,
    ) -> AcceptedOlder {
        let issued =
            state.keys_of_namespace(namespace).filter(|store_key| self.fetches.is_fresh(store_key, now));
        AcceptedOlder::Keys(state.accepted_older(namespace).chain(issued).cloned().collect())
    }

    /// Requeues the targets that waited for a read of one of these keys.
    pub(super) fn requeue_conflicts(&mut self, name: &str, read: &BTreeSet<StoreKey>, started: Instant) {
        let Some(state) = self.objects.get_mut(name) else { return };
        let mut served: Vec<NamespaceName> = Vec::new();
        for (namespace, holds) in &mut state.version_holds {
            for (_, hold) in holds.iter_mut().filter(|(store_key, _)| read.contains(*store_key)) {
                if hold.on_read(started) {
                    served.push(namespace.clone());
                }
            }
        }
        for namespace in served {
            self.queue.push(name, &namespace, Priority::High);
        }
    }
}

//! Kubernetes Events: a rotation, a change of `Ready`, a Secret that cannot be used.

use tokio::time::Instant;
use tracing::{info, warn};

use super::object_state::ObjectState;
use super::{Controller, TaskResult, status};
use crate::cluster::error::Error;
use crate::cluster::events::{NewEvent, Regarding};
use crate::manifest::status::ClusterPullSecretStatus;
use crate::manifest::status::reason::AppliedReason;
use crate::metrics::{WriteKind, WriteOutcome};
use crate::object_name::{NamespaceName, SecretName};

impl Controller {
    /// Publishes an Event regarding a change of `Ready`.
    pub(super) fn announce_change(
        &mut self,
        name: &str,
        uid: &str,
        before: &ClusterPullSecretStatus,
        after: &ClusterPullSecretStatus,
    ) {
        let Some(ready) = status::ready_change(before, after) else { return };
        let regarding = Regarding::ClusterPullSecret { name: name.to_owned(), uid: uid.to_owned() };
        let is_warning = status::is_problem(ready);
        let (reason, message) = (ready.reason.clone(), ready.message.clone());
        self.publish(&NewEvent { is_warning, reason, message, regarding });
    }

    /// Publishes an Event regarding a rotation, with the number of namespaces it reached.
    pub(super) fn announce_rotation(&mut self, name: &str) {
        let Some(state) = self.objects.get(name) else { return };
        let ObjectState { manifest, last_rotation: Some(rotation), targets, .. } = state else { return };
        let Some(object) = &manifest.object else { return };
        let message = format!(
            "a new version reached {} in {}, triggered by {}",
            status::namespaces_reached(targets.len() - state.out_of_sync(), targets.len()),
            status::seconds(rotation.took),
            rotation.cause.trigger
        );
        let regarding = Regarding::ClusterPullSecret { name: name.to_owned(), uid: object.uid.clone() };
        self.publish(&NewEvent { is_warning: false, reason: "Rotated".to_owned(), message, regarding });
    }

    /// Publishes a warning regarding the Secret of a namespace.
    pub(super) fn announce_failure(
        &mut self,
        namespace: &NamespaceName,
        name: &SecretName,
        reason: AppliedReason,
        message: String,
    ) {
        let secret = self.cache.cluster.namespaces.get(namespace).and_then(|it| it.secrets.get(name));
        let regarding = Regarding::Secret {
            namespace: namespace.clone(),
            name: name.clone(),
            uid: secret.map(|secret| secret.uid.clone()).unwrap_or_default(),
        };
        self.publish(&NewEvent { is_warning: true, reason: reason.to_string(), message, regarding });
    }

    /// Publishes an Event, within the rate limit.
    fn publish(&mut self, event: &NewEvent) {
        let (now, at) = (Instant::now(), (self.context.wall_clock)());
        if let Some(request) = self.events.publish(event, now, at) {
            self.tasks.spawn_write(async move { TaskResult::EventPublished(request.await) });
        }
    }

    pub(super) fn on_event_published(&mut self, result: &Result<(), Error>) {
        let outcome = if result.is_ok() { WriteOutcome::Created } else { WriteOutcome::Failed };
        self.context.health.metrics.wrote(WriteKind::Event, outcome);
        match result {
            Ok(()) => {
                if self.event_failure.ends() {
                    info!("Events are published again");
                }
            }
            // The object of the Event goes with its namespace, and the next leader reports what it finds.
            Err(Error::NamespaceTerminating | Error::NotFound(_) | Error::NotLeading) => {}
            Err(error) => {
                if self.event_failure.begins(&error.to_string()) {
                    warn!(reason = %error.reason(), "cannot publish Events, which are lost: {error}");
                }
            }
        }
    }
}

//! What is told as Events: a rotation, a change of `Ready`, a Secret that cannot be used.

use tokio::time::Instant;
use tracing::warn;

use super::object_state::ObjectState;
use super::{Controller, TaskResult, status};
use crate::cluster::error::Error;
use crate::cluster::events::{NewEvent, Regarding};
use crate::manifest::status::ClusterPullSecretStatus;
use crate::manifest::status::reason::AppliedReason;
use crate::metrics::{WriteKind, WriteOutcome};

impl Controller {
    /// A change of `Ready` is worth an Event.
    pub(super) fn announce_change(
        &mut self,
        name: &str,
        uid: &str,
        before: &ClusterPullSecretStatus,
        after: &ClusterPullSecretStatus,
    ) {
        let Some(ready) = status::change(before, after) else { return };
        let regarding = Regarding::ClusterPullSecret { name: name.to_owned(), uid: uid.to_owned() };
        let is_warning = status::is_bad(ready);
        let (reason, message) = (ready.reason.clone(), ready.message.clone());
        self.announce(&NewEvent { is_warning, reason, message, regarding });
    }

    /// A rotation that reached every namespace is worth an Event.
    pub(super) fn announce_rotation(&mut self, name: &str) {
        let Some(ObjectState { wanted, last_rotation: Some(rotation), standings, .. }) =
            self.records.get(name)
        else {
            return;
        };
        let Some(object) = &wanted.object else { return };
        let message = format!(
            "a new version reached {} namespaces in {}, triggered by {}",
            standings.len(),
            status::seconds(rotation.took),
            rotation.cause.trigger
        );
        let regarding = Regarding::ClusterPullSecret { name: name.to_owned(), uid: object.uid.clone() };
        self.announce(&NewEvent { is_warning: false, reason: "Rotated".to_owned(), message, regarding });
    }

    /// Something is wrong about the Secret of a namespace.
    pub(super) fn announce_trouble(
        &mut self,
        namespace: &str,
        name: &str,
        reason: AppliedReason,
        message: String,
    ) {
        let secret = self.memory.cluster.namespaces.get(namespace).and_then(|it| it.secrets.get(name));
        let regarding = Regarding::Secret {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: secret.map(|secret| secret.uid.clone()).unwrap_or_default(),
        };
        self.announce(&NewEvent { is_warning: true, reason: reason.to_string(), message, regarding });
    }

    /// Publishes an Event, unless there were too many.
    fn announce(&mut self, notice: &NewEvent) {
        let (now, at) = (Instant::now(), (self.settings.wall_clock)());
        if let Some(request) = self.events.publish(notice, now, at) {
            self.under_way.write(async move { TaskResult::ChangeNotice(request.await) });
        }
    }

    pub(super) fn told(&mut self, result: &Result<(), Error>) {
        let outcome = if result.is_ok() { WriteOutcome::Created } else { WriteOutcome::Failed };
        self.settings.health.metrics.wrote(WriteKind::Event, outcome);
        if let Err(error) = result {
            warn!(reason = error.reason(), "cannot publish an Event: {error}");
        }
    }
}

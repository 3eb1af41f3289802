//! Publishes Kubernetes Events, which `kubectl describe` shows.
//!
//! In go a sentence and the object that the sentence is about, out goes one Event, never a flood: a burst,
//! then one every ten seconds. An Event is published when a state begins, not for as long as the state
//! lasts, and holds no password and no response of a store.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta};
use tokio::time::Instant;

use super::error::{Error, with_timeout};
use super::{FIELD_MANAGER, params};
use crate::manifest::{API_VERSION, CLUSTER_PULL_SECRET};
use crate::message;
use crate::object_name::{NamespaceName, SecretName};

/// The number of Events that may be published at once.
const BURST: u32 = 25;
/// The time after which one more Event may be published.
const PAUSE: Duration = Duration::from_secs(10);

/// An Event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// True for a warning.
    pub is_warning: bool,
    /// The reason, from a closed list.
    pub reason: String,
    /// The meaning, with the fix.
    pub message: String,
    /// The object that the Event is about.
    pub regarding: Regarding,
}

/// The object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Regarding {
    /// A ClusterPullSecret.
    ClusterPullSecret {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// The Secret of a namespace.
    Secret {
        /// The namespace.
        namespace: NamespaceName,
        /// Its name.
        name: SecretName,
        /// Its UID; empty where unknown.
        uid: String,
    },
}

/// Publishes Events at a limited rate.
pub struct EventRecorder {
    client: Client,
    instance: String,
    bucket: TokenBucket,
}

impl EventRecorder {
    /// Creates a recorder for the replica of this name.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        Self { client, instance, bucket: TokenBucket::default() }
    }

    /// Returns the request that publishes an Event; `None` where the rate limit is reached.
    pub fn publish(
        &mut self,
        event: &NewEvent,
        now: Instant,
        at: Timestamp,
    ) -> Option<impl Future<Output = Result<(), Error>> + Send + use<>> {
        if !self.bucket.take(now) {
            return None;
        }
        let event = event.object(&self.instance, at);
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let events = Api::<Event>::namespaced(self.client.clone(), &namespace);
        Some(async move { with_timeout(events.create(&params::create(), &event)).await.map(drop) })
    }
}

impl NewEvent {
    /// Builds an Event object of its own: a series would keep the first message for ever.
    fn object(&self, instance: &str, at: Timestamp) -> Event {
        let regarding = self.regarding.reference();
        Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", regarding.name.as_deref().unwrap_or(FIELD_MANAGER))),
                // Events about cluster-scoped objects are in this namespace.
                namespace: Some(regarding.namespace.clone().unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(at)),
            note: Some(message::bounded(&self.message)),
            reason: Some(self.reason.clone()),
            regarding: Some(regarding),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            type_: Some(if self.is_warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        }
    }
}

impl Regarding {
    fn reference(&self) -> ObjectReference {
        match self.clone() {
            Self::ClusterPullSecret { name, uid } => ObjectReference {
                api_version: Some(API_VERSION.to_owned()),
                kind: Some(CLUSTER_PULL_SECRET.to_owned()),
                name: Some(name),
                uid: Some(uid),
                ..ObjectReference::default()
            },
            Self::Secret { namespace, name, uid } => ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Secret".to_owned()),
                name: Some(name.into()),
                namespace: Some(namespace.into()),
                uid: Some(uid).filter(|uid| !uid.is_empty()),
                ..ObjectReference::default()
            },
        }
    }
}

/// The rate limit: holds the number of Events that may be published now.
#[derive(Debug)]
struct TokenBucket {
    left: u32,
    since: Option<Instant>,
}

impl Default for TokenBucket {
    fn default() -> Self {
        Self { left: BURST, since: None }
    }
}

impl TokenBucket {
    fn take(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let pauses = now.saturating_duration_since(since).as_secs() / PAUSE.as_secs();
        let gained = u32::try_from(pauses).unwrap_or(u32::MAX);
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(BURST);
            self.since = Some(since + PAUSE.saturating_mul(gained));
        }
        let is_allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_bucket_permits_a_burst_and_then_one_in_ten_seconds() {
        let (begin, mut bucket) = (Instant::now(), TokenBucket::default());
        for (second, attempts, expect) in
            [(0, 1000, 25), (9, 10, 0), (25, 10, 2), (31, 10, 1), (100_000, 1000, 25)]
        {
            let now = begin + Duration::from_secs(second);
            assert_eq!((0..attempts).filter(|_| bucket.take(now)).count(), expect, "at {second} s");
        }
    }

    #[test]
    fn event_has_the_namespace_of_its_object_and_a_message() {
        let regarding =
            Regarding::Secret { namespace: "web".into(), name: "regcred".into(), uid: String::new() };
        let new =
            NewEvent { is_warning: true, reason: "Conflict".into(), message: "because".into(), regarding };
        let event = new.object("one", Timestamp::UNIX_EPOCH);
        assert_eq!(event.metadata.namespace.as_deref(), Some("web"));
        assert_eq!((event.note.as_deref(), event.type_.as_deref()), (Some("because"), Some("Warning")));
        let regarding = Regarding::ClusterPullSecret { name: "images".into(), uid: "u".into() };
        let event = NewEvent { regarding, ..new }.object("one", Timestamp::UNIX_EPOCH);
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
    }
}

//! Kubernetes Events: what a person who describes an object is told.
//!
//! In go a sentence and the object it is about, out goes one Event, never a flood: there are so many at
//! once and then one every ten seconds. They are told where something begins to be so, not for as long
//! as it lasts, and hold no password and no response of a store.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta};
use tokio::time::Instant;

use super::error::{Error, within};
use super::{FIELD_MANAGER, params};
use crate::manifest::{API_VERSION, CLUSTER_PULL_SECRET};

/// Events that may be told at once.
const BURST: u32 = 25;
/// The time after which there may be one more.
const PAUSE: Duration = Duration::from_secs(10);

/// Something worth an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether something is wrong.
    pub is_warning: bool,
    /// From a closed list.
    pub reason: String,
    /// What it means, and how to mend it.
    pub message: String,
    /// The object it is about.
    pub about: About,
}

/// The object an Event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
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
        namespace: String,
        /// Its name.
        name: String,
        /// Its UID; empty where it is not known.
        uid: String,
    },
}

/// Publishes Events.
pub struct Events {
    client: Client,
    instance: String,
    allowance: Allowance,
}

impl Events {
    /// Publishes as the replica of this name.
    #[must_use]
    pub fn new(client: Client, instance: String) -> Self {
        Self { client, instance, allowance: Allowance::default() }
    }

    /// The request that publishes an Event; `None` where there were too many.
    pub fn publish(
        &mut self,
        notice: &Notice,
        now: Instant,
        at: Timestamp,
    ) -> Option<impl Future<Output = Result<(), Error>> + Send + use<>> {
        if !self.allowance.take(now) {
            return None;
        }
        let event = notice.event(&self.instance, at);
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let events = Api::<Event>::namespaced(self.client.clone(), &namespace);
        Some(async move { within(events.create(&params::create(), &event)).await.map(drop) })
    }
}

impl Notice {
    /// As an object of its own: a series would keep the first message for ever.
    fn event(&self, instance: &str, at: Timestamp) -> Event {
        let about = self.about.reference();
        Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", about.name.as_deref().unwrap_or(FIELD_MANAGER))),
                // Events about what has no namespace are in this one.
                namespace: Some(about.namespace.clone().unwrap_or_else(|| "default".to_owned())),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(at)),
            note: Some(shortened(&self.message)),
            reason: Some(self.reason.clone()),
            regarding: Some(about),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            type_: Some(if self.is_warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        }
    }
}

/// The API server takes no longer note than of 1 KiB.
fn shortened(message: &str) -> String {
    const LONGEST: usize = 1000;
    if message.len() <= LONGEST {
        return message.to_owned();
    }
    format!("{}…", &message[..message.floor_char_boundary(LONGEST)])
}

impl About {
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
                name: Some(name),
                namespace: Some(namespace),
                uid: Some(uid).filter(|uid| !uid.is_empty()),
                ..ObjectReference::default()
            },
        }
    }
}

/// How many Events may still be told.
#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Option<Instant>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: BURST, since: None }
    }
}

impl Allowance {
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
    fn there_is_a_burst_and_then_one_every_ten_seconds() {
        let (begin, mut allowance) = (Instant::now(), Allowance::default());
        let told = |allowance: &mut Allowance, second: u64, tries: usize| {
            let now = begin + Duration::from_secs(second);
            (0..tries).filter(|_| allowance.take(now)).count()
        };
        assert_eq!(told(&mut allowance, 0, 1000), 25);
        assert_eq!(told(&mut allowance, 9, 10), 0);
        assert_eq!(told(&mut allowance, 25, 10), 2);
        assert_eq!(told(&mut allowance, 31, 10), 1);
        assert_eq!(told(&mut allowance, 100_000, 1000), 25);
    }

    #[test]
    fn an_event_stands_beside_what_it_is_about_and_has_its_own_message() {
        let about = About::Secret { namespace: "web".into(), name: "regcred".into(), uid: String::new() };
        let notice = Notice { is_warning: true, reason: "Conflict".into(), message: "because".into(), about };
        let event = notice.event("one", Timestamp::UNIX_EPOCH);
        assert_eq!(event.metadata.namespace.as_deref(), Some("web"));
        assert_eq!((event.note.as_deref(), event.type_.as_deref()), (Some("because"), Some("Warning")));
        let about = About::ClusterPullSecret { name: "images".into(), uid: "u".into() };
        let event = Notice { about, ..notice }.event("one", Timestamp::UNIX_EPOCH);
        assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
    }

    #[test]
    fn a_long_message_is_cut_between_letters() {
        let long = "ä".repeat(2000);
        assert_eq!(shortened(&long).len(), 1000 + "…".len());
        assert_eq!(shortened("short"), "short");
    }
}

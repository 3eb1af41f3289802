//! What the controller says of a ClusterPullSecret: its status in the cluster.
//!
//! Plain data, whose reasons come from the closed lists of [`reason`]. It holds no password and no hash
//! of one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod reason;

use reason::{AppliedReason, FetchedReason, Reason};

/// What became of a ClusterPullSecret, as the controller last saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterPullSecretStatus {
    /// The generation of the spec that this status is about.
    pub observed_generation: i64,
    /// Whether all is well, whether the stores could be read, and whether the cluster holds what it should.
    pub conditions: Vec<Condition>,
    /// One for each registry, in the order of the spec.
    pub registries: Vec<RegistryStatus>,
    /// How many namespaces there are for it.
    pub namespaces: NamespaceCounts,
    /// How many ServiceAccounts there are for it.
    pub service_accounts: ServiceAccountCounts,
    /// The last time that a new version of a credential went out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rotation: Option<LastRotation>,
    /// The annotation `regcred.dev/rotate` that was last answered: everything it asked for was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_rotate: Option<String>,
    /// When the request of the webhook was made that was last answered, of those that another replica handed
    /// over: everything it asked for was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_request: Option<String>,
    /// What failed, at most ten of them.
    pub failures: Vec<TargetFailure>,
    /// The names under which Secrets of it may exist: the current one, and earlier ones until they are gone.
    pub secret_names: Vec<String>,
    /// The counts as `kubectl get` shows them.
    pub summary: Summary,
}

/// One thing that is so or not, as everywhere in Kubernetes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Fetched` or `Applied`.
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    pub type_: ConditionType,
    /// `True`, `False` or `Unknown`.
    #[schemars(with = "String")]
    pub status: ConditionStatus,
    /// The generation of the spec that this is about.
    #[serde(default)]
    pub observed_generation: i64,
    /// When `status` last changed.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Time,
    /// Why, in one word of a closed list.
    pub reason: String,
    /// Why, in a sentence.
    #[serde(default)]
    pub message: String,
}

/// What a condition is about.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::Display,
    strum::EnumIter,
    strum::EnumMessage,
)]
pub enum ConditionType {
    /// Everything is as the spec wants it.
    Ready,
    /// Every registry's credential could be read.
    Fetched,
    /// Every namespace holds what it should.
    Applied,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows yet.
    Unknown,
}

/// What became of one registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryStatus {
    /// Host key of the entry, or `*` where the store holds a whole docker config.
    pub host: String,
    /// The store.
    pub store: String,
    /// The key inside it.
    pub key: String,
    /// The version that was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub fetched_at: Option<Time>,
    /// `Fetched`, or why not: the reasons of the condition `Fetched`.
    #[schemars(with = "String")]
    pub result: FetchedReason,
    /// What is wrong, where something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How many namespaces a ClusterPullSecret selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceCounts {
    /// All that are selected.
    pub selected: u32,
    /// Those that hold what they should.
    pub in_sync: u32,
    /// Those where a write was refused or failed.
    pub failed: u32,
}

/// How many ServiceAccounts a ClusterPullSecret selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAccountCounts {
    /// All that are selected.
    pub selected: u32,
    /// Those that name the pull secret.
    pub in_sync: u32,
}

/// One rotation: a new version of a credential, brought to every namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRotation {
    /// What made regcred look.
    pub trigger: String,
    /// When that was.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Time,
    /// From then to the last namespace, such as `0.84s`.
    pub propagation: String,
    /// Of that, until its keys were read.
    #[serde(default)]
    pub fetch: String,
    /// Of that, from then on to the first write.
    #[serde(default)]
    pub first_write: String,
    /// Of that, from the first write to the last.
    #[serde(default)]
    pub last_write: String,
}

/// One namespace that does not hold what it should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetFailure {
    /// The namespace.
    pub namespace: String,
    /// Why: the reasons of the condition `Applied`.
    #[schemars(with = "String")]
    pub reason: AppliedReason,
    /// Why, in a sentence.
    pub message: String,
}

/// Counts as text, for the columns of `kubectl get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// Registries that could be read, of all: `2/2`.
    pub registries: String,
    /// Namespaces in sync, of all that are selected: `998/1000`.
    pub namespaces: String,
}

impl Condition {
    /// A condition that began to be so at `now`.
    #[must_use]
    pub fn new(reason: Reason, message: String, generation: i64, now: Time) -> Self {
        Self {
            type_: reason.condition(),
            status: reason.status(),
            observed_generation: generation,
            last_transition_time: now,
            reason: reason.to_string(),
            message,
        }
    }

    /// Returns true if the condition has this reason.
    #[must_use]
    pub fn has_reason(&self, reason: impl Into<Reason>) -> bool {
        self.reason == reason.into().to_string()
    }
}

impl ClusterPullSecretStatus {
    /// The condition of this type, where there is one.
    #[must_use]
    pub fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Puts a condition in the place of the one of its type. One whose status did not change goes on
    /// since when it did.
    pub fn set(&mut self, mut condition: Condition) {
        match self.conditions.iter_mut().find(|before| before.type_ == condition.type_) {
            Some(before) => {
                if before.status == condition.status {
                    condition.last_transition_time = before.last_transition_time.clone();
                }
                *before = condition;
            }
            None => {
                self.conditions.push(condition);
                self.conditions.sort_by_key(|condition| condition.type_);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::reason::{AppliedReason, FetchedReason, ReadyReason, Reason};
    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).expect("a time"))
    }

    fn condition(reason: impl Into<Reason>, second: i64) -> Condition {
        Condition::new(reason.into(), String::new(), 1, at(second))
    }

    #[test]
    fn a_condition_goes_on_since_its_status_changed() {
        let mut status = ClusterPullSecretStatus::default();
        status.set(condition(AppliedReason::Applied, 1));
        status.set(condition(ReadyReason::FetchFailed, 1));
        status.set(condition(ReadyReason::ApplyFailed, 2));
        let ready = status.condition(ConditionType::Ready).expect("a condition");
        assert_eq!((ready.reason.as_str(), &ready.last_transition_time), ("ApplyFailed", &at(1)));
        status.set(condition(ReadyReason::InSync, 3));
        assert_eq!(status.condition(ConditionType::Ready).map(|it| &it.last_transition_time), Some(&at(3)));
        let types: Vec<_> = status.conditions.iter().map(|it| it.type_).collect();
        assert_eq!(types, [ConditionType::Ready, ConditionType::Applied]);
    }

    #[test]
    fn a_status_is_written_as_kubernetes_writes_one() {
        let mut status = ClusterPullSecretStatus {
            observed_generation: 2,
            registries: vec![RegistryStatus {
                host: "ghcr.io".into(),
                store: "vault".into(),
                key: "ci/ghcr".into(),
                version: Some("7".into()),
                fetched_at: Some(at(0)),
                result: FetchedReason::Fetched,
                message: None,
            }],
            ..ClusterPullSecretStatus::default()
        };
        status.set(condition(ReadyReason::InSync, 0));
        let written = serde_json::to_value(&status).expect("JSON");
        assert_eq!(
            written,
            json!({
                "observedGeneration": 2,
                "conditions": [{
                    "type": "Ready", "status": "True", "observedGeneration": 1,
                    "lastTransitionTime": "1970-01-01T00:00:00Z", "reason": "InSync", "message": "",
                }],
                "registries": [{
                    "host": "ghcr.io", "store": "vault", "key": "ci/ghcr", "version": "7",
                    "fetchedAt": "1970-01-01T00:00:00Z", "result": "Fetched",
                }],
                "namespaces": {"selected": 0, "inSync": 0, "failed": 0},
                "serviceAccounts": {"selected": 0, "inSync": 0},
                "failures": [],
                "secretNames": [],
                "summary": {"registries": "", "namespaces": ""},
            })
        );
        assert_eq!(serde_json::from_value::<ClusterPullSecretStatus>(written).expect("a status"), status);
    }
}

//! The status of a ClusterPullSecret, which the controller writes to the cluster.
//!
//! Plain data, with reasons from the closed lists of [`reason`]. It holds no password and no hash of one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod condition;
pub mod reason;

use crate::object_name::{NamespaceName, SecretName};
use reason::{AppliedReason, FetchedReason, Reason};

pub use condition::{ConditionStatus, ConditionType};

/// Most recently observed state of a ClusterPullSecret, written by the controller.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterPullSecretStatus {
    /// Generation of the spec that this status describes.
    pub observed_generation: i64,
    /// Conditions `Ready`, `Fetched` (credentials read from the stores) and `Applied` (namespaces in sync).
    pub conditions: Vec<Condition>,
    /// Status of each registry, in the order of the spec.
    pub registries: Vec<RegistryStatus>,
    /// Counts of selected namespaces.
    pub namespaces: NamespaceCounts,
    /// Counts of selected ServiceAccounts.
    pub service_accounts: ServiceAccountCounts,
    /// Most recent rollout of a new credential version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rotation: Option<LastRotation>,
    /// Value of the annotation `regcred.dev/rotate` that was last processed: everything it requested was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_rotate: Option<String>,
    /// Time of the last processed webhook request that another replica forwarded: everything it requested was
    /// tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_request: Option<String>,
    /// Namespaces that are not in sync, at most ten of them.
    pub failures: Vec<TargetFailure>,
    /// Names under which its Secrets may exist: the current one, and earlier ones until those Secrets are
    /// deleted.
    pub secret_names: Vec<SecretName>,
    /// Counts for the columns of `kubectl get`.
    pub summary: Summary,
}

/// One condition, as everywhere in Kubernetes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition: `Ready`, `Fetched` or `Applied`.
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    pub type_: ConditionType,
    /// Status of the condition: `True`, `False` or `Unknown`.
    #[schemars(with = "String")]
    pub status: ConditionStatus,
    /// Generation of the spec that the condition describes.
    #[serde(default)]
    pub observed_generation: i64,
    /// Time of the last change of `status`.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub last_transition_time: Time,
    /// Reason for the status, from a closed list.
    pub reason: String,
    /// Human-readable details of the reason.
    #[serde(default)]
    pub message: String,
}

/// Status of one registry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegistryStatus {
    /// Host key of the entry, or `*` for a whole docker config.
    pub host: String,
    /// Name of the store.
    pub store: String,
    /// Key inside the store, as in the spec.
    pub key: String,
    /// Version that was last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Time of the last successful read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub fetched_at: Option<Time>,
    /// Result of the last read: a reason of the condition `Fetched`.
    #[schemars(with = "String")]
    pub result: FetchedReason,
    /// Human-readable details of a failure, or of keys and entries that are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Interval at which each key of the store is polled, such as `50s`, where `maxPollsPerSecond` of the store
    /// makes it longer than `pollInterval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_interval: Option<String>,
}

/// Counts of the namespaces that a ClusterPullSecret selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespaceCounts {
    /// Number of selected namespaces.
    pub selected: u32,
    /// Number of selected namespaces that are in sync.
    pub in_sync: u32,
    /// Number of selected namespaces in which a write was rejected or failed.
    pub failed: u32,
}

/// Counts of the ServiceAccounts that a ClusterPullSecret selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAccountCounts {
    /// Number of selected ServiceAccounts.
    pub selected: u32,
    /// Number of selected ServiceAccounts that reference the pull secret.
    pub in_sync: u32,
}

/// One rotation: the rollout of a new credential version to every namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRotation {
    /// Trigger of the rotation.
    pub trigger: String,
    /// Time of the trigger.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub started_at: Time,
    /// Time from the trigger until the last namespace was in sync, such as `0.84s`.
    pub propagation: String,
    /// Part of `propagation` from the trigger until the keys were read.
    #[serde(default)]
    pub fetch: String,
    /// Part of `propagation` from the end of the reads to the first write.
    #[serde(default)]
    pub first_write: String,
    /// Part of `propagation` from the first write to the last.
    #[serde(default)]
    pub last_write: String,
}

/// One namespace that is not in sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetFailure {
    /// Name of the namespace.
    pub namespace: NamespaceName,
    /// Reason of the failure: one of the condition `Applied`.
    #[schemars(with = "String")]
    pub reason: AppliedReason,
    /// Human-readable details of the reason.
    pub message: String,
}

/// Counts as text, for the columns of `kubectl get`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Summary {
    /// Number of registries that could be read, of all: `2/2`.
    pub registries: String,
    /// Number of namespaces in sync, of all selected: `998/1000`.
    pub namespaces: String,
}

impl Condition {
    /// Returns a condition with its last transition at `now`.
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
    /// Returns the condition of this type, if there is one.
    #[must_use]
    pub fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Replaces the condition of the same type. If the status is unchanged, so is the time of the last
    /// transition.
    pub fn set_condition(&mut self, mut condition: Condition) {
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
    fn unchanged_status_keeps_the_transition_time() {
        let mut status = ClusterPullSecretStatus::default();
        status.set_condition(condition(AppliedReason::Applied, 1));
        status.set_condition(condition(ReadyReason::FetchFailed, 1));
        status.set_condition(condition(ReadyReason::ApplyFailed, 2));
        let ready = status.condition(ConditionType::Ready).expect("a condition");
        assert_eq!((ready.reason.as_str(), &ready.last_transition_time), ("ApplyFailed", &at(1)));
        status.set_condition(condition(ReadyReason::InSync, 3));
        assert_eq!(status.condition(ConditionType::Ready).map(|it| &it.last_transition_time), Some(&at(3)));
        let types: Vec<_> = status.conditions.iter().map(|it| it.type_).collect();
        assert_eq!(types, [ConditionType::Ready, ConditionType::Applied]);
    }

    #[test]
    fn status_serialises_as_in_kubernetes() {
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
                poll_interval: None,
            }],
            ..ClusterPullSecretStatus::default()
        };
        status.set_condition(condition(ReadyReason::InSync, 0));
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

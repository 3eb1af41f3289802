//! The types and the status of conditions.

use serde::{Deserialize, Serialize};

/// The type of a condition.
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
    /// The desired state of the spec is reached.
    Ready,
    /// The credentials of all registries could be read.
    Fetched,
    /// All namespaces are in sync.
    Applied,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// It is not known yet if the condition holds.
    Unknown,
}

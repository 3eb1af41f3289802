//! The `namespaces` of a ClusterPullSecret.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The namespaces to serve: `selector` and `include` must both match if both are set.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Namespaces {
    /// Label selector that the labels of a namespace must match. Default: any labels.
    pub selector: Option<LabelSelector>,
    /// Names or globs with `*`, `?` and `{one,other}`, one of which must match; at most 1000. An empty list
    /// selects none. `kube-system`, `kube-public`, `kube-node-lease` and that of regcred are selected only by name,
    /// never by a glob. Default: every namespace but these.
    #[schemars(length(max = 1000), inner(length(max = 253)))]
    pub include: Option<Vec<String>>,
    /// Names or globs with `*`, `?` and `{one,other}`, none of which may match; at most 1000. Default: none.
    #[serde(default)]
    #[schemars(length(max = 1000), inner(length(max = 253)))]
    pub exclude: Vec<String>,
}

/// A label selector, as everywhere in Kubernetes; an empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels that must have exactly these values; at most 64.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements that must all be met; at most 64.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelRequirement {
    /// Key of the label.
    #[schemars(length(max = 317))]
    pub key: String,
    /// Relation of the label to the values.
    pub operator: LabelOperator,
    /// Values for `In` and `NotIn`, at least one and at most 256; empty for `Exists` and `DoesNotExist`.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// The relation of a label to the values of its requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

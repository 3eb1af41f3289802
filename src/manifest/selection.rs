//! Which namespaces a ClusterPullSecret selects.
//!
//! [`Namespaces`] is the field as written, [`Selection`] the same after every check. Pure: a name and
//! its labels go in, yes or no comes out.

use std::collections::{BTreeMap, BTreeSet};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Namespaces that are never selected unless `include` names them: the cluster's own.
pub const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// Which namespaces: `selector` and `include` must both match where both are given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Namespaces {
    /// Labels the namespace must carry.
    pub selector: Option<LabelSelector>,
    /// Names or globs with `*`, `?` and `{one,other}`, one of which must match; an empty list selects none.
    /// `kube-system`, `kube-public` and `kube-node-lease` are selected only by name, never by a glob.
    #[schemars(length(max = 1000), inner(length(max = 253)))]
    pub include: Option<Vec<String>>,
    /// Names or globs with `*`, `?` and `{one,other}`, none of which may match.
    #[serde(default)]
    #[schemars(length(max = 1000), inner(length(max = 253)))]
    pub exclude: Vec<String>,
}

/// A label selector, as everywhere in Kubernetes; an empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels that must have exactly these values.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 64, "additionalProperties" = {"type": "string", "maxLength": 63}))]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements that must all hold.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelRequirement {
    /// The label.
    #[schemars(length(max = 317))]
    pub key: String,
    /// What must hold of it.
    pub operator: LabelOperator,
    /// The values for `In` and `NotIn`; empty for the other two.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// What a requirement says of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// Which namespaces a [`ClusterPullSecret`](super::cluster_pull_secret::PullSecret) selects.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Labels the namespace must carry.
    pub selector: LabelSelector,
    /// Names, one of which must match; `None` admits every namespace but the cluster's own.
    pub include: Option<Patterns>,
    /// Names, none of which may match.
    pub exclude: Patterns,
}

/// Names and globs.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    globs: GlobSet,
    written: BTreeSet<String>,
}

impl Selection {
    /// Whether the namespace of this name with these labels is selected.
    #[must_use]
    pub fn selects(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        // A glob says nothing of the cluster's own namespaces: `*` is written without thinking of them.
        let is_named = |include: &Patterns| include.written.contains(name);
        let is_admitted = !SYSTEM_NAMESPACES.contains(&name) || self.include.as_ref().is_some_and(is_named);
        is_admitted
            && self.include.as_ref().is_none_or(|include| include.is_match(name))
            && !self.exclude.is_match(name)
            && self.selector.matches(labels)
    }
}

impl Selection {
    /// Whether it asks for no namespace at all, as `include: []` does.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.include.as_ref().is_some_and(|include| include.written.is_empty())
    }
}

impl LabelSelector {
    /// Whether these labels are what the selector wants.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.holds(labels))
    }
}

impl LabelRequirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let is_one_of = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            LabelOperator::In => is_one_of,
            LabelOperator::NotIn => !is_one_of,
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

impl Patterns {
    /// The patterns as one, or the first that is no glob.
    pub fn compile(written: &[String]) -> Result<Self, globset::Error> {
        Ok(Self { globs: glob_set(written)?, written: written.iter().cloned().collect() })
    }

    /// Whether one of them matches.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        self.globs.is_match(name)
    }
}

/// Globs as one, which matches where any of them does.
pub(crate) fn glob_set(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut globs = GlobSetBuilder::new();
    for pattern in patterns {
        globs.add(glob(pattern)?);
    }
    globs.build()
}

/// A glob in which `*` and `?` stop at a slash and `**` does not.
pub(crate) fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{LabelOperator, LabelRequirement, LabelSelector, Patterns, Selection};

    fn patterns(written: &[&str]) -> Patterns {
        Patterns::compile(&written.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("globs")
    }

    fn labels(written: &[(&str, &str)]) -> BTreeMap<String, String> {
        written.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn check(include: Option<&[&str]>, exclude: &[&str], selected: &[&str], left_out: &[&str]) {
        let selection = Selection {
            selector: LabelSelector::default(),
            include: include.map(patterns),
            exclude: patterns(exclude),
        };
        for name in selected {
            assert!(selection.selects(name, &BTreeMap::new()), "{name} by {include:?} without {exclude:?}");
        }
        for name in left_out {
            assert!(!selection.selects(name, &BTreeMap::new()), "{name} by {include:?} without {exclude:?}");
        }
    }

    #[test]
    fn absent_fields_select_all_but_the_cluster_s_own() {
        check(None, &[], &["default", "kube-systems"], &["kube-system", "kube-public", "kube-node-lease"]);
    }

    #[test]
    fn exclude_wins() {
        check(Some(&["team-*"]), &["*-sandbox"], &["team-a"], &["team-sandbox", "other"]);
        check(None, &["default"], &["team-a"], &["default"]);
        check(Some(&["a"]), &["a"], &[], &["a"]);
    }

    #[test]
    fn an_empty_include_selects_none() {
        check(Some(&[]), &[], &[], &["default", "kube-system"]);
    }

    #[test]
    fn only_its_name_includes_a_system_namespace() {
        check(Some(&["*", "kube-*"]), &[], &["default"], &["kube-system"]);
        check(Some(&["*", "kube-system"]), &[], &["default", "kube-system"], &["kube-public"]);
    }

    #[test]
    fn selector_and_include_must_both_match() {
        let selection = Selection {
            selector: LabelSelector {
                match_labels: labels(&[("team", "web")]),
                match_expressions: Vec::new(),
            },
            include: Some(patterns(&["team-*"])),
            exclude: Patterns::default(),
        };
        assert!(selection.selects("team-a", &labels(&[("team", "web"), ("tier", "1")])));
        assert!(!selection.selects("team-a", &labels(&[("team", "db")])));
        assert!(!selection.selects("other", &labels(&[("team", "web")])));
    }

    #[test]
    fn requirements_hold_as_in_kubernetes() {
        let holds = |operator, values: &[&str], given: &[(&str, &str)]| {
            let values = values.iter().map(ToString::to_string).collect();
            LabelRequirement { key: "tier".to_owned(), operator, values }.holds(&labels(given))
        };
        assert!(holds(LabelOperator::In, &["a", "b"], &[("tier", "b")]));
        assert!(!holds(LabelOperator::In, &["a"], &[]));
        assert!(holds(LabelOperator::NotIn, &["a"], &[]));
        assert!(holds(LabelOperator::NotIn, &["a"], &[("tier", "b")]));
        assert!(!holds(LabelOperator::NotIn, &["a"], &[("tier", "a")]));
        assert!(holds(LabelOperator::Exists, &[], &[("tier", "")]));
        assert!(!holds(LabelOperator::Exists, &[], &[]));
        assert!(holds(LabelOperator::DoesNotExist, &[], &[("other", "a")]));
    }
}

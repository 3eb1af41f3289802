//! Selects namespaces by name and labels.
//!
//! [`Selection`] is the `namespaces` field after validation. Pure: a name and its labels go in, yes or no
//! comes out.

use std::collections::BTreeSet;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::wire::{LabelOperator, LabelRequirement, LabelSelector};
use crate::object_map::ObjectMap;
use crate::object_name::NamespaceName;

/// The namespaces of the cluster itself, which, like that of regcred, are never selected unless `include` names them.
pub const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// The namespaces that a ClusterPullSecret selects.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Labels that the namespace must have.
    pub selector: LabelSelector,
    /// Names, one of which must match; `None` admits every namespace except those of the cluster itself.
    pub include: Option<Patterns>,
    /// Names, none of which may match.
    pub exclude: Patterns,
    /// regcred's own namespace, which is never selected unless `include` names it.
    pub own_namespace: Option<NamespaceName>,
}

/// Names and globs.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    globs: GlobSet,
    written: BTreeSet<String>,
}

impl Selection {
    /// Returns true if the namespace of this name with these labels is selected.
    #[must_use]
    pub fn selects(&self, namespace_name: &NamespaceName, labels: &ObjectMap<String, String>) -> bool {
        let name = namespace_name.as_str();
        // A glob never selects the namespaces of the cluster itself, nor that of regcred: `*` is written without
        // thinking of them.
        let is_named = self.include.as_ref().is_some_and(|include| include.written.contains(name));
        let is_reserved =
            SYSTEM_NAMESPACES.contains(&name) || self.own_namespace.as_ref() == Some(namespace_name);
        let is_admitted = !is_reserved || is_named;
        is_admitted
            && self.include.as_ref().is_none_or(|include| include.is_match(name))
            && !self.exclude.is_match(name)
            && self.selector.matches(labels)
    }

    /// Returns true if it is the one of a ClusterPullSecret without `namespaces`.
    #[must_use]
    pub fn is_default(&self) -> bool {
        let Self { selector, include, exclude, own_namespace: _ } = self;
        *selector == LabelSelector::default() && include.is_none() && exclude.written.is_empty()
    }

    /// Returns true if it selects no namespace at all, as `include: []` does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.include.as_ref().is_some_and(|include| include.written.is_empty())
    }
}

impl LabelSelector {
    /// Returns true if these labels match the selector.
    #[must_use]
    pub fn matches(&self, labels: &ObjectMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.is_met(labels))
    }
}

impl LabelRequirement {
    fn is_met(&self, labels: &ObjectMap<String, String>) -> bool {
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
    /// Compiles all patterns, or fails with the first that is no glob.
    pub fn compile(written: &[String]) -> Result<Self, globset::Error> {
        Ok(Self { globs: glob_set(written)?, written: written.iter().cloned().collect() })
    }

    /// Returns true if one of them matches.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        self.globs.is_match(name)
    }
}

/// Compiles globs into a set that matches if any of them does.
pub(crate) fn glob_set(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut globs = GlobSetBuilder::new();
    for pattern in patterns {
        globs.add(glob(pattern)?);
    }
    globs.build()
}

/// Parses a glob in which `*` and `?` stop at a slash and `**` does not.
pub(crate) fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).build()
}

#[cfg(test)]
mod tests {
    use super::super::wire::{LabelOperator, LabelRequirement, LabelSelector};
    use super::{ObjectMap, Patterns, Selection};

    fn patterns(written: &[&str]) -> Patterns {
        Patterns::compile(&written.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("globs")
    }

    fn labels<T: FromIterator<(String, String)>>(written: &[(&str, &str)]) -> T {
        written.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn check(include: Option<&[&str]>, exclude: &[&str], selected: &[&str], left_out: &[&str]) {
        let selection = Selection {
            selector: LabelSelector::default(),
            include: include.map(patterns),
            exclude: patterns(exclude),
            own_namespace: Some("regcred-system".into()),
        };
        for name in selected {
            assert!(
                selection.selects(&(*name).into(), &ObjectMap::default()),
                "{name} by {include:?} without {exclude:?}"
            );
        }
        for name in left_out {
            assert!(
                !selection.selects(&(*name).into(), &ObjectMap::default()),
                "{name} by {include:?} without {exclude:?}"
            );
        }
    }

    #[test]
    fn absent_fields_select_all_but_system_namespaces() {
        let left_out = ["kube-system", "kube-public", "kube-node-lease", "regcred-system"];
        check(None, &[], &["default", "kube-systems"], &left_out);
    }

    #[test]
    fn exclude_wins() {
        check(Some(&["team-*"]), &["*-sandbox"], &["team-a"], &["team-sandbox", "other"]);
        check(None, &["default"], &["team-a"], &["default"]);
        check(Some(&["a"]), &["a"], &[], &["a"]);
    }

    #[test]
    fn empty_include_selects_none() {
        check(Some(&[]), &[], &[], &["default", "kube-system"]);
    }

    #[test]
    fn system_namespace_is_included_only_by_name() {
        check(Some(&["*", "kube-*"]), &[], &["default"], &["kube-system", "regcred-system"]);
        check(Some(&["regcred-*"]), &[], &["regcred-x"], &["regcred-system"]);
        check(Some(&["*", "regcred-system"]), &[], &["default", "regcred-system"], &["kube-system"]);
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
            own_namespace: None,
        };
        assert!(selection.selects(&"team-a".into(), &labels(&[("team", "web"), ("tier", "1")])));
        assert!(!selection.selects(&"team-a".into(), &labels(&[("team", "db")])));
        assert!(!selection.selects(&"other".into(), &labels(&[("team", "web")])));
    }

    fn is_met(operator: LabelOperator, values: &[&str], given: &[(&str, &str)]) -> bool {
        let values = values.iter().map(ToString::to_string).collect();
        LabelRequirement { key: "tier".to_owned(), operator, values }.is_met(&labels(given))
    }

    #[test]
    fn requirements_are_met_as_in_kubernetes() {
        assert!(is_met(LabelOperator::In, &["a", "b"], &[("tier", "b")]));
        assert!(!is_met(LabelOperator::In, &["a"], &[]));
        assert!(is_met(LabelOperator::NotIn, &["a"], &[]));
        assert!(is_met(LabelOperator::NotIn, &["a"], &[("tier", "b")]));
        assert!(!is_met(LabelOperator::NotIn, &["a"], &[("tier", "a")]));
        assert!(is_met(LabelOperator::Exists, &[], &[("tier", "")]));
        assert!(!is_met(LabelOperator::Exists, &[], &[]));
        assert!(is_met(LabelOperator::DoesNotExist, &[], &[("other", "a")]));
    }
}

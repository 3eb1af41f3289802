//! The `namespaces` of one ClusterPullSecret.

use super::super::field::{FieldErrors, FieldPath};
use super::super::names::Rule;
use super::super::selection::{Patterns, Selection};
use super::super::yaml::node::Node;
use super::super::{names, schema};
use super::text::{invalid_glob, is_list, validate_name};

pub(crate) const NO_VALUES: Rule = "must not be empty with the operators In and NotIn";
pub(crate) const VALUES: Rule = "must be empty with the operators Exists and DoesNotExist";

/// Returns the selection; an absent field selects every namespace.
pub(super) fn validate(path: &FieldPath<'_>, errors: &mut FieldErrors) -> Selection {
    let (selector, include) = (path.field("selector"), path.field("include"));
    validate_selector(&selector, errors);
    Selection {
        selector: schema::deserialize(&selector).unwrap_or_default(),
        include: include.node().map(|_| validate_patterns(&include, errors)),
        exclude: validate_patterns(&path.field("exclude"), errors),
        own_namespace: None,
    }
}

pub(super) fn validate_patterns(path: &FieldPath<'_>, errors: &mut FieldErrors) -> Patterns {
    for path in path.items() {
        validate_name(&path, names::namespace_pattern, errors);
    }
    let globs: Vec<String> = path
        .items()
        .filter_map(|path| path.text())
        .filter(|text| names::namespace_pattern(text).is_ok())
        .map(str::to_owned)
        .collect();
    Patterns::compile(&globs).unwrap_or_else(|error| {
        errors.push(invalid_glob(path, &error));
        Patterns::default()
    })
}

pub(super) fn validate_selector(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    let labels = path.field("matchLabels");
    for label in labels.node().into_iter().flat_map(Node::fields) {
        let path = labels.field(&label.name);
        if let Err(rule) = names::label_key(&label.name) {
            errors.push(path.error(rule));
        }
        validate_name(&path, names::label_value, errors);
    }
    for path in path.field("matchExpressions").items() {
        validate_requirement(&path, errors);
    }
}

fn validate_requirement(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    validate_name(&path.field("key"), names::label_key, errors);
    let values = path.field("values");
    for value in values.items() {
        validate_name(&value, names::label_value, errors);
    }
    if values.node().is_some() && !is_list(&values) {
        return;
    }
    match (path.field("operator").text(), values.items().next()) {
        (Some("In" | "NotIn"), None) => {
            errors.push(values.error(NO_VALUES));
        }
        (Some("Exists" | "DoesNotExist"), Some(_)) => {
            errors.push(values.error(VALUES));
        }
        _ => {}
    }
}

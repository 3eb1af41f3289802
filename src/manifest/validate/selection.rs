//! The namespaces of one ClusterPullSecret.

use super::super::field::{FieldErrors, FieldPath};
use super::super::names::Rule;
use super::super::node::Node;
use super::super::selection::{Patterns, Selection};
use super::super::{names, schema};
use super::{check_name, is_list, no_glob};

pub(crate) const NO_VALUES: Rule = "must not be empty with the operators In and NotIn";
pub(crate) const VALUES: Rule = "must be empty with the operators Exists and DoesNotExist";

/// The selection; where nothing is written, that of every namespace.
pub(super) fn check(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) -> Selection {
    let (selector, include) = (spot.field("selector"), spot.field("include"));
    check_selector(&selector, mistakes);
    Selection {
        selector: schema::part(&selector).unwrap_or_default(),
        include: include.node().map(|_| check_patterns(&include, mistakes)),
        exclude: check_patterns(&spot.field("exclude"), mistakes),
    }
}

fn check_patterns(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) -> Patterns {
    for spot in spot.items() {
        check_name(&spot, names::namespace_pattern, mistakes);
    }
    let is_good = |text: &&str| names::namespace_pattern(text).is_ok();
    let globs: Vec<String> =
        spot.items().filter_map(|spot| spot.text()).filter(is_good).map(str::to_owned).collect();
    Patterns::compile(&globs).unwrap_or_else(|error| {
        mistakes.push(no_glob(spot, &error));
        Patterns::default()
    })
}

fn check_selector(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    let labels = spot.field("matchLabels");
    for label in labels.node().into_iter().flat_map(Node::fields) {
        let spot = labels.field(&label.name);
        if let Err(rule) = names::label_key(&label.name) {
            mistakes.push(spot.mistake(rule));
        }
        check_name(&spot, names::label_value, mistakes);
    }
    for spot in spot.field("matchExpressions").items() {
        check_requirement(&spot, mistakes);
    }
}

fn check_requirement(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    check_name(&spot.field("key"), names::label_key, mistakes);
    let values = spot.field("values");
    for value in values.items() {
        check_name(&value, names::label_value, mistakes);
    }
    if values.node().is_some() && !is_list(&values) {
        return;
    }
    match (spot.field("operator").text(), values.items().next()) {
        (Some("In" | "NotIn"), None) => {
            mistakes.push(values.mistake(NO_VALUES));
        }
        (Some("Exists" | "DoesNotExist"), Some(_)) => {
            mistakes.push(values.mistake(VALUES));
        }
        _ => {}
    }
}

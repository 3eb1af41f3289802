//! The rules of the CRD: what a schema cannot say, in the words of the checks of files.
//!
//! Each is the twin of a check. The end-to-end tests send the API server what the checks refuse and
//! what they let pass, and compare.

use serde_json::{Value as Json, json};

use super::super::validate::{self, cluster_pull_secret, selection};
use super::super::{interval, names};
use super::{host, structure};

const LABEL: &str = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?";
const SUBDOMAIN: &str = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:[.][a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*";
const LABEL_VALUE: &str = "[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?";
/// What stands in a glob of names inside of braces, and outside.
const GLOB: &str = "[-a-z0-9*?]";

const SAME_HOST: &str =
    "two of them are one registry, however its host is spelled: each registry may be there once";
const SAME_CONFIG: &str = "two of them without a host take every entry of the same key: give it once";

/// One rule at one place of a schema.
pub(super) struct Rule {
    /// The place, such as `registries[].host` or `matchLabels.*`; empty for the schema itself.
    path: &'static str,
    /// What holds of `self`, which is what stands there.
    expression: String,
    /// What is wrong where it does not.
    message: String,
    /// The field that is wrong, where `self` has fields.
    field: Option<&'static str>,
}

impl Rule {
    fn new(path: &'static str, expression: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path, expression: expression.into(), message: message.into(), field: None }
    }

    fn at(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    /// Puts the rule where it belongs.
    pub(super) fn attach(&self, schema: &mut Json) {
        let steps = self.path.split('.').filter(|step| !step.is_empty());
        let place = steps.fold(schema, |schema, step| match step.strip_suffix("[]") {
            Some(list) => &mut schema["properties"][list]["items"],
            None if step == "*" => &mut schema["additionalProperties"],
            None => &mut schema["properties"][step],
        });
        let mut rule = json!({"rule": self.expression, "message": self.message});
        if let Some(field) = self.field {
            rule["fieldPath"] = json!(format!(".{field}"));
        }
        structure::add_rule(place, rule);
    }
}

/// What holds of the name; that it is a DNS name, the API server sees to.
pub(super) fn of_name() -> Rule {
    Rule::new(
        "",
        "self.metadata.name.size() <= 63",
        format!("metadata.name {}", cluster_pull_secret::LONG_NAME),
    )
}

/// What holds of a spec.
pub(super) fn of_spec() -> Vec<Rule> {
    let mut rules = vec![
        Rule::new("secretName", subdomain(), names::SUBDOMAIN),
        Rule::new(
            "refreshInterval",
            "self.matches(r'^(?:[0-9]{1,4}h)?(?:[0-9]{1,6}m)?(?:[0-9]{1,7}s)?$') && self != '' && \
             duration(self) >= duration('10s') && duration(self) <= duration('720h')",
            interval::INTERVAL,
        ),
        Rule::new("serviceAccounts", "size(self) < 2 || !('*' in self)", cluster_pull_secret::NOT_ALONE),
        Rule::new("serviceAccounts[]", format!("self == '*' || {}", subdomain()), names::SUBDOMAIN),
    ];
    rules.extend(of_registries());
    rules.extend(of_namespaces());
    rules
}

fn of_registries() -> Vec<Rule> {
    let same_host = format!("has(it.host) ? {} : ''", host::key("it.host"));
    let same_config = "has(it.host) ? '' : it.from.store + ' ' + it.from.key";
    let mut rules = vec![
        Rule::new("registries", "size(self) > 0", cluster_pull_secret::NO_REGISTRY),
        Rule::new("registries", once(&same_host), SAME_HOST),
        Rule::new("registries", once(same_config), SAME_CONFIG),
        of_text("username", "!has(self.from.usernameKey)", cluster_pull_secret::TWO_USERNAMES),
        of_text("username", "!TEXT.contains(':')", cluster_pull_secret::COLON),
        of_text("from.store", &matches("TEXT", LABEL), names::LABEL),
        of_text("from.key", r"!TEXT.matches(r'(?:^|/)[.]{1,2}(?:/|$)')", cluster_pull_secret::DOTS),
    ];
    for field in ["username", "from.usernameKey", "from.passwordKey"] {
        rules.push(of_text(field, "has(self.host)", cluster_pull_secret::NEEDS_HOST));
    }
    for field in ["username", "from.key", "from.usernameKey", "from.passwordKey"] {
        rules.push(of_text(field, "TEXT != ''", validate::EMPTY));
        rules.push(of_text(field, r"!TEXT.matches(r'\p{Cc}')", validate::CONTROL));
        rules.push(of_text(field, r"!TEXT.matches(r'^\p{Z}|\p{Z}$')", validate::SPACE));
    }
    rules.extend(host::rules().iter().map(|(rule, what)| of_text("host", rule, what)));
    rules
}

/// A rule for a text of a registry, `TEXT` in it, where the registry has that text. It stands at the
/// registry as a whole: the API server repeats what a rule for the text itself refuses, and that may be
/// a password in the wrong place.
fn of_text(field: &'static str, rule: &str, message: &str) -> Rule {
    let text = format!("self.{field}");
    Rule::new("registries[]", format!("!has({text}) || {}", rule.replace("TEXT", &text)), message).at(field)
}

fn of_namespaces() -> Vec<Rule> {
    const VALUES: &str = "has(self.values) && size(self.values) > 0";
    const REQUIREMENT: &str = "namespaces.selector.matchExpressions[]";
    let pattern = format!(
        "{} || self.matches(r'[*?{{]') && {}",
        matches("self", LABEL),
        matches("self", &format!("(?:{GLOB}|[{{]{GLOB}+(?:,{GLOB}+)*[}}])+"))
    );
    // The keys of a map have no bound of their own.
    let label_key = |text: &str| {
        let is_key = matches(text, &format!("(?:{SUBDOMAIN}/)?{LABEL_VALUE}"));
        format!("{text}.indexOf('/') <= 253 && {is_key}")
    };
    let label_value = matches("self", &format!("(?:{LABEL_VALUE})?"));
    vec![
        Rule::new("namespaces.include[]", pattern.clone(), names::PATTERN),
        Rule::new("namespaces.exclude[]", pattern, names::PATTERN),
        Rule::new(
            "namespaces.selector.matchLabels",
            format!("self.all(key, {})", label_key("key")),
            names::LABEL_KEY,
        ),
        Rule::new("namespaces.selector.matchLabels.*", label_value.clone(), names::LABEL_VALUE),
        Rule::new("namespaces.selector.matchExpressions[].key", label_key("self"), names::LABEL_KEY),
        Rule::new("namespaces.selector.matchExpressions[].values[]", label_value, names::LABEL_VALUE),
        Rule::new(
            REQUIREMENT,
            format!("!(self.operator in ['In', 'NotIn']) || {VALUES}"),
            selection::NO_VALUES,
        )
        .at("values"),
        Rule::new(
            REQUIREMENT,
            format!("!(self.operator in ['Exists', 'DoesNotExist']) || !({VALUES})"),
            selection::VALUES,
        )
        .at("values"),
    ]
}

/// That a list has whatever `key` makes of its items, each `it`, only once, or `''` any number of times.
/// The list around the keys gives them a name: they are made once, and compared often.
fn once(key: &str) -> String {
    format!(
        "[self.map(it, {key})].all(keys, \
         keys.all(key, key == '' || keys.exists_one(other, other == key)))"
    )
}

fn matches(text: &str, pattern: &str) -> String {
    format!("{text}.matches(r'^{pattern}$')")
}

fn subdomain() -> String {
    matches("self", SUBDOMAIN)
}

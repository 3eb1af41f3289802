//! The CEL rules of the CRD: the checks that a schema cannot express, with the messages that files get.
//!
//! Each is the twin of a check in [`validate`](super::super::validate). The end-to-end tests send the API
//! server manifests that the checks accept and reject, and compare.

use serde_json::{Value as Json, json};

use super::super::validate::{cluster_pull_secret, selection, text};
use super::super::{interval, names};
use super::{host, structure};

const LABEL: &str = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?";
const SUBDOMAIN: &str = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:[.][a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*";
const LABEL_VALUE: &str = "[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?";
/// A character of a glob of names, inside of braces and outside.
const GLOB: &str = "[-a-z0-9*?]";

const SAME_HOST: &str =
    "two entries are the same registry, however its host is spelled: list each registry only once";
const SAME_CONFIG: &str =
    "two entries without a host take every entry of the same key: list the key only once";

/// One rule of `x-kubernetes-validations`, at one place of a schema.
pub(super) struct ValidationRule {
    /// The place, such as `registries[].host` or `matchLabels.*`; empty for the schema itself.
    path: &'static str,
    /// The CEL expression, in which `self` is the value at the place.
    expression: String,
    /// The message if the expression is false.
    message: String,
    /// The field that the message is about, if `self` has fields.
    field: Option<&'static str>,
}

impl ValidationRule {
    fn new(path: &'static str, expression: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path, expression: expression.into(), message: message.into(), field: None }
    }

    fn at(self, field: &'static str) -> Self {
        Self { field: Some(field), ..self }
    }

    /// Attaches the rule to its place in a schema.
    pub(super) fn attach(&self, schema: &mut Json) {
        let steps = self.path.split('.').filter(|step| !step.is_empty());
        let target = steps.fold(schema, |schema, step| match step.strip_suffix("[]") {
            Some(list) => &mut schema["properties"][list]["items"],
            None if step == "*" => &mut schema["additionalProperties"],
            None => &mut schema["properties"][step],
        });
        let mut rule = json!({"rule": self.expression, "message": self.message});
        if let Some(field) = self.field {
            rule["fieldPath"] = json!(format!(".{field}"));
        }
        structure::add_rule(target, rule);
    }
}

/// Returns the rule for the name; the API server itself requires a DNS name.
pub(super) fn name_rule() -> ValidationRule {
    ValidationRule::new(
        "",
        "self.metadata.name.size() <= 63",
        format!("metadata.name {}", cluster_pull_secret::LONG_NAME),
    )
}

/// Returns the rules for a spec.
pub(super) fn spec_rules() -> Vec<ValidationRule> {
    let mut rules = vec![
        ValidationRule::new("secretName", subdomain(), names::SUBDOMAIN),
        ValidationRule::new(
            "refreshInterval",
            "self.matches(r'^(?:[0-9]{1,4}h)?(?:[0-9]{1,6}m)?(?:[0-9]{1,7}s)?$') && self != '' && \
             duration(self) >= duration('10s') && duration(self) <= duration('720h')",
            interval::INTERVAL,
        ),
        ValidationRule::new(
            "serviceAccounts",
            "size(self) < 2 || !('*' in self)",
            cluster_pull_secret::NOT_ALONE,
        ),
        ValidationRule::new("serviceAccounts[]", format!("self == '*' || {}", subdomain()), names::SUBDOMAIN),
    ];
    rules.extend(registry_rules());
    rules.extend(namespace_rules());
    rules
}

fn registry_rules() -> Vec<ValidationRule> {
    let same_host = format!("has(it.host) ? {} : ''", host::key("it.host"));
    let same_config = "has(it.host) ? '' : it.from.store + ' ' + \
                       (has(it.from.key) ? it.from.key : has(it.from.path) ? it.from.path : '')";
    let mut rules = vec![
        ValidationRule::new("registries", "size(self) > 0", cluster_pull_secret::NO_REGISTRY),
        ValidationRule::new("registries", once(&same_host), SAME_HOST),
        ValidationRule::new("registries", once(same_config), SAME_CONFIG),
        text_rule("username", "!has(self.from.usernameKey)", cluster_pull_secret::TWO_USERNAMES),
        text_rule("username", "!TEXT.contains(':')", cluster_pull_secret::COLON),
        text_rule("from.store", &matches("TEXT", LABEL), names::LABEL),
        text_rule("from.key", r"!TEXT.matches(r'(?:^|/)[.]{1,2}(?:/|$)')", cluster_pull_secret::DOTS),
        ValidationRule::new(
            "registries[].from",
            "has(self.key) != has(self.path)",
            cluster_pull_secret::KEY_OR_PATH,
        ),
        text_rule("from.method", "TEXT == 'read' || has(self.from.path)", cluster_pull_secret::NEEDS_PATH),
        text_rule("from.key", "!TEXT.matches('^(?:GET|POST) /')", cluster_pull_secret::KEY_IS_PATH),
        text_rule(
            "from.path",
            "TEXT.matches(r'^(?:[^{}]|[{][{]namespace[}][}])*$')",
            cluster_pull_secret::BRACES,
        ),
        text_rule(
            "from.path",
            r"TEXT.matches(r'^[-\w.:@+{}]+(?:/[-\w.:@+{}]+)+$') && !TEXT.matches(r'(?:^|/)[.]{1,2}(?:/|$)')",
            cluster_pull_secret::PATH_SPELLING,
        ),
        text_rule(
            "from.path",
            r"!TEXT.matches(r'(?i)(?:^|/)(?:sys|auth|cubbyhole)(?:/|$)')",
            cluster_pull_secret::SERVER_PATH,
        ),
        text_rule(
            "from.key",
            "TEXT.matches(r'^(?:[^{}]|[{][{]namespace[}][}])*$')",
            cluster_pull_secret::BRACES,
        ),
    ];
    for field in ["username", "from.usernameKey", "from.passwordKey"] {
        rules.push(text_rule(field, "!has(self.from.configKey)", cluster_pull_secret::WITH_CONFIG));
        rules.push(text_rule(field, "has(self.host)", cluster_pull_secret::NEEDS_HOST));
    }
    for field in ["username", "from.key", "from.usernameKey", "from.passwordKey", "from.configKey"] {
        rules.push(text_rule(field, "TEXT != ''", text::EMPTY));
        rules.push(text_rule(field, r"!TEXT.matches(r'\p{Cc}')", text::CONTROL));
        rules.push(text_rule(field, r"!TEXT.matches(r'^\p{Z}|\p{Z}$')", text::SPACE));
    }
    rules.extend(host::rules().iter().map(|(condition, message)| text_rule("host", condition, message)));
    rules
}

/// Returns a rule for an optional text of a registry, which is `TEXT` in it. The rule is attached to the
/// registry as a whole: the API server repeats a value that its own rule rejects, which may be a password in
/// the wrong place.
fn text_rule(field: &'static str, rule: &str, message: &str) -> ValidationRule {
    let text = format!("self.{field}");
    ValidationRule::new("registries[]", format!("!has({text}) || {}", rule.replace("TEXT", &text)), message)
        .at(field)
}

fn namespace_rules() -> Vec<ValidationRule> {
    const VALUES: &str = "has(self.values) && size(self.values) > 0";
    const REQUIREMENT: &str = "namespaces.selector.matchExpressions[]";
    let pattern = format!(
        "{} || self.matches(r'[*?{{]') && {}",
        matches("self", LABEL),
        matches("self", &format!("(?:{GLOB}|[{{]{GLOB}+(?:,{GLOB}+)*[}}])+"))
    );
    let label_value = matches("self", &format!("(?:{LABEL_VALUE})?"));
    vec![
        ValidationRule::new("namespaces.include[]", pattern.clone(), names::PATTERN),
        ValidationRule::new("namespaces.exclude[]", pattern, names::PATTERN),
        ValidationRule::new(
            "namespaces.selector.matchLabels",
            format!("self.all(key, {})", label_key("key")),
            names::LABEL_KEY,
        ),
        ValidationRule::new("namespaces.selector.matchLabels.*", label_value.clone(), names::LABEL_VALUE),
        ValidationRule::new(
            "namespaces.selector.matchExpressions[].key",
            label_key("self"),
            names::LABEL_KEY,
        ),
        ValidationRule::new(
            "namespaces.selector.matchExpressions[].values[]",
            label_value,
            names::LABEL_VALUE,
        ),
        ValidationRule::new(
            REQUIREMENT,
            format!("!(self.operator in ['In', 'NotIn']) || {VALUES}"),
            selection::NO_VALUES,
        )
        .at("values"),
        ValidationRule::new(
            REQUIREMENT,
            format!("!(self.operator in ['Exists', 'DoesNotExist']) || !({VALUES})"),
            selection::VALUES,
        )
        .at("values"),
    ]
}

/// Returns an expression: the keys that `key` makes of the items `it` of a list are unique, except for `''`.
/// The list around the keys gives them a name: they are computed once, and compared often.
fn once(key: &str) -> String {
    format!(
        "[self.map(it, {key})].all(keys, \
         keys.all(key, key == '' || keys.exists_one(other, other == key)))"
    )
}

/// Returns an expression for the key of a label, with a bound for its length: the keys of a map have none.
fn label_key(text: &str) -> String {
    let is_key = matches(text, &format!("(?:{SUBDOMAIN}/)?{LABEL_VALUE}"));
    format!("{text}.indexOf('/') <= 253 && {is_key}")
}

fn matches(text: &str, pattern: &str) -> String {
    format!("{text}.matches(r'^{pattern}$')")
}

fn subdomain() -> String {
    matches("self", SUBDOMAIN)
}

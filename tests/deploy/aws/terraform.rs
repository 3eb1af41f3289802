//! The Terraform module, with the names of the `CloudFormation` template.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::rendering::deploy;

/// The names of the data sources in `CloudFormation`.
const PSEUDO_PARAMETERS: &[(&str, &str)] = &[
    ("data.aws_partition.current.partition", "AWS::Partition"),
    ("data.aws_region.current.region", "AWS::Region"),
    ("data.aws_caller_identity.current.account_id", "AWS::AccountId"),
];

/// The blocks of every file, in Terraform's JSON syntax.
pub(super) struct Module(Value);

impl Module {
    pub(super) async fn read() -> Self {
        Self(world::terraform(&deploy("aws/terraform")).await.expect("a module"))
    }

    /// Returns every name that an expression can refer to.
    pub(super) fn declared(&self) -> BTreeSet<String> {
        let mut declared = BTreeSet::new();
        for (block, prefix) in [("variable", "var."), ("locals", "local.")] {
            declared.extend(self.blocks(block).flatten().map(|(name, _)| format!("{prefix}{name}")));
        }
        for (block, prefix) in [("data", "data."), ("resource", "")] {
            for (kind, bodies) in self.blocks(block).flatten() {
                let names = bodies.as_object().expect("a block").keys();
                declared.extend(names.map(|name| format!("{prefix}{kind}.{name}")));
            }
        }
        declared
    }

    /// Returns every name that an expression refers to.
    pub(super) fn used(&self) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        visit_texts(&self.0, &mut |text| {
            for path in paths(text) {
                let parts: Vec<&str> = path.split('.').collect();
                match parts.as_slice() {
                    ["var" | "local", name, ..] => used.insert(format!("{}.{name}", parts[0])),
                    ["data", kind, name, ..] => used.insert(format!("data.{kind}.{name}")),
                    [kind, name, ..] if kind.starts_with("aws_") => used.insert(format!("{kind}.{name}")),
                    _ => false,
                };
            }
        });
        used
    }

    /// Returns each variable by its name, with default and description.
    pub(super) fn variables(&self) -> BTreeMap<String, (Option<String>, String)> {
        let variables = self.blocks("variable").flatten();
        variables
            .map(|(name, it)| {
                (pascal(name), (literal(&it["default"]), literal(&it["description"]).unwrap_or_default()))
            })
            .collect()
    }

    pub(super) fn outputs(&self) -> BTreeSet<String> {
        self.blocks("output").flatten().map(|(name, _)| pascal(name)).collect()
    }

    /// Returns the event pattern of each rule.
    pub(super) fn event_patterns(&self) -> BTreeMap<String, Value> {
        let rules = self.blocks_of_type("resource", "aws_cloudwatch_event_rule");
        let patterns = rules.into_iter().map(|(name, rule)| {
            assert_eq!(rule["event_pattern"], format!("${{jsonencode(local.{name})}}"));
            (pascal(name), self.resolve(self.local(name)))
        });
        patterns.collect()
    }

    /// Returns the rules with a target, which has to be the queue.
    pub(super) fn targets(&self) -> BTreeSet<String> {
        let targets = self.blocks_of_type("resource", "aws_cloudwatch_event_target");
        let names = targets.into_iter().map(|(name, target)| {
            assert_eq!(target["arn"], "${aws_sqs_queue.queue.arn}", "{name}");
            let rule = target["rule"].as_str().expect("a rule");
            assert!(rule.contains(&format!("aws_cloudwatch_event_rule.{name}")), "{name}: {rule}");
            pascal(name)
        });
        names.collect()
    }

    /// Returns the resource with this name in `CloudFormation`.
    #[track_caller]
    pub(super) fn resource(&self, kind: &str, name: &str) -> &Value {
        let all = self.blocks_of_type("resource", kind);
        all.into_iter().find(|(it, _)| pascal(it) == name).unwrap_or_else(|| panic!("no {kind} {name}")).1
    }

    /// Returns every resource or data source of a type, by name.
    pub(super) fn blocks_of_type<'a>(&'a self, block: &str, kind: &str) -> BTreeMap<&'a str, &'a Value> {
        let blocks = self.blocks(block).filter_map(|it| it.get(kind)?.as_object()).flatten();
        blocks.map(|(name, body)| (name.as_str(), body)).collect()
    }

    /// Resolves every expression of a value to the names of `CloudFormation`: `${SecretNamePrefix}`, `${Queue.Arn}`.
    pub(super) fn resolve(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.resolve_text(text).into(),
            Value::Array(items) => items.iter().map(|item| self.resolve(item)).collect(),
            Value::Object(fields) => {
                let fields =
                    fields.iter().map(|(name, field)| (self.resolve_text(name), self.resolve(field)));
                Value::Object(fields.collect())
            }
            other => other.clone(),
        }
    }

    /// Returns every ARN that an expression refers to, with the names of `CloudFormation`.
    pub(super) fn arns(expression: &str) -> Vec<String> {
        let resources = paths(expression).filter(|path| path.starts_with("aws_"));
        resources.filter_map(|path| Some(format!("${{{}.Arn}}", pascal(path.split('.').nth(1)?)))).collect()
    }

    fn resolve_text(&self, text: &str) -> String {
        let mut resolved = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (expression, after) = after.split_once('}').expect("the end of an expression");
            resolved.push_str(before);
            resolved.push_str(&self.resolve_path(expression));
            rest = after;
        }
        resolved + rest
    }

    fn resolve_path(&self, path: &str) -> String {
        if let Some((_, name)) = PSEUDO_PARAMETERS.iter().find(|(it, _)| *it == path) {
            return format!("${{{name}}}");
        }
        let parts: Vec<&str> = path.split('.').collect();
        match parts.as_slice() {
            ["var", name] => format!("${{{}}}", pascal(name)),
            ["local", name] => self.resolve_text(self.local(name).as_str().expect("a text")),
            [_, name, "arn"] => format!("${{{}.Arn}}", pascal(name)),
            _ => panic!("{path} has no counterpart in CloudFormation"),
        }
    }

    #[track_caller]
    fn local(&self, name: &str) -> &Value {
        self.blocks("locals").find_map(|it| it.get(name)).unwrap_or_else(|| panic!("no local {name}"))
    }

    fn blocks(&self, kind: &str) -> impl Iterator<Item = &Map<String, Value>> {
        self.0[kind].as_array().into_iter().flatten().filter_map(Value::as_object)
    }
}

/// Returns a literal as text; `None` for null.
fn literal(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Converts `secret_name_prefix` to `SecretNamePrefix`.
fn pascal(snake: &str) -> String {
    let words = snake.split('_').map(|word| {
        let (first, rest) = word.split_at(1.min(word.len()));
        first.to_uppercase() + rest
    });
    words.collect()
}

/// Returns the candidates for paths in a text: words with dots between them.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).filter(|it| it.contains('.'))
}

/// Calls `visit` with every text and every field name of a value.
fn visit_texts(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| visit_texts(item, visit)),
        Value::Object(fields) => {
            for (name, field) in fields {
                visit(name);
                visit_texts(field, visit);
            }
        }
        _ => {}
    }
}

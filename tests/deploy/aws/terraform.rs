//! The Terraform module, told in the words of the `CloudFormation` template.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::rendering::deploy;

/// What the data sources are called in `CloudFormation`.
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

    /// Every name that an expression may refer to.
    pub(super) fn declared(&self) -> BTreeSet<String> {
        let named = |kind: &str, prefix: &str| -> Vec<String> {
            self.blocks(kind).flatten().map(|(name, _)| format!("{prefix}{name}")).collect()
        };
        let typed = |kind: &str, prefix: &str| -> Vec<String> {
            let types = self.blocks(kind).flatten();
            let paths = types.flat_map(|(kind, blocks)| {
                blocks.as_object().expect("a block").keys().map(move |name| format!("{prefix}{kind}.{name}"))
            });
            paths.collect()
        };
        [named("variable", "var."), named("locals", "local."), typed("data", "data."), typed("resource", "")]
            .concat()
            .into_iter()
            .collect()
    }

    /// Every name that an expression refers to.
    pub(super) fn used(&self) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        each_text(&self.0, &mut |text| {
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

    /// Each variable by its name, with default and description.
    pub(super) fn variables(&self) -> BTreeMap<String, (Option<String>, String)> {
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let variables = self.blocks("variable").flatten();
        variables
            .map(|(name, it)| {
                (pascal(name), (text(&it["default"]), text(&it["description"]).unwrap_or_default()))
            })
            .collect()
    }

    pub(super) fn outputs(&self) -> BTreeSet<String> {
        self.blocks("output").flatten().map(|(name, _)| pascal(name)).collect()
    }

    /// The pattern of each rule.
    pub(super) fn event_patterns(&self) -> BTreeMap<String, Value> {
        let rules = self.of_type("resource", "aws_cloudwatch_event_rule");
        let patterns = rules.into_iter().map(|(name, rule)| {
            assert_eq!(rule["event_pattern"], format!("${{jsonencode(local.{name})}}"));
            (pascal(name), self.resolve(self.local(name)))
        });
        patterns.collect()
    }

    /// The rules that have a target, each of which is the queue.
    pub(super) fn targets(&self) -> BTreeSet<String> {
        let targets = self.of_type("resource", "aws_cloudwatch_event_target");
        let names = targets.into_iter().map(|(name, target)| {
            assert_eq!(target["arn"], "${aws_sqs_queue.queue.arn}", "{name}");
            let rule = target["rule"].as_str().expect("a rule");
            assert!(rule.contains(&format!("aws_cloudwatch_event_rule.{name}")), "{name}: {rule}");
            pascal(name)
        });
        names.collect()
    }

    /// The resource that has this name in `CloudFormation`.
    #[track_caller]
    pub(super) fn resource(&self, kind: &str, name: &str) -> &Value {
        let all = self.of_type("resource", kind);
        all.into_iter()
            .find(|(it, _)| pascal(it) == name)
            .unwrap_or_else(|| panic!("there is no {kind} {name}"))
            .1
    }

    /// Every resource or data source of a type, by its name.
    pub(super) fn of_type<'a>(&'a self, block: &str, kind: &str) -> BTreeMap<&'a str, &'a Value> {
        let blocks = self.blocks(block).filter_map(|it| it.get(kind)?.as_object()).flatten();
        blocks.map(|(name, body)| (name.as_str(), body)).collect()
    }

    /// A value with every expression in the words of `CloudFormation`: `${SecretNamePrefix}`, `${Queue.Arn}`.
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

    /// Every ARN that an expression refers to, in the words of `CloudFormation`.
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
            _ => panic!("{path} has no word in CloudFormation"),
        }
    }

    #[track_caller]
    fn local(&self, name: &str) -> &Value {
        self.blocks("locals")
            .find_map(|it| it.get(name))
            .unwrap_or_else(|| panic!("there is no local {name}"))
    }

    fn blocks(&self, kind: &str) -> impl Iterator<Item = &Map<String, Value>> {
        self.0[kind].as_array().into_iter().flatten().filter_map(Value::as_object)
    }
}

/// `secret_name_prefix` as `SecretNamePrefix`.
fn pascal(snake: &str) -> String {
    let words = snake.split('_').map(|word| {
        let (first, rest) = word.split_at(1.min(word.len()));
        first.to_uppercase() + rest
    });
    words.collect()
}

/// Whatever in a text may be the path of something: words with dots between them.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).filter(|it| it.contains('.'))
}

fn each_text(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => see(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, see)),
        Value::Object(fields) => {
            for (name, field) in fields {
                see(name);
                each_text(field, see);
            }
        }
        _ => {}
    }
}

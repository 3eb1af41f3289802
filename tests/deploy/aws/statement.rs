//! Statements of IAM, from `CloudFormation` and from Terraform, in one form.

use std::collections::BTreeMap;

use serde_json::Value;

use super::terraform::Module;

/// Every statement by its `Sid`.
#[derive(Debug, PartialEq)]
pub(super) struct Statements(pub(super) BTreeMap<String, Statement>);

#[derive(Debug, PartialEq)]
pub(super) struct Statement {
    /// Sorted.
    pub(super) actions: Vec<String>,
    pub(super) resources: Vec<String>,
    /// `Service events.amazonaws.com`.
    pub(super) principals: Vec<String>,
    /// By test and variable: `ArnEquals aws:SourceArn`.
    pub(super) conditions: BTreeMap<String, Vec<String>>,
    /// It is there only where the reader wants it.
    pub(super) is_optional: bool,
}

impl Statements {
    /// Those of every policy among the resources.
    pub(super) fn of_template(resources: &Value) -> Self {
        let mut statements = BTreeMap::new();
        for resource in resources.as_object().expect("resources").values() {
            for policy in ["PolicyDocument", "AssumeRolePolicyDocument"] {
                let policy = &resource["Properties"][policy];
                let either = policy["Fn::If"].as_array().map(|either| &either[1..]);
                for document in either.unwrap_or(std::slice::from_ref(policy)) {
                    let document = document_of(document);
                    for statement in document["Statement"].as_array().into_iter().flatten() {
                        let (sid, statement) = of_template(statement);
                        assert!(statements.insert(sid.clone(), statement).is_none(), "{sid} is there twice");
                    }
                }
            }
        }
        Self(statements)
    }

    /// Those of every document of the module.
    pub(super) fn of_module(module: &Module) -> Self {
        let mut statements = BTreeMap::new();
        for document in module.of_type("data", "aws_iam_policy_document").values() {
            let always = list(&document["statement"]).iter().map(|it| (it, false));
            let dynamic = list(&document["dynamic"]).iter();
            let optional = dynamic.flat_map(|it| list(&it["statement"]["content"])).map(|it| (it, true));
            for (statement, is_optional) in always.chain(optional) {
                let (sid, statement) = of_module(module, statement, is_optional);
                assert!(statements.insert(sid.clone(), statement).is_none(), "{sid} is there twice");
            }
        }
        Self(statements)
    }

    /// The actions of what is granted to regcred itself, and not to a service or to who takes on its role.
    pub(super) fn of_regcred(&self) -> BTreeMap<String, Vec<String>> {
        let own = self.0.iter().filter(|(_, statement)| statement.principals.is_empty());
        own.map(|(sid, statement)| (sid.clone(), statement.actions.clone())).collect()
    }
}

/// A value of `CloudFormation` with its functions as text: `${Queue.Arn}`. What is there under a condition is there.
pub(super) fn resolve(value: &Value) -> Value {
    let single = |name: &str| value.as_object().filter(|it| it.len() == 1).and_then(|it| it.get(name));
    if let Some(name) = single("Ref").and_then(Value::as_str) {
        return format!("${{{name}}}").into();
    }
    if let Some(text) = single("Fn::Sub") {
        return text.clone();
    }
    if let Some(path) = single("Fn::GetAtt").and_then(Value::as_array) {
        let parts: Vec<&str> = path.iter().filter_map(Value::as_str).collect();
        return format!("${{{}}}", parts.join(".")).into();
    }
    if let Some(either) = single("Fn::If") {
        assert_eq!(either[2]["Ref"], "AWS::NoValue", "{either}");
        return resolve(&either[1]);
    }
    match value {
        Value::Array(items) => items.iter().map(resolve).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, field)| (name.clone(), resolve(field))).collect())
        }
        other => other.clone(),
    }
}

/// A policy, which may be written as text.
fn document_of(policy: &Value) -> Value {
    match policy["Fn::Sub"].as_str() {
        Some(text) => serde_json::from_str(text).expect("a policy in JSON"),
        None => policy.clone(),
    }
}

fn of_template(written: &Value) -> (String, Statement) {
    let is_optional = written.get("Fn::If").is_some();
    let statement = resolve(written);
    assert_eq!(statement["Effect"], "Allow", "{statement}");
    let principals = statement["Principal"].as_object().into_iter().flatten();
    let conditions =
        statement["Condition"].as_object().into_iter().flatten().flat_map(|(test, variables)| {
            let variables = variables.as_object().expect("variables");
            variables.iter().map(move |(variable, values)| (format!("{test} {variable}"), texts(values)))
        });
    let statement_ = Statement {
        actions: sorted(texts(&statement["Action"])),
        resources: texts(&statement["Resource"]),
        principals: principals
            .flat_map(|(kind, who)| texts(who).into_iter().map(move |it| format!("{kind} {it}")))
            .collect(),
        conditions: conditions.collect(),
        is_optional,
    };
    (statement["Sid"].as_str().expect("a Sid").to_owned(), statement_)
}

fn of_module(module: &Module, written: &Value, is_optional: bool) -> (String, Statement) {
    let resolved = |value: &Value| match value.as_str() {
        Some(expression) => Module::arns(expression),
        None => texts(&module.resolve(value)),
    };
    let principals = list(&written["principals"]).iter().flat_map(|it| {
        let kind = it["type"].as_str().expect("a type");
        resolved(&it["identifiers"]).into_iter().map(move |who| format!("{kind} {who}"))
    });
    let conditions = list(&written["condition"]).iter().map(|it| {
        let name = format!(
            "{} {}",
            it["test"].as_str().expect("a test"),
            texts(&module.resolve(&it["variable"])).concat()
        );
        (name, resolved(&it["values"]))
    });
    let statement = Statement {
        actions: sorted(texts(&written["actions"])),
        resources: resolved(&written["resources"]),
        principals: principals.collect(),
        conditions: conditions.collect(),
        is_optional,
    };
    (written["sid"].as_str().expect("a sid").to_owned(), statement)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// One text or many.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        other => panic!("{other} is no text"),
    }
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

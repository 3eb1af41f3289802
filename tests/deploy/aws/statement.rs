//! IAM statements, from `CloudFormation` and from Terraform, in one form.

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
    /// True if a parameter enables the statement.
    pub(super) is_optional: bool,
}

impl Statements {
    /// Reads the statements of every policy among the resources.
    pub(super) fn from_template(resources: &Value) -> Self {
        let mut statements = BTreeMap::new();
        for resource in resources.as_object().expect("resources").values() {
            for policy in ["PolicyDocument", "AssumeRolePolicyDocument"] {
                let policy = &resource["Properties"][policy];
                let alternatives = policy["Fn::If"].as_array().map(|branches| &branches[1..]);
                for document in alternatives.unwrap_or(std::slice::from_ref(policy)) {
                    let document = document_of(document);
                    for statement in document["Statement"].as_array().into_iter().flatten() {
                        let (sid, statement) = named_statement_from_template(statement);
                        assert!(statements.insert(sid.clone(), statement).is_none(), "duplicate {sid}");
                    }
                }
            }
        }
        Self(statements)
    }

    /// Reads the statements of every policy document of the module.
    pub(super) fn from_module(module: &Module) -> Self {
        let mut statements = BTreeMap::new();
        for document in module.blocks_of_type("data", "aws_iam_policy_document").values() {
            let always = list(&document["statement"]).iter().map(|it| (it, false));
            let dynamic = list(&document["dynamic"]).iter();
            let optional = dynamic.flat_map(|it| list(&it["statement"]["content"])).map(|it| (it, true));
            for (statement, is_optional) in always.chain(optional) {
                let (sid, statement) = named_statement_from_module(module, statement, is_optional);
                assert!(statements.insert(sid.clone(), statement).is_none(), "duplicate {sid}");
            }
        }
        Self(statements)
    }

    /// Returns the actions that are granted to regcred itself, not to a service or a principal that assumes its role.
    pub(super) fn rights_of_regcred(&self) -> BTreeMap<&str, Vec<&str>> {
        let own = self.0.iter().filter(|(_, statement)| statement.principals.is_empty());
        own.map(|(sid, statement)| (sid.as_str(), statement.actions.iter().map(String::as_str).collect()))
            .collect()
    }
}

/// Resolves a value of `CloudFormation`: functions become text such as `${Queue.Arn}`, conditions are true.
pub(super) fn resolve(value: &Value) -> Value {
    if let Some(name) = argument_of(value, "Ref").and_then(Value::as_str) {
        return format!("${{{name}}}").into();
    }
    if let Some(text) = argument_of(value, "Fn::Sub") {
        return text.clone();
    }
    if let Some(path) = argument_of(value, "Fn::GetAtt").and_then(Value::as_array) {
        let parts: Vec<&str> = path.iter().filter_map(Value::as_str).collect();
        return format!("${{{}}}", parts.join(".")).into();
    }
    if let Some(branches) = argument_of(value, "Fn::If") {
        assert_eq!(branches[2]["Ref"], "AWS::NoValue", "{branches}");
        return resolve(&branches[1]);
    }
    match value {
        Value::Array(items) => items.iter().map(resolve).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, field)| (name.clone(), resolve(field))).collect())
        }
        other => other.clone(),
    }
}

/// Returns the argument of a function of `CloudFormation`, if the value is a call of it.
fn argument_of<'a>(value: &'a Value, function: &str) -> Option<&'a Value> {
    value.as_object().filter(|it| it.len() == 1)?.get(function)
}

/// Returns a policy, which may be JSON in a text.
fn document_of(policy: &Value) -> Value {
    match policy["Fn::Sub"].as_str() {
        Some(text) => serde_json::from_str(text).expect("a policy in JSON"),
        None => policy.clone(),
    }
}

fn named_statement_from_template(written: &Value) -> (String, Statement) {
    let is_optional = written.get("Fn::If").is_some();
    let resolved = resolve(written);
    assert_eq!(resolved["Effect"], "Allow", "{resolved}");
    let principals = resolved["Principal"].as_object().into_iter().flatten();
    let conditions = resolved["Condition"].as_object().into_iter().flatten().flat_map(|(test, variables)| {
        let variables = variables.as_object().expect("variables");
        variables.iter().map(move |(variable, values)| (format!("{test} {variable}"), texts(values)))
    });
    let statement = Statement {
        actions: sorted(texts(&resolved["Action"])),
        resources: texts(&resolved["Resource"]),
        principals: principals
            .flat_map(|(kind, ids)| texts(ids).into_iter().map(move |id| format!("{kind} {id}")))
            .collect(),
        conditions: conditions.collect(),
        is_optional,
    };
    (resolved["Sid"].as_str().expect("a Sid").to_owned(), statement)
}

fn named_statement_from_module(module: &Module, written: &Value, is_optional: bool) -> (String, Statement) {
    let principals = list(&written["principals"]).iter().flat_map(|it| {
        let kind = it["type"].as_str().expect("a type");
        resolved_texts(module, &it["identifiers"]).into_iter().map(move |id| format!("{kind} {id}"))
    });
    let conditions = list(&written["condition"]).iter().map(|it| {
        let name = format!(
            "{} {}",
            it["test"].as_str().expect("a test"),
            texts(&module.resolve(&it["variable"])).concat()
        );
        (name, resolved_texts(module, &it["values"]))
    });
    let statement = Statement {
        actions: sorted(texts(&written["actions"])),
        resources: resolved_texts(module, &written["resources"]),
        principals: principals.collect(),
        conditions: conditions.collect(),
        is_optional,
    };
    (written["sid"].as_str().expect("a sid").to_owned(), statement)
}

/// Resolves a list of texts, or the ARNs of an expression.
fn resolved_texts(module: &Module, value: &Value) -> Vec<String> {
    match value.as_str() {
        Some(expression) => Module::arns(expression),
        None => texts(&module.resolve(value)),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Returns one text or many as a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        other => panic!("{other} is not a text"),
    }
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

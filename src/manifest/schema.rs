//! Validates documents against a JSON schema: known fields, all of those required, right types.
//!
//! The schema is that of the wire type, so the Rust types stay the only source of truth. serde would stop
//! at the first error and repeat the value there; this finds all errors, and serde reads documents that
//! have none.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::field::{FieldErrors, FieldPath, quoted};
use super::suggest;
use super::yaml::node::{Node, Value};

/// Adds an error for every place of a document that does not match the schema of `T`.
///
/// The `ignored` fields at its root may have any value.
pub(crate) fn validate<T: JsonSchema>(path: &FieldPath<'_>, ignored: &[&str], errors: &mut FieldErrors) {
    if let Some(node) = path.node() {
        validate_node(&node.without(ignored), path, &schema::<T>(), errors);
    }
}

/// Deserialises a part of a document; `None` if it does not match the schema: then [`validate`] has an error.
pub(crate) fn deserialize<T: DeserializeOwned>(path: &FieldPath<'_>) -> Option<T> {
    serde_json::from_value(path.node()?.to_json()).ok()
}

/// Returns the JSON schema of a wire type, with all definitions inlined.
pub(crate) fn schema<T: JsonSchema>() -> Json {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Returns the types of a schema, without `null`: an optional field is absent, not null.
pub(crate) fn types(schema: &Json) -> Vec<&str> {
    match &schema["type"] {
        Json::String(name) => vec![name],
        Json::Array(names) => names.iter().filter_map(Json::as_str).filter(|name| *name != "null").collect(),
        _ => Vec::new(),
    }
}

/// Returns the values of an enum, which schemars writes as `enum`, or as `oneOf` if the values have docs.
pub(crate) fn choices(schema: &Json) -> Vec<&str> {
    let alternatives = ["oneOf", "anyOf"].iter().filter_map(|key| schema[*key].as_array()).flatten();
    let documented = alternatives.flat_map(|alternative| match alternative["const"].as_str() {
        Some(value) => vec![value],
        None => choices(alternative),
    });
    let plain = schema["enum"].as_array().into_iter().flatten().filter_map(Json::as_str);
    documented.chain(plain).collect()
}

fn validate_node(node: &Node, path: &FieldPath<'_>, schema: &Json, errors: &mut FieldErrors) {
    if matches!(node.value, Value::Null) {
        errors.push(path.error("has no value: give it one, or remove the field"));
        return;
    }
    let choices = choices(schema);
    if !choices.is_empty() {
        match node.text() {
            Some(text) if choices.contains(&text) => {}
            Some(text) => {
                errors.push(path.error(format!("no such value; {}", suggest::hint(text, &choices))));
            }
            None => errors.push(path.error(format!("must be one of {}", choices.join(", ")))),
        }
        return;
    }
    let types = types(schema);
    let Some(expected) = types.first() else { return };
    match (*expected, &node.value) {
        ("object", Value::Map(fields)) => {
            validate_count(fields.len(), "fields", &schema["maxProperties"], path, errors);
            validate_fields(node, path, schema, errors);
        }
        ("array", Value::List(items)) => {
            validate_count(items.len(), "items", &schema["maxItems"], path, errors);
            for (item, item_path) in items.iter().zip(path.items()) {
                validate_node(item, &item_path, &schema["items"], errors);
            }
        }
        ("integer", Value::Integer(number)) => validate_range(*number, path, schema, errors),
        ("string", Value::Text(text)) => {
            validate_count(text.chars().count(), "characters", &schema["maxLength"], path, errors);
        }
        ("boolean", Value::Bool(_)) | ("number", Value::Integer(_) | Value::Float(_)) => {}
        ("string", Value::Bool(_) | Value::Integer(_) | Value::Float(_)) => {
            errors
                .push(path.error(format!("must be text, but is {} to YAML: put it in quotes", node.kind())));
        }
        (expected, _) => {
            let expected = match expected {
                "object" => "a map",
                "array" => "a list",
                "integer" => "a whole number",
                "number" => "a number",
                "boolean" => "true or false",
                _ => "text",
            };
            errors.push(path.error(format!("must be {expected}, not {}", node.kind())));
        }
    }
}

fn validate_fields(node: &Node, path: &FieldPath<'_>, schema: &Json, errors: &mut FieldErrors) {
    let known = schema["properties"].as_object();
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    for name in required.filter(|name| node.field(name).is_none()) {
        errors.push(path.error(format!("the field {name} is missing")));
    }
    for field in node.fields() {
        let field_path = path.field(&field.name);
        match (known.and_then(|known| known.get(&field.name)), &schema["additionalProperties"]) {
            (Some(schema), _) => validate_node(&field.node, &field_path, schema, errors),
            (None, Json::Bool(false)) => {
                let known: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                let hint = suggest::hint(&field.name, &known);
                let advice = if is_password(&field.name) { "passwords stay in the store; " } else { "" };
                errors.push(field_path.error(format!("unknown field; {advice}{hint}")));
            }
            (None, Json::Object(_)) => {
                validate_node(&field.node, &field_path, &schema["additionalProperties"], errors);
            }
            (None, _) => {}
        }
    }
}

/// Returns true if a field of this name would hold a secret, which no manifest should.
fn is_password(name: &str) -> bool {
    ["password", "passwd", "token", "secret"].iter().any(|word| name.eq_ignore_ascii_case(word))
}

fn validate_range(number: i64, path: &FieldPath<'_>, schema: &Json, errors: &mut FieldErrors) {
    let (least, most) = (bound(&schema["minimum"]), bound(&schema["maximum"]));
    if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
        let detail = match (least, most) {
            (Some(least), Some(most)) if most == least + 1 => format!("must be {least} or {most}"),
            (Some(least), Some(most)) => format!("must be from {least} to {most}"),
            (Some(least), None) => format!("must be at least {least}"),
            (_, most) => format!("must be at most {}", most.unwrap_or(i64::MAX)),
        };
        errors.push(path.error(detail));
    }
}

/// Reads a bound, which schemars writes either as an integer or as a float.
#[expect(clippy::cast_possible_truncation, reason = "bounds are small whole numbers")]
fn bound(json: &Json) -> Option<i64> {
    json.as_i64().or_else(|| json.as_f64().map(|bound| bound as i64))
}

/// Rejects more elements than the schema admits; the API server counts the same way.
fn validate_count(count: usize, elements: &str, most: &Json, path: &FieldPath<'_>, errors: &mut FieldErrors) {
    if let Some(most) = most.as_u64().filter(|most| count as u64 > *most) {
        errors.push(path.error(format!("must have at most {most} {elements}")));
    }
}

/// Returns the message for a word that is none of the known ones.
pub(crate) fn unknown(kind: &str, word: &str, known: &[&str]) -> String {
    format!("unknown {kind} {}; {}", quoted(word), suggest::hint(word, known))
}

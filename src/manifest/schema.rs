//! Whether a document has the shape its kind wants: known fields, all of those required, right types.
//!
//! The shape is the JSON schema of the raw type, so the Rust types stay the only source of truth.
//! serde would stop at the first mistake and repeat what is written there; this finds them all, and
//! serde reads what has none.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::field::{FieldErrors, FieldPath, shown};
use super::node::{Node, Value};
use super::suggest;

/// Notes every place where a document does not have the shape of `T`.
///
/// The `ignored` fields at its root may be there and say nothing.
pub(crate) fn validate<T: JsonSchema>(spot: &FieldPath<'_>, ignored: &[&str], mistakes: &mut FieldErrors) {
    if let Some(node) = spot.node() {
        check_node(&node.without(ignored), spot, &schema::<T>(), mistakes);
    }
}

/// A part of a document as `T`, where it has that shape; where it has not, [`check`] says so.
pub(crate) fn part<T: DeserializeOwned>(spot: &FieldPath<'_>) -> Option<T> {
    serde_json::from_value(spot.node()?.to_json()).ok()
}

/// The JSON schema of a raw type, everything in one piece.
pub(crate) fn schema<T: JsonSchema>() -> Json {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The types a schema names, without `null`: an optional field is left out, not given as null.
pub(crate) fn types(schema: &Json) -> Vec<&str> {
    match &schema["type"] {
        Json::String(name) => vec![name],
        Json::Array(names) => names.iter().filter_map(Json::as_str).filter(|name| *name != "null").collect(),
        _ => Vec::new(),
    }
}

/// The values of an enum, which schemars writes as `enum`, or as `oneOf` where the values have docs.
pub(crate) fn choices(schema: &Json) -> Vec<&str> {
    let alternatives = ["oneOf", "anyOf"].iter().filter_map(|key| schema[*key].as_array()).flatten();
    let documented = alternatives.flat_map(|alternative| match alternative["const"].as_str() {
        Some(value) => vec![value],
        None => choices(alternative),
    });
    let plain = schema["enum"].as_array().into_iter().flatten().filter_map(Json::as_str);
    documented.chain(plain).collect()
}

fn check_node(node: &Node, spot: &FieldPath<'_>, schema: &Json, mistakes: &mut FieldErrors) {
    if matches!(node.value, Value::Null) {
        mistakes.push(spot.mistake("has no value: give it one, or remove the field"));
        return;
    }
    let choices = choices(schema);
    if !choices.is_empty() {
        match node.text() {
            Some(text) if choices.contains(&text) => {}
            Some(text) => {
                mistakes.push(spot.mistake(format!("no such value; {}", suggest::hint(text, &choices))));
            }
            None => mistakes.push(spot.mistake(format!("must be one of {}", choices.join(", ")))),
        }
        return;
    }
    let types = types(schema);
    let Some(wanted) = types.first() else { return };
    match (*wanted, &node.value) {
        ("object", Value::Map(fields)) => {
            check_bound(fields.len(), "fields", &schema["maxProperties"], spot, mistakes);
            check_fields(node, spot, schema, mistakes);
        }
        ("array", Value::List(items)) => {
            check_bound(items.len(), "items", &schema["maxItems"], spot, mistakes);
            for (item, item_spot) in items.iter().zip(spot.items()) {
                check_node(item, &item_spot, &schema["items"], mistakes);
            }
        }
        ("integer", Value::Integer(number)) => check_range(*number, spot, schema, mistakes),
        ("string", Value::Text(text)) => {
            check_bound(text.chars().count(), "characters", &schema["maxLength"], spot, mistakes);
        }
        ("boolean", Value::Bool(_)) | ("number", Value::Integer(_) | Value::Float(_)) => {}
        ("string", Value::Bool(_) | Value::Integer(_) | Value::Float(_)) => {
            mistakes.push(
                spot.mistake(format!("must be text, but is {} to YAML: put it in quotes", node.kind())),
            );
        }
        (wanted, _) => {
            let wanted = match wanted {
                "object" => "a map",
                "array" => "a list",
                "integer" => "a whole number",
                "number" => "a number",
                "boolean" => "true or false",
                _ => "text",
            };
            mistakes.push(spot.mistake(format!("must be {wanted}, not {}", node.kind())));
        }
    }
}

fn check_fields(node: &Node, spot: &FieldPath<'_>, schema: &Json, mistakes: &mut FieldErrors) {
    let known = schema["properties"].as_object();
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    for name in required.filter(|name| node.field(name).is_none()) {
        mistakes.push(spot.mistake(format!("the field {name} is missing")));
    }
    for field in node.fields() {
        let field_spot = spot.field(&field.name);
        match (known.and_then(|known| known.get(&field.name)), &schema["additionalProperties"]) {
            (Some(schema), _) => check_node(&field.node, &field_spot, schema, mistakes),
            (None, Json::Bool(false)) => {
                let known: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                let hint = suggest::hint(&field.name, &known);
                let advice = if is_password(&field.name) { "passwords stay in the store; " } else { "" };
                mistakes.push(field_spot.mistake(format!("unknown field; {advice}{hint}")));
            }
            (None, Json::Object(_)) => {
                check_node(&field.node, &field_spot, &schema["additionalProperties"], mistakes);
            }
            (None, _) => {}
        }
    }
}

/// Whether a field of this name would hold what no manifest should.
fn is_password(name: &str) -> bool {
    ["password", "passwd", "token", "secret"].iter().any(|word| name.eq_ignore_ascii_case(word))
}

fn check_range(number: i64, spot: &FieldPath<'_>, schema: &Json, mistakes: &mut FieldErrors) {
    // schemars writes a bound now as an integer and now as a float.
    #[expect(clippy::cast_possible_truncation, reason = "bounds are small whole numbers")]
    let bound =
        |name: &str| schema[name].as_i64().or_else(|| schema[name].as_f64().map(|bound| bound as i64));
    let (least, most) = (bound("minimum"), bound("maximum"));
    if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
        let what = match (least, most) {
            (Some(least), Some(most)) => format!("must be from {least} to {most}"),
            (Some(least), None) => format!("must be at least {least}"),
            (_, most) => format!("must be at most {}", most.unwrap_or(i64::MAX)),
        };
        mistakes.push(spot.mistake(what));
    }
}

/// Notes more of something than the schema admits; the API server counts the same way.
fn check_bound(count: usize, of_what: &str, most: &Json, spot: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    if let Some(most) = most.as_u64().filter(|most| count as u64 > *most) {
        mistakes.push(spot.mistake(format!("must have at most {most} {of_what}")));
    }
}

/// A word that should name one of a few things, and does not.
pub(crate) fn unknown(what: &str, written: &str, known: &[&str]) -> String {
    format!("unknown {what} {}; {}", shown(written), suggest::hint(written, known))
}

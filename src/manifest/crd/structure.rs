//! Structural schemas: the schema of a wire type as the API server expects it, with one type at every place.

use serde_json::{Map, Value as Json, json};

use super::super::field::join;
use super::super::reference::meaning;
use super::super::schema::{choices, types};

/// The keywords that the API server understands the same way.
const SHARED_KEYWORDS: [&str; 4] = ["maxItems", "maxLength", "maxProperties", "required"];

/// Converts a schema for the API server. It does not cover unknown fields: the API server rejects them in a
/// request with strict field validation, as kubectl sends, and drops them otherwise.
pub(super) fn structural_schema(schema: &Json) -> Json {
    let mut structural = json!({});
    if let Some(type_) = types(schema).first() {
        structural["type"] = json!(type_);
    }
    let choices = choices(schema);
    if !choices.is_empty() {
        structural["type"] = json!("string");
        structural["enum"] = json!(choices);
    }
    let meaning = meaning(schema);
    if !meaning.is_empty() {
        structural["description"] = json!(meaning);
    }
    if schema["format"] == "date-time" {
        structural["format"] = json!("date-time");
    }
    // An empty list means the same as no list: no need to write it into every object.
    if !schema["default"].is_null() && schema["default"] != json!([]) && schema["default"] != json!({}) {
        structural["default"] = schema["default"].clone();
    }
    for name in SHARED_KEYWORDS.iter().filter(|name| !schema[**name].is_null()) {
        structural[*name] = schema[*name].clone();
    }
    if let Some(properties) = schema["properties"].as_object() {
        let properties: Map<_, _> =
            properties.iter().map(|(name, it)| (name.clone(), structural_schema(it))).collect();
        structural["properties"] = Json::Object(properties);
    }
    for name in ["items", "additionalProperties"].iter().filter(|name| schema[**name].is_object()) {
        structural[*name] = structural_schema(&schema[*name]);
    }
    structural
}

/// Removes the defaults of a structural schema but those at the `kept` paths: the API server writes a default
/// into the object.
pub(super) fn keep_defaults(schema: &mut Json, path: &str, kept: &[&str]) {
    if let Some(keywords) = schema.as_object_mut().filter(|_| !kept.contains(&path)) {
        keywords.remove("default");
    }
    let properties = schema.get_mut("properties").and_then(Json::as_object_mut);
    for (name, field) in properties.into_iter().flatten() {
        keep_defaults(field, &join(path, name), kept);
    }
    if let Some(items) = schema.get_mut("items") {
        keep_defaults(items, &format!("{path}[]"), kept);
    }
}

/// The message for a field without a value.
const NO_VALUE: &str = "a field of it has no value: give it one, or remove the field";

/// Adds rules to a structural schema that reject every null.
///
/// The API server drops a null before any rule sees it, so that an `include:` with all its lines commented
/// out would mean every namespace. Only a nullable field keeps it; `has` does not see it there either,
/// but the count of the fields does.
pub(super) fn reject_nulls(schema: &mut Json) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema.get_mut("properties").and_then(Json::as_object_mut);
    let mut counts = vec![required.len().to_string()];
    for (name, field) in properties.into_iter().flatten() {
        reject_nulls(field);
        if !required.iter().any(|it| it == name) {
            field["nullable"] = json!(true);
            counts.push(format!("(has(self.{name}) ? 1 : 0)"));
        }
    }
    if counts.len() > 1 {
        let rule = format!("dyn(self).size() == {}", counts.join(" + "));
        add_rule(schema, json!({"rule": rule, "message": NO_VALUE}));
    }
    if let Some(items) = schema.get_mut("items") {
        reject_nulls(items);
    }
    if let Some(values) = schema.get_mut("additionalProperties") {
        values["nullable"] = json!(true);
        add_rule(schema, json!({"rule": "self.all(key, dyn(self[key]) != null)", "message": NO_VALUE}));
    }
}

/// Adds a validation rule to a structural schema.
pub(super) fn add_rule(schema: &mut Json, rule: Json) {
    match schema.get_mut("x-kubernetes-validations").and_then(Json::as_array_mut) {
        Some(rules) => rules.push(rule),
        None => schema["x-kubernetes-validations"] = json!([rule]),
    }
}

//! The schema of a raw type as the API server wants one: structural, and of one type at every place.

use serde_json::{Map, Value as Json, json};

use super::super::reference::meaning;
use super::super::schema::{choices, types};

/// The words of a schema that mean the same to the API server.
const SAME: [&str; 4] = ["maxItems", "maxLength", "maxProperties", "required"];

/// The same schema for the API server. It says nothing of unknown fields: the API server refuses them
/// where it is asked to be strict, as kubectl asks it, and drops them otherwise.
pub(super) fn of(schema: &Json) -> Json {
    let mut structural = Map::new();
    let mut put = |name: &str, value: Json| drop(structural.insert(name.to_owned(), value));
    if let Some(type_) = types(schema).first() {
        put("type", json!(type_));
    }
    let choices = choices(schema);
    if !choices.is_empty() {
        put("type", json!("string"));
        put("enum", json!(choices));
    }
    let meaning = meaning(schema);
    if !meaning.is_empty() {
        put("description", json!(meaning));
    }
    if schema["format"] == "date-time" {
        put("format", json!("date-time"));
    }
    // An empty list says what no list says: no need to write it into every object.
    if !schema["default"].is_null() && schema["default"] != json!([]) && schema["default"] != json!({}) {
        put("default", schema["default"].clone());
    }
    for name in SAME.iter().filter(|name| !schema[**name].is_null()) {
        put(name, schema[*name].clone());
    }
    if let Some(properties) = schema["properties"].as_object() {
        let properties: Map<_, _> = properties.iter().map(|(name, it)| (name.clone(), of(it))).collect();
        put("properties", Json::Object(properties));
    }
    for name in ["items", "additionalProperties"].iter().filter(|name| schema[**name].is_object()) {
        put(name, of(&schema[*name]));
    }
    Json::Object(structural)
}

/// Leaves out every default of a structural schema: the API server would say what nobody said.
pub(super) fn forget_defaults(schema: &mut Json) {
    if let Some(words) = schema.as_object_mut() {
        words.remove("default");
    }
    let properties = schema.get_mut("properties").and_then(Json::as_object_mut);
    properties.into_iter().flatten().for_each(|(_, field)| forget_defaults(field));
    if let Some(items) = schema.get_mut("items") {
        forget_defaults(items);
    }
}

/// What is wrong with a field that is there without a value.
const NO_VALUE: &str = "a field of it has no value: give it one, or remove the field";

/// Makes every null in a structural schema refused.
///
/// The API server drops a null before any rule sees it, so that `include:` whose lines are commented
/// out would mean every namespace. Only a nullable field keeps it; `has` does not know it there either,
/// but whoever counts the fields does.
pub(super) fn refuse_nulls(schema: &mut Json) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema.get_mut("properties").and_then(Json::as_object_mut);
    let mut counts = vec![required.len().to_string()];
    for (name, field) in properties.into_iter().flatten() {
        refuse_nulls(field);
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
        refuse_nulls(items);
    }
    if let Some(values) = schema.get_mut("additionalProperties") {
        values["nullable"] = json!(true);
        add_rule(schema, json!({"rule": "self.all(key, dyn(self[key]) != null)", "message": NO_VALUE}));
    }
}

/// Adds a rule to a place of a structural schema.
pub(super) fn add_rule(schema: &mut Json, rule: Json) {
    match schema.get_mut("x-kubernetes-validations").and_then(Json::as_array_mut) {
        Some(rules) => rules.push(rule),
        None => schema["x-kubernetes-validations"] = json!([rule]),
    }
}

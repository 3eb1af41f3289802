//! The reference of both kinds and of the status, as Markdown tables.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde_json::Value as Json;

use super::schema::{choices, schema, types};
use super::status::ClusterPullSecretStatus;
use super::wire::{CLUSTER_PULL_SECRET, CONFIG, ClusterPullSecret, Config};

/// Returns the reference of both kinds: a heading and a table for each, one row per field.
///
/// It is generated from the types, so that documentation tested against it cannot be out of date.
#[must_use]
pub fn reference() -> String {
    format!("{}\n{}", kind::<Config>(CONFIG), kind::<ClusterPullSecret>(CLUSTER_PULL_SECRET))
}

/// Returns the reference of the status of a ClusterPullSecret: a table, one row per field.
#[must_use]
pub fn status() -> String {
    let mut table = "| Field | Type | Meaning |\n| --- | --- | --- |\n".to_owned();
    rows(&schema::<ClusterPullSecretStatus>(), "status", &mut table, false);
    table
}

fn kind<T: JsonSchema>(name: &str) -> String {
    let schema = schema::<T>();
    let mut table = format!(
        "### {name}\n\n{}\n\n| Field | Type | Default | Meaning |\n| --- | --- | --- | --- |\n",
        description(&schema)
    );
    rows(&schema, "", &mut table, true);
    table
}

/// Adds a row for each field below `path`; a spec has a column for defaults, a status has none.
fn rows(schema: &Json, path: &str, table: &mut String, has_defaults: bool) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let default = match &field["default"] {
            _ if !has_defaults => String::new(),
            _ if required.contains(&name.as_str()) => " required |".to_owned(),
            Json::Null => "  |".to_owned(),
            default => format!(" `{}` |", default.to_string().trim_matches('"')),
        };
        let meaning = meaning(field).replace('|', "\\|");
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{path}` | {} |{default} {meaning} |", type_name(field));
        rows(field, &path, table, has_defaults);
        rows(&field["items"], &format!("{path}[]"), table, has_defaults);
    }
}

fn type_name(schema: &Json) -> String {
    let choices = choices(schema);
    if !choices.is_empty() {
        return choices.iter().map(|choice| format!("`{choice}`")).collect::<Vec<_>>().join(", ");
    }
    match types(schema).first() {
        Some(&"array") => format!("list of {}", type_name(&schema["items"])),
        Some(&"object") if schema["additionalProperties"].is_object() => {
            format!("map of {}", type_name(&schema["additionalProperties"]))
        }
        Some(&"object") => "map".to_owned(),
        Some(&"string") => "text".to_owned(),
        Some(&"integer") => "number".to_owned(),
        Some(&"boolean") => "`true`, `false`".to_owned(),
        Some(other) => (*other).to_owned(),
        None => String::new(),
    }
}

/// Returns the doc of a field, followed by that of each value of an enum.
pub(super) fn meaning(schema: &Json) -> String {
    let alternatives = schema["oneOf"].as_array().into_iter().flatten();
    let values = alternatives.filter_map(|value| Some((value["const"].as_str()?, description(value))));
    values.fold(description(schema), |text, (value, meaning)| format!("{text} `{value}`: {meaning}"))
}

fn description(schema: &Json) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::{reference, status};

    #[test]
    fn every_row_has_a_meaning() {
        let reference = reference() + &status();
        assert!(reference.lines().filter(|line| line.starts_with('|')).count() > 30, "{reference}");
        for line in reference.lines().filter(|line| line.starts_with('|')) {
            assert!(!line.ends_with("|  |"), "{line}");
        }
    }

    #[test]
    fn row_has_type_default_and_meaning() {
        let reference = reference();
        for row in [
            "| `stores[].vault.kvVersion` | number | `2` | Version of the KV engine at `mount`: 1 or 2. |",
            "| `spec.registries[].from.key` | text |  | Path or id of the credential inside the store. ",
            "| `spec.serviceAccounts` | list of text | `[\"default\"]` |",
            "| `spec.namespaces.selector.matchLabels` | map of text | `{}` |",
            "| `spec.existing` | `Refuse`, `Adopt`, `AdoptAndKeep` | `Refuse` |",
        ] {
            assert!(reference.contains(row), "{row} is not in\n{reference}");
        }
    }
}

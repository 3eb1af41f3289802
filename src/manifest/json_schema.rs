//! The JSON Schema of the manifests, for editors.
//!
//! In go the wire types, out comes the schema by which manifests are read, narrowed to the one `apiVersion`
//! and `kind`, and without nulls, which the reader rejects. Rules across fields are left to the reader.

use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use super::schema::schema;
use super::wire::{API_VERSION, CLUSTER_PULL_SECRET, CONFIG, ClusterPullSecret, Config};

/// The dialect of the schemas.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Returns the schema of a manifest of either kind.
#[must_use]
pub fn either_kind() -> Json {
    let mut kinds = [config(), cluster_pull_secret()];
    for kind in &mut kinds {
        kind.as_object_mut().and_then(|keywords| keywords.remove("$schema"));
    }
    json!({"$schema": DRAFT, "title": "regcred manifest", "oneOf": kinds})
}

/// Returns the schema of a Config.
#[must_use]
pub fn config() -> Json {
    schema_of::<Config>(CONFIG)
}

/// Returns the schema of a ClusterPullSecret.
#[must_use]
pub fn cluster_pull_secret() -> Json {
    let mut schema = schema_of::<ClusterPullSecret>(CLUSTER_PULL_SECRET);
    // The reader ignores it in an object copied from the API server.
    schema["properties"]["status"] = json!({"description": "Written by regcred.", "type": "object"});
    schema
}

fn schema_of<T: JsonSchema>(kind: &str) -> Json {
    let mut schema = schema::<T>();
    remove_nulls(&mut schema);
    schema["$schema"] = json!(DRAFT);
    schema["title"] = json!(kind);
    schema["properties"]["apiVersion"]["const"] = json!(API_VERSION);
    schema["properties"]["kind"]["const"] = json!(kind);
    schema
}

/// Removes `null` from the types of all optional fields: one is left out, not given as null.
fn remove_nulls(schema: &mut Json) {
    if let Some(types) = schema.get_mut("type").and_then(Json::as_array_mut) {
        types.retain(|name| name != "null");
    }
    match schema {
        Json::Object(keywords) => keywords.values_mut().for_each(remove_nulls),
        Json::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_apart_by_its_constants() {
        for (schema, kind) in [(config(), "Config"), (cluster_pull_secret(), "ClusterPullSecret")] {
            let properties = &schema["properties"];
            assert_eq!(properties["kind"]["const"], kind);
            assert_eq!(properties["apiVersion"]["const"], "regcred.dev/v1alpha1");
            assert!(schema["required"].as_array().is_some_and(|it| it.contains(&json!("kind"))));
            assert_eq!(schema["additionalProperties"], json!(false), "{kind}");
        }
    }

    #[test]
    fn no_type_is_null() {
        assert!(!either_kind().to_string().contains(r#""null""#));
    }
}

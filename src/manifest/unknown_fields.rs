//! Fields of an object that this version of regcred does not know, because the CRD is of a newer one.
//!
//! In goes the tree of an object and its schema, out come the tree without such fields, and their paths. A file
//! never gets here: an unknown field there is a mistake, and [`schema`](super::schema) rejects it.

use serde_json::Value as Json;

use super::field::join;
use super::yaml::node::{MapEntry, Node, Value};

/// Returns a tree without the fields that its schema does not know, and their paths.
pub(super) fn remove(node: &Node, schema: &Json) -> (Node, Vec<String>) {
    let mut unknown = Vec::new();
    let node = without_unknown(node, schema, "", &mut unknown);
    (node, unknown)
}

fn without_unknown(node: &Node, schema: &Json, path: &str, unknown: &mut Vec<String>) -> Node {
    let value = match &node.value {
        Value::Map(fields) => {
            let fields = fields.iter().filter_map(|field| known_field(field, schema, path, unknown));
            Value::Map(fields.collect())
        }
        Value::List(items) => {
            let items = items.iter().enumerate().map(|(index, item)| {
                without_unknown(item, &schema["items"], &format!("{path}[{index}]"), unknown)
            });
            Value::List(items.collect())
        }
        other => other.clone(),
    };
    Node { line: node.line, value }
}

fn known_field(field: &MapEntry, schema: &Json, path: &str, unknown: &mut Vec<String>) -> Option<MapEntry> {
    let path = join(path, &field.name);
    let inner = match (schema["properties"].get(&field.name), &schema["additionalProperties"]) {
        (None, Json::Bool(false)) => {
            unknown.push(path);
            return None;
        }
        (Some(inner), _) | (None, inner) => inner,
    };
    Some(MapEntry { node: without_unknown(&field.node, inner, &path, unknown), ..field.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema::schema;
    use super::super::wire::ClusterPullSecret;
    use super::*;

    #[test]
    fn unknown_fields_of_every_depth_are_removed() {
        let object = json!({
            "kind": "ClusterPullSecret",
            "metadata": {"name": "images", "managedFields": [{"manager": "x"}]},
            "more": {"a": 1},
            "spec": {
                "verify": "Enforce",
                "namespaces": {"selector": {"matchLabels": {"any.key/x": "y"}, "matchMore": []}},
                "registries": [{"host": "ghcr.io", "from": {"store": "s", "key": "k", "config.key": "x"}, "rollover": null}],
            },
        });
        let (known, unknown) = remove(&Node::from_json(&object), &schema::<ClusterPullSecret>());
        assert_eq!(
            unknown,
            [
                "more",
                "spec.namespaces.selector.matchMore",
                r#"spec.registries[0].from["config.key"]"#,
                "spec.registries[0].rollover",
                "spec.verify",
            ]
        );
        assert_eq!(
            known.to_json(),
            json!({
                "kind": "ClusterPullSecret",
                "metadata": {"name": "images", "managedFields": [{"manager": "x"}]},
                "spec": {
                    "namespaces": {"selector": {"matchLabels": {"any.key/x": "y"}}},
                    "registries": [{"host": "ghcr.io", "from": {"store": "s", "key": "k"}}],
                },
            })
        );
    }

    #[test]
    fn value_of_another_type_is_left_to_the_schema() {
        let object = json!({"spec": {"registries": "x", "namespaces": [{"a": 1}]}});
        let (known, unknown) = remove(&Node::from_json(&object), &schema::<ClusterPullSecret>());
        assert_eq!((known.to_json(), unknown), (object, Vec::new()));
    }
}

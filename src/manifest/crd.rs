//! The `CustomResourceDefinition` of ClusterPullSecrets.
//!
//! In: the wire types and their docs. Out: the CRD with a structural schema and, as CEL rules, the checks that
//! files get, so that `kubectl apply` rejects what `regcred rotate -f` rejects, in the same words. Errors that
//! depend on more than the object, such as an unknown store, are in its status.

mod host;
mod rules;
mod structure;

use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value as Json, json};

use super::schema::schema;
use super::status::ClusterPullSecretStatus;
use super::wire::ClusterPullSecret;

/// The API group of the manifests.
pub const GROUP: &str = "regcred.dev";
/// The only version of the API group.
pub const VERSION: &str = "v1alpha1";
/// The kind that is also an object of the API server.
pub const KIND: &str = "ClusterPullSecret";
/// The plural of the kind, as in API paths.
pub const PLURAL: &str = "clusterpullsecrets";

/// The only fields of a spec with a default in the CRD, which the API server writes into objects. No field is
/// added: a version without it would find a field that it does not know in every object. A younger field has
/// its default in the program alone.
const DEFAULTED: [&str; 5] = ["deletion", "existing", "refreshInterval", "serviceAccounts", "suspend"];

/// The API resource of ClusterPullSecrets.
#[must_use]
pub fn api_resource() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, KIND), PLURAL)
}

/// Returns the CRD as the API server expects it.
#[must_use]
pub fn definition() -> Json {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{PLURAL}.{GROUP}"),
            "labels": {"app.kubernetes.io/name": "regcred"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": PLURAL,
                "singular": KIND.to_lowercase(),
                "shortNames": ["cps"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns(),
                "schema": {"openAPIV3Schema": root()},
            }],
        },
    })
}

fn columns() -> Json {
    let ready = r#".status.conditions[?(@.type=="Ready")]"#;
    json!([
        {"name": "Ready", "type": "string", "jsonPath": format!("{ready}.status")},
        {"name": "Reason", "type": "string", "jsonPath": format!("{ready}.reason")},
        {"name": "Registries", "type": "string", "jsonPath": ".status.summary.registries"},
        {"name": "Namespaces", "type": "string", "jsonPath": ".status.summary.namespaces"},
        {"name": "Rotated", "type": "date", "jsonPath": ".status.lastRotation.startedAt"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ])
}

fn root() -> Json {
    let written = schema::<ClusterPullSecret>();
    let mut spec = structure::structural_schema(&written["properties"]["spec"]);
    // Unique names: the API server compares them at a lower cost than a rule would.
    spec["properties"]["serviceAccounts"]["x-kubernetes-list-type"] = json!("set");
    structure::keep_defaults(&mut spec, "", &DEFAULTED);
    structure::reject_nulls(&mut spec);
    for rule in rules::spec_rules() {
        rule.attach(&mut spec);
    }
    let mut status = structure::structural_schema(&schema::<ClusterPullSecretStatus>());
    structure::keep_defaults(&mut status, "", &[]);
    status["properties"]["conditions"]["x-kubernetes-list-type"] = json!("map");
    status["properties"]["conditions"]["x-kubernetes-list-map-keys"] = json!(["type"]);
    let mut root = json!({
        "description": written["description"],
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    });
    rules::name_rule().attach(&mut root);
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

    /// Checks every place of the schema: a rule attached to no field would have made one without a type.
    fn check(schema: &Json, path: &str) {
        assert!(schema["type"].is_string(), "{path} has no type: {schema}");
        assert!(
            schema.as_object().is_some_and(|keywords| keywords.values().all(|it| !it.is_null())),
            "{path}"
        );
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            check(field, &format!("{path}.{name}"));
        }
        for inner in ["items", "additionalProperties"].iter().filter_map(|name| schema.get(*name)) {
            check(inner, &format!("{path}[]"));
        }
    }

    #[test]
    fn every_place_of_the_schema_has_one_type() {
        check(&root(), "");
    }

    #[test]
    fn definition_has_only_fields_of_kubernetes() {
        let definition = definition();
        let read: CustomResourceDefinition = serde_json::from_value(definition.clone()).expect("a CRD");
        assert_eq!(serde_json::to_value(read).expect("JSON"), definition);
    }

    #[test]
    fn defaults_and_choices_are_in_the_schema() {
        let spec = &root()["properties"]["spec"]["properties"];
        assert_eq!(spec["refreshInterval"]["default"], "1h");
        assert_eq!(spec["serviceAccounts"]["default"], json!(["default"]));
        assert_eq!(spec["deletion"]["enum"], json!(["Delete", "Retain"]));
        assert_eq!(spec["namespaces"]["properties"]["exclude"]["default"], Json::Null);
        assert!(!root()["properties"]["status"].to_string().contains("\"default\""));
    }

    /// Adds the path of every field with a default.
    fn add_defaulted(schema: &Json, path: &str, found: &mut Vec<String>) {
        if schema.get("default").is_some() {
            found.push(path.to_owned());
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            add_defaulted(field, &format!("{path}.{name}"), found);
        }
        for inner in ["items", "additionalProperties"].iter().filter_map(|name| schema.get(*name)) {
            add_defaulted(inner, &format!("{path}[]"), found);
        }
    }

    #[test]
    fn only_fields_of_the_first_crd_have_a_default() {
        let mut found = Vec::new();
        add_defaulted(&root(), "", &mut found);
        assert_eq!(
            found,
            [
                ".spec.deletion",
                ".spec.existing",
                ".spec.refreshInterval",
                ".spec.serviceAccounts",
                ".spec.suspend"
            ]
        );
    }
}

//! The JSON Schema of the manifests, for editors.
//!
//! In go the wire types, out comes the schema by which manifests are read, narrowed to the one `apiVersion`
//! and `kind`, with the rules for single fields, and without nulls, which the reader rejects. Rules across
//! fields are left to the reader.

use schemars::JsonSchema;
use serde_json::{Value as Json, json};

use super::schema::schema;
use super::wire::{API_VERSION, CLUSTER_PULL_SECRET, CONFIG, ClusterPullSecret, Config};

/// The dialect of the schemas.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The pattern of a DNS label, as [`names::dns_label`](super::names::dns_label) checks it.
const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

/// The pattern of hours, minutes and seconds. It matches the empty text too: `minLength` excludes that.
const INTERVAL: &str = "^([0-9]{1,4}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?$";

/// Returns the schema of a manifest of either kind. Its `kind` selects the rules, so that an editor shows the
/// errors of that kind only.
#[must_use]
pub fn either_kind() -> Json {
    let rules =
        [(CONFIG, config()), (CLUSTER_PULL_SECRET, cluster_pull_secret())].map(|(kind, mut schema)| {
            schema.as_object_mut().and_then(|keywords| keywords.remove("$schema"));
            json!({"if": {"required": ["kind"], "properties": {"kind": {"const": kind}}}, "then": schema})
        });
    json!({
        "$schema": DRAFT,
        "title": "regcred manifest",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": {"apiVersion": {"const": API_VERSION}, "kind": {"enum": [CONFIG, CLUSTER_PULL_SECRET]}},
        "allOf": rules,
    })
}

/// Returns the schema of a Config.
#[must_use]
pub fn config() -> Json {
    let mut schema = schema_of::<Config>(CONFIG);
    let backends = ["vault", "awsSecretsManager", "awsEcr", "file"].map(|name| json!({"required": [name]}));
    let store = "/properties/stores/items";
    add_keywords(&mut schema, store, json!({"oneOf": backends}));
    add_keywords(&mut schema, &format!("{store}/properties/name"), label());
    let registry_ids = format!("{store}/properties/awsEcr/properties/registryIds");
    add_keywords(&mut schema, &registry_ids, json!({"minItems": 1}));
    add_keywords(&mut schema, &format!("{registry_ids}/items"), json!({"pattern": "^[0-9]{12}$"}));
    let auth = format!("{store}/properties/vault/properties/auth");
    add_keywords(&mut schema, &auth, json!({"maxProperties": 1}));
    add_keywords(&mut schema, "/properties/triggers/properties/pollInterval", interval());
    schema
}

/// Returns the schema of a ClusterPullSecret.
#[must_use]
pub fn cluster_pull_secret() -> Json {
    let mut schema = schema_of::<ClusterPullSecret>(CLUSTER_PULL_SECRET);
    let spec = "/properties/spec/properties";
    add_keywords(&mut schema, "/properties/metadata/properties/name", subdomain(63));
    add_keywords(&mut schema, &format!("{spec}/secretName"), subdomain(253));
    add_keywords(&mut schema, &format!("{spec}/registries"), json!({"minItems": 1}));
    let store = format!("{spec}/registries/items/properties/from/properties/store");
    add_keywords(&mut schema, &store, label());
    let name = json!({"pattern": format!(r"^(\*|{LABEL}(\.{LABEL})*)$")});
    add_keywords(&mut schema, &format!("{spec}/serviceAccounts/items"), name);
    add_keywords(&mut schema, &format!("{spec}/refreshInterval"), interval());
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

fn label() -> Json {
    json!({"pattern": format!("^{LABEL}$"), "maxLength": 63})
}

fn subdomain(max_length: u32) -> Json {
    json!({"pattern": format!(r"^{LABEL}(\.{LABEL})*$"), "maxLength": max_length})
}

fn interval() -> Json {
    json!({"pattern": INTERVAL, "minLength": 1})
}

/// Adds keywords to the schema at a JSON pointer, which must exist.
fn add_keywords(schema: &mut Json, pointer: &str, keywords: Json) {
    if let (Some(Json::Object(schema)), Json::Object(keywords)) = (schema.pointer_mut(pointer), keywords) {
        schema.extend(keywords);
    }
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
    use proptest::prelude::*;
    use proptest::string::string_regex;
    use proptest::test_runner::TestRunner;

    use super::super::names::{Rule, dns_label, dns_subdomain};
    use super::*;

    /// Checks that the reader accepts the texts that a schema does.
    fn check_pattern(schema: &Json, reader: fn(&str) -> Result<(), Rule>) {
        let pattern = schema["pattern"].as_str().expect("a pattern").trim_matches(['^', '$']);
        let max_length =
            schema["maxLength"].as_u64().map_or(usize::MAX, |it| usize::try_from(it).expect("small"));
        let texts =
            string_regex(pattern).expect("a pattern").prop_filter("long", move |it| it.len() <= max_length);
        let outcome = TestRunner::deterministic().run(&texts, |text| {
            prop_assert!(reader(&text).is_ok(), "{text}");
            Ok(())
        });
        assert_eq!(outcome, Ok(()));
    }

    #[test]
    fn names_of_the_schema_are_names_of_the_reader() {
        let (config, cluster_pull_secret) = (config(), cluster_pull_secret());
        let spec = &cluster_pull_secret["properties"]["spec"]["properties"];
        check_pattern(&config["properties"]["stores"]["items"]["properties"]["name"], dns_label);
        check_pattern(&spec["registries"]["items"]["properties"]["from"]["properties"]["store"], dns_label);
        check_pattern(&cluster_pull_secret["properties"]["metadata"]["properties"]["name"], dns_subdomain);
        check_pattern(&spec["secretName"], dns_subdomain);
        check_pattern(&spec["serviceAccounts"]["items"], |name| match name {
            "*" => Ok(()),
            name => dns_subdomain(name),
        });
    }

    #[test]
    fn rules_for_single_fields_are_in_the_schema() {
        let (config, cluster_pull_secret) = (config(), cluster_pull_secret());
        let spec = &cluster_pull_secret["properties"]["spec"]["properties"];
        let store = &config["properties"]["stores"]["items"];
        let poll_interval = &config["properties"]["triggers"]["properties"]["pollInterval"];
        assert_eq!(spec["registries"]["minItems"], 1);
        assert_eq!(store["oneOf"].as_array().map(Vec::len), Some(4));
        assert_eq!(store["properties"]["vault"]["properties"]["auth"]["maxProperties"], 1);
        let registry_ids = &store["properties"]["awsEcr"]["properties"]["registryIds"];
        assert_eq!(
            (&registry_ids["minItems"], &registry_ids["items"]["pattern"]),
            (&json!(1), &json!("^[0-9]{12}$"))
        );
        for schema in [poll_interval, &spec["refreshInterval"]] {
            assert_eq!((&schema["pattern"], &schema["minLength"]), (&json!(INTERVAL), &json!(1)));
        }
    }

    #[test]
    fn each_kind_has_its_constants() {
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

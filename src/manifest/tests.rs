//! Manifests as people write them, valid and invalid.

mod documents;
mod fields;
mod good;
mod object;
mod together;
mod triggers;

use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::cluster_pull_secret::ClusterPullSecret;
use super::field::FieldErrors;
use super::source::Text;
use super::{Manifests, interpret, parse, read_object};

fn files(files: &[(&str, &str)]) -> Result<Manifests, FieldErrors> {
    let texts: Vec<Text> =
        files.iter().map(|(file, text)| Text { file: (*file).into(), text: (*text).into() }).collect();
    interpret(&texts, Path::new("credentials"), FieldErrors::default())
}

fn good(text: &str) -> Manifests {
    files(&[("images.yaml", text)]).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> String {
    files(&[("images.yaml", text)]).expect_err("errors").to_string()
}

/// Checks the only error of a ClusterPullSecret with these lines for a spec.
fn check_spec(spec: &str, expected: &str) {
    let spec = spec.lines().fold(String::new(), |text, line| format!("{text}\n  {line}"));
    let text = format!(
        "apiVersion: regcred.dev/v1alpha1\nkind: ClusterPullSecret\nmetadata: {{name: images}}\nspec:{spec}\n"
    );
    assert_eq!(errors(&text), format!("images.yaml:{expected}"), "{text}");
}

/// Checks the only error of a Config with this for a store.
fn check_store(store: &str, expected: &str) {
    let text = format!("apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores: [{store}]\n");
    assert_eq!(errors(&text), format!("images.yaml:3: stores[0]{expected}"), "{store}");
}

/// Checks that a Config with this store is valid.
#[track_caller]
fn good_store(store: &str) {
    let manifests = good(&format!("apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores: [{store}]\n"));
    assert_eq!(manifests.stores.len(), 1, "{store}");
}

/// Returns every error of a Config with these triggers.
fn trigger_errors(triggers: &str) -> String {
    errors(&format!("apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores: []\ntriggers: {triggers}\n"))
}

const EXAMPLE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/seeds/manifests/everything.yaml"));

const SMALLEST: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/seeds/manifests/smallest.yaml"));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_read_or_rejected(text in any::<String>()) {
        let _ = files(&[("images.yaml", &text)]);
    }

    #[test]
    fn file_and_object_are_read_alike(
        host in "[a-z]{1,3}[.:][a-z0-9]{1,3}(/[a-z]{1,2}|/A)?", name in "[a-z][a-z-]?[a-z]", account in "[a-z]{1,3}|\\*",
        interval in "[1-9][0-9]?[smh]", include in "[a-z]{1,2}[a-z*?-]?", existing in "Adopt|Refuse|Refuse|adopt",
    ) {
        let json = json!({
            "apiVersion": "regcred.dev/v1alpha1", "kind": "ClusterPullSecret", "metadata": {"name": "images"},
            "spec": {
                "secretName": name, "serviceAccounts": [account], "refreshInterval": interval, "existing": existing,
                "namespaces": {"include": [include]}, "registries": [{"host": host, "from": {"store": "files", "key": "a"}}],
            },
        });
        let file = parse("images.json", &json.to_string(), Path::new("credentials"));
        let stores = file.as_ref().map_or_else(|_| good(SMALLEST).stores, |it| it.stores.clone());
        match (file, read_object(&json, &stores)) {
            (Ok(file), Ok(object)) => {
                let object = ClusterPullSecret { object: None, ..object };
                prop_assert_eq!(format!("{:?}", file.cluster_pull_secrets), format!("{:?}", [object]));
            }
            (file, object) => prop_assert!(file.is_err() && object.is_err(), "{:?}", object),
        }
    }

    #[test]
    fn any_mutated_manifest_is_read_or_rejected(
        from in 0..EXAMPLE.len(), length in 0_usize..40, instead in "[\\[\\]{}:,&*!|>'\"%@`#\n\t a-z0-9-]{0,8}",
    ) {
        let end = (from + length).min(EXAMPLE.len());
        let text = format!("{}{instead}{}", &EXAMPLE[..from], &EXAMPLE[end..]);
        let _ = files(&[("images.yaml", &text)]);
    }
}

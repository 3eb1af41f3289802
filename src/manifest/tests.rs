//! Manifests as people write them, good and bad.

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
use super::{Manifests, interpret, parse};

fn files(files: &[(&str, &str)]) -> Result<Manifests, FieldErrors> {
    let texts: Vec<Text> =
        files.iter().map(|(file, text)| Text { file: (*file).into(), text: (*text).into() }).collect();
    interpret(&texts, Path::new("credentials"), FieldErrors::default())
}

fn good(text: &str) -> Manifests {
    files(&[("images.yaml", text)]).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn mistakes(text: &str) -> String {
    files(&[("images.yaml", text)]).expect_err("there are mistakes").to_string()
}

/// The only mistake of a ClusterPullSecret with these lines for a spec, without its file.
fn check_spec(spec: &str, expected: &str) {
    let spec = spec.lines().fold(String::new(), |text, line| format!("{text}\n  {line}"));
    let text = format!(
        "apiVersion: regcred.dev/v1alpha1\nkind: ClusterPullSecret\nmetadata: {{name: images}}\nspec:{spec}\n"
    );
    assert_eq!(mistakes(&text), format!("images.yaml:{expected}"), "{text}");
}

/// The only mistake of a Config with this for a store, without its file and line.
fn check_store(store: &str, expected: &str) {
    let text = format!("apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores: [{store}]\n");
    assert_eq!(mistakes(&text), format!("images.yaml:3: stores[0]{expected}"), "{store}");
}

/// Every mistake of a Config with these lines for its triggers.
fn of_triggers(triggers: &str) -> String {
    mistakes(&format!("apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores: []\ntriggers: {triggers}\n"))
}

const EXAMPLE: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/seeds/manifests/everything.yaml"));

const SMALLEST: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/seeds/manifests/smallest.yaml"));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = files(&[("images.yaml", &text)]);
    }

    #[test]
    fn what_a_file_may_say_an_object_may_say(
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
        match (file, super::object::read(&json, &stores)) {
            (Ok(file), Ok(object)) => {
                let object = ClusterPullSecret { object: None, ..object };
                prop_assert_eq!(format!("{:?}", file.cluster_pull_secrets), format!("{:?}", [object]));
            }
            (file, object) => prop_assert!(file.is_err() && object.is_err(), "{:?}", object),
        }
    }

    #[test]
    fn any_mutilated_manifest_is_read_or_refused(
        from in 0..EXAMPLE.len(), length in 0_usize..40, instead in "[\\[\\]{}:,&*!|>'\"%@`#\n\t a-z0-9-]{0,8}",
    ) {
        let end = (from + length).min(EXAMPLE.len());
        let text = format!("{}{instead}{}", &EXAMPLE[..from], &EXAMPLE[end..]);
        let _ = files(&[("images.yaml", &text)]);
    }
}

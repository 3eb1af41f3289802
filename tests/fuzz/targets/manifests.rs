//! Manifests as people write them and as the API server sends them.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use regcred::manifest::cluster_pull_secret::ClusterPullSecret;
use regcred::manifest::{self, object};
use serde_json::Value as Json;

fuzz_target!(|text: &str| {
    let read = manifest::parse("fuzz.yaml", text, Path::new("credentials"));
    if let Err(mistakes) = &read {
        assert!(!mistakes.to_string().is_empty(), "rejected without a reason");
    }
    let Ok(json) = serde_json::from_str::<Json>(text) else { return };
    let _ = object::LiveObject::from_json(&json);
    let stores = read.as_ref().map(|manifests| manifests.stores.clone()).unwrap_or_default();
    let object = manifest::read_object(&json, &stores);
    // JSON is YAML: the content of a valid file is valid as an object, with the same meaning.
    if let Ok([cluster_pull_secret]) =
        read.as_ref().map(|manifests| manifests.cluster_pull_secrets.as_slice())
    {
        let object =
            object.unwrap_or_else(|mistakes| panic!("valid as a file, but not as an object: {mistakes}"));
        let of_cluster = ClusterPullSecret { object: None, ..object };
        assert_eq!(format!("{of_cluster:?}"), format!("{cluster_pull_secret:?}"));
    }
});

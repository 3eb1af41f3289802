//! The kustomize base and `deploy/rbac.yaml` are rendered from the chart and committed.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::rendering::{Objects, chart, deploy, objects, read};

const HEADER: &str = "# Rendered from deploy/chart by `make base`: change the chart, not this file.\n";

/// The header of `deploy/rbac.yaml`, after [`HEADER`].
const RBAC: &str = "\
# The rights of `regcred rotate` in a cluster, each rule with its reason. Kubernetes 1.30 or newer.
# The controller's rights are in deploy/base/rbac.yaml; the end-to-end tests run as these accounts, never as
# an administrator.
";

/// The annotation that triggers a rollout; in the base, the generated name of the `ConfigMap` does.
const CHECKSUM: &str = "checksum/config";

/// Returns every rendered file by its path below `deploy/`.
async fn rendered() -> BTreeMap<String, String> {
    let mut files = BTreeMap::<String, String>::new();
    for (template, document) in documents(&chart(&[]).await) {
        let text = files.entry(format!("base/{template}")).or_insert_with(|| HEADER.to_owned());
        if text != HEADER {
            text.push_str("---\n");
        }
        text.push_str(&document);
    }
    let config = files.get_mut("base/config.yaml").expect("a ConfigMap");
    *config =
        HEADER.to_owned() + text_of(&objects(config)["ConfigMap regcred-config"]["data"]["config.yaml"]);
    let deployment = files.get_mut("base/deployment.yaml").expect("a Deployment");
    *deployment = without_checksum(deployment);

    let rotate = chart(&["--set", "controller=false"]).await;
    let mut rbac = format!("{HEADER}{RBAC}---\n{}", read("base/namespace.yaml"));
    for (_, document) in documents(&rotate) {
        rbac.push_str("---\n");
        rbac.push_str(&document);
    }
    files.insert("rbac.yaml".to_owned(), rbac);
    files
}

/// Returns the documents of `helm template`, each with its template file.
fn documents(text: &str) -> Vec<(String, String)> {
    let documents = text.split("---\n# Source: regcred/templates/").skip(1);
    documents
        .map(|it| {
            let (template, document) = it.split_once('\n').expect("a document below its source");
            (template.to_owned(), format!("{}\n", document.trim_end()))
        })
        .collect()
}

/// Returns the Deployment without its only annotation.
fn without_checksum(text: &str) -> String {
    let (before, rest) = text.split_once("      annotations:\n").expect("annotations");
    let (_, rest) = rest.split_once(CHECKSUM).expect("the checksum");
    let (_, after) = rest.split_once('\n').expect("the rest");
    format!("{before}{after}")
}

fn text_of(value: &Value) -> &str {
    value.as_str().expect("text")
}

#[tokio::test]
async fn committed_files_match_the_rendered_chart() {
    let renew = std::env::var_os("REGCRED_RENEW").is_some();
    for (path, text) in rendered().await {
        if renew {
            std::fs::write(deploy(&path), text).expect("a writable checkout");
        } else {
            let committed = std::fs::read_to_string(deploy(&path)).unwrap_or_default();
            assert!(
                text == committed,
                "deploy/{path} is not rendered from the current chart: run `make base`"
            );
        }
    }
}

#[tokio::test]
async fn base_and_chart_create_the_same_objects() {
    let chart = chart(&["--include-crds"]).await;
    let mut from_chart = objects(&chart);
    let base = world::kustomize(&deploy("base")).await.expect("kustomize builds the base");
    let mut from_base = objects(&base);

    let namespace = from_base.remove("Namespace regcred-system").expect("a Namespace in the base");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    // Chart and base trigger a rollout in different ways.
    let template = &mut from_chart.get_mut("Deployment regcred").expect("a Deployment")["spec"]["template"];
    let annotations = template["metadata"].as_object_mut().expect("metadata").remove("annotations");
    assert!(annotations.is_some_and(|it| it[CHECKSUM].is_string()));
    rename_config(&mut from_base);
    drop_header(&mut from_base);

    for (key, object) in &from_base {
        assert_eq!(Some(object), from_chart.get(key), "{key}");
    }
    let missing: Vec<&String> = from_chart.keys().filter(|key| !from_base.contains_key(*key)).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

/// Removes the hash from the name of the generated `ConfigMap` and from its volume.
fn rename_config(objects: &mut Objects) {
    let key = objects.keys().find(|key| key.starts_with("ConfigMap ")).expect("a ConfigMap").clone();
    let mut config = objects.remove(&key).expect("it was just found");
    let name = text_of(&config["metadata"]["name"]).to_owned();
    assert!(name.starts_with("regcred-config-"), "{name}");
    config["metadata"]["name"] = "regcred-config".into();
    objects.insert("ConfigMap regcred-config".to_owned(), config);
    let deployment = objects.get_mut("Deployment regcred").expect("a Deployment");
    let volumes = deployment["spec"]["template"]["spec"]["volumes"].as_array_mut().expect("volumes");
    let mounted = volumes.iter_mut().find(|it| it["name"] == "config").expect("the Config is mounted");
    assert_eq!(mounted["configMap"]["name"], name.as_str());
    mounted["configMap"]["name"] = "regcred-config".into();
}

/// Removes the header from the Config, which is a rendered file of its own in the base.
fn drop_header(objects: &mut Objects) {
    let config = objects.get_mut("ConfigMap regcred-config").expect("a ConfigMap");
    let text = text_of(&config["data"]["config.yaml"]);
    let text = text.strip_prefix(HEADER).expect("the header").to_owned();
    config["data"]["config.yaml"] = text.into();
}

#[test]
fn crd_exists_once_in_the_repository() {
    let [outside, inside] = ["crd.yaml", "chart/crds/clusterpullsecrets.yaml"]
        .map(|path| deploy(path).canonicalize().expect("a CRD"));
    assert_eq!(
        outside, inside,
        "deploy/crd.yaml has to be a link: Flux omits links from a chart, and kustomize does not follow them"
    );
    let crd = objects(&read("crd.yaml"));
    assert!(crd.contains_key("CustomResourceDefinition clusterpullsecrets.regcred.dev"));
}

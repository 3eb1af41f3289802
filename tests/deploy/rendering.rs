//! Renders the chart with Helm, and parses objects for comparison.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The namespace of the base.
pub(crate) const NAMESPACE: &str = "regcred-system";

/// The name of every object.
pub(crate) const NAME: &str = "regcred";

/// The version of Kubernetes to render for: a Helm built from source has no default.
const KUBERNETES: &str = "1.37.2";

/// Objects by `kind name`.
pub(crate) type Objects = BTreeMap<String, Value>;

/// Returns the path of `deploy/PATH`.
pub(crate) fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// Reads a file of `deploy/`.
#[track_caller]
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

/// Runs `helm COMMAND deploy/chart` with more arguments.
pub(crate) async fn helm(command: &[&str], more: &[&str]) -> anyhow::Result<String> {
    let chart = deploy("chart").display().to_string();
    world::helm(&[command, &[&chart, "--kube-version", KUBERNETES], more].concat()).await
}

/// Renders the chart as a release called `regcred`, without the CRD.
pub(crate) async fn chart(more: &[&str]) -> String {
    let text = helm(&["template", NAME, "--namespace", NAMESPACE], more).await;
    text.unwrap_or_else(|error| panic!("the chart renders: {error:#}"))
}

/// Returns the error of Helm for invalid values.
pub(crate) async fn refusal(more: &[&str]) -> String {
    match helm(&["template", NAME], more).await {
        Ok(_) => panic!("{more:?} is accepted"),
        Err(error) => error.to_string(),
    }
}

/// Parses the objects of a text with many documents.
#[track_caller]
pub(crate) fn objects(text: &str) -> Objects {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    let count = documents.len();
    let objects: Objects = documents.into_iter().map(|it| (key_of(&it), it)).collect();
    assert_eq!(objects.len(), count, "duplicate object");
    objects
}

fn key_of(object: &Value) -> String {
    let [kind, name] =
        [&object["kind"], &object["metadata"]["name"]].map(|it| it.as_str().expect("a kind and a name"));
    format!("{kind} {name}")
}

/// Returns the Pod template of the Deployment.
#[track_caller]
pub(crate) fn pod(objects: &Objects) -> &Value {
    &objects["Deployment regcred"]["spec"]["template"]
}

//! The chart as Helm renders it, and objects as people compare them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where the base puts everything.
pub(crate) const NAMESPACE: &str = "regcred-system";

/// The name of every object.
pub(crate) const NAME: &str = "regcred";

/// A Helm built from source does not know for which Kubernetes it would render.
const KUBERNETES: &str = "1.37.2";

/// `kind name` of each object, and the object.
pub(crate) type Objects = BTreeMap<String, Value>;

/// `deploy/PATH`.
pub(crate) fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

/// A file of `deploy/`.
#[track_caller]
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap_or_else(|error| panic!("deploy/{path}: {error}"))
}

/// `helm COMMAND … deploy/chart` and what else is given.
pub(crate) async fn helm(command: &[&str], more: &[&str]) -> anyhow::Result<String> {
    let chart = deploy("chart").display().to_string();
    world::helm(&[command, &[&chart, "--kube-version", KUBERNETES], more].concat()).await
}

/// The chart as a release called `regcred` would bring it, without the CRD.
pub(crate) async fn chart(more: &[&str]) -> String {
    let text = helm(&["template", NAME, "--namespace", NAMESPACE], more).await;
    text.unwrap_or_else(|error| panic!("the chart renders: {error:#}"))
}

/// What Helm says to values that it refuses.
pub(crate) async fn refusal(more: &[&str]) -> String {
    match helm(&["template", NAME], more).await {
        Ok(_) => panic!("{more:?} is not refused"),
        Err(error) => error.to_string(),
    }
}

/// The objects of a text of many documents.
#[track_caller]
pub(crate) fn objects(text: &str) -> Objects {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    let text = |value: &Value| value.as_str().expect("a kind and a name").to_owned();
    let key = |it: &Value| format!("{} {}", text(&it["kind"]), text(&it["metadata"]["name"]));
    let count = documents.len();
    let objects: Objects = documents.into_iter().map(|it| (key(&it), it)).collect();
    assert_eq!(objects.len(), count, "an object is there twice");
    objects
}

/// The Pod template of the Deployment.
#[track_caller]
pub(crate) fn pod(objects: &Objects) -> &Value {
    &objects["Deployment regcred"]["spec"]["template"]
}

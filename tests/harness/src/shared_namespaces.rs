//! Many namespaces that outlive a test: creating hundreds for each test would take longer than the test.

use serde_json::{Value, json};
use world::Kube;

use crate::observe::text;
use crate::setup::names;
use crate::{LABEL as TEST, SECOND_SECRET, SECRET, until};

/// The label of these namespaces.
pub(crate) const LABEL: &str = "shared";

/// Labels the first `count` of them for a test, and creates those that are missing.
pub(crate) async fn select(kube: &Kube, count: usize, test: &str) -> anyhow::Result<Vec<String>> {
    let selected: Vec<_> = (0..count).map(|n| format!("shared-{n:03}")).collect();
    let list = kube.get(&format!("/api/v1/namespaces?labelSelector={LABEL}")).await?;
    let existing: Vec<_> = names(&list).collect();
    let missing: Vec<_> = selected.iter().filter(|name| !existing.contains(name)).cloned().collect();
    kube.create_namespaces(missing, &[(LABEL, "yes")]).await?;
    label(kube, selected.iter().cloned(), Some(test)).await?;
    Ok(selected)
}

/// Restores their state after creation.
pub(crate) async fn clear(kube: &Kube) -> anyhow::Result<()> {
    let labelled = kube.get(&format!("/api/v1/namespaces?labelSelector={LABEL},{TEST}")).await?;
    label(kube, names(&labelled), None).await?;
    clear_service_accounts(kube).await?;
    // The garbage collector may delete the same Secrets at the same time.
    until("no Secret is left in the shared namespaces", async || {
        let mut paths = Vec::new();
        for name in [SECRET, SECOND_SECRET] {
            let Ok(list) = kube.get(&format!("/api/v1/secrets?fieldSelector=metadata.name%3D{name}")).await
            else {
                return false;
            };
            paths.extend(items(&list).map(|secret| path_of(secret, "secrets")));
        }
        let is_clear = paths.is_empty();
        let _ = kube.delete_all(paths).await;
        is_clear
    })
    .await;
    Ok(())
}

async fn label(
    kube: &Kube,
    namespaces: impl Iterator<Item = String>,
    test: Option<&str>,
) -> anyhow::Result<()> {
    let label = json!({"metadata": {"labels": {TEST: test}}});
    kube.patch_all(namespaces.map(|name| (format!("/api/v1/namespaces/{name}"), label.clone())).collect())
        .await?;
    Ok(())
}

async fn clear_service_accounts(kube: &Kube) -> anyhow::Result<()> {
    let bare = json!({"metadata": {"annotations": null}, "imagePullSecrets": null});
    let accounts = kube.get("/api/v1/serviceaccounts").await?;
    let (mut changed, mut added) = (Vec::new(), Vec::new());
    for account in items(&accounts) {
        let path = path_of(account, "serviceaccounts");
        if account["metadata"]["name"] != "default" {
            added.push(path);
        } else if account.get("imagePullSecrets").is_some()
            || account["metadata"].get("annotations").is_some()
        {
            changed.push((path, bare.clone()));
        }
    }
    kube.patch_all(changed).await?;
    kube.delete_all(added).await?;
    Ok(())
}

/// The objects of a list that are in these namespaces.
fn items(list: &Value) -> impl Iterator<Item = &Value> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter(|it| text(&it["metadata"]["namespace"]).starts_with("shared-"))
}

fn path_of(object: &Value, plural: &str) -> String {
    let metadata = &object["metadata"];
    format!("/api/v1/namespaces/{}/{plural}/{}", text(&metadata["namespace"]), text(&metadata["name"]))
}

//! A ClusterPullSecret changes, rests and ends; a namespace comes and goes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{PULL_SECRETS, QUIET, SECOND_SECRET, Stage, line, until, until_within};

#[tokio::test]
async fn a_namespace_that_leaves_the_selection_loses_the_entry_first_and_then_the_secret() {
    let stage = Stage::new("leave", 2).await;
    let _controller = stage.serve("one").await;
    let mark = stage.mark();
    stage.select("leave-001", false).await;
    until("the Secret is gone", async || stage.secret("leave-001").await.is_none()).await;

    let writes = stage.writes(mark).await;
    let of_namespace: Vec<_> = writes.iter().filter(|it| it.contains("leave-001")).collect();
    let expect = ["patch serviceaccounts leave-001/default 200", "delete secrets leave-001/regcred 200"];
    assert_eq!(of_namespace, expect);
    assert_eq!(stage.references("leave-001", "default").await, Vec::<String>::new());
    assert_eq!(stage.references("leave-000", "default").await, ["regcred"]);
}

#[tokio::test]
async fn another_secret_name_moves_every_namespace_and_leaves_nothing_behind() {
    let stage = Stage::new("rename", 3).await;
    let controller = stage.serve("one").await;
    let mark = stage.mark();
    stage.respec(stage.name, json!({"secretName": SECOND_SECRET})).await;
    until("the Secrets of the old name are gone", async || {
        stage.secrets().await.is_empty() && stage.secrets_named(SECOND_SECRET).await.len() == 3
    })
    .await;
    for namespace in &stage.namespaces {
        until("the ServiceAccount names the new Secret only", async || {
            stage.references(namespace, "default").await == [SECOND_SECRET]
        })
        .await;
        // No pod is ever admitted without a pull secret that is there.
        let writes = stage.writes(mark).await;
        let place = |write: &str| writes.iter().position(|it| it.starts_with(write));
        let created = place(&format!("create secrets {namespace}/{SECOND_SECRET}"));
        let patched = place(&format!("patch serviceaccounts {namespace}/default"));
        let deleted = place(&format!("delete secrets {namespace}/regcred"));
        assert!(created.is_some() && created < patched && patched < deleted, "{writes:?}");
    }
    let name = stage.name;
    until("the old name is forgotten", async || {
        stage.status(name).await["secretNames"] == json!([SECOND_SECRET])
    })
    .await;
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn a_rename_that_was_cut_short_is_finished_after_a_start() {
    let stage = Stage::new("rename-cut", 3).await;
    let controller = stage.serve("one").await;
    controller.kill().await;
    stage.respec(stage.name, json!({"secretName": SECOND_SECRET})).await;
    let _next = stage.controller().start().await;
    until("the Secrets of the old name are gone", async || {
        stage.secrets().await.is_empty() && stage.secrets_named(SECOND_SECRET).await.len() == 3
    })
    .await;
}

#[tokio::test]
async fn what_is_suspended_is_left_alone_and_catches_up_later() {
    let mut stage = Stage::new("suspend", 2).await;
    let _controller = stage.serve("one").await;
    let name = stage.name;
    stage.respec(name, json!({"suspend": true})).await;
    until("it is said to be suspended", async || stage.condition(name, "Ready").await == "False Suspended")
        .await;
    let (mark, vault_mark) = (stage.mark(), stage.vault_mark());

    stage.put_password("two").await;
    stage.ask(name).await;
    let stripped = json!({"imagePullSecrets": null});
    let account = "/api/v1/namespaces/suspend-000/serviceaccounts/default";
    stage.kube.patch(account, &stripped).await.expect("a patch");
    stage.add_namespace("suspend-late").await;
    tokio::time::sleep(QUIET).await;
    let writes = stage.writes(mark).await;
    // That it is suspended may still be announced.
    let is_told = |it: &str| it.contains("clusterpullsecrets/status") || it.starts_with("create events");
    let of_targets: Vec<_> = writes.iter().filter(|it| !is_told(it)).collect();
    assert!(of_targets.is_empty(), "{of_targets:?}");
    assert_eq!(stage.reads("ghcr", vault_mark), 0);

    stage.respec(name, json!({"suspend": false})).await;
    stage.until_served("two").await;
    until("it is ready again", async || stage.condition(name, "Ready").await.starts_with("True")).await;
}

#[tokio::test]
async fn deletion_takes_away_what_was_made_and_then_the_finalizer() {
    let stage = Stage::new("delete", 3).await;
    let _controller = stage.serve("one").await;
    let own = json!({"imagePullSecrets": [{"name": "own"}, {"name": "regcred"}]});
    let account = "/api/v1/namespaces/delete-000/serviceaccounts/default";
    stage.kube.patch(account, &own).await.expect("a patch");
    let mark = stage.mark();
    stage.kube.delete(&format!("{PULL_SECRETS}/delete")).await.expect("a deletion");
    until("the ClusterPullSecret is gone", async || stage.pull_secret_object("delete").await.is_none()).await;

    assert!(stage.secrets().await.is_empty(), "the finalizer was taken off last");
    assert_eq!(stage.references("delete-000", "default").await, ["own"]);
    let writes = stage.writes(mark).await;
    for namespace in &stage.namespaces {
        let patched = writes.iter().position(|it| it.contains(&format!("serviceaccounts {namespace}/")));
        let deleted = writes.iter().position(|it| it.contains(&format!("delete secrets {namespace}/")));
        assert!(patched.is_some() && patched < deleted, "{writes:?}");
    }
}

#[tokio::test]
async fn deletion_with_retain_leaves_everything_where_it_is() {
    let stage = Stage::new("retain", 2).await;
    let _controller = stage.serve_with("one", "deletion", json!("Retain")).await;
    for secret in stage.secrets().await.values() {
        assert_eq!(secret["metadata"].get("ownerReferences"), None, "the garbage collector would take it");
    }
    stage.kube.delete(&format!("{PULL_SECRETS}/retain")).await.expect("a deletion");
    until("the ClusterPullSecret is gone", async || stage.pull_secret_object("retain").await.is_none()).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(stage.unserved("one").await, Vec::<String>::new());
}

#[tokio::test]
async fn retain_takes_the_owner_references_off_and_delete_puts_them_on() {
    let stage = Stage::new("owner", 2).await;
    let _controller = stage.serve("one").await;
    let uid = stage.pull_secret_object("owner").await.expect("it is there")["metadata"]["uid"].clone();
    let owners = async || {
        let owners = |secret: &Value| secret["metadata"]["ownerReferences"].as_array().cloned();
        stage.secrets().await.values().map(|it| owners(it).unwrap_or_default()).collect::<Vec<_>>()
    };
    let are_owned = async || {
        let owners = owners().await;
        let is_it = |it: &Value| it["uid"] == uid && it.get("blockOwnerDeletion").is_none();
        owners.len() == 2 && owners.iter().all(|it| it.len() == 1 && is_it(&it[0]))
    };
    until("each Secret has its owner", are_owned).await;
    stage.respec("owner", json!({"deletion": "Retain"})).await;
    until("no Secret has an owner", async || owners().await.iter().all(Vec::is_empty)).await;
    stage.respec("owner", json!({"deletion": "Delete"})).await;
    until("each Secret has its owner again", are_owned).await;
}

/// The garbage collector learns of a new kind every half minute.
#[tokio::test]
async fn without_regcred_the_garbage_collector_takes_the_secrets() {
    let stage = Stage::new("orphan", 2).await;
    let controller = stage.serve("one").await;
    controller.kill().await;
    let path = format!("{PULL_SECRETS}/orphan");
    stage.kube.patch(&path, &json!({"metadata": {"finalizers": null}})).await.expect("a patch");
    stage.kube.delete(&path).await.expect("a deletion");
    let patience = Duration::from_mins(3);
    until_within(patience, "the Secrets are gone", async || stage.secrets().await.is_empty()).await;
}

#[tokio::test]
async fn what_was_deleted_while_nobody_ran_is_cleared_away_after_a_start() {
    let stage = Stage::new("delete-late", 2).await;
    let controller = stage.serve("one").await;
    controller.kill().await;
    stage.kube.delete(&format!("{PULL_SECRETS}/delete-late")).await.expect("a deletion");
    let mark = stage.mark();
    let _next = stage.controller().start().await;
    until("the ClusterPullSecret is gone", async || stage.pull_secret_object("delete-late").await.is_none())
        .await;
    assert!(stage.secrets().await.is_empty());
    let requests = stage.requests(mark).await;
    let made = requests.iter().filter(|it| it.verb == "create" && it.resource == "secrets").map(line);
    assert_eq!(made.collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test]
async fn one_whose_secrets_may_not_be_seen_says_so_and_can_be_deleted() {
    let stage = Stage::new("unseen", 1).await;
    stage.put_password("one").await;
    let mut cluster_pull_secret = stage.cluster_pull_secret(stage.name);
    cluster_pull_secret["spec"]["secretName"] = json!("not-in-the-role");
    stage.apply(&cluster_pull_secret).await;
    let _controller = stage.controller().start().await;
    until("it is told", async || stage.condition("unseen", "Applied").await == "False Forbidden").await;
    stage.kube.delete(&format!("{PULL_SECRETS}/unseen")).await.expect("a deletion");
    until("the ClusterPullSecret is gone", async || stage.pull_secret_object("unseen").await.is_none()).await;
}

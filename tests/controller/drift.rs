//! What others change in the cluster is put back, from memory; who keeps at it is told on, not fought.

use std::time::Duration;

use serde_json::json;

use crate::stage::{AT_ONCE, Stage, docker_config, until};

const SECRET: &str = "/api/v1/namespaces/NAMESPACE/secrets/regcred";
const ACCOUNT: &str = "/api/v1/namespaces/NAMESPACE/serviceaccounts/default";

#[tokio::test]
async fn a_secret_that_was_edited_by_hand_is_put_back_at_once() {
    let stage = Stage::new("drift-edit", 2).await;
    let _controller = stage.serve("one").await;
    let good = stage.secret("drift-edit-001").await.expect("a Secret");
    let edits = [
        json!({"data": {".dockerconfigjson": "e30="}}),
        json!({"metadata": {"annotations": {"regcred.dev/versions": null}}}),
    ];
    for edit in edits {
        let (mark, vault_mark) = (stage.mark(), stage.vault_mark());
        stage.kube.patch(&SECRET.replace("NAMESPACE", "drift-edit-000"), &edit).await.expect("an edit");
        until("the Secret is as before", async || {
            let secret = stage.secret("drift-edit-000").await.expect("it is never deleted");
            docker_config(&secret) == docker_config(&good)
                && secret["metadata"]["annotations"] == good["metadata"]["annotations"]
        })
        .await;
        let change = "patch secrets drift-edit-000/regcred";
        let delay = stage.delay(mark, change, change).await;
        assert!(delay < AT_ONCE, "it took {delay:?} after {edit}");
        assert_eq!(stage.reads("ghcr", vault_mark), 0);
        assert_eq!(stage.writes(mark).await, ["patch secrets drift-edit-000/regcred 200"]);
    }
}

#[tokio::test]
async fn a_secret_that_was_deleted_by_hand_is_put_back_at_once() {
    let stage = Stage::new("drift-delete", 2).await;
    let _controller = stage.serve("one").await;
    let (mark, vault_mark) = (stage.mark(), stage.vault_mark());

    stage.kube.delete(&SECRET.replace("NAMESPACE", "drift-delete-000")).await.expect("a deletion");
    stage.until_served("one").await;

    let (change, effect) =
        ("delete secrets drift-delete-000/regcred", "create secrets drift-delete-000/regcred");
    let delay = stage.delay(mark, change, effect).await;
    assert!(delay < AT_ONCE, "it took {delay:?}");
    assert_eq!(stage.reads("ghcr", vault_mark), 0);
    assert_eq!(stage.writes(mark).await, ["create secrets drift-delete-000/regcred 201"]);
}

#[tokio::test]
async fn an_entry_that_was_wiped_is_put_back_at_once_behind_what_is_there_now() {
    let stage = Stage::new("drift-wipe", 2).await;
    let _controller = stage.serve("one").await;
    let mark = stage.mark();

    let wiped = json!({"imagePullSecrets": [{"name": "own"}]});
    stage.kube.patch(&ACCOUNT.replace("NAMESPACE", "drift-wipe-000"), &wiped).await.expect("a patch");
    until("the entry is back", async || {
        stage.references("drift-wipe-000", "default").await == ["own", "regcred"]
    })
    .await;

    let change = "patch serviceaccounts drift-wipe-000/default";
    let delay = stage.delay(mark, change, change).await;
    assert!(delay < AT_ONCE, "it took {delay:?}");
    assert_eq!(stage.writes(mark).await, ["patch serviceaccounts drift-wipe-000/default 200"]);
}

#[tokio::test]
async fn a_writer_who_keeps_undoing_us_is_reported_and_met_with_back_off() {
    let stage = Stage::new("drift-contest", 2).await;
    let controller = stage.serve("one").await;
    let path = ACCOUNT.replace("NAMESPACE", "drift-contest-000");
    let strip = async || {
        stage.kube.patch(&path, &json!({"imagePullSecrets": null})).await.expect("a patch");
    };
    let is_back = async || stage.references("drift-contest-000", "default").await == ["regcred"];
    for _ in 0..2 {
        strip().await;
        until("the entry is back", is_back).await;
    }
    strip().await;
    let name = stage.name;
    until("the contest is reported", async || {
        let failures = stage.status(name).await["failures"].as_array().cloned().unwrap_or_default();
        failures.iter().any(|it| it["reason"] == "Contested" && it["namespace"] == "drift-contest-000")
    })
    .await;
    assert_eq!(stage.condition(name, "Applied").await.split(' ').next(), Some("False"));

    // Somebody who undoes it whenever it comes back gets few answers.
    let mark = stage.mark();
    let war = async {
        loop {
            until("the entry is back", is_back).await;
            strip().await;
        }
    };
    let _: Result<(), _> = tokio::time::timeout(Duration::from_secs(10), war).await;
    let requests = stage.requests(mark).await;
    let answers = requests.iter().filter(|it| it.resource == "serviceaccounts" && it.is_write()).count();
    assert!(answers <= 4, "{answers} writes in ten seconds are a war");
    // Its neighbour does not suffer.
    let (mark, other) = (stage.mark(), ACCOUNT.replace("NAMESPACE", "drift-contest-001"));
    stage.kube.patch(&other, &json!({"imagePullSecrets": null})).await.expect("a patch");
    until("the neighbour's entry is back", async || {
        stage.references("drift-contest-001", "default").await == ["regcred"]
    })
    .await;
    let change = "patch serviceaccounts drift-contest-001/default";
    let delay = stage.delay(mark, change, change).await;
    assert!(delay < AT_ONCE, "it took {delay:?}");
    assert!(!controller.has_ended());
}

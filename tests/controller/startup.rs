//! A start finds the cluster as it is, and changes what is wrong and nothing else.

use std::net::TcpListener;

use serde_json::json;

use crate::stage::{AT_ONCE, QUIET, Stage, until};

#[tokio::test]
async fn after_a_start_nothing_is_written_that_is_right() {
    let stage = Stage::new("start-quiet", 5).await;
    let first = stage.serve("one").await;
    until("it is ready", async || stage.condition("start-quiet", "Ready").await.starts_with("True")).await;
    stage.until_quiet().await;
    // One start after a clean end, one after a crash.
    assert_eq!(first.terminate().await.0, Some(0));
    for _ in 0..2 {
        let (mark, vault_mark) = (stage.mark(), stage.vault_mark());
        let next = stage.controller().start().await;
        until("the store is read", async || stage.reads("ghcr", vault_mark) > 0).await;
        tokio::time::sleep(QUIET).await;
        assert_eq!(stage.writes(mark).await, Vec::<String>::new());
        assert_eq!(stage.reads("ghcr", vault_mark), 1);
        next.kill().await;
    }
}

#[tokio::test]
async fn what_went_wrong_while_nobody_ran_is_put_right_after_a_start() {
    let stage = Stage::new("start-late", 3).await;
    let first = stage.serve("one").await;
    first.kill().await;
    stage.put_password("two").await;
    stage.kube.delete("/api/v1/namespaces/start-late-000/secrets/regcred").await.expect("a deletion");
    let account = "/api/v1/namespaces/start-late-001/serviceaccounts/default";
    stage.kube.patch(account, &json!({"imagePullSecrets": null})).await.expect("a patch");
    let _next = stage.controller().start().await;
    stage.until_served("two").await;
}

#[tokio::test]
async fn with_vault_sealed_at_the_start_the_cluster_is_the_memory() {
    let mut stage = Stage::new("start-sealed", 2).await;
    let first = stage.serve("one").await;
    assert_eq!(first.terminate().await.0, Some(0));
    stage.vault.seal().await.expect("Vault can be sealed");
    let mark = stage.mark();

    let controller = stage.controller().start().await;
    stage.add_namespace("start-sealed-late").await;
    stage.until_served("one").await;
    until("the store is said to be away", async || {
        stage.condition("start-sealed", "Fetched").await == "False Sealed"
    })
    .await;
    let writes = stage.writes(mark).await;
    let of_old: Vec<_> = writes.iter().filter(|it| it.contains("start-sealed-00")).collect();
    assert!(of_old.is_empty(), "{of_old:?}");
    assert!(controller.is_ready().await, "a store that is away makes no controller unready");

    stage.vault.unseal().await.expect("Vault can be unsealed");
    until("the store is back", async || stage.condition("start-sealed", "Fetched").await.starts_with("True"))
        .await;
    until("all is well", async || stage.condition("start-sealed", "Ready").await.starts_with("True")).await;
}

#[tokio::test]
async fn a_store_that_is_down_or_hangs_delays_no_other_pull_secret() {
    let stage = Stage::new("start-hang", 2).await;
    // It takes connections and never answers.
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = deaf.local_addr().expect("an address");
    let hanging = format!("- name: hanging\n  vault: {{address: \"http://{address}\"}}\n");
    let manifests = stage.write(&[&stage.config(&hanging)]);
    for store in ["hanging", "down"] {
        let mut broken = stage.cluster_pull_secret(store);
        broken["spec"]["secretName"] = json!("second");
        broken["spec"]["registries"][0]["from"] = json!({"store": store, "key": "x"});
        if store == "down" {
            broken["spec"]["namespaces"] = json!({"include": ["start-hang-nowhere"]});
        }
        stage.apply(&broken).await;
    }
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let _controller = stage.controller().of(&manifests).start().await;
    stage.until_served("one").await;
    until("the other is said to be broken", async || {
        stage.condition("down", "Fetched").await == "False Unavailable"
    })
    .await;

    // While one read hangs, another is done at once: a new one is asked for before each rotation.
    for password in ["two", "three"] {
        stage.put_password(password).await;
        stage.ask("hanging").await;
        let mark = stage.mark();
        stage.ask(stage.name).await;
        stage.until_served(password).await;
        let asked = "patch clusterpullsecrets start-hang";
        for namespace in &stage.namespaces {
            let delay = stage.delay(mark, asked, &format!("patch secrets {namespace}/regcred")).await;
            assert!(delay < AT_ONCE, "{password} took {delay:?}");
        }
    }
}

//! The stage itself: clean for everyone who enters it, and with nothing between regcred and the API server that hides a token.

use std::process::Stdio;

use serde_json::json;
use tokio::process::Command;
use world::Proxy;

use crate::stage::{NAMESPACE, PULL_SECRETS, REPLICAS, SECRET, SERVICE_ACCOUNT, Stage, until};

#[tokio::test]
async fn a_stage_is_clean_whatever_the_test_before_left() {
    let stage = Stage::with_crowd("rehearsal-before", 2).await;
    let mut cluster_pull_secret = stage.cluster_pull_secret("left");
    cluster_pull_secret["metadata"]["finalizers"] = json!(["regcred.dev/cleanup"]);
    stage.apply(&cluster_pull_secret).await;
    let secret = json!({"metadata": {"name": SECRET}, "stringData": {"x": "y"}});
    stage.kube.post("/api/v1/namespaces/crowd-000/secrets", &secret).await.expect("a Secret");
    let entry = json!({"metadata": {"annotations": {"a": "b"}}, "imagePullSecrets": [{"name": SECRET}]});
    stage.kube.patch("/api/v1/namespaces/crowd-001/serviceaccounts/default", &entry).await.expect("an entry");
    let account = json!({"metadata": {"name": "builder"}});
    stage
        .kube
        .post("/api/v1/namespaces/crowd-001/serviceaccounts", &account)
        .await
        .expect("a ServiceAccount");
    stage.vault.seal().await.expect("Vault can be sealed");
    stage.remove_crd().await;
    drop(stage);

    let stage = Stage::with_crowd("rehearsal-after", 2).await;
    assert_eq!(stage.put_password("one").await, 1, "Vault is unsealed");
    let left = stage.kube.get(PULL_SECRETS).await.expect("the CRD is there");
    assert_eq!(left["items"], json!([]));
    assert!(stage.secrets().await.is_empty());
    assert_eq!(stage.references("crowd-001", "default").await, Vec::<String>::new());
    assert!(stage.kube.get("/api/v1/namespaces/crowd-001/serviceaccounts/builder").await.is_err());
    let namespaces = stage.kube.get("/api/v1/namespaces?labelSelector=stage%3Drehearsal-before").await;
    assert_eq!(namespaces.expect("a list")["items"], json!([]));
}

#[tokio::test]
async fn a_controller_behind_a_proxy_and_its_replicas_have_the_rights_of_their_account() {
    let stage = Stage::new("rehearsal-proxy", 2).await;
    stage.put_password("one").await;
    let manifests =
        stage.write(&[&stage.config(""), &stage.cluster_pull_secret("rehearsal-proxy").to_string()]);
    let proxy = Proxy::start(stage.kube).expect("a proxy");
    for account in [SERVICE_ACCOUNT, REPLICAS[0], REPLICAS[1]] {
        let kubeconfig = stage.kube.kubeconfig_through(&proxy, NAMESPACE, account).await.expect("a token");
        let mark = stage.mark();
        let mut command = Command::new(env!("CARGO_BIN_EXE_regcred"));
        command.args(["rotate", "-f"]).arg(&manifests).env_clear();
        command.env("KUBECONFIG", kubeconfig).env("VAULT_TOKEN", &stage.vault.root_token);
        let run = command.stdin(Stdio::null()).output().await.expect("regcred runs");
        assert!(run.status.success(), "{account}: {run:?}");
        stage.until_served("one").await;
        assert!(!stage.requests_as(account, mark).await.is_empty(), "the audit log knows {account}");
    }
    assert!(proxy.take_requests().values().sum::<usize>() > 0);
    // What the tests measure: from somebody's change to regcred's answer.
    let mark = stage.mark();
    stage.select("rehearsal-proxy-000", false).await;
    stage.select("rehearsal-proxy-000", true).await;
    let requests = stage.all_requests(mark).await;
    let lines: Vec<_> = requests.iter().filter(|it| it.verb == "patch").map(crate::stage::line).collect();
    assert_eq!(lines, vec!["patch namespaces rehearsal-proxy-000/rehearsal-proxy-000 200"; 2]);
    until("all is as it was", async || stage.unserved("one").await.is_empty()).await;
}

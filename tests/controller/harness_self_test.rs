//! The harness itself: a cluster is clean for every test, and a proxy passes the token of the account through.

use harness::{CLUSTER_PULL_SECRETS, NAMESPACE, REPLICAS, SECOND_SECRET, SECRET, SERVICE_ACCOUNT, until};
use serde_json::json;
use world::Proxy;

use crate::cluster::{cluster_with_shared_namespaces, test_cluster};

#[tokio::test]
async fn exclusive_cluster_is_clean_after_any_test() {
    let cluster = cluster_with_shared_namespaces("self-test-before", 2).await;
    let mut cluster_pull_secret = cluster.cluster_pull_secret("left");
    cluster_pull_secret["metadata"]["finalizers"] = json!(["regcred.dev/cleanup"]);
    cluster.apply(&cluster_pull_secret).await;
    let secret = json!({"metadata": {"name": SECRET}, "stringData": {"x": "y"}});
    cluster.kube.post("/api/v1/namespaces/shared-000/secrets", &secret).await.expect("a Secret");
    let entry = json!({"metadata": {"annotations": {"a": "b"}}, "imagePullSecrets": [{"name": SECRET}]});
    cluster
        .kube
        .patch("/api/v1/namespaces/shared-001/serviceaccounts/default", &entry)
        .await
        .expect("an entry");
    let account = json!({"metadata": {"name": "builder"}});
    cluster
        .kube
        .post("/api/v1/namespaces/shared-001/serviceaccounts", &account)
        .await
        .expect("a ServiceAccount");
    cluster.vault.seal().await.expect("Vault can be sealed");
    cluster.remove_crd().await;
    drop(cluster);

    let cluster = cluster_with_shared_namespaces("self-test-after", 2).await;
    assert_eq!(cluster.put_password("one").await, 1, "Vault is unsealed");
    let remaining = cluster.kube.get(CLUSTER_PULL_SECRETS).await.expect("the CRD is there");
    assert_eq!(remaining["items"], json!([]));
    assert!(cluster.secrets().await.is_empty());
    assert_eq!(cluster.references("shared-001", "default").await, Vec::<String>::new());
    assert!(cluster.kube.get("/api/v1/namespaces/shared-001/serviceaccounts/builder").await.is_err());
    let namespaces = cluster.kube.get("/api/v1/namespaces?labelSelector=test%3Dself-test-before").await;
    assert_eq!(namespaces.expect("a list")["items"], json!([]));
}

#[tokio::test]
async fn proxied_requests_of_all_replicas_have_their_accounts_rights() {
    let cluster = test_cluster("self-test-proxy", 2).await;
    cluster.put_password("one").await;
    let manifests =
        cluster.write(&[&cluster.config(""), &cluster.cluster_pull_secret("self-test-proxy").to_string()]);
    let proxy = Proxy::start(&cluster.kube).expect("a proxy");
    for account in [SERVICE_ACCOUNT, REPLICAS[0], REPLICAS[1]] {
        let kubeconfig = cluster.kube.kubeconfig_through(&proxy, NAMESPACE, account).await.expect("a token");
        let mark = cluster.mark();
        let mut command = cluster.command(&["rotate", "-f"]);
        let run = command.arg(&manifests).env("KUBECONFIG", kubeconfig).output().await.expect("regcred runs");
        assert!(run.status.success(), "{account}: {run:?}");
        cluster.until_synced("one").await;
        assert!(!cluster.requests_as(account, mark).await.is_empty(), "the audit log knows {account}");
    }
    assert!(proxy.take_requests().values().sum::<usize>() > 0);
    // The measure of the tests: from a change by another user to regcred's reaction.
    let mark = cluster.mark();
    cluster.select("self-test-proxy-000", false).await;
    cluster.select("self-test-proxy-000", true).await;
    let requests = cluster.all_requests(mark).await;
    let lines: Vec<_> = requests.iter().filter(|it| it.verb == "patch").map(harness::line).collect();
    assert_eq!(lines, vec!["patch namespaces self-test-proxy-000/self-test-proxy-000 200"; 2]);
    until("every namespace is in sync again", async || cluster.out_of_sync("one").await.is_empty()).await;
}

#[tokio::test]
async fn admission_policies_restrict_every_replica() {
    let cluster = test_cluster("self-test-policies", 1).await;
    let path = format!("/api/v1/namespaces/{}/secrets?dryRun=All", cluster.namespace(0));
    let secret = |name: &str| {
        let type_ = "kubernetes.io/dockerconfigjson";
        json!({"metadata": {"name": name}, "type": type_, "stringData": {".dockerconfigjson": "{}"}})
    };
    for account in [SERVICE_ACCOUNT, REPLICAS[0], REPLICAS[1]] {
        let token = cluster.kube.token(NAMESPACE, account, 600).await.expect("a token");
        let create = async |name: &str| {
            let body = Some(("application/json", secret(name).to_string()));
            cluster.kube.request_as(&token, "POST", &path, body).await
        };
        until("the policy refuses", async || {
            let refused = create("other").await.err();
            refused.is_some_and(|it| it.to_string().contains("ValidatingAdmissionPolicy 'regcred'"))
        })
        .await;
        for name in [SECRET, SECOND_SECRET] {
            create(name).await.unwrap_or_else(|error| panic!("{account} {name}: {error:#}"));
        }
    }
}

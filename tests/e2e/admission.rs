//! Allow-lists of stores, and keys of single namespaces: nothing is requested that a store does not admit, and one
//! namespace without a key affects no other.

use std::path::PathBuf;

use harness::{Run, TestCluster, registries, text};
use serde_json::{Value, json};

use crate::cluster::test_cluster;

/// Writes a Config with the Vault as store `limited`, which has these allow-lists, and one ClusterPullSecret.
fn manifests(cluster: &TestCluster, lists: &str, cluster_pull_secret: &Value) -> PathBuf {
    let address = &cluster.vault.address;
    let store = format!("- name: limited\n  vault: {{address: \"{address}\"}}\n  {lists}\n");
    cluster.write(&[&cluster.config(&store), &cluster_pull_secret.to_string()])
}

/// A ClusterPullSecret with `ghcr.io` at a key of the store `limited`.
fn limited(cluster: &TestCluster, key: &str) -> Value {
    let mut object = cluster.cluster_pull_secret(cluster.name);
    object["spec"]["registries"] = registries(&[("ghcr.io", "limited", &cluster.key(key))]);
    object
}

/// Puts a password at the key of a namespace.
async fn put_own(cluster: &TestCluster, n: usize, password: &str) {
    let value = json!({"username": "robot", "password": password});
    cluster.put(&own_key(cluster, n), &value).await;
}

/// The key of a namespace, below the name of the test.
fn own_key(cluster: &TestCluster, n: usize) -> String {
    format!("{}/ghcr", cluster.namespace(n))
}

fn message(run: &Run, list: &str, n: usize) -> String {
    text(&run.report()["clusterPullSecrets"][0][list][n]["message"])
}

#[tokio::test]
async fn host_not_admitted_is_denied_without_a_request() {
    let cluster = test_cluster("ad-host", 1).await;
    cluster.put_password("good").await;
    let mark = cluster.vault_mark();
    let run = cluster.rotate(&manifests(&cluster, "hosts: [quay.io]", &limited(&cluster, "ghcr")), &[]).await;
    assert_eq!((run.code, run.registries()), (1, vec!["ghcr.io - NotAllowed".to_owned()]));
    assert!(
        message(&run, "registries", 0).contains("not allowed by the store's `hosts`: ghcr.io"),
        "{run:?}"
    );
    assert_eq!(cluster.vault_requests(mark), Vec::<String>::new());

    let run = cluster.rotate(&manifests(&cluster, "hosts: [ghcr.io]", &limited(&cluster, "ghcr")), &[]).await;
    assert_eq!((run.code, cluster.vault_requests(mark).len()), (0, 1), "{run:?}");
}

#[tokio::test]
async fn docker_config_loses_the_hosts_not_admitted() {
    let cluster = test_cluster("ad-config", 1).await;
    let entry = json!({"username": "robot", "password": "pw"});
    cluster.put("config", &json!({"auths": {"ghcr.io": entry, "quay.io": entry}})).await;
    let mut object = limited(&cluster, "config");
    object["spec"]["registries"][0].as_object_mut().expect("a registry").remove("host");
    let run = cluster.rotate(&manifests(&cluster, "hosts: ['*.io']", &object), &[]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(cluster.passwords("ad-config-000").await.len(), 2);
    let run = cluster.rotate(&manifests(&cluster, "hosts: [ghcr.io]", &object), &[]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        message(&run, "registries", 0).contains("left out, as not allowed by the store's `hosts`: quay.io"),
        "{run:?}"
    );
    assert_eq!(cluster.passwords("ad-config-000").await.into_keys().collect::<Vec<_>>(), ["ghcr.io"]);
}

#[tokio::test]
async fn namespace_not_admitted_loses_the_entries_of_the_store() {
    let cluster = test_cluster("ad-ns", 2).await;
    cluster.put_password("good").await;
    let mut object = limited(&cluster, "ghcr");
    let (limited_key, other_key) = (cluster.key("ghcr"), cluster.key("ghcr"));
    let both = [("ghcr.io", "limited", limited_key.as_str()), ("quay.io", "vault", other_key.as_str())];
    object["spec"]["registries"] = registries(&both);
    let all = manifests(&cluster, "namespaces: ['ad-ns-*']", &object);
    let first_only = manifests(&cluster, "namespaces: [ad-ns-000]", &object);
    assert_eq!(cluster.rotate(&all, &[]).await.code, 0);
    assert_eq!(cluster.passwords("ad-ns-001").await.len(), 2);

    let dry = cluster.rotate(&first_only, &["--dry-run"]).await;
    let changes = dry.report()["clusterPullSecrets"][0]["namespaces"][1]["changes"].clone();
    assert_eq!(changes, json!([{"type": "entryRemoved", "host": "ghcr.io"}]));
    let run = cluster.rotate(&first_only, &[]).await;
    assert_eq!(run.results(), ["ad-ns-000: unchanged", "ad-ns-001: failed NotAdmitted"], "{run:?}");
    let message = message(&run, "namespaces", 1);
    assert!(message.contains("store limited does not admit namespace ad-ns-001"), "{message}");
    assert_eq!(run.code, 1);
    assert_eq!(cluster.passwords("ad-ns-000").await.len(), 2);
    assert_eq!(cluster.passwords("ad-ns-001").await.into_keys().collect::<Vec<_>>(), ["quay.io"]);

    // Without another registry the Secret and its entry go.
    object["spec"]["registries"] = registries(&both[..1]);
    let first_only = manifests(&cluster, "namespaces: [ad-ns-000]", &object);
    let run = cluster.rotate(&first_only, &[]).await;
    assert_eq!(run.results(), ["ad-ns-000: updated", "ad-ns-001: failed NotAdmitted"], "{run:?}");
    assert_eq!(cluster.secret("ad-ns-001").await, None);
    assert_eq!(cluster.references("ad-ns-001", "default").await, Vec::<String>::new());
    let run = cluster.rotate(&first_only, &[]).await;
    assert_eq!(run.results(), ["ad-ns-000: unchanged", "ad-ns-001: failed NotAdmitted"], "{run:?}");
}

#[tokio::test]
async fn namespace_is_admitted_by_its_labels() {
    let cluster = test_cluster("ad-label", 2).await;
    cluster.put_password("good").await;
    let label = json!({"metadata": {"labels": {"tier": "prod"}}});
    cluster.kube.patch("/api/v1/namespaces/ad-label-001", &label).await.expect("a label");
    let selector = "namespaceSelector: {matchLabels: {tier: prod}}";
    let run = cluster.rotate(&manifests(&cluster, selector, &limited(&cluster, "ghcr")), &[]).await;
    assert_eq!(run.results(), ["ad-label-000: failed NotAdmitted", "ad-label-001: created"], "{run:?}");
    assert_eq!(cluster.secret("ad-label-000").await, None);
}

#[tokio::test]
async fn missing_key_concerns_its_namespace_only() {
    let cluster = test_cluster("ad-keys", 3).await;
    for n in 0..2 {
        put_own(&cluster, n, &format!("of-{n}")).await;
    }
    cluster.put_password("shared").await;
    let mut object = limited(&cluster, "{{namespace}}/ghcr");
    let (own_keys, shared_key) = (cluster.key("{{namespace}}/ghcr"), cluster.key("ghcr"));
    object["spec"]["registries"] =
        registries(&[("ghcr.io", "limited", &own_keys), ("quay.io", "limited", &shared_key)]);
    let manifests = manifests(&cluster, "keys: ['ad-keys/**']", &object);
    let mark = cluster.vault_mark();

    let run = cluster.rotate(&manifests, &["--dry-run"]).await;
    let expect = ["ad-keys-000: created", "ad-keys-001: created", "ad-keys-002: failed FetchFailed"];
    assert_eq!(run.results(), expect, "{run:?}");
    assert_eq!(cluster.secret("ad-keys-000").await, None, "a dry run");
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!((run.code, run.results()), (1, expect.map(str::to_owned).into()), "{run:?}");
    assert_eq!(run.registries(), ["ghcr.io - Fetched", "quay.io 1 Fetched"]);
    let message = message(&run, "namespaces", 2);
    assert!(
        message.starts_with("ghcr.io: NotFound: store limited, key ad-keys/ad-keys-002/ghcr"),
        "{message}"
    );
    for n in 0..2 {
        let expect = [("ghcr.io".to_owned(), format!("of-{n}")), ("quay.io".to_owned(), "shared".to_owned())];
        assert_eq!(cluster.passwords(cluster.namespace(n)).await, expect.into());
    }
    let expect = [("quay.io".to_owned(), "shared".to_owned())];
    assert_eq!(cluster.passwords("ad-keys-002").await, expect.into(), "the other registry");
    let reads = cluster.vault_reads(&own_key(&cluster, 0), mark);
    assert_eq!((reads, cluster.vault_reads("ghcr", mark)), (2, 2), "one read of each key in each run");

    // What the namespace has already is kept while its key is missing, and goes nowhere else.
    let path = format!("secret/metadata/{}", cluster.key(&own_key(&cluster, 1)));
    cluster.vault.delete(&path).await.expect("a key is deleted");
    let run = cluster.rotate(&manifests, &[]).await;
    let expect =
        ["ad-keys-000: unchanged", "ad-keys-001: failed FetchFailed", "ad-keys-002: failed FetchFailed"];
    assert_eq!(run.results(), expect, "{run:?}");
    assert_eq!(cluster.passwords("ad-keys-001").await["ghcr.io"], "of-1");
    assert!(!cluster.passwords("ad-keys-002").await.contains_key("ghcr.io"));
}

#[tokio::test]
async fn own_key_outside_the_stores_keys_is_not_requested() {
    let cluster = test_cluster("ad-outside", 2).await;
    for n in 0..2 {
        put_own(&cluster, n, "own").await;
    }
    let keys = "keys: ['ad-outside/ad-outside-000/*']";
    let object = limited(&cluster, "{{namespace}}/ghcr");
    let mark = cluster.vault_mark();
    let run = cluster.rotate(&manifests(&cluster, keys, &object), &[]).await;
    assert_eq!(run.results(), ["ad-outside-000: created", "ad-outside-001: failed FetchFailed"], "{run:?}");
    assert!(message(&run, "namespaces", 1).contains("NotAllowed"), "{run:?}");
    assert_eq!(cluster.vault_requests(mark), ["secret/data/ad-outside/ad-outside-000/ghcr"]);
    // Nor is the key of a namespace that the store does not admit.
    let mark = cluster.vault_mark();
    let run = cluster.rotate(&manifests(&cluster, "namespaces: [ad-outside-001]", &object), &[]).await;
    assert_eq!(run.results(), ["ad-outside-000: failed NotAdmitted", "ad-outside-001: created"], "{run:?}");
    assert_eq!(cluster.vault_requests(mark), ["secret/data/ad-outside/ad-outside-001/ghcr"]);
}

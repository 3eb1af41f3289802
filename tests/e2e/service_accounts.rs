//! `imagePullSecrets`, the list that regcred shares with other tools.

use harness::{NAMESPACE, Run, SERVICE_ACCOUNT, TestCluster, until};
use serde_json::{Value, json};

use crate::cluster::test_cluster;

const PATH: &str = "/api/v1/namespaces/NAMESPACE/serviceaccounts/default";

/// Adds an entry as a careful tool does: read, add, write under the resourceVersion.
async fn add_entry(cluster: &TestCluster, path: &str, entry: &str) {
    loop {
        let mut object = cluster.kube.get(path).await.expect("a ServiceAccount");
        let mut list = object["imagePullSecrets"].as_array().cloned().unwrap_or_default();
        list.push(json!({"name": entry}));
        object["imagePullSecrets"] = Value::Array(list);
        if cluster.kube.put(path, &object).await.is_ok() {
            return;
        }
    }
}

#[tokio::test]
async fn concurrent_writers_lose_no_entry() {
    let cluster = test_cluster("sa-writers", 1).await;
    cluster.put_password("pw").await;
    let path = PATH.replace("NAMESPACE", "sa-writers-000");
    let registries = [("ghcr.io", "vault", "sa-writers/ghcr")];
    let manifests = cluster.manifests(&registries);
    add_entry(&cluster, &path, "own").await;

    // regcred's entry is removed and added again while two other tools write.
    let regcred = async {
        for _ in 0..5 {
            let run = cluster.rotate(&manifests, &[]).await;
            assert_eq!(run.code, 0, "{run:?}");
            remove_entry(&cluster, &path, "regcred").await;
        }
    };
    tokio::join!(add_entries(&cluster, &path, "left"), add_entries(&cluster, &path, "right"), regcred);
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);

    let references = cluster.references("sa-writers-000", "default").await;
    for name in ["left", "right"] {
        assert_eq!(with_prefix(&references, name), entries(name).collect::<Vec<_>>());
    }
    assert_eq!(with_prefix(&references, "own"), ["own"]);
    assert_eq!(with_prefix(&references, "regcred"), ["regcred"]);
}

fn entries(name: &str) -> impl Iterator<Item = String> {
    (0..40).map(move |n| format!("{name}-{n}"))
}

async fn add_entries(cluster: &TestCluster, path: &str, name: &str) {
    for entry in entries(name) {
        add_entry(cluster, path, &entry).await;
    }
}

fn with_prefix(references: &[String], prefix: &str) -> Vec<String> {
    references.iter().filter(|name| name.starts_with(prefix)).cloned().collect()
}

async fn remove_entry(cluster: &TestCluster, path: &str, entry: &str) {
    loop {
        let mut object = cluster.kube.get(path).await.expect("a ServiceAccount");
        let list = object["imagePullSecrets"].as_array().cloned().unwrap_or_default();
        object["imagePullSecrets"] = list.into_iter().filter(|it| it["name"] != entry).collect();
        if cluster.kube.put(path, &object).await.is_ok() {
            return;
        }
    }
}

/// The reason against the patches that look right: the list is atomic.
#[tokio::test]
async fn strategic_merge_patch_replaces_the_whole_list() {
    let cluster = test_cluster("sa-strategic", 1).await;
    cluster.put_password("pw").await;
    let path = PATH.replace("NAMESPACE", "sa-strategic-000");
    add_entry(&cluster, &path, "own").await;
    add_entry(&cluster, &path, "another").await;
    let registries = [("ghcr.io", "vault", "sa-strategic/ghcr")];
    let manifests = cluster.manifests(&registries);
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
    assert_eq!(cluster.references("sa-strategic-000", "default").await, ["own", "another", "regcred"]);

    let change = r#"{"imagePullSecrets":[{"name":"regcred"}]}"#;
    let arguments =
        ["patch", "serviceaccount", "default", "-n", "sa-strategic-000", "--type", "strategic", "-p", change];
    cluster.kube.kubectl(&arguments).await.expect("kubectl patches");
    assert_eq!(cluster.references("sa-strategic-000", "default").await, ["regcred"]);
}

#[tokio::test]
async fn other_fields_of_service_accounts_are_never_changed() {
    let cluster = test_cluster("sa-fields", 1).await;
    cluster.put_password("pw").await;
    let path = PATH.replace("NAMESPACE", "sa-fields-000");
    let others = json!({
        "metadata": {"labels": {"other": "1"}, "annotations": {"other": "2"}},
        "secrets": [{"name": "other"}],
        "automountServiceAccountToken": false,
    });
    let before = cluster.kube.patch(&path, &others).await.expect("a patch");
    let registries = [("ghcr.io", "vault", "sa-fields/ghcr")];
    let manifests = cluster.manifests(&registries);
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);

    let after = cluster.kube.get(&path).await.expect("a ServiceAccount");
    assert_eq!(after["secrets"], before["secrets"]);
    assert_eq!(after["automountServiceAccountToken"], before["automountServiceAccountToken"]);
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
    let annotations =
        json!({"other": "2", "regcred.dev/image-pull-secrets": format!("regcred={}", cluster.name)});
    assert_eq!(after["metadata"]["annotations"], annotations);
}

#[tokio::test]
async fn only_named_service_accounts_are_patched() {
    let cluster = test_cluster("sa-named", 1).await;
    cluster.put_password("pw").await;
    for name in ["builder", "other"] {
        let arguments = ["create", "serviceaccount", name, "-n", "sa-named-000"];
        cluster.kube.kubectl(&arguments).await.expect("a ServiceAccount");
    }

    let run = rotate(&cluster, json!(["builder"])).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(counts(&cluster).await, [1, 0, 0]);

    assert_eq!(rotate(&cluster, json!(["*"])).await.code, 0);
    assert_eq!(counts(&cluster).await, [1, 1, 1]);

    assert_eq!(rotate(&cluster, json!(["default"])).await.code, 0);
    assert_eq!(counts(&cluster).await, [0, 0, 1]);
}

async fn rotate(cluster: &TestCluster, service_accounts: Value) -> Run {
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    cluster_pull_secret["spec"]["serviceAccounts"] = service_accounts;
    cluster.rotate(&cluster.manifests_with(&[&cluster_pull_secret]), &[]).await
}

/// The numbers of entries in `builder`, `other` and `default`.
async fn counts(cluster: &TestCluster) -> [usize; 3] {
    let mut counts = [0; 3];
    for (name, count) in ["builder", "other", "default"].into_iter().zip(&mut counts) {
        *count = cluster.references(cluster.namespace(0), name).await.len();
    }
    counts
}

#[tokio::test]
async fn misspelled_service_account_removes_no_entry() {
    let cluster = test_cluster("sa-typo", 2).await;
    cluster.put_password("pw").await;
    assert_eq!(rotate(&cluster, json!(["default"])).await.code, 0);

    let run = rotate(&cluster, json!(["defualt"])).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.report()["clusterPullSecrets"][0]["problems"][0]["reason"], "ServiceAccountMissing");
    assert_eq!(cluster.references("sa-typo-000", "default").await, ["regcred"]);
}

#[tokio::test]
async fn namespace_without_default_account_is_not_in_sync() {
    let cluster = test_cluster("sa-early", 2).await;
    cluster.put_password("pw").await;
    // The policy prevents the controller manager from recreating the deleted ServiceAccount.
    cluster.forbid_creation("sa-early-000", "serviceaccounts", "not yet").await;
    cluster.kube.delete(&PATH.replace("NAMESPACE", "sa-early-000")).await.expect("a deletion");

    let registries = [("ghcr.io", "vault", "sa-early/ghcr")];
    let manifests = cluster.manifests(&registries);
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.results(), ["sa-early-000: failed ServiceAccountMissing", "sa-early-001: created"]);
    assert_eq!(cluster.passwords("sa-early-000").await["ghcr.io"], "pw", "the Secret exists already");
}

/// Adds the name `second` to the role and to the admission policies, and waits until they bind.
async fn allow_second_secret(cluster: &TestCluster) {
    let grant = r#"[{"op":"add","path":"/rules/2/resourceNames/-","value":"second"}]"#;
    let names =
        r#"[{"op":"replace","path":"/spec/variables/0/expression","value":"[\"regcred\", \"second\"]"}]"#;
    for (kind, name, patch) in [
        ("clusterrole", "regcred", grant),
        ("validatingadmissionpolicy", "regcred", names),
        ("validatingadmissionpolicy", "regcred-serviceaccounts", names),
    ] {
        let arguments = ["patch", kind, name, "--type", "json", "-p", patch];
        cluster.kube.kubectl(&arguments).await.expect("a wider rule");
    }
    let account = cluster.user();
    let can_list = ["auth", "can-i", "list", "secrets/second", "--all-namespaces", "--as", &account];
    until("the wider role binds", async || cluster.kube.kubectl(&can_list).await.is_ok()).await;
    let token = cluster.kube.token(NAMESPACE, SERVICE_ACCOUNT, 600).await.expect("a token");
    let namespace = format!("/api/v1/namespaces/{}", cluster.namespace(0));
    let secret = json!({
        "metadata": {"name": "second"}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": "{}"},
    });
    let entry = json!({"imagePullSecrets": [{"name": "second"}]});
    for (method, path, content_type, body) in [
        ("POST", "secrets", "application/json", secret),
        ("PATCH", "serviceaccounts/default", "application/merge-patch+json", entry),
    ] {
        let path = format!("{namespace}/{path}?dryRun=All");
        until("the wider policy binds", async || {
            let body = Some((content_type, body.to_string()));
            cluster.kube.request_as(&token, method, &path, body).await.is_ok()
        })
        .await;
    }
}

#[tokio::test]
async fn two_objects_on_one_service_account_make_one_write_each() {
    let cluster = test_cluster("sa-both", 3).await;
    cluster.put_password("pw").await;
    let first = cluster.cluster_pull_secret(cluster.name);
    let mut second = cluster.cluster_pull_secret("second");
    second["spec"]["secretName"] = json!("second");
    allow_second_secret(&cluster).await;
    let manifests = cluster.manifests_with(&[&first, &second]);
    let mark = cluster.mark();
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!(run.code, 0, "{run:?}");
    let writes = cluster.writes_in_namespaces(mark).await;
    let [creates, patches] = ["create secrets 201", "patch serviceaccounts 200"]
        .map(|kind| writes.iter().filter(|write| *write == kind).count());
    assert_eq!((creates, patches), (6, 6), "{writes:?}");
    assert_eq!(writes.len(), 12, "{writes:?}");
    assert_eq!(cluster.references("sa-both-000", "default").await, ["regcred", "second"]);
}

/// The list is appended to and removed from by its index; it is never sent as a whole.
#[tokio::test]
async fn long_list_gets_and_loses_one_entry() {
    let cluster = test_cluster("sa-long", 1).await;
    cluster.put_password("pw").await;
    let path = PATH.replace("NAMESPACE", "sa-long-000");
    let own: Vec<_> = (0..3000).map(|n| format!("own-{n}")).collect();
    let entries: Vec<_> = own.iter().map(|name| json!({"name": name})).collect();
    cluster.kube.patch(&path, &json!({"imagePullSecrets": entries})).await.expect("a patch");
    let registries = [("ghcr.io", "vault", "sa-long/ghcr")];
    for _ in 0..2 {
        let run = cluster.rotate(&cluster.manifests(&registries), &[]).await;
        assert_eq!(run.code, 0, "{run:?}");
        let references = cluster.references("sa-long-000", "default").await;
        assert_eq!(
            (&references[..3000], &references[3000..]),
            (own.as_slice(), ["regcred".to_owned()].as_slice())
        );
    }

    let mut nothing = cluster.cluster_pull_secret(cluster.name);
    nothing["spec"]["registries"] = harness::registries(&registries);
    nothing["spec"]["namespaces"] = json!({"include": []});
    let run = cluster.rotate(&cluster.manifests_with(&[&nothing]), &[]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(cluster.references("sa-long-000", "default").await, own);
}

/// An annotation that regcred cannot have written is reported, and stops nothing else.
#[tokio::test]
async fn oversized_annotation_is_reported_as_a_problem_of_its_account() {
    let cluster = test_cluster("sa-malformed", 2).await;
    cluster.put_password("pw").await;
    let annotation =
        json!({"metadata": {"annotations": {"regcred.dev/image-pull-secrets": "a".repeat(1025)}}});
    cluster.kube.patch(&PATH.replace("NAMESPACE", "sa-malformed-000"), &annotation).await.expect("a patch");
    let run = cluster.rotate(&cluster.manifests(&[("ghcr.io", "vault", "sa-malformed/ghcr")]), &[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(format!("{run:?}").contains("would be longer than 1024 bytes, or is"), "{run:?}");
    assert_eq!(cluster.references("sa-malformed-001", "default").await, ["regcred"]);
}

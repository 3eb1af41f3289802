//! `imagePullSecrets`, the list that everybody shares.

use serde_json::{Value, json};

use crate::scene::{NAMESPACE, SERVICE_ACCOUNT, Scene, until};

const PATH: &str = "/api/v1/namespaces/NAMESPACE/serviceaccounts/default";

/// Another tool that adds its entry the right way: read, add, write under the resourceVersion.
async fn add_entry(scene: &Scene, path: &str, entry: &str) {
    loop {
        let mut object = scene.world.kube.get(path).await.expect("a ServiceAccount");
        let mut list = object["imagePullSecrets"].as_array().cloned().unwrap_or_default();
        list.push(json!({"name": entry}));
        object["imagePullSecrets"] = Value::Array(list);
        if scene.world.kube.put(path, &object).await.is_ok() {
            return;
        }
    }
}

#[tokio::test]
async fn two_writers_at_the_same_list_lose_nobodys_entry() {
    let scene = Scene::new("sa-writers", 1).await;
    scene.put_vault("sa-writers/ghcr", "pw").await;
    let path = PATH.replace("NAMESPACE", "sa-writers-000");
    let registries = [("ghcr.io", "vault", "sa-writers/ghcr")];
    let manifests = scene.write(&[&scene.config(), &scene.cluster_pull_secret(&registries, "")]);
    add_entry(&scene, &path, "own").await;

    let writer = |name: &'static str| {
        let (scene, path) = (&scene, &path);
        async move {
            for n in 0..40 {
                add_entry(scene, path, &format!("{name}-{n}")).await;
            }
        }
    };
    // regcred comes and goes while two others hammer: its entry is taken away and put back each time.
    let regcred = async {
        for _ in 0..5 {
            let run = scene.rotate(&manifests, &[]).await;
            assert_eq!(run.code, 0, "{run:?}");
            remove_entry(&scene, &path, "regcred").await;
        }
    };
    tokio::join!(writer("left"), writer("right"), regcred);
    assert_eq!(scene.rotate(&manifests, &[]).await.code, 0);

    let references = scene.references("sa-writers-000", "default").await;
    let of =
        |prefix: &str| references.iter().filter(|name| name.starts_with(prefix)).cloned().collect::<Vec<_>>();
    let written = |name: &str| (0..40).map(|n| format!("{name}-{n}")).collect::<Vec<_>>();
    assert_eq!(of("left"), written("left"));
    assert_eq!(of("right"), written("right"));
    assert_eq!((of("own"), of("regcred")), (vec!["own".to_owned()], vec!["regcred".to_owned()]));
}

async fn remove_entry(scene: &Scene, path: &str, entry: &str) {
    loop {
        let mut object = scene.world.kube.get(path).await.expect("a ServiceAccount");
        let list = object["imagePullSecrets"].as_array().cloned().unwrap_or_default();
        object["imagePullSecrets"] = list.into_iter().filter(|it| it["name"] != entry).collect();
        if scene.world.kube.put(path, &object).await.is_ok() {
            return;
        }
    }
}

/// Why none of the patches that look right is used: the list is atomic.
#[tokio::test]
async fn a_strategic_merge_patch_would_have_wiped_the_list() {
    let scene = Scene::new("sa-strategic", 1).await;
    scene.put_vault("sa-strategic/ghcr", "pw").await;
    let path = PATH.replace("NAMESPACE", "sa-strategic-000");
    add_entry(&scene, &path, "own").await;
    add_entry(&scene, &path, "another").await;
    let registries = [("ghcr.io", "vault", "sa-strategic/ghcr")];
    let manifests = scene.write(&[&scene.config(), &scene.cluster_pull_secret(&registries, "")]);
    assert_eq!(scene.rotate(&manifests, &[]).await.code, 0);
    assert_eq!(scene.references("sa-strategic-000", "default").await, ["own", "another", "regcred"]);

    let wiping = r#"{"imagePullSecrets":[{"name":"regcred"}]}"#;
    let arguments =
        ["patch", "serviceaccount", "default", "-n", "sa-strategic-000", "--type", "strategic", "-p", wiping];
    scene.world.kube.kubectl(&arguments).await.expect("kubectl patches");
    assert_eq!(scene.references("sa-strategic-000", "default").await, ["regcred"]);
}

#[tokio::test]
async fn secrets_and_other_fields_of_a_service_account_are_never_touched() {
    let scene = Scene::new("sa-fields", 1).await;
    scene.put_vault("sa-fields/ghcr", "pw").await;
    let path = PATH.replace("NAMESPACE", "sa-fields-000");
    let theirs = json!({
        "metadata": {"labels": {"theirs": "1"}, "annotations": {"theirs": "2"}},
        "secrets": [{"name": "theirs"}],
        "automountServiceAccountToken": false,
    });
    let before = scene.world.kube.patch(&path, &theirs).await.expect("a patch");
    let registries = [("ghcr.io", "vault", "sa-fields/ghcr")];
    let manifests = scene.write(&[&scene.config(), &scene.cluster_pull_secret(&registries, "")]);
    assert_eq!(scene.rotate(&manifests, &[]).await.code, 0);

    let after = scene.world.kube.get(&path).await.expect("a ServiceAccount");
    assert_eq!(after["secrets"], before["secrets"]);
    assert_eq!(after["automountServiceAccountToken"], before["automountServiceAccountToken"]);
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
    let annotations =
        json!({"theirs": "2", "regcred.dev/image-pull-secrets": format!("regcred={}", scene.name)});
    assert_eq!(after["metadata"]["annotations"], annotations);
}

#[tokio::test]
async fn the_service_accounts_of_the_spec_are_patched_and_no_others() {
    let scene = Scene::new("sa-named", 1).await;
    scene.put_vault("sa-named/ghcr", "pw").await;
    for name in ["builder", "other"] {
        let arguments = ["create", "serviceaccount", name, "-n", "sa-named-000"];
        scene.world.kube.kubectl(&arguments).await.expect("a ServiceAccount");
    }
    let registries = [("ghcr.io", "vault", "sa-named/ghcr")];
    let of = |names: &str| scene.cluster_pull_secret(&registries, &format!("  serviceAccounts: {names}\n"));
    let config = scene.config();

    let run = scene.rotate(&scene.write(&[&config, &of("[builder]")]), &[]).await;
    assert_eq!(run.code, 0, "{run:?}");
    let references = async |name| scene.references("sa-named-000", name).await.len();
    assert_eq!(
        (references("builder").await, references("other").await, references("default").await),
        (1, 0, 0)
    );

    assert_eq!(scene.rotate(&scene.write(&[&config, &of(r#"["*"]"#)]), &[]).await.code, 0);
    assert_eq!(
        (references("builder").await, references("other").await, references("default").await),
        (1, 1, 1)
    );

    assert_eq!(scene.rotate(&scene.write(&[&config, &of("[default]")]), &[]).await.code, 0);
    assert_eq!(
        (references("builder").await, references("other").await, references("default").await),
        (0, 0, 1)
    );
}

#[tokio::test]
async fn a_typo_in_a_service_accounts_name_takes_no_entry_away() {
    let scene = Scene::new("sa-typo", 2).await;
    scene.put_vault("sa-typo/ghcr", "pw").await;
    let registries = [("ghcr.io", "vault", "sa-typo/ghcr")];
    let of = |names: &str| scene.cluster_pull_secret(&registries, &format!("  serviceAccounts: {names}\n"));
    let config = scene.config();
    assert_eq!(scene.rotate(&scene.write(&[&config, &of("[default]")]), &[]).await.code, 0);

    let run = scene.rotate(&scene.write(&[&config, &of("[defualt]")]), &[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.report()["clusterPullSecrets"][0]["problems"][0]["reason"], "ServiceAccountMissing");
    assert_eq!(scene.references("sa-typo-000", "default").await, ["regcred"]);
}

#[tokio::test]
async fn a_namespace_whose_default_account_is_not_there_yet_is_not_in_sync() {
    let scene = Scene::new("sa-early", 2).await;
    scene.put_vault("sa-early/ghcr", "pw").await;
    // The controller manager makes a deleted one anew, unless it is kept from it.
    scene.forbid_creation("sa-early-000", "serviceaccounts", "not yet").await;
    scene.world.kube.delete(&PATH.replace("NAMESPACE", "sa-early-000")).await.expect("a deletion");

    let registries = [("ghcr.io", "vault", "sa-early/ghcr")];
    let manifests = scene.write(&[&scene.config(), &scene.cluster_pull_secret(&registries, "")]);
    let run = scene.rotate(&manifests, &[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.results(), ["sa-early-000: failed ServiceAccountMissing", "sa-early-001: created"]);
    assert_eq!(scene.passwords("sa-early-000").await["ghcr.io"], "pw", "the Secret is there for it");
}

#[tokio::test]
async fn two_pull_secrets_on_one_service_account_make_one_write_each() {
    let scene = Scene::new("sa-both", 3).await;
    scene.put_vault("sa-both/ghcr", "pw").await;
    let first = scene.cluster_pull_secret(&[("ghcr.io", "vault", "sa-both/ghcr")], "");
    let second = first
        .replace("{name: sa-both}", "{name: second}")
        .replace("secretName: regcred", "secretName: second");
    let grant = r#"[{"op":"add","path":"/rules/2/resourceNames/-","value":"second"}]"#;
    let arguments = ["patch", "clusterrole", "regcred", "--type", "json", "-p", grant];
    scene.world.kube.kubectl(&arguments).await.expect("a wider role");
    let account = world::service_account_user(NAMESPACE, SERVICE_ACCOUNT);
    let may = ["auth", "can-i", "list", "secrets/second", "--all-namespaces", "--as", &account];
    until(async || scene.world.kube.kubectl(&may).await.is_ok()).await;
    let manifests = scene.write(&[&scene.config(), &first, &second]);
    let mark = scene.world.kube.audit_mark().expect("an audit log");
    let run = scene.rotate(&manifests, &[]).await;
    assert_eq!(run.code, 0, "{run:?}");
    let writes = scene.writes_since(mark).await;
    let count = |what: &str| writes.iter().filter(|write| *write == what).count();
    assert_eq!((count("create secrets 201"), count("patch serviceaccounts 200")), (6, 6), "{writes:?}");
    assert_eq!(writes.len(), 12, "{writes:?}");
    assert_eq!(scene.references("sa-both-000", "default").await, ["regcred", "second"]);
}

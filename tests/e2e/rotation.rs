//! `regcred rotate`: passwords from the stores into namespaces, and again after a change.

use harness::{LABEL, Run, docker_config_bytes, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::cluster::test_cluster;

#[tokio::test]
async fn passwords_of_every_store_reach_every_namespace() {
    let cluster = test_cluster("rot-stores", 3).await;
    cluster.put_password("from-vault").await;
    let hub = r#"{"username":"robot","accessToken":"from-aws"}"#;
    cluster.localstack().create_secret("rot-stores/hub", hub).await.expect("a secret");
    let registries = [
        ("ghcr.io", "vault", "rot-stores/ghcr"),
        ("docker.io", "aws", "rot-stores/hub"),
        ("quay.io", "files", "quay"),
    ];
    let manifests = cluster.manifests(&registries);
    let quay = cluster.files().join("quay");
    std::fs::write(&quay, r#"{"auth":"cm9ib3Q6ZnJvbS1maWxl"}"#).expect("a file");

    let run = cluster.rotate(&manifests, &[]).await;

    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        run.results(),
        ["rot-stores-000: created", "rot-stores-001: created", "rot-stores-002: created"]
    );
    let expect = json!({
        "docker.io": "from-aws", "ghcr.io": "from-vault", "https://index.docker.io/v1/": "from-aws", "quay.io": "from-file",
    });
    for n in 0..3 {
        assert_eq!(json!(cluster.passwords(cluster.namespace(n)).await), expect);
        assert_eq!(cluster.references(cluster.namespace(n), "default").await, ["regcred"]);
    }
}

#[tokio::test]
async fn rotation_changes_the_secret_in_place() {
    let cluster = test_cluster("rot-place", 1).await;
    cluster.put_password("one").await;
    let manifests = cluster.manifests(&[("ghcr.io", "vault", "rot-place/ghcr")]);
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
    let before = cluster.secret("rot-place-000").await.expect("a Secret");

    cluster.put_password("two").await;
    let mark = cluster.mark();
    let run = cluster.rotate(&manifests, &[]).await;

    assert_eq!(run.results(), ["rot-place-000: updated"]);
    assert_eq!(run.registries(), ["ghcr.io 2 Fetched"]);
    assert_eq!(cluster.writes_in_namespaces(mark).await, ["patch secrets 200"]);
    let after = cluster.secret("rot-place-000").await.expect("a Secret");
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    let annotations = after["metadata"]["annotations"].as_object().expect("annotations");
    assert_eq!(annotations.len(), 2);
    let versions = annotations["regcred.dev/versions"].as_str().expect("versions");
    assert!(
        versions.starts_with("ghcr.io=vault:2@2"),
        "the version and the time of its creation: {versions}"
    );
    assert!(annotations["regcred.dev/owner"].as_str().is_some_and(|it| it.starts_with("rot-place/")));
    assert_eq!(annotations["regcred.dev/owner"], before["metadata"]["annotations"]["regcred.dev/owner"]);
    let labels = json!({"app.kubernetes.io/managed-by": "regcred", "regcred.dev/pull-secret": "rot-place"});
    assert_eq!(after["metadata"]["labels"], labels);
    assert_eq!(cluster.passwords("rot-place-000").await["ghcr.io"], "two");
}

#[tokio::test]
async fn new_namespace_gets_the_recorded_value_not_a_planted_one() {
    let mut cluster = test_cluster("rot-planted", 2).await;
    cluster.put_password("one").await;
    let manifests = cluster.manifests(&[("ghcr.io", "vault", "rot-planted/ghcr")]);
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
    cluster.put("ghcr", &json!({"neither": "username nor password"})).await;
    let planted = "eyJhdXRocyI6eyJnaGNyLmlvIjp7InVzZXJuYW1lIjoicm9ib3QiLCJwYXNzd29yZCI6InBsYW50ZWQiLCJhdXRoIjoiY205aWIzUTZjR3hoYm5SbFpBPT0ifX19";
    for n in 0..2 {
        let path = format!("/api/v1/namespaces/{}/secrets/regcred", cluster.namespace(n));
        let edit = json!({"data": {".dockerconfigjson": planted}});
        cluster.kube.patch(&path, &edit).await.expect("an edit");
    }
    cluster.add_namespace("rot-planted-late").await;
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!(run.registries(), ["ghcr.io 2 Malformed"]);
    assert_eq!(cluster.passwords("rot-planted-late").await["ghcr.io"], "one");
}

#[tokio::test]
async fn copy_is_left_alone_and_removed_labels_are_restored() {
    let cluster = test_cluster("rot-owner", 2).await;
    cluster.put_password("pw").await;
    let manifests = cluster.manifests(&[("ghcr.io", "vault", "rot-owner/ghcr")]);
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
    let good = cluster.secret("rot-owner-000").await.expect("a Secret");
    let stripped = json!({"metadata": {"labels": null, "annotations": null}});
    cluster.kube.patch("/api/v1/namespaces/rot-owner-000/secrets/regcred", &stripped).await.expect("an edit");
    // A copy of another namespace's Secret, where no Secret is wanted.
    cluster.select("rot-owner-001", false).await;
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
    assert!(cluster.secret("rot-owner-001").await.is_none());
    let copy = json!({
        "metadata": {
            "name": "regcred", "labels": good["metadata"]["labels"], "annotations": good["metadata"]["annotations"],
        },
        "type": good["type"], "data": good["data"],
    });
    cluster.kube.post("/api/v1/namespaces/rot-owner-001/secrets", &copy).await.expect("a copy");
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!((run.code, run.results()), (0, vec!["rot-owner-000: unchanged".to_owned()]));
    assert!(run.stderr.contains("no Secrets of regcred"), "{}", run.stderr);
    assert!(cluster.secret("rot-owner-001").await.is_some());
    let restored = cluster.secret("rot-owner-000").await.expect("a Secret");
    assert_eq!(restored["metadata"]["labels"], good["metadata"]["labels"]);
}

#[tokio::test]
async fn edited_and_deleted_secrets_are_restored() {
    let cluster = test_cluster("rot-drift", 3).await;
    cluster.put_password("pw").await;
    let manifests = cluster.manifests(&[("ghcr.io", "vault", "rot-drift/ghcr")]);
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
    let good = docker_config_bytes(&cluster.secret("rot-drift-002").await.expect("a Secret"));

    let kube = &cluster.kube;
    let [edited, deleted] = [0, 1].map(|n| format!("/api/v1/namespaces/rot-drift-00{n}/secrets/regcred"));
    kube.patch(&edited, &json!({"data": {".dockerconfigjson": "e30="}})).await.expect("an edit");
    kube.delete(&deleted).await.expect("a deletion");
    let run = cluster.rotate(&manifests, &[]).await;

    let expect = ["rot-drift-000: updated", "rot-drift-001: created", "rot-drift-002: unchanged"];
    assert_eq!(run.results(), expect);
    for n in 0..3 {
        assert_eq!(docker_config_bytes(&cluster.secret(cluster.namespace(n)).await.expect("a Secret")), good);
    }
}

#[tokio::test]
async fn dry_run_reports_and_writes_nothing() {
    let mut cluster = test_cluster("rot-dry", 2).await;
    cluster.put_password("old-sentinel").await;
    let manifests = cluster.manifests(&[("ghcr.io", "vault", "rot-dry/ghcr")]);
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
    cluster.put_password("new-sentinel").await;
    cluster.add_namespace("rot-dry-002").await;

    let mark = cluster.mark();
    let run = cluster.rotate(&manifests, &["--dry-run", "--output", "table"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    insta::assert_snapshot!(run.stdout, @r"
    rot-dry: Secret regcred in each namespace (dry run)

      REGISTRY  STORE  KEY           VERSION  RESULT
      ghcr.io   vault  rot-dry/ghcr  2        Fetched

      NAMESPACES                RESULT   REASON  SERVICEACCOUNTS
      rot-dry-002               created  -       1 patched
      rot-dry-000, rot-dry-001  updated  -       2 unchanged

      rot-dry-002 would change:
        + ghcr.io  vault:2  username robot  password (new)
        + regcred in ServiceAccount default
      rot-dry-000, rot-dry-001 would change:
        ~ ghcr.io  vault:1 → vault:2  password (changed)

    dry run, nothing was written: 3 namespaces: 1 created, 2 updated
    ");
    assert!(!run.stdout.contains("sentinel"));
    let with_exit_code = cluster.rotate(&manifests, &["--dry-run", "--exit-code"]).await;
    assert_eq!(with_exit_code.code, 1, "there are changes to make");
    assert_eq!(cluster.writes_in_namespaces(mark).await, Vec::<String>::new());

    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
    let nothing_left = cluster.rotate(&manifests, &["--dry-run", "--exit-code"]).await;
    assert_eq!(nothing_left.code, 0, "{nothing_left:?}");
}

#[tokio::test]
async fn deselected_namespace_is_pruned() {
    let cluster = test_cluster("rot-leave", 2).await;
    cluster.put_password("pw").await;
    let registries = [("ghcr.io", "vault", "rot-leave/ghcr")];
    let manifests = cluster.manifests(&registries);
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);

    cluster.select("rot-leave-001", false).await;
    let mark = cluster.mark();
    let run = cluster.rotate(&manifests, &[]).await;

    assert_eq!(run.results(), ["rot-leave-000: unchanged", "rot-leave-001: removed"]);
    assert_eq!(cluster.writes_in_namespaces(mark).await, ["patch serviceaccounts 200", "delete secrets 200"]);
    assert_eq!(cluster.secret("rot-leave-001").await, None);
    assert_eq!(cluster.references("rot-leave-001", "default").await, Vec::<String>::new());
    assert_eq!(cluster.references("rot-leave-000", "default").await, ["regcred"]);
}

#[tokio::test]
async fn new_namespace_gets_last_good_value_while_store_is_down() {
    let mut cluster = test_cluster("rot-memory", 1).await;
    cluster.put_password("known").await;
    let cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    assert_eq!(cluster.rotate(&cluster.manifests_with(&[&cluster_pull_secret]), &[]).await.code, 0);

    cluster.add_namespace("rot-memory-001").await;
    // Port 1 is closed.
    let down = cluster.config_with_vault("address: \"http://127.0.0.1:1\"", "");
    let run = cluster.rotate(&cluster.write(&[&down, &cluster_pull_secret.to_string()]), &[]).await;

    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.registries(), ["ghcr.io - Unavailable"]);
    assert_eq!(run.results(), ["rot-memory-000: unchanged", "rot-memory-001: created"]);
    let secrets = [cluster.secret("rot-memory-000").await, cluster.secret("rot-memory-001").await];
    let [old, new] = secrets.map(|secret| docker_config_bytes(&secret.expect("a Secret")));
    assert_eq!(old, new);
}

#[tokio::test]
async fn empty_selection_removes_nothing() {
    let cluster = test_cluster("rot-typo", 2).await;
    cluster.put_password("pw").await;
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    assert_eq!(cluster.rotate(&cluster.manifests_with(&[&cluster_pull_secret]), &[]).await.code, 0);

    cluster_pull_secret["spec"]["namespaces"]["selector"]["matchLabels"][LABEL] = json!("rot-tpyo");
    let mark = cluster.mark();
    let run = cluster.rotate(&cluster.manifests_with(&[&cluster_pull_secret]), &[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.report()["clusterPullSecrets"][0]["problems"][0]["reason"], "NothingSelected");
    assert_eq!(cluster.writes_in_namespaces(mark).await, Vec::<String>::new());
}

#[tokio::test]
async fn namespace_moves_between_objects_in_place() {
    let cluster = test_cluster("rot-move", 2).await;
    cluster.put_password("pw").await;
    let mut first = cluster.cluster_pull_secret(cluster.name);
    assert_eq!(cluster.rotate(&cluster.manifests_with(&[&first]), &[]).await.code, 0);
    let before = cluster.secret("rot-move-001").await.expect("a Secret");

    let mut second = cluster.cluster_pull_secret("second");
    first["spec"]["namespaces"] = json!({"include": ["rot-move-000"]});
    second["spec"]["namespaces"] = json!({"include": ["rot-move-001"]});
    let run = cluster.rotate(&cluster.manifests_with(&[&first, &second]), &[]).await;
    assert_eq!(run.code, 0, "{run:?}");
    let after = cluster.secret("rot-move-001").await.expect("a Secret");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "nodes still trust its images");
    assert_eq!(after["metadata"]["labels"]["regcred.dev/pull-secret"], "second");
}

fn count(lines: &[String], result: &str) -> usize {
    lines.iter().filter(|line| line.ends_with(result)).count()
}

#[tokio::test]
async fn interrupt_finishes_writes_in_flight_and_next_run_the_rest() {
    let cluster = test_cluster("rot-stop", 200).await;
    cluster.put_password("pw").await;
    let registries = [("ghcr.io", "vault", "rot-stop/ghcr")];
    let manifests = cluster.manifests(&registries).display().to_string();
    let arguments = ["rotate", "-f", &manifests, "--output", "json", "--concurrency", "1"];

    let mark = cluster.mark();
    let running = cluster.command(&arguments).spawn().expect("regcred runs");
    let process = running.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it has not ended yet");
    until("a write", async || !cluster.writes_in_namespaces(mark).await.is_empty()).await;
    kill_process(process, Signal::INT).expect("a signal");
    let run: Run = running.wait_with_output().await.expect("it ends").into();

    let results = run.results();
    let (done, not_reached) = (count(&results, ": created"), count(&results, ": failed Interrupted"));
    assert!(
        done > 0 && not_reached > 0 && done + not_reached == 200,
        "{done} done, {not_reached} not reached"
    );
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("interrupted"), "{}", run.stderr);

    let next = cluster.run(&arguments).await;
    assert_eq!((next.code, count(&next.results(), ": created")), (0, not_reached));
}

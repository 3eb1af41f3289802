//! What `regcred rotate` is for: passwords from the stores into namespaces, and again when they change.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::scene::{Run, Scene, docker_config, until};

#[tokio::test]
async fn passwords_of_every_store_reach_every_namespace() {
    let scene = Scene::new("rot-stores", 3).await;
    scene.put_vault("rot-stores/ghcr", "from-vault").await;
    let hub = r#"{"username":"robot","accessToken":"from-aws"}"#;
    scene.world.localstack.create_secret("rot-stores/hub", hub).await.expect("a secret");
    let registries = [
        ("ghcr.io", "vault", "rot-stores/ghcr"),
        ("docker.io", "aws", "rot-stores/hub"),
        ("quay.io", "files", "quay"),
    ];
    let manifests = scene.write(&[&scene.config(), &scene.cluster_pull_secret(&registries, "")]);
    let quay = scene.directory.path().join("files/quay");
    std::fs::write(&quay, r#"{"auth":"cm9ib3Q6ZnJvbS1maWxl"}"#).expect("a file");

    let run = scene.rotate(&manifests, &[]).await;

    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        run.results(),
        ["rot-stores-000: created", "rot-stores-001: created", "rot-stores-002: created"]
    );
    let expect =
        json!({"ghcr.io": "from-vault", "https://index.docker.io/v1/": "from-aws", "quay.io": "from-file"});
    for n in 0..3 {
        assert_eq!(json!(scene.passwords(&scene.namespace(n)).await), expect);
        assert_eq!(scene.references(&scene.namespace(n), "default").await, ["regcred"]);
    }
}

#[tokio::test]
async fn a_rotation_changes_the_secret_in_place() {
    let scene = Scene::new("rot-place", 1).await;
    scene.put_vault("rot-place/ghcr", "one").await;
    let manifests = scene
        .write(&[&scene.config(), &scene.cluster_pull_secret(&[("ghcr.io", "vault", "rot-place/ghcr")], "")]);
    assert_eq!(scene.rotate(&manifests, &[]).await.code, 0);
    let before = scene.secret("rot-place-000").await.expect("a Secret");

    scene.put_vault("rot-place/ghcr", "two").await;
    let mark = scene.world.kube.audit_mark().expect("an audit log");
    let run = scene.rotate(&manifests, &[]).await;

    assert_eq!(run.results(), ["rot-place-000: updated"]);
    assert_eq!(run.registries(), ["ghcr.io 2 Fetched"]);
    assert_eq!(scene.writes_since(mark).await, ["patch secrets 200"]);
    let after = scene.secret("rot-place-000").await.expect("a Secret");
    assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
    assert_eq!(after["metadata"]["annotations"], json!({"regcred.dev/versions": "ghcr.io=vault:2"}));
    let labels = json!({"app.kubernetes.io/managed-by": "regcred", "regcred.dev/pull-secret": "rot-place"});
    assert_eq!(after["metadata"]["labels"], labels);
    assert_eq!(scene.passwords("rot-place-000").await["ghcr.io"], "two");
}

#[tokio::test]
async fn what_was_edited_or_deleted_by_hand_is_put_back() {
    let scene = Scene::new("rot-drift", 3).await;
    scene.put_vault("rot-drift/ghcr", "pw").await;
    let manifests = scene
        .write(&[&scene.config(), &scene.cluster_pull_secret(&[("ghcr.io", "vault", "rot-drift/ghcr")], "")]);
    assert_eq!(scene.rotate(&manifests, &[]).await.code, 0);
    let good = docker_config(&scene.secret("rot-drift-002").await.expect("a Secret"));

    let kube = &scene.world.kube;
    let secret = |n| format!("/api/v1/namespaces/rot-drift-00{n}/secrets/regcred");
    kube.patch(&secret(0), &json!({"data": {".dockerconfigjson": "e30="}})).await.expect("an edit");
    kube.delete(&secret(1)).await.expect("a deletion");
    let run = scene.rotate(&manifests, &[]).await;

    let expect = ["rot-drift-000: updated", "rot-drift-001: created", "rot-drift-002: unchanged"];
    assert_eq!(run.results(), expect);
    for n in 0..3 {
        assert_eq!(docker_config(&scene.secret(&scene.namespace(n)).await.expect("a Secret")), good);
    }
}

#[tokio::test]
async fn a_dry_run_tells_and_writes_nothing() {
    let scene = Scene::new("rot-dry", 2).await;
    scene.put_vault("rot-dry/ghcr", "old-sentinel").await;
    let manifests = scene
        .write(&[&scene.config(), &scene.cluster_pull_secret(&[("ghcr.io", "vault", "rot-dry/ghcr")], "")]);
    assert_eq!(scene.rotate(&manifests, &[]).await.code, 0);
    scene.put_vault("rot-dry/ghcr", "new-sentinel").await;
    scene.add_namespaces(2..3).await;

    let mark = scene.world.kube.audit_mark().expect("an audit log");
    let run = scene.rotate(&manifests, &["--dry-run", "--output", "table"]).await;
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
    let with_exit_code = scene.rotate(&manifests, &["--dry-run", "--exit-code"]).await;
    assert_eq!(with_exit_code.code, 1, "there is something to do");
    assert_eq!(scene.writes_since(mark).await, Vec::<String>::new());

    assert_eq!(scene.rotate(&manifests, &[]).await.code, 0);
    let nothing_left = scene.rotate(&manifests, &["--dry-run", "--exit-code"]).await;
    assert_eq!(nothing_left.code, 0, "{nothing_left:?}");
}

#[tokio::test]
async fn a_namespace_that_leaves_the_selection_loses_what_we_made() {
    let scene = Scene::new("rot-leave", 2).await;
    scene.put_vault("rot-leave/ghcr", "pw").await;
    let registries = [("ghcr.io", "vault", "rot-leave/ghcr")];
    let manifests = scene.write(&[&scene.config(), &scene.cluster_pull_secret(&registries, "")]);
    assert_eq!(scene.rotate(&manifests, &[]).await.code, 0);

    let label = json!({"metadata": {"labels": {"scene": "somewhere-else"}}});
    scene.world.kube.patch("/api/v1/namespaces/rot-leave-001", &label).await.expect("a label change");
    let mark = scene.world.kube.audit_mark().expect("an audit log");
    let run = scene.rotate(&manifests, &[]).await;

    assert_eq!(run.results(), ["rot-leave-000: unchanged", "rot-leave-001: removed"]);
    assert_eq!(scene.writes_since(mark).await, ["patch serviceaccounts 200", "delete secrets 200"]);
    assert_eq!(scene.secret("rot-leave-001").await, None);
    assert_eq!(scene.references("rot-leave-001", "default").await, Vec::<String>::new());
    assert_eq!(scene.references("rot-leave-000", "default").await, ["regcred"]);
}

#[tokio::test]
async fn a_new_namespace_gets_the_last_good_value_while_the_store_is_down() {
    let scene = Scene::new("rot-memory", 1).await;
    scene.put_vault("rot-memory/ghcr", "known").await;
    let cluster_pull_secret = scene.cluster_pull_secret(&[("ghcr.io", "vault", "rot-memory/ghcr")], "");
    assert_eq!(scene.rotate(&scene.write(&[&scene.config(), &cluster_pull_secret]), &[]).await.code, 0);

    scene.add_namespaces(1..2).await;
    // Nobody listens on port 1.
    let down = scene.config_with_vault("http://127.0.0.1:1", "");
    let run = scene.rotate(&scene.write(&[&down, &cluster_pull_secret]), &[]).await;

    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.registries(), ["ghcr.io - Unavailable"]);
    assert_eq!(run.results(), ["rot-memory-000: unchanged", "rot-memory-001: created"]);
    let secrets = [scene.secret("rot-memory-000").await, scene.secret("rot-memory-001").await];
    let [old, new] = secrets.map(|secret| docker_config(&secret.expect("a Secret")));
    assert_eq!(old, new);
}

#[tokio::test]
async fn a_selector_that_selects_nothing_removes_nothing() {
    let scene = Scene::new("rot-typo", 2).await;
    scene.put_vault("rot-typo/ghcr", "pw").await;
    let good = scene.cluster_pull_secret(&[("ghcr.io", "vault", "rot-typo/ghcr")], "");
    assert_eq!(scene.rotate(&scene.write(&[&scene.config(), &good]), &[]).await.code, 0);

    let typo = good.replace("{scene: rot-typo}", "{scene: rot-tpyo}");
    let mark = scene.world.kube.audit_mark().expect("an audit log");
    let run = scene.rotate(&scene.write(&[&scene.config(), &typo]), &[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.report()["clusterPullSecrets"][0]["problems"][0]["reason"], "NothingSelected");
    assert_eq!(scene.writes_since(mark).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_namespace_is_handed_from_one_pull_secret_to_another_in_place() {
    let scene = Scene::new("rot-heir", 2).await;
    scene.put_vault("rot-heir/ghcr", "pw").await;
    let all = scene.cluster_pull_secret(&[("ghcr.io", "vault", "rot-heir/ghcr")], "");
    assert_eq!(scene.rotate(&scene.write(&[&scene.config(), &all]), &[]).await.code, 0);
    let before = scene.secret("rot-heir-001").await.expect("a Secret");

    let selector = "{selector: {matchLabels: {scene: rot-heir}}}";
    let of = |include: &str| all.replace(selector, &format!("{{include: [{include}]}}"));
    let heir = of("rot-heir-001").replace("{name: rot-heir}", "{name: heir}");
    let run = scene.rotate(&scene.write(&[&scene.config(), &of("rot-heir-000"), &heir]), &[]).await;
    assert_eq!(run.code, 0, "{run:?}");
    let after = scene.secret("rot-heir-001").await.expect("a Secret");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "nodes go on to trust its images");
    assert_eq!(after["metadata"]["labels"]["regcred.dev/pull-secret"], "heir");
}

#[tokio::test]
async fn an_interrupt_finishes_what_is_under_way_and_the_next_run_does_the_rest() {
    let scene = Scene::new("rot-stop", 200).await;
    scene.put_vault("rot-stop/ghcr", "pw").await;
    let registries = [("ghcr.io", "vault", "rot-stop/ghcr")];
    let manifests =
        scene.write(&[&scene.config(), &scene.cluster_pull_secret(&registries, "")]).display().to_string();
    let arguments = ["rotate", "-f", &manifests, "--output", "json", "--concurrency", "1"];

    let mark = scene.world.kube.audit_mark().expect("an audit log");
    let running = scene.command(&arguments).await.spawn().expect("regcred runs");
    let process = running.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it has not ended yet");
    until(async || !scene.writes_since(mark).await.is_empty()).await;
    kill_process(process, Signal::INT).expect("a signal");
    let run: Run = running.wait_with_output().await.expect("it ends").into();

    let results = run.results();
    let count = |of: &[String], result: &str| of.iter().filter(|line| line.ends_with(result)).count();
    let (done, not_reached) = (count(&results, ": created"), count(&results, ": failed Interrupted"));
    assert!(
        done > 0 && not_reached > 0 && done + not_reached == 200,
        "{done} done, {not_reached} not reached"
    );
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("interrupted"), "{}", run.stderr);

    let next = scene.regcred(&arguments).await;
    assert_eq!((next.code, count(&next.results(), ": created")), (0, not_reached));
}

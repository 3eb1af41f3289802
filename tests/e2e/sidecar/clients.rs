//! Real clients that read the file of a sidecar while a real registry's password changes: no client ever meets half a
//! file, and a login fails only between the change and the new file.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Instant;

use harness::{SECRET, repetitions};
use serde_json::json;
use tokio::process::Command;
use tokio::sync::watch;
use world::{KeyringQuestion, Registry, ask_kubelet};

use super::{Sidecar, manifests, output};
use crate::cluster::{test_cluster, until};

const ROTATIONS: usize = 100;

/// The type of a pull secret, by which the kubelet's code takes the bytes of the file.
const TYPE: &str = "kubernetes.io/dockerconfigjson";

/// One run of skopeo.
struct Attempt {
    started: Instant,
    ended: Instant,
    output: Output,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_read_the_file_through_rotations() {
    let cluster = test_cluster("sidecar-clients", 0).await;
    let registry = Registry::start_basic(&cluster.reaper).await.expect("a registry");
    registry.push_image("team/app", "1").await.expect("the registry takes an image");
    let change = async |password: &str| {
        registry.set_password(password).expect("a password");
        cluster.put("registry", &json!({"username": registry.username, "password": password})).await;
    };
    change("pw-0").await;
    let sidecar = Sidecar::start(
        &cluster,
        &manifests(&cluster, &[(&registry.host, "vault", "sidecar-clients/registry")]),
    )
    .await;
    until(async || sidecar.password(&registry.host).is_some()).await;

    let (stop, stopped) = watch::channel(false);
    let (successes, last_success) = watch::channel(None);
    let image = format!("docker://{}/team/app:1", registry.host);
    let skopeo = tokio::spawn(inspect_until(stopped, output(&cluster), image, successes));
    let mut windows = Vec::new();
    for n in 1..=repetitions(ROTATIONS) {
        let (password, changed) = (format!("pw-{n}"), Instant::now());
        change(&password).await;
        until(async || sidecar.password(&registry.host).as_ref() == Some(&password)).await;
        let written = Instant::now();
        windows.push((changed, written));
        assert_eq!(kubelet_password(&output(&cluster), &registry.host).await, password);
        assert!(registry.login(&registry.username, &password).await.expect("an answer"));
        until(async || last_success.borrow().is_some_and(|started| started > written)).await;
    }
    stop.send(true).expect("skopeo runs");
    let attempts = skopeo.await.expect("skopeo ran");
    assert!(attempts.len() > windows.len(), "{} attempts", attempts.len());
    for Attempt { started, ended, output } in attempts.iter().filter(|it| !it.output.status.success()) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("unauthorized"), "skopeo fails for another reason: {stderr}");
        let is_expected = windows.iter().any(|(changed, written)| started < written && ended > changed);
        assert!(is_expected, "a login fails although the file was current: {stderr}");
    }
    assert_eq!(sidecar.stop().await, Some(0));
}

/// Inspects an image again and again, and publishes the start of the last run that succeeded.
async fn inspect_until(
    stopped: watch::Receiver<bool>,
    auth_file: PathBuf,
    image: String,
    successes: watch::Sender<Option<Instant>>,
) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    while !*stopped.borrow() {
        let started = Instant::now();
        let mut command = Command::new("skopeo");
        command.args(["inspect", "--tls-verify=false", "--raw", "--authfile"]).arg(&auth_file).arg(&image);
        let output = command.stdin(Stdio::null()).output().await;
        let output = output.expect("skopeo is installed: apt-get install skopeo");
        if output.status.success() {
            successes.send_replace(Some(started));
        }
        attempts.push(Attempt { started, ended: Instant::now(), output });
    }
    attempts
}

/// The password that the kubelet's own code finds in the file.
async fn kubelet_password(file: &Path, host: &str) -> String {
    let question = KeyringQuestion {
        namespace: "default".to_owned(),
        name: SECRET.to_owned(),
        kind: TYPE.to_owned(),
        docker_config: std::fs::read(file).expect("a file"),
        image: format!("{host}/team/app:1"),
    };
    let answers = ask_kubelet(&[question]).await.expect("the kubelet's keyring");
    assert_eq!(answers[0].error, None);
    answers[0].credentials[0].password.clone()
}

//! The sidecar with its stores on a network, and without a Kubernetes API: rotations in Vault and AWS, a Vault that is
//! down, and a search for the password in everything that the process says.

mod clients;

use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::{Run, TestCluster};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use world::Vault;

use crate::cluster::{test_cluster, until};

/// A sidecar that runs, and its file.
struct Sidecar {
    child: Child,
    file: PathBuf,
    address: String,
}

/// `regcred sidecar` of a test, with a kubeconfig that leads nowhere.
fn command(cluster: &TestCluster, arguments: &[&str]) -> Command {
    let mut command = cluster.command(&[&["sidecar"], arguments].concat());
    command.env("KUBECONFIG", "/nonexistent/kubeconfig");
    command
}

fn output(cluster: &TestCluster) -> PathBuf {
    cluster.directory.path().join("config.json")
}

/// The Config with a poll each second, and a ClusterPullSecret of these registries.
fn manifests(cluster: &TestCluster, registries: &[(&str, &str, &str)]) -> PathBuf {
    let config = cluster.config("triggers: {pollInterval: 1s}\n");
    let registries = harness::registries(registries);
    let images = json!({
        "apiVersion": "regcred.dev/v1alpha1", "kind": "ClusterPullSecret", "metadata": {"name": "images"},
        "spec": {"registries": registries},
    });
    cluster.write(&[&config, &images.to_string()])
}

impl Sidecar {
    async fn start(cluster: &TestCluster, manifests: &std::path::Path) -> Self {
        let file = output(cluster);
        let (manifests, path) = (manifests.display().to_string(), file.display().to_string());
        let arguments =
            ["-f", &manifests, "--output", &path, "--listen", "127.0.0.1:0", "--log-format", "json"];
        let mut child = command(cluster, &arguments).stdout(Stdio::null()).spawn().expect("regcred starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let address = loop {
            let line = lines.next_line().await.expect("a log").expect("the process runs");
            let line: Value = serde_json::from_str(&line).expect("JSON");
            if line["message"] == "listening" {
                break line["address"].as_str().expect("an address").to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { child, file, address }
    }

    /// The password of a registry in the file.
    fn password(&self, host: &str) -> Option<String> {
        password(&self.file, host)
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned())
    }

    /// Ends the process; returns its exit code.
    async fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).expect("it runs");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        self.child.wait().await.expect("an exit code").code()
    }
}

/// The password of a registry in a file, which is whole if it exists.
fn password(file: &std::path::Path, host: &str) -> Option<String> {
    let config: Value = serde_json::from_slice(&std::fs::read(file).ok()?).expect("a whole file");
    let auth = STANDARD.decode(config["auths"][host]["auth"].as_str()?).expect("base64");
    let text = String::from_utf8(auth).expect("UTF-8");
    text.split_once(':').map(|(_, password)| password.to_owned())
}

#[tokio::test]
async fn sidecar_follows_rotations_in_vault_and_aws() {
    let cluster = test_cluster("sidecar", 0).await;
    cluster.put_password("vault-0").await;
    let value = |password: &str| json!({"username": "robot", "password": password}).to_string();
    let secret = cluster.localstack().create_secret("sidecar/aws", &value("aws-0")).await.expect("a secret");
    let registries = [("ghcr.io", "vault", "sidecar/ghcr"), ("docker.io", "aws", "sidecar/aws")];
    let sidecar = Sidecar::start(&cluster, &manifests(&cluster, &registries)).await;
    until(async || sidecar.password("ghcr.io").is_some() && sidecar.password("docker.io").is_some()).await;
    until(async || sidecar.get("/ready").await.0 == 200).await;
    for n in 1..=3 {
        let (in_vault, in_aws) = (format!("vault-{n}"), format!("aws-{n}"));
        cluster.put_password(&in_vault).await;
        until(async || sidecar.password("ghcr.io").as_ref() == Some(&in_vault)).await;
        cluster.localstack().put_secret(&secret, &value(&in_aws)).await.expect("a version");
        for key in ["docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"] {
            until(async || sidecar.password(key).as_ref() == Some(&in_aws)).await;
        }
    }
    let (_, metrics) = sidecar.get("/metrics").await;
    assert!(metrics.contains("\nregcred_config_file_stale 0\n"), "{metrics}");
    assert_eq!(sidecar.stop().await, Some(0));
}

#[tokio::test]
async fn vault_down_at_the_start_leaves_the_file_in_use() {
    let cluster = test_cluster("sidecar-down", 0).await;
    let vault = Vault::start(&cluster.reaper).await.expect("a Vault");
    let put = async |password: &str| {
        let value = json!({"username": "robot", "password": password});
        vault.put_kv2("secret", "ci/ghcr", &value).await.expect("a value");
    };
    put("one").await;
    let config = cluster
        .config_with_vault(&format!("address: \"{}\"", vault.address), "triggers: {pollInterval: 1s}\n");
    let images = json!({
        "apiVersion": "regcred.dev/v1alpha1", "kind": "ClusterPullSecret", "metadata": {"name": "images"},
        "spec": {"registries": harness::registries(&[("ghcr.io", "vault", "ci/ghcr")])},
    });
    let manifests = cluster.write(&[&config, &images.to_string()]);
    let (from, to) = (manifests.display().to_string(), output(&cluster).display().to_string());
    let once = async || -> Run {
        let mut command = command(&cluster, &["-f", &from, "--output", &to, "--once"]);
        command.env("VAULT_TOKEN", &vault.root_token).output().await.expect("regcred runs").into()
    };
    let run = once().await;
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(password(&output(&cluster), "ghcr.io").as_deref(), Some("one"));

    vault.seal().await.expect("it seals");
    let run = once().await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("ghcr.io: store vault, key ci/ghcr: "), "{run:?}");
    assert_eq!(password(&output(&cluster), "ghcr.io").as_deref(), Some("one"), "the last good one stays");
    vault.unseal().await.expect("it unseals");
    put("two").await;
    assert_eq!(once().await.code, 0);
    assert_eq!(password(&output(&cluster), "ghcr.io").as_deref(), Some("two"));
}

/// A password that is too long to occur by chance.
const SENTINEL: &str = "s3ntinel-Sidecar-0123456789";

#[tokio::test]
async fn sidecar_says_the_password_only_in_the_file() {
    let cluster = test_cluster("sidecar-secrecy", 0).await;
    cluster.put_password(SENTINEL).await;
    cluster.put("colon", &json!({"username": "a:b", "password": SENTINEL})).await;
    cluster.put("broken", &json!({"user": "a", "pass": SENTINEL})).await;
    let registries = [
        ("ghcr.io", "vault", "sidecar-secrecy/ghcr"),
        ("a.example.com", "vault", "sidecar-secrecy/colon"),
        ("b.example.com", "vault", "sidecar-secrecy/broken"),
        ("c.example.com", "down", "sidecar-secrecy/ghcr"),
    ];
    let manifests = manifests(&cluster, &registries).display().to_string();
    let to = output(&cluster).display().to_string();
    let run = async |arguments: &[&str]| -> Run {
        command(&cluster, arguments).output().await.expect("regcred runs").into()
    };
    let first = run(&["-vvv", "-f", &manifests, "--output", &to, "--once"]).await;
    assert_eq!(first.code, 1, "{first:?}");
    assert!(first.stderr.contains("DEBUG"), "there are logs to search: {}", first.stderr);
    assert_eq!(password(&output(&cluster), "ghcr.io").as_deref(), Some(SENTINEL));
    let check = run(&["--check", &to]).await;
    assert_eq!(check.code, 1, "{check:?}");
    // A file that is refused holds the password, too.
    let text = std::fs::read_to_string(&to).expect("a file");
    std::fs::write(&to, &text[..text.len() - 5]).expect("half a file");
    let refused = run(&["-vvv", "-f", &manifests, "--output", &to, "--once"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    for run in [&first, &check, &refused] {
        for text in [&run.stdout, &run.stderr] {
            assert_silent(text);
        }
    }
    let record = output(&cluster).with_file_name(".config.json.regcred");
    let record = std::fs::read_to_string(record).expect("a record");
    assert_silent(&record);
}

/// Fails if a text holds the password, as it is or in base64.
#[track_caller]
fn assert_silent(text: &str) {
    let auth = STANDARD.encode(format!("robot:{SENTINEL}"));
    let forms = [SENTINEL.to_owned(), STANDARD.encode(SENTINEL), auth];
    for form in forms.iter().map(|form| form.trim_end_matches('=')) {
        assert!(!text.contains(form), "{form} is in {text}");
    }
}

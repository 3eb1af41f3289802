//! Real clients that read the file of a sidecar while a real registry's password changes: no client ever meets half a
//! file, and a login fails only between the change and the new file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use harness::{SECRET, TestCluster, repetitions};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use world::{KeyringQuestion, LongLivedDockerPy, Registry, RegistryClient, ask_kubelet};

use super::{Sidecar, manifests, output};
use crate::cluster::{test_cluster, until};

const ROTATIONS: usize = 100;

/// The type of a pull secret, by which the kubelet's code takes the bytes of the file.
const TYPE: &str = "kubernetes.io/dockerconfigjson";

/// A registry, and the sidecar of a file with its credential.
struct Rotated {
    cluster: TestCluster,
    registry: Arc<Registry>,
    sidecar: Sidecar,
    /// The time from each change in registry and store to the new file.
    windows: Vec<(Instant, Instant)>,
}

/// A client: a program, or the kubelet's code with a login by the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Client {
    Program(RegistryClient),
    Kubelet,
}

/// The result of one run of a client.
#[derive(Debug)]
enum Outcome {
    Granted,
    Denied,
    /// The client fails for another reason, such as the file.
    Failed(String),
}

/// One run of a client.
struct Attempt {
    started: Instant,
    ended: Instant,
    outcome: Outcome,
}

/// Runs of a client, by outcome.
#[derive(Debug, Default)]
struct Count {
    granted: usize,
    /// Denied between the change and the new file.
    denied: usize,
}

impl Rotated {
    async fn start(name: &'static str) -> Self {
        let cluster = test_cluster(name, 0).await;
        let registry = Registry::start_basic(&cluster.reaper).await.expect("a registry");
        registry.push_image("team/app", "1").await.expect("the registry takes an image");
        change(&cluster, &registry, "pw-0").await;
        let key = format!("{name}/registry");
        let manifests = manifests(&cluster, &[(&registry.host, "vault", &key)]);
        let sidecar = Sidecar::start(&cluster, &manifests).await;
        until(async || sidecar.password(&registry.host).is_some()).await;
        Self { cluster, registry: Arc::new(registry), sidecar, windows: Vec::new() }
    }

    fn image(&self) -> String {
        format!("{}/team/app:1", self.registry.host)
    }

    fn file(&self) -> PathBuf {
        output(&self.cluster)
    }

    /// Changes the password, and waits for the new file; returns the time at which it was there.
    async fn rotate(&mut self, password: &str) -> Instant {
        let changed = Instant::now();
        change(&self.cluster, &self.registry, password).await;
        until(async || self.sidecar.password(&self.registry.host).as_deref() == Some(password)).await;
        let written = Instant::now();
        self.windows.push((changed, written));
        written
    }

    /// Returns true if a run overlaps with a time between a change and the new file.
    fn is_within_a_window(&self, attempt: &Attempt) -> bool {
        let mut windows = self.windows.iter();
        windows.any(|(changed, written)| attempt.started < *written && attempt.ended > *changed)
    }
}

/// Changes the password of the registry, then that of the store.
async fn change(cluster: &TestCluster, registry: &Registry, password: &str) {
    registry.set_password(password).expect("a password");
    cluster.put("registry", &json!({"username": registry.username, "password": password})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_read_the_file_through_rotations() {
    let mut rotated = Rotated::start("sidecar-clients").await;
    let (stop, stopped) = watch::channel(false);
    let mut clients = JoinSet::new();
    let mut successes = Vec::new();
    for client in RegistryClient::ALL.map(Client::Program).into_iter().chain([Client::Kubelet]) {
        let (success, last_success) = watch::channel(None);
        successes.push(last_success);
        let (stopped, file, registry) = (stopped.clone(), rotated.file(), Arc::clone(&rotated.registry));
        clients.spawn(async move { (client, client.run_until(stopped, &file, &registry, success).await) });
    }
    for n in 1..=repetitions(ROTATIONS) {
        let written = rotated.rotate(&format!("pw-{n}")).await;
        for success in &successes {
            // A client that fails for another reason has ended, and is reported below.
            until(async || success.borrow().is_some_and(|it| it > written) || success.has_changed().is_err())
                .await;
        }
    }
    stop.send(true).expect("the clients run");
    let mut counts = BTreeMap::<Client, Count>::new();
    for (client, attempts) in clients.join_all().await {
        let count = counts.entry(client).or_default();
        for attempt in &attempts {
            match &attempt.outcome {
                Outcome::Granted => count.granted += 1,
                Outcome::Denied if rotated.is_within_a_window(attempt) => count.denied += 1,
                Outcome::Denied => panic!("{client:?}: denied although the file was current"),
                Outcome::Failed(problem) => panic!("{client:?} fails for another reason: {problem}"),
            }
        }
        assert!(count.granted >= rotated.windows.len(), "{client:?}: {count:?}");
    }
    let skopeo = RegistryClient::Skopeo.unpinned_version().await.expect("it runs");
    report(rotated.windows.len(), skopeo.as_deref(), &counts);
    assert_eq!(rotated.sidecar.stop().await, Some(0));
}

#[expect(clippy::print_stdout, reason = "the report of the test, with --nocapture")]
fn report(rotations: usize, skopeo: Option<&str>, counts: &BTreeMap<Client, Count>) {
    println!("{rotations} rotations, {}", skopeo.unwrap_or_default());
    for (client, Count { granted, denied }) in counts {
        println!("{client:?}: {granted} granted, {denied} denied before the new file, no other failure");
    }
}

#[tokio::test]
async fn client_that_lives_on_keeps_the_password_until_it_reads_again() {
    let mut rotated = Rotated::start("sidecar-long-lived").await;
    let directory = rotated.file().parent().expect("a directory").to_owned();
    let mut docker_py = LongLivedDockerPy::start(&directory, &rotated.image()).await.expect("Python");
    assert_eq!(docker_py.pull().await.expect("an answer"), "ok");
    let mut caused_by_the_client = 0;
    let rotations = repetitions(ROTATIONS);
    for n in 1..=rotations {
        rotated.rotate(&format!("pw-{n}")).await;
        caused_by_the_client += usize::from(docker_py.pull().await.expect("an answer") == "unauthorized");
        assert_eq!(docker_py.reload().await.expect("an answer"), "ok", "rotation {n}");
    }
    // The documentation's table of long-lived clients says so; a release that reads the file again needs another row.
    assert_eq!(caused_by_the_client, rotations);
    assert_eq!(rotated.sidecar.stop().await, Some(0));
}

impl Client {
    /// Runs the client again and again, and publishes the start of its last run that succeeded.
    async fn run_until(
        self,
        stopped: watch::Receiver<bool>,
        file: &Path,
        registry: &Registry,
        success: watch::Sender<Option<Instant>>,
    ) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        while !*stopped.borrow() {
            let started = Instant::now();
            let outcome = self.run(file, registry).await;
            let has_failed = matches!(outcome, Outcome::Failed(_));
            if matches!(outcome, Outcome::Granted) {
                success.send_replace(Some(started));
            }
            attempts.push(Attempt { started, ended: Instant::now(), outcome });
            if has_failed {
                break;
            }
        }
        attempts
    }

    async fn run(self, file: &Path, registry: &Registry) -> Outcome {
        let image = format!("{}/team/app:1", registry.host);
        match self {
            Self::Program(program) => run_program(program, file, &image).await,
            Self::Kubelet => {
                let [password] = &kubelet_passwords(file, image).await[..] else {
                    return Outcome::Failed("the kubelet finds another number of credentials".to_owned());
                };
                let is_granted = registry.login(&registry.username, password).await.expect("an answer");
                if is_granted { Outcome::Granted } else { Outcome::Denied }
            }
        }
    }
}

async fn run_program(program: RegistryClient, file: &Path, image: &str) -> Outcome {
    let mut command = program.command(file, image).await.expect("the client is in the cache");
    let output = command.output().await.expect("the client runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Outcome::Granted
    } else if stderr.to_lowercase().contains("unauthorized") {
        Outcome::Denied
    } else {
        Outcome::Failed(stderr)
    }
}

/// The passwords that the kubelet's own code finds in the file.
async fn kubelet_passwords(file: &Path, image: String) -> Vec<String> {
    let question = KeyringQuestion {
        namespace: "default".to_owned(),
        name: SECRET.to_owned(),
        kind: TYPE.to_owned(),
        docker_config: std::fs::read(file).expect("a file"),
        image,
    };
    let answers = ask_kubelet(&[question]).await.expect("the kubelet's keyring");
    assert_eq!(answers[0].error, None);
    answers[0].credentials.iter().map(|credential| credential.password.clone()).collect()
}

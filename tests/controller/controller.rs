//! `regcred run` as the kubelet runs it: a process with a ServiceAccount's token, an identity and a port of its own.
//!
//! The reaper of the world starts it, so that none is left whatever happens to a test.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use world::{LocalStack, Process, Proxy};

use crate::stage::{NAMESPACE, SERVICE_ACCOUNT, Stage, until};

/// How a controller is to be started.
pub(crate) struct Launch<'a> {
    stage: &'a Stage,
    manifests: PathBuf,
    identity: String,
    account: &'a str,
    proxy: Option<&'a Proxy>,
    arguments: Vec<String>,
    aws: Option<&'a LocalStack>,
}

/// A running `regcred run`; dropping it kills it.
pub(crate) struct Controller {
    process: Process,
    port: u16,
}

impl<'a> Launch<'a> {
    pub(crate) fn new(stage: &'a Stage, manifests: PathBuf) -> Self {
        Self {
            stage,
            manifests,
            identity: SERVICE_ACCOUNT.to_owned(),
            account: SERVICE_ACCOUNT,
            proxy: None,
            arguments: Vec::new(),
            aws: None,
        }
    }

    /// With these manifests instead.
    pub(crate) fn of(mut self, manifests: &Path) -> Self {
        manifests.clone_into(&mut self.manifests);
        self
    }

    /// As another ServiceAccount, whose name is the identity as well.
    pub(crate) fn replica(mut self, account: &'a str) -> Self {
        account.clone_into(&mut self.identity);
        self.account = account;
        self
    }

    /// Through a proxy to the API server.
    pub(crate) fn through(mut self, proxy: &'a Proxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// With credentials for this AWS.
    pub(crate) fn in_aws(mut self, localstack: &'a LocalStack) -> Self {
        self.aws = Some(localstack);
        self
    }

    /// With further arguments.
    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(self) -> Controller {
        let controller = self.begin().await;
        until("a controller that is ready", async || {
            let ended = controller.process.ended();
            assert!(ended.is_none(), "regcred run ended before it was ready: {ended:?}");
            controller.is_ready().await
        })
        .await;
        controller
    }

    /// Starts it and waits for nothing.
    pub(crate) async fn begin(self) -> Controller {
        let stage = self.stage;
        let kubeconfig = match self.proxy {
            Some(proxy) => stage.kube.kubeconfig_through(proxy, NAMESPACE, self.account).await,
            None => stage.kube.kubeconfig_as(NAMESPACE, self.account).await,
        };
        let kubeconfig = kubeconfig.expect("a token");
        let port = world::free_port().expect("a free port");
        let directory = stage.reaper.new_directory("regcred").expect("a directory");
        let program = Path::new(env!("CARGO_BIN_EXE_regcred"));
        let process = stage.reaper.spawn("regcred", &directory, program, |command| {
            command.arg("run").args(["--namespace", NAMESPACE, "--identity", &self.identity]);
            command.args(["--listen", &format!("127.0.0.1:{port}"), "--log-format", "json"]);
            command.arg("-f").arg(&self.manifests).args(&self.arguments);
            // Nothing of the machine the tests run on, not even a PATH.
            command.env_remove("PATH");
            command.env("KUBECONFIG", &kubeconfig).env("VAULT_TOKEN", &stage.vault.root_token);
            command.envs(self.aws.map(LocalStack::env).unwrap_or_default());
        });
        Controller { process: process.expect("regcred runs"), port }
    }
}

impl Controller {
    /// Ends it as a power cut does.
    pub(crate) async fn kill(&self) {
        self.process.signal(Signal::KILL).expect("a signal");
        self.process.end().await.expect("it ends");
    }

    /// Ends it as the kubelet does: its exit code, and how long it took.
    pub(crate) async fn terminate(&self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        self.process.signal(Signal::TERM).expect("a signal");
        (self.end().await, begun.elapsed())
    }

    /// Waits until it ends by itself: its exit code.
    pub(crate) async fn end(&self) -> Option<i32> {
        self.process.end().await.expect("it ends").code()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.process.ended().is_some()
    }

    /// Stops it as a machine does that goes to sleep.
    pub(crate) fn pause(&self) {
        self.process.signal(Signal::STOP).expect("a signal");
    }

    pub(crate) fn resume(&self) {
        self.process.signal(Signal::CONT).expect("a signal");
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.get("ready").await.is_some()
    }

    /// What Prometheus scrapes.
    pub(crate) async fn metrics(&self) -> String {
        self.get("metrics").await.expect("metrics")
    }

    /// The value of a metric with exactly these labels, as `name{label="value"}`.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("metrics").await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok())
    }

    /// Whether it holds the Lease, by its own word.
    pub(crate) async fn leads(&self) -> bool {
        self.metric("regcred_leader").await.is_some_and(|leader| leader > 0.5)
    }

    async fn get(&self, path: &str) -> Option<String> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
        let url = format!("http://127.0.0.1:{}/{path}", self.port);
        let answer = client.expect("a client").get(url).send().await.ok()?.error_for_status().ok()?;
        answer.text().await.ok()
    }

    /// The bytes of it that are in memory.
    pub(crate) fn resident(&self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    /// The most bytes of it that ever were in memory.
    pub(crate) fn most_resident(&self) -> Option<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }

    /// How many files and connections it has open.
    pub(crate) fn open_files(&self) -> Option<usize> {
        Some(std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).ok()?.count())
    }

    /// Everything it said.
    pub(crate) fn log(&self) -> String {
        String::from_utf8(std::fs::read(self.process.log()).expect("a log")).expect("logs are UTF-8")
    }

    /// Everything it said, line by line.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("a line is not JSON, {error}: {line}"))
        };
        self.log().lines().map(parse).collect()
    }
}

impl Drop for Controller {
    /// A test that failed shows what its controllers said last.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.process.log()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(30)..].join("\n");
            #[expect(clippy::print_stderr, reason = "the test harness shows it with the failure")]
            {
                eprintln!("the last lines of process {}:\n{last}", self.process.id());
            }
        }
    }
}

//! `regcred run` as the kubelet runs it: a process with a ServiceAccount's token, an identity and a port of its own.
//!
//! The reaper of the cluster starts each process, so that none outlives the tests.

mod launch;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use world::Process;

pub(crate) use launch::{Launch, RunController};

/// A running `regcred run`; dropping it kills the process.
pub(crate) struct Controller {
    process: Process,
    metrics: SocketAddr,
    probes: SocketAddr,
}

impl Controller {
    /// Kills the process, as a power cut does.
    pub(crate) async fn kill(&self) {
        self.process.signal(Signal::KILL).expect("a signal");
        self.process.wait().await.expect("the process ends");
    }

    /// Terminates the process as the kubelet does; returns the exit code and the time until the end.
    pub(crate) async fn terminate(&self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        self.process.signal(Signal::TERM).expect("a signal");
        (self.wait().await, begun.elapsed())
    }

    /// Waits until the process ends by itself; returns the exit code.
    pub(crate) async fn wait(&self) -> Option<i32> {
        self.process.wait().await.expect("the process ends").code()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.process.try_wait().is_some()
    }

    /// Stops the process, as the suspension of a machine does.
    pub(crate) fn pause(&self) {
        self.process.signal(Signal::STOP).expect("a signal");
    }

    pub(crate) fn resume(&self) {
        self.process.signal(Signal::CONT).expect("a signal");
    }

    pub(crate) async fn is_ready(&self) -> bool {
        text(self.probe("ready").await).await.is_some()
    }

    /// The body of `/ready`, whatever its status: the reason while the controller is not ready.
    pub(crate) async fn readiness(&self) -> String {
        let answer = self.probe("ready").await.expect("an answer");
        answer.text().await.expect("a text")
    }

    pub(crate) fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    pub(crate) fn probe_address(&self) -> SocketAddr {
        self.probes
    }

    /// The text that Prometheus scrapes.
    pub(crate) async fn metrics(&self) -> String {
        text(self.scrape().await).await.expect("metrics")
    }

    /// The value of the series `name{label="value"}`, with exactly these labels.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let text = text(self.scrape().await).await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok())
    }

    /// Returns true if the controller reports that it holds the Lease.
    pub(crate) async fn is_leader(&self) -> bool {
        self.metric("regcred_leader").await.is_some_and(|leader| leader > 0.5)
    }

    async fn probe(&self, path: &str) -> Option<reqwest::Response> {
        get(&format!("http://{}/{path}", self.probes)).await
    }

    async fn scrape(&self) -> Option<reqwest::Response> {
        get(&format!("http://{}/metrics", self.metrics)).await
    }

    /// The resident memory of the process in bytes.
    pub(crate) fn resident(&self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    /// The peak of its resident memory in bytes.
    pub(crate) fn peak_resident(&self) -> Option<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }

    /// The number of open files and connections.
    pub(crate) fn open_files(&self) -> Option<usize> {
        Some(std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).ok()?.count())
    }

    /// The whole log.
    pub(crate) fn log(&self) -> String {
        String::from_utf8(std::fs::read(self.process.log()).expect("a log")).expect("logs are UTF-8")
    }

    /// The log line by line.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.log()
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("a line is not JSON, {error}: {line}"))
            })
            .collect()
    }
}

async fn get(url: &str) -> Option<reqwest::Response> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
    client.expect("a client").get(url).send().await.ok()
}

/// The body of a successful answer.
async fn text(answer: Option<reqwest::Response>) -> Option<String> {
    answer?.error_for_status().ok()?.text().await.ok()
}

impl Drop for Controller {
    /// Prints the end of the log if the test failed.
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

//! Runs of the binary: arguments go in, exit code, stdout and stderr come out. Nothing of the machine's environment
//! reaches the process.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::process::Command;

use crate::TestCluster;
use crate::observe::text;

/// The result of one run of `regcred`.
#[derive(Debug)]
pub struct Run {
    /// The exit code; -1 after a signal.
    pub code: i32,
    /// Everything on stdout.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("regcred prints UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("regcred prints UTF-8"),
        }
    }
}

impl Run {
    /// The report of a run with `--output json`.
    #[track_caller]
    pub fn report(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no report on stdout: {error}\n{}\n{}", self.stdout, self.stderr))
    }

    /// `namespace: result reason` for each namespace of the first ClusterPullSecret.
    #[track_caller]
    pub fn results(&self) -> Vec<String> {
        let report = self.report();
        let namespaces =
            report["clusterPullSecrets"][0]["namespaces"].as_array().cloned().unwrap_or_default();
        namespaces
            .iter()
            .map(|it| {
                let line =
                    format!("{}: {} {}", text(&it["namespace"]), text(&it["result"]), text(&it["reason"]));
                line.trim_end().to_owned()
            })
            .collect()
    }

    /// `host version result` for each registry of the first ClusterPullSecret; `-` for a version that is absent.
    #[track_caller]
    pub fn registries(&self) -> Vec<String> {
        let report = self.report();
        let registries =
            report["clusterPullSecrets"][0]["registries"].as_array().cloned().unwrap_or_default();
        registries
            .iter()
            .map(|it| {
                let version = it["version"].as_str().unwrap_or("-");
                format!("{} {version} {}", text(&it["host"]), text(&it["result"]))
            })
            .collect()
    }
}

impl TestCluster {
    /// Runs `regcred rotate -f MANIFESTS --output json` with further arguments.
    pub async fn rotate(&self, manifests: &Path, more: &[&str]) -> Run {
        let manifests = manifests.display().to_string();
        let mut arguments = vec!["rotate", "-f", &manifests];
        if !more.contains(&"--output") {
            arguments.extend(["--output", "json"]);
        }
        arguments.extend(more);
        self.run(&arguments).await
    }

    /// Runs `regcred` as its ServiceAccount.
    pub async fn run(&self, arguments: &[&str]) -> Run {
        self.command(arguments).output().await.expect("regcred runs").into()
    }

    /// The same, not started yet; dropping the started process kills it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.regcred);
        // Nothing of the machine the tests run on: no proxy, no profile, no home.
        command.args(arguments).env_clear().env("KUBECONFIG", &self.kubeconfig);
        command.env("VAULT_TOKEN", &self.vault.root_token);
        command.envs(self.localstack.map(|it| it.env()).unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

//! The connection to the cluster: `--kubeconfig` and `--context` as in kubectl, or the pod's ServiceAccount.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::Failure;
use crate::cluster::error::{Error, connection_failure};

/// The arguments that select the cluster.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct Connection {
    /// The kubeconfig file. Default: $KUBECONFIG, ~/.kube/config, or the ServiceAccount of the pod.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Connection {
    /// Returns a client for the cluster, and the address it connects to. Sends no request yet.
    pub async fn client(&self) -> Result<(Client, String), Failure> {
        let (config, address) = self.config().await?;
        let client = Client::try_from(config).map_err(|error| no_client(&address, &error))?;
        Ok((client, address))
    }

    /// Returns the client configuration for the cluster, and the address it connects to.
    pub async fn config(&self) -> Result<(Config, String), Failure> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = match self.kubeconfig()? {
            Some(kubeconfig) => {
                let contexts: Vec<_> = kubeconfig.contexts.iter().map(|it| it.name.clone()).collect();
                let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
                config.map_err(|error| unusable(&error, &contexts))?
            }
            None => Config::incluster().map_err(|_| not_found(std::env::var_os("KUBECONFIG")))?,
        };
        let address = config.cluster_url.to_string();
        Ok((config, address))
    }

    /// Reads the kubeconfig, if there is one: `--kubeconfig`, else the files of `KUBECONFIG` merged, else
    /// `~/.kube/config`. As in kubectl, files of `KUBECONFIG` that do not exist are ignored.
    fn kubeconfig(&self) -> Result<Option<Kubeconfig>, Failure> {
        let files: Vec<PathBuf> = match (&self.kubeconfig, std::env::var_os("KUBECONFIG")) {
            (Some(file), _) => vec![file.clone()],
            (None, Some(list)) if !list.is_empty() => {
                std::env::split_paths(&list).filter(|file| file.exists()).collect()
            }
            (None, _) => {
                let home = std::env::home_dir().map(|home| home.join(".kube/config"));
                home.filter(|file| file.exists()).into_iter().collect()
            }
        };
        let kubeconfigs =
            files.iter().map(|file| Kubeconfig::read_from(file).map_err(|error| unreadable(file, &error)));
        let merged = kubeconfigs.reduce(|merged, next| {
            merged?
                .merge(next?)
                .map_err(|error| Failure::external(anyhow!("cannot merge the files of KUBECONFIG: {error}")))
        });
        merged.transpose()
    }
}

/// Creates the failure of a client that cannot be built.
pub(super) fn no_client(address: &str, error: &kube::Error) -> Failure {
    Failure::external(anyhow!("cannot connect to the cluster at {address}: {}", connection_failure(error)))
}

/// Creates the failure of a command that finds neither a kubeconfig nor the ServiceAccount of a pod. `list` is
/// the value of `KUBECONFIG`, of which no file exists.
fn not_found(list: Option<OsString>) -> Failure {
    let files = list.iter().flat_map(|list| std::env::split_paths(list));
    let files: Vec<_> = files.map(|file| file.display().to_string()).filter(|it| !it.is_empty()).collect();
    let found = "no Kubernetes configuration found";
    let what = match &files[..] {
        [] => {
            return Failure::external(anyhow!("{found} (no kubeconfig, not in a pod)"))
                .with_hint("pass --kubeconfig or set KUBECONFIG");
        }
        [file] => format!("{found}: KUBECONFIG names {file}, which does not exist"),
        files => format!("{found}: KUBECONFIG names {}, which do not exist", files.join(", ")),
    };
    Failure::external(anyhow!(what)).with_hint("correct KUBECONFIG, or pass --kubeconfig")
}

/// Creates the failure of a kubeconfig file that cannot be read or parsed. The errors of `kube` repeat the path,
/// and those of the parser quote lines, which may hold tokens.
fn unreadable(file: &Path, error: &KubeconfigError) -> Failure {
    let file = file.display();
    match error {
        KubeconfigError::ReadConfig(error, _) if error.kind() == ErrorKind::NotFound => {
            Failure::external(anyhow!("cannot read kubeconfig {file}: no such file"))
                .with_hint("pass an existing file with --kubeconfig")
        }
        KubeconfigError::ReadConfig(error, _) => {
            Failure::external(anyhow!("cannot read kubeconfig {file}: {error}"))
                .with_hint("pass a file that can be read with --kubeconfig")
        }
        KubeconfigError::Parse(error) => {
            let line = error.location().map(|location| format!(":{}", location.line())).unwrap_or_default();
            Failure::external(anyhow!("cannot read kubeconfig {file}{line}: not the YAML of a kubeconfig"))
                .with_hint("pass another file with --kubeconfig, or correct this one")
        }
        error => Failure::external(anyhow!("cannot read kubeconfig {file}: {error}")),
    }
}

/// Creates the failure of a kubeconfig without a configuration to use. The errors of `kube` contain their
/// causes, so only the message is kept.
fn unusable(error: &KubeconfigError, contexts: &[String]) -> Failure {
    let failure = Failure::external(anyhow!("cannot use the kubeconfig: {error}"));
    match error {
        KubeconfigError::CurrentContextNotSet | KubeconfigError::LoadContext(_) if contexts.is_empty() => {
            failure.with_hint("the kubeconfig has no context: check that it is the right file")
        }
        KubeconfigError::CurrentContextNotSet | KubeconfigError::LoadContext(_) => {
            failure.with_hint(format!("the contexts for --context are: {}", contexts.join(", ")))
        }
        _ => failure,
    }
}

/// Creates the failure of a request to the API server; the hint fixes the connection if that is the cause.
pub(super) fn request_failed(what: &str, error: &Error) -> Failure {
    let failure = Failure::external(anyhow!("{what}: {}", error.without_fix()));
    match (error, error.fix()) {
        (Error::Unauthorized(_), _) => {
            failure.with_hint("log in again: the API server rejected the credentials of the kubeconfig")
        }
        (_, Some(fix)) => failure.with_hint(begin_in_lower_case(fix)),
        (Error::Unavailable(_) | Error::TimedOut, None) => failure.with_hint(
            "check that the API server of the kubeconfig's context is reachable; --context selects another",
        ),
        (_, None) => failure,
    }
}

/// Makes a hint of a sentence.
fn begin_in_lower_case(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_files_of_kubeconfig_are_named() {
        for (list, expect) in [
            (
                None,
                "no Kubernetes configuration found (no kubeconfig, not in a pod)\nhint: pass --kubeconfig or set KUBECONFIG",
            ),
            (
                Some("/a"),
                "no Kubernetes configuration found: KUBECONFIG names /a, which does not exist\nhint: correct KUBECONFIG, or pass --kubeconfig",
            ),
            (
                Some("/a::/b"),
                "no Kubernetes configuration found: KUBECONFIG names /a, /b, which do not exist\nhint: correct KUBECONFIG, or pass --kubeconfig",
            ),
        ] {
            assert_eq!(not_found(list.map(OsString::from)).to_string(), format!("error: {expect}"));
        }
    }

    #[test]
    fn contexts_are_hinted_at_only_if_one_is_missing() {
        let contexts = ["a".to_owned(), "b".to_owned()];
        let unknown = KubeconfigError::LoadContext("c".to_owned());
        let hinted = "error: cannot use the kubeconfig: failed to load current context: c\nhint: the contexts for --context are: a, b";
        assert_eq!(unusable(&unknown, &contexts).to_string(), hinted);
        let hinted = "error: cannot use the kubeconfig: failed to determine current context\nhint: the kubeconfig has no context: check that it is the right file";
        assert_eq!(unusable(&KubeconfigError::CurrentContextNotSet, &[]).to_string(), hinted);
        let other = unusable(&KubeconfigError::MissingClusterUrl, &contexts).to_string();
        assert_eq!(other, "error: cannot use the kubeconfig: cluster url is missing on selected cluster");
    }

    #[test]
    fn failed_request_hints_at_the_connection_or_the_login() {
        let reachable = "\nhint: check that the API server of the kubeconfig's context is reachable; --context selects another";
        for (error, hint) in [
            (Error::TimedOut, reachable),
            (Error::Unavailable("refused".into()), reachable),
            (Error::Invalid("rejected".into()).with_fix("Divide it"), "\nhint: divide it"),
            (
                Error::Unauthorized("rejected".into()),
                "\nhint: log in again: the API server rejected the credentials of the kubeconfig",
            ),
            (Error::Expired, ""),
        ] {
            let error_text = error.without_fix();
            assert_eq!(
                request_failed("failed", &error).to_string(),
                format!("error: failed: {error_text}{hint}")
            );
        }
    }
}

//! The connection to the cluster: `--kubeconfig` and `--context` as in kubectl, or the pod's ServiceAccount.
//!
//! In go arguments, files and the environment, out come clients. kubectl is the measure: what it accepts is accepted.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::anyhow;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{ExecAuthCluster, Kubeconfig};
use kube::{Client, Config};
use secrecy::ExposeSecret;

mod client;
mod context;
mod failure;
mod kubeconfig;
mod no_proxy;
mod plugin;
mod proxy;
mod proxy_layer;
mod token;
mod user;

pub use self::client::ClientConfig;
use self::context::{ContextError, SelectedContext, select, server};
use self::plugin::Plugin;
use self::proxy::{Proxy, ProxyEnvironment};
use self::token::{TokenOrigin, TokenSource, first_file_token};
use self::user::{RenewableCredential, User};
use super::Failure;
use crate::cluster::error::Error;

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
        let config = self.config().await?;
        Ok((config.client()?, config.address()))
    }

    /// Returns the client configuration for the cluster.
    ///
    /// As in kubectl, a kubeconfig that selects no context gives way to the ServiceAccount of the pod.
    pub async fn config(&self) -> Result<ClientConfig, Failure> {
        let environment = ProxyEnvironment::new(variable);
        let kubeconfig = self.kubeconfig()?;
        let has_name = self.context.is_some();
        let selected = kubeconfig.as_ref().filter(|it| has_name || it.current_context.is_some());
        if let Some(kubeconfig) = selected {
            return self.use_kubeconfig(kubeconfig, &environment).await;
        }
        // The ServiceAccount of the pod is of another cluster than the one that --context names.
        let in_cluster = if has_name { None } else { Config::incluster().ok() };
        let Some(config) = in_cluster else {
            return Err(match kubeconfig {
                Some(kubeconfig) => failure::context(&ContextError::NoCurrentContext, &kubeconfig),
                None => not_found(std::env::var_os("KUBECONFIG"), has_name),
            });
        };
        ClientConfig::from_service_account(config, &environment)
    }

    /// Reads the kubeconfig, if there is one: `--kubeconfig`, else the files of `KUBECONFIG` merged, else
    /// `~/.kube/config`.
    fn kubeconfig(&self) -> Result<Option<Kubeconfig>, Failure> {
        let list = match (&self.kubeconfig, std::env::var_os("KUBECONFIG")) {
            (Some(file), _) => return kubeconfig::read(file).map(Some).map_err(failure::unreadable),
            (None, Some(list)) if !list.is_empty() => list,
            (None, _) => match std::env::home_dir() {
                Some(home) => home.join(".kube/config").into_os_string(),
                None => return Ok(None),
            },
        };
        kubeconfig::read_list(&list).map_err(failure::unreadable)
    }

    async fn use_kubeconfig(
        &self,
        kubeconfig: &Kubeconfig,
        environment: &ProxyEnvironment,
    ) -> Result<ClientConfig, Failure> {
        let selection = select(kubeconfig, self.context.as_deref())
            .map_err(|error| failure::context(&error, kubeconfig))?;
        let mut config = server(&selection).map_err(|error| failure::context(&error, kubeconfig))?;
        let proxy = match &selection.cluster.proxy_url {
            Some(url) => Proxy::from_proxy_url(url).map(Some),
            None => environment.proxy_for(&config.cluster_url),
        };
        let proxy = proxy.map_err(failure::unusable_proxy)?;
        let user =
            User::new(selection.user.clone()).map_err(|error| failure::user(&selection.user_name, error))?;
        config.auth_info = user.auth_info;
        let source = match user.source {
            Some(source) => Some(open(source, &selection, &mut config).await?),
            None => None,
        };
        Ok(ClientConfig::new(config, source, proxy))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the edge")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads the first token of a user. A client certificate of a plugin goes into the configuration.
async fn open(
    source: RenewableCredential,
    selection: &SelectedContext,
    config: &mut Config,
) -> Result<TokenSource, Failure> {
    match source {
        RenewableCredential::TokenFile(file, fallback) => {
            let (token, renew_at) = first_file_token(&file, fallback)
                .await
                .map_err(|error| failure::token_file(&file, &error))?;
            Ok(TokenSource::new(TokenOrigin::File(file), Some(token), Some(renew_at)))
        }
        RenewableCredential::Plugin(settings) => {
            let cluster = if settings.provide_cluster_info {
                Some(ExecAuthCluster::try_from(&selection.cluster).map_err(failure::cluster_info)?)
            } else {
                None
            };
            let plugin = Plugin::new(*settings, cluster, io::stdin().is_terminal())
                .map_err(|error| failure::plugin(&error, None))?;
            let credential =
                plugin.run().await.map_err(|error| failure::plugin(&error, plugin.install_hint()))?;
            if let Some((certificate, key)) = credential.certificate {
                config.auth_info.client_certificate_data = Some(STANDARD.encode(certificate));
                config.auth_info.client_key_data = Some(STANDARD.encode(key.expose_secret()).into());
            }
            Ok(TokenSource::new(TokenOrigin::Plugin(Box::new(plugin)), credential.token, credential.expires))
        }
    }
}

/// Creates the failure of a command that finds neither a kubeconfig nor the ServiceAccount of a pod. `list` is
/// the value of `KUBECONFIG`, of which no file exists.
fn not_found(list: Option<OsString>, has_context: bool) -> Failure {
    let files = list.iter().flat_map(|list| std::env::split_paths(list));
    let files: Vec<_> = files.map(|file| file.display().to_string()).filter(|it| !it.is_empty()).collect();
    let found = "no Kubernetes configuration found";
    let what = match &files[..] {
        [] => {
            let needed =
                if has_context { "--context needs a kubeconfig" } else { "no kubeconfig, not in a pod" };
            return Failure::external(anyhow!("{found} ({needed})"))
                .with_hint("pass --kubeconfig or set KUBECONFIG");
        }
        [file] => format!("{found}: KUBECONFIG names {file}, which does not exist"),
        files => format!("{found}: KUBECONFIG names {}, which do not exist", files.join(", ")),
    };
    Failure::external(anyhow!(what)).with_hint("correct KUBECONFIG, or pass --kubeconfig")
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

    /// The configuration of clients from a kubeconfig with this user.
    async fn configured(user: serde_json::Value) -> Result<ClientConfig, Failure> {
        let kubeconfig = serde_json::json!({
            "clusters": [{"name": "c", "cluster": {"server": "https://h"}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        });
        let kubeconfig = serde_json::from_value(kubeconfig).expect("a kubeconfig");
        let connection = Connection { kubeconfig: None, context: None };
        connection.use_kubeconfig(&kubeconfig, &ProxyEnvironment::default()).await
    }

    #[tokio::test]
    async fn certificate_of_a_plugin_becomes_that_of_the_client() {
        let version = "client.authentication.k8s.io/v1";
        let certificate = rcgen::generate_simple_self_signed(["u".to_owned()]).expect("a certificate");
        let printed = serde_json::json!({"apiVersion": version, "kind": "ExecCredential", "status": {
            "clientCertificateData": certificate.cert.pem(),
            "clientKeyData": certificate.signing_key.serialize_pem()}});
        let exec = serde_json::json!({"apiVersion": version, "command": "printf",
            "args": ["%s", printed.to_string()]});
        let config = configured(serde_json::json!({ "exec": exec })).await.expect("valid");
        let data = config.client_certificate().expect("a certificate");
        assert_eq!(STANDARD.decode(data).expect("base64"), certificate.cert.pem().as_bytes());
        config.client().expect("kube accepts certificate and key");
    }

    #[tokio::test]
    async fn refused_user_is_named() {
        let error = configured(serde_json::json!({"token": "hunter2", "username": "me"})).await;
        assert_eq!(
            error.expect_err("refused").to_string(),
            "error: cannot use the kubeconfig: user u: more than one of token and username"
        );
        let error = configured(serde_json::json!({"tokenFile": "/nonexist"})).await.expect_err("no file");
        assert!(
            error.to_string().starts_with("error: cannot read the token file /nonexist: No such file"),
            "{error}"
        );
    }

    #[test]
    fn missing_files_of_kubeconfig_are_named() {
        for (list, has_context, expect) in [
            (
                None,
                true,
                "no Kubernetes configuration found (--context needs a kubeconfig)\nhint: pass --kubeconfig or set KUBECONFIG",
            ),
            (
                None,
                false,
                "no Kubernetes configuration found (no kubeconfig, not in a pod)\nhint: pass --kubeconfig or set KUBECONFIG",
            ),
            (
                Some("/a"),
                true,
                "no Kubernetes configuration found: KUBECONFIG names /a, which does not exist\nhint: correct KUBECONFIG, or pass --kubeconfig",
            ),
            (
                Some("/a::/b"),
                false,
                "no Kubernetes configuration found: KUBECONFIG names /a, /b, which do not exist\nhint: correct KUBECONFIG, or pass --kubeconfig",
            ),
        ] {
            let failure = not_found(list.map(OsString::from), has_context);
            assert_eq!(failure.to_string(), format!("error: {expect}"));
        }
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

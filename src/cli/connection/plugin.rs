//! The credential plugin of a user (`exec`), by the protocol of `client.authentication.k8s.io`.
//!
//! In go the settings of the kubeconfig, out comes what the plugin printed as a credential. The plugin writes to
//! regcred's own stderr, as with kubectl; its stdout is never quoted.

use std::fmt;
use std::io::{self, ErrorKind};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use kube::config::{ExecAuthCluster, ExecConfig, ExecInteractiveMode};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;

/// A credential plugin, ready to run.
pub(super) struct Plugin {
    settings: ExecConfig,
    command: String,
    cluster: Option<ExecAuthCluster>,
    is_interactive: bool,
}

/// The environment of a plugin may hold a secret.
impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("command", &self.command).finish_non_exhaustive()
    }
}

/// A token, a client certificate, or both.
#[derive(Debug)]
pub(super) struct PluginCredential {
    pub(super) token: Option<SecretString>,
    /// Certificate and key, in PEM.
    pub(super) certificate: Option<(String, SecretString)>,
    /// The time from which the plugin is to run again; `None`: until the API server rejects the credential.
    pub(super) expires: Option<Timestamp>,
}

/// The reason why a plugin gave no credential.
#[derive(Debug, thiserror::Error)]
pub(super) enum PluginError {
    #[error("the credential plugin {0} is not installed")]
    NotInstalled(String),
    #[error("the credential plugin {0} cannot start: {1}")]
    Start(String, io::Error),
    #[error("the credential plugin {0} failed with {1}")]
    Failed(String, ExitStatus),
    #[error("the credential plugin {0} needs a terminal on stdin (interactiveMode: Always)")]
    NoTerminal(String),
    #[error("the credential plugin {0} is still running")]
    Running(String),
    #[error("the credential plugin {0} did not end within {s} s", s = .1.as_secs())]
    WithoutEnd(String, Duration),
    #[error("the credential plugin {0} printed no ExecCredential")]
    Unreadable(String),
    #[error("the credential plugin {0} printed an ExecCredential of another version than exec.apiVersion")]
    Version(String),
    #[error("the credential plugin {0} printed neither a token nor a certificate with its key")]
    NoCredential(String),
}

impl Plugin {
    /// Creates the plugin of a user. `cluster` is passed on if `provideClusterInfo` asks for that.
    pub(super) fn new(
        settings: ExecConfig,
        cluster: Option<ExecAuthCluster>,
        has_terminal: bool,
    ) -> Result<Self, PluginError> {
        let command = settings.command.clone().unwrap_or_default();
        let is_interactive = match settings.interactive_mode {
            Some(ExecInteractiveMode::Never) => false,
            Some(ExecInteractiveMode::Always) if !has_terminal => {
                return Err(PluginError::NoTerminal(command));
            }
            Some(ExecInteractiveMode::Always) => true,
            Some(ExecInteractiveMode::IfAvailable) | None => has_terminal,
        };
        Ok(Self { settings, command, cluster, is_interactive })
    }

    /// Returns the advice of the kubeconfig for a plugin that is not installed, without control characters.
    pub(super) fn install_hint(&self) -> Option<String> {
        let hint = self.settings.install_hint.as_deref()?;
        let words: Vec<_> = hint.split(|it: char| it.is_control() || it.is_whitespace()).collect();
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        Some(words.join(" ")).filter(|hint| !hint.is_empty())
    }

    /// Returns the error of a caller that does not wait for the plugin any longer.
    pub(super) fn still_running(&self) -> PluginError {
        PluginError::Running(self.command.clone())
    }

    /// Returns the error of a plugin that was ended after this time.
    pub(super) fn without_end(&self, after: Duration) -> PluginError {
        PluginError::WithoutEnd(self.command.clone(), after)
    }

    /// Runs the plugin, until it ends or the future is dropped.
    pub(super) async fn run(&self) -> Result<PluginCredential, PluginError> {
        let name = self.command.clone();
        // `output()` would capture stderr, whatever the command says.
        let output = match self.command().spawn() {
            Ok(child) => child.wait_with_output().await,
            Err(error) => Err(error),
        };
        let output = match output {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(PluginError::NotInstalled(name)),
            Err(error) => return Err(PluginError::Start(name, error)),
            Ok(output) if !output.status.success() => return Err(PluginError::Failed(name, output.status)),
            Ok(output) => output,
        };
        let stdout = Zeroizing::new(output.stdout);
        parse(&stdout, self.settings.api_version.as_deref()).map_err(|error| error(name))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.command);
        let variables = self.settings.env.iter().flatten();
        let stdin = if self.is_interactive { Stdio::inherit() } else { Stdio::null() };
        command
            .args(self.settings.args.iter().flatten())
            .envs(variables.filter_map(|it| Some((it.get("name")?, it.get("value")?))))
            .env("KUBERNETES_EXEC_INFO", self.info())
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true);
        command
    }

    /// Returns the input of the plugin.
    fn info(&self) -> String {
        let mut spec = json!({ "interactive": self.is_interactive });
        if let Some(cluster) = &self.cluster {
            spec["cluster"] = json!(cluster);
        }
        json!({ "kind": "ExecCredential", "apiVersion": self.settings.api_version, "spec": spec }).to_string()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: Option<String>,
    kind: Option<String>,
    status: Option<ExecCredentialStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredentialStatus {
    token: Option<SecretString>,
    expiration_timestamp: Option<Timestamp>,
    client_certificate_data: Option<String>,
    client_key_data: Option<SecretString>,
}

/// Reads the output of a plugin, as JSON or YAML.
fn parse(stdout: &[u8], version: Option<&str>) -> Result<PluginCredential, fn(String) -> PluginError> {
    use secrecy::ExposeSecret as _;

    // The error of the parser quotes the output: it is dropped.
    let output: ExecCredential =
        serde_saphyr::from_slice(stdout).map_err(|_| PluginError::Unreadable as fn(_) -> _)?;
    if output.kind.as_deref() != Some("ExecCredential") {
        return Err(PluginError::Unreadable);
    }
    if output.api_version.as_deref() != version {
        return Err(PluginError::Version);
    }
    let status = output.status.ok_or(PluginError::NoCredential as fn(_) -> _)?;
    let token = status.token.filter(|token| !token.expose_secret().is_empty());
    let certificate = status.client_certificate_data.filter(|it| !it.is_empty());
    let key = status.client_key_data.filter(|it| !it.expose_secret().is_empty());
    let certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) if token.is_some() => None,
        _ => return Err(PluginError::NoCredential),
    };
    Ok(PluginCredential { token, certificate, expires: status.expiration_timestamp })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::Value;

    use super::*;

    const VERSION: &str = "client.authentication.k8s.io/v1";

    fn plugin(settings: Value, has_terminal: bool) -> Result<Plugin, PluginError> {
        Plugin::new(serde_json::from_value(settings).expect("settings"), None, has_terminal)
    }

    /// A plugin that runs a script of the shell.
    fn script(text: &str) -> Plugin {
        let settings = json!({"apiVersion": VERSION, "command": "sh", "args": ["-c", text],
            "env": [{"name": "GREETING", "value": "hello"}]});
        plugin(settings, false).expect("a plugin")
    }

    fn printed(status: Value) -> Result<PluginCredential, PluginError> {
        let output = json!({"apiVersion": VERSION, "kind": "ExecCredential", "status": status});
        parse(output.to_string().as_bytes(), Some(VERSION)).map_err(|error| error("p".to_owned()))
    }

    #[test]
    fn stdin_is_passed_on_only_if_it_is_a_terminal() {
        for (mode, has_terminal, expect) in [
            (Value::Null, true, Some(true)),
            (Value::Null, false, Some(false)),
            ("IfAvailable".into(), true, Some(true)),
            ("IfAvailable".into(), false, Some(false)),
            ("Never".into(), true, Some(false)),
            ("Always".into(), true, Some(true)),
            ("Always".into(), false, None),
        ] {
            let plugin = plugin(json!({"command": "p", "interactiveMode": mode}), has_terminal);
            assert_eq!(plugin.ok().map(|it| it.is_interactive), expect, "{mode} {has_terminal}");
        }
    }

    fn hint_for(text: &str) -> Option<String> {
        plugin(json!({"command": "p", "installHint": text}), false).expect("a plugin").install_hint()
    }

    #[test]
    fn install_hint_has_no_control_characters() {
        assert_eq!(
            hint_for("Install p:\n\n  brew\u{1b}[1m install p\n").as_deref(),
            Some("Install p: brew [1m install p")
        );
        assert_eq!(hint_for("\n"), None);
    }

    #[test]
    fn token_and_certificate_may_come_together() {
        let both = json!({"token": "t", "clientCertificateData": "c", "clientKeyData": "k",
            "expirationTimestamp": "2030-01-01T00:00:00Z"});
        let it = printed(both).expect("a credential");
        assert_eq!(it.token.as_ref().map(ExposeSecret::expose_secret), Some("t"));
        assert!(it.certificate.is_some() && it.expires.is_some());
    }

    #[test]
    fn incomplete_output_is_no_credential() {
        for status in [
            Value::Null,
            json!({}),
            json!({"token": ""}),
            json!({"token": "t", "clientKeyData": "k"}),
            json!({"clientCertificateData": "c"}),
        ] {
            let error = printed(status.clone()).expect_err("no credential");
            assert!(matches!(error, PluginError::NoCredential(_)), "{status}: {error}");
        }
    }

    #[test]
    fn output_of_another_shape_is_not_quoted() {
        for text in
            ["hunter2", "", "{\"kind\": \"hunter2\"}", "[hunter2", "{\"status\": {\"token\": [\"hunter2\"]}}"]
        {
            let error = parse(text.as_bytes(), Some(VERSION)).expect_err("unreadable")("p".to_owned());
            assert_eq!(error.to_string(), "the credential plugin p printed no ExecCredential");
        }
        let other = json!({"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1beta1"});
        let error = parse(other.to_string().as_bytes(), Some(VERSION)).expect_err("another version");
        assert!(matches!(error(String::new()), PluginError::Version(_)));
    }

    #[tokio::test]
    async fn plugin_gets_its_variables_and_the_cluster() {
        let text = "cat <<END\n{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\", \
             \"status\": {\"token\": \"$GREETING $(echo \"$KUBERNETES_EXEC_INFO\" | tr -d '\\\"')\"}}\nEND";
        let mut plugin = script(text);
        plugin.cluster =
            Some(ExecAuthCluster { server: Some("https://h".into()), ..ExecAuthCluster::default() });
        let token = plugin.run().await.expect("a credential").token.expect("a token");
        let token = token.expose_secret();
        assert!(token.starts_with("hello {"), "{token}");
        for part in [
            "apiVersion:client.authentication.k8s.io/v1",
            "kind:ExecCredential",
            "interactive:false",
            "cluster:{server:https://h}",
        ] {
            assert!(token.contains(part), "{part} in {token}");
        }
    }

    #[tokio::test]
    async fn failing_or_missing_plugin_is_named() {
        let error = script("exit 3").run().await.expect_err("it fails");
        assert_eq!(error.to_string(), "the credential plugin sh failed with exit status: 3");
        let missing = plugin(json!({"command": "/nonexist/p"}), false).expect("a plugin");
        let error = missing.run().await.expect_err("it is missing");
        assert_eq!(error.to_string(), "the credential plugin /nonexist/p is not installed");
        let directory = plugin(json!({"command": "/"}), false).expect("a plugin");
        let error = directory.run().await.expect_err("a directory");
        assert!(error.to_string().starts_with("the credential plugin / cannot start: "), "{error}");
    }
}

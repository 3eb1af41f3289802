//! The failures of a command for want of a usable kubeconfig, each with its hint.
//!
//! In goes the reason, out comes a message without the contents of files: lines of a kubeconfig may hold tokens.

use std::io;
use std::path::Path;

use anyhow::anyhow;
use kube::config::{Kubeconfig, KubeconfigError};

use super::context::ContextError;
use super::kubeconfig::KubeconfigReadError;
use super::plugin::PluginError;
use super::proxy::ProxyError;
use super::user::UserError;
use crate::cli::Failure;

pub(super) fn unreadable(error: KubeconfigReadError) -> Failure {
    let hint = error.hint();
    Failure::external(error).with_hint(hint)
}

/// Creates the failure of a kubeconfig without a server to use.
pub(super) fn context(error: &ContextError, kubeconfig: &Kubeconfig) -> Failure {
    let failure = Failure::external(anyhow!("cannot use the kubeconfig: {error}"));
    let contexts: Vec<_> = kubeconfig.contexts.iter().map(|it| &*it.name).collect();
    match error {
        ContextError::NoCurrentContext | ContextError::NoContext(_) if contexts.is_empty() => {
            failure.with_hint("the kubeconfig has no context: check that it is the right file")
        }
        ContextError::NoCurrentContext | ContextError::NoContext(_) => {
            failure.with_hint(format!("the contexts for --context are: {}", contexts.join(", ")))
        }
        _ => failure,
    }
}

pub(super) fn user(name: &str, error: UserError) -> Failure {
    let hint = match &error {
        UserError::AuthProvider(_) => Some("use a credential plugin: `exec` in place of `auth-provider`"),
        _ => None,
    };
    let failure = Failure::external(anyhow!("cannot use the kubeconfig: user {name}: {error}"));
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

pub(super) fn unusable_proxy(error: ProxyError) -> Failure {
    Failure::external(anyhow!("cannot use the proxy: {error}"))
}

pub(super) fn token_file(file: &Path, error: &io::Error) -> Failure {
    Failure::external(anyhow!("cannot read the token file {}: {error}", file.display()))
        .with_hint("correct `tokenFile` of the kubeconfig, or write the token to that file")
}

/// Creates the failure of a plugin that gave no credential; `install_hint` is that of the kubeconfig.
pub(super) fn plugin(error: &PluginError, install_hint: Option<String>) -> Failure {
    let failure = Failure::external(anyhow!("cannot use the kubeconfig: {error}"));
    match (error, install_hint) {
        (PluginError::NotInstalled(_), Some(hint)) => failure.with_hint(hint),
        (PluginError::NotInstalled(_), None) => failure
            .with_hint("install it into a directory of PATH, or correct `exec.command` of the kubeconfig"),
        _ => failure,
    }
}

pub(super) fn cluster_info(error: KubeconfigError) -> Failure {
    Failure::external(anyhow!("cannot use the kubeconfig: exec.provideClusterInfo: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn contexts_are_hinted_at_only_if_one_is_missing() {
        let contexts = json!({"contexts": [{"name": "a", "context": {"cluster": ""}}, {"name": "b"}]});
        let contexts: Kubeconfig = serde_json::from_value(contexts).expect("a kubeconfig");
        let unknown = ContextError::NoContext("c".to_owned());
        let hinted =
            "error: cannot use the kubeconfig: no context c\nhint: the contexts for --context are: a, b";
        assert_eq!(context(&unknown, &contexts).to_string(), hinted);
        let hinted = "error: cannot use the kubeconfig: no current context\nhint: the kubeconfig has no context: check that it is the right file";
        let none = Kubeconfig::default();
        assert_eq!(context(&ContextError::NoCurrentContext, &none).to_string(), hinted);
        let other = context(&ContextError::NoServer("c".to_owned()), &contexts).to_string();
        assert_eq!(other, "error: cannot use the kubeconfig: cluster c: no server");
    }

    #[test]
    fn missing_plugin_hints_at_the_installation() {
        let missing = PluginError::NotInstalled("p".to_owned());
        assert_eq!(
            plugin(&missing, Some("brew install p".to_owned())).to_string(),
            "error: cannot use the kubeconfig: the credential plugin p is not installed\nhint: brew install p"
        );
        assert!(plugin(&missing, None).to_string().contains("hint: install it into a directory of PATH"));
        let other = plugin(&PluginError::Unreadable("p".to_owned()), Some("brew install p".to_owned()));
        assert!(!other.to_string().contains("hint"), "{other}");
    }
}

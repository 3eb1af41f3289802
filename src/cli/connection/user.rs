//! The credential of a user of the kubeconfig that applies.
//!
//! In goes a user, out comes what kube is to send by itself, and the source of tokens that regcred reads. The order is
//! that of client-go: a password or token precedes an `auth-provider` and a plugin, a client certificate precedes a
//! plugin. What kubectl refuses is refused.

use std::path::PathBuf;

use kube::config::{AuthInfo, ExecConfig};
use secrecy::SecretString;

/// A user with the one credential that applies.
#[derive(Debug)]
pub(super) struct User {
    /// The part that kube sends: certificate, password, fixed token, `auth-provider`, impersonation.
    pub(super) auth_info: AuthInfo,
    /// The part that changes while the process runs.
    pub(super) source: Option<RenewableCredential>,
}

/// A credential that is read again while the process runs.
#[derive(Debug)]
pub(super) enum RenewableCredential {
    /// A file with a token, and the token to use while the file cannot be read.
    TokenFile(PathBuf, Option<SecretString>),
    /// A credential plugin.
    Plugin(Box<ExecConfig>),
}

/// The reason why a user cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UserError {
    #[error("more than one of token and username")]
    TwoMethods,
    #[error("both exec and auth-provider")]
    TwoProviders,
    #[error("as-uid, as-groups or as-user-extra without as")]
    NobodyToImpersonate,
    #[error("client-certificate without client-key")]
    NoKey,
    #[error("auth-provider {0} is not supported")]
    AuthProvider(String),
    #[error("exec without command")]
    NoCommand,
    #[error(
        "exec.apiVersion must be client.authentication.k8s.io/v1 or client.authentication.k8s.io/v1beta1"
    )]
    ExecVersion,
    #[error("a variable without name in exec.env")]
    VariableWithoutName,
}

impl User {
    /// Picks the credential that applies.
    pub(super) fn new(mut auth_info: AuthInfo) -> Result<Self, UserError> {
        validate(&auth_info)?;
        let has_password = auth_info.username.is_some() || auth_info.password.is_some();
        if has_password {
            // kube sends no password without a username, and the other way round.
            auth_info.username.get_or_insert_default();
            auth_info.password.get_or_insert_with(|| SecretString::from(""));
        }
        let token_file = auth_info.token_file.take();
        let has_token = auth_info.token.is_some() || token_file.is_some();
        if has_password || has_token {
            auth_info.auth_provider = None;
        }
        let exec = auth_info.exec.take();
        let is_identified = has_password || has_token || has_certificate(&auth_info);
        let source = match (token_file, exec) {
            (Some(file), _) if !has_password => {
                Some(RenewableCredential::TokenFile(file.into(), auth_info.token.take()))
            }
            (_, Some(exec)) if !is_identified => Some(RenewableCredential::Plugin(Box::new(exec))),
            _ => None,
        };
        Ok(Self { auth_info, source })
    }
}

fn has_certificate(user: &AuthInfo) -> bool {
    user.client_certificate.is_some() || user.client_certificate_data.is_some()
}

fn validate(user: &AuthInfo) -> Result<(), UserError> {
    let has_password = user.username.is_some() || user.password.is_some();
    let impersonates_more = user.impersonate_uid.is_some()
        || user.impersonate_groups.as_ref().is_some_and(|it| !it.is_empty())
        || user.impersonate_user_extra.as_ref().is_some_and(|it| !it.is_empty());
    if user.token.is_some() && has_password {
        return Err(UserError::TwoMethods);
    }
    if user.exec.is_some() && user.auth_provider.is_some() {
        return Err(UserError::TwoProviders);
    }
    if impersonates_more && user.impersonate.is_none() {
        return Err(UserError::NobodyToImpersonate);
    }
    if has_certificate(user) && user.client_key.is_none() && user.client_key_data.is_none() {
        return Err(UserError::NoKey);
    }
    match &user.auth_provider {
        Some(provider) if !["oidc", "gcp"].contains(&&*provider.name) => {
            Err(UserError::AuthProvider(provider.name.clone()))
        }
        _ => user.exec.as_ref().map_or(Ok(()), validate_exec),
    }
}

fn validate_exec(exec: &ExecConfig) -> Result<(), UserError> {
    let versions = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];
    let mut variables = exec.env.iter().flatten();
    if exec.command.is_none() {
        Err(UserError::NoCommand)
    } else if !exec.api_version.as_deref().is_some_and(|version| versions.contains(&version)) {
        Err(UserError::ExecVersion)
    } else if variables.any(|it| it.get("name").is_none_or(String::is_empty)) {
        Err(UserError::VariableWithoutName)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::{Value, json};

    use super::*;

    fn user(value: Value) -> Result<User, UserError> {
        User::new(serde_json::from_value(value).expect("a user"))
    }

    fn exec() -> Value {
        json!({"apiVersion": "client.authentication.k8s.io/v1", "command": "plugin"})
    }

    /// A user with a plugin, with these settings changed.
    fn plugin(change: Value) -> Value {
        let mut exec = exec();
        exec.as_object_mut().expect("a map").extend(change.as_object().expect("a map").clone());
        json!({ "exec": exec })
    }

    #[test]
    fn token_file_precedes_token_and_plugin() {
        let it = user(json!({"token": "t", "tokenFile": "/f", "exec": exec()})).expect("valid");
        let Some(RenewableCredential::TokenFile(file, fallback)) = it.source else { panic!("{it:?}") };
        assert_eq!(file, PathBuf::from("/f"));
        assert_eq!(fallback.as_ref().map(ExposeSecret::expose_secret), Some("t"));
        assert!(it.auth_info.token.is_none() && it.auth_info.token_file.is_none());
    }

    #[test]
    fn plugin_runs_only_for_a_user_without_credential() {
        let others = [
            json!({"token": "t"}),
            json!({"username": "u"}),
            json!({"password": "p"}),
            json!({"client-certificate": "/c", "client-key": "/k"}),
            json!({"client-certificate-data": "Yw==", "client-key-data": "aw=="}),
        ];
        for mut other in others {
            other["exec"] = exec();
            let it = user(other.clone()).expect("valid");
            assert!(it.source.is_none() && it.auth_info.exec.is_none(), "{other}");
        }
        let it = user(json!({"exec": exec(), "as": "somebody"})).expect("valid");
        assert!(matches!(it.source, Some(RenewableCredential::Plugin(_))), "{it:?}");
        assert!(it.auth_info.exec.is_none(), "kube would run the plugin for itself");
    }

    #[test]
    fn token_or_password_precedes_the_auth_provider() {
        let provider = json!({"name": "oidc", "config": {"id-token": "t"}});
        for (other, is_kept) in
            [(json!({}), true), (json!({"token": "t"}), false), (json!({"username": "u"}), false)]
        {
            let mut value = other.clone();
            value["auth-provider"] = provider.clone();
            let it = user(value).expect("valid");
            assert_eq!(it.auth_info.auth_provider.is_some(), is_kept, "{other}");
        }
    }

    #[test]
    fn password_and_username_may_be_alone() {
        let it = user(json!({"username": "u"})).expect("valid").auth_info;
        assert_eq!(it.password.as_ref().map(ExposeSecret::expose_secret), Some(""));
        let it = user(json!({"password": "p"})).expect("valid").auth_info;
        assert_eq!(it.username.as_deref(), Some(""));
    }

    #[test]
    fn user_that_kubectl_refuses_is_refused() {
        for (value, error) in [
            (json!({"token": "t", "username": "u"}), UserError::TwoMethods),
            (json!({"exec": exec(), "auth-provider": {"name": "oidc"}}), UserError::TwoProviders),
            (json!({"as-uid": "1"}), UserError::NobodyToImpersonate),
            (json!({"as-groups": ["g"]}), UserError::NobodyToImpersonate),
            (json!({"as-user-extra": {"k": ["v"]}}), UserError::NobodyToImpersonate),
            (json!({"client-certificate": "/c"}), UserError::NoKey),
            (json!({"auth-provider": {"name": "azure"}}), UserError::AuthProvider("azure".to_owned())),
            (plugin(json!({"command": null})), UserError::NoCommand),
            (plugin(json!({"apiVersion": null})), UserError::ExecVersion),
            (plugin(json!({"apiVersion": "client.authentication.k8s.io/v1alpha1"})), UserError::ExecVersion),
            (plugin(json!({"env": [{"value": "v"}]})), UserError::VariableWithoutName),
        ] {
            assert_eq!(user(value.clone()).expect_err("refused"), error, "{value}");
        }
        assert!(user(json!({"as-groups": [], "as-user-extra": {}})).is_ok());
    }
}

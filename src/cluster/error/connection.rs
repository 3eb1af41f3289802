//! The error of a request without an answer that could be read.
//!
//! In goes the client's error, out comes a message. Only errors of the operating system, of TLS and of HTTP are
//! shown with their own words: a parser quotes the answer, and the command of an auth-provider its output.

use std::error::Error as StdError;
use std::io;

use kube::client::AuthError;

use super::{Detail, Error};
use crate::error_chain::causes;

impl From<&kube::Error> for Error {
    fn from(error: &kube::Error) -> Self {
        if let kube::Error::Api(status) = error {
            return Self::from(status.as_ref());
        }
        // regcred's own layer under the client may have answered in place of the API server.
        causes(error)
            .find_map(|cause| cause.downcast_ref::<Self>().cloned())
            .unwrap_or_else(|| Self::Unavailable(Detail::from_own_words(connection_failure(error))))
    }
}

/// Returns the message of a failed connection or of credentials that cannot be used; it quotes no answer and
/// no output of a command.
#[must_use]
pub fn connection_failure(error: &kube::Error) -> String {
    describe(error)
}

/// Returns the same for any error of a response, such as one that broke off.
pub(super) fn describe(error: &(dyn StdError + 'static)) -> String {
    if let Some(error) = causes(error).find_map(|cause| cause.downcast_ref::<AuthError>()) {
        return credential_failure(error);
    }
    if let Some(error) = causes(error).find_map(|cause| cause.downcast_ref::<serde_json::Error>()) {
        return format!(
            "the answer cannot be read ({}, line {}, column {})",
            category(error),
            error.line(),
            error.column()
        );
    }
    match causes(error).last() {
        Some(innermost) if has_own_words(innermost) => innermost.to_string(),
        _ => "the request got no answer that can be read".to_owned(),
    }
}

/// Returns true for an error that describes a connection and never its contents.
fn has_own_words(error: &(dyn StdError + 'static)) -> bool {
    error.is::<io::Error>()
        || error.is::<rustls::Error>()
        || error.is::<hyper::Error>()
        || error.is::<http::Error>()
}

fn category(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Io => "the connection broke",
        serde_json::error::Category::Syntax => "no JSON",
        serde_json::error::Category::Data => "another type of object",
        serde_json::error::Category::Eof => "cut off",
    }
}

fn credential_failure(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { cmd: _, out } => {
            format!("the command of the auth-provider failed with {}", out.status)
        }
        AuthError::Oidc(_) => {
            "the ID token of the auth-provider oidc is missing or expired, and cannot be renewed".to_owned()
        }
        AuthError::ReadTokenFile(error, path) => {
            format!("cannot read the token file {}: {error}", path.display())
        }
        _ => "the credentials of the kubeconfig cannot be used".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::{ExitStatus, Output};

    use super::*;

    fn message(error: &kube::Error) -> String {
        Error::from(error).to_string()
    }

    #[test]
    fn own_error_below_the_client_is_kept() {
        let error = kube::Error::Service(Error::NotLeading.into());
        assert_eq!(Error::from(&error), Error::NotLeading);
    }

    #[test]
    fn broken_connection_shows_its_innermost_cause() {
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let error = kube::Error::Service(io::Error::other(refused).into());
        assert_eq!(message(&error), "the API server is unavailable: connection refused");
        let error = kube::Error::Service("hunter2".into());
        assert_eq!(
            message(&error),
            "the API server is unavailable: the request got no answer that can be read"
        );
    }

    #[test]
    fn unreadable_answer_is_not_quoted() {
        let error = serde_json::from_str::<Vec<u8>>(r#"["hunter2"]"#).expect_err("no number");
        assert!(error.to_string().contains("hunter2"), "the parser quotes the answer: {error}");
        let message = message(&kube::Error::SerdeError(error));
        assert_eq!(
            message,
            "the API server is unavailable: the answer cannot be read (another type of object, line 1, column 10)"
        );
    }

    #[test]
    fn output_of_a_command_is_not_quoted() {
        let out = Output {
            status: ExitStatus::from_raw(256),
            stdout: b"hunter2".into(),
            stderr: b"hunter2".into(),
        };
        let error = AuthError::AuthExecRun { cmd: "hunter2".to_owned(), out: Box::new(out) };
        assert_eq!(
            message(&kube::Error::Service(error.into())),
            "the API server is unavailable: the command of the auth-provider failed with exit status: 1"
        );
        let error = kube::Error::Auth(AuthError::AuthExec("hunter2".to_owned()));
        assert!(!message(&error).contains("hunter2"));
    }
}

//! Classifies errors of a Vault, without quoting a response.

use std::error::Error as StdError;

use rustify::errors::ClientError;

use super::bounded_client::ResponseTooLarge;
use super::hint::Hint;
use super::login_refusal::Login;
use super::redirect::RedirectRefused;
use crate::credential::dynamic_path::{DynamicPath, Method};
use crate::manifest::config::KvVersion;
use crate::provider::proxy::StoreProxy;
use crate::provider::{Denied, ErrorKind, SealedPart};

/// A failed request.
pub(super) enum RequestError {
    /// The Vault sent an error response.
    Status {
        /// The status.
        code: u16,
        /// The information in the body.
        hint: Option<Hint>,
    },
    /// The request failed without a complete response.
    Broken(ErrorKind),
}

impl RequestError {
    /// Converts an error of the client with this namespace; `certificate_hint` is the fix for an untrusted
    /// certificate, `proxy` the one between.
    pub(super) fn from_client_error(
        error: &ClientError,
        namespace: Option<&str>,
        certificate_hint: &str,
        proxy: Option<&StoreProxy>,
    ) -> Self {
        match error {
            ClientError::ServerResponseError { code, content } => {
                let hint = Hint::from_body(content.as_deref().unwrap_or_default());
                match hint.and_then(|hint| general_kind(hint, namespace)) {
                    Some(kind) => Self::Broken(kind),
                    None => Self::Status { code: *code, hint },
                }
            }
            ClientError::ResponseError { source } if source.is::<ResponseTooLarge>() => {
                Self::Broken(ErrorKind::Malformed(ResponseTooLarge.to_string()))
            }
            ClientError::RequestError { source, .. } | ClientError::ResponseError { source } => {
                Self::Broken(broken(source.as_ref(), certificate_hint, proxy))
            }
            // The other variants concern building a request or parsing a response; we parse our own.
            _ => Self::Broken(ErrorKind::Misconfigured(
                "no request can be built from `address` and the key".to_owned(),
            )),
        }
    }

    /// Classifies the error of a read.
    pub(super) fn read_kind(self, kv: KvVersion, mount: &str, path: &str, is_proven: bool) -> ErrorKind {
        self.kind_or(|code, hint| match (code, hint) {
            (404, Some(Hint::Deleted)) => ErrorKind::Deleted,
            (404, Some(Hint::IsVersioned)) => {
                ErrorKind::Misconfigured("the engine is KV version 2, `kvVersion` says 1".to_owned())
            }
            (404, Some(Hint::NoMount)) => {
                ErrorKind::Misconfigured(format!("no engine is mounted at {mount}; check `mount`"))
            }
            (404, _) => ErrorKind::NotFound,
            (403, hint) => denied(hint, "read", path, is_proven),
            (code, _) => ErrorKind::Misconfigured(format!(
                "status {code}; {}",
                unexpected_response(version_number(kv))
            )),
        })
    }

    /// Classifies the error of a request for a credential that an engine issues.
    pub(super) fn path_kind(
        self,
        DynamicPath { method, path }: DynamicPath<'_>,
        is_proven: bool,
    ) -> ErrorKind {
        let capability = match method {
            Method::Read => "read",
            Method::Write => "update",
        };
        self.kind_or(|code, hint| match (code, hint) {
            (404, Some(Hint::NoMount)) => {
                ErrorKind::Misconfigured(format!("no engine is mounted for the path {path}; check `path`"))
            }
            (404, _) => ErrorKind::NotFound,
            (403, hint) => denied(hint, capability, path, is_proven),
            (code, _) => ErrorKind::Misconfigured(format!(
                "the engine refuses a {} of {path} with status {code}; check `path` and `method`",
                method.name()
            )),
        })
    }

    /// Classifies the error of a request about a lease, at a path below `sys/`.
    pub(super) fn lease_kind(self, path: &str, is_proven: bool) -> ErrorKind {
        self.kind_or(|code, hint| match code {
            403 => denied(hint, "update", &format!("sys/{path}"), is_proven),
            code => ErrorKind::Misconfigured(format!("the Vault answers sys/{path} with status {code}")),
        })
    }

    /// Classifies the error of a login.
    pub(super) fn login_kind(self, login: Login<'_>) -> ErrorKind {
        self.kind_or(|code, hint| ErrorKind::Denied(Denied::Login(login.refusal(code, hint))))
    }

    /// Classifies the error of a request about the token itself.
    pub(super) fn token_kind(self) -> ErrorKind {
        self.kind_or(|_, _| dead_token())
    }

    /// Returns true if a Vault refused what the login was made with, which counts towards the lock of the role. The
    /// address of the client does not.
    pub(super) fn is_refused_login(&self) -> bool {
        let Self::Status { code, hint } = self else { return false };
        *code == 400 && !matches!(hint, Some(Hint::NotVault | Hint::OtherAddress))
    }

    /// Classifies the error of any request; `classify` handles the other statuses, all client errors.
    fn kind_or(self, classify: impl FnOnce(u16, Option<Hint>) -> ErrorKind) -> ErrorKind {
        match self {
            Self::Broken(kind) => kind,
            // A rate limit has a reason in the body.
            Self::Status { code: 429, hint: Some(Hint::NoReason) } => ErrorKind::Unavailable(
                "status 429; the server lags behind the active one of its cluster".to_owned(),
            ),
            Self::Status { code: 429, .. } => ErrorKind::Throttled,
            Self::Status { code: code @ (300..400 | 412 | 472 | 473 | 500..), .. } => {
                ErrorKind::Unavailable(format!("status {code}"))
            }
            Self::Status { hint: Some(Hint::NotVault), code } => {
                ErrorKind::Misconfigured(format!("status {code}, but not from a Vault; check `address`"))
            }
            Self::Status { code, hint } => classify(code, hint),
        }
    }
}

/// Classifies what a Vault says of itself or of the namespace, which means the same in any response.
fn general_kind(hint: Hint, namespace: Option<&str>) -> Option<ErrorKind> {
    let namespace = || namespace.unwrap_or("in `mount`").to_owned();
    Some(match hint {
        Hint::Sealed => ErrorKind::Sealed(SealedPart::Vault),
        Hint::SealedNamespace => ErrorKind::Sealed(SealedPart::Namespace(namespace())),
        Hint::LockedNamespace => ErrorKind::Sealed(SealedPart::LockedNamespace(namespace())),
        Hint::NoNamespace => ErrorKind::Misconfigured(format!(
            "the namespace {} is not found in the Vault. Correct `namespace`, or create it",
            namespace()
        )),
        Hint::Upgrading => ErrorKind::Unavailable("the engine is being upgraded to version 2".to_owned()),
        _ => return None,
    })
}

/// Classifies a refusal for lack of a capability on a path. An unproven token may itself be the cause.
fn denied(hint: Option<Hint>, capability: &str, path: &str, is_proven: bool) -> ErrorKind {
    let lack = format!("no policy grants `{capability}` on {path}");
    match hint {
        Some(Hint::DeadToken) => dead_token(),
        _ if is_proven => ErrorKind::Denied(Denied::Key(lack)),
        _ => ErrorKind::Denied(Denied::Key(format!("the token is expired or revoked, or {lack}"))),
    }
}

fn dead_token() -> ErrorKind {
    ErrorKind::Denied(Denied::Login("the token is expired, revoked or not renewable".to_owned()))
}

/// The message about a response that is not one of the KV engine.
pub(super) fn unexpected_response(version: u8) -> String {
    format!(
        "the response is not one of a KV engine of version {version}; \
         check `address`, `mount` and `kvVersion`"
    )
}

pub(super) fn version_number(kv: KvVersion) -> u8 {
    match kv {
        KvVersion::V1 => 1,
        KvVersion::V2 => 2,
    }
}

/// Returns the reason why a redirect was not followed; the error of the client shows its URL.
fn refused_redirect(error: &reqwest::Error) -> String {
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    let refused = causes.find_map(|cause| cause.downcast_ref::<RedirectRefused>());
    refused.map_or_else(|| "the Vault redirects to no URL".to_owned(), ToString::to_string)
}

fn broken(error: &(dyn StdError + 'static), certificate_hint: &str, proxy: Option<&StoreProxy>) -> ErrorKind {
    match error.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => ErrorKind::TimedOut,
        Some(error) if error.is_redirect() => ErrorKind::Misconfigured(refused_redirect(error)),
        Some(error) if error.is_body() || error.is_decode() => {
            ErrorKind::Unavailable("the connection closed before the end of the response".to_owned())
        }
        _ => ErrorKind::from_connection_error(error, certificate_hint, proxy),
    }
}

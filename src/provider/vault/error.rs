//! What an answer of a Vault means, without a word of it.

use std::error::Error as StdError;

use rustify::errors::ClientError;
use serde::Deserialize;

use crate::manifest::config::KvVersion;
use crate::provider::failure::Failure;

/// Why a request brought nothing to use.
pub(super) enum Refusal {
    /// The Vault answered with another status than success.
    Status {
        /// The status.
        code: u16,
        /// What the body adds to it.
        hint: Option<Hint>,
    },
    /// The request or its answer went wrong on the way.
    Broken(Failure),
}

/// What is taken from the body of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// The version is deleted or destroyed.
    Deleted,
    /// The Vault is sealed or not initialised.
    Sealed,
    /// A path of KV v1 at an engine of version 2.
    IsVersioned,
    /// Nothing is mounted at the path.
    NoMount,
    /// The body is not from a Vault.
    NotVault,
}

/// The body of an error.
#[derive(Deserialize)]
struct Body {
    errors: Option<Vec<String>>,
    warnings: Option<Vec<String>>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    metadata: Option<serde::de::IgnoredAny>,
}

impl Refusal {
    /// Reads an error of the client; `mend` says what to do about a certificate.
    pub(super) fn of(error: &ClientError, mend: &str) -> Self {
        match error {
            ClientError::ServerResponseError { code, content } => {
                Self::Status { code: *code, hint: Hint::of(content.as_deref().unwrap_or_default()) }
            }
            ClientError::RequestError { source, .. } | ClientError::ResponseError { source } => {
                Self::Broken(broken(source.as_ref(), mend))
            }
            // The others are about building a request or parsing an answer, and we parse our own.
            _ => Self::Broken(Failure::Misconfigured(
                "no request can be made of `address` and the key".to_owned(),
            )),
        }
    }

    /// What the refusal of any request means; a status of the client's own making is the caller's to
    /// explain, by `denied`.
    fn or_denied(self, denied: impl FnOnce(u16, Option<Hint>) -> Failure) -> Failure {
        match self {
            Self::Broken(failure) => failure,
            Self::Status { hint: Some(Hint::Sealed), .. } => Failure::Sealed,
            Self::Status { code: 429, .. } => Failure::Throttled,
            Self::Status { code: code @ (300..400 | 412 | 472 | 473 | 500..), .. } => {
                Failure::Unavailable(format!("status {code}"))
            }
            Self::Status { hint: Some(Hint::NotVault), code } => {
                Failure::Misconfigured(format!("status {code}, but not from a Vault; check `address`"))
            }
            Self::Status { code, hint } => denied(code, hint),
        }
    }
}

impl Hint {
    fn of(body: &str) -> Option<Self> {
        let Ok(body) = serde_json::from_str::<Body>(body) else {
            return Some(Self::NotVault);
        };
        let texts = || body.errors.iter().chain(&body.warnings).flatten();
        let says = |words: &str| texts().any(|text| text.contains(words));
        if body.data.as_ref().is_some_and(|data| data.metadata.is_some()) {
            Some(Self::Deleted)
        } else if says("is sealed") || says("not yet initialized") {
            Some(Self::Sealed)
        } else if says("versioned K/V secrets engine") {
            Some(Self::IsVersioned)
        } else if says("no handler for route") {
            Some(Self::NoMount)
        } else if body.errors.is_none() {
            Some(Self::NotVault)
        } else {
            None
        }
    }
}

/// What the refusal of a read means. A token that is not proven may itself be what is wrong.
pub(super) fn of_read(refusal: Refusal, kv: KvVersion, mount: &str, path: &str, is_proven: bool) -> Failure {
    refusal.or_denied(|code, hint| match (code, hint) {
        (404, Some(Hint::Deleted)) => Failure::Deleted,
        (404, Some(Hint::IsVersioned)) => {
            Failure::Misconfigured("the engine is KV version 2, `kvVersion` says 1".to_owned())
        }
        (404, Some(Hint::NoMount)) => {
            Failure::Misconfigured(format!("no engine is mounted at {mount}; check `mount`"))
        }
        (404, _) => Failure::NotFound,
        (403, _) if is_proven => Failure::Denied(format!("no policy grants `read` on {path}")),
        (403, _) => {
            Failure::Denied(format!("the token is expired or revoked, or no policy grants `read` on {path}"))
        }
        (code, _) => Failure::Misconfigured(format!("status {code}; {}", no_kv(number(kv)))),
    })
}

/// What the refusal of a login means.
pub(super) fn of_login(refusal: Refusal, mount: &str, who: &str) -> Failure {
    refusal.or_denied(|_, hint| {
        Failure::Denied(match hint {
            Some(Hint::NoMount) => format!("no auth method is mounted at auth/{mount}"),
            _ => format!("the login at auth/{mount} was refused: check {who}"),
        })
    })
}

/// What the refusal of a request about the token itself means.
pub(super) fn of_token(refusal: Refusal) -> Failure {
    refusal.or_denied(|_, _| Failure::Denied("the token is expired, revoked or not renewable".to_owned()))
}

/// What to check where an answer is not one of the KV engine.
pub(super) fn no_kv(version: u8) -> String {
    format!(
        "the answer is not one of a KV engine of version {version}; check `address`, `mount` and `kvVersion`"
    )
}

pub(super) fn number(kv: KvVersion) -> u8 {
    match kv {
        KvVersion::V1 => 1,
        KvVersion::V2 => 2,
    }
}

fn broken(error: &(dyn StdError + 'static), mend: &str) -> Failure {
    match error.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => Failure::TimedOut,
        Some(error) if error.is_body() || error.is_decode() => {
            Failure::Unavailable("the answer broke off".to_owned())
        }
        _ => Failure::of_connection(error, mend),
    }
}

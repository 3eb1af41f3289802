//! The error of a read: the key, the kind of failure, and the request behind it.
//!
//! A provider returns an [`ErrorKind`]; one failure may concern many keys, as a refused login does, and
//! the caller attaches each key. No text here quotes the response of a store.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use url::Url;

use super::proxy::StoreProxy;
use crate::credential::StoreKey;
use crate::error_chain::causes;
use crate::manifest::status::reason::FetchedReason;

/// A failed read of one key.
#[derive(Debug)]
pub struct Error {
    /// The key that was read.
    pub at: StoreKey,
    /// The decision that the failure asks of the caller.
    pub kind: ErrorKind,
    /// The request that failed; `None` where none was made.
    request: Option<Box<RequestContext>>,
}

/// The ways a read fails. Each variant asks for a different action by the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, strum::VariantNames)]
pub enum ErrorKind {
    /// The store has no such key.
    #[error("not found")]
    NotFound,
    /// The key exists, but the version to read was deleted, destroyed or is scheduled for deletion.
    #[error("the current version is deleted")]
    Deleted,
    /// The store refused access.
    #[error("access denied: {0}")]
    Denied(Denied),
    /// The `keys` of the store do not admit this key; no request was made.
    #[error("not allowed by the store's `keys`")]
    NotAllowed,
    /// The key, or a setting of the store, can never work: the key or the setting, and the fix.
    #[error("{0}")]
    Misconfigured(String),
    /// The Vault does not answer before a person unseals or unlocks it.
    #[error("{0}")]
    Sealed(SealedPart),
    /// The store asked for fewer requests.
    #[error("the store is throttling requests")]
    Throttled,
    /// The value has none of the known shapes: the field and the problem, never its content.
    #[error("{0}")]
    Malformed(String),
    /// No response to any attempt, each of at most [`REQUEST_TIMEOUT`](super::REQUEST_TIMEOUT).
    #[error("no answer in time")]
    TimedOut,
    /// The store could not be reached or reported an outage: the cause, never a body.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store answers an older version than before, and the value of the later one is not in memory: both
    /// versions.
    #[error("{0}")]
    OlderVersion(String),
    /// The credential expired before the store issued another one: the time, and the failure of the last read.
    #[error("{0}")]
    Expired(String),
}

/// The range of a denial, with its reason and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The login or the credentials, and with them every key of the store.
    #[error("{0}")]
    Login(String),
    /// One key or its version: the missing permission.
    #[error("{0}")]
    Key(String),
}

/// The part of a Vault that is sealed or locked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedPart {
    /// The whole Vault.
    #[error("the Vault is sealed")]
    Vault,
    /// The namespace of this name.
    #[error("the namespace {0} is sealed")]
    Namespace(String),
    /// The namespace of this name, which an administrator has locked.
    #[error("the namespace {0} is locked by an administrator. Unlock it with `namespace unlock`")]
    LockedNamespace(String),
}

/// The request behind an error: the store, the location of the key, and the time and attempts spent.
#[derive(Clone, Debug)]
pub(super) struct RequestContext {
    /// The store, as [`store_at`] describes one.
    pub(super) store: String,
    /// The location of the key in the store, such as `in eu-west-1`.
    pub(super) location: String,
    /// Time spent until the failure or the timeout.
    pub(super) waited: Duration,
    /// Number of attempts, where known.
    pub(super) attempts: Option<usize>,
}

impl Error {
    /// The reason of a condition, a report or a metric.
    #[must_use]
    pub fn reason(&self) -> FetchedReason {
        self.kind.reason()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.at)?;
        match (&self.kind, &self.request) {
            (ErrorKind::NotFound, Some(request)) => write!(f, "not found {}", request.location),
            (ErrorKind::TimedOut, Some(request)) => {
                write!(f, "no answer from {} within {}", request.store, request.spent())
            }
            (ErrorKind::Unavailable(cause), Some(request)) => {
                write!(f, "{} is unavailable: {cause}", request.store)
            }
            (kind, _) => kind.fmt(f),
        }
    }
}

impl StdError for Error {}

impl ErrorKind {
    /// The error for one key, of which no request was made.
    #[must_use]
    pub fn at(self, at: StoreKey) -> Error {
        Error { at, kind: self, request: None }
    }

    /// The error for one key after a request.
    pub(super) fn in_request(self, at: StoreKey, request: RequestContext) -> Error {
        Error { at, kind: self, request: Some(Box::new(request)) }
    }

    /// The reason of a condition, a report or a metric.
    #[must_use]
    pub fn reason(&self) -> FetchedReason {
        match self {
            Self::NotFound => FetchedReason::NotFound,
            Self::Deleted => FetchedReason::Deleted,
            Self::Denied(_) => FetchedReason::Denied,
            Self::NotAllowed => FetchedReason::NotAllowed,
            Self::Misconfigured(_) => FetchedReason::Misconfigured,
            Self::Sealed(_) => FetchedReason::Sealed,
            Self::Throttled => FetchedReason::Throttled,
            Self::Malformed(_) => FetchedReason::Malformed,
            Self::TimedOut => FetchedReason::TimedOut,
            Self::Unavailable(_) => FetchedReason::Unavailable,
            Self::OlderVersion(_) => FetchedReason::OlderVersion,
            Self::Expired(_) => FetchedReason::Expired,
        }
    }

    /// Returns true if the same request may succeed later without a change by a person.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled | Self::TimedOut | Self::Unavailable(_) => true,
            Self::NotFound
            | Self::Deleted
            | Self::Denied(_)
            | Self::NotAllowed
            | Self::Misconfigured(_)
            | Self::Sealed(_)
            | Self::OlderVersion(_)
            | Self::Expired(_)
            | Self::Malformed(_) => false,
        }
    }

    /// Classifies a connection that failed before any response. The cause is the innermost one, from the
    /// resolver, the kernel or the TLS library, which no server can influence.
    ///
    /// `certificate_hint` is the fix for a certificate that is not trusted, `proxy` the one that the connection leads
    /// through.
    pub(super) fn from_connection_error(
        error: &(dyn StdError + 'static),
        certificate_hint: &str,
        proxy: Option<&StoreProxy>,
    ) -> Self {
        let mut io_errors = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>());
        if io_errors.any(|cause| cause.kind() == io::ErrorKind::TimedOut) {
            return Self::TimedOut;
        }
        let cause =
            proxy.and_then(|proxy| proxy.describe(error, innermost)).unwrap_or_else(|| innermost(error));
        Self::Unavailable(match causes(error).find_map(tls_error) {
            Some(rustls::Error::InvalidCertificate(_)) => format!("{cause}; {certificate_hint}"),
            // The response was no TLS record: an HTTP server reports the mismatch in plain text.
            Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
                "the port does not speak TLS".to_owned()
            }
            _ => cause,
        })
    }
}

impl RequestContext {
    fn spent(&self) -> String {
        let waited = match self.waited.as_secs_f64() {
            waited if waited < 1.0 => format!("{} ms", self.waited.as_millis()),
            waited => format!("{waited:.0} s"),
        };
        match self.attempts {
            None => waited,
            Some(1) => format!("{waited}, 1 attempt"),
            Some(attempts) => format!("{waited}, {attempts} attempts"),
        }
    }
}

/// Describes a store by the scheme, host and port of its address: the rest may be secret.
pub(super) fn store_at(address: &Url) -> String {
    let host = address.host_str().unwrap_or_default();
    match address.port_or_known_default() {
        Some(port) => format!("the store at {}://{host}:{port}", address.scheme()),
        None => format!("the store at {}://{host}", address.scheme()),
    }
}

/// Describes the innermost cause of an error.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map_or_else(String::new, describe)
}

/// Describes a cause in the style of our messages: without the OS error number and the initial capital.
fn describe(error: &(dyn StdError + 'static)) -> String {
    let text = error.to_string();
    match error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
        Some(number) => {
            let text = text.trim_end_matches(&format!(" (os error {number})"));
            let mut letters = text.chars();
            letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
        }
        None => text,
    }
}

/// The error of the TLS library, also inside an I/O error, which does not expose it as its source.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => tls_error(inner),
        None => error.downcast_ref(),
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantNames;

    use super::*;

    fn request(millis: u64, attempts: Option<usize>) -> RequestContext {
        let waited = Duration::from_millis(millis);
        RequestContext { store: "w".to_owned(), location: "in r".to_owned(), waited, attempts }
    }

    #[test]
    fn request_context_tells_time_and_attempts() {
        assert_eq!(request(29_999, Some(3)).spent(), "30 s, 3 attempts");
        assert_eq!(request(10_003, Some(1)).spent(), "10 s, 1 attempt");
        assert_eq!(request(52, None).spent(), "52 ms");
    }

    #[test]
    fn store_address_is_shown_without_secrets() {
        for (address, expect) in [
            ("http://127.0.0.1:8200", "http://127.0.0.1:8200"),
            ("https://vault.vault", "https://vault.vault:443"),
            ("https://robot:hunter2@[::1]:8200/hunter2?token=hunter2", "https://[::1]:8200"),
        ] {
            assert_eq!(store_at(&address.parse().unwrap()), format!("the store at {expect}"));
        }
    }

    #[test]
    fn every_kind_has_its_reason_and_message() {
        let cases = [
            (ErrorKind::NotFound, "not found in r"),
            (ErrorKind::Deleted, "the current version is deleted"),
            (ErrorKind::Denied(Denied::Key("x".into())), "access denied: x"),
            (ErrorKind::NotAllowed, "not allowed by the store's `keys`"),
            (ErrorKind::Misconfigured("x".into()), "x"),
            (ErrorKind::Sealed(SealedPart::Vault), "the Vault is sealed"),
            (ErrorKind::Throttled, "the store is throttling requests"),
            (ErrorKind::Malformed("x".into()), "x"),
            (ErrorKind::TimedOut, "no answer from w within 30 s, 3 attempts"),
            (ErrorKind::Unavailable("x".into()), "w is unavailable: x"),
            (ErrorKind::OlderVersion("x".into()), "x"),
            (ErrorKind::Expired("x".into()), "x"),
        ];
        assert!(
            cases.iter().map(|(kind, _)| <&str>::from(kind.reason())).eq(ErrorKind::VARIANTS.iter().copied())
        );
        for (kind, message) in cases {
            let at = StoreKey { store: "s".into(), key: "k".into() };
            let error = kind.clone().in_request(at, request(30_000, Some(3)));
            assert_eq!(error.reason(), kind.reason());
            assert_eq!(error.to_string(), format!("store s, key k: {message}"));
        }
    }

    #[test]
    fn broken_connection_reports_its_innermost_cause() {
        let refused = io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
        assert_eq!(
            ErrorKind::from_connection_error(&refused, "hint", None),
            ErrorKind::Unavailable("connection refused".to_owned())
        );
        let late = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(ErrorKind::from_connection_error(&late, "hint", None), ErrorKind::TimedOut);
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(
            ErrorKind::from_connection_error(
                &io::Error::new(io::ErrorKind::InvalidData, plain),
                "hint",
                None
            ),
            ErrorKind::Unavailable("the port does not speak TLS".to_owned())
        );
        let untrusted = io::Error::new(
            io::ErrorKind::InvalidData,
            rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer),
        );
        let untrusted = io::Error::other(untrusted);
        assert_eq!(
            ErrorKind::from_connection_error(&untrusted, "set `caFile`", None),
            ErrorKind::Unavailable("invalid peer certificate: UnknownIssuer; set `caFile`".to_owned())
        );
    }
}

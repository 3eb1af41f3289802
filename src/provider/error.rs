//! Why a read failed, before anyone has said which key it was for.
//!
//! One failure may concern many keys, a login that was refused for one; [`Failure::at`] makes an
//! [`Error`] of it for each. Never holds a word of what a store answered.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use url::Url;

use super::Error;
use crate::credential::StoreKey;

/// An [`Error`] without its [`StoreKey`].
#[derive(Clone, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub(crate) enum Failure {
    NotFound,
    Deleted,
    Denied(String),
    Misconfigured(String),
    Sealed,
    Throttled,
    Malformed(String),
    TimedOut,
    Unavailable(String),
}

/// What a store was asked and with how much patience, which the error of a failure tells.
#[derive(Clone, Debug)]
pub(super) struct Asked<'a> {
    /// The store, as [`store_at`] names one.
    pub(super) whom: &'a str,
    /// Where the key was looked for, such as `in eu-west-1`.
    pub(super) looked: String,
    /// How long the answer took that failed, or that never came.
    pub(super) waited: Duration,
    /// How often it was tried, where that is known.
    pub(super) attempts: Option<usize>,
}

impl Asked<'_> {
    fn patience(&self) -> String {
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

/// A store by its address, of which nothing is told but scheme, host and port: the rest may be secret.
pub(super) fn store_at(address: &Url) -> String {
    let host = address.host_str().unwrap_or_default();
    match address.port_or_known_default() {
        Some(port) => format!("the store at {}://{host}:{port}", address.scheme()),
        None => format!("the store at {}://{host}", address.scheme()),
    }
}

impl Failure {
    /// The variant's name.
    pub(crate) fn reason(&self) -> &'static str {
        self.into()
    }

    /// The error this failure is at one place.
    pub(super) fn at(self, at: StoreKey, asked: &Asked<'_>) -> Error {
        let whom = asked.whom.to_owned();
        match self {
            Self::NotFound => Error::NotFound { at, looked: asked.looked.clone() },
            Self::Deleted => Error::Deleted { at },
            Self::Denied(what) => Error::Denied { at, what },
            Self::Misconfigured(what) => Error::Misconfigured { at, what },
            Self::Sealed => Error::Sealed { at },
            Self::Throttled => Error::Throttled { at },
            Self::Malformed(what) => Error::Malformed { at, what },
            Self::TimedOut => Error::TimedOut { at, whom, patience: asked.patience() },
            Self::Unavailable(what) => Error::Unavailable { at, whom, what },
        }
    }

    /// Whether the same request may succeed without anyone mending anything.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled | Self::TimedOut | Self::Unavailable(_) => true,
            Self::NotFound
            | Self::Deleted
            | Self::Denied(_)
            | Self::Misconfigured(_)
            | Self::Sealed
            | Self::Malformed(_) => false,
        }
    }

    /// What a connection that never came to an answer failed of: the innermost cause, which the
    /// resolver, the kernel or the TLS library gave and no server had a hand in.
    ///
    /// `mend` says what to do about a certificate that is not trusted.
    pub(super) fn of_connection(error: &(dyn StdError + 'static), mend: &str) -> Self {
        let chain = || std::iter::successors(Some(error), |&error| error.source());
        let io_errors = || chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
        if io_errors().any(|cause| cause.kind() == io::ErrorKind::TimedOut) {
            return Self::TimedOut;
        }
        let reason = chain().last().map_or_else(String::new, told);
        Self::Unavailable(match chain().find_map(of_tls) {
            Some(rustls::Error::InvalidCertificate(_)) => format!("{reason}; {mend}"),
            // What came is no TLS at all: an HTTP server says in plain text that it is none.
            Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
                "it does not speak TLS there".to_owned()
            }
            _ => reason,
        })
    }
}

/// The innermost cause in our style: what the system said, without its number and its capital.
fn told(error: &(dyn StdError + 'static)) -> String {
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

/// The error of the TLS library, or in an I/O error around it, which hides it as its source.
fn of_tls<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => of_tls(inner),
        None => error.downcast_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(waited: Duration, attempts: Option<usize>) -> Asked<'static> {
        Asked { whom: "w", looked: "in r".to_owned(), waited, attempts }
    }

    #[test]
    fn the_patience_that_was_had_is_told() {
        let check = |millis: u64, attempts: Option<usize>, expect: &str| {
            assert_eq!(asked(Duration::from_millis(millis), attempts).patience(), expect);
        };
        check(29_999, Some(3), "30 s, 3 attempts");
        check(10_003, Some(1), "10 s, 1 attempt");
        check(52, None, "52 ms");
    }

    #[test]
    fn an_address_is_told_without_its_secrets() {
        let check = |address: &str, expect: &str| {
            assert_eq!(store_at(&address.parse().unwrap()), format!("the store at {expect}"));
        };
        check("http://127.0.0.1:8200", "http://127.0.0.1:8200");
        check("https://vault.vault", "https://vault.vault:443");
        check("https://robot:hunter2@[::1]:8200/hunter2?token=hunter2", "https://[::1]:8200");
    }

    #[test]
    fn a_failure_keeps_its_kind_at_a_place() {
        let place = || StoreKey { store: "s".into(), key: "k".into() };
        let cases = [
            (Failure::NotFound, "NotFound", "store s, key k: not found in r"),
            (Failure::Deleted, "Deleted", "store s, key k: the current version is deleted"),
            (Failure::Denied("x".into()), "Denied", "store s, key k: access denied: x"),
            (Failure::Misconfigured("x".into()), "Misconfigured", "store s, key k: x"),
            (Failure::Sealed, "Sealed", "store s, key k: the Vault is sealed"),
            (Failure::Throttled, "Throttled", "store s, key k: the store is throttling requests"),
            (Failure::Malformed("x".into()), "Malformed", "store s, key k: malformed: x"),
            (Failure::TimedOut, "TimedOut", "store s, key k: no answer from w within 30 s, 3 attempts"),
            (Failure::Unavailable("x".into()), "Unavailable", "store s, key k: w is unavailable: x"),
        ];
        for (failure, reason, message) in cases {
            assert_eq!(failure.reason(), reason);
            let error = failure.at(place(), &asked(Duration::from_secs(30), Some(3)));
            assert_eq!(error.reason(), reason);
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn the_innermost_cause_of_a_broken_connection_is_the_reason() {
        let refused = io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error());
        assert_eq!(
            Failure::of_connection(&refused, "mend"),
            Failure::Unavailable("connection refused".to_owned())
        );
        let late = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(Failure::of_connection(&late, "mend"), Failure::TimedOut);
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(
            Failure::of_connection(&io::Error::new(io::ErrorKind::InvalidData, plain), "mend"),
            Failure::Unavailable("it does not speak TLS there".to_owned())
        );
        let untrusted = io::Error::new(
            io::ErrorKind::InvalidData,
            rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer),
        );
        let untrusted = io::Error::other(untrusted);
        assert_eq!(
            Failure::of_connection(&untrusted, "set `caFile`"),
            Failure::Unavailable("invalid peer certificate: UnknownIssuer; set `caFile`".to_owned())
        );
    }
}

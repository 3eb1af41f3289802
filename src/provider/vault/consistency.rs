//! Reads after writes in a cluster whose standbys answer reads themselves, as those of OpenBao do.
//!
//! In go requests and responses, out come the same with two headers. A server that counts its writes sends the
//! count as `X-Vault-Index`; a standby that is behind the greatest one seen hands a read over to the active server
//! if asked. Vault refuses to be asked, so only a server that sent a count is, and none after a refusal.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::HeaderMap;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use rustify::client::Client;
use rustify::errors::ClientError;
use serde::Deserialize;

use super::bounded_client::BoundedClient;
use super::hint::Hint;

/// The count of writes that a server has applied, in requests the least it must have.
const INDEX: HeaderName = HeaderName::from_static("x-vault-index");

/// The request of what a server does that is behind the index.
const INCONSISTENT: HeaderName = HeaderName::from_static("x-vault-inconsistent");

/// Hands the request over to the active server.
const FORWARD: HeaderValue = HeaderValue::from_static("forward-active-node");

/// The longest header that is kept; one has about 90 bytes.
const MAX_INDEX: usize = 1024;

/// The consistency of all clients of one address.
#[derive(Debug, Default)]
pub(super) struct Consistency(Mutex<Knowledge>);

/// The knowledge about the servers behind an address.
#[derive(Debug, Default)]
enum Knowledge {
    /// No response had an index.
    #[default]
    Unknown,
    /// The greatest index of the cluster that answered last.
    Seen(Index),
    /// A server refused the headers.
    Refused { is_logged: bool },
}

/// The position of a cluster in its log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Index {
    cluster: String,
    number: u64,
    /// The header as it came.
    header: HeaderValue,
}

/// The content of the header.
#[derive(Deserialize)]
struct IndexContent {
    cluster: String,
    value: String,
}

impl Index {
    fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let header = headers.get(INDEX).filter(|header| header.len() <= MAX_INDEX)?;
        let content = BASE64_STANDARD.decode(header).ok()?;
        let IndexContent { cluster, value } = serde_json::from_slice(&content).ok()?;
        Some(Self { cluster, number: value.parse().ok()?, header: header.clone() })
    }

    /// Returns true if this index replaces the known one: another cluster knows nothing of that.
    fn replaces(&self, known: &Self) -> bool {
        self.cluster != known.cluster || known.number < self.number
    }
}

impl Knowledge {
    fn observe(&mut self, headers: &HeaderMap) {
        let Some(found) = Index::from_headers(headers) else { return };
        match self {
            Self::Seen(known) if !found.replaces(known) => {}
            Self::Refused { .. } => {}
            Self::Seen(_) | Self::Unknown => *self = Self::Seen(found),
        }
    }

    fn index(&self) -> Option<HeaderValue> {
        match self {
            Self::Seen(index) => Some(index.header.clone()),
            Self::Unknown | Self::Refused { .. } => None,
        }
    }
}

impl Consistency {
    fn with<T>(&self, apply: impl FnOnce(&mut Knowledge) -> T) -> T {
        apply(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns true once if the headers were refused.
    pub(super) fn take_refusal(&self) -> bool {
        self.with(|knowledge| match knowledge {
            Knowledge::Refused { is_logged } => !std::mem::replace(is_logged, true),
            Knowledge::Unknown | Knowledge::Seen(_) => false,
        })
    }
}

/// A client that reads what the servers had written when they last answered.
pub(super) struct ConsistentClient {
    pub(super) http: BoundedClient,
    pub(super) consistency: Arc<Consistency>,
}

#[async_trait]
impl Client for ConsistentClient {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, ClientError> {
        // A login is never sent twice: each refused one counts towards the lock of the role.
        let index = self.consistency.with(|it| it.index()).filter(|_| request.method() == Method::GET);
        let response = match index {
            None => self.http.send(request).await?,
            Some(index) => {
                let mut consistent = request.clone();
                consistent.headers_mut().insert(INDEX, index);
                consistent.headers_mut().insert(INCONSISTENT, FORWARD);
                match self.http.send(consistent).await? {
                    response if response.status() == StatusCode::BAD_REQUEST => {
                        self.send_without_headers(request, response.body()).await?
                    }
                    response => response,
                }
            }
        };
        self.consistency.with(|it| it.observe(response.headers()));
        Ok(response)
    }

    fn base(&self) -> &str {
        self.http.base()
    }
}

impl ConsistentClient {
    /// Repeats a request that was refused with this body. If it succeeds, the headers were the reason, unless the body
    /// has another one that may have passed.
    async fn send_without_headers(
        &self,
        request: Request<Vec<u8>>,
        refusal: &[u8],
    ) -> Result<Response<Vec<u8>>, ClientError> {
        let response = self.http.send(request).await?;
        if response.status().is_success() && has_unknown_reason(refusal) {
            self.consistency.with(|it| *it = Knowledge::Refused { is_logged: false });
        }
        Ok(response)
    }
}

fn has_unknown_reason(refusal: &[u8]) -> bool {
    match Hint::from_body(&String::from_utf8_lossy(refusal)) {
        None | Some(Hint::NotVault | Hint::NoReason) => true,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cluster: &str, number: &str) -> HeaderMap {
        let content = format!(r#"{{"cluster":"{cluster}","value":"{number}"}}"#);
        let header = BASE64_STANDARD.encode(content).parse().expect("a header");
        HeaderMap::from_iter([(INDEX, header)])
    }

    fn seen(knowledge: &Knowledge) -> Option<(&str, u64)> {
        match knowledge {
            Knowledge::Seen(index) => Some((index.cluster.as_str(), index.number)),
            Knowledge::Unknown | Knowledge::Refused { .. } => None,
        }
    }

    #[test]
    fn greatest_index_of_a_cluster_is_kept() {
        let mut knowledge = Knowledge::default();
        for (cluster, number, expect) in
            [("a", "9", ("a", 9)), ("a", "8", ("a", 9)), ("a", "10", ("a", 10)), ("b", "3", ("b", 3))]
        {
            knowledge.observe(&headers(cluster, number));
            assert_eq!(seen(&knowledge), Some(expect));
            assert_eq!(knowledge.index().as_ref(), headers(expect.0, &expect.1.to_string()).get(INDEX));
        }
    }

    #[test]
    fn index_of_openbao_is_understood() {
        let header = "eyJjbHVzdGVyIjoiMzEzOTBjYmEtNzRmMS01Y2FiLWZmZjUtNmUzYmRjODFhZjJiIiwidmFsdWUiOiIzNSJ9";
        let headers = HeaderMap::from_iter([(INDEX, HeaderValue::from_static(header))]);
        let index = Index::from_headers(&headers).expect("an index");
        assert_eq!((index.cluster.as_str(), index.number), ("31390cba-74f1-5cab-fff5-6e3bdc81af2b", 35));
    }

    #[test]
    fn unknown_index_is_ignored() {
        let long = BASE64_STANDARD.encode(" ".repeat(MAX_INDEX));
        for text in ["", "nonsense", "e30=", "eyJjbHVzdGVyIjoiYSIsInZhbHVlIjoiLTEifQ==", &long] {
            let mut knowledge = Knowledge::default();
            knowledge.observe(&HeaderMap::from_iter([(INDEX, text.parse().expect("a header"))]));
            assert_eq!(knowledge.index(), None, "{text}");
        }
    }

    #[test]
    fn refusal_is_for_good() {
        let mut knowledge = Knowledge::Refused { is_logged: false };
        knowledge.observe(&headers("a", "9"));
        assert_eq!(knowledge.index(), None);
    }
}

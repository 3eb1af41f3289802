//! The token server of a registry with Bearer authentication: Basic in, a signed JWT out.
//!
//! It runs on threads of its own, because the world outlives the runtime of the test that started it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use url::Url;

/// Who the registry says it is, and whom tokens are for.
pub(super) const SERVICE: &str = "world-registry";
/// Who signs tokens.
pub(super) const ISSUER: &str = "world-token-server";
/// How tokens are signed.
pub(super) const ALGORITHM: &str = "ES256";
/// Names the signing key; there is only one.
const KEY_ID: &str = "world";
/// How long a token is good for: as short as real servers make it.
const LIFETIME: Duration = Duration::from_mins(5);
/// How long a client may take to send its request or to read the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// No honest request is longer.
const LONGEST_REQUEST: u64 = 64 * 1024;

/// A running token server; dropping it ends it.
#[derive(Debug)]
pub(super) struct TokenServer {
    address: SocketAddr,
    jwks: Value,
    /// Set by `drop`, read by the thread that accepts connections.
    stop: Arc<AtomicBool>,
    /// `None` only while being dropped.
    thread: Option<JoinHandle<()>>,
}

/// What answering a request takes.
struct Desk {
    username: String,
    /// Read at every request, so that a new password counts at once.
    password_file: PathBuf,
    key: EcdsaKeyPair,
}

impl TokenServer {
    /// Starts a server for one user, whose password is whatever the file holds.
    pub(super) fn start(username: &str, password_file: PathBuf) -> anyhow::Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| anyhow!("cannot generate the key that signs tokens"))?;
        let jwks = jwks(key.public_key().as_ref())?;
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen for token requests")?;
        let address = listener.local_addr().context("the token server has no address")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let desk = Arc::new(Desk { username: username.to_owned(), password_file, key });
        let accept = move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let desk = desk.clone();
                // A client that broke off has nobody to tell about it.
                if let Ok(stream) = stream {
                    std::thread::spawn(move || drop(desk.serve(&stream)));
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("token-server".to_owned())
            .spawn(accept)
            .context("cannot start the token server's thread")?;
        Ok(Self { address, jwks, stop, thread: Some(thread) })
    }

    /// Where clients get their tokens.
    pub(super) fn realm(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// The public key, as the registry wants it.
    pub(super) fn jwks(&self) -> &Value {
        &self.jwks
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The thread waits for a connection; if it cannot get one it ends with the process.
        if TcpStream::connect_timeout(&self.address, PATIENCE).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn serve(&self, stream: &TcpStream) -> anyhow::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut lines = BufReader::new(stream.take(LONGEST_REQUEST)).lines();
        let first = lines.next().context("an empty request")??;
        let mut authorization = None;
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("authorization")
            {
                authorization = Some(value.trim().to_owned());
            }
        }
        let (status, body) = self.answer(&first, authorization.as_deref())?;
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        Ok(())
    }

    fn answer(&self, first: &str, authorization: Option<&str>) -> anyhow::Result<(&'static str, Value)> {
        let mut words = first.split(' ');
        if words.next() != Some("GET") {
            return Ok(("405 Method Not Allowed", refusal("UNSUPPORTED", "tokens are had by GET only")));
        }
        let target = words.next().unwrap_or_default();
        let url = Url::parse("http://localhost")?.join(target)?;
        if url.path() != "/token" {
            return Ok(("404 Not Found", refusal("UNSUPPORTED", "there is only /token here")));
        }
        let right = std::fs::read_to_string(&self.password_file)?;
        if authorization.and_then(basic) != Some((self.username.clone(), right)) {
            return Ok(("401 Unauthorized", refusal("UNAUTHORIZED", "incorrect username or password")));
        }
        let access: Vec<_> = url
            .query_pairs()
            .filter(|(name, _)| name == "scope")
            .flat_map(|(_, scopes)| scopes.split(' ').filter_map(access).collect::<Vec<_>>())
            .collect();
        let token = self.sign(&access)?;
        let body = json!({ "token": token, "access_token": token, "expires_in": LIFETIME.as_secs() });
        Ok(("200 OK", body))
    }

    fn sign(&self, access: &[Value]) -> anyhow::Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
        let header = json!({ "typ": "JWT", "alg": ALGORITHM, "kid": KEY_ID });
        let claims = json!({
            "iss": ISSUER,
            "aud": SERVICE,
            "sub": self.username,
            "iat": now,
            "nbf": now,
            "exp": now + LIFETIME.as_secs(),
            "access": access,
        });
        let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .map_err(|_| anyhow!("cannot sign a token"))?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}

/// A scope such as `repository:a/b:pull,push` as a token's `access` has it.
fn access(scope: &str) -> Option<Value> {
    // The name may hold a colon, that of a registry's port; kind and actions never do.
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    Some(json!({ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() }))
}

/// User name and password of a Basic header.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    decoded.split_once(':').map(|(username, password)| (username.to_owned(), password.to_owned()))
}

fn refusal(code: &str, message: &str) -> Value {
    json!({ "errors": [{ "code": code, "message": message }] })
}

/// The key set with one P-256 key, given as an uncompressed point.
fn jwks(point: &[u8]) -> anyhow::Result<Value> {
    let (x, y) = match point {
        [4, rest @ ..] if rest.len() == 64 => rest.split_at(32),
        _ => return Err(anyhow!("a P-256 key is not an uncompressed point")),
    };
    let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
    Ok(json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": ALGORITHM, "kid": KEY_ID, "x": encode(x), "y": encode(y),
    }] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_become_access() {
        let expected = json!({ "type": "repository", "name": "a/b", "actions": ["pull", "push"] });
        assert_eq!(access("repository:a/b:pull,push"), Some(expected));
        assert_eq!(access("nonsense"), None);
    }

    #[test]
    fn passwords_may_hold_colons() {
        let header = format!("Basic {}", BASE64_STANDARD.encode("robot:a:b"));
        assert_eq!(basic(&header), Some(("robot".to_owned(), "a:b".to_owned())));
        assert_eq!(basic("Bearer x"), None);
    }
}

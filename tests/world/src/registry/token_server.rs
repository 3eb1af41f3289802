//! The token server of a registry with Bearer authentication: Basic in, a signed JWT out.
//!
//! The server runs on threads of its own, because the world outlives the runtime of the test that started it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
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

use super::PASSWORD_FILE;
use super::trusted_issuer::{ISSUER_FILE, TrustedIssuer};

/// The name of the registry, and the audience of tokens.
pub(super) const SERVICE: &str = "world-registry";
/// The issuer of tokens.
pub(super) const ISSUER: &str = "world-token-server";
/// The signature algorithm of tokens.
pub(super) const ALGORITHM: &str = "ES256";
/// The id of the only signing key.
const KEY_ID: &str = "world";
/// The lifetime of a token, as short as that of real servers.
const LIFETIME: Duration = Duration::from_mins(5);
/// The longest duration of one read or write of a connection.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of a request.
const MAX_REQUEST: u64 = 64 * 1024;

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

/// The state that the server needs for a response.
struct ServerState {
    username: String,
    /// Read for every request, so that a new password takes effect at once.
    password_file: PathBuf,
    /// Read for every request with another password.
    issuer_file: PathBuf,
    key: EcdsaKeyPair,
}

impl TokenServer {
    /// Starts a server for one user, with the current content of the password file in a directory as the password, or
    /// a token of the issuer in another file.
    pub(super) fn start(username: &str, directory: &Path) -> anyhow::Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| anyhow!("cannot generate the key that signs tokens"))?;
        let jwks = jwks(key.public_key().as_ref())?;
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen for token requests")?;
        let address = listener.local_addr().context("the token server has no address")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let state = Arc::new(ServerState {
            username: username.to_owned(),
            password_file: directory.join(PASSWORD_FILE),
            issuer_file: directory.join(ISSUER_FILE),
            key,
        });
        let thread = std::thread::Builder::new()
            .name("token-server".to_owned())
            .spawn(move || accept(&listener, &stopped, &state))
            .context("cannot start the token server's thread")?;
        Ok(Self { address, jwks, stop, thread: Some(thread) })
    }

    /// Returns the URL of the token endpoint.
    pub(super) fn realm(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// Returns the public key as a JSON Web Key Set.
    pub(super) fn jwks(&self) -> &Value {
        &self.jwks
    }
}

impl Drop for TokenServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The thread waits for a connection; without one, the thread ends with the process.
        if TcpStream::connect_timeout(&self.address, TIMEOUT).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Serves each connection on a thread of its own, until the server is dropped.
fn accept(listener: &TcpListener, stopped: &AtomicBool, state: &Arc<ServerState>) {
    for stream in listener.incoming() {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        let state = state.clone();
        if let Ok(stream) = stream {
            // An error means that the client closed the connection.
            std::thread::spawn(move || drop(state.serve(&stream)));
        }
    }
}

impl ServerState {
    fn serve(&self, stream: &TcpStream) -> anyhow::Result<()> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut lines = BufReader::new(stream.take(MAX_REQUEST)).lines();
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
        let (status, body) = self.respond(&first, authorization.as_deref())?;
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

    fn respond(&self, first: &str, authorization: Option<&str>) -> anyhow::Result<(&'static str, Value)> {
        let mut words = first.split(' ');
        if words.next() != Some("GET") {
            return Ok(("405 Method Not Allowed", error_body("UNSUPPORTED", "use GET for a token")));
        }
        let target = words.next().unwrap_or_default();
        let url = Url::parse("http://localhost")?.join(target)?;
        if url.path() != "/token" {
            return Ok(("404 Not Found", error_body("UNSUPPORTED", "the only path is /token")));
        }
        let is_accepted = match authorization.and_then(basic) {
            Some((username, password)) if username == self.username => self.accepts(&password)?,
            _ => false,
        };
        if !is_accepted {
            return Ok(("401 Unauthorized", error_body("UNAUTHORIZED", "incorrect username or password")));
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

    fn accepts(&self, password: &str) -> anyhow::Result<bool> {
        let is_password = std::fs::read_to_string(&self.password_file)? == password;
        Ok(is_password || TrustedIssuer::read(&self.issuer_file).is_some_and(|it| it.accepts(password)))
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
        let signed = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .map_err(|_| anyhow!("cannot sign a token"))?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}

/// Converts a scope such as `repository:a/b:pull,push` to an entry of the `access` claim.
fn access(scope: &str) -> Option<Value> {
    // The name may contain a colon, before a registry's port; kind and actions never do.
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    Some(json!({ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() }))
}

/// Parses the user name and password of a Basic header.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    decoded.split_once(':').map(|(username, password)| (username.to_owned(), password.to_owned()))
}

fn error_body(code: &str, message: &str) -> Value {
    json!({ "errors": [{ "code": code, "message": message }] })
}

/// Returns the key set of one P-256 key, which is an uncompressed point.
fn jwks(point: &[u8]) -> anyhow::Result<Value> {
    let (x, y) = match point {
        [4, rest @ ..] if rest.len() == 64 => rest.split_at(32),
        _ => return Err(anyhow!("the P-256 key is not an uncompressed point")),
    };
    let (x, y) = (BASE64_URL_SAFE_NO_PAD.encode(x), BASE64_URL_SAFE_NO_PAD.encode(y));
    Ok(json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "use": "sig", "alg": ALGORITHM, "kid": KEY_ID, "x": x, "y": y,
    }] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_is_converted_to_access_entry() {
        let expected = json!({ "type": "repository", "name": "a/b", "actions": ["pull", "push"] });
        assert_eq!(access("repository:a/b:pull,push"), Some(expected));
        assert_eq!(access("nonsense"), None);
    }

    #[test]
    fn password_with_colon_is_parsed() {
        let header = format!("Basic {}", BASE64_STANDARD.encode("robot:a:b"));
        assert_eq!(basic(&header), Some(("robot".to_owned(), "a:b".to_owned())));
        assert_eq!(basic("Bearer x"), None);
    }
}

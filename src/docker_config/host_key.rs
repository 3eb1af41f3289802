//! The key of an entry under `auths`, in the one spelling that the kubelet matches.
//!
//! In: a registry as people write it. Out: the key that the kubelet finds for the images of that registry
//! (`pkg/credentialprovider/keyring.go`), or the reason it would never find one, with the correct spelling.
//! Docker Hub is one registry with two keys in a docker config. Nothing here uses the network, and an error
//! never repeats the text before an `@`.

use std::fmt;
use std::iter;
use std::net::Ipv6Addr;

/// Docker Hub in the names of images, and the key that the kubelet matches with them.
const DOCKER_HUB: &str = "docker.io";

/// The host of the last resort: the kubelet looks there for images of Docker Hub that no other key matches.
const LAST_RESORT_HOST: &str = "index.docker.io";

/// The only key of Docker Hub that docker, containerd's clients and most libraries know.
const LAST_RESORT_KEY: &str = "https://index.docker.io/v1/";

/// The server names of Docker Hub, which its images do not use.
///
/// The kubelet treats none of these as Docker Hub: unchanged they match no `docker.io/…` image, and under
/// the key of Docker Hub they would match no image that is written with them. The author has to choose
/// `docker.io`, in the images too, so none is renamed silently.
const DOCKER_HUB_SERVERS: [&str; 3] = ["registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com"];

/// A key under `auths`: `ghcr.io`, `registry.example.com:5000/team`, `docker.io`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostKey(String);

/// The reason the kubelet would never match a text as a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyError {
    /// Nothing is left without scheme and slashes.
    #[error("no host: write the registry as images name it, such as ghcr.io")]
    Empty,
    /// A username or password before the host, or a digest after the image.
    #[error("holds an @: write the host alone; usernames and passwords stay in the store")]
    UserInfo,
    /// Another scheme than `http` and `https`.
    #[error("has a scheme other than http and https: write the host without a scheme")]
    Scheme,
    /// A character that is invalid in the host and the path of an image.
    #[error("holds {0:?}, which no image name has there: write host, host:port or host:port/path")]
    Character(char),
    /// `?`, `#`.
    #[error("has a query or a fragment: write host, host:port or host:port/path")]
    Query,
    /// A `[…]` or `\` pattern in the host.
    #[error("has a pattern other than *: write * for one part of the host, as in *.example.com")]
    Pattern,
    /// `**` in the host.
    #[error(
        "has ** in the host: one * stands for one part between dots, and there is none for several parts"
    )]
    DoubleGlob,
    /// `*` where the kubelet matches it literally.
    #[error(
        "has a * after the host: the kubelet knows * only in the host, and a path covers all that begins with it"
    )]
    GlobOutsideHost,
    /// A host such as `-a.example.com` or `a..example.com`.
    #[error("has an empty part of the host, or one that begins or ends with a hyphen")]
    Label,
    /// A single label without a port.
    #[error(
        "has neither a dot nor a port: an image named like this is one on Docker Hub; write the full host, or docker.io/NAME"
    )]
    SingleLabel,
    /// A server name of Docker Hub, which its images do not use.
    #[error("is Docker Hub by a name the kubelet does not know it by: write docker.io, in the images too")]
    DockerHubServer,
    /// A port that is not a number from 1 to 65535, or begins with 0.
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
    /// A bare or invalid IPv6 address.
    #[error("has a malformed IPv6 address: write it in brackets and with a port, as in [fd00::1]:5000")]
    Ipv6,
    /// An IPv6 address that the kubelet would treat as a pattern.
    #[error(
        "has an IPv6 address without a port, which the kubelet never matches: write the port, as in [fd00::1]:443"
    )]
    Ipv6WithoutPort,
    /// `ghcr.io/Team`.
    #[error("has upper-case letters in its path, which no image name has: write the path in lower case")]
    PathCase,
    /// `a//b`, `a/../b`.
    #[error("has an empty, . or .. part in its path, which no image name has")]
    PathPart,
    /// `/v1/v2/…`.
    #[error("has /v1/ or /v2/ twice: the kubelet drops the first; write the path without them")]
    ApiVersionTwice,
}

impl HostKey {
    /// Parses a registry as people write it: `GHCR.io`, `https://ghcr.io/v2/` and `ghcr.io` are one key.
    ///
    /// A slash after a path is kept, because the kubelet treats a path as a plain prefix: `ghcr.io/web`
    /// matches `ghcr.io/website` too, `ghcr.io/web/` does not.
    pub fn parse(text: &str) -> Result<Self, HostKeyError> {
        let (authority, path) = split(text)?;
        let (host, port) = parse_authority(&authority)?;
        let path = parse_path(path)?;
        if port.is_none() && host == LAST_RESORT_HOST {
            return Ok(Self(format!("{DOCKER_HUB}{path}")));
        }
        if port.is_none() && DOCKER_HUB_SERVERS.contains(&host) {
            return Err(HostKeyError::DockerHubServer);
        }
        // The first part of an image is a host only if it has a dot or a port, or is localhost.
        if port.is_none() && !host.contains('.') && host != "localhost" {
            return Err(HostKeyError::SingleLabel);
        }
        Ok(Self(match port {
            Some(port) => format!("{host}:{port}{path}"),
            None => format!("{host}{path}"),
        }))
    }

    /// The key by which regcred knows the registry.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host and port, without a path.
    #[must_use]
    pub fn server(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(server, _)| server)
    }

    /// Returns true if the key has no path.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        !self.0.contains('/')
    }

    /// Returns the keys under which a docker config holds the entry.
    ///
    /// Docker Hub has two: most clients know only the second, which any other match hides from the kubelet,
    /// even a glob such as `*.io` in another Secret of the pod.
    pub fn config_keys(&self) -> impl Iterator<Item = &str> {
        iter::once(self.as_str()).chain((self.0 == DOCKER_HUB).then_some(LAST_RESORT_KEY))
    }
}

/// Splits the entries of a docker config into those that the kubelet uses only as a last resort, which are
/// those of `index.docker.io`, and all others. Where both parts hold Docker Hub, the second is in use.
#[must_use]
pub fn split_last_resort<T>(auths: impl IntoIterator<Item = (String, T)>) -> [Vec<(String, T)>; 2] {
    let (last_resort, others) = auths
        .into_iter()
        .partition(|(key, _)| split(key).is_ok_and(|(authority, _)| authority == LAST_RESORT_HOST));
    [last_resort, others]
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits a text without its scheme into the authority in lower case and the path, which is empty or begins
/// with a slash.
fn split(text: &str) -> Result<(String, &str), HostKeyError> {
    // Checked first, so that no later error can repeat a part of a password.
    if text.contains('@') {
        return Err(HostKeyError::UserInfo);
    }
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
            rest
        }
        Some(_) => return Err(HostKeyError::Scheme),
        None => text,
    };
    if rest.contains(['?', '#']) {
        return Err(HostKeyError::Query);
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.is_empty() {
        return Err(HostKeyError::Empty);
    }
    Ok((authority.to_ascii_lowercase(), path))
}

fn parse_authority(authority: &str) -> Result<(&str, Option<&str>), HostKeyError> {
    if authority.starts_with('[') {
        return parse_ipv6(authority);
    }
    let (host, port) = match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => return Err(HostKeyError::Ipv6),
        Some((host, port)) => (host, Some(parse_port(port)?)),
        None => (authority, None),
    };
    if host.contains(['[', ']', '\\']) {
        return Err(HostKeyError::Pattern);
    }
    if let Some(invalid) = host.chars().find(|&c| !is_host_character(c)) {
        return Err(HostKeyError::Character(invalid));
    }
    if host.contains("**") {
        return Err(HostKeyError::DoubleGlob);
    }
    if host.split('.').any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-')) {
        return Err(HostKeyError::Label);
    }
    Ok((host, port))
}

/// Parses an authority in brackets: the kubelet splits `[::1]:5000` into address and port, but treats `[::1]`
/// as a pattern of one character.
fn parse_ipv6(authority: &str) -> Result<(&str, Option<&str>), HostKeyError> {
    let end = authority.find(']').ok_or(HostKeyError::Ipv6)? + 1;
    let (host, rest) = authority.split_at(end);
    if !host.contains(':') {
        return Err(HostKeyError::Pattern);
    }
    // An image name has no dots in an IPv6 address, so `::ffff:1.2.3.4` would never match.
    if host.contains('.') || host[1..end - 1].parse::<Ipv6Addr>().is_err() {
        return Err(HostKeyError::Ipv6);
    }
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(parse_port(port)?))),
        None if rest.is_empty() => Err(HostKeyError::Ipv6WithoutPort),
        None => Err(HostKeyError::Ipv6),
    }
}

/// Validates a port. The kubelet compares ports as text, so `05000` would never match `5000`.
fn parse_port(port: &str) -> Result<&str, HostKeyError> {
    if port.contains('*') {
        return Err(HostKeyError::GlobOutsideHost);
    }
    let is_canonical = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
    match port.parse::<u16>() {
        Ok(_) if is_canonical => Ok(port),
        _ => Err(HostKeyError::Port),
    }
}

/// Returns the path without the API version that the kubelet drops: empty, or beginning with a slash.
fn parse_path(path: &str) -> Result<&str, HostKeyError> {
    let without_version = without_api_version(path);
    if without_version != path && without_api_version(without_version) != without_version {
        return Err(HostKeyError::ApiVersionTwice);
    }
    if without_version.is_empty() || without_version == "/" {
        return Ok("");
    }
    if without_version.contains('*') {
        return Err(HostKeyError::GlobOutsideHost);
    }
    if let Some(invalid) = without_version.chars().find(|&c| !is_path_character(c)) {
        return Err(HostKeyError::Character(invalid));
    }
    if without_version.contains(|c: char| c.is_ascii_uppercase()) {
        return Err(HostKeyError::PathCase);
    }
    let parts = without_version[1..].strip_suffix('/').unwrap_or(&without_version[1..]);
    if parts.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(HostKeyError::PathPart);
    }
    Ok(without_version)
}

fn is_host_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '*')
}

fn is_path_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-')
}

fn without_api_version(path: &str) -> &str {
    match path.strip_prefix("/v1").or_else(|| path.strip_prefix("/v2")) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests;

//! The key of an entry under `auths`, in the one spelling the kubelet matches.
//!
//! In: what people write for a registry. Out: the key the kubelet will find for that registry's images
//! (`pkg/credentialprovider/keyring.go`), or the reason why it would never find it and what to write
//! instead. Nothing here asks the network, and an error never repeats what stood before an `@`.

use std::fmt;
use std::net::Ipv6Addr;

/// The key of Docker Hub: the kubelet, docker and podman all know it by this name.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// What images of Docker Hub begin with: the kubelet takes both for `docker.io`.
const DOCKER_HUB_HOSTS: [&str; 2] = ["docker.io", "index.docker.io"];

/// Where Docker Hub answers, which is not what its images are called.
///
/// The kubelet knows none of these for Docker Hub: as they stand they match no `docker.io/…` image,
/// and under the key of Docker Hub they would match no image written with them. Whoever writes one
/// here has to decide for `docker.io`, in the images too, so none is renamed silently.
const DOCKER_HUB_SERVERS: [&str; 3] = ["registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com"];

/// A key under `auths`: `ghcr.io`, `registry.example.com:5000/team`, `https://index.docker.io/v1/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostKey(String);

/// Why a text is not a registry the kubelet would find.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyError {
    /// Nothing is left when scheme and slashes are gone.
    #[error("no host: write the registry as images name it, such as ghcr.io")]
    Empty,
    /// A username or password before the host, or a digest after the image.
    #[error("holds an @: write the host alone; usernames and passwords stay in the store")]
    UserInfo,
    /// Another scheme than `http` and `https`.
    #[error("has a scheme other than http and https: write the host without a scheme")]
    Scheme,
    /// A character that neither a host nor a path of an image has.
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
    /// `*` where the kubelet takes it literally.
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
    /// A name of Docker Hub that its images do not have.
    #[error("is Docker Hub by a name the kubelet does not know it by: write docker.io, in the images too")]
    DockerHubServer,
    /// A port that is no number from 1 to 65535, or begins with 0.
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
    /// A bare IPv6 address, or one that is none.
    #[error("has a malformed IPv6 address: write it in brackets and with a port, as in [fd00::1]:5000")]
    Ipv6,
    /// An IPv6 address the kubelet would take for a pattern.
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
    /// The key for a registry as people write it: `GHCR.io`, `https://ghcr.io/v2/` and `ghcr.io` are one.
    ///
    /// A slash after a path is kept, because the kubelet takes a path for a plain prefix: `ghcr.io/web`
    /// is for `ghcr.io/website` too, `ghcr.io/web/` is not.
    pub fn parse(text: &str) -> Result<Self, HostKeyError> {
        let (authority, path) = split(text)?;
        let (host, port) = parse_authority(&authority)?;
        let path = parse_path(path)?;
        if port.is_none() && DOCKER_HUB_HOSTS.contains(&host) {
            return Ok(Self(match path {
                "" => DOCKER_HUB.to_owned(),
                path => format!("docker.io{path}"),
            }));
        }
        if port.is_none() && DOCKER_HUB_SERVERS.contains(&host) {
            return Err(HostKeyError::DockerHubServer);
        }
        // An image is on a host only where its first part has a dot or a port, or is localhost.
        if port.is_none() && !host.contains('.') && host != "localhost" {
            return Err(HostKeyError::SingleLabel);
        }
        Ok(Self(match port {
            Some(port) => format!("{host}:{port}{path}"),
            None => format!("{host}{path}"),
        }))
    }

    /// The key as it stands in a docker config.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The authority in lower case, and the path with its leading slash (or empty), of a text without its scheme.
fn split(text: &str) -> Result<(String, &str), HostKeyError> {
    // First of all, so that no later error can repeat a part of a password.
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
    if let Some(stray) = host.chars().find(|&c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '*')))
    {
        return Err(HostKeyError::Character(stray));
    }
    if host.contains("**") {
        return Err(HostKeyError::DoubleGlob);
    }
    if host.split('.').any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-')) {
        return Err(HostKeyError::Label);
    }
    Ok((host, port))
}

/// The kubelet splits `[::1]:5000` into address and port, but takes `[::1]` for a pattern of one character.
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

/// The port as text: the kubelet compares ports as text, so `05000` would never match `5000`.
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

/// The path without the API version the kubelet drops: empty, or beginning with a slash.
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
    let is_stray = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-'));
    if let Some(stray) = without_version.chars().find(is_stray) {
        return Err(HostKeyError::Character(stray));
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

fn without_api_version(path: &str) -> &str {
    match path.strip_prefix("/v1").or_else(|| path.strip_prefix("/v2")) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests;

//! The form of a docker config that every client reads: one bare host for each registry.
//!
//! Pure. In go the registries, out come the keys under which a file holds the entry of each, and the limits: what no
//! key expresses for all clients, with what each client makes of it. Measured on 18 clients: `docs/guides/sidecar.md`
//! has the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::host_key::HostKey;
use crate::named;

/// Docker Hub in the names of images.
const DOCKER_HUB: &str = "docker.io";

/// The keys of Docker Hub, each known to clients that know no other one: `docker.io` in Java, Node and Python, the URL
/// in Go and for the kubelet, the server in argocd-image-updater.
const DOCKER_HUB_KEYS: [&str; 3] = [DOCKER_HUB, "https://index.docker.io/v1/", "registry-1.docker.io"];

/// The keys of a file for each registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortableKeys {
    keys: BTreeMap<HostKey, Vec<String>>,
    /// The registries that not every client finds, or that clients take for more than they are.
    pub limits: Vec<PortabilityLimit>,
}

/// Registries that no key expresses for every client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortabilityLimit {
    /// A glob.
    Glob(HostKey),
    /// The one path of a host, which is written as the host.
    Widened(HostKey),
    /// Several paths of one host.
    Paths(Vec<HostKey>),
    /// Paths of one host, the first of the list.
    PathsBesideHost(Vec<HostKey>),
}

impl PortableKeys {
    /// Chooses the keys of these registries, which all stand in one file.
    #[must_use]
    pub fn new<'a>(hosts: impl IntoIterator<Item = &'a HostKey>) -> Self {
        let mut by_server: BTreeMap<&str, BTreeSet<&HostKey>> = BTreeMap::new();
        for host in hosts {
            by_server.entry(host.server()).or_default().insert(host);
        }
        let mut portable = Self::default();
        for (server, hosts) in by_server {
            portable.add(server, &hosts.into_iter().collect::<Vec<_>>());
        }
        portable
    }

    /// Returns the keys of a registry.
    pub fn keys_of(&self, host: &HostKey) -> impl Iterator<Item = &str> {
        self.keys.get(host).into_iter().flatten().map(String::as_str)
    }

    /// Returns every key.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.keys.values().flatten().map(String::as_str)
    }

    /// Adds the registries of one server, the server itself first.
    fn add(&mut self, server: &str, hosts: &[&HostKey]) {
        let limit = PortabilityLimit::new(server, hosts);
        let is_widened = matches!(limit, Some(PortabilityLimit::Widened(_)));
        for host in hosts {
            let keys =
                if is_widened || host.is_bare() { server_keys(server) } else { vec![host.to_string()] };
            self.keys.insert((*host).clone(), keys);
        }
        self.limits.extend(limit);
    }
}

impl PortabilityLimit {
    /// Returns the limit of the registries of one server, the server itself first.
    fn new(server: &str, hosts: &[&HostKey]) -> Option<Self> {
        let all = hosts.iter().map(|host| (*host).clone()).collect();
        match hosts {
            [] => None,
            [first, ..] if server.contains('*') => Some(Self::Glob((*first).clone())),
            [host] if host.is_bare() => None,
            [host] => Some(Self::Widened((*host).clone())),
            [first, ..] if first.is_bare() => Some(Self::PathsBesideHost(all)),
            _ => Some(Self::Paths(all)),
        }
    }

    /// Returns true if the registries are written so that every client finds them, and some send them too often.
    #[must_use]
    pub fn is_harmless(&self) -> bool {
        matches!(self, Self::Widened(_))
    }
}

/// Says what each client makes of it, and the way out.
impl fmt::Display for PortabilityLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glob(glob) => write!(
                f,
                "{glob}: only the kubelet and k8schain know globs, every other client goes anonymous. Name each host"
            ),
            Self::Widened(path) => write!(
                f,
                "{path}: written as {}, the one form that every client finds, and sent for every repository there",
                path.server()
            ),
            Self::Paths(paths) if is_docker_hub(paths) => write!(
                f,
                "{}: docker, BuildKit, crane, cosign, nerdctl, oras, helm, k8schain, regclient, docker_credential, \
                 oras-py, Testcontainers and Spring Boot go anonymous, argocd-image-updater fails, docker-py, docker-java \
                 and jib take one of them for all of Docker Hub. Write one file for each",
                join(paths)
            ),
            Self::Paths(paths) => write!(
                f,
                "{}: docker, BuildKit, crane, cosign, nerdctl, oras, helm and argocd-image-updater take a random one of \
                 them, docker-py, docker-java and jib the first, regclient, docker_credential, oras-py, Testcontainers \
                 and Spring Boot go anonymous. Write one file for each",
                join(paths)
            ),
            Self::PathsBesideHost(hosts) if is_docker_hub(hosts) => write!(
                f,
                "{}: only the kubelet, skopeo, podman and buildah take the credential of the path, docker-py and \
                 docker-java take it for all of Docker Hub, argocd-image-updater a random one, every other client that \
                 of docker.io. Write one file for each",
                join(hosts)
            ),
            Self::PathsBesideHost(hosts) => write!(
                f,
                "{}: only the kubelet, k8schain, skopeo, podman and buildah take the credential of the path, \
                 argocd-image-updater a random one, every other client that of the host. Write one file for each",
                join(hosts)
            ),
        }
    }
}

/// Says which registries of a pull secret k8schain does not find, though the kubelet does; `None` if it finds all.
#[must_use]
pub fn unknown_to_k8schain<'a>(hosts: impl IntoIterator<Item = &'a HostKey>) -> Option<String> {
    let hosts = hosts.into_iter().filter(|host| host.server() == DOCKER_HUB && !host.is_bare());
    let hosts: Vec<_> = hosts.map(HostKey::as_str).collect();
    let hosts = (!hosts.is_empty()).then(|| named::join(hosts, ", "))?;
    Some(format!(
        "{hosts}: the kubelet finds the credential, but k8schain (Kyverno, Tekton, Knative and others) goes anonymous. \
         Name docker.io for these too"
    ))
}

fn is_docker_hub(hosts: &[HostKey]) -> bool {
    hosts.first().is_some_and(|host| host.server() == DOCKER_HUB)
}

fn server_keys(server: &str) -> Vec<String> {
    let keys = if server == DOCKER_HUB { &DOCKER_HUB_KEYS[..] } else { &[server] };
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn join(hosts: &[HostKey]) -> String {
    named::join(hosts.iter().map(HostKey::as_str), ", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portable(hosts: &[&str]) -> PortableKeys {
        let hosts: Vec<_> = hosts.iter().map(|host| HostKey::parse(host).expect("a valid host")).collect();
        PortableKeys::new(&hosts)
    }

    /// Compares the keys of each registry, and the start of each limit.
    #[track_caller]
    fn check(hosts: &[&str], keys: &[&[&str]], limits: &[&str]) {
        let portable = portable(hosts);
        for (host, keys) in hosts.iter().zip(keys) {
            let host = HostKey::parse(host).expect("a valid host");
            assert_eq!(portable.keys_of(&host).collect::<Vec<_>>(), *keys, "{host}");
        }
        let found: Vec<_> = portable.limits.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), limits.len(), "{found:?}");
        for (found, expect) in found.iter().zip(limits) {
            assert!(found.contains(expect), "{found} has no {expect}");
        }
    }

    const HUB: &[&str] = &["docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"];

    #[test]
    fn host_is_written_bare_and_in_lower_case() {
        check(&["GHCR.io", "https://registry.test:5443/v2/"], &[&["ghcr.io"], &["registry.test:5443"]], &[]);
    }

    #[test]
    fn docker_hub_has_three_keys() {
        check(&["docker.io"], &[HUB], &[]);
        check(&["https://index.docker.io/v1/"], &[HUB], &[]);
    }

    #[test]
    fn one_path_of_a_host_is_written_as_the_host() {
        check(&["ghcr.io/team", "quay.io"], &[&["ghcr.io"], &["quay.io"]], &["written as ghcr.io"]);
        check(&["docker.io/team/"], &[HUB], &["written as docker.io"]);
        assert!(portable(&["ghcr.io/team"]).limits[0].is_harmless());
    }

    #[test]
    fn glob_is_written_as_it_is_and_reported() {
        check(&["*.example.com"], &[&["*.example.com"]], &["only the kubelet and k8schain"]);
        assert!(!portable(&["*.example.com"]).limits[0].is_harmless());
    }

    #[test]
    fn two_paths_of_one_host_are_reported_with_the_clients() {
        let (a, b): (&[&str], &[&str]) = (&["ghcr.io/a"], &["ghcr.io/b"]);
        check(&["ghcr.io/a", "ghcr.io/b"], &[a, b], &["take a random one of them"]);
        let (a, b): (&[&str], &[&str]) = (&["docker.io/a"], &["docker.io/b"]);
        check(&["docker.io/a", "docker.io/b"], &[a, b], &["argocd-image-updater fails"]);
    }

    #[test]
    fn path_beside_its_host_is_reported_with_the_clients() {
        let (host, team): (&[&str], &[&str]) = (&["ghcr.io"], &["ghcr.io/team"]);
        check(&["ghcr.io", "ghcr.io/team"], &[host, team], &["every other client that of the host"]);
        check(&["docker.io", "docker.io/team"], &[HUB, &["docker.io/team"]], &["for all of Docker Hub"]);
    }

    #[test]
    fn k8schain_knows_docker_hub_as_a_whole_only() {
        let hosts = ["docker.io", "ghcr.io", "ghcr.io/team", "*.example.com", "docker.io/team"];
        let hosts = hosts.map(|host| HostKey::parse(host).expect("a valid host"));
        assert_eq!(unknown_to_k8schain(&hosts[..4]), None);
        let message = unknown_to_k8schain(&hosts).expect("a message");
        assert!(
            message.starts_with("docker.io/team: the kubelet finds the credential, but k8schain"),
            "{message}"
        );
    }

    #[test]
    fn other_port_is_another_host() {
        let (one, other): (&[&str], &[&str]) = (&["registry.test:5443"], &["registry.test:443"]);
        check(&["registry.test:5443", "registry.test:443"], &[one, other], &[]);
    }
}

//! The allow-lists of the stores: the namespaces and the registries that each store may serve.
//!
//! Pure. In go the names of a store, a namespace and a host, yes or no comes out. The `keys` of a store are
//! checked where keys are read, after the name of a namespace is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use globset::GlobSet;

use super::names::Rule;
use super::selection::{Patterns, glob, glob_set};
use super::wire::LabelSelector;
use crate::credential::StoreName;
use crate::docker_config::host_key::HostKey;
use crate::object_map::ObjectMap;
use crate::object_name::NamespaceName;

const HOST_PATTERN: Rule = "must be a registry as in `host` of a ClusterPullSecret, such as ghcr.io or registry.example.com:5000/team, \
                            or a glob of such hosts in lower case with *, ? and {one,other}; Docker Hub is docker.io";

/// More characters than a part of a host has.
const LONGEST: usize = 256;

/// The allow-lists of one store.
#[derive(Clone, Debug, Default)]
pub struct StoreAdmission {
    /// Names of namespaces, one of which must match; `None` admits any.
    pub namespaces: Option<Patterns>,
    /// Labels that a namespace must have.
    pub selector: LabelSelector,
    /// Registries, one of which must match; `None` admits any.
    pub hosts: Option<HostPatterns>,
}

/// Registries and globs of registries.
#[derive(Clone, Debug, Default)]
pub struct HostPatterns {
    exact: BTreeSet<HostKey>,
    globs: GlobSet,
}

/// The allow-lists of all stores.
#[derive(Clone, Debug, Default)]
pub struct Admission(BTreeMap<StoreName, Arc<StoreAdmission>>);

impl StoreAdmission {
    /// Returns true if the namespace may hold credentials of the store: its name and its labels must match.
    fn admits_namespace(&self, name: &NamespaceName, labels: &ObjectMap<String, String>) -> bool {
        self.namespaces.as_ref().is_none_or(|patterns| patterns.is_match(name.as_str()))
            && self.selector.matches(labels)
    }
}

impl HostPatterns {
    /// Checks one item of the list.
    pub(crate) fn check(text: &str) -> Result<(), Rule> {
        if is_glob(text) {
            let is_valid = text.bytes().all(is_glob_byte) && glob(text).is_ok();
            return if is_valid { Ok(()) } else { Err(HOST_PATTERN) };
        }
        HostKey::parse(text).map(drop).map_err(|_| HOST_PATTERN)
    }

    /// Compiles items that were checked.
    pub(crate) fn compile(texts: &[&str]) -> Result<Self, globset::Error> {
        let (globs, exact): (Vec<&str>, Vec<&str>) = texts.iter().copied().partition(|text| is_glob(text));
        let globs: Vec<String> = globs.into_iter().map(str::to_owned).collect();
        Ok(Self {
            exact: exact.into_iter().filter_map(|text| HostKey::parse(text).ok()).collect(),
            globs: glob_set(&globs)?,
        })
    }

    fn is_match(&self, host: &HostKey) -> bool {
        self.exact.contains(host) || self.covers(host.as_str())
    }

    /// Returns true if a glob covers all that a host stands for. A host may have a `*` of its own, for which the
    /// kubelet takes any text: the glob has to admit nothing in its place as well as more than a glob can count.
    fn covers(&self, host: &str) -> bool {
        let is_pattern = host.contains('*');
        let samples =
            if is_pattern { vec![String::new(), "x".repeat(LONGEST)] } else { vec!["*".to_owned()] };
        samples.iter().all(|sample| self.globs.is_match(host.replace('*', sample)))
    }
}

impl Admission {
    /// Collects the allow-lists of these stores.
    #[must_use]
    pub fn new(stores: impl IntoIterator<Item = (StoreName, Arc<StoreAdmission>)>) -> Self {
        Self(stores.into_iter().collect())
    }

    /// Returns the stores of which the namespace may not hold credentials.
    #[must_use]
    pub fn denied_stores(
        &self,
        namespace_name: &NamespaceName,
        labels: &ObjectMap<String, String>,
    ) -> BTreeSet<StoreName> {
        let denied = self.0.iter().filter(|(_, store)| !store.admits_namespace(namespace_name, labels));
        denied.map(|(name, _)| name.clone()).collect()
    }

    /// Returns true if the namespace may hold credentials of the store.
    #[must_use]
    pub fn admits_namespace(
        &self,
        store: &StoreName,
        namespace_name: &NamespaceName,
        labels: &ObjectMap<String, String>,
    ) -> bool {
        self.0.get(store).is_none_or(|it| it.admits_namespace(namespace_name, labels))
    }

    /// Returns true if the store serves only some namespaces, by their names or their labels.
    #[must_use]
    pub fn has_namespaces(&self, store: &StoreName) -> bool {
        self.0.get(store).is_some_and(|it| it.namespaces.is_some()) || self.has_selector(store)
    }

    /// Returns true if the store serves only namespaces with some labels.
    #[must_use]
    pub fn has_selector(&self, store: &StoreName) -> bool {
        self.0.get(store).is_some_and(|it| it.selector != LabelSelector::default())
    }

    /// Returns true if the store may serve this registry.
    #[must_use]
    pub fn admits_host(&self, store: &StoreName, host: &HostKey) -> bool {
        let hosts = self.0.get(store).and_then(|it| it.hosts.as_ref());
        hosts.is_none_or(|hosts| hosts.is_match(host))
    }
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '{'])
}

fn is_glob_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"*?{},.:/_-".contains(&byte)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The allow-lists of the store `vault`.
    pub(crate) fn admission(namespaces: Option<&[&str]>, hosts: Option<&[&str]>) -> Arc<Admission> {
        let store = StoreAdmission {
            namespaces: namespaces.map(|texts| {
                let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
                Patterns::compile(&texts).expect("globs")
            }),
            selector: LabelSelector::default(),
            hosts: hosts.map(|texts| HostPatterns::compile(texts).expect("hosts")),
        };
        Arc::new(Admission([("vault".into(), Arc::new(store))].into()))
    }

    fn host(text: &str) -> HostKey {
        HostKey::parse(text).expect("a host")
    }

    #[track_caller]
    fn check_hosts(patterns: &[&str], admitted: &[&str], denied: &[&str]) {
        for pattern in patterns {
            assert_eq!(HostPatterns::check(pattern), Ok(()), "{pattern}");
        }
        let admission = admission(None, Some(patterns));
        for text in admitted {
            assert!(admission.admits_host(&"vault".into(), &host(text)), "{text} by {patterns:?}");
        }
        for text in denied {
            assert!(!admission.admits_host(&"vault".into(), &host(text)), "{text} by {patterns:?}");
        }
    }

    #[test]
    fn host_is_admitted_by_its_name_or_a_glob() {
        check_hosts(
            &["ghcr.io"],
            &["ghcr.io", "https://GHCR.io/v2/"],
            &["ghcr.io/team", "quay.io", "a.ghcr.io"],
        );
        check_hosts(
            &["*.example.com"],
            &["a.example.com", "*.example.com"],
            &["example.com", "a.example.com/x"],
        );
        check_hosts(
            &["registry.example.com:5000/**"],
            &["registry.example.com:5000/a/b"],
            &["registry.example.com:5000"],
        );
        check_hosts(&["ghcr.io/**"], &["ghcr.io/team", "ghcr.io/team/web"], &["ghcr.io"]);
        check_hosts(&["{ghcr,quay}.io"], &["ghcr.io", "quay.io"], &["docker.io"]);
        check_hosts(&["[fd00::1]:5000"], &["[fd00::1]:5000"], &["[fd00::2]:5000"]);
        check_hosts(&[], &[], &["ghcr.io"]);
    }

    #[test]
    fn host_with_a_star_is_admitted_by_a_star_alone() {
        check_hosts(&["?.example.com"], &["a.example.com"], &["*.example.com"]);
        check_hosts(&["reg?stry.example.com"], &["registry.example.com"], &["reg*stry.example.com"]);
        check_hosts(&["{a,*-b}.example.com"], &["x-b.example.com", "*-b.example.com"], &["*b.example.com"]);
        check_hosts(&["a.example.com", "b.example.com"], &["a.example.com"], &["*.example.com"]);
    }

    #[test]
    fn docker_hub_is_admitted_as_docker_io() {
        for pattern in ["docker.io", "index.docker.io", "https://index.docker.io/v1/", "docker.*", "*"] {
            check_hosts(&[pattern], &["docker.io", "https://index.docker.io/v1/"], &["docker.io/team"]);
        }
        check_hosts(&["docker.io/**"], &["docker.io/team"], &["docker.io"]);
    }

    #[test]
    fn text_that_is_no_host_and_no_glob_is_rejected() {
        for text in [
            "",
            "GHCR.*",
            "a b",
            "robot:pw@ghcr.io",
            "*@ghcr.io",
            "{ghcr.io",
            "[a-z]*.io",
            "registry-1.docker.io",
        ] {
            assert_eq!(HostPatterns::check(text), Err(HOST_PATTERN), "{text}");
        }
    }

    #[test]
    fn absent_lists_admit_everything() {
        let admission = Admission::default();
        assert!(admission.admits_host(&"vault".into(), &host("ghcr.io")));
        assert!(admission.admits_namespace(&"vault".into(), &"web".into(), &ObjectMap::default()));
        assert!(admission.denied_stores(&"web".into(), &ObjectMap::default()).is_empty());
    }

    #[test]
    fn namespace_needs_both_its_name_and_its_labels() {
        let store = StoreAdmission {
            namespaces: Some(Patterns::compile(&["team-*".to_owned()]).expect("a glob")),
            selector: LabelSelector {
                match_labels: [("tier".to_owned(), "prod".to_owned())].into(),
                match_expressions: Vec::new(),
            },
            hosts: None,
        };
        let admission = Admission([("vault".into(), Arc::new(store))].into());
        for (name, tier, expect) in
            [("team-a", "prod", true), ("team-a", "dev", false), ("other", "prod", false)]
        {
            let labels = [("tier".to_owned(), tier.to_owned())].into();
            let is_admitted = admission.admits_namespace(&"vault".into(), &name.into(), &labels);
            assert_eq!(is_admitted, expect, "{name} {tier}");
        }
        assert_eq!(admission.denied_stores(&"other".into(), &ObjectMap::default()), ["vault".into()].into());
    }
}

//! Hosts that a store may serve and those that it may not, and docker configs with bad entries.

use secrecy::ExposeSecret as _;

use super::*;
use crate::credential::StoredValue;
use crate::manifest::admission::tests::admission;
use crate::object_map::ObjectMap;
use crate::reconcile::fixture::{cluster_pull_secret, store_key, values};

/// `host: result, message` for each registry of a ClusterPullSecret, where the store admits these hosts.
fn reports(hosts: &[&str], admitted: &[&str], values: &Values) -> Vec<String> {
    let mut images = cluster_pull_secret("images", hosts);
    images.admission = admission(None, Some(admitted));
    let resolved = resolve(&Arc::new(images), values);
    let reports = resolved.registries.iter().map(|registry| {
        let RegistryReport { host, result, message, .. } = &registry.report;
        format!("{host}: {result}, {}", message.as_deref().unwrap_or("-"))
    });
    reports.collect()
}

/// A whole docker config at the key `*`.
pub(super) fn docker_config(hosts: &[&str]) -> Values {
    let auths: serde_json::Map<_, _> = hosts
        .iter()
        .map(|host| ((*host).to_owned(), serde_json::json!({"username": "robot", "password": "pw"})))
        .collect();
    let value = StoredValue {
        version: "1".into(),
        bytes: serde_json::json!({"auths": auths}).to_string().into_bytes().into(),
        expiry: None,
        account: None,
    };
    [(store_key("*"), Ok(value))].into()
}

#[test]
fn host_not_admitted_fails_without_the_others() {
    let values = values(&[("ghcr.io", "1", "pw"), ("quay.io", "1", "pw")]);
    assert_eq!(
        reports(&["ghcr.io", "quay.io"], &["quay.io"], &values),
        [
            "ghcr.io: NotAllowed, store vault, key ghcr.io: not allowed by the store's `hosts`: ghcr.io; \
             its entries are removed. Add it to `hosts` of the store",
            "quay.io: Fetched, -",
        ]
    );
}

#[test]
fn docker_config_loses_the_hosts_not_admitted() {
    let config = docker_config(&["ghcr.io", "quay.io", "docker.io"]);
    assert_eq!(
        reports(&["*"], &["ghcr.io"], &config),
        ["*: Fetched, left out, as not allowed by the store's `hosts`: docker.io, quay.io"]
    );
    assert_eq!(reports(&["*"], &["*"], &config), ["*: Fetched, -"]);
    assert_eq!(
        reports(&["*"], &["gcr.io"], &config),
        [
            "*: NotAllowed, store vault, key *: not allowed by the store's `hosts`: docker.io, ghcr.io, quay.io; \
             their entries are removed. Add them to `hosts` of the store"
        ]
    );
}

#[test]
fn message_names_ten_hosts_at_most() {
    let hosts: Vec<_> = (10..30).map(|n| format!("r{n}.io")).collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).chain(["ghcr.io"]).collect();
    let [report] = &reports(&["*"], &["ghcr.io"], &docker_config(&hosts))[..] else { panic!("one registry") };
    assert!(report.ends_with("r19.io and 10 more") && !report.contains("r20.io"), "{report}");
}

/// A docker config at the key `*`: `(key, username and password)`, or an empty entry.
fn entries(version: &str, entries: &[(&str, Option<&str>)]) -> Values {
    let auths: serde_json::Map<_, _> = entries
        .iter()
        .map(|(key, password)| {
            let entry = password
                .map_or(serde_json::json!({}), |it| serde_json::json!({"username": "robot", "password": it}));
            ((*key).to_owned(), entry)
        })
        .collect();
    let value = StoredValue {
        version: version.into(),
        bytes: serde_json::json!({"auths": auths}).to_string().into_bytes().into(),
        expiry: None,
        account: None,
    };
    [(store_key("*"), Ok(value))].into()
}

const EMPTY: &str = "the entry holds neither `auth` nor `username` and `password`";

#[test]
fn bad_entries_are_named_and_the_others_fetched() {
    let values = entries("2", &[("a.io", Some("new")), ("b.io", None), ("registry", Some("x"))]);
    let reports = reports(&["*"], &["*"], &values);
    let [report] = &reports[..] else { panic!("one registry") };
    let expect = "*: Malformed, store vault, key *: `auths` holds what cannot be used: key `registry`: it is not a registry host: it has neither a dot";
    assert!(report.starts_with(expect), "{report}");
    assert!(report.ends_with(&format!("; entry for b.io: {EMPTY}")), "{report}");
    let resolved = resolve(&Arc::new(cluster_pull_secret("images", &["*"])), &values);
    let registry = &resolved.registries[0];
    let fetched = registry.fetched.as_ref().expect("the others");
    assert_eq!(fetched.config.auths.keys().map(HostKey::as_str).collect::<Vec<_>>(), ["a.io"]);
    assert_eq!(fetched.rejected.hosts.iter().map(HostKey::as_str).collect::<Vec<_>>(), ["b.io"]);
    assert!(!registry.is_complete());
    assert_eq!(registry.report.version.as_deref(), Some("2"));
}

#[test]
fn docker_config_of_bad_entries_alone_fails() {
    let expect = format!(
        "*: Malformed, store vault, key *: `auths` holds nothing that can be used: entry for b.io: {EMPTY}"
    );
    assert_eq!(reports(&["*"], &["*"], &entries("2", &[("b.io", None)])), [expect]);
}

#[test]
fn bad_entries_with_one_cause_are_named_together() {
    let values = entries("2", &[("a.io", Some("new")), ("b.io", None), ("c.io", None)]);
    let expect = format!(
        "*: Malformed, store vault, key *: `auths` holds what cannot be used: entry for b.io, entry for c.io: {EMPTY}"
    );
    assert_eq!(reports(&["*"], &["*"], &values), [expect]);
    let hosts: Vec<_> = (10..40).map(|n| format!("r{n}.io")).collect();
    let many: Vec<_> =
        hosts.iter().map(|host| (host.as_str(), None)).chain([("a.io", Some("new"))]).collect();
    let reports = reports(&["*"], &["*"], &entries("2", &many));
    assert!(reports[0].contains("entry for r19.io and 20 more: "), "{reports:?}");
}

#[test]
fn bad_entry_that_is_not_needed_is_no_failure() {
    let mut all = entries("2", &[("a.io", Some("new")), ("b.io", None), ("c.io", None)]);
    all.extend(values(&[("b.io", "1", "pw")]));
    assert_eq!(reports(&["*", "b.io"], &["a.io", "b.io"], &all), ["*: Fetched, -", "b.io: Fetched, -"]);
}

#[test]
fn bad_entries_that_others_name_alone_are_no_failure() {
    let mut all = entries("2", &[("b.io", None)]);
    all.extend(values(&[("b.io", "1", "pw")]));
    assert_eq!(reports(&["*", "b.io"], &["*"], &all), ["*: Fetched, -", "b.io: Fetched, -"]);
}

#[test]
fn bad_entry_that_a_later_docker_config_has_is_no_failure() {
    let mut all = entries("2", &[("a.io", Some("new")), ("b.io", None)]);
    let [later] = <[_; 1]>::try_from(entries("1", &[("b.io", Some("pw"))]).into_values().collect::<Vec<_>>())
        .expect("one value");
    all.insert(store_key("later.io"), later);
    let mut images = cluster_pull_secret("images", &["*", "later.io"]);
    images.registries[1].host = None;
    let resolved = resolve(&Arc::new(images), &all);
    let results: Vec<_> =
        resolved.registries.iter().map(|it| (it.report.result, &it.report.message)).collect();
    assert_eq!(results, [(FetchedReason::Fetched, &None); 2]);
}

#[test]
fn bad_spelling_of_a_host_with_a_usable_one_is_no_failure() {
    let values = entries("2", &[("a.io", Some("new")), ("https://a.io/v2/", None)]);
    assert_eq!(reports(&["*"], &["*"], &values), ["*: Fetched, -"]);
}

#[test]
fn bad_entry_stays_recorded_as_it_was() {
    let images = Arc::new(cluster_pull_secret("images", &["*"]));
    let mut installation = Installation::default();
    for values in [
        entries("1", &[("a.io", Some("old")), ("b.io", Some("kept")), ("gone.io", Some("gone"))]),
        entries("2", &[("a.io", Some("new")), ("b.io", None)]),
    ] {
        resolve(&images, &values).record(&mut installation, &AcceptedOlder::default());
    }
    let value = installation.values().get("images", &images.registries[0]).expect("a value");
    assert_eq!(value.version.to_string(), "2");
    let passwords = value.config.auths.iter().map(|(host, it)| (host.as_str(), it.password.expose_secret()));
    assert_eq!(passwords.collect::<Vec<_>>(), [("a.io", "new"), ("b.io", "kept")]);
}

#[test]
fn key_of_each_namespace_is_left_to_the_namespace() {
    let mut teams = cluster_pull_secret("images", &["ghcr.io"]);
    teams.registries[0].store_key = store_key("teams/{{namespace}}");
    let teams = Arc::new(teams);
    let values = values(&[("teams/web", "7", "pw")]);
    let shared = resolve(&teams, &values);
    assert!(shared.registries[0].is_deferred && shared.registries[0].fetched.is_none());
    let own = resolve_in(&teams, &"web".into(), &ObjectMap::default(), &values);
    let fetched = own.registries[0].fetched.as_ref().expect("credentials");
    assert_eq!(fetched.origin.version, "7".into());
}

//! The content for one namespace, case by case.

use super::*;
use crate::cluster::ServiceAccount;
use crate::credential::{Credential, StoredValue};
use crate::installation::last_good::LastGoodValue;
use crate::provider::ErrorKind;
use crate::reconcile::fixture::{
    cluster, cluster_pull_secret, host_key, namespace, recorded, registry, secret, store_key, values,
};
use crate::reconcile::resolve;

fn bare(secret: Option<Secret>) -> Namespace {
    namespace(secret, ServiceAccount::default())
}

/// `host=store:version password` for each entry of the content for the namespace `here`.
#[track_caller]
fn check(
    hosts: &[&str],
    read: &[(&str, &str, &str)],
    here: Option<Secret>,
    known: &[(&str, &str, &str)],
    expect: &[&str],
) {
    let cluster_pull_secret = Arc::new(cluster_pull_secret("images", hosts));
    let resolved = resolve::resolve(&cluster_pull_secret, &values(read));
    let elsewhere = secret("9", &[("ghcr.io", "9", "planted"), ("quay.io", "9", "planted")]);
    let cluster = cluster(vec![("here", bare(here)), ("elsewhere", bare(Some(elsewhere)))]);
    let recorded = recorded("images", known);
    let content = DesiredSecret::new(resolved, &recorded).content_for(&cluster.namespaces["here"]);
    let entries = content.ok().map(|content| {
        let config = DockerConfig::parse_lenient(content.docker_config.expose_secret());
        let origins = content.versions.split(',').map(str::to_owned);
        let passwords = config.auths.into_values().map(|it| it.password.expose_secret().to_owned());
        origins.zip(passwords).map(|(origin, password)| format!("{origin} {password}")).collect::<Vec<_>>()
    });
    assert_eq!(entries.unwrap_or_default(), expect);
}

#[test]
fn fetched_credentials_replace_last_good_entries() {
    let old = secret("1", &[("ghcr.io", "1", "old"), ("gone.io", "1", "gone")]);
    check(
        &["ghcr.io"],
        &[("ghcr.io", "2", "new")],
        Some(old),
        &[("ghcr.io", "1", "old")],
        &["ghcr.io=vault:2 new"],
    );
}

#[test]
fn failed_registry_keeps_its_entry_and_others_are_updated() {
    let old = secret("1", &[("ghcr.io", "1", "old"), ("quay.io", "4", "kept")]);
    let read = [("ghcr.io", "2", "new"), ("quay.io", "5", "")];
    check(&["ghcr.io", "quay.io"], &read, Some(old), &[], &["ghcr.io=vault:2 new", "quay.io=vault:4 kept"]);
}

#[test]
fn new_namespace_gets_the_recorded_value_and_none_of_others() {
    let known = [("ghcr.io", "1", "known")];
    check(&["ghcr.io"], &[("ghcr.io", "2", "")], None, &known, &["ghcr.io=vault:1 known"]);
    check(&["ghcr.io"], &[("ghcr.io", "2", "")], None, &[], &[]);
}

#[test]
fn recorded_value_of_a_key_not_allowed_reaches_no_namespace() {
    let images = Arc::new(cluster_pull_secret("images", &["ghcr.io"]));
    let denied = ErrorKind::NotAllowed.at(store_key("ghcr.io"));
    let resolved = resolve::resolve(&images, &[(store_key("ghcr.io"), Err(denied))].into());
    let desired = DesiredSecret::new(resolved, &recorded("images", &[("ghcr.io", "1", "known")]));
    assert!(desired.content_for(&bare(None)).is_err());
    let own = secret("1", &[("ghcr.io", "1", "own")]);
    let content = desired.content_for(&bare(Some(own))).expect("the own entry stays");
    assert_eq!(&*content.versions, "ghcr.io=vault:1");
}

#[test]
fn own_entry_takes_precedence_over_the_recorded_value() {
    let here = Some(secret("1", &[("ghcr.io", "1", "own")]));
    let known = [("ghcr.io", "2", "other")];
    check(&["ghcr.io"], &[("ghcr.io", "3", "")], here, &known, &["ghcr.io=vault:1 own"]);
}

/// A Secret whose entries a tenant overwrote, with the versions annotation of regcred.
fn overwritten(versions: &[(&str, &str)]) -> Secret {
    let versions: Vec<_> = versions.iter().map(|(host, version)| format!("{host}=vault:{version}")).collect();
    Secret { versions: Some(versions.join(",").into()), ..secret("1", &[("tenant.test", "1", "x")]) }
}

#[test]
fn recorded_value_restores_what_a_tenant_overwrote() {
    let known = [("ghcr.io", "7", "known")];
    for annotation in [&[("ghcr.io", "7")][..], &[("ghcr.io", "6")], &[("ghcr.io", "6a7e-8feb")], &[]] {
        check(
            &["ghcr.io"],
            &[("ghcr.io", "8", "")],
            Some(overwritten(annotation)),
            &known,
            &["ghcr.io=vault:7 known"],
        );
    }
    // Versions of another store have no order.
    let other = Secret { versions: Some("ghcr.io=aws:9".into()), ..overwritten(&[]) };
    check(&["ghcr.io"], &[("ghcr.io", "8", "")], Some(other), &known, &["ghcr.io=vault:7 known"]);
}

#[test]
fn recorded_value_never_replaces_a_later_version() {
    let known = [("ghcr.io", "7", "known"), ("quay.io", "4", "kept")];
    let read = [("ghcr.io", "9", ""), ("quay.io", "5", "")];
    let alone = Some(overwritten(&[("ghcr.io", "8")]));
    check(&["ghcr.io"], &read[..1], alone, &known, &[]);
    // The other registries of the Secret proceed.
    let both = bare(Some(overwritten(&[("ghcr.io", "8"), ("quay.io", "4")])));
    let images = Arc::new(cluster_pull_secret("images", &["ghcr.io", "quay.io"]));
    let desired = DesiredSecret::new(resolve::resolve(&images, &values(&read)), &recorded("images", &known));
    let content = desired.content_for(&both).expect("a content");
    let config = DockerConfig::parse_lenient(content.docker_config.expose_secret());
    let hosts: Vec<_> = config.auths.keys().map(ToString::to_string).collect();
    assert_eq!(hosts, ["quay.io"]);
    // Alone there is nothing to write.
    let images = Arc::new(cluster_pull_secret("images", &["ghcr.io"]));
    let desired =
        DesiredSecret::new(resolve::resolve(&images, &values(&read[..1])), &recorded("images", &known));
    let error = desired.content_for(&both).expect_err("no content");
    assert_eq!(error.reason(), AppliedReason::OlderLastGood);
}

#[test]
fn withheld_entry_is_reported_and_its_version_stays_known() {
    let images = Arc::new(cluster_pull_secret("images", &["ghcr.io", "quay.io"]));
    let resolved = resolve::resolve(&images, &values(&[("ghcr.io", "9", ""), ("quay.io", "5", "new")]));
    let desired = DesiredSecret::new(resolved, &recorded("images", &[("ghcr.io", "7", "known")]));
    let mut held = overwritten(&[("ghcr.io", "8"), ("quay.io", "4")]);
    let content = desired.content_for(&bare(Some(held.clone()))).expect("a content");
    assert_eq!(&*content.versions, "ghcr.io=vault:8,quay.io=vault:5");
    let withheld: Vec<_> = content.withheld.iter().map(ToString::to_string).collect();
    assert_eq!(
        withheld,
        [
            "store vault, key ghcr.io: the last good value has version 7, which is older than version 8, which this Secret names for ghcr.io. The entry, which is missing, is written when the store can be read"
        ]
    );
    // After the write nothing differs.
    held.versions = Some(content.versions.clone());
    held.body.as_mut().expect("a body").docker_config = Some(Arc::clone(&content.docker_config));
    let again = desired.content_for(&bare(Some(held))).expect("a content");
    assert_eq!((&again.versions, again.withheld.len()), (&content.versions, 1));
}

/// The values of a docker config.
fn config(version: &str, config: &str) -> Values {
    let value = StoredValue {
        version: version.into(),
        bytes: config.as_bytes().to_vec().into(),
        expiry: None,
        account: None,
    };
    [(store_key("*"), Ok(value))].into()
}

/// The values of a docker config with a good entry for a.io, and an empty one for b.io.
fn with_bad_entry(version: &str, password: &str) -> Values {
    config(
        version,
        &format!(r#"{{"auths":{{"a.io":{{"username":"robot","password":"{password}"}},"b.io":{{}}}}}}"#),
    )
}

/// The values of a docker config with the password `one` for both.
fn good_config() -> Values {
    config("1", r#"{"auths":{"a.io":{"auth":"cm9ib3Q6b25l"},"b.io":{"auth":"cm9ib3Q6b25l"}}}"#)
}

/// The recorded values of the docker config, from the version 1.
fn recorded_config(passwords: &[(&str, &str)]) -> LastGoodValues {
    let auths = passwords.iter().map(|(host, password)| {
        (host_key(host), Credential { username: "robot".into(), password: (*password).into() })
    });
    let mut recorded = LastGoodValues::default();
    let config = DockerConfig { auths: auths.collect() };
    let value = LastGoodValue { version: "1".into(), config, expires: None };
    recorded.record("images", &registry("*"), value);
    recorded
}

#[test]
fn bad_entry_keeps_its_last_good_value_next_to_new_ones() {
    let images = Arc::new(cluster_pull_secret("images", &["*"]));
    let recorded = recorded_config(&[("a.io", "old"), ("b.io", "recorded"), ("gone.io", "gone")]);
    let own = secret("1", &[("a.io", "1", "old"), ("b.io", "1", "own"), ("gone.io", "1", "gone")]);
    let without = secret("1", &[("a.io", "1", "old")]);
    for (here, known, expect) in [
        (Some(own.clone()), &recorded, &["a.io=vault:2 new", "b.io=vault:1 own"][..]),
        (Some(without), &recorded, &["a.io=vault:2 new", "b.io=vault:1 recorded"]),
        (None, &recorded, &["a.io=vault:2 new", "b.io=vault:1 recorded"]),
        (Some(own), &LastGoodValues::default(), &["a.io=vault:2 new", "b.io=vault:1 own"]),
        (None, &LastGoodValues::default(), &["a.io=vault:2 new"]),
    ] {
        let desired = DesiredSecret::new(resolve::resolve(&images, &with_bad_entry("2", "new")), known);
        assert!(!desired.is_complete());
        let content = desired.content_for(&bare(here)).expect("a content");
        let config = DockerConfig::parse_lenient(content.docker_config.expose_secret());
        let passwords = config.auths.into_values().map(|it| it.password.expose_secret().to_owned());
        let entries = content.versions.split(',').zip(passwords).map(|(origin, it)| format!("{origin} {it}"));
        assert_eq!(entries.collect::<Vec<_>>(), expect);
    }
}

#[test]
fn entry_that_turns_bad_is_no_rotation() {
    let images = Arc::new(cluster_pull_secret("images", &["*"]));
    let [before, bad] = [good_config(), with_bad_entry("2", "one")]
        .map(|values| DesiredSecret::new(resolve::resolve(&images, &values), &LastGoodValues::default()));
    assert!(!before.has_same_credentials(&bad.resolved) && !before.is_rotated_by(&bad.resolved));
    assert!(before.is_rotated_by(&resolve::resolve(&images, &with_bad_entry("2", "three"))));
    assert!(bad.has_same_credentials(&resolve::resolve(&images, &with_bad_entry("3", "one"))));
    assert!(bad.is_rotated_by(&before.resolved), "the entry may have another password");
}

#[test]
fn older_version_is_recorded_only_where_it_was_given_up() {
    let images = Arc::new(cluster_pull_secret("images", &["ghcr.io"]));
    let registry = &images.registries[0];
    let (held_back, all) = (AcceptedOlder::default(), AcceptedOlder::All);
    let other = AcceptedOlder::Keys([store_key("ci/other")].into());
    for (given_up, accepted, expect) in
        [(None, held_back.clone(), "8"), (None, other, "8"), (Some("8"), held_back, "7"), (None, all, "7")]
    {
        let mut installation = Installation::default();
        let known = recorded("images", &[("ghcr.io", "8", "pw")]);
        let value = known.get("images", registry).expect("a value").clone();
        installation.record_value("images", registry, value);
        let mut resolved = resolve::resolve(&images, &values(&[("ghcr.io", "7", "old")]));
        resolved.registries[0].fetched.as_mut().expect("a value").given_up = given_up.map(Into::into);
        let desired = DesiredSecret::new(resolved, installation.values()).accepting_older(accepted.clone());
        desired.record(&mut installation);
        let value = installation.values().get("images", registry).expect("a value");
        assert_eq!(value.version.to_string(), expect, "{given_up:?} {accepted:?}");
    }
}

#[test]
fn registry_without_last_good_entry_is_left_out() {
    let read = [("ghcr.io", "2", "new"), ("quay.io", "5", "")];
    check(&["ghcr.io", "quay.io"], &read, None, &[], &["ghcr.io=vault:2 new"]);
    check(&["quay.io"], &read, None, &[], &[]);
}

#[test]
fn failed_whole_docker_config_keeps_hosts_not_named() {
    let old = secret("1", &[("a.io", "1", "kept"), ("ghcr.io", "1", "old")]);
    let read = [("ghcr.io", "2", "new"), ("*", "5", "")];
    check(&["*", "ghcr.io"], &read, Some(old), &[], &["a.io=vault:1 kept", "ghcr.io=vault:2 new"]);
}

#[test]
fn credentials_are_byte_identical_in_every_namespace() {
    let cluster_pull_secret = Arc::new(cluster_pull_secret("images", &["ghcr.io"]));
    let resolved = resolve::resolve(&cluster_pull_secret, &values(&[("ghcr.io", "1", "pw")]));
    let cluster = cluster(vec![("a", bare(None)), ("b", bare(Some(secret("1", &[("ghcr.io", "0", "x")]))))]);
    let desired = DesiredSecret::new(resolved, &LastGoodValues::default());
    let contents = ["a", "b"].map(|name| desired.content_for(&cluster.namespaces[name]));
    let [a, b] = contents.map(|content| content.expect("a credential"));
    assert!(Arc::ptr_eq(&a, &b));
}

#[test]
fn earlier_form_is_replaced_while_the_store_fails() {
    let mut held = secret("1", &[("docker.io", "4", "kept")]);
    let earlier = br#"{"auths":{"https://index.docker.io/v1/":{"username":"robot","password":"kept","auth":"cm9ib3Q6a2VwdA=="}}}"#;
    held.versions = Some("https://index.docker.io/v1/=vault:4".into());
    held.body.as_mut().expect("a body").docker_config = Some(Arc::new(earlier.to_vec().into()));
    check(&["docker.io"], &[("docker.io", "5", "")], Some(held), &[], &["docker.io=vault:4 kept"]);
    let known = [("docker.io", "4", "kept")];
    check(&["docker.io"], &[("docker.io", "5", "")], None, &known, &["docker.io=vault:4 kept"]);
}

/// The reason why the namespace `here` gets no content, and the problem of the ClusterPullSecret.
fn no_content(
    read: &[(&str, &str, &str)],
    here: Option<Secret>,
) -> (Option<NoContent>, Option<AppliedReason>) {
    let hosts: Vec<_> = read.iter().map(|(host, ..)| *host).collect();
    let cluster_pull_secret = Arc::new(cluster_pull_secret("images", &hosts));
    let resolved = resolve::resolve(&cluster_pull_secret, &values(read));
    let cluster = cluster(vec![("here", bare(here)), ("elsewhere", bare(None))]);
    let desired = DesiredSecret::new(resolved, &LastGoodValues::default());
    let problem = desired.problem().map(|problem| {
        assert!(problem.message.contains("ghcr.io ("), "{}", problem.message);
        assert_eq!(problem.reason, AppliedReason::TooLarge.into());
        AppliedReason::TooLarge
    });
    (desired.content_for(&cluster.namespaces["here"]).err(), problem)
}

#[test]
fn too_large_values_are_a_problem_of_the_whole_object() {
    let large = "x".repeat(500_000);
    let read = [("ghcr.io", "1", large.as_str()), ("quay.io", "1", large.as_str())];
    let (here, problem) = no_content(&read, None);
    assert_eq!((here, problem), (Some(NoContent::TooLarge), Some(AppliedReason::TooLarge)));
    assert_eq!(no_content(&read[..1], None), (None, None));
}

#[test]
fn too_large_last_good_entries_concern_their_namespace_only() {
    let large = "x".repeat(500_000);
    let read = [("ghcr.io", "1", large.as_str()), ("quay.io", "1", "")];
    let (here, problem) = no_content(&read, Some(secret("1", &[("quay.io", "1", &large)])));
    assert!(matches!(here, Some(NoContent::TooLargeHere(_))), "{here:?}");
    assert_eq!(problem, None);
    assert_eq!(no_content(&read, Some(secret("1", &[("quay.io", "1", "small")]))), (None, None));
}

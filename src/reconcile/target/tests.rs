//! Content that does not fit, in a namespace that a store admits no more.

use secrecy::ExposeSecret;

use super::*;
use crate::cluster::{Cluster, Secret};
use crate::docker_config::DockerConfig;
use crate::installation::last_good::LastGoodValues;
use crate::manifest::admission::tests::admission;
use crate::provider::stores::Values;
use crate::reconcile::apply;
use crate::reconcile::claims::Others;
use crate::reconcile::fixture::{cluster, cluster_pull_secret, namespace, secret, service_account, values};
use crate::reconcile::plan::{NamespacePlan, Planner};
use crate::reconcile::resolve;
use crate::reconcile::version_order::KeyOrder;

/// `ghcr.io` from the store `vault`, and `quay.io` from the store `aws`, with a value that fits into no Secret.
/// The store `vault` does not admit the namespace where `is_admitted` is false.
fn images(is_admitted: bool) -> (ClusterPullSecret, Values) {
    let mut images = cluster_pull_secret("images", &["ghcr.io", "quay.io"]);
    images.registries[1].store_key.store = "aws".into();
    images.admission = admission(Some(if is_admitted { &["web"] } else { &["team-*"] }), None);
    let large = "large".repeat(200 << 10);
    let mut values = values(&[("ghcr.io", "2", "new"), ("quay.io", "2", &large)]);
    let value = values.remove(&crate::reconcile::fixture::store_key("quay.io")).expect("a value");
    values.insert(images.registries[1].store_key.clone(), value);
    (images, values)
}

/// The plan for a namespace `web` with this Secret.
fn plan(images: ClusterPullSecret, values: &Values, secret: Secret) -> NamespacePlan {
    let images = Arc::new(images);
    let web = namespace(Some(secret), service_account(&["regcred"], &["regcred"]));
    let cluster: Cluster = cluster(vec![("web", web)]);
    let desired = [DesiredSecret::new(resolve::resolve(&images, values), &LastGoodValues::default())];
    let known = KnownValues { values, recorded: None, order: &|_| KeyOrder::default() };
    let claims = Claims::new(std::slice::from_ref(&images), Others::Unknown);
    let plan = Planner::new(&claims, &desired, &known, &cluster, None).plan(&cluster);
    plan.namespaces.into_iter().next().expect("a plan")
}

/// The versions annotation and the passwords after the write; otherwise the kind of the action.
fn outcome(plan: &NamespacePlan) -> String {
    match &plan.targets[0].action {
        Action::NoContent(_) => "stays".to_owned(),
        Action::Prune { .. } => "prune".to_owned(),
        Action::Read { secret_name } => format!("read {secret_name}"),
        Action::Apply { content, secret: Decision::Update { .. }, .. } => {
            let config = DockerConfig::parse_lenient(content.docker_config.expose_secret());
            let passwords = config.auths.values().map(|it| it.password.expose_secret().to_owned());
            format!("{} {}", content.versions, passwords.collect::<Vec<_>>().join("+"))
        }
        _ => "other".to_owned(),
    }
}

fn held(versions: &str, entries: &[(&str, &str, &str)]) -> Secret {
    Secret { versions: Some(versions.into()), ..secret("5", entries) }
}

fn both() -> Secret {
    held("ghcr.io=vault:1,quay.io=aws:1", &[("ghcr.io", "1", "denied"), ("quay.io", "1", "kept")])
}

#[track_caller]
fn check(is_admitted: bool, secret: Secret, expect: &str) {
    let (images, values) = images(is_admitted);
    let plan = plan(images, &values, secret);
    assert_eq!(outcome(&plan), expect);
    let report = apply::dry_run_target(&plan, &plan.targets[0]);
    let reason = report.reason.map(|reason| reason.to_string());
    assert_eq!(reason.as_deref(), Some("TooLarge"), "{:?}", report.message);
}

#[test]
fn denied_entry_goes_where_the_new_content_does_not_fit() {
    check(false, both(), "quay.io=aws:1 kept");
    check(false, held("quay.io=aws:1", &[("quay.io", "1", "kept")]), "stays");
    check(false, held("ghcr.io=vault:1", &[("ghcr.io", "1", "denied")]), "prune");
}

#[test]
fn entries_stay_where_all_are_admitted_and_nothing_fits() {
    check(true, both(), "stays");
}

#[test]
fn entry_of_a_store_no_registry_names_goes_as_well() {
    // `ghcr.io` was moved to the store `aws`, too: what is read fits into no Secret of any namespace.
    let (mut images, mut values) = images(false);
    let value = values.remove(&images.registries[0].store_key).expect("a value");
    images.registries[0].store_key.store = "aws".into();
    values.insert(images.registries[0].store_key.clone(), value);
    let plan = plan(images, &values, both());
    assert_eq!(outcome(&plan), "quay.io=aws:1 kept");
}

#[test]
fn secret_without_bytes_is_read_before_a_denied_entry_goes() {
    let mut unread = both();
    unread.body.iter_mut().for_each(|body| (body.docker_config, body.is_dropped) = (None, true));
    let (images, values) = images(false);
    assert_eq!(outcome(&plan(images, &values, unread)), "read regcred");
}

#[test]
fn denied_entry_goes_while_no_registry_can_be_read() {
    // `ghcr.io` was moved to the store `aws`, which fails.
    let mut moved = cluster_pull_secret("images", &["ghcr.io"]);
    moved.registries[0].store_key.store = "aws".into();
    moved.admission = admission(Some(&["team-*"]), None);
    let secret = held("ghcr.io=vault:1", &[("ghcr.io", "1", "denied")]);
    assert_eq!(outcome(&plan(moved, &Values::default(), secret)), "prune");
}

//! The rules of writing to a cluster, case by case.

use serde_json::json;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::*;
use crate::cluster::ownership::evidence::Evidence;
use crate::installation::last_good::LastGoodValues;
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, Deletion, ServiceAccounts};
use crate::manifest::object::LiveObject;
use crate::manifest::selection::Patterns;
use crate::object_map::ObjectMap;
use crate::reconcile::apply;
use crate::reconcile::claims::Others;
use crate::reconcile::fixture::{
    cluster, cluster_pull_secret, namespace, secret, service_account, store_key, values,
};
use crate::reconcile::resolve;
use crate::reconcile::target::PreviousName;
use crate::reconcile::version_order::KeyOrder;
use crate::report::diff::PlannedChange;
use crate::rotator::{AcceptedOlder, Refusal};

mod admission;

const READ: [(&str, &str, &str); 1] = [("ghcr.io", "2", "new")];

fn current() -> Secret {
    secret("5", &[("ghcr.io", "2", "new")])
}

fn desired(cluster_pull_secret: &Arc<ClusterPullSecret>) -> DesiredSecret {
    DesiredSecret::new(resolve::resolve(cluster_pull_secret, &values(&READ)), &LastGoodValues::default())
}

/// The plan by the values of [`READ`].
fn plan_all(claims: &Claims, desired: &[DesiredSecret], cluster: &Cluster) -> Plan {
    let values = values(&READ);
    let known = KnownValues { values: &values, recorded: None, order: &|_| KeyOrder::default() };
    Planner::new(claims, desired, &known, cluster, None).plan(cluster)
}

fn plan_one(cluster_pull_secret: &Arc<ClusterPullSecret>, desired: DesiredSecret, cluster: &Cluster) -> Plan {
    let claims = Claims::new(std::slice::from_ref(cluster_pull_secret), Others::Unknown);
    plan_all(&claims, &[desired], cluster)
}

/// The plan as text: `ClusterPullSecret/namespace: action`.
fn lines(cluster_pull_secrets: &[ClusterPullSecret], cluster: &Cluster) -> Vec<String> {
    lines_beside(Others::Unknown, cluster_pull_secrets, cluster)
}

/// The same beside other ClusterPullSecrets.
fn lines_beside(
    others: Others,
    cluster_pull_secrets: &[ClusterPullSecret],
    cluster: &Cluster,
) -> Vec<String> {
    let cluster_pull_secrets: Vec<_> = cluster_pull_secrets.iter().cloned().map(Arc::new).collect();
    let desired: Vec<_> = cluster_pull_secrets.iter().map(desired).collect();
    let claims = Claims::new(&cluster_pull_secrets, others);
    let plan = plan_all(&claims, &desired, cluster);
    let lines = plan.namespaces.iter().flat_map(|it| it.targets.iter().map(|target| line(it, target)));
    lines.collect()
}

fn line(namespace: &NamespacePlan, target: &Target) -> String {
    let Target { owner, action, previous, .. } = target;
    let text = match action {
        Action::Terminating => "terminating".to_owned(),
        Action::NoContent(no_content) => no_content.reason().to_string(),
        Action::None => "none".to_owned(),
        Action::Read { secret_name } => format!("read {secret_name} first"),
        Action::Prune { .. } => "prune".to_owned(),
        Action::Apply { secret: Decision::Refuse(refusal), .. } => refusal.reason().to_string(),
        Action::Apply { secret: Decision::Unchanged, .. } => "unchanged".to_owned(),
        Action::Apply { secret: Decision::Create, .. } => "create".to_owned(),
        Action::Apply { secret: Decision::Read, .. } => "read".to_owned(),
        Action::Apply { secret: Decision::Outdated(conflict), .. } => {
            format!("outdated by {}", conflict.held)
        }
        Action::Apply { secret: Decision::Update { resource_version, .. }, .. } => {
            format!("update at {resource_version}")
        }
    };
    let missing = match action {
        Action::Apply { missing, .. } if !missing.is_empty() => format!(" no {}", missing.join(", ")),
        _ => String::new(),
    };
    let entry_changes = entry_changes_text(namespace, action.entry_changes(), owner);
    let previous: Vec<_> = previous.iter().map(|it| previous_text(namespace, it)).collect();
    format!(
        "{}/{}: {text}{entry_changes}{missing}{}",
        owner.cluster_pull_secret,
        namespace.name,
        previous.concat()
    )
}

fn previous_text(namespace: &NamespacePlan, PreviousName { owner, entry_changes }: &PreviousName) -> String {
    let entry_changes = entry_changes_text(namespace, entry_changes, owner);
    format!(" then without {}{entry_changes}", owner.secret_name)
}

/// The list of each ServiceAccount after its change.
fn entry_changes_text(namespace: &NamespacePlan, changes: &[EntryChange], owner: &Ownership) -> String {
    let texts = changes.iter().map(|change| {
        let list = match namespace.decide_entry(change, owner) {
            patcher::Decision::Patch(patch) => {
                let mut after = namespace.service_accounts[&change.service_account].clone();
                patch.apply_to(&mut after, &owner.secret_name, (String::new(), true));
                after.image_pull_secrets.names().join("+")
            }
            patcher::Decision::Unchanged => "as it is".to_owned(),
            decision => format!("{decision:?}"),
        };
        format!(" {}={list}", change.service_account)
    });
    texts.collect()
}

#[track_caller]
fn check(namespaces: Vec<(&str, Namespace)>, expect: &[&str]) {
    assert_eq!(lines(&[cluster_pull_secret("images", &["ghcr.io"])], &cluster(namespaces)), expect);
}

#[test]
fn new_namespace_gets_the_secret_and_the_entry() {
    check(
        vec![("web", namespace(None, service_account(&["own"], &[])))],
        &["images/web: create default=own+regcred"],
    );
}

#[test]
fn second_reconciliation_writes_nothing() {
    let done = namespace(Some(current()), service_account(&["own", "regcred"], &["regcred"]));
    check(vec![("web", done)], &["images/web: unchanged default=as it is"]);
}

#[test]
fn new_version_updates_the_secret_only() {
    let old =
        namespace(Some(secret("4", &[("ghcr.io", "1", "old")])), service_account(&["regcred"], &["regcred"]));
    check(vec![("web", old)], &["images/web: update at 4 default=as it is"]);
}

#[test]
fn foreign_secret_is_refused_without_entry_changes() {
    let foreign = Secret { evidence: Evidence::Foreign, ..current() };
    check(vec![("web", namespace(Some(foreign), service_account(&[], &[])))], &["images/web: Conflict"]);
}

#[test]
fn terminating_namespace_needs_no_work() {
    let dying = Namespace { terminating: true, ..namespace(None, service_account(&[], &[])) };
    check(vec![("web", dying)], &["images/web: terminating"]);
}

#[test]
fn missing_service_account_is_reported_secret_created() {
    let bare =
        Namespace { service_accounts: ObjectMap::default(), ..namespace(None, service_account(&[], &[])) };
    check(vec![("web", bare)], &["images/web: create no default"]);
}

#[test]
fn first_of_two_claims_on_one_secret_wins() {
    let both = [cluster_pull_secret("images", &["ghcr.io"]), cluster_pull_secret("younger", &["ghcr.io"])];
    let cluster = cluster(vec![("web", namespace(None, service_account(&[], &[])))]);
    assert_eq!(lines(&both, &cluster), ["images/web: create default=regcred", "younger/web: Conflict"]);
}

#[test]
fn creator_of_the_secret_keeps_it_in_any_order() {
    let both = [cluster_pull_secret("younger", &["ghcr.io"]), cluster_pull_secret("images", &["ghcr.io"])];
    let web = namespace(Some(current()), service_account(&["regcred"], &["regcred"]));
    let expect = ["younger/web: Conflict", "images/web: unchanged default=as it is"];
    assert_eq!(lines(&both, &cluster(vec![("web", web)])), expect);
}

#[test]
fn secret_is_taken_over_in_place_by_the_next_claim() {
    let mut images = cluster_pull_secret("images", &["ghcr.io"]);
    images.selection.exclude = Patterns::compile(&["web".to_owned()]).expect("a glob");
    let both = [images, cluster_pull_secret("heir", &["ghcr.io"])];
    let web = namespace(Some(current()), service_account(&["regcred"], &["regcred"]));
    assert_eq!(lines(&both, &cluster(vec![("web", web)])), ["heir/web: update at 5 default=regcred"]);
}

#[test]
fn claim_holds_without_being_reconciled() {
    let both = [cluster_pull_secret("images", &["ghcr.io"]), cluster_pull_secret("younger", &["ghcr.io"])];
    let cluster = cluster(vec![("web", namespace(None, service_account(&[], &[])))]);
    let both = both.map(Arc::new);
    let claims = Claims::new(&both, Others::Unknown);
    let plan = plan_all(&claims, &[desired(&both[1])], &cluster);
    let action = &plan.namespaces[0].targets[0].action;
    assert!(
        matches!(action, Action::Apply { secret: Decision::Refuse(Refusal::ClaimedBy(by)), .. } if by == "images")
    );
}

#[test]
fn own_entry_without_its_secret_is_removed() {
    let mut cluster_pull_secret = cluster_pull_secret("images", &["ghcr.io"]);
    cluster_pull_secret.selection.exclude = Patterns::compile(&["old-*".to_owned()]).expect("a glob");
    let [ours, theirs, unknown] = [Some("images"), Some("other"), None].map(|added_for| ServiceAccount {
        added: [("regcred".into(), added_for.map(str::to_owned))].into(),
        ..service_account(&["own", "regcred"], &[])
    });
    let cluster = cluster(vec![
        ("old-a", namespace(None, ours)),
        ("old-b", namespace(None, theirs)),
        ("old-c", namespace(None, unknown)),
        ("web", namespace(Some(current()), service_account(&["regcred"], &["regcred"]))),
    ]);
    assert_eq!(
        lines(&[cluster_pull_secret], &cluster),
        ["images/old-a: prune default=own", "images/web: unchanged default=as it is"]
    );
}

#[test]
fn entry_beside_a_foreign_secret_is_removed_alone() {
    let mut images = cluster_pull_secret("images", &["ghcr.io"]);
    images.selection.exclude = Patterns::compile(&["old".to_owned()]).expect("a glob");
    let images = Arc::new(images);
    let account = ServiceAccount {
        added: [("regcred".into(), Some("images".to_owned()))].into(),
        ..service_account(&["own", "regcred"], &[])
    };
    for (evidence, is_removed) in [(Evidence::Foreign, false), (current().evidence, true)] {
        let secret = Secret { evidence, ..current() };
        let web = namespace(Some(current()), service_account(&["regcred"], &["regcred"]));
        let cluster = cluster(vec![("old", namespace(Some(secret), account.clone())), ("web", web)]);
        let plan = plan_one(&images, desired(&images), &cluster);
        let report = apply::dry_run_target(&plan.namespaces[0], &plan.namespaces[0].targets[0]);
        assert_eq!(
            report.changes.contains(&PlannedChange::SecretRemoved),
            is_removed,
            "{:?}",
            report.changes
        );
        assert_eq!(report.service_accounts.len(), 1);
    }
}

/// A ClusterPullSecret that is an object and has had other names for its Secrets.
fn object(previous: &[&str], deleting: bool, deletion: Deletion) -> ClusterPullSecret {
    let mut object =
        LiveObject::from_json(&json!({"metadata": {"uid": "u-1"}, "status": {"secretNames": previous}}));
    object.deleting = deleting;
    ClusterPullSecret { object: Some(object), deletion, ..cluster_pull_secret("images", &["ghcr.io"]) }
}

/// The Secret with its ClusterPullSecret as owner, as the baseline wrote it.
fn owned() -> Secret {
    let reference = OwnerReference {
        api_version: crate::manifest::API_VERSION.into(),
        kind: crate::manifest::CLUSTER_PULL_SECRET.into(),
        ..OwnerReference::default()
    };
    Secret { owners: vec![reference], ..current() }
}

#[test]
fn renamed_secret_is_created_before_the_previous_is_pruned() {
    let mut web = namespace(None, service_account(&["own", "was"], &["was"]));
    web.secrets.insert("was".into(), owned());
    let cluster = cluster(vec![("web", web)]);
    assert_eq!(
        lines(&[object(&["was", "regcred"], false, Deletion::Delete)], &cluster),
        ["images/web: create default=own+was+regcred then without was default=own"]
    );
}

#[test]
fn previous_secret_without_bytes_is_read_before_it_is_pruned() {
    let images = ClusterPullSecret {
        registries: cluster_pull_secret("images", &["ghcr.io", "quay.io"]).registries,
        ..object(&["was", "regcred"], false, Deletion::Delete)
    };
    let whole = secret("5", &[("ghcr.io", "1", "old"), ("quay.io", "1", "last good")]);
    let mut dropped = whole.clone();
    dropped.body.iter_mut().for_each(|body| (body.docker_config, body.is_dropped) = (None, true));
    let unknown = Secret { body: None, ..whole.clone() };
    let read_first = "images/web: read was first then without was";
    let create = "images/web: create default=regcred then without was";
    for (was, expect) in [(dropped, read_first), (unknown, read_first), (whole, create)] {
        let mut web = namespace(None, service_account(&[], &[]));
        web.secrets.insert("was".into(), was);
        assert_eq!(lines(std::slice::from_ref(&images), &cluster(vec![("web", web)])), [expect]);
    }
}

#[test]
fn previous_name_claimed_by_another_is_left_to_it() {
    let mut web = namespace(None, service_account(&["was"], &["was"]));
    web.secrets.insert("was".into(), owned());
    let other = ClusterPullSecret { secret_name: "was".into(), ..cluster_pull_secret("other", &["ghcr.io"]) };
    let both = [object(&["was"], false, Deletion::Delete), other];
    let expect = ["images/web: create default=was+regcred", "other/web: update at 5 default=was"];
    assert_eq!(lines(&both, &cluster(vec![("web", web)])), expect);
}

#[test]
fn deleted_cluster_pull_secret_prunes_unless_retained() {
    let web =
        || cluster(vec![("web", namespace(Some(owned()), service_account(&["regcred"], &["regcred"])))]);
    assert_eq!(lines(&[object(&[], true, Deletion::Delete)], &web()), ["images/web: prune default="]);
    // Only the owner reference of the baseline is removed, by which the garbage collector would delete the Secret.
    assert_eq!(
        lines(&[object(&[], true, Deletion::Retain)], &web()),
        ["images/web: update at 5 default=as it is"]
    );
}

#[test]
fn unread_secret_with_last_good_entry_is_read_first() {
    let seen = Secret { body: None, ..secret("5", &[("ghcr.io", "1", "old"), ("quay.io", "1", "kept")]) };
    let web = cluster(vec![("web", namespace(Some(seen), service_account(&["regcred"], &["regcred"])))]);
    // quay.io cannot be read.
    assert_eq!(
        lines(&[cluster_pull_secret("images", &["ghcr.io", "quay.io"])], &web),
        ["images/web: read regcred first"]
    );
}

#[test]
fn secret_with_a_long_annotation_is_read_first() {
    let mut seen = Secret { versions: Some("x".repeat(200 << 10).into()), ..current() };
    seen.drop_long_versions();
    let web = namespace(Some(seen), service_account(&["regcred"], &["regcred"]));
    check(vec![("web", web)], &["images/web: read regcred first"]);
}

#[test]
fn deleted_cluster_pull_secret_leaves_the_secret_to_its_rival() {
    let rival = cluster_pull_secret("rival", &["ghcr.io"]);
    let web = namespace(Some(owned()), service_account(&["regcred"], &["regcred"]));
    let both = [object(&[], true, Deletion::Delete), rival];
    assert_eq!(lines(&both, &cluster(vec![("web", web)])), ["rival/web: update at 5 default=regcred"]);
}

#[test]
fn deleted_one_removes_entries_without_access_to_secrets() {
    let mut cluster =
        cluster(vec![("web", namespace(None, service_account(&["own", "regcred"], &["regcred"])))]);
    let forbidden = crate::cluster::error::Error::Forbidden("secrets is forbidden".into());
    cluster.unreadable.insert("regcred".into(), forbidden);
    assert_eq!(lines(&[object(&[], true, Deletion::Delete)], &cluster), ["images/web: prune default=own"]);
    assert_eq!(lines(&[object(&[], false, Deletion::Delete)], &cluster), Vec::<String>::new());
}

#[test]
fn secret_known_by_metadata_is_read_before_the_decision() {
    let seen = Secret { body: None, ..current() };
    let web = namespace(Some(seen), service_account(&["regcred"], &["regcred"]));
    check(vec![("web", web)], &["images/web: read default=as it is"]);
}

#[test]
fn secret_of_another_creator_is_refused_to_the_first() {
    let theirs = Secret { evidence: Evidence::Signed("other".into()), ..current() };
    check(vec![("web", namespace(Some(theirs), service_account(&[], &[])))], &["images/web: Conflict"]);
}

#[test]
fn secret_of_a_missing_cluster_pull_secret_is_taken_over() {
    let theirs = Secret { evidence: Evidence::Signed("gone".into()), ..current() };
    let cluster = cluster(vec![("web", namespace(Some(theirs), service_account(&[], &[])))]);
    let images = [cluster_pull_secret("images", &["ghcr.io"])];
    let nobody = Others::Invalid([].into());
    assert_eq!(lines_beside(nobody, &images, &cluster), ["images/web: update at 5 default=regcred"]);
    let invalid = Others::Invalid(["gone".to_owned()].into());
    assert_eq!(lines_beside(invalid, &images, &cluster), ["images/web: Conflict"]);
    assert_eq!(lines_beside(Others::Unknown, &images, &cluster), ["images/web: Conflict"]);
}

#[test]
fn copy_is_taken_over_only_where_it_is_selected() {
    let mut images = cluster_pull_secret("images", &["ghcr.io"]);
    images.selection.exclude = Patterns::compile(&["old-*".to_owned()]).expect("a glob");
    let copy = Secret { evidence: Evidence::Labelled(Some("images".into())), ..current() };
    let cluster = cluster(vec![
        ("old-a", namespace(Some(copy.clone()), service_account(&["regcred"], &[]))),
        ("web", namespace(Some(copy), service_account(&["regcred"], &["regcred"]))),
    ]);
    assert_eq!(lines(&[images], &cluster), ["images/web: update at 5 default=as it is"]);
}

#[test]
fn entry_without_annotation_goes_with_its_secret() {
    let mut images = cluster_pull_secret("images", &["ghcr.io"]);
    images.selection.exclude = Patterns::compile(&["old-*".to_owned()]).expect("a glob");
    let mut old = namespace(Some(current()), service_account(&["own", "regcred"], &[]));
    old.service_accounts.insert("builder".into(), service_account(&["own"], &[]));
    let cluster = cluster(vec![
        ("old-a", old),
        ("web", namespace(Some(current()), service_account(&["regcred"], &["regcred"]))),
    ]);
    let expect = ["images/old-a: prune default=own", "images/web: unchanged default=as it is"];
    assert_eq!(lines(&[images], &cluster), expect);
}

#[test]
fn namespace_not_selected_any_more_loses_only_own_objects() {
    let mut cluster_pull_secret = cluster_pull_secret("images", &["ghcr.io"]);
    cluster_pull_secret.selection.exclude = Patterns::compile(&["old-*".to_owned()]).expect("a glob");
    let ours = namespace(Some(current()), service_account(&["own", "regcred"], &["regcred"]));
    let theirs = Secret { evidence: Evidence::Signed("other".into()), ..current() };
    let cluster = cluster(vec![
        ("old-a", ours.clone()),
        ("old-b", namespace(Some(theirs), service_account(&["regcred"], &["regcred"]))),
        ("old-c", namespace(None, service_account(&["regcred"], &[]))),
        ("web", ours),
    ]);
    assert_eq!(
        lines(&[cluster_pull_secret], &cluster),
        ["images/old-a: prune default=own", "images/web: unchanged default=as it is"]
    );
}

#[test]
fn service_account_not_named_any_more_loses_the_entry() {
    let mut web = namespace(Some(current()), service_account(&["regcred"], &["regcred"]));
    web.service_accounts.insert("builder".into(), service_account(&["own", "regcred"], &["regcred"]));
    web.service_accounts.insert("theirs".into(), service_account(&["regcred"], &[]));
    check(vec![("web", web)], &["images/web: unchanged builder=own default=as it is"]);
}

#[test]
fn service_accounts_all_selects_every_one() {
    let mut cluster_pull_secret = cluster_pull_secret("images", &["ghcr.io"]);
    cluster_pull_secret.service_accounts = ServiceAccounts::All;
    let mut web = namespace(None, service_account(&[], &[]));
    web.service_accounts.insert("builder".into(), service_account(&["own"], &[]));
    let cluster = cluster(vec![("web", web)]);
    assert_eq!(
        lines(&[cluster_pull_secret], &cluster),
        ["images/web: create builder=own+regcred default=regcred"]
    );
}

/// A namespace with a Secret at this version, in which the ServiceAccount `default` lacks the entry.
fn at_version(version: &str) -> Namespace {
    namespace(Some(secret("5", &[("ghcr.io", version, "held")])), service_account(&[], &[]))
}

#[test]
fn later_version_stays_and_other_namespaces_are_written() {
    let cluster = cluster(vec![("forged", at_version("9")), ("web", at_version("1"))]);
    assert_eq!(
        lines(&[cluster_pull_secret("images", &["ghcr.io"])], &cluster),
        ["images/forged: outdated by 9 default=regcred", "images/web: update at 5 default=regcred"]
    );
}

#[test]
fn accepted_older_version_is_written_over_the_later_one() {
    let cluster = cluster(vec![("restored", at_version("9"))]);
    let images = Arc::new(cluster_pull_secret("images", &["ghcr.io"]));
    let desired = desired(&images).accepting_older(AcceptedOlder::All);
    let plan = plan_one(&images, desired, &cluster);
    let [namespace] = plan.namespaces.as_slice() else { panic!("one namespace") };
    let target = &namespace.targets[0];
    assert_eq!(line(namespace, target), "images/restored: update at 5 default=regcred");
    let Action::Apply { content, .. } = &target.action else { panic!("a write") };
    let given_up = content.fetched.given_up(namespace.secrets.get(&target.owner.secret_name));
    assert_eq!(given_up.iter().map(|it| it.held.to_string()).collect::<Vec<_>>(), ["9"]);
}

#[test]
fn later_version_of_a_key_that_was_not_accepted_stays() {
    let hosts = ["ghcr.io", "quay.io"];
    let held = secret("5", &[("ghcr.io", "9", "held"), ("quay.io", "9", "held")]);
    let cluster = cluster(vec![("restored", namespace(Some(held), service_account(&[], &["regcred"])))]);
    let images = Arc::new(cluster_pull_secret("images", &hosts));
    for (accepted, expect) in
        [(&hosts[..1], "outdated by 9"), (&hosts[1..], "outdated by 9"), (&hosts[..], "update at 5")]
    {
        let keys = accepted.iter().map(|host| store_key(host)).collect();
        let read = hosts.map(|host| (host, "7", "new"));
        let resolved = resolve::resolve(&images, &values(&read));
        let desired = DesiredSecret::new(resolved, &LastGoodValues::default());
        let desired = desired.accepting_older(AcceptedOlder::Keys(keys));
        let plan = plan_one(&images, desired, &cluster);
        let line = line(&plan.namespaces[0], &plan.namespaces[0].targets[0]);
        assert!(line.starts_with(&format!("images/restored: {expect}")), "{accepted:?}: {line}");
    }
}

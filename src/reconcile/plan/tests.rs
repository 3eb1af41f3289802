//! The rules of writing to a cluster, one by one.

use serde_json::json;

use super::*;
use crate::manifest::cluster_pull_secret::{Deletion, ServiceAccounts};
use crate::manifest::object::Object;
use crate::manifest::selection::Patterns;
use crate::reconcile::fixture::{cluster, cluster_pull_secret, namespace, secret, service_account, values};
use crate::reconcile::resolve;
use crate::reconcile::target::PreviousName;
use crate::rotator::Refusal;

const READ: [(&str, &str, &str); 1] = [("ghcr.io", "2", "new")];

fn current() -> Secret {
    secret("5", &[("ghcr.io", "2", "new")])
}

fn contents(cluster_pull_secret: &Arc<ClusterPullSecret>, cluster: &Cluster) -> DesiredSecret {
    DesiredSecret::new(resolve::resolve(cluster_pull_secret, &values(&READ)), cluster)
}

/// The plan as text: `pull secret/namespace: what`.
fn lines(cluster_pull_secrets: &[ClusterPullSecret], cluster: &Cluster) -> Vec<String> {
    let cluster_pull_secrets: Vec<_> = cluster_pull_secrets.iter().cloned().map(Arc::new).collect();
    let contents: Vec<_> = cluster_pull_secrets.iter().map(|it| contents(it, cluster)).collect();
    let plan = plan(&cluster_pull_secrets, &contents, cluster);
    let line = |namespace: &NamespacePlan, target: &Target| {
        let Target { owner, step, previous, .. } = target;
        let entry_changes: Vec<_> = step
            .entry_changes()
            .iter()
            .map(|entry_change| wish_text(namespace, entry_change, owner))
            .collect();
        let text = match step {
            Action::Terminating => "terminating".to_owned(),
            Action::NoCredential => "no credential".to_owned(),
            Action::None => "absent".to_owned(),
            Action::Read => "look".to_owned(),
            Action::Prune { .. } => "leave".to_owned(),
            Action::Apply { secret: Decision::Refuse(refusal), .. } => refusal.reason().to_string(),
            Action::Apply { secret: Decision::Unchanged, .. } => "unchanged".to_owned(),
            Action::Apply { secret: Decision::Create, .. } => "create".to_owned(),
            Action::Apply { secret: Decision::Read, .. } => "read".to_owned(),
            Action::Apply { secret: Decision::Update { resource_version, .. }, .. } => {
                format!("update at {resource_version}")
            }
        };
        let missing = match step {
            Action::Apply { missing, .. } if !missing.is_empty() => format!(" no {}", missing.join(", ")),
            _ => String::new(),
        };
        let previous: Vec<_> = previous.iter().map(|it| former_text(namespace, it)).collect();
        format!(
            "{}/{}: {text}{}{missing}{}",
            owner.cluster_pull_secret,
            namespace.name,
            entry_changes.concat(),
            previous.concat()
        )
    };
    let targets = |it: &NamespacePlan| it.targets.iter().map(|target| line(it, target)).collect::<Vec<_>>();
    plan.namespaces.iter().flat_map(targets).collect()
}

fn former_text(namespace: &NamespacePlan, PreviousName { owner, entry_changes }: &PreviousName) -> String {
    let entry_changes: Vec<_> =
        entry_changes.iter().map(|entry_change| wish_text(namespace, entry_change, owner)).collect();
    format!(" then without {}{}", owner.secret_name, entry_changes.concat())
}

/// The list that a wish leads to.
fn wish_text(namespace: &NamespacePlan, entry_change: &EntryChange, owner: &Ownership) -> String {
    let list = namespace.change(entry_change, owner).map(|change| change.image_pull_secrets.join("+"));
    format!(" {}={}", entry_change.service_account, list.unwrap_or_else(|| "as it is".into()))
}

#[track_caller]
fn check(namespaces: Vec<(&str, Namespace)>, expect: &[&str]) {
    assert_eq!(lines(&[cluster_pull_secret("images", &["ghcr.io"])], &cluster(namespaces)), expect);
}

#[test]
fn a_new_namespace_gets_the_secret_and_its_service_account_the_entry() {
    check(
        vec![("web", namespace(None, service_account(&["own"], &[])))],
        &["images/web: create default=own+regcred"],
    );
}

#[test]
fn second_pass_writes_nothing() {
    let done = namespace(Some(current()), service_account(&["own", "regcred"], &["regcred"]));
    check(vec![("web", done)], &["images/web: unchanged default=as it is"]);
}

#[test]
fn a_new_version_changes_the_secret_only() {
    let old =
        namespace(Some(secret("4", &[("ghcr.io", "1", "old")])), service_account(&["regcred"], &["regcred"]));
    check(vec![("web", old)], &["images/web: update at 4 default=as it is"]);
}

#[test]
fn foreign_secret_is_refused_and_its_service_accounts_are_left_alone() {
    let foreign = Secret { managed: false, cluster_pull_secret: None, ..current() };
    check(vec![("web", namespace(Some(foreign), service_account(&[], &[])))], &["images/web: Conflict"]);
}

#[test]
fn terminating_is_no_work() {
    let dying = Namespace { terminating: true, ..namespace(None, service_account(&[], &[])) };
    check(vec![("web", dying)], &["images/web: terminating"]);
}

#[test]
fn a_missing_service_account_is_told_and_the_secret_is_made() {
    let bare = Namespace { service_accounts: BTreeMap::new(), ..namespace(None, service_account(&[], &[])) };
    check(vec![("web", bare)], &["images/web: create no default"]);
}

#[test]
fn of_two_pull_secrets_with_one_secret_name_the_first_has_it() {
    let both = [cluster_pull_secret("images", &["ghcr.io"]), cluster_pull_secret("younger", &["ghcr.io"])];
    let cluster = cluster(vec![("web", namespace(None, service_account(&[], &[])))]);
    assert_eq!(lines(&both, &cluster), ["images/web: create default=regcred", "younger/web: Conflict"]);
}

#[test]
fn of_two_pull_secrets_the_one_that_made_the_secret_keeps_it_whatever_their_order() {
    let both = [cluster_pull_secret("younger", &["ghcr.io"]), cluster_pull_secret("images", &["ghcr.io"])];
    let web = namespace(Some(current()), service_account(&["regcred"], &["regcred"]));
    let expect = ["younger/web: Conflict", "images/web: unchanged default=as it is"];
    assert_eq!(lines(&both, &cluster(vec![("web", web)])), expect);
}

#[test]
fn a_namespace_is_handed_from_one_pull_secret_to_another_in_place() {
    let mut images = cluster_pull_secret("images", &["ghcr.io"]);
    images.selection.exclude = Patterns::compile(&["web".to_owned()]).expect("a glob");
    let both = [images, cluster_pull_secret("heir", &["ghcr.io"])];
    let web = namespace(Some(current()), service_account(&["regcred"], &["regcred"]));
    assert_eq!(lines(&both, &cluster(vec![("web", web)])), ["heir/web: update at 5 default=regcred"]);
}

#[test]
fn a_pull_secret_that_is_not_of_the_pass_still_has_its_claim() {
    let both = [cluster_pull_secret("images", &["ghcr.io"]), cluster_pull_secret("younger", &["ghcr.io"])];
    let cluster = cluster(vec![("web", namespace(None, service_account(&[], &[])))]);
    let both = both.map(Arc::new);
    let plan = plan(&both, &[contents(&both[1], &cluster)], &cluster);
    let step = &plan.namespaces[0].targets[0].step;
    assert!(
        matches!(step, Action::Apply { secret: Decision::Refuse(Refusal::ClaimedBy(by)), .. } if by == "images")
    );
}

#[test]
fn an_entry_whose_secret_is_gone_is_removed_where_it_was_added_for_us() {
    let mut cluster_pull_secret = cluster_pull_secret("images", &["ghcr.io"]);
    cluster_pull_secret.selection.exclude = Patterns::compile(&["old-*".to_owned()]).expect("a glob");
    let entry = |added_for: Option<&str>| ServiceAccount {
        added: [("regcred".to_owned(), added_for.map(str::to_owned))].into(),
        ..service_account(&["own", "regcred"], &[])
    };
    let cluster = cluster(vec![
        ("old-a", namespace(None, entry(Some("images")))),
        ("old-b", namespace(None, entry(Some("other")))),
        ("old-c", namespace(None, entry(None))),
        ("web", namespace(Some(current()), service_account(&["regcred"], &["regcred"]))),
    ]);
    assert_eq!(
        lines(&[cluster_pull_secret], &cluster),
        ["images/old-a: leave default=own", "images/web: unchanged default=as it is"]
    );
}

/// A ClusterPullSecret that is an object and had other names for its Secrets before.
fn object(previous: &[&str], deleting: bool, deletion: Deletion) -> ClusterPullSecret {
    let mut object = Object::of(&json!({"metadata": {"uid": "u-1"}, "status": {"secretNames": previous}}));
    object.deleting = deleting;
    ClusterPullSecret { object: Some(object), deletion, ..cluster_pull_secret("images", &["ghcr.io"]) }
}

/// The Secret as it stands once its ClusterPullSecret owns it.
fn owned() -> Secret {
    let owners = Ownership::of(&object(&[], false, Deletion::Delete), "regcred").references(&[]);
    Secret { owners: owners.expect("one reference"), ..current() }
}

#[test]
fn a_renamed_secret_is_made_first_and_the_former_one_goes_after() {
    let mut web = namespace(None, service_account(&["own", "was"], &["was"]));
    web.secrets.insert("was".into(), owned());
    let cluster = cluster(vec![("web", web)]);
    assert_eq!(
        lines(&[object(&["was", "regcred"], false, Deletion::Delete)], &cluster),
        ["images/web: create default=own+was+regcred then without was default=own"]
    );
}

#[test]
fn a_former_name_that_another_pull_secret_wants_is_left_to_it() {
    let mut web = namespace(None, service_account(&["was"], &["was"]));
    web.secrets.insert("was".into(), owned());
    let other = ClusterPullSecret { secret_name: "was".into(), ..cluster_pull_secret("other", &["ghcr.io"]) };
    let both = [object(&["was"], false, Deletion::Delete), other];
    let expect = ["images/web: create default=was+regcred", "other/web: update at 5 default=was"];
    assert_eq!(lines(&both, &cluster(vec![("web", web)])), expect);
}

#[test]
fn a_pull_secret_that_is_deleted_takes_its_secrets_with_it_unless_they_are_retained() {
    let web =
        || cluster(vec![("web", namespace(Some(owned()), service_account(&["regcred"], &["regcred"])))]);
    assert_eq!(lines(&[object(&[], true, Deletion::Delete)], &web()), ["images/web: leave default="]);
    // The reference by which the garbage collector would remove it goes, nothing else.
    assert_eq!(
        lines(&[object(&[], true, Deletion::Retain)], &web()),
        ["images/web: update at 5 default=as it is"]
    );
}

#[test]
fn the_last_good_entry_of_a_secret_that_was_not_read_yet_is_looked_for_first() {
    let seen = Secret { body: None, ..secret("5", &[("ghcr.io", "1", "old"), ("quay.io", "1", "kept")]) };
    let web = cluster(vec![("web", namespace(Some(seen), service_account(&["regcred"], &["regcred"])))]);
    // Nothing can be read for quay.io.
    assert_eq!(lines(&[cluster_pull_secret("images", &["ghcr.io", "quay.io"])], &web), ["images/web: look"]);
}

#[test]
fn one_that_goes_leaves_what_it_shares_to_its_rival() {
    let rival = cluster_pull_secret("rival", &["ghcr.io"]);
    let web = namespace(Some(owned()), service_account(&["regcred"], &["regcred"]));
    let both = [object(&[], true, Deletion::Delete), rival];
    assert_eq!(lines(&both, &cluster(vec![("web", web)])), ["rival/web: update at 5 default=regcred"]);
}

#[test]
fn one_that_goes_takes_its_entries_back_even_where_it_may_not_see_its_secrets() {
    let mut cluster =
        cluster(vec![("web", namespace(None, service_account(&["own", "regcred"], &["regcred"])))]);
    let forbidden = crate::cluster::error::Error::Forbidden("secrets is forbidden".into());
    cluster.unreadable.insert("regcred".into(), forbidden);
    assert_eq!(lines(&[object(&[], true, Deletion::Delete)], &cluster), ["images/web: leave default=own"]);
    assert_eq!(lines(&[object(&[], false, Deletion::Delete)], &cluster), Vec::<String>::new());
}

#[test]
fn a_secret_of_which_only_the_metadata_was_seen_is_read_before_anything_is_decided() {
    let seen = Secret { body: None, ..current() };
    let web = namespace(Some(seen), service_account(&["regcred"], &["regcred"]));
    check(vec![("web", web)], &["images/web: read default=as it is"]);
}

#[test]
fn a_secret_that_another_pull_secret_made_is_refused_even_to_the_first() {
    let theirs = Secret { cluster_pull_secret: Some("other".into()), ..current() };
    check(vec![("web", namespace(Some(theirs), service_account(&[], &[])))], &["images/web: Conflict"]);
}

#[test]
fn a_namespace_that_left_the_selection_loses_what_we_made_and_nothing_else() {
    let mut cluster_pull_secret = cluster_pull_secret("images", &["ghcr.io"]);
    cluster_pull_secret.selection.exclude = Patterns::compile(&["old-*".to_owned()]).expect("a glob");
    let ours = || namespace(Some(current()), service_account(&["own", "regcred"], &["regcred"]));
    let theirs = Secret { cluster_pull_secret: Some("other".into()), ..current() };
    let cluster = cluster(vec![
        ("old-a", ours()),
        ("old-b", namespace(Some(theirs), service_account(&["regcred"], &["regcred"]))),
        ("old-c", namespace(None, service_account(&["regcred"], &[]))),
        ("web", Namespace { terminating: false, ..ours() }),
    ]);
    assert_eq!(
        lines(&[cluster_pull_secret], &cluster),
        ["images/old-a: leave default=own", "images/web: unchanged default=as it is"]
    );
}

#[test]
fn a_service_account_that_is_wanted_no_more_loses_our_entry() {
    let mut web = namespace(Some(current()), service_account(&["regcred"], &["regcred"]));
    web.service_accounts.insert("builder".into(), service_account(&["own", "regcred"], &["regcred"]));
    web.service_accounts.insert("theirs".into(), service_account(&["regcred"], &[]));
    check(vec![("web", web)], &["images/web: unchanged builder=own default=as it is"]);
}

#[test]
fn all_service_accounts_means_all() {
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

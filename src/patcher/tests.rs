//! The decisions about the `imagePullSecrets` of a ServiceAccount, case by case.

use super::*;
use crate::cluster::error::ErrorReason;
use crate::cluster::script::{conflict, exchange, play, refused};
use crate::manifest::cluster_pull_secret::Existing;
use proptest::prelude::*;

fn owner(secret_name: &str) -> Ownership {
    Ownership {
        cluster_pull_secret: "images".into(),
        secret_name: secret_name.into(),
        existing: Existing::Refuse,
        key: None,
    }
}

/// `added` as in the annotation; a name alone was added for `images`.
fn service_account(list: &[&str], added: &[&str]) -> ServiceAccount {
    let added = added.iter().map(|entry| {
        let (name, added_for) = entry.split_once('=').unwrap_or((entry, "images"));
        (name.into(), Some(added_for.to_owned()).filter(|it| !it.is_empty()))
    });
    ServiceAccount {
        resource_version: "7".into(),
        image_pull_secrets: list.iter().map(|name| (*name).into()).collect(),
        added: added.collect(),
    }
}

/// From `(list, added)` to `(list, added)`, or to no write.
#[track_caller]
fn check(before: (&[&str], &[&str]), desired: DesiredEntry, after: Option<(&[&str], &[&str])>) {
    let patch = decide(&service_account(before.0, before.1), &owner("regcred"), desired);
    let expect = after.map(|(list, added)| {
        let ServiceAccount { resource_version, image_pull_secrets, added } = service_account(list, added);
        EntryPatch { resource_version, image_pull_secrets, added }
    });
    assert_eq!(patch, expect);
}

#[test]
fn entry_added_for_another_one_is_taken_over() {
    check(
        (&["regcred"], &["regcred=other"]),
        DesiredEntry::Present,
        Some((&["regcred"], &["regcred=images"])),
    );
    check((&["regcred"], &["regcred="]), DesiredEntry::Present, Some((&["regcred"], &["regcred=images"])));
}

#[test]
fn every_entry_of_a_deleted_secret_is_removed() {
    check((&["b", "regcred", "a", "regcred"], &[]), DesiredEntry::Dangling, Some((&["b", "a"], &[])));
    check((&["regcred"], &["regcred"]), DesiredEntry::Dangling, Some((&[], &[])));
    check((&["b"], &["regcred"]), DesiredEntry::Dangling, Some((&["b"], &[])));
    check((&["b"], &[]), DesiredEntry::Dangling, None);
}

#[test]
fn entry_is_appended_to_the_list() {
    check((&[], &[]), DesiredEntry::Present, Some((&["regcred"], &["regcred"])));
    check((&["b", "a", "b"], &[]), DesiredEntry::Present, Some((&["b", "a", "b", "regcred"], &["regcred"])));
}

#[test]
fn existing_entry_is_not_written() {
    check((&["regcred", "a"], &["regcred"]), DesiredEntry::Present, None);
    // Another writer added the entry: it is neither recorded nor removed.
    check((&["regcred", "a"], &[]), DesiredEntry::Present, None);
}

#[test]
fn only_own_entry_is_removed() {
    check((&["a", "regcred", "b"], &["regcred"]), DesiredEntry::Absent, Some((&["a", "b"], &[])));
    check((&["a", "regcred"], &[]), DesiredEntry::Absent, None);
    check((&["regcred"], &["other", "regcred"]), DesiredEntry::Absent, Some((&[], &["other"])));
}

#[test]
fn entry_removed_by_another_writer_is_restored() {
    check((&["a"], &["regcred"]), DesiredEntry::Present, Some((&["a", "regcred"], &["regcred"])));
}

#[test]
fn missing_entry_is_removed_from_the_annotation() {
    check((&["a"], &["regcred"]), DesiredEntry::Absent, Some((&["a"], &[])));
}

const GET: &str = "GET /api/v1/namespaces/web/serviceaccounts/default";
const PATCH: &str = "PATCH /api/v1/namespaces/web/serviceaccounts/default?&fieldManager=regcred";

/// The ServiceAccount as the API server returns it.
fn shown(resource_version: &str, list: &[&str]) -> serde_json::Value {
    let list: Vec<_> = list.iter().map(|name| json!({"name": name})).collect();
    json!({"metadata": {"name": "default", "resourceVersion": resource_version}, "imagePullSecrets": list})
}

async fn add(client: Client) -> Result<Outcome, Error> {
    apply(
        &client,
        &"web".into(),
        "default",
        &mut service_account(&["a"], &[]),
        &owner("regcred"),
        DesiredEntry::Present,
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn conflict_rereads_and_keeps_other_entries() {
    let script = vec![
        conflict(PATCH),
        exchange(GET, 200, shown("9", &["a", "b"])),
        exchange(PATCH, 200, shown("10", &[])),
    ];
    let (outcome, bodies) = play(script, add).await;
    assert_eq!(outcome, Ok(Outcome::Patched));
    assert_eq!(bodies[0]["metadata"]["resourceVersion"], "7");
    let expect = json!({
        "metadata": {"resourceVersion": "9", "annotations": {ADDED: "regcred=images"}},
        "imagePullSecrets": [{"name": "a"}, {"name": "b"}, {"name": "regcred"}],
    });
    assert_eq!(bodies[2], expect);
}

#[tokio::test]
async fn second_patch_of_a_list_builds_on_the_first() {
    let script = vec![exchange(PATCH, 200, shown("8", &[])), exchange(PATCH, 200, shown("9", &[]))];
    let ((), bodies) = play(script, async |client| {
        let mut observed = service_account(&["a"], &[]);
        for secret_name in ["one", "two"] {
            apply(
                &client,
                &"web".into(),
                "default",
                &mut observed,
                &owner(secret_name),
                DesiredEntry::Present,
            )
            .await
            .expect("a patch");
        }
    })
    .await;
    assert_eq!(bodies[1]["metadata"]["resourceVersion"], "8");
    assert_eq!(bodies[1]["imagePullSecrets"], json!([{"name": "a"}, {"name": "one"}, {"name": "two"}]));
}

#[tokio::test(start_paused = true)]
async fn conflict_with_the_same_entry_is_not_written_again() {
    let script = vec![conflict(PATCH), exchange(GET, 200, shown("9", &["regcred"]))];
    assert_eq!(play(script, add).await.0, Ok(Outcome::Unchanged));
}

#[tokio::test(start_paused = true)]
async fn missing_service_account_is_no_failure() {
    assert_eq!(play(vec![refused(PATCH, 404, "NotFound")], add).await.0, Ok(Outcome::Gone));
}

#[tokio::test(start_paused = true)]
async fn endless_conflict_is_given_up_and_reported() {
    let mut script = Vec::new();
    for _ in 0..12 {
        script.extend([conflict(PATCH), exchange(GET, 200, shown("9", &["a"]))]);
    }
    script.push(conflict(PATCH));
    assert_eq!(play(script, add).await.0.map_err(|error| error.reason()), Err(ErrorReason::Changed));
}

fn others_of(names: &[SecretName]) -> Vec<&SecretName> {
    names.iter().filter(|name| **name != "regcred").collect()
}

proptest! {
    #[test]
    fn other_entries_keep_their_place(list in proptest::collection::vec("[a-d]|regcred", 0..8), ours in any::<bool>(), named in any::<bool>()) {
        let mut before = ServiceAccount { image_pull_secrets: list.into_iter().map(SecretName::from).collect(), ..ServiceAccount::default() };
        if ours {
            before.added.insert("regcred".into(), Some("images".into()));
        }
        let desired = if named { DesiredEntry::Present } else { DesiredEntry::Absent };
        if let Some(patch) = decide(&before, &owner("regcred"), desired) {
            prop_assert_eq!(others_of(&patch.image_pull_secrets), others_of(&before.image_pull_secrets));
            let after = ServiceAccount { resource_version: String::new(), image_pull_secrets: patch.image_pull_secrets, added: patch.added };
            prop_assert_eq!(decide(&after, &owner("regcred"), desired), None, "a second decision writes nothing");
        }
    }
}

//! The decisions about the `imagePullSecrets` of a ServiceAccount, case by case.

use super::*;
use crate::cluster::error::ErrorReason;
use crate::cluster::script::{conflict, exchange, play, refused};
use crate::cluster::service_account::EntryList;
use crate::cluster::service_account::entry_list::MAX_POSITIONS;
use crate::manifest::cluster_pull_secret::Existing;
use crate::object_map::ObjectMap;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

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
    let added: ObjectMap<_, _> = added.collect();
    ServiceAccount {
        resource_version: "7".into(),
        image_pull_secrets: list.iter().copied().collect(),
        annotation: if added.is_empty() { Annotation::Absent } else { Annotation::Present },
        has_annotations: !added.is_empty(),
        added,
    }
}

/// The ServiceAccount after a patch, or nothing where there is no write.
fn patched(before: &ServiceAccount, desired: DesiredEntry) -> Option<ServiceAccount> {
    let owner = owner("regcred");
    match decide(before, &owner, desired) {
        Decision::Unchanged => None,
        Decision::Patch(patch) => {
            let mut after = before.clone();
            let has_annotations = !patch.added.is_empty();
            patch.apply_to(&mut after, &owner.secret_name, ("7".into(), has_annotations));
            Some(after)
        }
        decision => panic!("{decision:?}"),
    }
}

/// From `(list, added)` to `(list, added)`, or to no write.
#[track_caller]
fn check(before: (&[&str], &[&str]), desired: DesiredEntry, after: Option<(&[&str], &[&str])>) {
    let after = after.map(|(list, added)| service_account(list, added));
    assert_eq!(patched(&service_account(before.0, before.1), desired), after);
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
    let twice: (&[&str], &[&str]) = (&["b", "regcred", "a", "regcred"], &[]);
    check(twice, DesiredEntry::Dangling, Some((&["b", "a"], &[])));
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

/// Removes every entry for the pull secret.
async fn remove_all(client: Client, list: &[&str]) -> Result<Outcome, Error> {
    let mut observed = service_account(list, &[]);
    apply(&client, &"web".into(), "default", &mut observed, &owner("regcred"), DesiredEntry::Dangling).await
}

#[tokio::test]
async fn entries_of_a_deleted_secret_are_removed_in_one_patch() {
    let script = vec![exchange(PATCH, 200, shown("8", &[]))];
    let (outcome, bodies) = play(script, |client| remove_all(client, &["regcred", "a", "regcred"])).await;
    assert_eq!(outcome, Ok(Outcome::Patched));
    let expect = [
        json!({"op": "test", "path": "/imagePullSecrets/2/name", "value": "regcred"}),
        json!({"op": "remove", "path": "/imagePullSecrets/2"}),
        json!({"op": "test", "path": "/imagePullSecrets/0/name", "value": "regcred"}),
        json!({"op": "remove", "path": "/imagePullSecrets/0"}),
    ];
    assert_eq!(operations(&bodies[0], "7"), expect);
}

#[tokio::test(start_paused = true)]
async fn name_repeated_thousands_of_times_costs_few_patches() {
    const REPEATED: usize = 20 * MAX_POSITIONS;
    let mut script = Vec::new();
    for patch in 0..20 {
        let left = vec!["regcred"; REPEATED - patch * MAX_POSITIONS];
        script.push(exchange(GET, 200, shown("8", &left)));
        script.push(exchange(PATCH, 200, shown("9", &[])));
    }
    // Successes leave the back-off as it is: one conflict after twelve of them is not given up.
    script.splice(
        39..,
        [
            conflict(PATCH),
            exchange(GET, 200, shown("10", &vec!["regcred"; MAX_POSITIONS])),
            exchange(PATCH, 200, shown("11", &[])),
        ],
    );
    let list = vec!["regcred"; REPEATED];
    let (outcome, bodies) = play(script, |client| remove_all(client, &list)).await;
    assert_eq!(outcome, Ok(Outcome::Patched));
    let most = bodies.iter().filter_map(Json::as_array).map(Vec::len).max();
    assert_eq!(most, Some(1 + 2 * MAX_POSITIONS), "the API server admits 10,000 operations");
}

#[tokio::test]
async fn entries_added_all_the_while_are_given_up() {
    let list = vec!["regcred"; 2 * MAX_POSITIONS];
    let mut script = Vec::new();
    for _ in 0..MAX_REMOVALS {
        script.extend([exchange(GET, 200, shown("8", &list)), exchange(PATCH, 200, shown("9", &[]))]);
    }
    script.push(exchange(GET, 200, shown("8", &list)));
    let (outcome, _) = play(script, |client| remove_all(client, &list)).await;
    assert_eq!(outcome.map_err(|error| error.reason()), Err(ErrorReason::Changed));
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

/// The operations of a JSON patch at a version, without the test of the version.
fn operations(body: &Json, resource_version: &str) -> Vec<Json> {
    let mut operations = body.as_array().cloned().expect("a JSON patch");
    let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": resource_version});
    assert_eq!(operations.remove(0), test);
    operations
}

#[tokio::test(start_paused = true)]
async fn conflict_rereads_and_appends_to_the_new_list() {
    let failed_test = "the server rejected our request due to an error in our request";
    let mut failed = refused(PATCH, 422, "Invalid");
    failed.response["message"] = failed_test.into();
    for conflict in [conflict(PATCH), failed] {
        let script = vec![
            conflict,
            exchange(GET, 200, shown("9", &["a", "b"])),
            exchange(PATCH, 200, shown("10", &[])),
        ];
        let (outcome, bodies) = play(script, add).await;
        assert_eq!(outcome, Ok(Outcome::Patched));
        let expect = [
            json!({"op": "add", "path": "/imagePullSecrets/-", "value": {"name": "regcred"}}),
            json!({"op": "add", "path": "/metadata/annotations", "value": {ADDED: "regcred=images"}}),
        ];
        assert_eq!(operations(&bodies[0], "7"), expect);
        assert_eq!(operations(&bodies[2], "9"), expect);
    }
}

#[tokio::test]
async fn rejected_object_is_not_a_conflict() {
    let script = vec![refused(PATCH, 422, "ServiceAccount \"default\" is invalid")];
    assert_eq!(play(script, add).await.0.map_err(|error| error.reason()), Err(ErrorReason::Invalid));
}

#[test]
fn operations_fit_the_lists_that_exist() {
    let annotation = "/metadata/annotations/regcred.dev~1image-pull-secrets";
    let operations = |observed: &ServiceAccount, desired| {
        let Decision::Patch(patch) = decide(observed, &owner("regcred"), desired) else { panic!("no patch") };
        patch.operations(observed, &"regcred".into()).split_off(1)
    };
    let empty = ServiceAccount { has_annotations: true, ..service_account(&[], &[]) };
    let expect = [
        json!({"op": "add", "path": "/imagePullSecrets", "value": [{"name": "regcred"}]}),
        json!({"op": "add", "path": annotation, "value": "regcred=images"}),
    ];
    assert_eq!(operations(&empty, DesiredEntry::Present), expect);
    let twice = service_account(&["regcred", "a", "regcred", "b"], &["regcred", "other"]);
    let expect = [
        json!({"op": "test", "path": "/imagePullSecrets/2/name", "value": "regcred"}),
        json!({"op": "remove", "path": "/imagePullSecrets/2"}),
        json!({"op": "add", "path": annotation, "value": "other=images"}),
    ];
    assert_eq!(operations(&twice, DesiredEntry::Absent), expect);
    let last = service_account(&["a"], &["regcred"]);
    assert_eq!(operations(&last, DesiredEntry::Absent), [json!({"op": "remove", "path": annotation})]);
}

#[test]
fn lost_annotation_is_written_again_without_a_second_entry() {
    let mut lost = service_account(&["regcred"], &[]);
    lost.keep_lost_annotation(&service_account(&["regcred"], &["regcred"]));
    assert_eq!(patched(&lost, DesiredEntry::Present), Some(service_account(&["regcred"], &["regcred"])));
    assert_eq!(patched(&lost, DesiredEntry::Absent), Some(service_account(&[], &[])));
}

#[test]
fn annotation_never_grows_beyond_its_limit() {
    let long = "a".repeat(MAX_ANNOTATION_BYTES - 10);
    let full = service_account(&[], &[&long]);
    assert_eq!(decide(&full, &owner("regcred"), DesiredEntry::Present), Decision::Malformed);
    let malformed =
        ServiceAccount { annotation: Annotation::Malformed, ..service_account(&["regcred"], &[]) };
    assert_eq!(decide(&malformed, &owner("regcred"), DesiredEntry::Present), Decision::Malformed);
}

fn malformed(list: &[&str]) -> ServiceAccount {
    let before = service_account(list, &[]);
    ServiceAccount { annotation: Annotation::Malformed, has_annotations: true, ..before }
}

#[test]
fn long_annotation_of_a_deleted_secret_is_removed() {
    let observed = malformed(&["a", "regcred"]);
    let decision = decide(&observed, &owner("regcred"), DesiredEntry::Dangling);
    let Decision::Patch(patch) = decision else { panic!("{decision:?}") };
    let expect = [
        json!({"op": "test", "path": "/imagePullSecrets/1/name", "value": "regcred"}),
        json!({"op": "remove", "path": "/imagePullSecrets/1"}),
        json!({"op": "remove", "path": "/metadata/annotations/regcred.dev~1image-pull-secrets"}),
    ];
    assert_eq!(patch.operations(&observed, &"regcred".into()).split_off(1), expect);
    assert_eq!(patched(&observed, DesiredEntry::Dangling), Some(service_account(&["a"], &[])));
    let without_entry = decide(&malformed(&["a"]), &owner("regcred"), DesiredEntry::Dangling);
    assert_eq!(without_entry, Decision::Unchanged);
}

#[tokio::test]
async fn long_list_is_read_once_before_the_patch() {
    let names: Vec<_> = (0..2000).map(|n| format!("own-{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let script = vec![exchange(GET, 200, shown("8", &names)), exchange(PATCH, 200, shown("9", &[]))];
    let mut observed = ServiceAccount {
        image_pull_secrets: names.iter().copied().collect::<EntryList>(),
        ..service_account(&[], &[])
    };
    let act = async |client: Client| {
        let (owner, namespace) = (owner("regcred"), "web".into());
        let patch = apply(&client, &namespace, "default", &mut observed, &owner, DesiredEntry::Present).await;
        assert_eq!(patch, Ok(Outcome::Patched));
        // From then on the entry is known, and so is its index.
        assert_eq!(decide(&observed, &owner, DesiredEntry::Present), Decision::Unchanged);
        decide(&observed, &owner, DesiredEntry::Absent)
    };
    let (decision, _) = play(script, act).await;
    assert!(
        matches!(&decision, Decision::Patch(EntryPatch { list: ListChange::Remove(at), .. }) if *at == [2000]),
        "{decision:?}"
    );
}

#[tokio::test]
async fn second_patch_of_a_list_builds_on_the_first() {
    let mut annotated = shown("8", &[]);
    annotated["metadata"]["annotations"] = json!({"x": "y"});
    let script = vec![exchange(PATCH, 200, annotated), exchange(PATCH, 200, shown("9", &[]))];
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
        assert_eq!(observed.image_pull_secrets.names(), ["a", "one", "two"]);
    })
    .await;
    let annotation = "/metadata/annotations/regcred.dev~1image-pull-secrets";
    let expect = [
        json!({"op": "add", "path": "/imagePullSecrets/-", "value": {"name": "two"}}),
        json!({"op": "add", "path": annotation, "value": "one=images,two=images"}),
    ];
    assert_eq!(operations(&bodies[1], "8"), expect);
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

proptest! {
    #[test]
    fn other_entries_keep_their_place(list in proptest::collection::vec("[a-d]|regcred", 0..8), ours in any::<bool>(), named in any::<bool>()) {
        let list: Vec<_> = list.iter().map(String::as_str).collect();
        let before = service_account(&list, if ours { &["regcred"] } else { &[] });
        let desired = if named { DesiredEntry::Present } else { DesiredEntry::Absent };
        if let Some(after) = patched(&before, desired) {
            let others = |it: &ServiceAccount| -> Vec<String> {
                it.image_pull_secrets.names().into_iter().filter(|name| *name != "regcred").map(str::to_owned).collect()
            };
            prop_assert_eq!(others(&after), others(&before));
            prop_assert_eq!(patched(&after, desired), None, "a second decision writes nothing");
        }
    }
}

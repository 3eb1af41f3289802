//! The versions in a Secret that another process wrote, before and after a conflict.

use super::*;
use crate::cluster::{DOCKER_CONFIG_KEY, VERSIONS};

/// Our Secret with these bytes, as the API server returns it.
fn written(resource_version: &str, versions: &str, bytes: &str) -> serde_json::Value {
    let mut secret = shown(resource_version);
    secret["metadata"]["annotations"] = json!({VERSIONS: versions});
    secret["data"] = json!({DOCKER_CONFIG_KEY: STANDARD.encode(bytes)});
    secret
}

fn observed(versions: &str) -> Secret {
    Secret { versions: Some(versions.into()), ..old() }
}

/// A content that was fetched at this version.
fn content_at(version: &str) -> Content {
    let versions = format!("ghcr.io=vault:{version}");
    Content::new(bytes("new"), versions, fetched(version))
}

/// The version in the Secret that kept it from being written.
fn held(outcome: Result<Outcome, Error>) -> Option<String> {
    match outcome {
        Ok(Outcome::Outdated(conflict)) => Some(conflict.held.to_string()),
        Ok(_) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Plays the API server to a write of a content over an observed Secret.
async fn apply_over(
    script: Vec<crate::cluster::script::Exchange>,
    content: Content,
    mut seen: Option<Secret>,
) -> Result<Outcome, Error> {
    let (outcome, _) = play(script, async |client| {
        apply(&client, &"web".into(), &mut seen, &content, &owner(Existing::Refuse), None).await
    })
    .await;
    outcome
}

#[test]
fn later_version_is_never_replaced_by_the_plan() {
    for (versions, version, is_outdated) in [
        ("ghcr.io=vault:3", "2", true),
        ("ghcr.io=vault:2@2026-11-27T11:00:00Z", "2@2026-11-27T10:00:00Z", true),
        ("ghcr.io=vault:3@2026-11-27T09:00:00Z", "1@2026-11-27T10:00:00Z", false),
        ("ghcr.io=vault:1", "2", false),
        ("ghcr.io=aws:3", "2", false),
        ("ghcr.io=vault:6a7e-8feb", "b1c2-d3e4", false),
    ] {
        let secret = observed(versions);
        let decision = decide(Some(&secret), &content_at(version), &owner(Existing::Refuse), None);
        assert_eq!(matches!(decision, Decision::Outdated(_)), is_outdated, "{versions}, {version}");
    }
}

#[test]
fn same_bytes_at_a_later_version_are_in_sync() {
    let same = Secret { versions: Some("ghcr.io=vault:3".into()), ..ours() };
    check(Some(same), Existing::Refuse, Decision::Unchanged);
}

#[tokio::test(start_paused = true)]
async fn conflict_with_a_later_version_writes_nothing() {
    let script = vec![conflict(PATCH), exchange(GET, 200, written("9", "ghcr.io=vault:3", "newer"))];
    let outcome = apply_over(script, content_at("2"), Some(observed("ghcr.io=vault:1"))).await;
    assert_eq!(held(outcome).as_deref(), Some("3"));
}

#[tokio::test(start_paused = true)]
async fn secret_created_at_a_later_version_stays() {
    let script = vec![
        refused(CREATE, 409, "AlreadyExists"),
        exchange(GET, 200, written("9", "ghcr.io=vault:3", "newer")),
    ];
    assert_eq!(held(apply_over(script, content_at("2"), None).await).as_deref(), Some("3"));
}

#[tokio::test(start_paused = true)]
async fn conflict_with_an_earlier_version_is_overwritten() {
    let script = vec![
        conflict(PATCH),
        exchange(GET, 200, written("9", "ghcr.io=vault:1", "older")),
        exchange(PATCH, 200, shown("10")),
    ];
    let outcome = apply_over(script, content_at("2"), Some(observed("ghcr.io=vault:0"))).await;
    assert_eq!(outcome, Ok(Outcome::Updated(Difference::Credentials)));
}

#[tokio::test(start_paused = true)]
async fn conflict_with_an_unknown_name_asks_for_another_read() {
    let script = vec![conflict(PATCH), exchange(GET, 200, written("9", "ghcr.io=vault:id-3", "newer"))];
    let outcome = apply_over(script, content_at("id-2"), Some(observed("ghcr.io=vault:id-1"))).await;
    assert_eq!(held(outcome).as_deref(), Some("id-3"));
}

#[tokio::test(start_paused = true)]
async fn conflict_that_leaves_the_versions_is_overwritten() {
    let script = vec![
        conflict(PATCH),
        exchange(GET, 200, written("9", "ghcr.io=vault:id-1", "older")),
        exchange(PATCH, 200, shown("10")),
    ];
    let outcome = apply_over(script, content_at("id-2"), Some(observed("ghcr.io=vault:id-1"))).await;
    assert_eq!(outcome, Ok(Outcome::Updated(Difference::Credentials)), "another client changed a label");
}

#[tokio::test(start_paused = true)]
async fn other_replica_with_the_same_bytes_is_no_conflict() {
    let script = vec![conflict(PATCH), exchange(GET, 200, written("9", "ghcr.io=vault:mounted-2", "new"))];
    let outcome =
        apply_over(script, content_at("mounted-1"), Some(observed("ghcr.io=vault:mounted-0"))).await;
    assert_eq!(outcome, Ok(Outcome::Unchanged));
}

#[tokio::test(start_paused = true)]
async fn secret_with_replaced_credentials_is_not_deleted() {
    const DELETE: &str = "DELETE /api/v1/namespaces/web/secrets/regcred?";
    let script = vec![conflict(DELETE), exchange(GET, 200, written("9", "ghcr.io=vault:3", "newer"))];
    let (result, _) = play(script, async |client| {
        let mut seen = Some(observed("ghcr.io=vault:2"));
        remove(&client, &"web".into(), &mut seen, &owner(Existing::Refuse)).await
    })
    .await;
    assert!(matches!(result, Err(Error::Changed(_))), "{result:?}");
}

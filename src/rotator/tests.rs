//! The decisions about the Secret of a namespace, case by case.

use super::*;
use crate::cluster::ownership::key::OwnershipKey;
use crate::cluster::script::{conflict, exchange, play, refused};
use crate::cluster::{CLUSTER_PULL_SECRET_LABEL, FIELD_MANAGER, MANAGED_BY, OWNER, VERSIONS};
use crate::credential::StoreKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

mod versions;

fn owner(existing: Existing) -> Ownership {
    Ownership { cluster_pull_secret: "images".into(), secret_name: "regcred".into(), existing, key: None }
}

fn content() -> Content {
    Content::new(bytes("new"), "ghcr.io=vault:2", fetched("2"))
}

/// The versions of a content with one registry.
fn fetched(version: &str) -> FetchedVersions {
    let store_key = StoreKey { store: "vault".into(), key: "ci/ghcr".into() };
    let version = FetchedVersion::new(&store_key, version.into());
    FetchedVersions([(crate::reconcile::fixture::host_key("ghcr.io"), version)].into())
}

fn bytes(text: &str) -> DockerConfigBytes {
    Arc::new(text.as_bytes().to_vec().into())
}

fn body() -> SecretBody {
    SecretBody { type_: PULL_SECRET_TYPE.into(), docker_config: Some(bytes("new")), ..SecretBody::default() }
}

/// Our Secret with the content above.
fn ours() -> Secret {
    Secret {
        resource_version: "5".into(),
        evidence: Evidence::Signed("images".into()),
        versions: Some("ghcr.io=vault:2".into()),
        body: Some(body()),
        ..Secret::default()
    }
}

fn foreign() -> Secret {
    Secret { evidence: Evidence::Foreign, marks: Some(Box::default()), versions: None, ..ours() }
}

fn with(secret: Secret, body: SecretBody) -> Secret {
    Secret { body: Some(body), ..secret }
}

#[track_caller]
fn check(observed: Option<Secret>, existing: Existing, expect: Decision) {
    assert_eq!(decide(observed.as_ref(), &content(), &owner(existing), None), expect);
}

fn update() -> Decision {
    Decision::Update { resource_version: "5".into(), owners: Vec::new() }
}

#[test]
fn missing_secret_is_created() {
    check(None, Existing::Refuse, Decision::Create);
}

#[test]
fn secret_in_sync_is_not_written() {
    check(Some(ours()), Existing::Refuse, Decision::Unchanged);
    check(
        Some(with(ours(), SecretBody { immutable: true, ..body() })),
        Existing::Refuse,
        Decision::Unchanged,
    );
}

#[test]
fn same_bytes_at_another_version_are_not_written() {
    check(
        Some(Secret { versions: Some("ghcr.io=vault:1".into()), ..ours() }),
        Existing::Refuse,
        Decision::Unchanged,
    );
}

#[test]
fn any_difference_is_updated_in_place() {
    for secret in [
        with(ours(), SecretBody { docker_config: Some(bytes("old")), ..body() }),
        with(ours(), SecretBody { docker_config: None, ..body() }),
        Secret { versions: Some("ghcr.io=aws:2".into()), ..ours() },
        Secret { versions: None, ..ours() },
        Secret { marks: Some(Box::default()), ..ours() },
        Secret { evidence: Evidence::Labelled(None), marks: Some(Box::default()), ..ours() },
        Secret { evidence: Evidence::Labelled(Some("other".into())), ..ours() },
    ] {
        check(Some(secret), Existing::Refuse, update());
    }
}

#[test]
fn difference_is_named_by_what_the_secret_holds() {
    let rendered = |password: &str| {
        let entry = json!({"auth": STANDARD.encode(format!("robot:{password}"))});
        bytes(&json!({"auths": {"docker.io": entry, "https://index.docker.io/v1/": entry}}).to_string())
    };
    let earlier = bytes(
        r#"{"auths":{"https://index.docker.io/v1/":{"username":"robot","password":"pw","auth":"cm9ib3Q6cHc="}}}"#,
    );
    let written = rendered("pw");
    let difference = |held: Option<DockerConfigBytes>| {
        let secret = with(ours(), SecretBody { docker_config: held, ..body() });
        Difference::between(Some(&secret), &written)
    };
    assert_eq!(difference(Some(rendered("pw"))), Difference::Metadata);
    assert_eq!(difference(Some(earlier)), Difference::Form);
    for held in [Some(rendered("other")), Some(bytes("{}")), None] {
        assert_eq!(difference(held), Difference::Credentials);
    }
}

#[test]
fn secret_of_the_earlier_form_is_updated_in_place() {
    let earlier =
        bytes(r#"{"auths":{"ghcr.io":{"username":"robot","password":"pw","auth":"cm9ib3Q6cHc="}}}"#);
    let current = bytes(r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6cHc="}}}"#);
    let held = with(ours(), SecretBody { docker_config: Some(earlier), ..body() });
    let content = Content { docker_config: current, ..content() };
    assert_eq!(decide(Some(&held), &content, &owner(Existing::Refuse), None), update());
}

#[test]
fn foreign_secret_is_refused() {
    check(Some(foreign()), Existing::Refuse, Decision::Refuse(Refusal::Foreign { is_adoptable: true }));
}

#[test]
fn foreign_secret_is_adopted_if_configured() {
    check(Some(foreign()), Existing::Adopt, update());
}

#[test]
fn only_a_mutable_secret_of_the_right_type_is_adopted() {
    let opaque = with(foreign(), SecretBody { type_: "Opaque".into(), ..body() });
    check(Some(opaque), Existing::Adopt, Decision::Refuse(Refusal::WrongType("Opaque".into())));
    let immutable = with(foreign(), SecretBody { immutable: true, ..body() });
    check(Some(immutable), Existing::Adopt, Decision::Refuse(Refusal::Immutable));
}

#[test]
fn secret_of_another_creator_is_refused_even_to_adopt() {
    let theirs = Secret { evidence: Evidence::Recorded("other".into()), ..ours() };
    for existing in [Existing::Refuse, Existing::Adopt] {
        check(Some(theirs.clone()), existing, Decision::Refuse(Refusal::ClaimedBy("other".into())));
    }
}

const GET: &str = "GET /api/v1/namespaces/web/secrets/regcred";
const CREATE: &str = "POST /api/v1/namespaces/web/secrets?&fieldManager=regcred";
const PATCH: &str = "PATCH /api/v1/namespaces/web/secrets/regcred?&fieldManager=regcred";

/// Our Secret with an older content, as the API server returns it.
fn shown(resource_version: &str) -> serde_json::Value {
    json!({
        "metadata": {
            "name": "regcred",
            "resourceVersion": resource_version,
            "labels": {MANAGED_BY: FIELD_MANAGER, CLUSTER_PULL_SECRET_LABEL: "images"},
        },
        "type": PULL_SECRET_TYPE,
    })
}

/// Our Secret with an older content, as observed.
fn old() -> Secret {
    with(ours(), SecretBody { docker_config: Some(bytes("old")), ..body() })
}

async fn apply_to(client: Client, mut observed: Option<Secret>) -> Result<Outcome, Error> {
    apply(&client, &"web".into(), &mut observed, &content(), &owner(Existing::Refuse), None).await
}

#[tokio::test(start_paused = true)]
async fn secret_created_concurrently_is_refused() {
    let mut theirs = shown("9");
    theirs["metadata"]["labels"] = json!({});
    let script = vec![refused(CREATE, 409, "AlreadyExists"), exchange(GET, 200, theirs)];
    let (outcome, _) = play(script, async |client| apply_to(client, None).await).await;
    assert_eq!(outcome, Ok(Outcome::Refused(Refusal::Foreign { is_adoptable: true })));
}

#[tokio::test(start_paused = true)]
async fn secret_changed_concurrently_is_read_and_decided_again() {
    let script = vec![conflict(PATCH), exchange(GET, 200, shown("9")), exchange(PATCH, 200, shown("10"))];
    let (outcome, bodies) = play(script, async |client| apply_to(client, Some(old())).await).await;
    assert_eq!(outcome, Ok(Outcome::Updated(Difference::Credentials)));
    let versions: Vec<_> = bodies.iter().map(|body| &body["metadata"]["resourceVersion"]).collect();
    assert_eq!(versions, [&json!("5"), &json!(null), &json!("9")]);
}

#[tokio::test(start_paused = true)]
async fn secret_deleted_concurrently_is_created() {
    let script = vec![
        refused(PATCH, 404, "NotFound"),
        refused(GET, 404, "NotFound"),
        exchange(CREATE, 201, shown("10")),
    ];
    let (outcome, _) = play(script, async |client| apply_to(client, Some(old())).await).await;
    assert_eq!(outcome, Ok(Outcome::Created));
}

#[tokio::test]
async fn written_secret_is_known_without_a_read() {
    let (known, _) = play(vec![exchange(PATCH, 200, shown("10"))], async |client| {
        let mut observed = Some(old());
        apply(&client, &"web".into(), &mut observed, &content(), &owner(Existing::Refuse), None)
            .await
            .expect("a patch");
        observed.expect("a Secret")
    })
    .await;
    assert_eq!(known.resource_version, "10");
    assert_eq!(decide(Some(&known), &content(), &owner(Existing::Refuse), None), Decision::Unchanged);
}

#[tokio::test]
async fn secret_known_by_metadata_is_read_before_the_write() {
    let script = vec![exchange(GET, 200, shown("9")), exchange(PATCH, 200, shown("10"))];
    let seen = Some(Secret { body: None, ..ours() });
    let (outcome, bodies) = play(script, async |client| apply_to(client, seen).await).await;
    assert_eq!(outcome, Ok(Outcome::Updated(Difference::Credentials)));
    assert_eq!(bodies[1]["metadata"]["resourceVersion"], "9");
}

#[tokio::test(start_paused = true)]
async fn secret_that_became_foreign_is_not_deleted() {
    const DELETE: &str = "DELETE /api/v1/namespaces/web/secrets/regcred?";
    let mut theirs = shown("9");
    theirs["metadata"]["labels"] = json!({});
    let script = vec![conflict(DELETE), exchange(GET, 200, theirs)];
    let (left, _) = play(script, async |client| {
        let mut observed = Some(ours());
        remove(&client, &"web".into(), &mut observed, &owner(Existing::Refuse)).await.expect("nothing to do");
        observed
    })
    .await;
    assert!(left.is_some_and(|secret| secret.evidence == Evidence::Foreign));
}

#[tokio::test]
async fn signed_secret_of_another_type_is_not_deleted() {
    let mut opaque = shown("9");
    opaque["type"] = json!("Opaque");
    let (left, _) = play(vec![exchange(GET, 200, opaque)], async |client| {
        let mut observed = Some(Secret { body: None, versions: None, ..ours() });
        remove(&client, &"web".into(), &mut observed, &owner(Existing::Refuse)).await.expect("nothing to do");
        observed
    })
    .await;
    let left = left.expect("it stays");
    assert!(left.evidence.owner() == Some("images") && !left.is_created_for("images"));
}

#[tokio::test]
async fn secret_known_by_metadata_is_read_before_its_deletion() {
    const DELETE: &str = "DELETE /api/v1/namespaces/web/secrets/regcred?";
    // The same object as observed, with what was not kept of it.
    let mut current = shown("5");
    current["metadata"]["annotations"] = json!({VERSIONS: "ghcr.io=vault:2"});
    let deleted = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    let script = vec![exchange(GET, 200, current), exchange(DELETE, 200, deleted)];
    let (left, _) = play(script, async |client| {
        let mut observed = Some(Secret { body: None, versions: None, ..ours() });
        remove(&client, &"web".into(), &mut observed, &owner(Existing::Refuse)).await.expect("a deletion");
        observed
    })
    .await;
    assert!(left.is_none(), "{left:?}");
}

#[tokio::test]
async fn missing_namespace_is_terminating() {
    let script = vec![refused(CREATE, 404, "NotFound")];
    let (outcome, _) = play(script, async |client| apply_to(client, None).await).await;
    assert_eq!(outcome, Err(Error::NamespaceTerminating));
}

#[test]
fn secret_not_claimed_any_more_is_taken_over_in_place() {
    let theirs = Secret { evidence: Evidence::Recorded("other".into()), ..ours() };
    let decision = decide(Some(&theirs), &content(), &owner(Existing::Refuse), Some("other"));
    assert_eq!(decision, update());
}

/// A Secret without regcred's marks and with these hosts.
fn foreign_with(hosts: &[&str]) -> Secret {
    let entries: Vec<_> = hosts.iter().map(|host| format!(r#""{host}":{{"auth":"YTpi"}}"#)).collect();
    let config = format!(r#"{{"auths":{{{}}}}}"#, entries.join(","));
    with(foreign(), SecretBody { docker_config: Some(bytes(&config)), ..body() })
}

#[test]
fn adoption_refuses_entries_for_other_registries_and_names_them() {
    let content = Content { docker_config: bytes(r#"{"auths":{"ghcr.io":{}}}"#), ..content() };
    let decide = |secret: &Secret, existing| decide(Some(secret), &content, &owner(existing), None);
    assert_eq!(decide(&foreign_with(&["ghcr.io"]), Existing::Adopt), update());
    let Decision::Refuse(refusal) = decide(&foreign_with(&["ghcr.io", "quay.io", "x y"]), Existing::Adopt)
    else {
        panic!("it is not refused")
    };
    let text = refusal.to_string();
    assert!(text.contains("quay.io, (no valid host). Set `existing: AdoptAndKeep`"), "{text}");
    assert_eq!(decide(&foreign_with(&["ghcr.io", "quay.io"]), Existing::AdoptAndKeep), update());
}

#[test]
fn kept_entries_are_in_every_write() {
    let content = Content { docker_config: bytes(r#"{"auths":{"ghcr.io":{}}}"#), ..content() };
    let owner = owner(Existing::AdoptAndKeep);
    let adopted = docker_config(Some(&foreign_with(&["ghcr.io", "quay.io"])), &content, &owner);
    assert_eq!(adopted.expose_secret(), br#"{"auths":{"ghcr.io":{},"quay.io":{"auth":"YTpi"}}}"#);
    let kept = with(ours(), SecretBody { docker_config: Some(adopted), ..body() });
    assert_eq!(decide(Some(&kept), &content, &owner, None), Decision::Unchanged);
}

#[test]
fn dropped_bytes_are_read_before_an_adoption() {
    let dropped = with(foreign(), SecretBody { docker_config: None, is_dropped: true, ..body() });
    check(Some(dropped.clone()), Existing::Adopt, Decision::Read);
    check(Some(dropped.clone()), Existing::AdoptAndKeep, Decision::Read);
    check(Some(dropped), Existing::Refuse, Decision::Refuse(Refusal::Foreign { is_adoptable: true }));
}

#[test]
fn dropped_bytes_of_an_own_secret_are_read_before_a_write() {
    // Its namespace was not selected when the Secrets were listed.
    for immutable in [false, true] {
        let dropped = SecretBody { docker_config: None, is_dropped: true, immutable, ..body() };
        check(Some(with(ours(), dropped)), Existing::Refuse, Decision::Read);
        check(Some(with(ours(), SecretBody { immutable, ..body() })), Existing::Refuse, Decision::Unchanged);
    }
}

#[test]
fn labels_without_a_proof_are_accepted_at_the_claimed_name() {
    let copy =
        Secret { evidence: Evidence::Labelled(Some("images".into())), marks: Some(Box::default()), ..ours() };
    check(Some(copy.clone()), Existing::Refuse, update());
    let opaque = with(copy, SecretBody { type_: "Opaque".into(), ..body() });
    check(Some(opaque), Existing::Refuse, Decision::Refuse(Refusal::WrongType("Opaque".into())));
}

#[test]
fn owner_reference_of_the_baseline_is_removed() {
    let reference = OwnerReference {
        api_version: crate::manifest::API_VERSION.into(),
        kind: crate::manifest::CLUSTER_PULL_SECRET.into(),
        ..OwnerReference::default()
    };
    let owners = vec![reference];
    let owned = Secret { owners: owners.clone(), ..ours() };
    check(Some(owned), Existing::Refuse, Decision::Update { resource_version: "5".into(), owners });
}

#[tokio::test]
async fn owner_reference_is_removed_without_the_others() {
    let reference = OwnerReference { uid: "u".into(), ..OwnerReference::default() };
    let observed = Some(Secret { owners: vec![reference], ..old() });
    let script = vec![exchange(PATCH, 200, shown("10"))];
    let (outcome, bodies) = play(script, async |client| apply_to(client, observed).await).await;
    assert_eq!(outcome, Ok(Outcome::Updated(Difference::Credentials)));
    assert_eq!(bodies[0]["metadata"]["ownerReferences"], json!([{"$patch": "delete", "uid": "u"}]));
}

#[tokio::test]
async fn write_signs_the_secret_for_its_namespace() {
    let key = Arc::new(OwnershipKey::new("a", &[1; 32], None));
    let owner = Ownership { key: Some(Arc::clone(&key)), ..owner(Existing::Refuse) };
    let (known, bodies) = play(vec![exchange(CREATE, 201, shown("10"))], async |client| {
        let mut observed = None;
        apply(&client, &"web".into(), &mut observed, &content(), &owner, None).await.expect("a creation");
        observed.expect("a Secret")
    })
    .await;
    let signature = bodies[0]["metadata"]["annotations"][OWNER].as_str().expect("a signature");
    assert!(key.verify(signature, &"web".into(), &"regcred".into()).is_some());
    assert_eq!(bodies[0]["metadata"].get("ownerReferences"), None);
    assert_eq!(decide(Some(&known), &content(), &owner, None), Decision::Unchanged);
}

#[tokio::test(start_paused = true)]
async fn secret_with_the_same_uid_stays_ours_without_its_marks() {
    let mut stripped = shown("9");
    stripped["metadata"]["labels"] = json!({});
    stripped["metadata"]["uid"] = json!("u");
    let script = vec![conflict(PATCH), exchange(GET, 200, stripped), exchange(PATCH, 200, shown("10"))];
    let observed = Some(Secret { uid: "u".into(), ..old() });
    let (outcome, _) = play(script, async |client| apply_to(client, observed).await).await;
    assert_eq!(outcome, Ok(Outcome::Updated(Difference::Credentials)));
}

#[test]
fn debug_does_not_show_the_content() {
    let content = Content::new(bytes("s3cret-sentinel"), String::new(), FetchedVersions::default());
    assert!(!format!("{content:?}").contains("s3cret-sentinel"));
    assert!(!format!("{content:?}").contains(&format!("{:?}", b"s3cret-sentinel")));
}

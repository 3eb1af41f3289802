//! Events as AWS documents them; the fuzzer starts from the same ones.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use super::*;

const ARN: &str = "arn:aws:secretsmanager:us-west-2:012345678901:secret:mySecret-a1b2c3";

/// The content of `tests/fuzz/seeds/event/NAME.json`.
macro_rules! seed {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/seeds/event/", $name, ".json"))
    };
}

/// `id account/region version` of each secret, or the error.
fn outcome(body: &str) -> String {
    match parse(body.as_bytes()) {
        Ok(changes) => changes.iter().map(text).collect::<Vec<_>>().join("; "),
        Err(error) => format!("{error:?}"),
    }
}

fn text(SecretChange { secret: SecretId { id, account, region }, version }: &SecretChange) -> String {
    let version = version.as_ref().map(ToString::to_string);
    let [account, region, version] =
        [account.as_ref(), region.as_ref(), version.as_ref()].map(|it| it.map_or("-", String::as_str));
    format!("{id} {account}/{region} {version}")
}

fn body_with_detail(length: usize) -> String {
    format!("{{\"detail\":\"{}\"}}", "x".repeat(length))
}

fn batch(event: &str, n: usize) -> String {
    format!("[{}]", vec![event; n].join(","))
}

/// Expects one change, of the secret that every event below is about, by this id and version.
#[track_caller]
fn check(body: &str, id: &str, version: &str) {
    assert_eq!(outcome(body), format!("{id} 012345678901/us-west-2 {version}"), "{body}");
}

const VERSION: &str = "a1b2c3d4-5678-90ab-cdef-EXAMPLE11111";

#[test]
fn native_event_names_secret_and_version() {
    check(seed!("label-updated"), ARN, VERSION);
}

#[test]
fn secret_found_in_every_field_cloudtrail_uses() {
    check(seed!("rotation-succeeded"), ARN, "-");
    check(seed!("rotation-succeeded-service-event-details"), ARN, "-");
    check(seed!("put-secret-value"), "mySecret", "-");
    check(seed!("put-secret-value-partial-arn"), ARN.strip_suffix("-a1b2c3").unwrap(), "-");
    check(seed!("put-secret-value-arn"), ARN, VERSION);
    check(seed!("update-secret"), ARN, "-");
    check(seed!("update-secret-version-stage"), ARN, VERSION);
    check(seed!("create-secret"), ARN, VERSION);
    check(seed!("delete-secret"), ARN, "-");
    check(seed!("restore-secret"), ARN, "-");
    for spelling in ["arn", "Arn", "aRN", "ARN"] {
        check(&seed!("update-secret").replace("\"aRN\"", &format!("\"{spelling}\"")), ARN, "-");
    }
    check(&seed!("rotation-succeeded").replace("\"SecretId\"", "\"secretId\""), ARN, "-");
    check(&seed!("put-secret-value").replace("\"secretId\"", "\"SecretId\""), "mySecret", "-");
}

#[test]
fn events_without_a_visible_change_are_ignored() {
    for body in [
        seed!("label-updated-pending"),
        seed!("label-updated-custom"),
        seed!("rotation-started"),
        seed!("rotation-failed"),
        seed!("version-delete-ended"),
        seed!("put-secret-value-pending"),
        seed!("put-secret-value-refused"),
        seed!("update-secret-version-stage-pending"),
        seed!("rotate-secret"),
        seed!("get-secret-value"),
        seed!("replicate-secret-to-regions"),
    ] {
        assert_eq!(parse(body.as_bytes()), Ok(Vec::new()), "{body}");
    }
    let previous = seed!("label-updated").replace("AWSCURRENT", "AWSPREVIOUS");
    assert_eq!(parse(previous.as_bytes()), Ok(Vec::new()));
}

#[test]
fn event_recognised_by_its_kind_whatever_its_source() {
    check(&seed!("label-updated").replace("aws.secretsmanager", "test.secretsmanager"), ARN, VERSION);
    check(&seed!("rotation-succeeded").replace("\"aws.secretsmanager\"", "null"), ARN, "-");
}

#[test]
fn sns_envelope_unwrapped_once() {
    check(seed!("sns-label-updated"), ARN, VERSION);
    check(seed!("sns-rotation-succeeded"), ARN, "-");
    assert_eq!(outcome(seed!("sns-in-sns")), "Nested");
    assert_eq!(outcome(r#"{"Type":"Notification","Message":"a password changed"}"#), "Malformed");
    assert_eq!(outcome(r#"{"Type":"Notification"}"#), "Malformed");
    assert_eq!(outcome(seed!("sns-subscription")), "Unrelated");
}

#[test]
fn array_parsed_as_batch() {
    let all = outcome(seed!("batch"));
    let each = "012345678901/us-west-2";
    assert_eq!(all, format!("{ARN} {each} {VERSION}; {ARN} {each} -; prod/hub {each} -"));
    let with_one_bad = format!("[{}, {}]", seed!("label-updated"), seed!("ecr-scan"));
    assert_eq!(outcome(&with_one_bad), "Unrelated");
    assert_eq!(outcome("[]"), "Malformed");
    assert_eq!(outcome(&format!("[[{}]]", seed!("label-updated"))), "Unrelated");
}

#[test]
fn several_resources_yield_secrets_without_version() {
    let other = "arn:aws:secretsmanager:us-west-2:012345678901:secret:other-Z9y8X7";
    let topic = "arn:aws:sns:us-west-2:012345678901:secrets";
    let body =
        seed!("label-updated").replace(&format!("\"{ARN}\""), &format!("{topic:?}, {other:?}, {ARN:?}"));
    let each = "012345678901/us-west-2 -";
    assert_eq!(outcome(&body), format!("{other} {each}; {ARN} {each}"));
}

#[test]
fn missing_resources_fall_back_to_the_name() {
    check(&seed!("label-updated").replace(ARN, ""), "mySecret", VERSION);
}

#[test]
fn account_and_region_fall_back_to_the_detail() {
    let body = seed!("put-secret-value").replace("\"account\"", "\"x\"").replace("\"region\"", "\"x\"");
    check(&body, "mySecret", "-");
    let body = body.replace("recipientAccountId", "x").replace("awsRegion", "x");
    assert_eq!(outcome(&body), "mySecret -/- -");
}

#[test]
fn version_id_aws_would_not_assign_is_dropped() {
    for version in ["", "s3cret password", "a\\nb", &"a".repeat(65)] {
        check(&seed!("label-updated").replace(VERSION, version), ARN, "-");
    }
}

#[test]
fn body_that_is_no_secret_event_is_invalid() {
    for (body, expect) in [
        (seed!("ecr-scan"), "Unrelated"),
        (seed!("kms-api-call"), "Unrelated"),
        (seed!("rotation-succeeded-nameless"), "MissingSecret"),
        ("{}", "Unrelated"),
        (r#"{"detail-type":1,"detail":"mySecret"}"#, "Unrelated"),
        (r#"{"detail-type":"Secret Label Updated"}"#, "MissingSecret"),
        (
            r#"{"detail-type":"Secret Label Updated","detail":{"name":"arn:aws:s3:::bucket"}}"#,
            "MissingSecret",
        ),
        ("", "Malformed"),
        ("null", "Malformed"),
        ("\"Secret Label Updated\"", "Malformed"),
        ("{\"detail-type\":", "Malformed"),
        ("{} {}", "Malformed"),
    ] {
        assert_eq!(outcome(body), expect, "{body}");
    }
    // Not even in a text that is skipped.
    let bytes =
        [br#"{"id":""#, &b"\xff"[..], seed!("label-updated").replacen('{', "\",", 1).as_bytes()].concat();
    assert_eq!(parse(&bytes), Err(InvalidEvent::Malformed));
}

#[test]
fn body_bounded_in_length_depth_and_count() {
    assert_eq!(outcome(&body_with_detail(MAX_BYTES - 13)), "Unrelated");
    assert_eq!(outcome(&body_with_detail(MAX_BYTES - 12)), "TooLarge");
    assert_eq!(outcome(&"[".repeat(MAX_BYTES)), "Malformed");
    assert_eq!(outcome(&"{\"detail\":".repeat(MAX_BYTES / 10)), "Malformed");
    let event = r#"{"detail-type":"Secret Label Updated","detail":{"name":"a"}}"#;
    assert_eq!(parse(batch(event, MAX_SECRETS).as_bytes()).map(|changes| changes.len()), Ok(MAX_SECRETS));
    assert_eq!(parse(batch(event, MAX_SECRETS + 1).as_bytes()), Err(InvalidEvent::TooMany));
    let resources = vec![format!("{ARN:?}"); MAX_SECRETS + 1].join(",");
    let body = seed!("label-updated").replace(&format!("{ARN:?}"), &resources);
    assert_eq!(outcome(&body), "TooMany");
    let body = seed!("put-secret-value").replace("\"us-west-2\"", &format!("{:?}", "x".repeat(65)));
    assert_eq!(outcome(&body), "mySecret 012345678901/- -");
}

#[test]
fn fuzz_seeds_accepted_or_rejected_by_their_name() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/event");
    let rejected =
        ["ecr-scan", "kms-api-call", "rotation-succeeded-nameless", "sns-in-sns", "sns-subscription"];
    for file in fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(parse(&fs::read(&path).unwrap()).is_err(), rejected.contains(&name), "{name}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_parsed_or_rejected(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn native_event_fields_survive_parsing(
        id in "[a-zA-Z0-9/_+=.@-]{1,12}", account in proptest::option::of("[0-9]{12}"), region in proptest::option::of("[a-z]{2}-[a-z]{4}-[1-9]"),
        version in proptest::option::of("[a-zA-Z0-9-]{1,64}"),
    ) {
        let event = json!({
            "detail-type": NATIVE, "account": &account, "region": &region,
            "detail": {"name": &id, "labelUpdated": CURRENT, "versionId": &version},
        });
        let change = SecretChange { secret: SecretId { id, account, region }, version: version.map(Version::Unordered) };
        prop_assert_eq!(parse(event.to_string().as_bytes()), Ok(vec![change]));
    }

    #[test]
    fn mutated_event_parsed_or_rejected(
        seed in proptest::sample::select(MUTATED),
        from in any::<Index>(), length in 0_usize..40, insert in "[\\[\\]{}:,\\\\\"a-zA-Z0-9-]{0,8}",
    ) {
        let from = from.index(seed.len());
        let end = (from + length).min(seed.len());
        let body = format!("{}{insert}{}", &seed[..from], &seed[end..]);
        let Ok(changes) = parse(body.as_bytes()) else { return Ok(()) };
        for SecretChange { secret, version } in &changes {
            prop_assert!(SecretId::can_parse(&secret.id));
            prop_assert!(version.as_ref().is_none_or(|version| (1..=64).contains(&version.to_string().len())));
        }
        for wrapped in [json!({"Type": "Notification", "Message": body}).to_string(), format!("[{body}]")] {
            // A batch and an SNS envelope are not wrapped again.
            prop_assert!(parse(wrapped.as_bytes()).is_ok_and(|again| again == changes) || seed.contains("\"Notification\""));
        }
    }
}

const MUTATED: &[&str] =
    &[seed!("label-updated"), seed!("put-secret-value-arn"), seed!("sns-rotation-succeeded"), seed!("batch")];

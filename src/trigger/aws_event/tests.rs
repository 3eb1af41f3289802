//! Events as AWS documents them; the fuzzer begins with the same ones.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use super::*;

const ARN: &str = "arn:aws:secretsmanager:us-west-2:012345678901:secret:mySecret-a1b2c3";

/// What `tests/fuzz/seeds/event/NAME.json` holds.
macro_rules! seed {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/seeds/event/", $name, ".json"))
    };
}

/// `id account/region version` of each secret, or the error.
fn outcome(body: &str) -> String {
    let told = |told: Option<&str>| told.unwrap_or("-").to_owned();
    let sighting = |SecretChange { secret: SecretId { id, account, region }, version }: &SecretChange| {
        let version = version.as_ref().map(|Version(id)| id.as_str());
        format!("{id} {}/{} {}", told(account.as_deref()), told(region.as_deref()), told(version))
    };
    match parse(body.as_bytes()) {
        Ok(sightings) => sightings.iter().map(sighting).collect::<Vec<_>>().join("; "),
        Err(unreadable) => format!("{unreadable:?}"),
    }
}

/// The one secret that every event below is about, if it is news, by this id and version.
#[track_caller]
fn check(body: &str, id: &str, version: &str) {
    assert_eq!(outcome(body), format!("{id} 012345678901/us-west-2 {version}"), "{body}");
}

const VERSION: &str = "a1b2c3d4-5678-90ab-cdef-EXAMPLE11111";

#[test]
fn the_native_event_tells_the_secret_and_its_version() {
    check(seed!("label-updated"), ARN, VERSION);
}

#[test]
fn the_secret_is_found_wherever_cloudtrail_puts_it() {
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
fn what_no_reader_would_see_is_no_work() {
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
fn an_event_of_any_source_is_known_by_its_kind() {
    check(&seed!("label-updated").replace("aws.secretsmanager", "test.secretsmanager"), ARN, VERSION);
    check(&seed!("rotation-succeeded").replace("\"aws.secretsmanager\"", "null"), ARN, "-");
}

#[test]
fn sns_wraps_an_event_once() {
    check(seed!("sns-label-updated"), ARN, VERSION);
    check(seed!("sns-rotation-succeeded"), ARN, "-");
    assert_eq!(outcome(seed!("sns-in-sns")), "Nested");
    assert_eq!(outcome(r#"{"Type":"Notification","Message":"a password changed"}"#), "Malformed");
    assert_eq!(outcome(r#"{"Type":"Notification"}"#), "Malformed");
    assert_eq!(outcome(seed!("sns-subscription")), "Foreign");
}

#[test]
fn a_list_is_a_batch() {
    let all = outcome(seed!("batch"));
    let each = "012345678901/us-west-2";
    assert_eq!(all, format!("{ARN} {each} {VERSION}; {ARN} {each} -; prod/hub {each} -"));
    let with_one_bad = format!("[{}, {}]", seed!("label-updated"), seed!("ecr-scan"));
    assert_eq!(outcome(&with_one_bad), "Foreign");
    assert_eq!(outcome("[]"), "Malformed");
    assert_eq!(outcome(&format!("[[{}]]", seed!("label-updated"))), "Foreign");
}

#[test]
fn every_secret_of_the_resources_is_seen_but_whose_version_it_is_nobody_knows() {
    let other = "arn:aws:secretsmanager:us-west-2:012345678901:secret:other-Z9y8X7";
    let topic = "arn:aws:sns:us-west-2:012345678901:secrets";
    let body =
        seed!("label-updated").replace(&format!("\"{ARN}\""), &format!("{topic:?}, {other:?}, {ARN:?}"));
    let each = "012345678901/us-west-2 -";
    assert_eq!(outcome(&body), format!("{other} {each}; {ARN} {each}"));
}

#[test]
fn without_resources_the_name_is_enough() {
    check(&seed!("label-updated").replace(ARN, ""), "mySecret", VERSION);
}

#[test]
fn account_and_region_stand_in_the_detail_where_the_envelope_has_none() {
    let body = seed!("put-secret-value").replace("\"account\"", "\"x\"").replace("\"region\"", "\"x\"");
    check(&body, "mySecret", "-");
    let body = body.replace("recipientAccountId", "x").replace("awsRegion", "x");
    assert_eq!(outcome(&body), "mySecret -/- -");
}

#[test]
fn a_version_that_aws_would_not_call_one_is_none() {
    for version in ["", "s3cret password", "a\\nb", &"a".repeat(65)] {
        check(&seed!("label-updated").replace(VERSION, version), ARN, "-");
    }
}

#[test]
fn what_is_no_event_of_a_secret_is_unreadable() {
    for (body, expect) in [
        (seed!("ecr-scan"), "Foreign"),
        (seed!("kms-api-call"), "Foreign"),
        (seed!("rotation-succeeded-nameless"), "Nameless"),
        ("{}", "Foreign"),
        (r#"{"detail-type":1,"detail":"mySecret"}"#, "Foreign"),
        (r#"{"detail-type":"Secret Label Updated"}"#, "Nameless"),
        (r#"{"detail-type":"Secret Label Updated","detail":{"name":"arn:aws:s3:::bucket"}}"#, "Nameless"),
        ("", "Malformed"),
        ("null", "Malformed"),
        ("\"Secret Label Updated\"", "Malformed"),
        ("{\"detail-type\":", "Malformed"),
        ("{} {}", "Malformed"),
    ] {
        assert_eq!(outcome(body), expect, "{body}");
    }
    // Nor in a text that nobody reads.
    let bytes =
        [br#"{"id":""#, &b"\xff"[..], seed!("label-updated").replacen('{', "\",", 1).as_bytes()].concat();
    assert_eq!(parse(&bytes), Err(Unreadable::Malformed));
}

#[test]
fn a_body_is_bounded_in_length_depth_and_number() {
    let body = |n: usize| format!("{{\"detail\":\"{}\"}}", "x".repeat(n));
    assert_eq!(outcome(&body(MAX_BYTES - 13)), "Foreign");
    assert_eq!(outcome(&body(MAX_BYTES - 12)), "TooLarge");
    assert_eq!(outcome(&"[".repeat(MAX_BYTES)), "Malformed");
    assert_eq!(outcome(&"{\"detail\":".repeat(MAX_BYTES / 10)), "Malformed");
    let event = r#"{"detail-type":"Secret Label Updated","detail":{"name":"a"}}"#;
    let events = |n| parse(format!("[{}]", vec![event; n].join(",")).as_bytes()).map(|seen| seen.len());
    assert_eq!(events(MAX_SECRETS), Ok(MAX_SECRETS));
    assert_eq!(events(MAX_SECRETS + 1), Err(Unreadable::TooMany));
    let resources = vec![format!("{ARN:?}"); MAX_SECRETS + 1].join(",");
    let body = seed!("label-updated").replace(&format!("{ARN:?}"), &resources);
    assert_eq!(outcome(&body), "TooMany");
    let body = seed!("put-secret-value").replace("\"us-west-2\"", &format!("{:?}", "x".repeat(65)));
    assert_eq!(outcome(&body), "mySecret 012345678901/- -");
}

#[test]
fn every_seed_of_the_fuzzer_is_an_event_or_is_refused_by_its_name() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/event");
    let refused =
        ["ecr-scan", "kms-api-call", "rotation-succeeded-nameless", "sns-in-sns", "sns-subscription"];
    for file in fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(parse(&fs::read(&path).unwrap()).is_err(), refused.contains(&name), "{name}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn whatever_a_native_event_tells_is_seen(
        id in "[a-zA-Z0-9/_+=.@-]{1,12}", account in proptest::option::of("[0-9]{12}"), region in proptest::option::of("[a-z]{2}-[a-z]{4}-[1-9]"),
        version in proptest::option::of("[a-zA-Z0-9-]{1,64}"),
    ) {
        let event = json!({
            "detail-type": NATIVE, "account": &account, "region": &region,
            "detail": {"name": &id, "labelUpdated": CURRENT, "versionId": &version},
        });
        let sighting = SecretChange { secret: SecretId { id, account, region }, version: version.map(Version) };
        prop_assert_eq!(parse(event.to_string().as_bytes()), Ok(vec![sighting]));
    }

    #[test]
    fn any_mutilated_event_is_read_or_refused(
        seed in proptest::sample::select(MUTILATED),
        from in any::<Index>(), length in 0_usize..40, instead in "[\\[\\]{}:,\\\\\"a-zA-Z0-9-]{0,8}",
    ) {
        let from = from.index(seed.len());
        let end = (from + length).min(seed.len());
        let body = format!("{}{instead}{}", &seed[..from], &seed[end..]);
        let Ok(sightings) = parse(body.as_bytes()) else { return Ok(()) };
        for SecretChange { secret, version } in &sightings {
            prop_assert!(SecretId::can_be(&secret.id));
            prop_assert!(version.as_ref().is_none_or(|Version(id)| (1..=64).contains(&id.len())));
        }
        for wrapped in [json!({"Type": "Notification", "Message": body}).to_string(), format!("[{body}]")] {
            // A batch and the envelope of SNS are not wrapped again.
            prop_assert!(parse(wrapped.as_bytes()).is_ok_and(|seen| seen == sightings) || seed.contains("\"Notification\""));
        }
    }
}

const MUTILATED: &[&str] =
    &[seed!("label-updated"), seed!("put-secret-value-arn"), seed!("sns-rotation-succeeded"), seed!("batch")];

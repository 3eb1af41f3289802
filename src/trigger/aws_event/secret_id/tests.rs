//! Comparison of secrets with the keys of a store.

use proptest::prelude::*;

use super::*;

const LOCATION: AwsLocation<'_> = AwsLocation { region: "us-west-2", account: Some("012345678901") };

fn secret(id: &str) -> SecretId {
    SecretId { id: id.into(), account: Some("012345678901".into()), region: Some("us-west-2".into()) }
}

fn arn(ending: &str) -> String {
    format!("arn:aws:secretsmanager:us-west-2:012345678901:secret:{ending}")
}

/// Expects an event about `id` to concern these keys, or not.
#[track_caller]
fn check(id: &str, location: AwsLocation<'_>, keys: &[(&str, bool)]) {
    for &(key, expect) in keys {
        assert_eq!(secret(id).is_key(&key.into(), location), expect, "{id} {key} {location:?}");
    }
}

#[test]
fn arn_partial_arn_and_name_are_equivalent() {
    let (whole, partial) = (arn("ci/ghcr-a1B2c3"), arn("ci/ghcr"));
    let keys = [("ci/ghcr", true), (&whole, true), (&partial, true), ("ci/ghc", false), ("ghcr", false)];
    for id in [whole.as_str(), &partial, "ci/ghcr"] {
        check(id, LOCATION, &keys);
    }
}

#[test]
fn recreated_secret_matches_its_name_but_not_its_old_arn() {
    let (old, partial) = (arn("ci/ghcr-a1B2c3"), arn("ci/ghcr"));
    check(&arn("ci/ghcr-z9Y8x7"), LOCATION, &[("ci/ghcr", true), (&partial, true), (&old, false)]);
}

#[test]
fn name_that_ends_like_a_suffix_is_kept_whole() {
    let (whole, partial) = (arn("ghcr-backup-a1B2c3"), arn("ghcr-backup"));
    let keys = [("ghcr-backup", true), (&whole, true), (&partial, true), ("ghcr", false)];
    check(&whole, LOCATION, &keys);
    check("ghcr-backup", LOCATION, &keys);
    check(&arn("ghcr-a1B2c3"), LOCATION, &[("ghcr-backup", false), (&partial, false), (&whole, false)]);
    // This one is ambiguous: it may be the whole ARN of `ghcr`.
    check(&partial, LOCATION, &[("ghcr-backup", true), (&whole, true), ("ghcr", true)]);
}

#[test]
fn name_matches_in_the_account_and_region_of_the_store() {
    for id in [&arn("ci/ghcr-a1B2c3"), "ci/ghcr"] {
        check(id, AwsLocation { account: Some("999999999999"), ..LOCATION }, &[("ci/ghcr", false)]);
        check(id, AwsLocation { region: "eu-west-1", ..LOCATION }, &[("ci/ghcr", false)]);
        check(id, AwsLocation { account: None, ..LOCATION }, &[("ci/ghcr", true)]);
        check(id, AwsLocation { account: None, region: "eu-west-1" }, &[("ci/ghcr", false)]);
    }
}

#[test]
fn arn_takes_precedence_over_the_event() {
    let elsewhere = AwsLocation { account: Some("999999999999"), ..LOCATION };
    let (whole, partial) = (arn("ci/ghcr-a1B2c3"), arn("ci/ghcr"));
    for id in [whole.as_str(), "ci/ghcr"] {
        check(id, elsewhere, &[(&whole, true), (&partial, true)]);
    }
    for (is, was) in [("aws-cn:", "aws:"), ("999999999999", "012345678901"), ("eu-west-1", "us-west-2")] {
        let other = whole.replace(was, is);
        check(&other, LOCATION, &[(&whole, false), (&partial, false)]);
        check(&whole, LOCATION, &[(&other, false)]);
    }
    let foreign = whole.replace("012345678901", "999999999999");
    check("ci/ghcr", LOCATION, &[(&foreign, false)]);
    // The event has the account of the caller; the secret is that of the ARN.
    check(&foreign, LOCATION, &[("ci/ghcr", false), (&foreign, true)]);
    check(&foreign, elsewhere, &[("ci/ghcr", true)]);
}

#[test]
fn unknown_account_and_region_match() {
    let secret = SecretId { id: "ci/ghcr".into(), account: None, region: None };
    for key in ["ci/ghcr", &arn("ci/ghcr-a1B2c3")] {
        assert!(secret.is_key(&key.into(), LOCATION), "{key}");
    }
}

/// Names, some of which end like a suffix or hold one.
fn name() -> impl Strategy<Value = String> {
    "[a-z/_+=.@]{1,4}(-[a-zA-Z0-9]{5,7}){0,2}"
}

fn suffix() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9]{6}"
}

proptest! {
    #[test]
    fn secret_matches_each_of_its_three_names(name in name(), suffix in suffix()) {
        let forms = [arn(&format!("{name}-{suffix}")), arn(&name), name];
        for id in &forms {
            for key in &forms {
                prop_assert!(secret(id).is_key(&key.as_str().into(), LOCATION), "{} {}", id, key);
            }
        }
    }

    #[test]
    fn arn_with_suffix_matches_one_of_two_names(a in name(), b in name(), suffix in suffix()) {
        let whole = arn(&format!("{a}-{suffix}"));
        let is_same = a == b || b == format!("{a}-{suffix}");
        prop_assert_eq!(secret(&whole).is_key(&Key(b.clone()), LOCATION), is_same);
        prop_assert_eq!(secret(&a).is_key(&Key(b.clone()), LOCATION), a == b);
        prop_assert_eq!(secret(&b).is_key(&Key(whole), LOCATION), is_same);
    }

    #[test]
    fn comparison_is_symmetric_for_any_two_texts(a in "\\PC{0,20}|arn:[a-z:-]{0,60}", b in "\\PC{0,20}|arn:[a-z:-]{0,60}") {
        prop_assert_eq!(secret(&a).is_key(&Key(b.clone()), LOCATION), secret(&b).is_key(&Key(a.clone()), LOCATION));
        prop_assert!(secret(&a).is_key(&Key(a.clone()), LOCATION));
    }
}

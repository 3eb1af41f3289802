//! Which keys a secret is meant by.

use proptest::prelude::*;

use super::*;

const HOME: Home<'_> = Home { region: "us-west-2", account: Some("012345678901") };

fn secret(id: &str) -> SecretId {
    SecretId { id: id.into(), account: Some("012345678901".into()), region: Some("us-west-2".into()) }
}

fn arn(ending: &str) -> String {
    format!("arn:aws:secretsmanager:us-west-2:012345678901:secret:{ending}")
}

/// Whether an event about `id` concerns each of these keys.
#[track_caller]
fn check(id: &str, home: Home<'_>, keys: &[(&str, bool)]) {
    for &(key, expect) in keys {
        assert_eq!(secret(id).is_key(&key.into(), home), expect, "{id} {key} {home:?}");
    }
}

#[test]
fn an_arn_a_partial_arn_and_a_name_mean_the_same() {
    let (whole, partial) = (arn("ci/ghcr-a1B2c3"), arn("ci/ghcr"));
    let keys = [("ci/ghcr", true), (&whole, true), (&partial, true), ("ci/ghc", false), ("ghcr", false)];
    for id in [whole.as_str(), &partial, "ci/ghcr"] {
        check(id, HOME, &keys);
    }
}

#[test]
fn a_secret_made_anew_is_the_one_of_its_name_but_not_of_its_old_arn() {
    let (old, partial) = (arn("ci/ghcr-a1B2c3"), arn("ci/ghcr"));
    check(&arn("ci/ghcr-z9Y8x7"), HOME, &[("ci/ghcr", true), (&partial, true), (&old, false)]);
}

#[test]
fn a_name_that_ends_like_a_suffix_is_its_own() {
    let (whole, partial) = (arn("ghcr-backup-a1B2c3"), arn("ghcr-backup"));
    let keys = [("ghcr-backup", true), (&whole, true), (&partial, true), ("ghcr", false)];
    check(&whole, HOME, &keys);
    check("ghcr-backup", HOME, &keys);
    check(&arn("ghcr-a1B2c3"), HOME, &[("ghcr-backup", false), (&partial, false), (&whole, false)]);
    // Of this one nobody can tell: it may be the whole ARN of `ghcr`.
    check(&partial, HOME, &[("ghcr-backup", true), (&whole, true), ("ghcr", true)]);
}

#[test]
fn a_name_is_of_the_stores_account_and_region() {
    let keys = |expect| [("ci/ghcr", expect)];
    for id in [&arn("ci/ghcr-a1B2c3"), "ci/ghcr"] {
        check(id, Home { account: Some("999999999999"), ..HOME }, &keys(false));
        check(id, Home { region: "eu-west-1", ..HOME }, &keys(false));
        check(id, Home { account: None, ..HOME }, &keys(true));
        check(id, Home { account: None, region: "eu-west-1" }, &keys(false));
    }
}

#[test]
fn an_arn_says_itself_where_its_secret_is() {
    let elsewhere = Home { account: Some("999999999999"), ..HOME };
    let (whole, partial) = (arn("ci/ghcr-a1B2c3"), arn("ci/ghcr"));
    for id in [whole.as_str(), "ci/ghcr"] {
        check(id, elsewhere, &[(&whole, true), (&partial, true)]);
    }
    for (is, was) in [("aws-cn:", "aws:"), ("999999999999", "012345678901"), ("eu-west-1", "us-west-2")] {
        let other = whole.replace(was, is);
        check(&other, HOME, &[(&whole, false), (&partial, false)]);
        check(&whole, HOME, &[(&other, false)]);
    }
    let foreign = whole.replace("012345678901", "999999999999");
    check("ci/ghcr", HOME, &[(&foreign, false)]);
    // The event is told to the account that asked; the secret is that of the ARN.
    check(&foreign, HOME, &[("ci/ghcr", false), (&foreign, true)]);
    check(&foreign, elsewhere, &[("ci/ghcr", true)]);
}

#[test]
fn what_an_event_does_not_tell_is_no_reason_against_it() {
    let secret = SecretId { id: "ci/ghcr".into(), account: None, region: None };
    for key in ["ci/ghcr", &arn("ci/ghcr-a1B2c3")] {
        assert!(secret.is_key(&key.into(), HOME), "{key}");
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
    fn a_secret_is_known_by_each_of_its_three_names(name in name(), suffix in suffix()) {
        let forms = [arn(&format!("{name}-{suffix}")), arn(&name), name];
        for id in &forms {
            for key in &forms {
                prop_assert!(secret(id).is_key(&key.as_str().into(), HOME), "{} {}", id, key);
            }
        }
    }

    #[test]
    fn of_two_names_an_arn_with_its_suffix_means_one(a in name(), b in name(), suffix in suffix()) {
        let whole = arn(&format!("{a}-{suffix}"));
        let is_same = a == b || b == format!("{a}-{suffix}");
        prop_assert_eq!(secret(&whole).is_key(&Key(b.clone()), HOME), is_same);
        prop_assert_eq!(secret(&a).is_key(&Key(b.clone()), HOME), a == b);
        prop_assert_eq!(secret(&b).is_key(&Key(whole), HOME), is_same);
    }

    #[test]
    fn any_two_texts_are_compared_either_way(a in "\\PC{0,20}|arn:[a-z:-]{0,60}", b in "\\PC{0,20}|arn:[a-z:-]{0,60}") {
        prop_assert_eq!(secret(&a).is_key(&Key(b.clone()), HOME), secret(&b).is_key(&Key(a.clone()), HOME));
        prop_assert!(secret(&a).is_key(&Key(a.clone()), HOME));
    }
}

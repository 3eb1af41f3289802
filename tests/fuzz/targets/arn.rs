//! A key, what an event calls a secret, and the region and account of a store: one line each.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regcred::credential::Key;
use regcred::trigger::aws_event::{AwsLocation, SecretId};

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let [key, id, region, account] = std::array::from_fn(|_| lines.next().unwrap_or_default());
    let location = AwsLocation { region, account: Some(account) };
    let is_match = is_key(id, key, location);
    assert_eq!(is_match, is_key(key, id, location), "the comparison is not symmetric");
    assert!(!is_match || is_key_somewhere(id, key, location), "an unknown account finds less");
    for text in [key, id] {
        assert!(is_key_somewhere(text, text, location), "{text} is not itself");
    }
    if !key.is_empty() && !key.starts_with("arn:") && is_plain(region) && is_plain(account) {
        check_names(key, location);
    }
});

/// Returns true if an event of this region and account means the key of a store there.
fn is_key(id: &str, key: &str, location: AwsLocation<'_>) -> bool {
    let (account, region) = (location.account.map(str::to_owned), Some(location.region.to_owned()));
    SecretId { id: id.to_owned(), account, region }.is_key(&Key(key.to_owned()), location)
}

/// As [`is_key`], while the account of the store is unknown.
fn is_key_somewhere(id: &str, key: &str, location: AwsLocation<'_>) -> bool {
    is_key(id, key, AwsLocation { account: None, ..location })
}

/// Returns true if a text can be a part of an ARN.
fn is_plain(part: &str) -> bool {
    !part.is_empty() && !part.contains(':')
}

/// Expects a name and its two ARNs in the store's location to mean one secret; ARNs of elsewhere mean another.
fn check_names(name: &str, location: AwsLocation<'_>) {
    let account = location.account.unwrap_or_default();
    let partial = arn(location.region, account, name);
    let whole = format!("{partial}-a1B2c3");
    for id in [name, &whole, &partial] {
        for key in [name, &whole, &partial] {
            assert!(is_key(id, key, location), "{key} does not mean {id}");
        }
    }
    let recreated = format!("{partial}-z9Y8x7");
    assert!(is_key(&recreated, name, location), "the name does not mean {recreated}");
    assert!(!is_key(&recreated, &whole, location), "two suffixes are one secret");
    for other in [arn(location.region, "other", name), arn("other", account, name)] {
        let other = format!("{other}-a1B2c3");
        for key in [name, &whole, &partial] {
            assert!(other == whole || !is_key(&other, key, location), "{key} means {other}");
        }
    }
}

fn arn(region: &str, account: &str, name: &str) -> String {
    format!("arn:aws:secretsmanager:{region}:{account}:secret:{name}")
}

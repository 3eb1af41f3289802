//! A key, what an event calls a secret, and the region and account of a store: one line each.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regcred::credential::Key;
use regcred::trigger::aws_event::{Home, SecretId};

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (key, id, region, account) = (line(), line(), line(), line());
    let home = Home { region, account: Some(account) };
    let is_match = is_key(id, key, home);
    assert_eq!(is_match, is_key(key, id, home), "it matters which is the key");
    assert!(!is_match || is_key_somewhere(id, key, home), "less known is less found");
    for text in [key, id] {
        assert!(is_key_somewhere(text, text, home), "{text} is not itself");
    }
    if !key.is_empty() && !key.starts_with("arn:") && is_plain(region) && is_plain(account) {
        is_named(key, home);
    }
});

/// Whether an event of this region and account means the key of a store there.
fn is_key(id: &str, key: &str, home: Home<'_>) -> bool {
    let (account, region) = (home.account.map(str::to_owned), Some(home.region.to_owned()));
    SecretId { id: id.to_owned(), account, region }.is_key(&Key(key.to_owned()), home)
}

/// As [`is_key`], while nobody knows the account of the store.
fn is_key_somewhere(id: &str, key: &str, home: Home<'_>) -> bool {
    is_key(id, key, Home { account: None, ..home })
}

/// Whether it can be a part of an ARN.
fn is_plain(part: &str) -> bool {
    !part.is_empty() && !part.contains(':')
}

/// A name and its two ARNs at home mean one secret; those of elsewhere mean another.
fn is_named(name: &str, home: Home<'_>) {
    let account = home.account.unwrap_or_default();
    let arn = |region: &str, account: &str, suffix: &str| {
        format!("arn:aws:secretsmanager:{region}:{account}:secret:{name}{suffix}")
    };
    let (whole, partial) = (arn(home.region, account, "-a1B2c3"), arn(home.region, account, ""));
    for id in [name, &whole, &partial] {
        for key in [name, &whole, &partial] {
            assert!(is_key(id, key, home), "{key} does not mean {id}");
        }
    }
    let anew = arn(home.region, account, "-z9Y8x7");
    assert!(is_key(&anew, name, home) && !is_key(&anew, &whole, home), "two suffixes are one secret");
    for other in [arn(home.region, "other", "-a1B2c3"), arn("other", account, "-a1B2c3")] {
        for key in [name, &whole, &partial] {
            assert!(other == whole || !is_key(&other, key, home), "{key} means {other}");
        }
    }
}

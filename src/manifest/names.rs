//! The rules Kubernetes has for names, each as the sentence that a mistake quotes.

/// What is wrong with a name; the sentence goes after the path of the field.
pub(crate) type Rule = &'static str;

const LABEL: Rule = "must be lower-case letters, digits and hyphens, begin and end with a letter or digit, and have at most 63 characters";
const SUBDOMAIN: Rule = "must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit \
                         (around every dot too), and have at most 253 characters";
const LABEL_KEY: Rule = "must be a label: letters, digits, hyphens, underscores and dots, at most 63 characters, \
                         with a letter or digit at both ends; before a slash there may be a DNS name";
const LABEL_VALUE: Rule = "must be the value of a label: letters, digits, hyphens, underscores and dots, \
                           at most 63 characters, with a letter or digit at both ends";

/// The name of a namespace, or of a store.
pub(crate) fn dns_label(name: &str) -> Result<(), Rule> {
    if name.len() <= 63 && is_part(name) { Ok(()) } else { Err(LABEL) }
}

/// The name of most objects.
pub(crate) fn dns_subdomain(name: &str) -> Result<(), Rule> {
    if name.len() <= 253 && name.split('.').all(is_part) { Ok(()) } else { Err(SUBDOMAIN) }
}

/// The key of a label: `team`, `example.com/team`.
pub(crate) fn label_key(key: &str) -> Result<(), Rule> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_valid = prefix.is_none_or(|prefix| dns_subdomain(prefix).is_ok()) && !name.is_empty();
    if is_valid && label_value(name).is_ok() { Ok(()) } else { Err(LABEL_KEY) }
}

/// The value of a label, which may be empty.
pub(crate) fn label_value(value: &str) -> Result<(), Rule> {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let has_ends =
        [value.bytes().next(), value.bytes().last()].into_iter().flatten().all(|b| b.is_ascii_alphanumeric());
    if value.len() <= 63 && value.bytes().all(is_inner) && has_ends { Ok(()) } else { Err(LABEL_VALUE) }
}

fn is_part(part: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !part.is_empty() && part.bytes().all(is_inner) && !part.starts_with('-') && !part.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::{Rule, dns_label, dns_subdomain, label_key, label_value};

    fn check(rule: fn(&str) -> Result<(), Rule>, good: &[&str], bad: &[&str]) {
        for name in good {
            assert_eq!(rule(name), Ok(()), "{name}");
        }
        for name in bad {
            assert!(rule(name).is_err(), "{name}");
        }
    }

    #[test]
    fn names_follow_the_rules_of_kubernetes() {
        let longest = "a".repeat(63);
        let too_long = "a".repeat(64);
        check(
            dns_label,
            &["a", "team-1", "1", &longest],
            &["", "-a", "a-", "A", "a.b", "a_b", "ä", &too_long],
        );
        check(
            dns_subdomain,
            &["a", "a.b-c", &too_long],
            &["", ".", "a.", ".a", "a..b", "a-.b", &"a.".repeat(127)],
        );
        check(
            label_key,
            &["team", "Team_1", "a.b/c", "kubernetes.io/metadata.name"],
            &["", "/", "a/", "/a", "A/b", "a/b/c"],
        );
        check(label_value, &["", "Web", "1.2_3-x", &longest], &["-a", "a-", "a b", "a/b", &too_long]);
    }
}

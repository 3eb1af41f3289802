//! The rules of Kubernetes for names, each with the sentence for an error.

/// A violated rule, as the sentence that follows the path of the field.
pub(crate) type Rule = &'static str;

pub(crate) const LABEL: Rule = "must be lower-case letters, digits and hyphens, begin and end with a letter or digit, and have at most 63 characters";
pub(crate) const SUBDOMAIN: Rule = "must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit \
                         (around every dot too), and have at most 253 characters";
pub(crate) const LABEL_KEY: Rule = "must be a label: letters, digits, hyphens, underscores and dots, at most 63 characters, \
                         with a letter or digit at both ends; before a slash there may be a DNS name";
pub(crate) const LABEL_VALUE: Rule = "must be the value of a label: letters, digits, hyphens, underscores and dots, \
                           at most 63 characters, with a letter or digit at both ends";
pub(crate) const PATTERN: Rule = "must be the name of a namespace (lower-case letters, digits and hyphens, at most 63 characters), \
                                  or a glob of such letters with *, ? and {one,other}";

/// Checks the name of a namespace or store.
pub(crate) fn dns_label(name: &str) -> Result<(), Rule> {
    if name.len() <= 63 && is_part(name) { Ok(()) } else { Err(LABEL) }
}

/// Checks the name of most objects.
pub(crate) fn dns_subdomain(name: &str) -> Result<(), Rule> {
    if name.len() <= 253 && name.split('.').all(is_part) { Ok(()) } else { Err(SUBDOMAIN) }
}

/// Checks the key of a label: `team`, `example.com/team`.
pub(crate) fn label_key(key: &str) -> Result<(), Rule> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_valid = prefix.is_none_or(|prefix| dns_subdomain(prefix).is_ok()) && !name.is_empty();
    if is_valid && label_value(name).is_ok() { Ok(()) } else { Err(LABEL_KEY) }
}

/// Checks the value of a label, which may be empty.
pub(crate) fn label_value(value: &str) -> Result<(), Rule> {
    let has_ends =
        [value.bytes().next(), value.bytes().last()].into_iter().flatten().all(|b| b.is_ascii_alphanumeric());
    if value.len() <= 63 && value.bytes().all(is_label_value_byte) && has_ends {
        Ok(())
    } else {
        Err(LABEL_VALUE)
    }
}

/// Checks the name of a namespace, or a glob for some of them. Globs have no classes: no rule of the CRD could
/// tell `[a-z]` from `[z-a]`.
pub(crate) fn namespace_pattern(pattern: &str) -> Result<(), Rule> {
    let is_glob = pattern.contains(['*', '?', '{']);
    let is_valid = if is_glob { is_glob_of_names(pattern) } else { dns_label(pattern).is_ok() };
    if is_valid { Ok(()) } else { Err(PATTERN) }
}

/// Checks a glob: letters and wildcards outside of braces, at least one alternative of them inside, no nesting.
fn is_glob_of_names(glob: &str) -> bool {
    let mut parts = glob.split('{');
    let before = parts.next().unwrap_or_default();
    before.bytes().all(is_glob_byte)
        && parts.all(|part| {
            part.split_once('}').is_some_and(|(alternatives, after)| {
                alternatives.split(',').all(is_alternative) && after.bytes().all(is_glob_byte)
            })
        })
}

fn is_alternative(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_glob_byte)
}

fn is_part(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(is_name_byte) && !part.starts_with('-') && !part.ends_with('-')
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn is_glob_byte(byte: u8) -> bool {
    is_name_byte(byte) || matches!(byte, b'*' | b'?')
}

fn is_label_value_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::selection::glob;
    use super::{Rule, dns_label, dns_subdomain, label_key, label_value, namespace_pattern};

    fn check(rule: fn(&str) -> Result<(), Rule>, good: &[&str], bad: &[&str]) {
        for name in good {
            assert_eq!(rule(name), Ok(()), "{name}");
        }
        for name in bad {
            assert!(rule(name).is_err(), "{name}");
        }
    }

    #[test]
    fn names_follow_the_kubernetes_rules() {
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

    #[test]
    fn glob_has_wildcards_and_alternatives() {
        check(
            namespace_pattern,
            &["web", "*", "**", "team-*", "-?", "{a,b*}-{c}", "a{b}c*", &"a*".repeat(60)],
            &[
                "",
                "Web",
                "a.b",
                "-a",
                "team-[0-9]",
                "*.",
                "{}",
                "{a,}",
                "{a",
                "a}",
                "{a}}",
                "{{a}}",
                "a,b",
                "\\*",
                "*A",
                &"a".repeat(64),
            ],
        );
    }

    proptest! {
        #[test]
        fn accepted_pattern_is_a_glob(pattern in "[a-c{},*?-]{0,9}") {
            if namespace_pattern(&pattern).is_ok() {
                prop_assert!(glob(&pattern).is_ok(), "{}", pattern);
            }
        }
    }
}

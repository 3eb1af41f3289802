//! Texts that stand where a secret is missing: absent values, masks, and examples of templates.

use super::{Unusable, between, names_secret};

/// The texts that languages and tools print for a missing value.
const NO_VALUE: [&str; 22] = [
    "<unknown>",
    "AnsibleUndefined",
    "null",
    "NULL",
    "Null",
    "nil",
    "None",
    "undefined",
    "<nil>",
    "<none>",
    "<None>",
    "<null>",
    "<unset>",
    "<undefined>",
    "<empty>",
    "(nil)",
    "(none)",
    "(null)",
    "(unset)",
    "(empty)",
    "(not set)",
    "<not set>",
];

/// The ends of an error of Go's `fmt` after `%!` and the verb.
const GO_FORMAT: [&str; 7] =
    ["(<nil>)", "(MISSING)", "(EXTRA ", "(BADINDEX)", "(NOVERB)", "(string=", "(int="];

/// The characters of which masks consist.
const MASKS: [char; 4] = ['*', '•', '●', '∗'];

/// The most characters of a mask.
const LONGEST_MASK: usize = 64;

/// The words of masks between marks: `(sensitive value)`, `[REDACTED]`.
const MASK_WORDS: [&str; 11] = [
    "sensitive",
    "sensitive value",
    "redacted",
    "masked",
    "hidden",
    "value hidden",
    "filtered",
    "concealed",
    "known after apply",
    "secure",
    "protected",
];

/// The marks around the words of masks.
const MARKS: [(&str, &str); 6] =
    [("***", "***"), ("(", ")"), ("<", ">"), ("[", "]"), ("{", "}"), ("__", "__")];

pub(super) fn find(text: &str) -> Option<Unusable> {
    let text = text.trim();
    if NO_VALUE.contains(&text) {
        Some(Unusable::NoValue)
    } else if text.contains("<no value>") || is_go_format_error(text) {
        Some(Unusable::NoTemplateValue)
    } else if is_mask(text) {
        Some(Unusable::Masked)
    } else if is_example(text) {
        Some(Unusable::Example)
    } else {
        None
    }
}

fn is_go_format_error(text: &str) -> bool {
    text.match_indices("%!").any(|(at, _)| {
        let rest = text[at + 2..].trim_start_matches(|c: char| c.is_ascii_alphabetic());
        GO_FORMAT.iter().any(|end| rest.starts_with(end))
    })
}

fn is_mask(text: &str) -> bool {
    let marked = MARKS.iter().find_map(|(open, close)| between(text, open, close));
    consists_of(text, 3, &MASKS)
        || consists_of(text, 5, &['x'])
        || consists_of(text, 5, &['X'])
        // Some tools show the last characters.
        || text.starts_with("********")
        || matches!(text, "REDACTED" | "MASKED" | "FILTERED")
        || text.contains("[REDACTED]")
        || marked.is_some_and(|inner| MASK_WORDS.contains(&inner.to_ascii_lowercase().as_str()))
}

/// Returns true for a text of some of these characters alone, as long as masks are.
fn consists_of(text: &str, shortest: usize, characters: &[char]) -> bool {
    (shortest..=LONGEST_MASK).contains(&text.chars().count()) && text.chars().all(|c| characters.contains(&c))
}

fn is_example(text: &str) -> bool {
    if let Some(inner) = between(text, "<", ">").filter(|inner| inner.chars().all(is_of_name)) {
        return names_secret(inner);
    }
    let lower = text.to_ascii_lowercase();
    let words: Vec<&str> = lower.split(['-', '_', ' ']).collect();
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return false };
    words.len() >= 2
        && words.iter().all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic()))
        && matches!(*first, "your" | "insert" | "enter" | "replace")
        && names_secret(text)
        && (*last == "here" || names_secret(last))
}

/// Returns true for a character of the name of a placeholder.
fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ' | '.')
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, check_near_misses};
    use super::*;

    #[test]
    fn missing_value_is_recognised() {
        check(find, Unusable::NoValue, &NO_VALUE);
        check(find, Unusable::NoValue, &[" null ", "null\n"]);
        check(
            find,
            Unusable::NoTemplateValue,
            &[
                "<no value>",
                "token-<no value>",
                "%!s(<nil>)",
                "%!v(MISSING)",
                "pw%!(EXTRA string=x)",
                "%!d(string=x)",
            ],
        );
        check_near_misses(
            find,
            &[
                "nullable",
                "null1",
                "Nil",
                "none",
                "NONE",
                "nonexistent",
                "undefined1",
                "no value",
                "%!s",
                "%!(x)",
            ],
        );
    }

    #[test]
    fn mask_is_recognised() {
        check(
            find,
            Unusable::Masked,
            &[
                "***",
                "********",
                "••••••",
                "xxxxx",
                "XXXXXXXX",
                "****************ABCD",
                "(sensitive value)",
                "(sensitive)",
                "<sensitive>",
                "<redacted>",
                "[REDACTED]",
                "REDACTED",
                "***REDACTED***",
                "[MASKED]",
                "{redacted}",
                "(known after apply)",
                "pw [REDACTED] pw",
            ],
        );
        check_near_misses(
            find,
            &[
                "**",
                "a***",
                "***a",
                "xxxx",
                "xxxxy",
                "redacted",
                "masked",
                "sensitive",
                "[sensible]",
                "*******p",
            ],
        );
    }

    #[test]
    fn example_is_recognised() {
        check(
            find,
            Unusable::Example,
            &[
                "<your-password>",
                "<REGISTRY_TOKEN>",
                "<insert token here>",
                "<password>",
                "your-password",
                "YOUR_TOKEN_HERE",
                "replace-with-token",
                "enter your secret here",
                "insert_password_here",
            ],
        );
        // Defaults of real products, and words that people choose.
        check_near_misses(
            find,
            &[
                "changeme",
                "CHANGEME",
                "changeit",
                "TODO",
                "password",
                "secret",
                "Harbor12345",
                "<pw>",
                "<a<b>c>",
                "your secret garden",
                "your-name",
                "replace",
                "insertcoin",
                "your-p4ssword",
                "<password>1",
                "enter-sandman",
                "yourpassword",
            ],
        );
    }
}

//! Suggests the known word closest to a misspelt one.

/// Returns `did you mean x?` and the known words, as the end of a message about an unknown word.
pub(crate) fn hint(written: &str, known: &[&str]) -> String {
    let all = known.join(", ");
    match closest(written, known) {
        Some(meant) => format!("did you mean {meant}? known: {all}"),
        None => format!("known: {all}"),
    }
}

/// Returns the known word within a few typing errors of the written one.
fn closest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let written = written.to_lowercase();
    let (_, word) = known
        .iter()
        .map(|word| (strsim::osa_distance(&written, &word.to_lowercase()), *word))
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)?;
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn typing_error_is_recognised() {
        assert_eq!(hint("Host", &["from", "host"]), "did you mean host? known: from, host");
        assert_eq!(hint("hsot", &["from", "host"]), "did you mean host? known: from, host");
        assert_eq!(hint("password", &["from", "host"]), "known: from, host");
    }
}

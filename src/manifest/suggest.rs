//! What someone may have meant.

/// `did you mean "x"? ` and the known words, as the end of a message about a word that is none of them.
pub(crate) fn hint(written: &str, known: &[&str]) -> String {
    let all = known.join(", ");
    match closest(written, known) {
        Some(meant) => format!("did you mean {meant}? known: {all}"),
        None => format!("known: {all}"),
    }
}

/// The known word that a few slips of the finger turn into the written one.
fn closest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let written = written.to_lowercase();
    let distance = |word: &str| strsim::osa_distance(&written, &word.to_lowercase());
    let allowed = |word: &str| (word.len() / 3).max(1);
    known.iter().copied().filter(|word| distance(word) <= allowed(word)).min_by_key(|word| distance(word))
}

#[cfg(test)]
mod tests {
    use super::hint;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        assert_eq!(hint("Host", &["from", "host"]), "did you mean host? known: from, host");
        assert_eq!(hint("hsot", &["from", "host"]), "did you mean host? known: from, host");
        assert_eq!(hint("password", &["from", "host"]), "known: from, host");
    }
}

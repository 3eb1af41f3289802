//! Lists of names in messages: at most ten, and the number of the others.
//!
//! Pure. A status has to stay small, and a message readable, however many namespaces or hosts there are.

/// The most names that a message has.
pub(crate) const MAX_NAMED: usize = 10;

/// Joins names, at most ten of them: `a, b and 3 more`.
#[must_use]
pub(crate) fn join(names: impl IntoIterator<Item = impl AsRef<str>>, separator: &str) -> String {
    let mut text = String::new();
    let mut others = 0;
    for (index, name) in names.into_iter().enumerate() {
        if index >= MAX_NAMED {
            others += 1;
            continue;
        }
        if index > 0 {
            text.push_str(separator);
        }
        text.push_str(name.as_ref());
    }
    if others > 0 { format!("{text} and {others} more") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| n.to_string()).collect()
    }

    #[test]
    fn ten_names_are_joined_and_others_counted() {
        assert_eq!(join(names(0), ", "), "");
        assert_eq!(join(names(2), ", "), "0, 1");
        assert_eq!(join(names(10), ", "), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9");
        assert_eq!(join(names(13), "; "), "0; 1; 2; 3; 4; 5; 6; 7; 8; 9 and 3 more");
    }
}

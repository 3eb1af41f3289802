//! The environment as lines for a POSIX shell.

/// Returns the line that exports a variable.
pub(super) fn export(name: &str, value: &str) -> String {
    format!("export {name}={}\n", quote(value))
}

/// Quotes a value for any POSIX shell, if it needs quotes.
pub(super) fn quote(value: &str) -> String {
    if !value.is_empty() && value.chars().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// Returns true if a character needs no quotes in a shell.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_lines_survive_the_shell() {
        assert_eq!(export("A", "http://127.0.0.1:1"), "export A=http://127.0.0.1:1\n");
        assert_eq!(export("A", "it's $HOME"), "export A='it'\\''s $HOME'\n");
        assert_eq!(export("A", ""), "export A=''\n");
    }
}

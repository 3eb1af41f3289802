//! Progress messages: whole lines on stderr, never on stdout, which is for data.

use std::io::Write as _;

/// Prints one line to stderr.
pub(crate) fn report(line: &str) {
    // A closed stderr cannot be reported anywhere.
    let _ = writeln!(std::io::stderr().lock(), "world: {line}");
}

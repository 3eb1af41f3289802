//! What the world says to people: whole lines on stderr, never on stdout, which is for data.

use std::io::Write as _;

/// Says one line on stderr.
pub(crate) fn say(line: &str) {
    // Nobody can be told that stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "world: {line}");
}

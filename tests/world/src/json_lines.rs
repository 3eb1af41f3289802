//! Files in JSON Lines format, to which a program appends one line for each event.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::Context as _;
use serde::de::DeserializeOwned;

/// Returns the current length of a file in bytes.
pub(crate) fn length(path: &Path) -> anyhow::Result<u64> {
    let file = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(file.len())
}

/// Returns the complete lines after the first `length` bytes.
pub(crate) fn lines_since<Line: DeserializeOwned>(path: &Path, length: u64) -> anyhow::Result<Vec<Line>> {
    let mut text = String::new();
    File::open(path)
        .and_then(|mut file| {
            file.seek(SeekFrom::Start(length))?;
            file.read_to_string(&mut text)
        })
        .with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("a line of {} is not JSON", path.display()))
}

pub(crate) fn parse<Line: DeserializeOwned>(text: &str) -> serde_json::Result<Vec<Line>> {
    // A last line without a line feed is still being written.
    let complete = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    complete.map(serde_json::from_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_incomplete_last_line_skips_it() {
        let lines: Vec<u8> = parse("1\n2\n[").unwrap();
        assert_eq!(lines, [1, 2]);
    }
}

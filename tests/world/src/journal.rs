//! A file to which a program adds a line of JSON for each thing that it did.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::Context as _;
use serde::de::DeserializeOwned;

/// How many bytes it has by now.
pub(crate) fn length(path: &Path) -> anyhow::Result<u64> {
    let file = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(file.len())
}

/// The lines behind the first so many bytes.
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
    // A last line without its end is still being written.
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(serde_json::from_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_still_being_written_waits() {
        let lines: Vec<u8> = parse("1\n2\n[").unwrap();
        assert_eq!(lines, [1, 2]);
    }
}

//! Files in JSON Lines format, to which a program appends one line for each event.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::Context as _;
use serde::de::DeserializeOwned;

/// The bytes that are read at once from the end of a file.
const CHUNK: u64 = 8 << 10;

/// Returns the current length of the complete lines of a file in bytes: the last one may still be being written.
pub(crate) fn length(path: &Path) -> anyhow::Result<u64> {
    File::open(path).and_then(complete_length).with_context(|| format!("cannot read {}", path.display()))
}

fn complete_length(mut file: impl Read + Seek) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        file.seek(SeekFrom::Start(start))?;
        let mut chunk = Vec::new();
        Read::by_ref(&mut file).take(end - start).read_to_end(&mut chunk)?;
        if let Some(position) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + u64::try_from(position).map_err(io::Error::other)? + 1);
        }
        end = start;
    }
    Ok(0)
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
    use std::io::Cursor;

    use super::*;

    #[test]
    fn parse_incomplete_last_line_skips_it() {
        let lines: Vec<u8> = parse("1\n2\n[").unwrap();
        assert_eq!(lines, [1, 2]);
    }

    #[test]
    fn length_of_incomplete_last_line_ends_before_it() {
        let long = "x".repeat(3 * usize::try_from(CHUNK).unwrap());
        for (text, expect) in [("", 0), ("1\n2\n", 4), ("1\n2", 2), ("12", 0)] {
            assert_eq!(complete_length(Cursor::new(text)).unwrap(), expect, "{text:?}");
            let expect = text.rfind('\n').map_or(0, |position| position + 1);
            let text = format!("{text}{long}");
            assert_eq!(complete_length(Cursor::new(text)).unwrap(), u64::try_from(expect).unwrap());
        }
    }
}

//! The record of the entries that a sidecar wrote into a file: one line of JSON, in the file that is also its lock.
//!
//! Pure. It holds names of registries and no credential. A record that cannot be parsed is an empty one: every entry of
//! the file is then that of another program.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The entries that regcred wrote, and those that it should have written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EntryRecord {
    /// The keys under `auths` that regcred wrote.
    #[serde(default)]
    pub(super) written: BTreeSet<String>,
    /// The registries that have no entry yet.
    #[serde(default)]
    pub(super) missing: BTreeSet<String>,
}

impl EntryRecord {
    /// Parses the first line: what follows is the remainder of a longer record that was overwritten.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        serde_json::from_slice(line).unwrap_or_default()
    }

    /// Renders the line.
    pub(super) fn render(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("sets of strings always have a JSON form");
        line.push(b'\n');
        line
    }

    /// Returns the record for the time of a write, which may end before or after it.
    pub(super) fn during(&self, next: &Self) -> Self {
        Self { written: self.written.union(&next.written).cloned().collect(), missing: self.missing.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(written: &[&str], missing: &[&str]) -> EntryRecord {
        let [written, missing] =
            [written, missing].map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        EntryRecord { written, missing }
    }

    #[test]
    fn record_survives_its_text_and_a_longer_one_before() {
        let ours = record(&["ghcr.io", "docker.io"], &["quay.io"]);
        let mut bytes = ours.render();
        assert_eq!(EntryRecord::parse(&bytes), ours);
        bytes.extend(b"y.io\"]}\n");
        assert_eq!(EntryRecord::parse(&bytes), ours);
    }

    #[test]
    fn text_that_is_no_record_is_empty() {
        for text in ["", "\n", "{\"written\":[\"gh", "[]"] {
            assert_eq!(EntryRecord::parse(text.as_bytes()), EntryRecord::default(), "{text}");
        }
    }

    #[test]
    fn record_during_a_write_covers_both_files() {
        let before = record(&["ghcr.io"], &["quay.io"]);
        let after = record(&["quay.io"], &[]);
        assert_eq!(before.during(&after), record(&["ghcr.io", "quay.io"], &["quay.io"]));
    }
}

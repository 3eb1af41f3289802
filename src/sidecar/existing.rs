//! A docker config as it is on disk, from any author.
//!
//! Pure. In go the bytes of the file, out come its entries and its other keys. An error quotes nothing of the file.

use serde_json::{Map, Value};

/// The key with the entries.
pub(super) const AUTHS: &str = "auths";
/// The one field of an entry that regcred writes.
pub(super) const AUTH: &str = "auth";

/// A docker config that exists.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct ExistingConfig {
    /// The entries under `auths`.
    pub(super) entries: Map<String, Value>,
    /// The other keys at the top, such as `credsStore`.
    pub(super) others: Map<String, Value>,
}

/// A file that is no docker config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADockerConfig {
    /// Half a file, or another format.
    #[error("the file is not JSON")]
    Json,
    /// JSON of another kind, such as a list.
    #[error("the file is not a JSON object")]
    Object,
    /// Entries of another kind.
    #[error("`auths` is not a JSON object")]
    Auths,
}

impl ExistingConfig {
    /// Parses a file; an empty one is a docker config without entries.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, NotADockerConfig> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let config: Value = serde_json::from_slice(bytes).map_err(|_| NotADockerConfig::Json)?;
        let Value::Object(mut others) = config else { return Err(NotADockerConfig::Object) };
        let entries = match others.remove(AUTHS) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(entries)) => entries,
            Some(_) => return Err(NotADockerConfig::Auths),
        };
        Ok(Self { entries, others })
    }

    /// Renders the bytes of the file: the same content always gives the same bytes.
    pub(super) fn render(&self) -> Vec<u8> {
        let mut config = self.others.clone();
        config.insert(AUTHS.to_owned(), Value::Object(self.entries.clone()));
        Value::Object(config).to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_other_keys_survive_a_round_trip() {
        let text = br#"{"credsStore":"pass","auths":{"ghcr.io":{"auth":"YTpi"}},"HttpHeaders":{"a":"b"}}"#;
        let existing = ExistingConfig::parse(text).expect("a docker config");
        let again = existing.render();
        assert!(ExistingConfig::parse(&again).expect("a docker config") == existing);
        assert_eq!(existing.render(), again);
        assert_eq!(existing.others.keys().collect::<Vec<_>>(), ["HttpHeaders", "credsStore"]);
    }

    #[test]
    fn empty_file_has_no_entries() {
        for text in ["", "\n", "{}", r#"{"auths":null}"#, r#"{"auths":{}}"#] {
            assert!(ExistingConfig::parse(text.as_bytes()) == Ok(ExistingConfig::default()), "{text}");
        }
    }

    #[test]
    fn other_file_is_refused_without_a_quote() {
        for (text, expect) in [
            (r#"{"auths":{"ghcr.io":{"auth":"hunt"#, NotADockerConfig::Json),
            ("[]", NotADockerConfig::Object),
            (r#"{"auths":["hunter2"]}"#, NotADockerConfig::Auths),
        ] {
            let error = ExistingConfig::parse(text.as_bytes()).err().expect("refused");
            assert_eq!(error, expect);
            assert!(!error.to_string().contains("hunt"), "{error}");
        }
    }
}

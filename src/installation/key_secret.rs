//! The Secret that holds the key of an installation.
//!
//! Pure. Its data are an id, which is part of every signature, the current key, and during a rotation of the key
//! the previous one.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;

use crate::cluster::ownership::key::OwnershipKey;

/// The name of the Secret.
pub const NAME: &str = "regcred-ownership-key";
/// The type of the Secret.
pub const TYPE: &str = "regcred.dev/ownership-key";

/// The key with the id of the installation, as hexadecimal text.
pub const INSTALLATION: &str = "installation";
/// The key with the current key.
pub const KEY: &str = "key";
/// The key with the previous key.
pub const PREVIOUS_KEY: &str = "previousKey";

/// The length of a key.
pub const KEY_LENGTH: usize = 32;

/// The data of the Secret.
pub type KeyData = BTreeMap<String, ByteString>;

/// The content of the Secret.
#[derive(Debug)]
pub enum KeyContent {
    /// The key of the installation.
    Complete(Box<OwnershipKey>),
    /// The current key is missing: a new one has to be added. The previous one stays valid.
    WithoutKey,
}

/// Data that are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` of Secret {NAME} is missing or has the wrong length")]
pub struct InvalidKey {
    field: &'static str,
}

/// Parses the data of the Secret.
pub fn parse(data: &KeyData) -> Result<KeyContent, InvalidKey> {
    let key = |field: &'static str| match data.get(field) {
        None => Ok(None),
        Some(bytes) if bytes.0.len() == KEY_LENGTH => Ok(Some(bytes.0.as_slice())),
        Some(_) => Err(InvalidKey { field }),
    };
    let installation = data.get(INSTALLATION).and_then(|it| std::str::from_utf8(&it.0).ok());
    let installation = installation.filter(|it| !it.is_empty()).ok_or(InvalidKey { field: INSTALLATION })?;
    match (key(KEY)?, key(PREVIOUS_KEY)?) {
        (Some(current), previous) => {
            Ok(KeyContent::Complete(Box::new(OwnershipKey::new(installation, current, previous))))
        }
        (None, Some(_)) => Ok(KeyContent::WithoutKey),
        (None, None) => Err(InvalidKey { field: KEY }),
    }
}

/// Returns the data of a new installation.
#[must_use]
pub fn new_data(installation: &[u8; 16], key: &[u8; KEY_LENGTH]) -> KeyData {
    let installation = format!("{:032x}", u128::from_be_bytes(*installation));
    let fields = [(INSTALLATION, installation.into_bytes()), (KEY, key.to_vec())];
    fields.map(|(field, bytes)| (field.to_owned(), ByteString(bytes))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(fields: &[(&str, &[u8])]) -> KeyData {
        fields.iter().map(|(field, bytes)| ((*field).to_owned(), ByteString(bytes.to_vec()))).collect()
    }

    fn signs_like(content: KeyContent, other: &OwnershipKey) -> bool {
        let KeyContent::Complete(key) = content else { return false };
        let signature = key.sign("images", &"web".into(), &"regcred".into());
        other.verify(&signature, &"web".into(), &"regcred".into()).is_some()
    }

    #[test]
    fn new_data_are_parsed_to_a_key() {
        let parsed = parse(&new_data(&[7; 16], &[1; 32])).expect("a key");
        assert!(signs_like(parsed, &OwnershipKey::new(&"07".repeat(16), &[1; 32], None)));
    }

    #[test]
    fn moved_key_asks_for_a_new_one() {
        let moved = data(&[(INSTALLATION, b"a"), (PREVIOUS_KEY, &[1; 32])]);
        assert!(matches!(parse(&moved), Ok(KeyContent::WithoutKey)));
        let both = data(&[(INSTALLATION, b"a"), (KEY, &[2; 32]), (PREVIOUS_KEY, &[1; 32])]);
        let other = OwnershipKey::new("a", &[2; 32], None);
        assert!(signs_like(parse(&both).expect("a key"), &other));
    }

    #[test]
    fn edited_data_name_the_wrong_field() {
        for (fields, field) in [
            (data(&[]), INSTALLATION),
            (data(&[(INSTALLATION, b""), (KEY, &[1; 32])]), INSTALLATION),
            (data(&[(INSTALLATION, b"a")]), KEY),
            (data(&[(INSTALLATION, b"a"), (KEY, &[1; 31])]), KEY),
            (data(&[(INSTALLATION, b"a"), (KEY, &[1; 32]), (PREVIOUS_KEY, b"")]), PREVIOUS_KEY),
        ] {
            assert_eq!(parse(&fields).err(), Some(InvalidKey { field }));
        }
    }
}

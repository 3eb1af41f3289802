//! The record of Secrets as bytes: compact, because ten thousand namespaces have to fit.
//!
//! Pure. For each ClusterPullSecret and Secret name: both as text, the number of namespaces, and for each
//! namespace its name, the UID in 16 bytes and a number without a meaning. Numbers and lengths are LEB128.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::ownership::owned_secrets::OwnedSecret;
use crate::object_name::{NamespaceName, SecretName};

/// The number after each UID. It was the revision of the last write, and is read whatever it is.
const REVISION: u64 = 0;

/// One record: where the Secret is, and what is known of it.
pub type Record = (NamespaceName, SecretName, OwnedSecret);

/// Bytes that are no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record of Secrets cannot be parsed")]
pub struct InvalidRecord;

/// Renders records.
#[must_use]
pub fn render<'a>(records: impl IntoIterator<Item = &'a Record>) -> Vec<u8> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Record>> = BTreeMap::new();
    for record in records {
        let (_, name, owned) = record;
        groups.entry((&owned.cluster_pull_secret, name)).or_default().push(record);
    }
    let mut bytes = Vec::new();
    for ((cluster_pull_secret, name), records) in groups {
        write_text(&mut bytes, cluster_pull_secret);
        write_text(&mut bytes, name);
        write_number(&mut bytes, records.len() as u64);
        for (namespace, _, owned) in records {
            write_text(&mut bytes, namespace);
            bytes.extend(owned.uid.to_be_bytes());
            write_number(&mut bytes, REVISION);
        }
    }
    bytes
}

/// Parses records.
pub fn parse(mut bytes: &[u8]) -> Result<Vec<Record>, InvalidRecord> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let cluster_pull_secret: Arc<str> = read_text(&mut bytes)?.into();
        let name = SecretName::from(read_text(&mut bytes)?);
        for _ in 0..read_number(&mut bytes)? {
            let namespace = NamespaceName::from(read_text(&mut bytes)?);
            let uid = read_bytes(&mut bytes, 16)?.try_into().map_err(|_| InvalidRecord)?;
            let owned = OwnedSecret {
                cluster_pull_secret: Arc::clone(&cluster_pull_secret),
                uid: u128::from_be_bytes(uid),
            };
            read_number(&mut bytes)?;
            records.push((namespace, name.clone(), owned));
        }
    }
    Ok(records)
}

fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn write_text(bytes: &mut Vec<u8>, text: &str) {
    write_number(bytes, text.len() as u64);
    bytes.extend(text.bytes());
}

fn read_number(bytes: &mut &[u8]) -> Result<u64, InvalidRecord> {
    let mut number: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(InvalidRecord)?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(InvalidRecord)
}

fn read_bytes<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], InvalidRecord> {
    let length = usize::try_from(length).map_err(|_| InvalidRecord)?;
    let (read, rest) = bytes.split_at_checked(length).ok_or(InvalidRecord)?;
    *bytes = rest;
    Ok(read)
}

fn read_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, InvalidRecord> {
    let length = read_number(bytes)?;
    std::str::from_utf8(read_bytes(bytes, length)?).map_err(|_| InvalidRecord)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(cluster_pull_secret: &str, namespace: &str, uid: u128) -> Record {
        let owned = OwnedSecret { cluster_pull_secret: cluster_pull_secret.into(), uid };
        (namespace.into(), "regcred".into(), owned)
    }

    #[test]
    fn ten_thousand_namespaces_take_less_than_half_a_shard() {
        let records: Vec<_> = (0..10_000)
            .map(|n: u64| record("images", &format!("team-{n:05}-production"), u128::MAX - u128::from(n)))
            .collect();
        assert!(render(&records).len() < 450 * 1024, "{}", render(&records).len());
    }

    #[test]
    fn bytes_that_are_no_record_are_rejected() {
        let bytes = render(&[record("images", "web", 1)]);
        for end in 1..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Err(InvalidRecord), "cut at {end}");
        }
        // A length beyond every memory.
        assert_eq!(parse(&[0xff; 12]), Err(InvalidRecord));
    }

    #[test]
    fn record_with_a_revision_is_still_read() {
        let mut bytes = render(&[record("images", "web", 1)]);
        assert_eq!(bytes.pop(), Some(0));
        write_number(&mut bytes, 1 << 34);
        assert_eq!(parse(&bytes), Ok(vec![record("images", "web", 1)]));
    }

    proptest! {
        #[test]
        fn rendered_records_are_parsed_back(
            uids in proptest::collection::btree_map("[a-z0-9-]{1,63}", any::<u128>(), 0..20),
        ) {
            let records: Vec<_> =
                uids.iter().map(|(namespace, &uid)| record("images", namespace, uid)).collect();
            prop_assert_eq!(parse(&render(&records)), Ok(records));
        }

        #[test]
        fn parsing_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}

//! The round trip of shards, their limit, and what is no shard.

use proptest::prelude::*;

use super::*;
use crate::cluster::ownership::owned_secrets::OwnedSecret;
use crate::object_name::NamespaceName;
use crate::reconcile::fixture::{host_key, store_key};

fn value(host: &str, password: &str) -> (ValueId, LastGoodValue) {
    let id = ValueId {
        cluster_pull_secret: format!("of-{host}"),
        host: Some(host_key(host)),
        store_key: store_key(host),
    };
    let credential = Credential { username: "robot".into(), password: password.into() };
    let config = DockerConfig { auths: [(host_key(host), credential)].into() };
    (id, LastGoodValue { version: "7".into(), config, expires: Some(Timestamp::UNIX_EPOCH) })
}

fn record(namespace: &str) -> Record {
    let owned = OwnedSecret { cluster_pull_secret: "images".into(), uid: 5 };
    (namespace.into(), "regcred".into(), owned)
}

/// Text that does not compress.
fn noise(length: usize) -> String {
    let mut number: u64 = 1;
    let noise = std::iter::repeat_with(|| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + u8::try_from((number >> 33) % 94).expect("below 94"))
    });
    noise.take(length).collect()
}

#[test]
fn encoded_shard_is_decoded_to_the_same() {
    let shard = Shard { values: vec![value("ghcr.io", "one")], records: vec![record("web")] };
    let encoded = shard.encode();
    assert!(encoded.left_out.is_empty());
    let decoded = Shard::decode(&encoded.data).expect("a shard");
    assert_eq!(decoded.records, shard.records);
    let (id, read) = &decoded.values[0];
    assert_eq!(*id, shard.values[0].0);
    assert!(read.config.is_same_as(&shard.values[0].1.config));
    assert_eq!(read.version.to_string(), "7");
    assert_eq!(read.expires, Some(Timestamp::UNIX_EPOCH));
}

#[test]
fn largest_value_is_left_out_where_there_is_no_room() {
    let values = vec![value("large.io", &noise(2 * MAX_BYTES)), value("ghcr.io", "one")];
    let encoded = Shard { values, records: vec![record("web")] }.encode();
    assert_eq!(encoded.left_out, ["of-large.io".to_owned()].into());
    assert!(encoded.data.values().map(|bytes| bytes.0.len()).sum::<usize>() <= MAX_BYTES);
    let decoded = Shard::decode(&encoded.data).expect("a shard");
    assert_eq!((decoded.values.len(), decoded.records.len()), (1, 1));
}

#[test]
fn records_without_room_are_left_out_and_reported() {
    let uid = |n: u128| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let records: Vec<_> = (0..60_000)
        .map(|n| {
            let owned = OwnedSecret { cluster_pull_secret: "images".into(), uid: uid(n) };
            (NamespaceName::from(format!("ns-{n}")), "regcred".into(), owned)
        })
        .collect();
    let encoded = Shard { values: vec![value("ghcr.io", "one")], records }.encode();
    assert_eq!(encoded.left_out, ["images".to_owned()].into());
    let size = encoded.data.values().map(|bytes| bytes.0.len()).sum::<usize>();
    assert!(size <= MAX_BYTES && size > MAX_BYTES / 2, "{size}");
    assert_eq!(Shard::decode(&encoded.data).expect("a shard").values.len(), 1);
}

#[test]
fn edited_shard_is_invalid() {
    let good = Shard { values: vec![value("ghcr.io", "one")], records: vec![record("web")] }.encode().data;
    for part in [VALUES, SECRETS] {
        for bytes in [&b""[..], b"x", b"\x01", b"\x01not compressed", b"\x02\x03\x00"] {
            let mut data = good.clone();
            data.insert(part.to_owned(), ByteString(bytes.to_vec()));
            assert_eq!(Shard::decode(&data).err(), Some(InvalidShard { part }), "{part} {bytes:?}");
        }
    }
    assert!(Shard::decode(&BTreeMap::new()).is_err());
}

#[test]
fn decompression_is_bounded() {
    let bomb = compress(&vec![b' '; MAX_DECOMPRESSED + 1]);
    assert!(bomb.len() < MAX_BYTES && decompress(&bomb).is_none());
}

#[test]
fn index_is_stable_and_spread() {
    let hosts: Vec<_> = (0..200).map(|n| value(&format!("r{n}.io"), "one").0).collect();
    let used: BTreeSet<_> = hosts.iter().map(|id| index_of_value(id, 16)).collect();
    assert_eq!(used.len(), 16);
    // A change of these numbers moves everything that is stored.
    assert_eq!(index_of_value(&value("ghcr.io", "one").0, 16), 10);
    let shards = RecordShards::new("images", 16);
    let namespaces: Vec<_> = (0..200).map(|n| NamespaceName::from(format!("ns-{n}"))).collect();
    let records: BTreeSet<_> = namespaces.iter().map(|it| index_of_record("images", it, 16)).collect();
    assert_eq!(records, shards.iter().collect());
    assert!(namespaces.iter().all(|it| shards.index_of(it) == index_of_record("images", it, 16)));
}

#[test]
fn debug_does_not_show_the_bytes() {
    let encoded = Shard { values: vec![value("ghcr.io", "s3cret-sentinel")], records: Vec::new() }.encode();
    assert!(format!("{encoded:?}").len() < 200, "{encoded:?}");
}

proptest! {
    #[test]
    fn decoding_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for part in [VALUES, SECRETS] {
            let _ = Shard::decode(&[(part.to_owned(), ByteString(bytes.clone()))].into());
        }
    }
}

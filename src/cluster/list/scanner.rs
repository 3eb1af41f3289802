//! Finds the items of a list while its JSON arrives.
//!
//! Pure. In go the chunks of a body, out come the metadata of the list and each item as one JSON value. Only
//! the value that is not complete yet is kept; every other field of the list is skipped.

use memchr::memchr2;

/// A value of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The metadata of the list.
    Metadata(&'a [u8]),
    /// One item.
    Item(&'a [u8]),
}

/// The name of the field of the items, with the closing quote.
const ITEMS_KEY: &[u8] = b"items\"";
/// The name of the field of the metadata.
const METADATA_KEY: &[u8] = b"metadata\"";
/// The depth of the fields of the list.
const FIELDS: usize = 1;
/// The depth of the items.
const ITEMS: usize = 2;

/// The state between two chunks.
#[derive(Debug, Default)]
pub(super) struct ListScanner {
    depth: usize,
    string: StringState,
    /// The next string at the depth of the fields is the name of a field.
    expects_key: bool,
    /// The name of the current field, with the closing quote.
    key: Vec<u8>,
    /// The depth of the value that is being kept; `None` while bytes are skipped.
    kept: Option<usize>,
    /// The part of that value in earlier chunks.
    value: Vec<u8>,
    is_complete: bool,
}

/// The position inside or outside of a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum StringState {
    #[default]
    Outside,
    Inside,
    /// Inside, after a backslash.
    Escaped,
}

impl ListScanner {
    /// Returns true if the list has been closed.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Scans the next chunk, and hands over every value that it completes.
    pub(super) fn push<E>(
        &mut self,
        chunk: &[u8],
        mut on_part: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut start, mut at) = (0, 0);
        while let Some(&byte) = chunk.get(at) {
            if self.string != StringState::Outside {
                at = self.scan_string(chunk, at);
                continue;
            }
            if matches!(byte, b',' | b']' | b'}') && self.kept == Some(self.depth) {
                self.complete(&chunk[start..at], &mut on_part)?;
                self.kept = (byte == b',' && self.depth == ITEMS).then_some(ITEMS);
                start = at + 1;
            }
            if self.scan_structure(byte) {
                start = at + 1;
            }
            at += 1;
        }
        if self.kept.is_some() {
            self.value.extend_from_slice(&chunk[start..]);
        }
        Ok(())
    }

    /// Scans on inside a string; returns the index of the first byte after the string or the chunk.
    fn scan_string(&mut self, chunk: &[u8], from: usize) -> usize {
        let mut at = from;
        while at < chunk.len() && self.string != StringState::Outside {
            if self.string == StringState::Escaped {
                self.string = StringState::Inside;
                at += 1;
                continue;
            }
            // Nearly all bytes of a list are inside of strings.
            let Some(offset) = memchr2(b'"', b'\\', &chunk[at..]) else {
                at = chunk.len();
                break;
            };
            at += offset + 1;
            self.string = if chunk[at - 1] == b'"' { StringState::Outside } else { StringState::Escaped };
        }
        if self.depth == FIELDS && self.expects_key {
            self.key.extend_from_slice(&chunk[from..at]);
        }
        at
    }

    /// Scans a byte outside of strings; returns true if a value to keep begins after the byte.
    fn scan_structure(&mut self, byte: u8) -> bool {
        let begins = match byte {
            b'"' => {
                self.string = StringState::Inside;
                None
            }
            b'{' | b'[' => {
                self.depth += 1;
                self.expects_key |= self.depth == FIELDS;
                (byte == b'[' && self.depth == ITEMS && self.key == ITEMS_KEY).then_some(ITEMS)
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.is_complete |= self.depth == 0;
                None
            }
            b':' if self.depth == FIELDS => {
                self.expects_key = false;
                (self.key == METADATA_KEY).then_some(FIELDS)
            }
            b',' if self.depth == FIELDS => {
                self.expects_key = true;
                self.key.clear();
                None
            }
            _ => None,
        };
        self.kept = self.kept.or(begins);
        begins.is_some()
    }

    fn complete<E>(
        &mut self,
        rest: &[u8],
        on_part: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let value = if self.value.is_empty() {
            rest
        } else {
            self.value.extend_from_slice(rest);
            &self.value
        };
        // Between the brackets of an empty list there is no item.
        if !value.trim_ascii().is_empty() {
            on_part(if self.depth == ITEMS { Part::Item(value) } else { Part::Metadata(value) })?;
        }
        self.value.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// The metadata and the items, from chunks of these sizes in turn.
    fn scan(text: &[u8], sizes: &[usize]) -> (Vec<Value>, Vec<Value>, bool) {
        let (mut scanner, mut metadata, mut items) = (ListScanner::default(), Vec::new(), Vec::new());
        let (mut rest, mut sizes) = (text, sizes.iter().cycle());
        while !rest.is_empty() {
            let (chunk, next) = rest.split_at(rest.len().min(*sizes.next().expect("a size")));
            rest = next;
            let Ok(()) = scanner.push(chunk, |part| {
                match part {
                    Part::Metadata(value) => metadata.push(serde_json::from_slice(value).expect("JSON")),
                    Part::Item(value) => items.push(serde_json::from_slice(value).expect("JSON")),
                }
                Ok::<_, Infallible>(())
            });
        }
        (metadata, items, scanner.is_complete())
    }

    #[test]
    fn items_and_metadata_are_found_in_any_order() {
        let items = json!([{"a": "]}\",{\\"}, {"metadata": {}, "items": [1, 2]}, 3]);
        let metadata = json!({"continue": "x", "items": [7]});
        for text in [
            format!(r#"{{"kind":"List","metadata":{metadata},"items":{items}}}"#),
            format!(r#"{{ "items" : {items} , "other":{{"items":[1]}},"metadata" : {metadata} }}"#),
        ] {
            let expect = (vec![metadata.clone()], items.as_array().cloned().expect("a list"), true);
            assert_eq!(scan(text.as_bytes(), &[1]), expect, "{text}");
            assert_eq!(scan(text.as_bytes(), &[usize::MAX]), expect, "{text}");
        }
    }

    #[test]
    fn list_without_items_has_none() {
        for items in ["null", "[]", "[ \n]"] {
            let text = format!(r#"{{"metadata":{{}},"items":{items}}}"#);
            assert_eq!(scan(text.as_bytes(), &[3]), (vec![json!({})], Vec::new(), true));
        }
    }

    #[test]
    fn list_that_was_cut_off_is_incomplete() {
        let (_, items, is_complete) = scan(br#"{"metadata":{},"items":[{"a":1},{"b":2"#, &[5]);
        assert_eq!((items, is_complete), (vec![json!({"a": 1})], false));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "(items|metadata|[\\[\\]{}\",:\\\\a-z\u{e9}]{0,6})".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("(items|metadata|[\"\\\\:a-z]{0,3})", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn scanner_agrees_with_a_parser(
            items in proptest::collection::vec(any_json(), 0..5), metadata in any_json(), other in any_json(),
            is_pretty in any::<bool>(), sizes in proptest::collection::vec(1_usize..9, 1..5),
        ) {
            let list = json!({"items": items, "kind": other, "metadata": metadata, "zone": other});
            let text = if is_pretty { serde_json::to_vec_pretty(&list) } else { serde_json::to_vec(&list) };
            prop_assert_eq!(scan(&text.expect("JSON"), &sizes), (vec![metadata], items, true));
        }
    }
}

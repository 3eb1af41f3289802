//! The text of a stored value: its encoding, and the JSON in it.
//!
//! Pure. A byte order mark and one line end at the end are no part of a value: editors and shells add them.

use serde_json::{Map, Value};

use super::Malformed;

/// The byte order mark that some editors write before UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The two byte order marks of UTF-16.
const UTF_16: [&[u8]; 2] = [&[0xff, 0xfe], &[0xfe, 0xff]];

/// The JSON of a value.
pub(super) enum Json {
    /// An object.
    Object(Map<String, Value>),
    /// A list.
    List,
    /// A text that begins like an object or a list, and is neither.
    Broken,
    /// Any other text, JSON or not.
    Other,
}

/// Returns the text of a value.
pub(super) fn read(bytes: &[u8]) -> Result<&str, Malformed> {
    if UTF_16.iter().any(|mark| bytes.starts_with(mark)) && bytes.len() > 2 {
        return Err("the value is UTF-16, as PowerShell writes it with `>`: store it as UTF-8".into());
    }
    let text = str::from_utf8(bytes).map_err(|_| Malformed::from("the value is not UTF-8"))?;
    let text = without_marks(text);
    if text.is_empty() { Err("the value is empty".into()) } else { Ok(text) }
}

/// Parses the JSON of a text.
pub(super) fn json(text: &str) -> Json {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Json::Object(object),
        Ok(Value::Array(_)) => Json::List,
        // A broken object must not become the password of a thousand namespaces.
        Err(_) if text.trim_start().starts_with(['{', '[']) => Json::Broken,
        _ => Json::Other,
    }
}

/// Drops a byte order mark, and one line end, as `docker login --password-stdin` does.
pub(super) fn without_marks(text: &str) -> &str {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_mark_and_one_line_end_are_dropped() {
        for (value, expect) in [
            ("\u{feff}pw", "pw"),
            ("pw\n", "pw"),
            ("\u{feff}pw\r\n", "pw"),
            ("pw\n\n", "pw\n"),
            (" pw ", " pw "),
            ("p\u{feff}w", "p\u{feff}w"),
        ] {
            assert_eq!(read(value.as_bytes()), Ok(expect), "{value:?}");
        }
        for value in ["", "\n", "\r\n", "\u{feff}", "\u{feff}\n"] {
            assert_eq!(read(value.as_bytes()), Err("the value is empty".into()), "{value:?}");
        }
    }

    #[test]
    fn other_encodings_are_named() {
        let utf_16: Vec<u8> = "\u{feff}pw".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let error = read(&utf_16).expect_err("UTF-16").to_string();
        assert!(error.starts_with("the value is UTF-16"), "{error}");
        assert_eq!(read(b"\xe4bc"), Err("the value is not UTF-8".into()));
    }
}

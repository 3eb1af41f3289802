//! Bounds the messages that people read, of which tenants write parts.
//!
//! Pure. In goes a text, out comes what a status, an Event, a log line or a terminal may show of it. One message is
//! copied into several conditions, and one object of the API server holds 1.5 MiB.

/// The most bytes of a message as it is shown; the API server accepts no note of an Event above 1 KiB.
const MAX_MESSAGE_BYTES: usize = 1000;
/// The end of a message that was cut.
const ELLIPSIS: char = '…';
/// The most bytes of one name in a message, as in a spec.
const MAX_NAME_BYTES: usize = 255;

/// Returns a text of another writer if it can be shown as a name: short, and without characters that a terminal obeys.
#[must_use]
pub(crate) fn printable(text: &str) -> Option<&str> {
    (!text.is_empty() && text.len() <= MAX_NAME_BYTES && text.chars().all(is_printable)).then_some(text)
}

/// Returns a message without characters that a terminal obeys, of at most [`MAX_MESSAGE_BYTES`]: a longer one is cut
/// between two characters, and ends in an ellipsis, which counts as well.
#[must_use]
pub(crate) fn bounded(message: &str) -> String {
    let mut shown = String::new();
    for character in message.chars() {
        shown.push(if is_printable(character) { character } else { char::REPLACEMENT_CHARACTER });
        if shown.len() > MAX_MESSAGE_BYTES {
            shown.truncate(shown.floor_char_boundary(MAX_MESSAGE_BYTES - ELLIPSIS.len_utf8()));
            shown.push(ELLIPSIS);
            break;
        }
    }
    shown
}

/// Returns true unless the character is a control, a mark of direction, or joins with the one before.
fn is_printable(character: char) -> bool {
    matches!(character, ' '..='~') || character.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_shown_if_short_and_printable() {
        for name in ["Opaque", "kubernetes.io/tls", "7@2026-11-27T10:00:00Z", "it's \"a\\b\"", "größe"] {
            assert_eq!(printable(name), Some(name));
        }
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        for text in ["", &long, "\u{1b}[2J", "a\nb", "\u{202e}abc", "a\u{200b}b"] {
            assert_eq!(printable(text), None, "{text:?}");
        }
        assert!(printable(&long[1..]).is_some());
    }

    #[test]
    fn long_message_is_cut_between_characters() {
        let cut = bounded(&format!("a{}", "ä".repeat(2000)));
        assert_eq!((cut.len(), cut.ends_with("ä…")), (1000, true));
        let cut = bounded(&"ä".repeat(2000));
        assert_eq!((cut.len(), cut.ends_with("ä…")), (999, true));
        assert_eq!(bounded("short: a fix"), "short: a fix");
    }

    #[test]
    fn message_has_at_most_a_thousand_bytes_as_shown() {
        let longest = "x".repeat(1000);
        assert_eq!(bounded(&longest), longest);
        assert_eq!(bounded(&format!("{longest}y")), format!("{}…", "x".repeat(997)));
        // Each of them is replaced by a character of three bytes.
        let escapes = bounded(&"\u{1b}".repeat(1000));
        assert_eq!((escapes.len(), escapes.ends_with("\u{fffd}…")), (999, true));
        assert_eq!(bounded(&"\u{1b}".repeat(333)).chars().count(), 333, "nothing is cut");
    }

    #[test]
    fn message_holds_no_terminal_escape() {
        assert_eq!(bounded("a\u{1b}[2Jb\nc\u{9b}d"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
    }
}

//! Parses intervals such as `1h30m`.
//!
//! Accepts only the form that people, Go and the rules of the CRD read the same way: whole hours, minutes
//! and seconds, in that order.

use std::time::Duration;

use super::names::Rule;

/// The rule for a refresh interval.
pub(crate) const INTERVAL: Rule =
    "must be hours, minutes and seconds, such as 1h, 90m or 1h30m, and be from 10s to 720h";

const MIN_SECONDS: u64 = 10;
const MAX_SECONDS: u64 = 720 * 3600;

/// The rule for a poll interval.
pub(crate) const POLL_INTERVAL: Rule =
    "must be hours, minutes and seconds, such as 10s or 1m30s, and be from 1s to 720h, or 0s for never";

/// Parses a refresh interval.
pub(crate) fn parse(text: &str) -> Result<Duration, Rule> {
    let seconds = seconds(text).filter(|seconds| (MIN_SECONDS..=MAX_SECONDS).contains(seconds));
    seconds.map(Duration::from_secs).ok_or(INTERVAL)
}

/// Parses a poll interval; `None` for never.
pub(crate) fn parse_poll(text: &str) -> Result<Option<Duration>, Rule> {
    match seconds(text).ok_or(POLL_INTERVAL)? {
        0 => Ok(None),
        seconds @ 1..=MAX_SECONDS => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(POLL_INTERVAL),
    }
}

/// Returns the length of an interval in seconds.
fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    for (unit, length, digits) in [('h', 3600, 4), ('m', 60, 6), ('s', 1, 7)] {
        if let Some((count, after)) = rest.split_once(unit).filter(|(count, _)| is_count(count, digits)) {
            seconds += count.parse::<u64>().ok()? * length;
            rest = after;
        }
    }
    // An empty text is no interval, not zero.
    (rest.is_empty() && !text.is_empty()).then_some(seconds)
}

/// Limits the digits: with more, the interval is too long anyway, and Go would not parse it.
fn is_count(count: &str, max_digits: usize) -> bool {
    (1..=max_digits).contains(&count.len()) && count.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{INTERVAL, POLL_INTERVAL, parse, parse_poll};

    #[test]
    fn hours_minutes_and_seconds_are_read() {
        for (text, seconds) in [
            ("10s", 10),
            ("90m", 5400),
            ("1h30m", 5400),
            ("1h0m1s", 3601),
            ("010s", 10),
            ("720h", 2_592_000),
            ("2592000s", 2_592_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in [
            "",
            "9s",
            "1",
            "1d",
            "h",
            "s",
            "1h30",
            "30m1h",
            "1m1m",
            "1.5h",
            "+1h",
            "-1h",
            "1h 30m",
            "1ms",
            "100000ms",
            "1H",
            "721h",
            "720h1s",
            "2592001s",
            "00000010s",
            "99999999999999999999h",
            "１h",
        ] {
            assert_eq!(parse(text), Err(INTERVAL), "{text}");
        }
    }

    #[test]
    fn poll_interval_may_be_short_or_zero() {
        assert_eq!(parse_poll("1s"), Ok(Some(Duration::from_secs(1))));
        assert_eq!(parse_poll("0s"), Ok(None));
        for text in ["", "0", "never", "721h", "1ms"] {
            assert_eq!(parse_poll(text), Err(POLL_INTERVAL), "{text}");
        }
    }
}

//! How long a text says: `1h30m`.
//!
//! Only what means the same to a person, to Go and to the rules of the CRD: whole hours, minutes and
//! seconds, in that order.

use std::time::Duration;

use super::names::Rule;

/// What is wrong with an interval.
pub(crate) const INTERVAL: Rule =
    "must be hours, minutes and seconds, such as 1h, 90m or 1h30m, and be from 10s to 720h";

const SHORTEST: u64 = 10;
const LONGEST: u64 = 720 * 3600;

/// What is wrong with the interval of a poll.
pub(crate) const POLL_INTERVAL: Rule =
    "must be hours, minutes and seconds, such as 10s or 1m30s, and be from 1s to 720h, or 0s for never";

/// The interval that a text says.
pub(crate) fn parse(text: &str) -> Result<Duration, Rule> {
    let seconds = seconds(text).filter(|seconds| (SHORTEST..=LONGEST).contains(seconds));
    seconds.map(Duration::from_secs).ok_or(INTERVAL)
}

/// The interval of a poll that a text says; `None` for never.
pub(crate) fn parse_poll(text: &str) -> Result<Option<Duration>, Rule> {
    match seconds(text).ok_or(POLL_INTERVAL)? {
        0 => Ok(None),
        seconds @ 1..=LONGEST => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(POLL_INTERVAL),
    }
}

/// How many seconds a text says.
fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    for (unit, length, digits) in [('h', 3600, 4), ('m', 60, 6), ('s', 1, 7)] {
        if let Some((count, after)) = rest.split_once(unit).filter(|(count, _)| is_count(count, digits)) {
            seconds += count.parse::<u64>().ok()? * length;
            rest = after;
        }
    }
    // An empty text says nothing, not nought.
    (rest.is_empty() && !text.is_empty()).then_some(seconds)
}

/// With more digits than these it is too long anyway, and Go would not read it.
fn is_count(count: &str, most_digits: usize) -> bool {
    (1..=most_digits).contains(&count.len()) && count.bytes().all(|digit| digit.is_ascii_digit())
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
    fn everything_else_is_refused() {
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
    fn a_poll_may_be_quick_or_never() {
        assert_eq!(parse_poll("1s"), Ok(Some(Duration::from_secs(1))));
        assert_eq!(parse_poll("0s"), Ok(None));
        for text in ["", "0", "never", "721h", "1ms"] {
            assert_eq!(parse_poll(text), Err(POLL_INTERVAL), "{text}");
        }
    }
}

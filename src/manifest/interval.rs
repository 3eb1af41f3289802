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

/// The interval that a text says.
pub(crate) fn parse(text: &str) -> Result<Duration, Rule> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    for (unit, length, digits) in [('h', 3600, 4), ('m', 60, 6), ('s', 1, 7)] {
        if let Some((count, after)) = rest.split_once(unit).filter(|(count, _)| is_count(count, digits)) {
            seconds += count.parse::<u64>().map_err(|_| INTERVAL)? * length;
            rest = after;
        }
    }
    let is_read = rest.is_empty() && (SHORTEST..=LONGEST).contains(&seconds);
    if is_read { Ok(Duration::from_secs(seconds)) } else { Err(INTERVAL) }
}

/// With more digits than these it is too long anyway, and Go would not read it.
fn is_count(count: &str, most_digits: usize) -> bool {
    (1..=most_digits).contains(&count.len()) && count.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{INTERVAL, parse};

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
}

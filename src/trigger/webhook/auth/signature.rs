//! HMAC-SHA256 over the time and the body of a request.
//!
//! What is signed is `TIMESTAMP.BODY`, the timestamp as the header has it.

use aws_lc_rs::{constant_time, hmac};
use jiff::Timestamp;

/// How many seconds a signature may be older than this clock, or younger.
const WINDOW: i64 = 300;

/// The length of a code.
const LENGTH: usize = 32;

/// The most digits of a timestamp, which are enough for any year that is written with four.
const MAX_DIGITS: usize = 12;

/// A signature as a request has it, whoever made it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::trigger::webhook) struct Signature {
    timestamp: String,
    at: i64,
    code: [u8; LENGTH],
}

impl Signature {
    /// What two headers say: `1732441811`, and `sha256=` with 64 hexadecimal digits.
    pub(in crate::trigger::webhook) fn new(timestamp: &[u8], signature: &[u8]) -> Option<Self> {
        let timestamp = str::from_utf8(timestamp).ok()?;
        let is_number = timestamp.len() <= MAX_DIGITS && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let at = timestamp.parse().ok().filter(|_| is_number)?;
        let code = code(signature.strip_prefix(b"sha256=")?)?;
        Some(Self { timestamp: timestamp.to_owned(), at, code })
    }

    /// When it was made, in Unix time, by the clock of whoever made it.
    pub(in crate::trigger::webhook) fn at(&self) -> i64 {
        self.at
    }

    pub(in crate::trigger::webhook) fn code(&self) -> &[u8; LENGTH] {
        &self.code
    }

    /// Whether it may be taken now.
    pub(in crate::trigger::webhook) fn is_timely(&self, now: Timestamp) -> bool {
        is_timely(self.at, now)
    }

    /// Whether the owner of this key made it for this body; takes the same time either way.
    pub(in crate::trigger::webhook) fn is_by(&self, key: &hmac::Key, body: &[u8]) -> bool {
        let mut context = hmac::Context::with_key(key);
        for part in [self.timestamp.as_bytes(), b".", body] {
            context.update(part);
        }
        constant_time::verify_slices_are_equal(context.sign().as_ref(), &self.code).is_ok()
    }

    /// As the owner of this key makes it.
    #[cfg(test)]
    pub(in crate::trigger::webhook) fn by(key: &str, at: i64, body: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        let signed = [format!("{at}.").as_bytes(), body].concat();
        let mut code = [0; LENGTH];
        code.copy_from_slice(hmac::sign(&key, &signed).as_ref());
        Self { timestamp: at.to_string(), at, code }
    }
}

#[cfg(test)]
impl std::fmt::Display for Signature {
    /// As the header has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sha256=")?;
        self.code.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whether a signature of that time may be taken now.
pub(in crate::trigger::webhook) fn is_timely(at: i64, now: Timestamp) -> bool {
    at.abs_diff(now.as_second()) <= WINDOW.unsigned_abs()
}

fn code(digits: &[u8]) -> Option<[u8; LENGTH]> {
    if digits.len() != 2 * LENGTH || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut code = [0; LENGTH];
    for (byte, pair) in code.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `openssl dgst -sha256 -hmac hunter2` over `1732441811.{"pullSecret":"images"}`.
    const MADE_BY_OPENSSL: &str = "sha256=738d40843d6a796c9fbeba6324ff08e73478517e6b90354001ab2e17e87aae47";
    const BODY: &[u8] = br#"{"pullSecret":"images"}"#;

    fn key(key: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())
    }

    fn openssl() -> Signature {
        Signature::new(b"1732441811", MADE_BY_OPENSSL.as_bytes()).unwrap()
    }

    #[test]
    fn what_openssl_signs_is_signed() {
        assert!(openssl().is_by(&key("hunter2"), BODY));
    }

    #[test]
    fn another_key_body_or_time_is_another_signature() {
        assert!(!openssl().is_by(&key("hunter3"), BODY));
        assert!(!openssl().is_by(&key("hunter2"), br#"{"pullSecret":"image"}"#));
        let later = Signature::new(b"1732441812", MADE_BY_OPENSSL.as_bytes()).unwrap();
        assert!(!later.is_by(&key("hunter2"), BODY));
        // The same number is not the same text.
        let padded = Signature::new(b"01732441811", MADE_BY_OPENSSL.as_bytes()).unwrap();
        assert!(!padded.is_by(&key("hunter2"), BODY));
    }

    #[test]
    fn a_signature_in_capitals_is_the_same() {
        let capitals = format!("sha256={}", MADE_BY_OPENSSL.trim_start_matches("sha256=").to_uppercase());
        assert_eq!(Signature::new(b"1732441811", capitals.as_bytes()), Some(openssl()));
    }

    #[test]
    fn what_is_no_signature_is_none() {
        let good = MADE_BY_OPENSSL.as_bytes();
        for timestamp in ["", "-1", "+1732441811", "1732441811.0", " 1732441811", "1234567890123", "x", "1e9"]
        {
            assert_eq!(Signature::new(timestamp.as_bytes(), good), None, "{timestamp}");
        }
        let digits = &good[7..];
        let bad = [
            [b"sha1=", digits].concat(),
            [b"SHA256=", digits].concat(),
            digits.to_vec(),
            [good, b"00"].concat(),
            good[..good.len() - 2].to_vec(),
            [&good[..good.len() - 2], b"+f"].concat(),
            b"sha256=".to_vec(),
            Vec::new(),
        ];
        for signature in bad {
            assert_eq!(Signature::new(b"1732441811", &signature), None, "{}", signature.escape_ascii());
        }
    }

    #[test]
    fn a_signature_is_taken_for_five_minutes_either_way() {
        let check = |second, expect| {
            assert_eq!(openssl().is_timely(Timestamp::from_second(second).unwrap()), expect, "{second}");
        };
        check(1_732_441_811 - 301, false);
        check(1_732_441_811 - 300, true);
        check(1_732_441_811 + 300, true);
        check(1_732_441_811 + 301, false);
        check(-377_705_023_201, false);
    }
}

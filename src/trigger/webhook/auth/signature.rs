//! HMAC-SHA256 over the timestamp and the body of a request.
//!
//! The signed text is `TIMESTAMP.BODY`, the timestamp as the header has it.

use aws_lc_rs::{constant_time, hmac};
use jiff::Timestamp;

/// Seconds that the timestamp may differ from this clock, in either direction.
const WINDOW: i64 = 300;

/// The length of an HMAC-SHA256.
const MAC_LENGTH: usize = 32;

/// The most digits of a timestamp, enough for any four-digit year.
const MAX_DIGITS: usize = 12;

/// A signature as a request has it, not verified yet.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::trigger::webhook) struct Signature {
    timestamp: String,
    at: i64,
    mac: [u8; MAC_LENGTH],
}

impl Signature {
    /// Parses two headers: `1732441811`, and `sha256=` with 64 hexadecimal digits.
    pub(super) fn parse(timestamp: &[u8], signature: &[u8]) -> Option<Self> {
        let timestamp = str::from_utf8(timestamp).ok()?;
        let is_number = timestamp.len() <= MAX_DIGITS && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let at = timestamp.parse().ok().filter(|_| is_number)?;
        let mac = decode(signature.strip_prefix(b"sha256=")?)?;
        Some(Self { timestamp: timestamp.to_owned(), at, mac })
    }

    /// The timestamp, in Unix time by the clock of the sender.
    pub(super) fn at(&self) -> i64 {
        self.at
    }

    pub(super) fn mac(&self) -> &[u8; MAC_LENGTH] {
        &self.mac
    }

    /// Returns true if the timestamp is within the window around `now`.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        is_fresh(self.at, now)
    }

    /// Returns true if this key made the signature of this body; takes constant time.
    pub(super) fn verify(&self, key: &hmac::Key, body: &[u8]) -> bool {
        let mut context = hmac::Context::with_key(key);
        for part in [self.timestamp.as_bytes(), b".", body] {
            context.update(part);
        }
        constant_time::verify_slices_are_equal(context.sign().as_ref(), &self.mac).is_ok()
    }

    /// Signs as the sender does.
    #[cfg(test)]
    pub(in crate::trigger::webhook) fn sign(key: &str, at: i64, body: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        let signed = [format!("{at}.").as_bytes(), body].concat();
        let mut mac = [0; MAC_LENGTH];
        mac.copy_from_slice(hmac::sign(&key, &signed).as_ref());
        Self { timestamp: at.to_string(), at, mac }
    }
}

#[cfg(test)]
impl std::fmt::Display for Signature {
    /// Writes the value of the header.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sha256=")?;
        self.mac.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Returns true if a timestamp is within the window around `now`.
pub(super) fn is_fresh(at: i64, now: Timestamp) -> bool {
    at.abs_diff(now.as_second()) <= WINDOW.unsigned_abs()
}

fn decode(digits: &[u8]) -> Option<[u8; MAC_LENGTH]> {
    if digits.len() != 2 * MAC_LENGTH || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut mac = [0; MAC_LENGTH];
    for (byte, pair) in mac.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of `openssl dgst -sha256 -hmac hunter2` over `1732441811.{"clusterPullSecret":"images"}`.
    const MADE_BY_OPENSSL: &str = "sha256=1228972d038a5070efb4f9a3e149ac83262dd5fbdcf6511af2b47f92fd3e9c78";
    const BODY: &[u8] = br#"{"clusterPullSecret":"images"}"#;

    fn key(key: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())
    }

    fn openssl() -> Signature {
        Signature::parse(b"1732441811", MADE_BY_OPENSSL.as_bytes()).unwrap()
    }

    #[test]
    fn signature_by_openssl_is_verified() {
        assert!(openssl().verify(&key("hunter2"), BODY));
    }

    #[test]
    fn signature_of_another_key_body_or_time_is_invalid() {
        assert!(!openssl().verify(&key("hunter3"), BODY));
        assert!(!openssl().verify(&key("hunter2"), br#"{"clusterPullSecret":"image"}"#));
        let later = Signature::parse(b"1732441812", MADE_BY_OPENSSL.as_bytes()).unwrap();
        assert!(!later.verify(&key("hunter2"), BODY));
        // The same number is not the same text.
        let padded = Signature::parse(b"01732441811", MADE_BY_OPENSSL.as_bytes()).unwrap();
        assert!(!padded.verify(&key("hunter2"), BODY));
    }

    #[test]
    fn signature_in_upper_case_is_the_same() {
        let upper = format!("sha256={}", MADE_BY_OPENSSL.trim_start_matches("sha256=").to_uppercase());
        assert_eq!(Signature::parse(b"1732441811", upper.as_bytes()), Some(openssl()));
    }

    #[test]
    fn malformed_signature_is_not_parsed() {
        let good = MADE_BY_OPENSSL.as_bytes();
        for timestamp in ["", "-1", "+1732441811", "1732441811.0", " 1732441811", "1234567890123", "x", "1e9"]
        {
            assert_eq!(Signature::parse(timestamp.as_bytes(), good), None, "{timestamp}");
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
            assert_eq!(Signature::parse(b"1732441811", &signature), None, "{}", signature.escape_ascii());
        }
    }

    #[test]
    fn timestamp_is_fresh_for_five_minutes_either_way() {
        for (second, expect) in [
            (1_732_441_811 - 301, false),
            (1_732_441_811 - 300, true),
            (1_732_441_811 + 300, true),
            (1_732_441_811 + 301, false),
            (-377_705_023_201, false),
        ] {
            assert_eq!(openssl().is_fresh(Timestamp::from_second(second).unwrap()), expect, "{second}");
        }
    }
}

//! Who a request says it is from.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use super::error::AuthError;
use super::keys::KeyId;
use super::signature::Signature;

/// When a request was signed, in Unix time.
const TIMESTAMP: HeaderName = HeaderName::from_static("x-regcred-timestamp");
/// `sha256=` and the signature in hexadecimal digits.
const SIGNATURE: HeaderName = HeaderName::from_static("x-regcred-signature");

/// Who a request says it is from; nobody has looked yet whether that is so.
pub(in crate::trigger::webhook) enum AuthHeader {
    /// Who knows this token.
    Token(KeyId),
    /// Who knows the key of this signature.
    Signature(Signature),
}

impl AuthHeader {
    /// What the headers say, where it is one thing.
    pub(in crate::trigger::webhook) fn of(headers: &HeaderMap) -> Result<Self, AuthError> {
        let caller = if headers.contains_key(AUTHORIZATION) {
            token(headers)
        } else if headers.contains_key(TIMESTAMP) || headers.contains_key(SIGNATURE) {
            signature(headers)
        } else {
            return Err(AuthError::ShowsNothing);
        };
        caller.ok_or(AuthError::Garbled)
    }
}

fn token(headers: &HeaderMap) -> Option<AuthHeader> {
    let (scheme, token) = split(only(headers, &AUTHORIZATION)?)?;
    scheme.eq_ignore_ascii_case(b"bearer").then(|| AuthHeader::Token(KeyId::of(token)))
}

fn signature(headers: &HeaderMap) -> Option<AuthHeader> {
    Signature::new(only(headers, &TIMESTAMP)?, only(headers, &SIGNATURE)?).map(AuthHeader::Signature)
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

/// A scheme and what follows it.
fn split(authorization: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = authorization.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = authorization.split_at(space);
    Some((scheme, rest.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const SIGNED: [(&str, &str); 2] = [
        ("x-regcred-timestamp", "1732441811"),
        ("x-regcred-signature", "sha256=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
    ];

    fn caller(headers: &[(&'static str, &str)]) -> Result<AuthHeader, AuthError> {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        // Of an iterator with the same name twice both are kept.
        AuthHeader::of(&headers.iter().map(header).collect())
    }

    fn is_token(headers: &[(&'static str, &str)], token: &str) -> bool {
        matches!(caller(headers), Ok(AuthHeader::Token(id)) if id.is(KeyId::of(token.as_bytes())))
    }

    #[test]
    fn a_bearer_token_is_what_follows_the_scheme() {
        for value in ["Bearer hunter2", "bearer hunter2", "BEARER   hunter2 "] {
            assert!(is_token(&[("authorization", value)], "hunter2"), "{value}");
        }
        assert!(!is_token(&[("authorization", "Bearer hunter2x")], "hunter2"));
    }

    #[test]
    fn a_signature_is_two_headers() {
        assert!(
            matches!(caller(&SIGNED), Ok(AuthHeader::Signature(signature)) if signature.at() == 1_732_441_811)
        );
    }

    #[test]
    fn who_says_two_things_or_something_else_is_nobody() {
        let [timestamp, signature] = SIGNED;
        assert_eq!(caller(&[]).err(), Some(AuthError::ShowsNothing));
        let cases: [&[(&str, &str)]; 9] = [
            &[("authorization", "hunter2")],
            &[("authorization", "Basic aHVudGVyMg==")],
            &[("authorization", "Bearer one"), ("authorization", "Bearer two")],
            &[("authorization", "Basic aHVudGVyMg=="), timestamp, signature],
            &[timestamp],
            &[signature],
            &[timestamp, timestamp, signature],
            &[timestamp, signature, signature],
            &[("authorization", "")],
        ];
        for headers in cases {
            assert_eq!(caller(headers).err(), Some(AuthError::Garbled), "{headers:?}");
        }
    }
}

//! The credentials in the headers of a request, not verified yet.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use super::error::AuthError;
use super::keys::KeyId;
use super::signature::Signature;

/// The time of a signature, in Unix time.
const TIMESTAMP: HeaderName = HeaderName::from_static("x-regcred-timestamp");
/// `sha256=` and the signature in hexadecimal digits.
const SIGNATURE: HeaderName = HeaderName::from_static("x-regcred-signature");

/// The credentials of a request, not verified yet.
pub(in crate::trigger::webhook) enum AuthHeader {
    /// A bearer token.
    Token(KeyId),
    /// A signature of the body.
    Signature(Signature),
}

impl AuthHeader {
    /// Reads the headers, which must hold exactly one kind of credentials.
    pub(in crate::trigger::webhook) fn parse(headers: &HeaderMap) -> Result<Self, AuthError> {
        let auth_header = if headers.contains_key(AUTHORIZATION) {
            token(headers)
        } else if headers.contains_key(TIMESTAMP) || headers.contains_key(SIGNATURE) {
            signature(headers)
        } else {
            return Err(AuthError::Missing);
        };
        auth_header.ok_or(AuthError::Malformed)
    }
}

fn token(headers: &HeaderMap) -> Option<AuthHeader> {
    let (scheme, token) = split(single(headers, &AUTHORIZATION)?)?;
    scheme.eq_ignore_ascii_case(b"bearer").then(|| AuthHeader::Token(KeyId::new(token)))
}

fn signature(headers: &HeaderMap) -> Option<AuthHeader> {
    Signature::parse(single(headers, &TIMESTAMP)?, single(headers, &SIGNATURE)?).map(AuthHeader::Signature)
}

/// Returns the value of a header that occurs once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

/// Splits a scheme from its parameters.
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

    fn parse(headers: &[(&'static str, &str)]) -> Result<AuthHeader, AuthError> {
        // Collecting an iterator with the same name twice keeps both values.
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        });
        AuthHeader::parse(&headers.collect())
    }

    fn is_token(headers: &[(&'static str, &str)], token: &str) -> bool {
        matches!(parse(headers), Ok(AuthHeader::Token(id)) if id.matches(KeyId::new(token.as_bytes())))
    }

    #[test]
    fn bearer_token_follows_the_scheme() {
        for value in ["Bearer hunter2", "bearer hunter2", "BEARER   hunter2 "] {
            assert!(is_token(&[("authorization", value)], "hunter2"), "{value}");
        }
        assert!(!is_token(&[("authorization", "Bearer hunter2x")], "hunter2"));
    }

    #[test]
    fn signature_takes_two_headers() {
        assert!(
            matches!(parse(&SIGNED), Ok(AuthHeader::Signature(signature)) if signature.at() == 1_732_441_811)
        );
    }

    #[test]
    fn ambiguous_or_unknown_credentials_are_malformed() {
        let [timestamp, signature] = SIGNED;
        assert_eq!(parse(&[]).err(), Some(AuthError::Missing));
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
            assert_eq!(parse(headers).err(), Some(AuthError::Malformed), "{headers:?}");
        }
    }
}

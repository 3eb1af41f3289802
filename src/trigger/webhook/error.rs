//! Why a request is not carried out, and what its sender is told: no more than helps one who may send it.

use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, StatusCode};

use super::auth::error::AuthError;
use crate::metrics::TriggerOutcome;

/// Why a request is not carried out. The message is the body of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Whoever sent it may not, or sent it before. Why is for the log alone.
    #[error("unauthorized")]
    Unauthorized(AuthError),
    /// Its body is too long.
    #[error("the body is too long")]
    TooLarge,
    /// Too many came of this key.
    #[error("too many requests")]
    TooMany,
    /// Nobody can tell what it says.
    #[error(r#"the body must be an event of AWS, {{"store", "key"}}, {{"pullSecret"}}, or empty for all"#)]
    Unreadable,
    /// The controller did not answer, or could not tell whoever leads.
    #[error("not ready: try again")]
    Unanswered,
}

impl Refusal {
    /// What it counts as.
    pub(super) fn outcome(self) -> Option<TriggerOutcome> {
        match self {
            Self::Unauthorized(_) | Self::TooLarge | Self::TooMany => Some(TriggerOutcome::Rejected),
            Self::Unreadable => Some(TriggerOutcome::Invalid),
            // The controller counts what comes to it.
            Self::Unanswered => None,
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::Unanswered => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// A header that HTTP wants beside the status.
    fn header(self) -> Option<(HeaderName, &'static str)> {
        match self {
            Self::Unauthorized(_) => Some((WWW_AUTHENTICATE, "Bearer")),
            // The next is allowed within a second, whatever the rate.
            Self::TooMany => Some((RETRY_AFTER, "1")),
            Self::Unanswered => Some((RETRY_AFTER, "5")),
            Self::TooLarge | Self::Unreadable => None,
        }
    }
}

impl From<AuthError> for Refusal {
    fn from(stranger: AuthError) -> Self {
        Self::Unauthorized(stranger)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status(), self.header().map(|header| [header]), format!("{self}\n")).into_response()
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;

    fn check(refusal: Refusal, status: u16, header: Option<(&str, &str)>) {
        let response = refusal.into_response();
        assert_eq!(response.status(), status, "{refusal:?}");
        for name in ["www-authenticate", "retry-after"] {
            let expect = header.filter(|(expected, _)| *expected == name).map(|(_, value)| value);
            let value = response.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(value, expect, "{refusal:?}: {name}");
        }
    }

    #[test]
    fn every_refusal_has_its_status_and_header() {
        for stranger in AuthError::VARIANTS {
            check(Refusal::Unauthorized(*stranger), 401, Some(("www-authenticate", "Bearer")));
        }
        check(Refusal::TooLarge, 413, None);
        check(Refusal::TooMany, 429, Some(("retry-after", "1")));
        check(Refusal::Unreadable, 400, None);
        check(Refusal::Unanswered, 503, Some(("retry-after", "5")));
    }
}

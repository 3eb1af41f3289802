//! Rejected requests and the answer to each: the sender learns no more than helps an authorised one.

use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, StatusCode};

use super::auth::error::AuthError;
use crate::metrics::TriggerOutcome;

/// The reason why a request is rejected. The message is the body of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejection {
    /// The sender is not authorised, or sent this before. The cause is for the log alone.
    #[error("unauthorized")]
    Unauthorized(AuthError),
    /// The body is too large.
    #[error("body too large")]
    TooLarge,
    /// The key is over its rate limit.
    #[error("too many requests")]
    RateLimited,
    /// The body is none of the known shapes.
    #[error(
        r#"invalid body: it must be an AWS event, {{"store", "key"}}, {{"clusterPullSecret"}}, or empty for all"#
    )]
    InvalidBody,
    /// The controller did not answer, or could not forward the request to the leader.
    #[error("not ready: try again")]
    NotReady,
}

impl Rejection {
    /// The outcome that it counts as.
    pub(super) fn outcome(self) -> Option<TriggerOutcome> {
        match self {
            Self::Unauthorized(_) | Self::TooLarge | Self::RateLimited => Some(TriggerOutcome::Rejected),
            Self::InvalidBody => Some(TriggerOutcome::Invalid),
            // The controller counts the requests that reach it.
            Self::NotReady => None,
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::InvalidBody => StatusCode::BAD_REQUEST,
            Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The header that HTTP requires with the status.
    fn header(self) -> Option<(HeaderName, &'static str)> {
        match self {
            Self::Unauthorized(_) => Some((WWW_AUTHENTICATE, "Bearer")),
            // The next request is allowed within a second, whatever the rate.
            Self::RateLimited => Some((RETRY_AFTER, "1")),
            Self::NotReady => Some((RETRY_AFTER, "5")),
            Self::TooLarge | Self::InvalidBody => None,
        }
    }
}

impl From<AuthError> for Rejection {
    fn from(error: AuthError) -> Self {
        Self::Unauthorized(error)
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        (self.status(), self.header().map(|header| [header]), format!("{self}\n")).into_response()
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;

    fn check(rejection: Rejection, status: u16, header: Option<(&str, &str)>) {
        let response = rejection.into_response();
        assert_eq!(response.status(), status, "{rejection:?}");
        for name in ["www-authenticate", "retry-after"] {
            let expect = header.filter(|(expected, _)| *expected == name).map(|(_, value)| value);
            let value = response.headers().get(name).map(|value| value.to_str().unwrap());
            assert_eq!(value, expect, "{rejection:?}: {name}");
        }
    }

    #[test]
    fn every_rejection_has_its_status_and_header() {
        for error in AuthError::VARIANTS {
            check(Rejection::Unauthorized(*error), 401, Some(("www-authenticate", "Bearer")));
        }
        check(Rejection::TooLarge, 413, None);
        check(Rejection::RateLimited, 429, Some(("retry-after", "1")));
        check(Rejection::InvalidBody, 400, None);
        check(Rejection::NotReady, 503, Some(("retry-after", "5")));
    }
}

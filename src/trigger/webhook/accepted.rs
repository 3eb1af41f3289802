//! The answer to an accepted request: the triggered ClusterPullSecrets, and the result as far as it is known.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use crate::trigger::AckOutcome;

/// The body of the answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Accepted {
    cluster_pull_secrets: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<RequestResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum RequestResult {
    /// A new value was read and written everywhere.
    Done,
    /// The store answered with nothing newer than regcred has.
    NoNewerVersion,
    /// The result is not known yet.
    Accepted,
}

impl Accepted {
    /// Creates the answer to a request that triggers nothing.
    pub(super) fn nothing() -> Self {
        Self { cluster_pull_secrets: Vec::new(), result: None, message: None }
    }

    /// Creates the answer to a request that triggered these ClusterPullSecrets, with the outcome if it is known.
    pub(super) fn new(cluster_pull_secrets: Vec<String>, outcome: Option<AckOutcome>) -> Self {
        let result = match outcome {
            Some(AckOutcome::Done) => RequestResult::Done,
            Some(AckOutcome::NoNewerVersion) => RequestResult::NoNewerVersion,
            None => RequestResult::Accepted,
        };
        let message = match result {
            RequestResult::NoNewerVersion => {
                Some("no newer version seen; the next poll or refresh reads again")
            }
            RequestResult::Done | RequestResult::Accepted => None,
        };
        Self { cluster_pull_secrets, result: Some(result), message }
    }
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        // Strings in a fixed shape always serialize.
        let body = serde_json::to_string(&self).unwrap_or_default();
        (StatusCode::ACCEPTED, [(CONTENT_TYPE, "application/json")], body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accepted: &Accepted, expect: &str) {
        assert_eq!(serde_json::to_string(accepted).expect("JSON"), expect);
    }

    #[test]
    fn answer_names_the_result_once_it_is_known() {
        let accepted = |outcome| Accepted::new(vec!["images".to_owned()], outcome);
        check(&accepted(Some(AckOutcome::Done)), r#"{"clusterPullSecrets":["images"],"result":"Done"}"#);
        check(
            &accepted(Some(AckOutcome::NoNewerVersion)),
            r#"{"clusterPullSecrets":["images"],"result":"NoNewerVersion","message":"no newer version seen; the next poll or refresh reads again"}"#,
        );
        check(&accepted(None), r#"{"clusterPullSecrets":["images"],"result":"Accepted"}"#);
        check(&Accepted::nothing(), r#"{"clusterPullSecrets":[]}"#);
    }
}

//! Classifies errors of Amazon ECR, without quoting them.

use std::error::Error as StdError;

use aws_sdk_ecr::config::http::HttpResponse;
use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};

use crate::provider::aws::{self, ClientContext, ErrorResponse};
use crate::provider::{Denied, ErrorKind};

/// Classifies the error of a request for a token.
pub(super) fn error_kind<E>(error: &SdkError<E, HttpResponse>, context: &ClientContext) -> ErrorKind
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    aws::error_kind(error, context, classify)
}

/// Classifies the errors that only ECR has.
fn classify(ErrorResponse { code, .. }: &ErrorResponse<'_>) -> Option<ErrorKind> {
    Some(match *code {
        "AccessDeniedException" | "AccessDenied" => ErrorKind::Denied(Denied::Login(
            "no policy grants `ecr:GetAuthorizationToken`, which needs the resource `*`".to_owned(),
        )),
        "ValidationException" | "InvalidParameterException" => ErrorKind::Misconfigured(
            "ECR does not accept the request; check `region` and `endpointUrl`".to_owned(),
        ),
        "ServerException" => ErrorKind::Unavailable("internal error of AWS".to_owned()),
        _ => return None,
    })
}

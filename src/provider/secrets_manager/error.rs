//! Classifies errors of AWS Secrets Manager, without quoting them.

use std::error::Error as StdError;

use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use crate::provider::aws::{self, ClientContext, ErrorResponse};
use crate::provider::{Denied, ErrorKind};

/// The permission to read a value.
pub(super) const READ: &str = "secretsmanager:GetSecretValue";
/// The permission to look up the current version.
pub(super) const DESCRIBE: &str = "secretsmanager:DescribeSecret";

/// Classifies the error of a request that needs `permission`.
pub(super) fn error_kind<E>(
    error: &SdkError<E, HttpResponse>,
    permission: &str,
    context: &ClientContext,
) -> ErrorKind
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    aws::error_kind(error, context, |response| classify(response, permission))
}

/// Classifies the error of one secret in a batch.
pub(super) fn part_error_kind(code: Option<&str>, message: Option<&str>) -> ErrorKind {
    let response =
        ErrorResponse { code: code.unwrap_or_default(), message: message.unwrap_or_default(), status: 400 };
    response.kind(|response| classify(response, READ))
}

/// Returns true if single reads of the same secrets may succeed where the batch did not.
pub(super) fn can_read_singly<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let SdkError::ServiceError(context) = error else {
        return false;
    };
    let code = context.err().code().unwrap_or_default();
    !aws::is_about_credentials(code) && !error_kind(error, READ, &ClientContext::default()).is_retryable()
}

/// Classifies the errors that only Secrets Manager has.
fn classify(ErrorResponse { code, message, .. }: &ErrorResponse<'_>, permission: &str) -> Option<ErrorKind> {
    Some(match *code {
        "ResourceNotFoundException" => ErrorKind::NotFound,
        "InvalidRequestException" if message.contains("delet") => ErrorKind::Deleted,
        "InvalidRequestException" => {
            ErrorKind::Misconfigured("AWS does not allow reads in the present state of the secret".to_owned())
        }
        "DecryptionFailure" => ErrorKind::Denied(Denied::Key(NO_KMS.to_owned())),
        code if code.starts_with("KMS") => ErrorKind::Denied(Denied::Key(NO_KMS.to_owned())),
        "AccessDeniedException" | "AccessDenied" if message.contains("KMS") || message.contains("kms:") => {
            ErrorKind::Denied(Denied::Key(NO_KMS.to_owned()))
        }
        "AccessDeniedException" | "AccessDenied" => {
            ErrorKind::Denied(Denied::Key(format!("no policy grants `{permission}` on the secret")))
        }
        "ValidationException" | "InvalidParameterException" => ErrorKind::Misconfigured(
            "AWS does not accept the key as the name or the ARN of a secret".to_owned(),
        ),
        _ => return None,
    })
}

const NO_KMS: &str = "no policy grants `kms:Decrypt` on the key of the secret, or the key is disabled";

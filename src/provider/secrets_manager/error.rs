//! What an error of AWS Secrets Manager means, without a word of it.

use std::error::Error as StdError;

use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use crate::provider::aws::{self, Refusal};
use crate::provider::failure::Failure;

/// The right to read a value.
pub(super) const READ: &str = "secretsmanager:GetSecretValue";
/// The right to look up which version is current.
pub(super) const DESCRIBE: &str = "secretsmanager:DescribeSecret";

/// What the refusal of a request means that took a `right`; `profile` is what `AWS_PROFILE` says.
pub(super) fn of<E>(error: &SdkError<E, HttpResponse>, right: &str, profile: Option<&str>) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    aws::failure(error, profile, |refusal| own(refusal, right))
}

/// What the error of one secret in a batch means.
pub(super) fn of_part(code: Option<&str>, message: Option<&str>) -> Failure {
    let refusal =
        Refusal { code: code.unwrap_or_default(), message: message.unwrap_or_default(), status: 400 };
    refusal.failure(|refusal| own(refusal, READ))
}

/// Whether it may be the batch that was refused, where the same secrets can be read one by one.
pub(super) fn is_of_the_batch<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let SdkError::ServiceError(context) = error else {
        return false;
    };
    let code = context.err().code().unwrap_or_default();
    !aws::is_about_credentials(code) && !of(error, READ, None).is_retryable()
}

/// What only Secrets Manager refuses in this way.
fn own(Refusal { code, message, .. }: &Refusal<'_>, right: &str) -> Option<Failure> {
    Some(match *code {
        "ResourceNotFoundException" => Failure::NotFound,
        "InvalidRequestException" if message.contains("delet") => Failure::Deleted,
        "InvalidRequestException" => {
            Failure::Misconfigured("the secret is in a state in which AWS does not let it be read".to_owned())
        }
        "DecryptionFailure" => Failure::Denied(NO_KMS.to_owned()),
        code if code.starts_with("KMS") => Failure::Denied(NO_KMS.to_owned()),
        "AccessDeniedException" | "AccessDenied" if message.contains("KMS") || message.contains("kms:") => {
            Failure::Denied(NO_KMS.to_owned())
        }
        "AccessDeniedException" | "AccessDenied" => {
            Failure::Denied(format!("no policy grants `{right}` on the secret"))
        }
        "ValidationException" | "InvalidParameterException" => {
            Failure::Misconfigured("AWS does not take the key for the name or the ARN of a secret".to_owned())
        }
        _ => return None,
    })
}

const NO_KMS: &str = "no policy grants `kms:Decrypt` on the key of the secret, or the key is disabled";

//! What an error of AWS means, without a word of it.

use std::error::Error as StdError;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

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
    match error {
        SdkError::TimeoutError(_) => Failure::TimedOut,
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            of_code(context.err().code(), context.err().message(), status, right)
        }
        SdkError::ResponseError(_) => Failure::Unavailable("the answer cannot be read".to_owned()),
        // A request that was never sent: no credentials to sign it with, or no connection.
        _ => of_unsent(error, profile),
    }
}

/// What the error of one secret in a batch means.
pub(super) fn of_part(code: Option<&str>, message: Option<&str>) -> Failure {
    of_code(code, message, 400, READ)
}

/// Whether it may be the batch that was refused, where the same secrets can be read one by one.
pub(super) fn is_of_the_batch<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let SdkError::ServiceError(context) = error else {
        return false;
    };
    !is_about_credentials(context.err().code().unwrap_or_default()) && !of(error, READ, None).is_retryable()
}

fn of_code(code: Option<&str>, message: Option<&str>, status: u16, right: &str) -> Failure {
    let message = message.unwrap_or_default();
    let denied = |what: &str| Failure::Denied(what.to_owned());
    match code.unwrap_or_default() {
        _ if status < 300 => Failure::Unavailable("the answer cannot be read".to_owned()),
        _ if status == 501 => {
            Failure::Misconfigured("the endpoint does not know the request; check `endpointUrl`".to_owned())
        }
        "ResourceNotFoundException" => Failure::NotFound,
        "InvalidRequestException" if message.contains("delet") => Failure::Deleted,
        "InvalidRequestException" => {
            Failure::Misconfigured("the secret is in a state in which AWS does not let it be read".to_owned())
        }
        "DecryptionFailure" => denied(NO_KMS),
        code if code.starts_with("KMS") => denied(NO_KMS),
        "AccessDeniedException" | "AccessDenied" if message.contains("KMS") || message.contains("kms:") => {
            denied(NO_KMS)
        }
        "AccessDeniedException" | "AccessDenied" => {
            Failure::Denied(format!("no policy grants `{right}` on the secret"))
        }
        "ExpiredTokenException" | "ExpiredToken" => denied("the AWS credentials have expired"),
        code if is_about_credentials(code) => {
            denied("AWS does not accept the credentials: check the key and this machine's clock")
        }
        "ValidationException" | "InvalidParameterException" => {
            Failure::Misconfigured("AWS does not take the key for the name or the ARN of a secret".to_owned())
        }
        code if status == 429 || THROTTLING.contains(&code) => Failure::Throttled,
        "RequestTimeout" | "RequestTimeoutException" => Failure::TimedOut,
        "InternalServiceError" | "InternalFailure" => {
            Failure::Unavailable("an error inside of AWS".to_owned())
        }
        _ if status >= 500 => Failure::Unavailable(format!("status {status}")),
        _ => Failure::Misconfigured(format!(
            "status {status}, and not for a known reason; check `endpointUrl`"
        )),
    }
}

const NO_KMS: &str = "no policy grants `kms:Decrypt` on the key of the secret, or the key is disabled";

/// The names AWS has for it.
const THROTTLING: [&str; 8] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "SlowDown",
];

fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired"
            | "RequestTimeTooSkewed"
    )
}

fn of_unsent(error: &(dyn StdError + 'static), profile: Option<&str>) -> Failure {
    let mut chain = std::iter::successors(Some(error), |&error| error.source());
    let what = match chain.find_map(|cause| cause.downcast_ref::<CredentialsError>()) {
        None => {
            let mend = "the authority that signed it is not trusted on this machine";
            return Failure::of_connection(error, mend);
        }
        Some(CredentialsError::CredentialsNotLoaded(_)) => "no AWS credentials",
        Some(CredentialsError::InvalidConfiguration(_)) => "what names the AWS credentials is invalid",
        Some(CredentialsError::ProviderTimedOut(_)) => "no AWS credentials in time",
        // The text of the others may quote an answer of STS or of the metadata service.
        Some(_) => "the AWS credentials could not be got",
    };
    let profile = match profile {
        Some(name) => format!("profile {name:?} (AWS_PROFILE)"),
        None => "the default profile".to_owned(),
    };
    Failure::Denied(format!(
        "{what}: looked for AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, {profile}, \
         a web identity (IRSA), container credentials (EKS Pod Identity) and an instance role (IMDS)"
    ))
}

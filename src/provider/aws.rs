//! What is the same for every service of AWS: where credentials come from, and what a refusal means.
//!
//! Quotes no word of an answer.

use std::error::Error as StdError;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};

use super::failure::Failure;
use super::without_tracing::unheard;

/// The SDK's default chain for a region, and what `AWS_PROFILE` says. Makes no request.
pub(crate) async fn chain(region: &str) -> (SdkConfig, Option<String>) {
    // The region is for the chain too, which may have to ask the STS of it.
    let region = Region::new(region.to_owned());
    let shared = unheard(aws_config::defaults(BehaviorVersion::latest()).region(region).load()).await;
    #[expect(clippy::disallowed_methods, reason = "only to say in an error what the SDK has just read")]
    let profile = std::env::var("AWS_PROFILE").ok();
    (shared, profile)
}

/// An answer that is a refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal<'a> {
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    pub(crate) status: u16,
}

impl Refusal<'_> {
    /// What it means, where `own` knows those that only this service has.
    pub(crate) fn failure(&self, own: impl FnOnce(&Self) -> Option<Failure>) -> Failure {
        match self.status {
            status if status < 300 => Failure::Unavailable("the answer cannot be read".to_owned()),
            501 => Failure::Misconfigured(
                "the endpoint does not know the request; check `endpointUrl`".to_owned(),
            ),
            _ => own(self).unwrap_or_else(|| self.of_any()),
        }
    }

    fn of_any(&self) -> Failure {
        let denied = |what: &str| Failure::Denied(what.to_owned());
        match self.code {
            "ExpiredTokenException" | "ExpiredToken" => denied("the AWS credentials have expired"),
            code if is_about_credentials(code) => {
                denied("AWS does not accept the credentials: check the key and this machine's clock")
            }
            code if self.status == 429 || THROTTLING.contains(&code) => Failure::Throttled,
            "RequestTimeout" | "RequestTimeoutException" => Failure::TimedOut,
            "InternalServiceError" | "InternalFailure" => {
                Failure::Unavailable("an error inside of AWS".to_owned())
            }
            _ if self.status >= 500 => Failure::Unavailable(format!("status {}", self.status)),
            _ => Failure::Misconfigured(format!(
                "status {}, and not for a known reason; check `endpointUrl`",
                self.status
            )),
        }
    }
}

/// What an error of the SDK means, where `own` knows the refusals that only this service has; `profile`
/// is what `AWS_PROFILE` says.
pub(crate) fn failure<E>(
    error: &SdkError<E, HttpResponse>,
    profile: Option<&str>,
    own: impl FnOnce(&Refusal<'_>) -> Option<Failure>,
) -> Failure
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::TimeoutError(_) => Failure::TimedOut,
        SdkError::ServiceError(context) => {
            let refusal = Refusal {
                code: context.err().code().unwrap_or_default(),
                message: context.err().message().unwrap_or_default(),
                status: context.raw().status().as_u16(),
            };
            refusal.failure(own)
        }
        SdkError::ResponseError(_) => Failure::Unavailable("the answer cannot be read".to_owned()),
        // A request that was never sent: no credentials to sign it with, or no connection.
        _ => of_unsent(error, profile),
    }
}

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

/// Whether it is the credentials that were refused, and not what they were used for.
pub(crate) fn is_about_credentials(code: &str) -> bool {
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

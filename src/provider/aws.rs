//! The common ground of all AWS services: the credential chain and the meaning of error responses.
//!
//! No text here quotes a response.

pub(super) mod store;

use std::error::Error as StdError;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ConnectorError, ErrorMetadata, ProvideErrorMetadata, SdkError};

use self::store::AwsSettings;
use super::error::store_at;
use super::proxy::StoreProxy;
use super::without_tracing::without_tracing;
use super::{Denied, ErrorKind};
use crate::error_chain::causes;

/// Returns the SDK's default chain for a region, and the value of `AWS_PROFILE`. Makes no request.
pub(crate) async fn chain(region: &str) -> (SdkConfig, Option<String>) {
    // The chain needs the region too, because it may send requests to the region's STS.
    let region = Region::new(region.to_owned());
    let shared = without_tracing(aws_config::defaults(BehaviorVersion::latest()).region(region).load()).await;
    #[expect(clippy::disallowed_methods, reason = "only to report in an error what the SDK has just read")]
    let profile = std::env::var("AWS_PROFILE").ok();
    (shared, profile)
}

/// The name of the sessions of a role, as `CloudTrail` shows it.
const SESSION: &str = "regcred";

/// Returns the chain with the credentials of a role, which it assumes by those of its own; without a role as it is.
/// Makes no request.
pub(crate) async fn with_role(shared: SdkConfig, role_arn: Option<&str>) -> SdkConfig {
    let Some(role_arn) = role_arn else { return shared };
    let role = AssumeRoleProvider::builder(role_arn).configure(&shared).session_name(SESSION).build();
    let role = SharedCredentialsProvider::new(without_tracing(role).await);
    shared.into_builder().credentials_provider(role).build()
}

/// Returns the chain for the role of a store, and the value of `AWS_PROFILE`. Makes no request.
pub(super) async fn chain_with_role(settings: AwsSettings<'_>) -> (SdkConfig, Option<String>) {
    let (shared, profile) = chain(settings.region).await;
    (with_role(shared, settings.role_arn).await, profile)
}

/// Returns the name of a service in error messages, with its address where that is not the default, and the proxy that
/// requests to it lead through. `endpoint` is the start of the default address.
pub(crate) fn describe(
    service: &str,
    endpoint: &str,
    region: &str,
    address: Option<&str>,
) -> (String, Option<StoreProxy>) {
    let (name, url) = match address.and_then(|url| url.parse().ok()) {
        Some(address) => (store_at(&address), address.to_string()),
        None => {
            let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            (format!("{service} in {region}"), format!("https://{endpoint}.{region}.{domain}"))
        }
    };
    (name, StoreProxy::from_environment(&url))
}

/// An error response of an AWS service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ErrorResponse<'a> {
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    pub(crate) status: u16,
}

impl ErrorResponse<'_> {
    /// Classifies the response; `classify` handles the errors that only this service has.
    pub(crate) fn kind(&self, classify: impl FnOnce(&Self) -> Option<ErrorKind>) -> ErrorKind {
        match self.status {
            status if status < 300 => unreadable_response(),
            501 => ErrorKind::Misconfigured(
                "the endpoint does not implement the request; check `endpointUrl`".to_owned(),
            ),
            _ => classify(self).unwrap_or_else(|| self.common_kind()),
        }
    }

    fn common_kind(&self) -> ErrorKind {
        match self.code {
            "ExpiredTokenException" | "ExpiredToken" => {
                ErrorKind::Denied(Denied::Login("the AWS credentials have expired".to_owned()))
            }
            code if is_about_credentials(code) => ErrorKind::Denied(Denied::Login(
                "AWS does not accept the credentials: check the key and this machine's clock".to_owned(),
            )),
            code if self.status == 429 || THROTTLING.contains(&code) => ErrorKind::Throttled,
            "RequestTimeout" | "RequestTimeoutException" => ErrorKind::TimedOut,
            "InternalServiceError" | "InternalFailure" => {
                ErrorKind::Unavailable("internal error of AWS".to_owned())
            }
            _ if self.status >= 500 => ErrorKind::Unavailable(format!("status {}", self.status)),
            _ => ErrorKind::Misconfigured(format!(
                "status {} without a known error code; check `endpointUrl`",
                self.status
            )),
        }
    }
}

/// The environment of a client, for messages about requests that were never sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientContext {
    /// The value of `AWS_PROFILE`.
    pub(crate) profile: Option<String>,
    /// The ARN of the role that the credentials assume.
    pub(crate) role_arn: Option<String>,
    /// The proxy that requests lead through.
    pub(crate) proxy: Option<StoreProxy>,
}

/// Classifies an error of the SDK; `classify` handles the errors that only this service has.
pub(crate) fn error_kind<E>(
    error: &SdkError<E, HttpResponse>,
    context: &ClientContext,
    classify: impl FnOnce(&ErrorResponse<'_>) -> Option<ErrorKind>,
) -> ErrorKind
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    match error {
        SdkError::TimeoutError(_) => ErrorKind::TimedOut,
        SdkError::ServiceError(service) => {
            let response = ErrorResponse {
                code: service.err().code().unwrap_or_default(),
                message: service.err().message().unwrap_or_default(),
                status: service.raw().status().as_u16(),
            };
            response.kind(classify)
        }
        SdkError::ResponseError(_) => unreadable_response(),
        // The request was never sent: no credentials to sign it with, or no connection.
        _ => unsent_request(error, context),
    }
}

/// The error codes of AWS for throttling.
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

/// Returns true if AWS rejected the credentials themselves rather than their use.
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

fn unreadable_response() -> ErrorKind {
    ErrorKind::Unavailable("the response cannot be read".to_owned())
}

fn unsent_request(error: &(dyn StdError + 'static), context: &ClientContext) -> ErrorKind {
    let mut failures = causes(error).filter_map(|cause| cause.downcast_ref::<CredentialsError>());
    let cause = match (failures.next(), &context.role_arn) {
        (None, _) => {
            let hint = "the authority that signed it is not trusted on this machine";
            return ErrorKind::from_connection_error(error, hint, context.proxy.as_ref());
        }
        (Some(failure), None) => failure,
        // The credentials by which the role is assumed have a failure of their own.
        (Some(_), Some(role_arn)) => match failures.next() {
            Some(failure) => failure,
            None => return role_not_assumed(error, role_arn, context),
        },
    };
    let what = match cause {
        CredentialsError::CredentialsNotLoaded(_) => "no AWS credentials",
        CredentialsError::InvalidConfiguration(_) => "the configuration of the AWS credentials is invalid",
        CredentialsError::ProviderTimedOut(_) => "timeout while loading the AWS credentials",
        // The text of the other variants may quote a response of STS or of the metadata service.
        _ => "the AWS credentials cannot be loaded",
    };
    let profile = match &context.profile {
        Some(name) => format!("profile {name:?} (AWS_PROFILE)"),
        None => "the default profile".to_owned(),
    };
    ErrorKind::Denied(Denied::Login(format!(
        "{what}: looked for AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, {profile}, \
         a web identity (IRSA), container credentials (EKS Pod Identity) and an instance role (IMDS)"
    )))
}

/// Classifies the failure to assume a role: STS is out of reach, or refuses.
fn role_not_assumed(error: &(dyn StdError + 'static), role_arn: &str, context: &ClientContext) -> ErrorKind {
    // The causes above the failure of the credentials are those of the request for which they were loaded.
    let mut of_sts = causes(error).skip_while(|cause| !cause.is::<CredentialsError>());
    if of_sts.any(<dyn StdError>::is::<ConnectorError>) {
        let hint = "the authority that signed it is not trusted on this machine";
        return match ErrorKind::from_connection_error(error, hint, context.proxy.as_ref()) {
            ErrorKind::Unavailable(cause) => {
                ErrorKind::Unavailable(format!("no connection to STS, which issues its credentials: {cause}"))
            }
            kind => kind,
        };
    }
    let code =
        causes(error).find_map(|cause| cause.downcast_ref::<ErrorMetadata>()?.code()).unwrap_or_default();
    if THROTTLING.contains(&code) || is_about_credentials(code) {
        return ErrorResponse { code, message: "", status: 400 }.common_kind();
    }
    ErrorKind::Denied(Denied::Login(format!(
        "the role {role_arn} cannot be assumed: its trust policy must admit the credentials of this process, and \
         their policy must grant `sts:AssumeRole` on it"
    )))
}

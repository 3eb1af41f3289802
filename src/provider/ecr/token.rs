//! The response with a token: the value of each registry at which it is valid.
//!
//! Pure. A token is valid at every registry that its principal may read, so the host of another account's registry is
//! the host in the response with the other registry id.

use aws_sdk_ecr::operation::get_authorization_token::GetAuthorizationTokenOutput;
use aws_sdk_ecr::primitives::DateTime;
use jiff::{Timestamp, Unit};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::credential::{Expiry, Key, Life, StoredValue, Version};
use crate::docker_config::ecr_host::EcrHost;
use crate::provider::ErrorKind;

/// A token that ECR issued.
pub(super) struct EcrToken {
    /// Base64 of user and password, as `auth` of a docker config has it.
    auth: SecretString,
    /// The host of every registry in the region, after its registry id.
    host: String,
    expires: Timestamp,
}

impl EcrToken {
    /// Reads the token of a response.
    pub(super) fn from_output(output: &GetAuthorizationTokenOutput) -> Result<Self, ErrorKind> {
        let data = output.authorization_data().first().ok_or_else(|| absent("authorizationData"))?;
        let auth = data.authorization_token().ok_or_else(|| absent("authorizationToken"))?;
        let expires = data.expires_at().and_then(timestamp).ok_or_else(|| absent("expiresAt"))?;
        let endpoint = data.proxy_endpoint().ok_or_else(|| absent("proxyEndpoint"))?;
        let host = endpoint.strip_prefix("https://").unwrap_or(endpoint).trim_end_matches('/');
        let host = EcrHost::parse(host).ok_or_else(|| {
            ErrorKind::Misconfigured("the response names no registry of ECR; check `endpointUrl`".to_owned())
        })?;
        Ok(Self { auth: auth.into(), host: host.rest.to_owned(), expires })
    }

    /// Returns the value of a registry: a docker config with the token.
    pub(super) fn value_of(&self, Key(key): &Key, issued: Timestamp) -> Result<StoredValue, ErrorKind> {
        let Self { auth, host, expires } = self;
        let life = Life { issued, expires: *expires };
        if life.is_over(issued) {
            let what = format!(
                "ECR issued a token that expired at {expires}. Compare its clock with that of this machine"
            );
            return Err(ErrorKind::Expired(what));
        }
        let config = json!({"auths": {format!("{key}.{host}"): {"auth": auth.expose_secret()}}});
        Ok(StoredValue {
            version: Version::Issued { expires: *expires },
            bytes: config.to_string().into_bytes().into(),
            expiry: Some(Expiry::Issued(life)),
            account: None,
        })
    }
}

/// Returns the time in whole milliseconds, as ECR has it: the SDK reads it as a floating-point number.
fn timestamp(time: &DateTime) -> Option<Timestamp> {
    let time = Timestamp::new(time.secs(), time.subsec_nanos().try_into().ok()?);
    time.and_then(|time| time.round(Unit::Millisecond)).ok()
}

fn absent(field: &str) -> ErrorKind {
    ErrorKind::Malformed(format!("the response has no `{field}`"))
}

//! The response of an engine that issues a credential for each request.
//!
//! Pure: a body goes in; the fields of the credential come out, with its lease and the time for which it is valid.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;
use serde_json::Value;

use super::client::Response;
use super::response::render;
use crate::provider::ErrorKind;

/// The fields of `data` that hold a time to live in seconds, where the response has no lease.
const TTL_FIELDS: [&str; 3] = ["ttl", "expires_in", "lease_duration"];

/// A credential as an engine issued it.
pub(super) struct Issued {
    pub(super) bytes: SecretSlice<u8>,
    /// The lease; `None` where the credential is valid by itself, as a signed token is.
    pub(super) lease: Option<GrantedLease>,
    /// The time for which the credential is valid, if the response has one.
    pub(super) lifetime: Option<Duration>,
}

/// A lease as a response grants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GrantedLease {
    pub(super) id: String,
    pub(super) is_renewable: bool,
}

/// The body of a response.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    lease_id: String,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
    #[serde(default)]
    data: Value,
    #[serde(default)]
    auth: Value,
}

/// Parses an issued credential. An engine that issues tokens of the Vault answers `auth` instead of `data`.
pub(super) fn parse(Response { body, .. }: &Response) -> Result<Issued, ErrorKind> {
    let answer = serde_json::from_slice::<Answer>(body.expose_secret());
    let Answer { lease_id, lease_duration, renewable, data, auth } = answer.map_err(|_| no_data())?;
    let fields = [data, auth].into_iter().find(Value::is_object).ok_or_else(no_data)?;
    let lease = (!lease_id.is_empty()).then_some(GrantedLease { id: lease_id, is_renewable: renewable });
    let seconds = match &lease {
        Some(_) => Some(lease_duration),
        None => TTL_FIELDS.iter().find_map(|name| seconds(&fields[*name])),
    };
    // Zero seconds stand for no end.
    let lifetime = seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs);
    Ok(Issued { bytes: render(fields)?, lease, lifetime })
}

/// Parses the time for which a lease was renewed.
pub(super) fn renewed(Response { body, .. }: &Response) -> Option<Duration> {
    let answer = serde_json::from_slice::<Answer>(body.expose_secret()).ok()?;
    (answer.lease_duration > 0).then(|| Duration::from_secs(answer.lease_duration))
}

fn seconds(field: &Value) -> Option<u64> {
    field.as_u64().or_else(|| field.as_str()?.parse().ok())
}

fn no_data() -> ErrorKind {
    ErrorKind::Misconfigured(
        "the response has no `data`: check `path` and `method`; an engine that issues on a write needs \
         `method: write`"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn response(body: &Value) -> Response {
        Response { body: body.to_string().into_bytes().into(), date: None }
    }

    /// The fields, the lease and the seconds of a response.
    fn parsed(body: &Value) -> (Value, Option<String>, Option<u64>) {
        let Issued { bytes, lease, lifetime } =
            parse(&response(body)).unwrap_or_else(|error| panic!("{error}"));
        let fields = serde_json::from_slice(bytes.expose_secret()).expect("JSON");
        (fields, lease.map(|it| it.id), lifetime.map(|it| it.as_secs()))
    }

    #[test]
    fn lease_has_the_lifetime_of_a_credential() {
        let data = json!({"username": "u", "password": "p", "ttl": 5});
        let body = json!({"lease_id": "a/b/1", "lease_duration": 60, "renewable": true, "data": data});
        assert_eq!(parsed(&body), (data, Some("a/b/1".into()), Some(60)));
    }

    #[test]
    fn lifetime_without_a_lease_is_that_in_the_data() {
        for (ttl, expect) in
            [(json!(90), Some(90)), (json!("90"), Some(90)), (json!("x"), None), (json!(0), None)]
        {
            let data = json!({"token": "t", "ttl": ttl});
            // KV version 1 answers a duration that is no lease.
            let body = json!({"lease_id": "", "lease_duration": 2_764_800, "data": data});
            assert_eq!(parsed(&body), (data, None, expect));
        }
    }

    #[test]
    fn token_of_the_vault_is_in_auth() {
        let auth = json!({"client_token": "hvs.x", "lease_duration": 30, "renewable": true});
        assert_eq!(parsed(&json!({"data": null, "auth": auth})), (auth, None, Some(30)));
    }

    #[test]
    fn response_without_data_names_the_fix() {
        for body in [json!({"data": null}), json!([]), json!({"data": "text"})] {
            let error = parse(&response(&body)).err().expect("an error");
            assert!(error.to_string().contains("`method: write`"), "{error}");
        }
    }
}

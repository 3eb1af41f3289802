//! The record of refused logins, in the Secret with the key of the installation: one field for each.
//!
//! A field has the salt in its name, and the time and the hash in its value. Each writer adds a field of its own and
//! removes those that are out of date, so two writers do not disturb each other.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use kube::Client;
use kube::api::{Api, Patch};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::key_secret::{self, KeyData};
use crate::cluster::error::{Error, with_timeout};
use crate::cluster::params;
use crate::object_name::NamespaceName;
use crate::provider::refused_logins::{PAUSE, RecordError, RefusedLogin, RefusedLoginRecord};

/// The beginning of the name of each field.
const FIELD_PREFIX: &str = "refusedLogin.";

/// The record of one installation.
pub struct RefusedLoginFields {
    client: Client,
    namespace: NamespaceName,
    wall_clock: fn() -> Timestamp,
}

/// A field as it was read.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    salt: u128,
    hash: u128,
    /// The time since the refusal.
    age: Duration,
}

impl RefusedLoginFields {
    /// The record in this namespace.
    #[must_use]
    pub fn new(client: Client, namespace: NamespaceName, wall_clock: fn() -> Timestamp) -> Self {
        Self { client, namespace, wall_clock }
    }

    async fn read(&self) -> Result<KeyData, RecordError> {
        let secret = with_timeout(self.api().get_opt(key_secret::NAME)).await;
        Ok(secret.map_err(|error| self.error("read", &error))?.and_then(|it| it.data).unwrap_or_default())
    }

    fn api(&self) -> Api<core::Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn error(&self, verb: &str, error: &Error) -> RecordError {
        let (name, namespace) = (key_secret::NAME, &self.namespace);
        RecordError(format!("failed to {verb} Secret {name} in namespace {namespace}: {error}"))
    }
}

#[async_trait]
impl RefusedLoginRecord for RefusedLoginFields {
    async fn load(&self) -> Result<Vec<RefusedLogin>, RecordError> {
        let (data, now) = (self.read().await?, (self.wall_clock)());
        let fields = data.iter().filter_map(|(name, value)| Field::parse(name, value, now));
        // A machine that has just started has no instant of that age: the time begins again.
        let at = |age| Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        Ok(fields.map(|Field { salt, hash, age }| RefusedLogin { salt, hash, refused: at(age) }).collect())
    }

    async fn add(&self, refused: &RefusedLogin) -> Result<(), RecordError> {
        let patch = json!({ "data": changes(&self.read().await?, refused, (self.wall_clock)()) });
        let (api, params, patch) = (self.api(), params::patch(), Patch::Merge(patch));
        let written = with_timeout(api.patch_metadata(key_secret::NAME, &params, &patch)).await;
        written.map(drop).map_err(|error| self.error("write", &error))
    }
}

impl Field {
    /// Parses a field; one that is out of date or was edited counts as absent.
    fn parse(name: &str, value: &ByteString, now: Timestamp) -> Option<Self> {
        let salt = u128::from_str_radix(name.strip_prefix(FIELD_PREFIX)?, 16).ok()?;
        let (time, hash) = std::str::from_utf8(&value.0).ok()?.split_once(' ')?;
        // By a clock that was wrong at one of the two times the refusal may be in the future.
        let age = now.duration_since(time.parse::<Timestamp>().ok()?).unsigned_abs();
        let hash = u128::from_str_radix(hash, 16).ok()?;
        (age < PAUSE).then_some(Self { salt, hash, age })
    }
}

/// Returns the fields to write: the new one, and none for each that is out of date.
fn changes(data: &KeyData, refused: &RefusedLogin, now: Timestamp) -> Map<String, Value> {
    let outdated = data
        .iter()
        .filter(|(name, value)| name.starts_with(FIELD_PREFIX) && Field::parse(name, value, now).is_none());
    let mut fields: Map<_, _> = outdated.map(|(name, _)| (name.clone(), Value::Null)).collect();
    let RefusedLogin { salt, hash, refused: _ } = refused;
    let value = ByteString(format!("{now} {hash:032x}").into_bytes());
    fields.insert(format!("{FIELD_PREFIX}{salt:032x}"), json!(value));
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::script::{exchange, play, refused as refused_request};

    const GET: &str = "GET /api/v1/namespaces/own/secrets/regcred-ownership-key";
    const PATCH: &str = "PATCH /api/v1/namespaces/own/secrets/regcred-ownership-key?&fieldManager=regcred";
    const NOW: &str = "2026-11-28T10:00:00Z";

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn record(client: &Client) -> RefusedLoginFields {
        RefusedLoginFields::new(client.clone(), "own".into(), || time(NOW))
    }

    fn login() -> RefusedLogin {
        RefusedLogin { salt: 7, hash: 0xab, refused: Instant::now() }
    }

    /// A Secret with a refusal at this time.
    fn secret(at: &str) -> Value {
        let value = ByteString(format!("{at} {:032x}", 0xab).into_bytes());
        let name = format!("{FIELD_PREFIX}{:032x}", 7);
        json!({"metadata": {"name": "x"}, "data": {name: value, "key": "AA=="}})
    }

    #[tokio::test(start_paused = true)]
    async fn refusal_is_read_for_twenty_minutes() {
        tokio::time::advance(Duration::from_hours(1)).await;
        for (at, expect) in [
            ("2026-11-28T09:59:00Z", Some(60)),
            ("2026-11-28T09:40:01Z", Some(1199)),
            ("2026-11-28T09:40:00Z", None),
            ("2026-11-28T10:01:00Z", Some(60)),
            ("2026-11-28T10:20:00Z", None),
            ("yesterday", None),
        ] {
            let script = vec![exchange(GET, 200, secret(at))];
            let (loaded, _) = play(script, async |client| record(&client).load().await).await;
            let ages: Vec<_> =
                loaded.expect("a record").iter().map(|it| it.refused.elapsed().as_secs()).collect();
            assert_eq!(ages, Vec::from_iter(expect), "{at}");
        }
    }

    #[tokio::test]
    async fn refusal_is_added_and_outdated_ones_are_removed() {
        let mut before = secret("2026-11-28T09:00:00Z");
        let outdated = format!("{FIELD_PREFIX}{:032x}", 7);
        before["data"]["refusedLogin.edited"] = json!("AA==");
        let patched = json!({"metadata": {"name": "x"}});
        let script = vec![exchange(GET, 200, before), exchange(PATCH, 200, patched)];
        let new = RefusedLogin { salt: 8, ..login() };
        let (added, bodies) = play(script, async |client| record(&client).add(&new).await).await;
        added.expect("a write");
        let data = bodies[1]["data"].as_object().expect("data");
        assert_eq!((&data[&outdated], &data["refusedLogin.edited"]), (&Value::Null, &Value::Null));
        let name = format!("{FIELD_PREFIX}{:032x}", 8);
        let value: ByteString = serde_json::from_value(data[&name].clone()).expect("bytes");
        assert_eq!(value.0, format!("{NOW} {:032x}", 0xab).into_bytes());
        assert_eq!(data.len(), 3, "the key is not written");
    }

    #[tokio::test]
    async fn unwritable_secret_is_named() {
        let script = vec![exchange(GET, 200, secret(NOW)), refused_request(PATCH, 403, "Forbidden")];
        let (added, _) = play(script, async |client| record(&client).add(&login()).await).await;
        let error = added.expect_err("a refusal").to_string();
        assert!(
            error.starts_with("failed to write Secret regcred-ownership-key in namespace own: "),
            "{error}"
        );
    }
}

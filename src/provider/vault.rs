//! A Vault or an `OpenBao`: the KV engines, versions 1 and 2.
//!
//! A value is the secret's data as JSON, its version the number KV v2 counts. `login` keeps the one
//! token that all reads share, `lease` says when to renew it, `failure` what an answer means without
//! quoting it.

use std::fmt;

use async_trait::async_trait;
use futures::StreamExt;
use jiff::Timestamp;
use secrecy::zeroize::{Zeroize, Zeroizing};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use vaultrs::api::kv1::requests::GetSecretRequest;
use vaultrs::api::kv2::requests::ReadSecretRequest;

use self::connection::Connection;
use self::login::{Session, Sessions};
use super::failure::{Asked, Failure, store_at};
use super::patience::{CONCURRENT_READS, Patience};
use super::{Environment, Error, OpenError, Provider, log_read};
use crate::credential::{Key, Place, StoreName, StoredValue, Version};
use crate::manifest::config::{KvVersion, VaultSettings};

mod connection;
mod failure;
mod lease;
mod login;

/// A Vault.
pub struct Vault {
    store: StoreName,
    /// The store and its address, as errors name it.
    whom: String,
    mount: String,
    kv: KvVersion,
    sessions: Sessions,
    patience: Patience,
}

impl Vault {
    /// Checks the settings and reads the `caFile`; makes no request.
    pub fn open(
        store: StoreName,
        settings: &VaultSettings,
        environment: &Environment,
    ) -> Result<Self, OpenError> {
        Self::with_patience(store, settings, environment, Patience::USUAL)
    }

    fn with_patience(
        store: StoreName,
        settings: &VaultSettings,
        environment: &Environment,
        patience: Patience,
    ) -> Result<Self, OpenError> {
        let sessions = Connection::open(settings, patience.request)
            .and_then(|connection| Sessions::open(store.clone(), connection, &settings.auth, environment));
        match sessions {
            Ok(sessions) => Ok(Self {
                store,
                whom: store_at(&settings.address),
                mount: settings.mount.clone(),
                kv: settings.kv,
                sessions,
                patience,
            }),
            Err(what) => Err(OpenError { store, what }),
        }
    }

    fn place(&self, key: &Key) -> Place {
        Place { store: self.store.clone(), key: key.clone() }
    }

    /// What an error tells of a request for a key.
    fn asked(&self, key: &Key, since: Instant, attempts: usize) -> Asked<'_> {
        let (path, mount) = (self.path(key), &self.mount);
        let looked = format!("at {path} (mount {mount}, KV version {})", failure::number(self.kv));
        Asked { whom: &self.whom, looked, waited: since.elapsed(), attempts: Some(attempts) }
    }

    /// The path of a key as the Vault and its policies know it.
    fn path(&self, Key(key): &Key) -> String {
        match self.kv {
            KvVersion::V1 => format!("{}/{key}", self.mount),
            KvVersion::V2 => format!("{}/data/{key}", self.mount),
        }
    }

    async fn read_one(&self, key: &Key, started: Instant) -> Result<StoredValue, Error> {
        let at = self.place(key);
        let asked = Instant::now();
        let deadline = started + self.patience.total;
        let (outcome, attempts) = match refuse_odd(key) {
            Ok(()) => {
                let fetch = || self.fetch(key, started);
                self.patience.retry(deadline, &self.store, Some(key), fetch).await
            }
            Err(failure) => (Err(failure), 0),
        };
        let outcome = outcome.map_err(|failure| failure.at(at.clone(), &self.asked(key, started, attempts)));
        log_read(&at, &outcome, asked);
        outcome
    }

    /// Reads a key, a second time with a new login where the Vault may no longer take the token.
    async fn fetch(&self, key: &Key, started: Instant) -> Result<StoredValue, Failure> {
        let session = self.sessions.current().await?;
        match self.ask(&session, key).await {
            // A token that this very call logged in for is good: then the policy does not admit us.
            Err(Failure::Denied(_)) if session.logged_in < started => {
                let session = self.sessions.after(&session).await?;
                self.ask(&session, key).await
            }
            outcome => outcome,
        }
    }

    async fn ask(&self, session: &Session, key: &Key) -> Result<StoredValue, Failure> {
        let (mount, path) = (self.mount.clone(), key.0.clone());
        let answer = match self.kv {
            KvVersion::V1 => session.client.send(GetSecretRequest { mount, path }).await,
            KvVersion::V2 => session.client.send(ReadSecretRequest { mount, path, version: None }).await,
        };
        let body = answer.map_err(|refusal| {
            failure::of_read(refusal, self.kv, &self.mount, &self.path(key), session.is_proven)
        })?;
        match self.kv {
            KvVersion::V1 => parse_v1(&body),
            KvVersion::V2 => parse_v2(&body),
        }
    }
}

#[async_trait]
impl Provider for Vault {
    async fn read(&self, keys: &[Key]) -> Vec<Result<StoredValue, Error>> {
        if keys.is_empty() {
            return Vec::new();
        }
        let started = Instant::now();
        // The login comes first, so that one that fails is tried for all the keys and not for each.
        let login = || async { self.sessions.current().await.map(drop) };
        let deadline = started + self.patience.total;
        let (outcome, attempts) = self.patience.retry(deadline, &self.store, None, login).await;
        if let Err(failure) = outcome {
            let error = |key| failure.clone().at(self.place(key), &self.asked(key, started, attempts));
            return keys.iter().map(|key| Err(error(key))).collect();
        }
        let reads: Vec<_> = keys.iter().map(|key| self.read_one(key, started)).collect();
        futures::stream::iter(reads).buffered(CONCURRENT_READS).collect().await
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Refuses a key that would become another one in a URL, where `a//b` and `a/./b` mean `a/b`.
fn refuse_odd(Key(key): &Key) -> Result<(), Failure> {
    if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Failure::Misconfigured(
            "a key in a Vault has no empty part, no `.` and no `..` between its slashes".to_owned(),
        ));
    }
    Ok(())
}

/// An answer to a read.
#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

/// The `data` of an answer of KV v2.
#[derive(Deserialize)]
struct Versioned {
    data: Value,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    /// When this version was deleted or, with `delete_version_after`, will be; empty where it stays.
    #[serde(default)]
    deletion_time: String,
}

fn parse_v1(body: &SecretSlice<u8>) -> Result<StoredValue, Failure> {
    let Answer { data } = serde_json::from_slice::<Answer<Value>>(body.expose_secret())
        .map_err(|_| Failure::Misconfigured(failure::no_kv(1)))?;
    Ok(StoredValue {
        version: Version::UNVERSIONED.into(),
        bytes: render(data),
        expires_at: None,
        account: None,
    })
}

fn parse_v2(body: &SecretSlice<u8>) -> Result<StoredValue, Failure> {
    let Answer { data } = serde_json::from_slice::<Answer<Versioned>>(body.expose_secret())
        .map_err(|_| Failure::Misconfigured(failure::no_kv(2)))?;
    if data.data.is_null() {
        return Err(Failure::Deleted);
    }
    let Metadata { version, deletion_time } = data.metadata;
    Ok(StoredValue {
        version: Version(version.to_string()),
        bytes: render(data.data),
        // A time that is past by our clock only: it is the Vault's that counts, and it gave the value.
        expires_at: deletion_time.parse::<Timestamp>().ok(),
        account: None,
    })
}

/// The JSON of a value, of which nothing else stays behind.
fn render(mut value: Value) -> SecretSlice<u8> {
    let json = Zeroizing::new(value.to_string());
    wipe(&mut value);
    json.as_bytes().to_vec().into()
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;

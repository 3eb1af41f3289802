//! A Vault or an `OpenBao`: the KV engines, versions 1 and 2.
//!
//! A value is the secret's data as JSON, its version the number KV v2 counts, which its metadata tell
//! without the value. `login` keeps the one token that all requests share, `lease` says when to renew it,
//! `answer` takes answers apart, and `failure` says what a refusal means without quoting it.

use std::fmt;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::time::Instant;
use vaultrs::api::kv1::requests::GetSecretRequest;
use vaultrs::api::kv2::requests::{ReadSecretMetadataRequest, ReadSecretRequest};

use self::connection::{Connection, Reply};
use self::login::{Session, Sessions};
use super::failure::{Asked, Failure, store_at};
use super::retry::{CONCURRENT_READS, RetryPolicy};
use super::{Environment, Error, OpenError, Provider, log_read, log_version};
use crate::credential::{Key, StoreKey, StoreName, StoredValue, Version};
use crate::manifest::config::{KvVersion, VaultSettings};

mod answer;
mod connection;
mod failure;
mod lease;
mod login;

/// What is asked for of a key.
#[derive(Clone, Copy)]
enum Part {
    Value,
    /// What KV v2 knows of its versions.
    Metadata,
}

/// A Vault.
pub struct Vault {
    store: StoreName,
    /// The store and its address, as errors name it.
    whom: String,
    mount: String,
    kv: KvVersion,
    sessions: Sessions,
    patience: RetryPolicy,
}

impl Vault {
    /// Checks the settings and reads the `caFile`; makes no request.
    pub fn open(
        store: StoreName,
        settings: &VaultSettings,
        environment: &Environment,
    ) -> Result<Self, OpenError> {
        Self::with_patience(store, settings, environment, RetryPolicy::USUAL)
    }

    fn with_patience(
        store: StoreName,
        settings: &VaultSettings,
        environment: &Environment,
        patience: RetryPolicy,
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

    fn place(&self, key: &Key) -> StoreKey {
        StoreKey { store: self.store.clone(), key: key.clone() }
    }

    /// What an error tells of a request for a key.
    fn asked(&self, key: &Key, part: Part, since: Instant, attempts: usize) -> Asked<'_> {
        let (path, mount) = (self.path(key, part), &self.mount);
        let looked = format!("at {path} (mount {mount}, KV version {})", failure::number(self.kv));
        Asked { whom: &self.whom, looked, waited: since.elapsed(), attempts: Some(attempts) }
    }

    /// The path of a key as the Vault and its policies know it.
    fn path(&self, Key(key): &Key, part: Part) -> String {
        match (self.kv, part) {
            (KvVersion::V1, _) => format!("{}/{key}", self.mount),
            (KvVersion::V2, Part::Value) => format!("{}/data/{key}", self.mount),
            (KvVersion::V2, Part::Metadata) => format!("{}/metadata/{key}", self.mount),
        }
    }

    /// Logs in before anything is asked, so that a login that fails is tried for all the keys and not for
    /// each; the error of each where it does.
    async fn log_in_for(&self, keys: &[Key], part: Part, started: Instant) -> Result<(), Vec<Error>> {
        let login = || async { self.sessions.current().await.map(drop) };
        let deadline = started + self.patience.total;
        let (outcome, attempts) = self.patience.retry(deadline, &self.store, None, login).await;
        outcome.map_err(|failure| {
            let error = |key| failure.clone().at(self.place(key), &self.asked(key, part, started, attempts));
            keys.iter().map(error).collect()
        })
    }

    async fn read_one(&self, key: &Key, started: Instant) -> Result<StoredValue, Error> {
        let asked = Instant::now();
        let parse = match self.kv {
            KvVersion::V1 => answer::value_v1,
            KvVersion::V2 => answer::value_v2,
        };
        let outcome = self.answer(key, Part::Value, started, parse).await;
        log_read(&self.place(key), &outcome, asked);
        outcome
    }

    async fn version_of(&self, key: &Key, started: Instant) -> Result<Version, Error> {
        let asked = Instant::now();
        let outcome = self.answer(key, Part::Metadata, started, answer::version).await;
        log_version(&self.place(key), &outcome, asked);
        outcome
    }

    /// The answer to a question for a key, as often as patience allows.
    async fn answer<T>(
        &self,
        key: &Key,
        part: Part,
        started: Instant,
        parse: fn(&Reply) -> Result<T, Failure>,
    ) -> Result<T, Error> {
        let deadline = started + self.patience.total;
        let (outcome, attempts) = match refuse_odd(key) {
            Ok(()) => {
                let fetch = || self.fetch(key, part, started);
                self.patience.retry(deadline, &self.store, Some(key), fetch).await
            }
            Err(failure) => (Err(failure), 0),
        };
        let outcome = outcome.and_then(|reply| parse(&reply));
        outcome.map_err(|failure| failure.at(self.place(key), &self.asked(key, part, started, attempts)))
    }

    /// Asks for a key, a second time with a new login where the Vault may no longer take the token.
    async fn fetch(&self, key: &Key, part: Part, started: Instant) -> Result<Reply, Failure> {
        let session = self.sessions.current().await?;
        match self.ask(&session, key, part).await {
            // A token that this very call logged in for is good: then the policy does not admit us.
            Err(Failure::Denied(_)) if session.logged_in < started => {
                let session = self.sessions.after(&session).await?;
                self.ask(&session, key, part).await
            }
            outcome => outcome,
        }
    }

    async fn ask(&self, session: &Session, key: &Key, part: Part) -> Result<Reply, Failure> {
        let (client, mount, path) = (&session.client, self.mount.clone(), key.0.clone());
        let answer = match (self.kv, part) {
            (KvVersion::V1, _) => client.ask(GetSecretRequest { mount, path }).await,
            (KvVersion::V2, Part::Value) => {
                client.ask(ReadSecretRequest { mount, path, version: None }).await
            }
            (KvVersion::V2, Part::Metadata) => client.ask(ReadSecretMetadataRequest { mount, path }).await,
        };
        answer.map_err(|refusal| {
            failure::of_read(refusal, self.kv, &self.mount, &self.path(key, part), session.is_proven)
        })
    }
}

#[async_trait]
impl Provider for Vault {
    async fn read(&self, keys: &[Key]) -> Vec<Result<StoredValue, Error>> {
        if keys.is_empty() {
            return Vec::new();
        }
        let started = Instant::now();
        if let Err(errors) = self.log_in_for(keys, Part::Value, started).await {
            return errors.into_iter().map(Err).collect();
        }
        let reads: Vec<_> = keys.iter().map(|key| self.read_one(key, started)).collect();
        futures::stream::iter(reads).buffered(CONCURRENT_READS).collect().await
    }

    async fn versions(&self, keys: &[Key]) -> Vec<Result<Version, Error>> {
        match self.kv {
            KvVersion::V1 => return keys.iter().map(|_| Ok(Version::UNVERSIONED.into())).collect(),
            KvVersion::V2 if keys.is_empty() => return Vec::new(),
            KvVersion::V2 => {}
        }
        let started = Instant::now();
        if let Err(errors) = self.log_in_for(keys, Part::Metadata, started).await {
            return errors.into_iter().map(Err).collect();
        }
        let asked: Vec<_> = keys.iter().map(|key| self.version_of(key, started)).collect();
        futures::stream::iter(asked).buffered(CONCURRENT_READS).collect().await
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

#[cfg(test)]
mod tests;

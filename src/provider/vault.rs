//! A Vault or an `OpenBao`: the KV engines, versions 1 and 2, and paths at which an engine issues credentials.
//!
//! A value is the secret's data as JSON; its version is the version number of KV v2, which the metadata
//! contain without the value. `sessions` keeps the token that all requests share, `login` obtains it, `lease` decides
//! when to renew it, `dynamic` requests paths, `response` parses responses, and `error` classifies errors without quoting them.

use std::fmt;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::time::Instant;
use vaultrs::api::kv1::requests::GetSecretRequest;
use vaultrs::api::kv2::requests::{ReadSecretMetadataRequest, ReadSecretRequest};

use self::client::{ClientFactory, Response};
use self::held_leases::HeldLeases;
use self::session::Session;
use self::sessions::Sessions;
use super::error::{RequestContext, store_at};
use super::retry::{CONCURRENT_READS, RetryPolicy};
use super::{Environment, Error, ErrorKind, OpenError, Provider, WallClock, log_read, log_version};
use crate::credential::{Key, Life, StoreKey, StoreName, StoredValue, Version};
use crate::manifest::config::{KvVersion, VaultSettings};
use crate::repeated_failure::RepeatedFailure;

mod bounded_client;
mod client;
mod consistency;
mod dynamic;
mod error;
mod health;
mod held_leases;
mod hint;
mod issued;
mod lease;
mod login;
mod login_refusal;
mod redirect;
mod response;
mod revocation;
mod session;
mod sessions;

/// The part of a key that a request reads.
#[derive(Clone, Copy)]
enum KvPart {
    /// The value.
    Data,
    /// The metadata that KV v2 keeps of the versions.
    Metadata,
}

/// A Vault.
pub struct Vault {
    store: StoreName,
    /// The store in error messages, with its address.
    display_name: String,
    mount: String,
    kv: KvVersion,
    sessions: Sessions,
    retry_policy: RetryPolicy,
    wall_clock: WallClock,
    leases: Mutex<HeldLeases>,
    revocation_failure: Mutex<RepeatedFailure>,
}

impl Vault {
    /// Validates the settings and reads the `caFile`; makes no request.
    pub fn open(
        store: StoreName,
        settings: &VaultSettings,
        environment: &Environment,
    ) -> Result<Self, OpenError> {
        Self::with_retry_policy(store, settings, environment, RetryPolicy::DEFAULT)
    }

    fn with_retry_policy(
        store: StoreName,
        settings: &VaultSettings,
        environment: &Environment,
        retry_policy: RetryPolicy,
    ) -> Result<Self, OpenError> {
        let sessions = ClientFactory::new(settings, retry_policy.request_timeout)
            .and_then(|clients| Sessions::open(store.clone(), clients, &settings.auth, environment));
        match sessions {
            Ok(sessions) => Ok(Self {
                store,
                display_name: store_at(&settings.address),
                mount: settings.mount.clone(),
                kv: settings.kv,
                sessions,
                retry_policy,
                wall_clock: environment.wall_clock,
                leases: Mutex::default(),
                revocation_failure: Mutex::default(),
            }),
            Err(what) => Err(OpenError { store, what }),
        }
    }

    fn store_key(&self, key: &Key) -> StoreKey {
        StoreKey { store: self.store.clone(), key: key.clone() }
    }

    /// The context of an error about a key.
    fn request_context(&self, key: &Key, part: KvPart, since: Instant, attempts: usize) -> RequestContext {
        let (path, mount) = (self.path(key, part), &self.mount);
        let version = error::version_number(self.kv);
        RequestContext {
            store: self.display_name.clone(),
            location: format!("at {path} (mount {mount}, KV version {version})"),
            waited: since.elapsed(),
            attempts: Some(attempts),
        }
    }

    /// The path of a key in the API and the policies of the Vault.
    fn path(&self, Key(key): &Key, part: KvPart) -> String {
        match (self.kv, part) {
            (KvVersion::V1, _) => format!("{}/{key}", self.mount),
            (KvVersion::V2, KvPart::Data) => format!("{}/data/{key}", self.mount),
            (KvVersion::V2, KvPart::Metadata) => format!("{}/metadata/{key}", self.mount),
        }
    }

    /// Logs in before the first request, so that a failing login is tried once for all keys; returns the
    /// error of each key on failure.
    async fn log_in_for(&self, keys: &[Key], part: KvPart, started: Instant) -> Result<(), Vec<Error>> {
        let deadline = started + self.retry_policy.total_timeout;
        let (outcome, attempts) =
            self.retry_policy.retry(deadline, &self.store, None, || self.sessions.current()).await;
        match outcome {
            Ok(_) => Ok(()),
            Err(kind) => {
                let errors = keys.iter().map(|key| {
                    let context = self.request_context(key, part, started, attempts);
                    kind.clone().in_request(self.store_key(key), context)
                });
                Err(errors.collect())
            }
        }
    }

    /// Revokes the tokens that nothing needs any more, in what is left of the time of a batch.
    async fn revoke_unused_tokens(&self, started: Instant) {
        let deadline = started + self.retry_policy.total_timeout;
        // A token that is not revoked runs out by itself.
        let _ = tokio::time::timeout_at(deadline, self.sessions.revoke_unused()).await;
    }

    async fn read_one(&self, key: &Key, started: Instant) -> Result<StoredValue, Error> {
        if let Some(path) = key.dynamic_path() {
            return self.read_path(key, path, started).await;
        }
        let requested = Instant::now();
        let parse = match self.kv {
            KvVersion::V1 => response::value_v1,
            KvVersion::V2 => response::value_v2,
        };
        let outcome = self.fetch(key, KvPart::Data, started, parse).await;
        log_read(&self.store_key(key), &outcome, requested);
        outcome
    }

    async fn version_of(&self, key: &Key, started: Instant) -> Result<Version, Error> {
        // A request of a path would issue a credential.
        if key.dynamic_path().is_some() {
            return Ok(Version::unversioned());
        }
        let requested = Instant::now();
        let outcome = self.fetch(key, KvPart::Metadata, started, response::version).await;
        log_version(&self.store_key(key), &outcome, requested);
        outcome
    }

    /// Requests a key with retries, and parses the response.
    async fn fetch<T>(
        &self,
        key: &Key,
        part: KvPart,
        started: Instant,
        parse: fn(&Response) -> Result<T, ErrorKind>,
    ) -> Result<T, Error> {
        let deadline = started + self.retry_policy.total_timeout;
        let (outcome, attempts) = match validate(key) {
            Ok(()) => {
                self.retry_policy
                    .retry(deadline, &self.store, Some(key), || self.request(key, part, started))
                    .await
            }
            Err(kind) => (Err(kind), 0),
        };
        outcome.and_then(|response| parse(&response)).map_err(|kind| {
            let context = self.request_context(key, part, started, attempts);
            kind.in_request(self.store_key(key), context)
        })
    }

    /// Requests a key, a second time after a new login if the Vault may no longer accept the token.
    async fn request(&self, key: &Key, part: KvPart, started: Instant) -> Result<Response, ErrorKind> {
        let session = self.sessions.current().await?;
        match self.send(&session, key, part).await {
            // A token from a login during this call is valid: then the policy denies the read.
            Err(denial @ ErrorKind::Denied(_)) if session.logged_in < started => {
                let session = self.sessions.after(session, denial).await?;
                self.send(&session, key, part).await
            }
            outcome => outcome,
        }
    }

    async fn send(&self, session: &Session, key: &Key, part: KvPart) -> Result<Response, ErrorKind> {
        let (client, mount, path) = (&session.client, self.mount.clone(), key.0.clone());
        let response = match (self.kv, part) {
            (KvVersion::V1, _) => client.send(GetSecretRequest { mount, path }).await,
            (KvVersion::V2, KvPart::Data) => {
                client.send(ReadSecretRequest { mount, path, version: None }).await
            }
            (KvVersion::V2, KvPart::Metadata) => client.send(ReadSecretMetadataRequest { mount, path }).await,
        };
        response
            .map_err(|error| error.read_kind(self.kv, &self.mount, &self.path(key, part), session.is_proven))
    }
}

#[async_trait]
impl Provider for Vault {
    async fn read(&self, keys: &[Key]) -> Vec<Result<StoredValue, Error>> {
        if keys.is_empty() {
            return Vec::new();
        }
        let started = Instant::now();
        if let Err(errors) = self.log_in_for(keys, KvPart::Data, started).await {
            return errors.into_iter().map(Err).collect();
        }
        let reads: Vec<_> = keys.iter().map(|key| self.read_one(key, started)).collect();
        let values = futures::stream::iter(reads).buffered(CONCURRENT_READS).collect().await;
        self.revoke_unused_tokens(started).await;
        values
    }

    async fn versions(&self, keys: &[Key]) -> Vec<Result<Version, Error>> {
        let has_versions = |key: &Key| self.kv == KvVersion::V2 && key.dynamic_path().is_none();
        if !keys.iter().any(has_versions) {
            return keys.iter().map(|_| Ok(Version::unversioned())).collect();
        }
        let started = Instant::now();
        if let Err(errors) = self.log_in_for(keys, KvPart::Metadata, started).await {
            return errors.into_iter().map(Err).collect();
        }
        let lookups: Vec<_> = keys.iter().map(|key| self.version_of(key, started)).collect();
        let versions = futures::stream::iter(lookups).buffered(CONCURRENT_READS).collect().await;
        self.revoke_unused_tokens(started).await;
        versions
    }

    async fn renew(&self, key: &Key) -> Option<Life> {
        self.renew_lease(key).await
    }

    fn take_replaced_leases(&self, key: &Key) -> Vec<String> {
        self.leases(|leases| leases.take_replaced(key))
    }

    async fn revoke_leases(&self, leases: Vec<String>) {
        self.revoke_each(leases).await;
    }

    fn forget_leases(&self, key: &Key) {
        self.leases(|leases| leases.forget(key));
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Rejects a key that would become a different one in a URL, where `a//b` and `a/./b` mean `a/b`.
fn validate(Key(key): &Key) -> Result<(), ErrorKind> {
    if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(ErrorKind::Misconfigured(
            "the key of a Vault must not have an empty part, `.` or `..` between its slashes".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;

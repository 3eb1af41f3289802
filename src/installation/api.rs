//! The requests to regcred's own namespace: the key, and the shards with the last good values.

use std::sync::Arc;

use aws_lc_rs::rand;
use futures::{StreamExt, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch};
use serde_json::json;

use super::key_secret::{self, InvalidKey, KeyContent, KeyData};
use super::shard::{self, Shard};
use super::{Installation, PendingShard, StoredShard};
use crate::cluster::conflict::conflict_backoff;
use crate::cluster::error::{Error, with_timeout};
use crate::cluster::ownership::key::OwnershipKey;
use crate::cluster::{FIELD_MANAGER, MANAGED_BY, params};
use crate::object_name::NamespaceName;

/// The requests that may be in flight at once.
const CONCURRENCY: usize = 8;

/// regcred's own namespace, and what it keeps there.
#[derive(Clone, Debug)]
pub struct OwnNamespace {
    /// The namespace.
    pub name: NamespaceName,
    /// The number of shards.
    pub shards: u16,
}

/// The reason why the key of the installation is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The API server did not answer, or refused a request.
    #[error(transparent)]
    Request(#[from] Error),
    /// The Secret with the key is missing, and may not be created now.
    #[error("Secret {} does not exist", key_secret::NAME)]
    Missing,
    /// The Secret with the key was edited.
    #[error(transparent)]
    Invalid(#[from] InvalidKey),
    /// The operating system gave no random bytes.
    #[error("no random bytes for a new key")]
    NoRandomness,
}

impl KeyError {
    /// Returns true if the same request may succeed in a moment.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Request(error) if is_transient(error))
    }
}

/// Returns true if the same request may succeed in a moment.
#[must_use]
pub fn is_transient(error: &Error) -> bool {
    match error {
        Error::Changed(_)
        | Error::AlreadyExists(_)
        | Error::Expired
        | Error::NotLeading
        | Error::TimedOut
        | Error::Unavailable(_) => true,
        Error::NotFound(_)
        | Error::NamespaceTerminating
        | Error::QuotaExceeded(_)
        | Error::AdmissionDenied(_)
        | Error::Forbidden(_)
        | Error::Unauthorized(_)
        | Error::Invalid(_) => false,
    }
}

/// The result of the write of one shard.
#[derive(Debug)]
pub enum ShardWrite {
    /// The shard was written; its new `resourceVersion`.
    Written(u16, String),
    /// Another writer was faster; the shard as it is now.
    Conflict(StoredShard),
    /// The write failed.
    Failed(u16, Error),
}

/// An installation that was read, and the shards that could not be.
#[derive(Debug)]
pub struct Loaded {
    /// The installation.
    pub installation: Installation,
    /// A message for each shard that cannot be read or parsed.
    pub problems: Vec<String>,
    /// True if a request for a shard failed in a way that may succeed in a moment.
    pub is_incomplete: bool,
}

impl OwnNamespace {
    fn api(&self, client: &Client) -> Api<core::Secret> {
        Api::namespaced(client.clone(), &self.name)
    }

    /// Reads the key and the shards of these numbers. Creates the key if it is absent and `may_create`.
    pub async fn load(
        &self,
        client: &Client,
        indices: impl IntoIterator<Item = u16>,
        may_create: bool,
    ) -> Result<Loaded, KeyError> {
        let (key, stored) =
            tokio::join!(self.open_key(client, may_create), self.read_shards(client, indices));
        let mut loaded = Loaded {
            installation: Installation::new(Arc::new(key?), self.shards),
            problems: Vec::new(),
            is_incomplete: false,
        };
        for (index, stored) in stored {
            let name = shard_name(index);
            match stored.map(|stored| loaded.installation.restore(stored)) {
                Ok(None) => {}
                Ok(Some(error)) => loaded.problems.push(format!(
                    "Secret {name} in namespace {} is broken and will be replaced: {error}",
                    self.name
                )),
                Err(error) => {
                    if is_transient(&error) {
                        loaded.is_incomplete = true;
                    } else {
                        loaded.installation.on_denied(index);
                    }
                    loaded
                        .problems
                        .push(format!("cannot read Secret {name} in namespace {}: {error}", self.name));
                }
            }
        }
        Ok(loaded)
    }

    async fn read_shards(
        &self,
        client: &Client,
        indices: impl IntoIterator<Item = u16>,
    ) -> Vec<(u16, Result<StoredShard, Error>)> {
        let reads = indices.into_iter().map(async |index| (index, self.read_shard(client, index).await));
        stream::iter(reads).buffer_unordered(CONCURRENCY).collect().await
    }

    /// Reads the key. Creates it if it is absent, and completes it where an operator removed the current key.
    async fn open_key(&self, client: &Client, may_create: bool) -> Result<OwnershipKey, KeyError> {
        let secrets = self.api(client);
        let mut backoff = conflict_backoff();
        loop {
            let written = match with_timeout(secrets.get_opt(key_secret::NAME)).await? {
                Some(secret) => match key_secret::parse(&secret.data.clone().unwrap_or_default())? {
                    KeyContent::Complete(key) => return Ok(*key),
                    KeyContent::WithoutKey => complete_key(&secrets, &secret).await?,
                },
                None if !may_create => return Err(KeyError::Missing),
                None => create_key(&secrets).await?,
            };
            match (written, backoff.next()) {
                (Ok(()), Some(_)) => {}
                // Another replica was faster.
                (Err(Error::AlreadyExists(_) | Error::Changed(_)), Some(pause)) => {
                    tokio::time::sleep(pause).await;
                }
                (Err(error), _) => return Err(error.into()),
                (Ok(()), None) => return Err(KeyError::Missing),
            }
        }
    }

    async fn read_shard(&self, client: &Client, index: u16) -> Result<StoredShard, Error> {
        let Some(secret) = with_timeout(self.api(client).get_opt(&shard_name(index))).await? else {
            return Ok(StoredShard { index, resource_version: None, content: Ok(Shard::default()) });
        };
        let content = Shard::decode(&secret.data.unwrap_or_default());
        Ok(StoredShard { index, resource_version: secret.metadata.resource_version, content })
    }

    /// Writes shards, each under the `resourceVersion` it was read at.
    pub async fn save(&self, client: &Client, pending: Vec<PendingShard>) -> Vec<ShardWrite> {
        let writes = pending.into_iter().map(async |pending| {
            let index = pending.index;
            match self.write_shard(client, pending).await {
                Ok(resource_version) => ShardWrite::Written(index, resource_version),
                Err(Error::Changed(_) | Error::AlreadyExists(_)) => {
                    match self.read_shard(client, index).await {
                        Ok(stored) => ShardWrite::Conflict(stored),
                        Err(error) => ShardWrite::Failed(index, error),
                    }
                }
                Err(error) => ShardWrite::Failed(index, error),
            }
        });
        stream::iter(writes).buffer_unordered(CONCURRENCY).collect().await
    }

    async fn write_shard(&self, client: &Client, pending: PendingShard) -> Result<String, Error> {
        let PendingShard { index, resource_version, encoded } = pending;
        let (secrets, name) = (self.api(client), shard_name(index));
        let metadata = match resource_version {
            None => {
                let secret = new_secret(&name, shard::TYPE, encoded.data);
                with_timeout(secrets.create(&params::create(), &secret)).await?.metadata
            }
            Some(resource_version) => {
                let patch = Patch::Merge(json!({
                    "metadata": { "resourceVersion": resource_version },
                    "data": encoded.data,
                }));
                match with_timeout(secrets.patch_metadata(&name, &params::patch(), &patch)).await {
                    Ok(secret) => secret.metadata,
                    // The shard was deleted since.
                    Err(Error::NotFound(message)) => return Err(Error::Changed(message)),
                    Err(error) => return Err(error),
                }
            }
        };
        Ok(metadata.resource_version.unwrap_or_default())
    }
}

impl Installation {
    /// Takes over the results of a write; returns a message for each failure.
    pub fn finish_save(&mut self, writes: Vec<ShardWrite>) -> Vec<String> {
        let problems = writes.into_iter().filter_map(|write| match write {
            ShardWrite::Written(index, resource_version) => {
                self.on_written(index, resource_version);
                None
            }
            ShardWrite::Conflict(stored) => {
                let index = stored.index;
                let invalid = self.merge(stored);
                self.on_failed(index);
                invalid.map(|error| {
                    format!("Secret {} is broken and will be replaced: {error}", shard_name(index))
                })
            }
            ShardWrite::Failed(index, error) => {
                self.on_failed(index);
                // The next leader saves what it reads.
                (error != Error::NotLeading).then(|| {
                    format!("cannot save last good values in Secret {}, retrying: {error}", shard_name(index))
                })
            }
        });
        problems.collect()
    }
}

fn shard_name(index: u16) -> String {
    format!("{}{index}", shard::NAME_PREFIX)
}

fn new_secret(name: &str, type_: &str, data: KeyData) -> core::Secret {
    core::Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        },
        type_: Some(type_.to_owned()),
        data: Some(data),
        ..core::Secret::default()
    }
}

fn random<const LENGTH: usize>() -> Result<[u8; LENGTH], KeyError> {
    let mut bytes = [0; LENGTH];
    rand::fill(&mut bytes).map_err(|_| KeyError::NoRandomness)?;
    Ok(bytes)
}

async fn create_key(secrets: &Api<core::Secret>) -> Result<Result<(), Error>, KeyError> {
    let data = key_secret::new_data(&random()?, &random()?);
    let secret = new_secret(key_secret::NAME, key_secret::TYPE, data);
    Ok(with_timeout(secrets.create(&params::create(), &secret)).await.map(drop))
}

/// Adds a new key to a Secret that holds only the previous one.
async fn complete_key(
    secrets: &Api<core::Secret>,
    secret: &core::Secret,
) -> Result<Result<(), Error>, KeyError> {
    let key: [u8; key_secret::KEY_LENGTH] = random()?;
    let patch = Patch::Merge(json!({
        "metadata": { "resourceVersion": secret.metadata.resource_version },
        "data": { key_secret::KEY: ByteString(key.to_vec()) },
    }));
    let written = with_timeout(secrets.patch_metadata(key_secret::NAME, &params::patch(), &patch)).await;
    Ok(written.map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::script::{exchange, play, refused};

    const KEY_URL: &str = "GET /api/v1/namespaces/own/secrets/regcred-ownership-key";
    const CREATE: &str = "POST /api/v1/namespaces/own/secrets?&fieldManager=regcred";

    fn own() -> OwnNamespace {
        OwnNamespace { name: "own".into(), shards: 2 }
    }

    fn key_secret() -> serde_json::Value {
        json!({"metadata": {"name": "x", "resourceVersion": "3"}, "data": key_secret::new_data(&[7; 16], &[1; 32])})
    }

    #[tokio::test(start_paused = true)]
    async fn key_created_by_another_replica_is_read() {
        let script = vec![
            refused(KEY_URL, 404, "NotFound"),
            refused(CREATE, 409, "AlreadyExists"),
            exchange(KEY_URL, 200, key_secret()),
        ];
        let (loaded, bodies) = play(script, async |client| own().load(&client, [], true).await).await;
        assert!(loaded.is_ok_and(|loaded| loaded.installation.key.is_some()));
        assert_eq!(bodies[1]["type"], key_secret::TYPE);
    }

    #[tokio::test]
    async fn absent_key_is_not_created_by_a_dry_run() {
        let script = vec![refused(KEY_URL, 404, "NotFound")];
        let (loaded, _) = play(script, async |client| own().load(&client, [], false).await).await;
        assert_eq!(loaded.err(), Some(KeyError::Missing));
    }

    #[tokio::test(start_paused = true)]
    async fn key_moved_by_an_operator_is_replaced_by_a_new_one() {
        const PATCH: &str =
            "PATCH /api/v1/namespaces/own/secrets/regcred-ownership-key?&fieldManager=regcred";
        let mut moved = key_secret();
        moved["data"]["previousKey"] = moved["data"]["key"].take();
        moved["data"].as_object_mut().expect("data").remove("key");
        let script = vec![
            exchange(KEY_URL, 200, moved),
            exchange(PATCH, 200, json!({"metadata": {"name": "x", "resourceVersion": "4"}})),
            exchange(KEY_URL, 200, key_secret()),
        ];
        let (loaded, bodies) = play(script, async |client| own().load(&client, [], true).await).await;
        assert!(loaded.is_ok());
        assert_eq!(bodies[1]["metadata"]["resourceVersion"], "3");
        assert!(bodies[1]["data"]["key"].as_str().is_some_and(|it| it.len() == 44));
    }

    #[test]
    fn save_after_the_lease_is_lost_is_no_problem() {
        let mut installation = Installation::default();
        let (lost, late) = (ShardWrite::Failed(0, Error::NotLeading), ShardWrite::Failed(0, Error::TimedOut));
        assert_eq!(installation.finish_save(vec![lost]), [""; 0]);
        assert_eq!(
            installation.finish_save(vec![late]),
            ["cannot save last good values in Secret regcred-last-good-0, retrying: no answer within 10 s"]
        );
    }

    #[tokio::test]
    async fn edited_key_is_an_error() {
        let script =
            vec![exchange(KEY_URL, 200, json!({"metadata": {"name": "x"}, "data": {"key": "AA=="}}))];
        let (loaded, _) = play(script, async |client| own().load(&client, [], true).await).await;
        assert!(matches!(loaded, Err(KeyError::Invalid(_))));
    }
}

//! Reads the objects of a cluster that regcred decides on.
//!
//! In go a client and the names of the pull secrets. Out comes a [`Cluster`]: the namespaces, the
//! ServiceAccounts trimmed to what the patcher decides on, and the Secrets of those names. Everything is
//! read in pages, and a Secret of another name is never requested.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Resource};
use secrecy::SecretSlice;

pub mod cluster_pull_secret;
pub mod conflict;
pub mod docker_configs;
pub mod error;
pub mod events;
mod known_entries;
mod list;
mod null;
mod object;
mod object_ref;
mod owner_references;
pub mod ownership;
pub(crate) mod params;
#[cfg(test)]
pub(crate) mod script;
pub(crate) mod secret_api;
pub mod service_account;
pub(crate) mod service_account_api;
pub mod shared_versions;
pub mod watch;

use docker_configs::DockerConfigs;
use error::{Error, with_timeout};
use list::{List, ListRequest, Step};
use object::{Listed, Wire, WireNamespace, WireSecret, WireServiceAccount, decode};
use object_ref::ObjectRef;
use ownership::evidence::{Evidence, Marks};
use ownership::key::OwnershipKey;
use ownership::owned_secrets::OwnedSecrets;
pub use service_account::ServiceAccount;

use crate::object_map::ObjectMap;
use crate::object_name::{NamespaceName, SecretName};

/// The number of pull secret names listed concurrently; each list makes the API server walk over all
/// Secrets.
pub const LISTS_AT_ONCE: usize = 4;

/// The field manager of every write.
pub const FIELD_MANAGER: &str = "regcred";
/// The label that marks the Secrets regcred manages; its value is [`FIELD_MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label that names the ClusterPullSecret for which a Secret was created.
pub const CLUSTER_PULL_SECRET_LABEL: &str = "regcred.dev/pull-secret";
/// The annotation of a Secret with the store and the version of each entry.
pub const VERSIONS: &str = "regcred.dev/versions";
/// The annotation of a Secret with the signature of its owner: [`OwnershipKey`].
pub const OWNER: &str = "regcred.dev/owner";
/// The annotation of a ServiceAccount that lists the `imagePullSecrets` entries regcred added, each with
/// its ClusterPullSecret: `regcred=images,…`.
pub const ADDED: &str = "regcred.dev/image-pull-secrets";
/// The most bytes of a versions annotation that are kept of a Secret: those of 64 registries with long names.
const MAX_KEPT_VERSIONS_BYTES: usize = 16 << 10;
/// The key of the docker config in a pull secret.
pub const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";
/// The type of a pull secret.
pub const PULL_SECRET_TYPE: &str = "kubernetes.io/dockerconfigjson";

/// The state of a cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    /// Every namespace by name, selected or not.
    pub namespaces: BTreeMap<NamespaceName, Namespace>,
    /// The error of each pull secret name that could not be listed.
    pub unreadable: BTreeMap<SecretName, Error>,
}

/// One namespace and its objects.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// Its labels.
    pub labels: ObjectMap<String, String>,
    /// It is being deleted: no object can be created in it.
    pub terminating: bool,
    /// The Secrets of the requested names.
    pub secrets: ObjectMap<SecretName, Secret>,
    /// Every ServiceAccount.
    pub service_accounts: ObjectMap<String, ServiceAccount>,
}

/// A Secret with the name of a pull secret.
#[derive(Clone, Debug, Default)]
pub struct Secret {
    /// The precondition of every write to it.
    pub resource_version: String,
    /// Its identity, which Events about it refer to.
    pub uid: String,
    /// The proof that regcred wrote it, and for which ClusterPullSecret.
    pub evidence: Evidence,
    /// Its marks, unless they are exactly those that regcred writes for the owner; before
    /// [`assess`](Self::assess) always.
    pub marks: Option<Box<Marks>>,
    /// The value of the versions annotation, if there is one and it was kept.
    pub versions: Option<Arc<str>>,
    /// The versions annotation is too long to be kept: the Secret has to be read before a decision about it.
    pub is_shortened: bool,
    /// Its owner references to ClusterPullSecrets, which the garbage collector acts on.
    pub owners: Vec<OwnerReference>,
    /// The parts outside of its metadata; `None` if only the metadata was read.
    pub body: Option<SecretBody>,
}

/// The parts of a Secret outside of its metadata.
#[derive(Clone, Debug, Default)]
pub struct SecretBody {
    /// Its type, which is immutable; empty where it cannot be shown.
    pub type_: Cow<'static, str>,
    /// Its data is immutable.
    pub immutable: bool,
    /// The docker config, if it has one and it was kept.
    pub docker_config: Option<DockerConfigBytes>,
    /// The docker config was read and not kept: nothing depended on it, or there was no room.
    pub is_dropped: bool,
}

impl SecretBody {
    /// Drops the docker config, which has to be read again before a decision. The type stays: by a copied signature,
    /// a Secret of another type is not regcred's.
    fn drop_docker_config(&mut self) {
        (self.docker_config, self.is_dropped) = (None, true);
    }
}

/// The bytes of a docker config, shared by all Secrets that hold it.
pub type DockerConfigBytes = Arc<SecretSlice<u8>>;

/// Reads the objects that decisions about the pull secrets of `secret_names` need, all lists concurrently.
pub async fn observe(client: &Client, secret_names: &BTreeSet<SecretName>) -> Result<Cluster, Error> {
    let secrets = stream::iter(secret_names).map(async |name| (name, list_secrets(client, name, None).await));
    let (namespaces, service_accounts, secrets) = tokio::join!(
        list_all::<WireNamespace>(client, core::Namespace::url_path(&(), None)),
        list_all::<WireServiceAccount>(client, core::ServiceAccount::url_path(&(), None)),
        secrets.buffer_unordered(LISTS_AT_ONCE).collect::<Vec<_>>(),
    );

    let mut cluster = Cluster::default();
    for Listed { object_ref, object, .. } in namespaces? {
        cluster.namespaces.insert(object_ref.name.into(), object);
    }
    // A namespace created after the list of namespaces is left to the next reconciliation.
    for Listed { object_ref, object, .. } in service_accounts? {
        if let Some(namespace) = cluster.listed_namespace(&object_ref) {
            namespace.service_accounts.insert(object_ref.name, object);
        }
    }
    for (secret_name, listed) in secrets {
        match listed {
            Ok(listed) => cluster.add_secrets(listed),
            // A name that RBAC does not allow must not block the others.
            Err(error) => drop(cluster.unreadable.insert(secret_name.clone(), error)),
        }
    }
    Ok(cluster)
}

/// Reads one Secret; `None` if it does not exist.
pub async fn get_secret(
    client: &Client,
    namespace: &NamespaceName,
    name: &SecretName,
) -> Result<Option<Secret>, Error> {
    let request = Request::new(core::Secret::url_path(&(), Some(namespace)));
    let request = request.get(name, &GetParams::default()).map_err(kube::Error::BuildRequest);
    match with_timeout(async { client.request::<WireSecret>(request?).await }).await {
        Ok(wire) => Ok(Some(wire.reduce().object)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Lists the Secrets of one name in all namespaces with their data, and no other Secret. Equal docker configs
/// share their bytes as soon as they are decoded; those of other namespaces than `needed` are dropped, where it is
/// given.
pub async fn list_secrets(
    client: &Client,
    name: &SecretName,
    needed: Option<&BTreeSet<NamespaceName>>,
) -> Result<Vec<(ObjectRef, Secret)>, Error> {
    let path = core::Secret::url_path(&(), None);
    let request = ListRequest { path, fields: Some(fields_of_name(name)), metadata_only: false };
    let mut list = List::new(client.clone(), request, decode::<WireSecret>);
    let (mut secrets, mut docker_configs) = (Vec::new(), DockerConfigs::default());
    loop {
        match list.next().await? {
            Step::Items(items) => {
                secrets.extend(items.into_iter().map(|Listed { object_ref, mut object, .. }| {
                    if needed.is_some() {
                        object.drop_long_versions();
                    }
                    let namespace = object_ref.namespace.as_ref();
                    let is_needed =
                        needed.is_none_or(|needed| namespace.is_some_and(|it| needed.contains(it)));
                    docker_configs.intern(&mut object, is_needed);
                    (object_ref, object)
                }));
            }
            Step::Restarted => secrets.clear(),
            Step::Complete(_) => return Ok(secrets),
        }
    }
}

/// Returns the field selector of the objects of one name.
fn fields_of_name(name: &SecretName) -> String {
    format!("metadata.name={name}")
}

/// Lists every object at a path.
async fn list_all<W: Wire>(client: &Client, path: String) -> Result<Vec<Listed<W::Object>>, Error> {
    let request = ListRequest { path, fields: None, metadata_only: false };
    List::new(client.clone(), request, decode::<W>).collect().await
}

impl Cluster {
    /// Judges the marks of every Secret.
    pub fn assess(&mut self, key: Option<&OwnershipKey>, owned: &OwnedSecrets) {
        for (namespace_name, namespace) in &mut self.namespaces {
            for (name, secret) in namespace.secrets.iter_mut() {
                let recorded_for = owned.owner(namespace_name, name, &secret.uid);
                secret.assess(namespace_name, name, key, recorded_for);
            }
        }
    }

    fn listed_namespace(&mut self, object_ref: &ObjectRef) -> Option<&mut Namespace> {
        self.namespaces.get_mut(object_ref.namespace.as_ref()?)
    }

    fn add_secrets(&mut self, listed: Vec<(ObjectRef, Secret)>) {
        for (object_ref, secret) in listed {
            if let Some(namespace) = self.listed_namespace(&object_ref) {
                namespace.secrets.insert(object_ref.name.into(), secret);
            }
        }
    }
}

/// Returns the age rank of an object's version: `resourceVersions` are decimal numbers that grow with every
/// write ([KEP-5504](https://kep.k8s.io/5504)).
#[must_use]
pub fn revision(resource_version: &str) -> u128 {
    resource_version.parse().unwrap_or_default()
}

impl Secret {
    /// Drops a versions annotation that is longer than is kept of each Secret, and the docker config with it.
    pub fn drop_long_versions(&mut self) {
        if self.versions.take_if(|it| it.len() > MAX_KEPT_VERSIONS_BYTES).is_some() {
            self.is_shortened = true;
            self.body.iter_mut().for_each(SecretBody::drop_docker_config);
        }
    }

    /// Returns true if this Secret is regcred's, and regcred knows its data, because it wrote or read it.
    #[must_use]
    pub fn has_known_data(&self) -> bool {
        let is_ours = self.evidence.owner().is_some();
        is_ours && self.body.as_ref().is_some_and(|body| body.docker_config.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::script::{exchange, play};
    use super::*;
    use serde_json::json;

    #[tokio::test]
    async fn only_secrets_of_the_given_name_are_requested() {
        let request = "GET /api/v1/secrets?&fieldSelector=metadata.name%3Dregcred&limit=50";
        let items = ["web", "db", "theirs"].map(|namespace| {
            json!({"metadata": {"name": "regcred", "namespace": namespace}, "data": {DOCKER_CONFIG_KEY: "e30="}})
        });
        let script = vec![exchange(request, 200, json!({"metadata": {}, "items": items}))];
        let needed = BTreeSet::from(["web", "db"].map(NamespaceName::from));
        let (listed, _) =
            play(script, async |client| list_secrets(&client, &"regcred".into(), Some(&needed)).await).await;
        let listed = listed.expect("a list");
        let bodies: Vec<_> = listed.iter().filter_map(|(_, secret)| secret.body.as_ref()).collect();
        let configs: Vec<_> = bodies.iter().map(|body| body.docker_config.as_ref()).collect();
        let [Some(web), Some(db), None] = configs[..] else { panic!("{configs:?}") };
        assert!(Arc::ptr_eq(web, db), "equal bytes are kept once");
        assert!(bodies[2].is_dropped, "bytes that nothing needs are dropped");
    }
}

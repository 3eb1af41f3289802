//! Reads the objects of a cluster that regcred decides on.
//!
//! In go a client and the names of the pull secrets. Out comes a [`Cluster`]: the namespaces, the
//! ServiceAccounts trimmed to what the patcher decides on, and the Secrets of those names. Everything is
//! read in pages, and a Secret of another name is never requested.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{GetParams, ListParams};
use kube::core::Request;
use kube::{Client, Resource};
use secrecy::SecretSlice;
use serde::de::DeserializeOwned;

pub mod cluster_pull_secret;
pub mod conflict;
pub mod error;
pub mod events;
mod object;
pub mod ownership;
pub(crate) mod params;
#[cfg(test)]
pub(crate) mod script;
pub mod watch;

use error::{Error, with_timeout};
pub(crate) use object::render_added;
use object::{Listed, ListedObject, Page};
use ownership::evidence::{Evidence, Marks};
use ownership::key::OwnershipKey;
use ownership::owned_secrets::OwnedSecrets;
use watch::ObjectRef;

use crate::object_name::{NamespaceName, SecretName};

/// The limit of one list request: about 3 MB of Secrets. Each page costs the API server some 10 ms on top
/// of its objects, so smaller pages take longer.
const PAGE_SIZE: u32 = 2000;

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
    pub labels: BTreeMap<String, String>,
    /// It is being deleted: no object can be created in it.
    pub terminating: bool,
    /// The Secrets of the requested names.
    pub secrets: BTreeMap<SecretName, Secret>,
    /// Every ServiceAccount.
    pub service_accounts: BTreeMap<String, ServiceAccount>,
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
    pub marks: Option<Marks>,
    /// The value of the versions annotation.
    pub versions: Option<String>,
    /// Its owner references, which the garbage collector acts on.
    pub owners: Vec<OwnerReference>,
    /// The parts outside of its metadata; `None` if only the metadata was read.
    pub body: Option<SecretBody>,
}

/// The parts of a Secret outside of its metadata.
#[derive(Clone, Debug, Default)]
pub struct SecretBody {
    /// Its type, which is immutable.
    pub type_: String,
    /// Its data is immutable.
    pub immutable: bool,
    /// The docker config, if it has one and it was kept.
    pub docker_config: Option<DockerConfigBytes>,
    /// The docker config was read and not kept, because nothing depended on it.
    pub is_dropped: bool,
}

/// The bytes of a docker config, shared by all Secrets that hold it.
pub type DockerConfigBytes = Arc<SecretSlice<u8>>;

/// A ServiceAccount, trimmed to its `imagePullSecrets`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The precondition of every write to it.
    pub resource_version: String,
    /// The names under `imagePullSecrets`, in order, duplicates included.
    pub image_pull_secrets: Vec<SecretName>,
    /// The names that regcred added, by its annotation, each with its ClusterPullSecret if the annotation
    /// has one.
    pub added: BTreeMap<SecretName, Option<String>>,
}

/// Reads the objects that decisions about the pull secrets of `secret_names` need, all lists concurrently.
pub async fn observe(client: &Client, secret_names: &BTreeSet<SecretName>) -> Result<Cluster, Error> {
    let secrets = stream::iter(secret_names).map(async |name| (name, list_by_name(client, name).await));
    let (namespaces, service_accounts, secrets) = tokio::join!(
        list::<Namespace>(client, ListParams::default()),
        list::<ServiceAccount>(client, ListParams::default()),
        secrets.buffer_unordered(LISTS_AT_ONCE).collect::<Vec<_>>(),
    );

    let mut cluster = Cluster::default();
    for Listed { name, object, .. } in namespaces? {
        cluster.namespaces.insert(name.into(), object);
    }
    // A namespace created after the list of namespaces is left to the next reconciliation.
    for Listed { namespace, name, object } in service_accounts? {
        if let Some(namespace) = cluster.namespaces.get_mut(&namespace) {
            namespace.service_accounts.insert(name, object);
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
    get(client, namespace, name).await
}

/// Reads one ServiceAccount; `None` if it does not exist.
pub async fn get_service_account(
    client: &Client,
    namespace: &NamespaceName,
    name: &str,
) -> Result<Option<ServiceAccount>, Error> {
    get(client, namespace, name).await
}

/// Lists the Secrets of one name in all namespaces with their data.
pub async fn list_secrets(client: &Client, name: &SecretName) -> Result<Vec<(ObjectRef, Secret)>, Error> {
    let listed = list_by_name(client, name).await?;
    let secrets = listed.into_iter().map(|it| (ObjectRef::namespaced(it.namespace, it.name), it.object));
    Ok(secrets.collect())
}

/// Lists the Secrets of one name in all namespaces, and no other Secret.
async fn list_by_name(client: &Client, name: &SecretName) -> Result<Vec<Listed<Secret>>, Error> {
    list(client, ListParams::default().fields(&format!("metadata.name={name}"))).await
}

/// Lists every object of a kind.
async fn list<T: ListedObject>(client: &Client, params: ListParams) -> Result<Vec<Listed<T>>, Error> {
    list_pages(client, T::Kind::url_path(&(), None), params, T::from_wire).await
}

/// Lists every object at a path page by page, and reduces each page before the next one is read.
async fn list_pages<S: DeserializeOwned, T>(
    client: &Client,
    path: String,
    params: ListParams,
    reduce: fn(S) -> T,
) -> Result<Vec<T>, Error> {
    let endpoint = Request::new(path);
    let mut listed = Vec::new();
    let mut params = params.limit(PAGE_SIZE);
    loop {
        let request = endpoint.list(&params).map_err(kube::Error::BuildRequest);
        let page: Page<S> = match with_timeout(async { client.request(request?).await }).await {
            // The continue token has expired with its snapshot: start over.
            Err(Error::Expired) if params.continue_token.is_some() => {
                params.continue_token = None;
                listed.clear();
                continue;
            }
            page => page?,
        };
        listed.extend(page.items.into_iter().map(reduce));
        if page.metadata.continue_token.is_empty() {
            return Ok(listed);
        }
        params.continue_token = Some(page.metadata.continue_token);
    }
}

async fn get<T: ListedObject>(
    client: &Client,
    namespace: &NamespaceName,
    name: &str,
) -> Result<Option<T>, Error> {
    let request = Request::new(T::Kind::url_path(&(), Some(namespace)));
    let request = request.get(name, &GetParams::default()).map_err(kube::Error::BuildRequest);
    match with_timeout(async { client.request(request?).await }).await {
        Ok(wire) => Ok(Some(T::from_wire(wire).object)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Cluster {
    /// Judges the marks of every Secret.
    pub fn assess(&mut self, key: Option<&OwnershipKey>, owned: &OwnedSecrets) {
        for (namespace_name, namespace) in &mut self.namespaces {
            for (name, secret) in &mut namespace.secrets {
                let recorded_for = owned.owner(namespace_name, name, &secret.uid);
                secret.assess(namespace_name, name, key, recorded_for);
            }
        }
    }

    fn add_secrets(&mut self, listed: Vec<Listed<Secret>>) {
        for Listed { namespace, name, object } in listed {
            if let Some(namespace) = self.namespaces.get_mut(&namespace) {
                namespace.secrets.insert(name.into(), object);
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
    /// Returns true if this Secret is regcred's, and regcred knows its data, because it wrote or read it.
    #[must_use]
    pub fn has_known_data(&self) -> bool {
        let is_ours = self.evidence.owner().is_some();
        is_ours && self.body.as_ref().is_some_and(|body| body.docker_config.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::script::{exchange, play, refused};
    use super::*;
    use serde_json::{Value, json};

    fn page(kind: &str, names: &[&str], next: &str) -> Value {
        let items: Vec<_> = names
            .iter()
            .map(|name| json!({"metadata": {"name": name, "namespace": "web", "resourceVersion": "1"}}))
            .collect();
        json!({"kind": kind, "apiVersion": "v1", "metadata": {"continue": next}, "items": items})
    }

    const FIRST: &str = "GET /api/v1/namespaces?&limit=2000";
    const SECOND: &str = "GET /api/v1/namespaces?&limit=2000&continue=token";

    async fn names(client: Client) -> Vec<String> {
        let listed = list::<Namespace>(&client, ListParams::default()).await.expect("a list");
        listed.into_iter().map(|listed| listed.name).collect()
    }

    #[tokio::test]
    async fn list_is_read_page_by_page() {
        let script = vec![
            exchange(FIRST, 200, page("NamespaceList", &["a", "b"], "token")),
            exchange(SECOND, 200, page("NamespaceList", &["c"], "")),
        ];
        let (names, _) = play(script, names).await;
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn expired_list_starts_over_without_duplicates() {
        let script = vec![
            exchange(FIRST, 200, page("NamespaceList", &["a", "b"], "token")),
            refused(SECOND, 410, "Expired"),
            exchange(FIRST, 200, page("NamespaceList", &["a", "b", "c"], "")),
        ];
        let (names, _) = play(script, names).await;
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn only_secrets_of_the_given_name_are_requested() {
        let request = "GET /api/v1/secrets?&fieldSelector=metadata.name%3Dregcred&limit=2000";
        let script = vec![exchange(request, 200, page("SecretList", &["regcred"], ""))];
        let (listed, _) = play(script, async |client| list_by_name(&client, &"regcred".into()).await).await;
        assert_eq!(listed.map(|listed| listed.len()), Ok(1));
    }
}

//! What the cluster holds, as far as regcred has to know it.
//!
//! In goes a client and the names of the pull secrets, out comes a [`Cluster`]: namespaces,
//! ServiceAccounts trimmed to what the patcher decides on, and the Secrets of those names. Everything
//! is read in pages, and no Secret of another name is ever asked for.

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
pub mod error;
pub mod events;
mod object;
pub mod ownership;
pub(crate) mod params;
#[cfg(test)]
pub(crate) mod script;
pub mod watch;

use error::{Error, within};
pub(crate) use object::render_added;
use object::{Listed, Observed, Page};

/// Objects asked for in one list request: about 3 MB of Secrets. A page costs the API server some
/// 10 ms beside its objects, so that smaller ones take longer.
const PAGE_SIZE: u32 = 2000;

/// Names of pull secrets that are listed at the same time; each list costs the API server a walk over
/// all Secrets.
pub const LISTS_AT_ONCE: usize = 4;

/// The field manager of every write.
pub const FIELD_MANAGER: &str = "regcred";
/// The label by which regcred knows its own Secrets; its value is [`FIELD_MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The label that names the ClusterPullSecret a Secret was made for.
pub const PULL_SECRET: &str = "regcred.dev/pull-secret";
/// The annotation of a Secret that tells which version of which store each entry was read at.
pub const VERSIONS: &str = "regcred.dev/versions";
/// The annotation of a ServiceAccount that lists the `imagePullSecrets` regcred added, each with the
/// ClusterPullSecret it was added for: `regcred=images,…`.
pub const ADDED: &str = "regcred.dev/image-pull-secrets";
/// The key of the docker config in a pull secret.
pub const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";
/// The type of a pull secret.
pub const PULL_SECRET_TYPE: &str = "kubernetes.io/dockerconfigjson";

/// The namespaces of a cluster by name.
#[derive(Debug, Default)]
pub struct Cluster {
    /// Every namespace, whether selected or not.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Names of pull secrets that could not be listed, and why.
    pub unreadable: BTreeMap<String, Error>,
}

/// One namespace and what is in it.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// It is being deleted: nothing can be created in it any more.
    pub terminating: bool,
    /// The Secrets of the names that were asked for.
    pub secrets: BTreeMap<String, Secret>,
    /// Every ServiceAccount.
    pub service_accounts: BTreeMap<String, ServiceAccount>,
}

/// A Secret that bears the name of a pull secret.
#[derive(Clone, Debug, Default)]
pub struct Secret {
    /// The precondition of every write to it.
    pub resource_version: String,
    /// Its identity, by which Events about it are found.
    pub uid: String,
    /// regcred made or adopted it.
    pub managed: bool,
    /// The ClusterPullSecret it says it was made for.
    pub cluster_pull_secret: Option<String>,
    /// The versions annotation as it stands.
    pub versions: Option<String>,
    /// The objects on whose deletion the garbage collector removes it.
    pub owners: Vec<OwnerReference>,
    /// What only the whole object tells; `None` where its metadata alone was seen.
    pub body: Option<Body>,
}

/// What a Secret holds beside its metadata.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// Its type, which can never change.
    pub type_: String,
    /// Its data can never change.
    pub immutable: bool,
    /// The docker config, where there is one.
    pub docker_config: Option<DockerConfigBytes>,
}

/// The bytes of a docker config, one copy of them however many Secrets hold it.
pub type DockerConfigBytes = Arc<SecretSlice<u8>>;

/// A ServiceAccount, trimmed to its pull secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The precondition of every write to it.
    pub resource_version: String,
    /// Names under `imagePullSecrets`, in order, with whatever repetition there is.
    pub image_pull_secrets: Vec<String>,
    /// The names that regcred added, by its annotation, each with the ClusterPullSecret it was added for
    /// where the annotation tells.
    pub added: BTreeMap<String, Option<String>>,
}

/// Reads what the pull secrets of `secret_names` need to know, in pages and all lists at once.
pub async fn observe(client: &Client, secret_names: &BTreeSet<String>) -> Result<Cluster, Error> {
    let secrets = stream::iter(secret_names).map(async |name| (name, list_secrets(client, name).await));
    let (namespaces, service_accounts, secrets) = tokio::join!(
        list::<Namespace>(client, ListParams::default()),
        list::<ServiceAccount>(client, ListParams::default()),
        secrets.buffer_unordered(LISTS_AT_ONCE).collect::<Vec<_>>(),
    );

    let mut cluster = Cluster::default();
    for Listed { name, object, .. } in namespaces? {
        cluster.namespaces.insert(name, object);
    }
    // An object whose namespace came into being after the list of namespaces is left to the next pass.
    for Listed { namespace, name, object } in service_accounts? {
        if let Some(namespace) = cluster.namespaces.get_mut(&namespace) {
            namespace.service_accounts.insert(name, object);
        }
    }
    for (secret_name, listed) in secrets {
        match listed {
            Ok(listed) => cluster.add_secrets(listed),
            // One name that RBAC does not admit is no reason to leave the others.
            Err(error) => drop(cluster.unreadable.insert(secret_name.clone(), error)),
        }
    }
    Ok(cluster)
}

/// One Secret as it stands now; `None` where it is not there.
pub async fn secret(client: &Client, namespace: &str, name: &str) -> Result<Option<Secret>, Error> {
    get(client, namespace, name).await
}

/// One ServiceAccount as it stands now; `None` where it is not there.
pub async fn service_account(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<ServiceAccount>, Error> {
    get(client, namespace, name).await
}

/// The Secrets of one name in all namespaces with their bytes, by namespace and name.
pub async fn secrets(client: &Client, name: &str) -> Result<Vec<(watch::ObjectRef, Secret)>, Error> {
    let listed = list_secrets(client, name).await?;
    Ok(listed.into_iter().map(|Listed { namespace, name, object }| ((namespace, name), object)).collect())
}

/// The Secrets of one name in all namespaces, and no other Secret.
async fn list_secrets(client: &Client, name: &str) -> Result<Vec<Listed<Secret>>, Error> {
    list(client, ListParams::default().fields(&format!("metadata.name={name}"))).await
}

/// Every object of a kind.
async fn list<T: Observed>(client: &Client, params: ListParams) -> Result<Vec<Listed<T>>, Error> {
    pages(client, T::Kind::url_path(&(), None), params, T::of).await
}

/// Every object at a path, page by page, each reduced before the next page is read.
async fn pages<S: DeserializeOwned, T>(
    client: &Client,
    path: String,
    params: ListParams,
    reduce: fn(S) -> T,
) -> Result<Vec<T>, Error> {
    let address = Request::new(path);
    let mut listed = Vec::new();
    let mut params = params.limit(PAGE_SIZE);
    loop {
        let request = address.list(&params).map_err(kube::Error::BuildRequest);
        let page: Page<S> = match within(async { client.request(request?).await }).await {
            // The token of a list outlives its snapshot by minutes only: begin anew.
            Err(Error::Expired) if params.continue_token.is_some() => {
                params.continue_token = None;
                listed.clear();
                continue;
            }
            page => page?,
        };
        listed.extend(page.items.into_iter().map(reduce));
        if page.metadata.next.is_empty() {
            return Ok(listed);
        }
        params.continue_token = Some(page.metadata.next);
    }
}

async fn get<T: Observed>(client: &Client, namespace: &str, name: &str) -> Result<Option<T>, Error> {
    let request = Request::new(T::Kind::url_path(&(), Some(namespace)));
    let request = request.get(name, &GetParams::default()).map_err(kube::Error::BuildRequest);
    match within(async { client.request(request?).await }).await {
        Ok(shown) => Ok(Some(T::of(shown).object)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Cluster {
    fn add_secrets(&mut self, listed: Vec<Listed<Secret>>) {
        for Listed { namespace, name, object } in listed {
            if let Some(namespace) = self.namespaces.get_mut(&namespace) {
                namespace.secrets.insert(name, object);
            }
        }
    }
}

/// How old a version of an object is: `resourceVersions` are decimal numbers that grow with every write
/// ([KEP-5504](https://kep.k8s.io/5504)).
#[must_use]
pub fn age(resource_version: &str) -> u128 {
    resource_version.parse().unwrap_or_default()
}

impl Secret {
    /// Whether regcred wrote this Secret, or has read what is in it, so that it knows its bytes.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.managed && self.body.as_ref().is_some_and(|body| body.docker_config.is_some())
    }

    /// Whether regcred made this Secret for that ClusterPullSecret.
    #[must_use]
    pub fn is_made_for(&self, cluster_pull_secret: &str) -> bool {
        self.managed && self.cluster_pull_secret.as_deref() == Some(cluster_pull_secret)
    }
}

#[cfg(test)]
mod tests {
    use super::script::{exchange, play, refused};
    use super::*;
    use serde_json::{Value, json};

    fn page(kind: &str, names: &[&str], next: &str) -> Value {
        let item =
            |name: &&str| json!({"metadata": {"name": name, "namespace": "web", "resourceVersion": "1"}});
        let items: Vec<_> = names.iter().map(item).collect();
        json!({"kind": kind, "apiVersion": "v1", "metadata": {"continue": next}, "items": items})
    }

    const FIRST: &str = "GET /api/v1/namespaces?&limit=2000";
    const SECOND: &str = "GET /api/v1/namespaces?&limit=2000&continue=token";

    async fn names(client: Client) -> Vec<String> {
        let listed = list::<Namespace>(&client, ListParams::default()).await.expect("a list");
        listed.into_iter().map(|listed| listed.name).collect()
    }

    #[tokio::test]
    async fn a_list_is_read_page_by_page() {
        let script = vec![
            exchange(FIRST, 200, page("NamespaceList", &["a", "b"], "token")),
            exchange(SECOND, 200, page("NamespaceList", &["c"], "")),
        ];
        let (names, _) = play(script, names).await;
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn a_list_whose_snapshot_expired_begins_anew_and_lists_nothing_twice() {
        let script = vec![
            exchange(FIRST, 200, page("NamespaceList", &["a", "b"], "token")),
            refused(SECOND, 410, "Expired"),
            exchange(FIRST, 200, page("NamespaceList", &["a", "b", "c"], "")),
        ];
        let (names, _) = play(script, names).await;
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn only_secrets_of_the_wanted_name_are_asked_for() {
        let asked = "GET /api/v1/secrets?&fieldSelector=metadata.name%3Dregcred&limit=2000";
        let script = vec![exchange(asked, 200, page("SecretList", &["regcred"], ""))];
        let (listed, _) = play(script, async |client| list_secrets(&client, "regcred").await).await;
        assert_eq!(listed.map(|listed| listed.len()), Ok(1));
    }
}

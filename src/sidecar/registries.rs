//! The registries of a file: those of the chosen ClusterPullSecrets, for the namespace of the sidecar.
//!
//! Pure. In go ClusterPullSecrets as `rotate` and `run` take them; of their specs `registries` and `refreshInterval`
//! apply, and the other fields are named. One file has one credential for each host, so that two sources for one host
//! are an error.

use std::sync::Arc;

use crate::credential::{StoreKey, StoreName};
use crate::docker_config::host_key::HostKey;
use crate::manifest::cluster_pull_secret::{
    ClusterPullSecret, Deletion, Existing, RegistrySource, ServiceAccounts,
};
use crate::manifest::config::triggers::Triggers;
use crate::object_map::ObjectMap;
use crate::object_name::NamespaceName;

/// The ServiceAccount of a ClusterPullSecret without `serviceAccounts`.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

/// Registries that one file cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistriesError {
    /// There is no ClusterPullSecret.
    #[error("there is no ClusterPullSecret in the manifests")]
    Empty,
    /// Two ClusterPullSecrets have different sources for one host.
    #[error(
        "the ClusterPullSecrets {first} and {second} have different sources for {host}, and a file has one credential for each host"
    )]
    TwoSources {
        /// The first one.
        first: String,
        /// The second one.
        second: String,
        /// The host.
        host: HostKey,
    },
    /// A key has the name of the namespace in it, and there is no namespace.
    #[error("{0} holds {{{{namespace}}}}, and no namespace is known")]
    NamespaceUnknown(StoreKey),
    /// A store serves some namespaces, and there is no namespace.
    #[error("the store {0} serves only some namespaces, and no namespace is known")]
    AdmissionUnknown(StoreName),
    /// A store serves namespaces by labels, which only the API server knows.
    #[error(
        "the store {0} serves namespaces by their labels (`namespaceSelector`), which a sidecar cannot read"
    )]
    LabelsUnknown(StoreName),
    /// A store does not serve the namespace.
    #[error("the store {store} does not serve the namespace {namespace}")]
    NamespaceDenied {
        /// The store.
        store: StoreName,
        /// The namespace.
        namespace: NamespaceName,
    },
}

impl RegistriesError {
    /// Returns the fix.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "add one, with `registries`",
            Self::TwoSources { .. } => {
                "name one of them, as in `regcred sidecar -f FILE NAME`, or write two files"
            }
            Self::NamespaceUnknown(_) | Self::AdmissionUnknown(_) => "pass --namespace",
            Self::LabelsUnknown(_) => "use `namespaces`, or another Config",
            Self::NamespaceDenied { .. } => "add it to `namespaces` of the store, or correct --namespace",
        }
    }
}

/// Joins ClusterPullSecrets to the one of which a file has the registries.
pub fn join(
    cluster_pull_secrets: &[ClusterPullSecret],
    namespace: Option<&NamespaceName>,
) -> Result<Arc<ClusterPullSecret>, RegistriesError> {
    let first = cluster_pull_secrets.first().ok_or(RegistriesError::Empty)?;
    let mut registries: Vec<(&str, RegistrySource)> = Vec::new();
    for cluster_pull_secret in cluster_pull_secrets {
        for registry in &cluster_pull_secret.registries {
            check_admission(cluster_pull_secret, &registry.store_key.store, namespace)?;
            let registry = in_namespace(registry, namespace)?;
            add(&mut registries, &cluster_pull_secret.name, registry)?;
        }
    }
    let refresh_interval = cluster_pull_secrets.iter().map(|it| it.refresh_interval).min();
    Ok(Arc::new(ClusterPullSecret {
        registries: registries.into_iter().map(|(_, registry)| registry).collect(),
        refresh_interval: refresh_interval.unwrap_or(first.refresh_interval),
        ..first.clone()
    }))
}

fn in_namespace(
    registry: &RegistrySource,
    namespace: Option<&NamespaceName>,
) -> Result<RegistrySource, RegistriesError> {
    match namespace {
        Some(namespace) => Ok(registry.in_namespace(namespace)),
        None if registry.store_key.is_per_namespace() => {
            Err(RegistriesError::NamespaceUnknown(registry.store_key.clone()))
        }
        None => Ok(registry.clone()),
    }
}

/// Applies the allow-list of the store.
fn check_admission(
    cluster_pull_secret: &ClusterPullSecret,
    store: &StoreName,
    namespace: Option<&NamespaceName>,
) -> Result<(), RegistriesError> {
    let admission = &cluster_pull_secret.admission;
    if !admission.has_namespaces(store) {
        return Ok(());
    }
    let namespace = namespace.ok_or_else(|| RegistriesError::AdmissionUnknown(store.clone()))?;
    if admission.has_selector(store) {
        return Err(RegistriesError::LabelsUnknown(store.clone()));
    }
    if admission.admits_namespace(store, namespace, &ObjectMap::default()) {
        Ok(())
    } else {
        Err(RegistriesError::NamespaceDenied { store: store.clone(), namespace: namespace.clone() })
    }
}

/// Adds a registry, unless the same one is there.
fn add<'a>(
    registries: &mut Vec<(&'a str, RegistrySource)>,
    name: &'a str,
    registry: RegistrySource,
) -> Result<(), RegistriesError> {
    let same_host = registries.iter().find(|(_, it)| it.host.is_some() && it.host == registry.host);
    match (same_host, &registry.host) {
        (Some((_, known)), _) if *known == registry => {}
        (Some((first, _)), Some(host)) => {
            let (first, second) = ((*first).to_owned(), name.to_owned());
            return Err(RegistriesError::TwoSources { first, second, host: host.clone() });
        }
        _ if registries.iter().any(|(_, it)| *it == registry) => {}
        _ => registries.push((name, registry)),
    }
    Ok(())
}

/// Returns the fields that are set and have no effect, as `ClusterPullSecret images: namespaces, suspend`.
#[must_use]
pub fn ignored_fields(cluster_pull_secrets: &[ClusterPullSecret], triggers: &Triggers) -> Vec<String> {
    let specs = cluster_pull_secrets.iter().filter_map(|it| {
        let fields = ignored_fields_of(it);
        (!fields.is_empty()).then(|| format!("ClusterPullSecret {}: {}", it.name, fields.join(", ")))
    });
    let triggers =
        [("triggers.sqs", !triggers.sqs.is_empty()), ("triggers.webhook", triggers.webhook.is_some())];
    let triggers: Vec<_> = triggers.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| *name).collect();
    let config = (!triggers.is_empty()).then(|| format!("Config: {}", triggers.join(", ")));
    specs.chain(config).collect()
}

fn ignored_fields_of(cluster_pull_secret: &ClusterPullSecret) -> Vec<&'static str> {
    let ClusterPullSecret {
        name, secret_name, selection, service_accounts, existing, deletion, suspend, ..
    } = cluster_pull_secret;
    let fields = [
        ("secretName", secret_name.as_str() != name),
        ("namespaces", !selection.is_default()),
        (
            "serviceAccounts",
            !matches!(service_accounts, ServiceAccounts::Named(names) if *names == [DEFAULT_SERVICE_ACCOUNT]),
        ),
        ("existing", *existing != Existing::default()),
        ("deletion", *deletion != Deletion::default()),
        ("suspend", *suspend),
    ];
    fields.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::manifest::admission::tests::admission;
    use crate::reconcile::fixture::cluster_pull_secret;

    fn hosts(joined: &ClusterPullSecret) -> Vec<String> {
        joined
            .registries
            .iter()
            .map(|it| format!("{:?} {}", it.host.as_ref().map(HostKey::as_str), it.store_key.key))
            .collect()
    }

    #[test]
    fn registries_of_all_are_joined_with_the_shortest_interval() {
        let (a, mut b) =
            (cluster_pull_secret("a", &["ghcr.io"]), cluster_pull_secret("b", &["ghcr.io", "*"]));
        b.refresh_interval = Duration::from_mins(1);
        let joined = join(&[a, b], None).unwrap();
        assert_eq!(hosts(&joined), ["Some(\"ghcr.io\") ghcr.io", "None *"]);
        assert_eq!(joined.refresh_interval, Duration::from_mins(1));
        assert_eq!(join(&[], None).err(), Some(RegistriesError::Empty));
    }

    #[test]
    fn two_sources_for_one_host_are_an_error() {
        let (a, mut b) = (cluster_pull_secret("a", &["ghcr.io"]), cluster_pull_secret("b", &["ghcr.io"]));
        b.registries[0].store_key.key = "other".into();
        let error = join(&[a, b], None).unwrap_err();
        let expect = "the ClusterPullSecrets a and b have different sources for ghcr.io, and a file has one credential for each host";
        assert_eq!(error.to_string(), expect);
    }

    #[test]
    fn placeholder_needs_a_namespace() {
        let mut images = cluster_pull_secret("images", &["ghcr.io"]);
        images.registries[0].store_key.key = "teams/{{namespace}}/ghcr".into();
        let error = join(&[images.clone()], None).unwrap_err();
        let expect =
            "store vault, key teams/{{namespace}}/ghcr holds {{namespace}}, and no namespace is known";
        assert_eq!(error.to_string(), expect);
        let joined = join(&[images], Some(&"web".into())).unwrap();
        assert_eq!(hosts(&joined), ["Some(\"ghcr.io\") teams/web/ghcr"]);
    }

    fn outcome(images: &ClusterPullSecret, namespace: Option<&str>) -> Result<(), String> {
        let namespace = namespace.map(NamespaceName::from);
        let joined = join(std::slice::from_ref(images), namespace.as_ref());
        joined.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn store_for_some_namespaces_needs_one_of_them() {
        let mut images = cluster_pull_secret("images", &["ghcr.io"]);
        images.admission = admission(Some(&["team-*"]), None);
        assert_eq!(outcome(&images, Some("team-a")), Ok(()));
        let denied = "the store vault does not serve the namespace web";
        assert_eq!(outcome(&images, Some("web")), Err(denied.to_owned()));
        let unknown = "the store vault serves only some namespaces, and no namespace is known";
        assert_eq!(outcome(&images, None), Err(unknown.to_owned()));
    }

    #[test]
    fn fields_without_effect_are_named() {
        let mut images = cluster_pull_secret("images", &["ghcr.io"]);
        images.secret_name = "images".into();
        assert!(ignored_fields(&[images.clone()], &Triggers::default()).is_empty());
        images.service_accounts = ServiceAccounts::All;
        images.suspend = true;
        let ignored = ignored_fields(&[images], &Triggers::default());
        assert_eq!(ignored, ["ClusterPullSecret images: serviceAccounts, suspend"]);
    }
}

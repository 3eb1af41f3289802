//! Small clusters and ClusterPullSecrets for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::ownership::evidence::Evidence;
use crate::cluster::service_account::Annotation;
use crate::cluster::{Cluster, Namespace, PULL_SECRET_TYPE, Secret, SecretBody, ServiceAccount};
use crate::credential::{Credential, StoreKey, StoredValue};
use crate::docker_config::DockerConfig;
use crate::docker_config::host_key::HostKey;
use crate::installation::last_good::{LastGoodValue, LastGoodValues};
use crate::manifest::cluster_pull_secret::{
    ClusterPullSecret, Deletion, Existing, RegistrySource, ServiceAccounts,
};
use crate::manifest::selection::Selection;
use crate::provider::stores::Values;
use crate::provider::{ErrorKind, SealedPart};

pub(crate) fn store_key(key: &str) -> StoreKey {
    StoreKey { store: "vault".into(), key: key.into() }
}

/// A registry that is read from the key of the same name.
pub(crate) fn registry(host: &str) -> RegistrySource {
    RegistrySource {
        host: (host != "*").then(|| host_key(host)),
        store_key: store_key(host),
        username: None,
        username_key: None,
        password_key: None,
        config_key: None,
    }
}

pub(crate) fn host_key(host: &str) -> HostKey {
    HostKey::parse(host).expect("a valid host")
}

/// A ClusterPullSecret with Secrets named `regcred` in every namespace, for the ServiceAccount `default`.
pub(crate) fn cluster_pull_secret(name: &str, hosts: &[&str]) -> ClusterPullSecret {
    ClusterPullSecret {
        name: name.into(),
        secret_name: "regcred".into(),
        registries: hosts.iter().map(|host| registry(host)).collect(),
        selection: Selection::default(),
        service_accounts: ServiceAccounts::Named(vec!["default".into()]),
        existing: Existing::Refuse,
        refresh_interval: Duration::from_hours(1),
        deletion: Deletion::Delete,
        suspend: false,
        admission: Arc::default(),
        object: None,
    }
}

/// The values of a read: `(host, version, password)`, or a failed read where the password is empty.
pub(crate) fn values(read: &[(&str, &str, &str)]) -> Values {
    let values = read.iter().map(|&(host, version, password)| {
        let value = match password {
            "" => Err(ErrorKind::Sealed(SealedPart::Vault).at(store_key(host))),
            password => Ok(StoredValue {
                version: version.into(),
                bytes: format!(r#"{{"username":"robot","password":"{password}"}}"#).into_bytes().into(),
                expiry: None,
                account: None,
            }),
        };
        (store_key(host), value)
    });
    values.collect()
}

/// The recorded last good values of a ClusterPullSecret: `(host, version, password)` for each.
pub(crate) fn recorded(cluster_pull_secret: &str, entries: &[(&str, &str, &str)]) -> LastGoodValues {
    let mut recorded = LastGoodValues::default();
    for &(host, version, password) in entries {
        let credential = Credential { username: "robot".into(), password: password.into() };
        let config = DockerConfig { auths: [(host_key(host), credential)].into() };
        let value = LastGoodValue { version: version.into(), config, expires: None };
        recorded.record(cluster_pull_secret, &registry(host), value);
    }
    recorded
}

/// A Secret that regcred created for `images`: `(host, version, password)` for each entry.
pub(crate) fn secret(resource_version: &str, entries: &[(&str, &str, &str)]) -> Secret {
    let auths = entries.iter().map(|&(host, _, password)| {
        (host_key(host), Credential { username: "robot".into(), password: password.into() })
    });
    let config = DockerConfig { auths: auths.collect() };
    let versions: BTreeMap<_, _> =
        entries.iter().map(|(host, version, _)| (host_key(host), version)).collect();
    let versions: Vec<_> = versions.iter().map(|(host, version)| format!("{host}=vault:{version}")).collect();
    Secret {
        resource_version: resource_version.into(),
        evidence: Evidence::Signed("images".into()),
        marks: None,
        versions: Some(versions.join(",").into()),
        body: Some(SecretBody {
            type_: PULL_SECRET_TYPE.into(),
            immutable: false,
            docker_config: Some(Arc::new(config.render())),
            is_dropped: false,
        }),
        ..Secret::default()
    }
}

pub(crate) fn service_account(list: &[&str], added: &[&str]) -> ServiceAccount {
    let is_annotated = !added.is_empty();
    ServiceAccount {
        resource_version: "3".into(),
        image_pull_secrets: list.iter().copied().collect(),
        added: added.iter().map(|name| ((*name).into(), Some("images".to_owned()))).collect(),
        annotation: if is_annotated { Annotation::Present } else { Annotation::Absent },
        has_annotations: is_annotated,
    }
}

/// A namespace with a `default` ServiceAccount, and the Secret `regcred` where there is one.
pub(crate) fn namespace(secret: Option<Secret>, default: ServiceAccount) -> Namespace {
    Namespace {
        secrets: secret.map(|secret| ("regcred".into(), secret)).into_iter().collect(),
        service_accounts: [("default".to_owned(), default)].into(),
        ..Namespace::default()
    }
}

pub(crate) fn cluster(namespaces: Vec<(&str, Namespace)>) -> Cluster {
    Cluster {
        namespaces: namespaces.into_iter().map(|(name, it)| (name.into(), it)).collect(),
        ..Cluster::default()
    }
}

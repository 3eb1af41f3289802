//! The Secrets that the garbage collector removes together with a ClusterPullSecret.
//!
//! Pure. Earlier versions made a ClusterPullSecret the owner of its Secrets. In go the claims and the cached cluster,
//! out come the Secrets that still have such an owner reference. The ClusterPullSecret waits for those that regcred
//! is going to write or to remove; a tenant must not be able to hold it by any other. What a ClusterPullSecret with
//! `deletion: Delete` removes itself is not looked at here.

use crate::cluster::ownership::evidence::Evidence;
use crate::cluster::{Cluster, Namespace, PULL_SECRET_TYPE, Secret};
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::manifest::status::reason::ReadyReason;
use crate::manifest::{API_VERSION, CLUSTER_PULL_SECRET};
use crate::object_name::{NamespaceName, SecretName};
use crate::reconcile::claims::{Claim, Claims};
use crate::reconcile::guards::Guards;

/// The Secrets with an owner reference to one ClusterPullSecret.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dependents<'a> {
    /// The namespaces with one that regcred is going to write, without the owner reference, or to remove.
    pub(super) awaited: Vec<&'a NamespaceName>,
    /// The namespaces with one that regcred leaves alone, such as a copy.
    pub(super) left_alone: Vec<&'a NamespaceName>,
}

impl<'a> Dependents<'a> {
    /// Finds the Secrets with an owner reference to the object of this UID and spec.
    #[must_use]
    pub(super) fn new(
        manifest: &ClusterPullSecret,
        uid: &str,
        claims: &Claims,
        cluster: &'a Cluster,
    ) -> Self {
        let mut dependents = Self::default();
        let mut guards = None;
        for (namespace_name, namespace) in cluster.namespaces.iter().filter(|(_, it)| !it.terminating) {
            let owned = namespace.secrets.iter().filter(|(_, it)| is_owned_by(it, uid));
            for (secret_name, secret) in owned {
                let guards = guards.get_or_insert_with(|| Guards::new(manifest, cluster));
                let holder = claims.holder(secret_name, namespace_name, namespace);
                let is_awaited = can_write(secret)
                    && match holder
                        .filter(|it| !is_suspended(it) && !may_write(it, namespace_name, namespace))
                    {
                        // Nothing is written there, and only what is proven to be the holder's is removed.
                        Some(holder) => secret.is_created_for(&holder.name),
                        None => {
                            is_claimed(claims, holder, secret, namespace_name, namespace)
                                || (!manifest.is_deleting_secrets()
                                    && is_own(manifest, secret_name, secret, guards))
                        }
                    };
                let namespaces =
                    if is_awaited { &mut dependents.awaited } else { &mut dependents.left_alone };
                namespaces.push(namespace_name);
            }
        }
        dependents
    }
}

/// Returns true if the Secret has an owner reference to the ClusterPullSecret of this UID, which a write removes.
fn is_owned_by(secret: &Secret, uid: &str) -> bool {
    let mut owners = secret.owners.iter();
    owners.any(|it| it.kind == CLUSTER_PULL_SECRET && it.api_version == API_VERSION && it.uid == uid)
}

/// Returns true unless every write of the Secret would be refused, whatever its content.
fn can_write(secret: &Secret) -> bool {
    secret.evidence != Evidence::Foreign
        && secret.body.as_ref().is_none_or(|body| body.type_ == PULL_SECRET_TYPE && !body.immutable)
}

/// Returns true if a ClusterPullSecret that is reconciled holds the Secret, and may take it over.
fn is_claimed(
    claims: &Claims,
    holder: Option<&ClusterPullSecret>,
    secret: &Secret,
    namespace_name: &NamespaceName,
    namespace: &Namespace,
) -> bool {
    holder.is_some_and(|holder| {
        let created_for = secret.evidence.owner();
        !is_suspended(holder)
            && (created_for.is_none_or(|it| it == holder.name)
                || matches!(
                    claims.claim(holder, namespace_name, namespace),
                    Claim::Ours { take_over_from: Some(_) }
                ))
    })
}

fn is_suspended(holder: &ClusterPullSecret) -> bool {
    holder.inactive_reason() == Some(ReadyReason::Suspended)
}

/// Returns true if a store admits the namespace and one of the registries.
fn may_write(holder: &ClusterPullSecret, namespace_name: &NamespaceName, namespace: &Namespace) -> bool {
    let ClusterPullSecret { registries, admission, .. } = holder;
    registries.iter().any(|registry| {
        let store = &registry.store_key.store;
        admission.admits_namespace(store, namespace_name, &namespace.labels)
            && registry.host.as_ref().is_none_or(|host| admission.admits_host(store, host))
    })
}

/// Returns true if the Secret is going to be pruned, or would be without the guard against an empty selection, which
/// protects Secrets without a proof, too.
fn is_own(manifest: &ClusterPullSecret, secret_name: &SecretName, secret: &Secret, guards: &Guards) -> bool {
    let owner = if guards.can_prune { secret.evidence.owner() } else { secret.evidence.owner_or_label() };
    owner == Some(&manifest.name) && manifest.secret_names().any(|it| it == secret_name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use serde_json::json;

    use super::*;
    use crate::cluster::{SecretBody, ServiceAccount};
    use crate::manifest::admission::tests::admission;
    use crate::manifest::object::LiveObject;
    use crate::manifest::selection::Patterns;
    use crate::reconcile::claims::Others;
    use crate::reconcile::fixture::{cluster, cluster_pull_secret, namespace, secret};

    /// A Secret with an owner reference to the object of the UID `u`.
    fn owned(evidence: Evidence) -> Secret {
        let reference = OwnerReference {
            api_version: API_VERSION.into(),
            kind: CLUSTER_PULL_SECRET.into(),
            uid: "u".into(),
            ..OwnerReference::default()
        };
        Secret { owners: vec![reference], evidence, ..secret("5", &[("ghcr.io", "1", "pw")]) }
    }

    fn signed() -> Secret {
        owned(Evidence::Signed("images".into()))
    }

    fn labelled() -> Secret {
        owned(Evidence::Labelled(Some("images".into())))
    }

    fn with_body(secret: Secret, type_: &'static str, immutable: bool) -> Secret {
        Secret {
            body: Some(SecretBody { type_: type_.into(), immutable, ..SecretBody::default() }),
            ..secret
        }
    }

    /// One that selects the namespaces of this pattern.
    fn selecting(name: &str, pattern: &str) -> ClusterPullSecret {
        let mut manifest = cluster_pull_secret(name, &["ghcr.io"]);
        manifest.selection.include = Some(Patterns::compile(&[pattern.to_owned()]).expect("a pattern"));
        manifest
    }

    /// Returns true if the first waits for a Secret in `web`; `None` where the Secret is no dependent. The namespace
    /// `other` has none.
    fn is_awaited(all: &[ClusterPullSecret], secret: Secret) -> Option<bool> {
        let web = namespace(Some(secret), ServiceAccount::default());
        let cluster = cluster(vec![("other", namespace(None, ServiceAccount::default())), ("web", web)]);
        let manifests: Vec<_> = all.iter().cloned().map(Arc::new).collect();
        let claims = Claims::new(&manifests, Others::default());
        let Dependents { awaited, left_alone } = Dependents::new(&all[0], "u", &claims, &cluster);
        match (awaited.len(), left_alone.len()) {
            (1, 0) => Some(true),
            (0, 1) => Some(false),
            _ => None,
        }
    }

    #[test]
    fn secret_that_is_going_to_be_written_is_awaited() {
        let images = [selecting("images", "web")];
        for secret in [signed(), labelled(), Secret { body: None, ..labelled() }] {
            assert_eq!(is_awaited(&images, secret.clone()), Some(true), "{secret:?}");
        }
        // It is taken over by another one.
        let successor = [selecting("images", "other"), selecting("successor", "web")];
        assert_eq!(is_awaited(&successor, labelled()), Some(true));
        assert_eq!(is_awaited(&successor, signed()), Some(true));
    }

    #[test]
    fn secret_whose_write_is_refused_is_not_awaited() {
        let images = [selecting("images", "web")];
        for secret in [
            owned(Evidence::Foreign),
            owned(Evidence::Signed("unknown".into())),
            with_body(signed(), "Opaque", false),
            with_body(signed(), PULL_SECRET_TYPE, true),
        ] {
            assert_eq!(is_awaited(&images, secret.clone()), Some(false), "{secret:?}");
        }
        let suspended = ClusterPullSecret { suspend: true, ..selecting("suspended", "web") };
        assert_eq!(is_awaited(&[selecting("images", "other"), suspended], labelled()), Some(false));
    }

    #[test]
    fn unsigned_secret_is_not_awaited_where_no_store_admits_it() {
        for (namespaces, hosts, is_admitted) in [
            (Some(["team-*"].as_slice()), None, false),
            (None, Some(["quay.io"].as_slice()), false),
            (Some(&["web"]), Some(&["ghcr.io"]), true),
        ] {
            let mut images = [selecting("images", "web")];
            images[0].admission = admission(namespaces, hosts);
            assert_eq!(is_awaited(&images, labelled()), Some(is_admitted), "{namespaces:?} {hosts:?}");
            assert_eq!(is_awaited(&images, signed()), Some(true), "it is written or removed");
            // The Secret of another one is not taken over where nothing is admitted.
            let mut successor = [selecting("images", "other"), selecting("successor", "web")];
            successor[1].admission = admission(namespaces, hosts);
            for secret in [labelled(), signed()] {
                assert_eq!(is_awaited(&successor, secret), Some(is_admitted), "{namespaces:?} {hosts:?}");
            }
        }
    }

    #[test]
    fn secret_of_another_type_is_not_awaited_without_its_bytes() {
        let images = [selecting("images", "web")];
        let mut opaque =
            Secret { versions: Some("x".repeat(17 << 10).into()), ..with_body(signed(), "Opaque", false) };
        opaque.drop_long_versions();
        assert_eq!(is_awaited(&images, opaque), Some(false));
    }

    #[test]
    fn deletion_with_secrets_waits_for_a_successor_only() {
        let object = json!({"metadata": {"uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let object = LiveObject::from_json(&object);
        let images = ClusterPullSecret { object: Some(object), ..selecting("images", "web") };
        assert!(images.is_deleting_secrets());
        let successor = selecting("successor", "web");
        let suspended = ClusterPullSecret { suspend: true, ..successor.clone() };
        for secret in [signed(), labelled()] {
            let all = [images.clone(), successor.clone()];
            assert_eq!(is_awaited(&all, secret.clone()), Some(true), "it is taken over");
            let all = [images.clone(), suspended.clone()];
            assert_eq!(is_awaited(&all, secret.clone()), Some(false), "nothing is written");
            assert_eq!(
                is_awaited(std::slice::from_ref(&images), secret),
                Some(false),
                "it is removed as a target"
            );
        }
    }

    #[test]
    fn copy_outside_the_selection_is_not_awaited() {
        let elsewhere = [selecting("images", "other")];
        assert_eq!(is_awaited(&elsewhere, labelled()), Some(false));
        assert_eq!(is_awaited(&elsewhere, signed()), Some(true), "it is going to be pruned");
        let nowhere = [selecting("images", "typo")];
        assert_eq!(is_awaited(&nowhere, labelled()), Some(true), "it may be everything there is");
    }

    #[test]
    fn reference_to_another_object_is_no_dependency() {
        let images = [selecting("images", "web")];
        for change in [
            |it: &mut OwnerReference| it.uid = "other".into(),
            |it: &mut OwnerReference| it.kind = "ConfigMap".into(),
            |it: &mut OwnerReference| it.api_version = "v1".into(),
        ] {
            let mut secret = signed();
            change(&mut secret.owners[0]);
            assert_eq!(is_awaited(&images, secret), None);
        }
    }
}

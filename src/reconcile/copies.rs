//! Secrets that carry the labels of a ClusterPullSecret without a proof, where nobody claims them.
//!
//! Pure. They are copies made by kubectl, forgeries, or leftovers of a regcred without a key: they are reported,
//! and never changed or removed.

use super::claims::Claims;
use crate::cluster::Cluster;
use crate::cluster::ownership::evidence::Evidence;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::named;
use crate::object_name::NamespaceName;

/// Returns the namespaces with a copy of a Secret of this ClusterPullSecret.
#[must_use]
pub fn copies<'a>(
    cluster_pull_secret: &ClusterPullSecret,
    claims: &Claims,
    cluster: &'a Cluster,
) -> Vec<&'a NamespaceName> {
    // What is in a namespace that is being deleted goes with it.
    let namespaces = cluster.namespaces.iter().filter(|(_, namespace)| !namespace.terminating);
    let namespaces = namespaces.filter(|(namespace_name, namespace)| {
        cluster_pull_secret.secret_names().any(|name| {
            let evidence = namespace.secrets.get(name).map(|secret| &secret.evidence);
            matches!(evidence, Some(Evidence::Labelled(Some(label))) if *label == cluster_pull_secret.name)
                && claims.holder(name, namespace_name, namespace).is_none()
        })
    });
    namespaces.map(|(name, _)| name).collect()
}

/// Describes copies for a log.
#[must_use]
pub fn describe(copies: &[&NamespaceName]) -> String {
    format!(
        "{} Secret(s) carry the labels of this ClusterPullSecret and are no Secrets of regcred: they are left alone, in {}. Delete them if nobody needs them",
        copies.len(),
        named::join(copies.iter().map(|it| it.as_str()), ", ")
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cluster::{Secret, ServiceAccount};
    use crate::manifest::selection::Patterns;
    use crate::reconcile::claims::Others;
    use crate::reconcile::fixture::{cluster, cluster_pull_secret, namespace, secret};

    #[test]
    fn copy_in_a_terminating_namespace_is_not_reported() {
        let images = cluster_pull_secret("images", &["ghcr.io"]);
        let secret = Secret {
            evidence: Evidence::Labelled(Some("images".to_owned())),
            ..secret("1", &[("ghcr.io", "1", "pw")])
        };
        let copy = namespace(Some(secret), ServiceAccount::default());
        let gone = crate::cluster::Namespace { terminating: true, ..copy.clone() };
        let cluster = cluster(vec![("web", copy), ("gone", gone)]);
        assert_eq!(copies(&images, &Claims::default(), &cluster), [&NamespaceName::from("web")]);
    }

    #[test]
    fn only_unclaimed_secrets_without_proof_are_copies() {
        let mut images = cluster_pull_secret("images", &["ghcr.io"]);
        images.selection.exclude = Patterns::compile(&["old-*".to_owned()]).expect("a glob");
        let with = |evidence| {
            let secret = Secret { evidence, ..secret("1", &[("ghcr.io", "1", "pw")]) };
            namespace(Some(secret), ServiceAccount::default())
        };
        let labelled = |name: &str| with(Evidence::Labelled(Some(name.to_owned())));
        let cluster = cluster(vec![
            ("old-a", labelled("images")),
            ("old-b", labelled("other")),
            ("old-c", with(Evidence::Signed("images".into()))),
            ("web", labelled("images")),
        ]);
        let claims = Claims::new(&[Arc::new(images.clone())], Others::Unknown);
        assert_eq!(copies(&images, &claims, &cluster), [&NamespaceName::from("old-a")]);
    }

    #[test]
    fn message_names_ten_namespaces_at_most() {
        let names: Vec<_> = (10..22).map(|n| NamespaceName::from(format!("ns-{n}"))).collect();
        let text = describe(&names.iter().collect::<Vec<_>>());
        assert!(text.starts_with("12 Secret(s)") && text.contains("ns-18, ns-19 and 2 more."), "{text}");
    }
}

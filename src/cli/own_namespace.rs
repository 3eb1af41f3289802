//! The arguments that name regcred's own namespace.

use crate::installation::api::OwnNamespace;

/// The file in a pod that holds its namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The namespace outside of a pod.
const DEFAULT_NAMESPACE: &str = "regcred-system";

/// The arguments that name regcred's own namespace.
#[derive(Debug, clap::Args)]
pub(super) struct OwnNamespaceArgs {
    /// Namespace of regcred: of its Lease, the key that signs its Secrets, and the last good values. Default: that
    /// of the pod, else regcred-system.
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", value_parser = super::not_empty)]
    namespace: Option<String>,

    /// Number of Secrets that hold the last good values; from 1 to 64.
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u16).range(1..=64))]
    last_good_shards: u16,
}

impl OwnNamespaceArgs {
    /// Completes the arguments with the pod's namespace.
    pub(super) fn own_namespace(self) -> OwnNamespace {
        let Self { namespace, last_good_shards: shards } = self;
        let name = namespace.or_else(pod_namespace).unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        OwnNamespace { name: name.into(), shards }
    }
}

/// Reads the namespace of the pod; none outside of one.
pub(super) fn pod_namespace() -> Option<String> {
    let namespace = std::fs::read_to_string(POD_NAMESPACE).ok()?;
    Some(namespace.trim().to_owned()).filter(|namespace| !namespace.is_empty())
}

//! The arguments of leader election: the Lease, and the identity of this replica.

use std::time::Duration;

use crate::leader_election::LeaderElectionConfig;

/// The file in a pod that holds its namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The namespace outside of a pod.
const DEFAULT_NAMESPACE: &str = "regcred-system";
/// The name of the Lease.
const LEASE: &str = "regcred";

/// The arguments of leader election.
#[derive(Debug, clap::Args)]
pub(super) struct LeaderElectionArgs {
    /// Namespace of the Lease. Default: that of the pod, else regcred-system.
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", value_parser = not_empty)]
    namespace: Option<String>,

    /// Unique identity for leader election. Default: the host name.
    #[arg(long, value_name = "NAME", env = "POD_NAME", value_parser = not_empty)]
    identity: Option<String>,

    /// Time after the leader's last renewal after which another replica takes over; from 3s to 10m.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = lease_duration)]
    lease_duration: Duration,
}

impl LeaderElectionArgs {
    /// Completes the arguments with the pod's namespace and the host name.
    pub(super) fn config(self) -> LeaderElectionConfig {
        let Self { namespace, identity, lease_duration } = self;
        LeaderElectionConfig {
            namespace: namespace.unwrap_or_else(pod_namespace),
            name: LEASE.to_owned(),
            identity: identity.unwrap_or_else(host_name),
            lease_duration,
        }
    }
}

/// Parses a name; an empty one is mostly an unset variable of a script.
fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = super::super::duration(text)?;
    if (Duration::from_secs(3)..=Duration::from_mins(10)).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be from 3s to 10m".to_owned())
    }
}

fn pod_namespace() -> String {
    let namespace = std::fs::read_to_string(POD_NAMESPACE).unwrap_or_default();
    match namespace.trim() {
        "" => DEFAULT_NAMESPACE.to_owned(),
        namespace => namespace.to_owned(),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

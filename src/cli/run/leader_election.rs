//! For which Lease a replica runs, and under which name.

use std::time::Duration;

use crate::leader_election;

/// Where a pod is told its namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The namespace outside of a pod.
const DEFAULT_NAMESPACE: &str = "regcred-system";
/// The name of the Lease.
const LEASE: &str = "regcred";

/// What is said of the lease on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct LeaderElectionTask {
    /// The namespace of the Lease. Default: that of the pod, else regcred-system.
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE")]
    namespace: Option<String>,

    /// Who this replica is: no other may be called the same. Default: the host's name.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,

    /// How long after the leader's last sign of life another one takes over; from 3s to 10m.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = lease_duration)]
    lease_duration: Duration,
}

impl LeaderElectionTask {
    /// The same, with what pod and host know where nothing was said.
    pub(super) fn settings(self) -> leader_election::Settings {
        let Self { namespace, identity, lease_duration } = self;
        leader_election::Settings {
            namespace: namespace.unwrap_or_else(pod_namespace),
            name: LEASE.to_owned(),
            holder: identity.unwrap_or_else(host_name),
            duration: lease_duration,
        }
    }
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

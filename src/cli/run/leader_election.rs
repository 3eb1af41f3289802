//! The arguments of leader election: the Lease, and the identity of this replica.

use std::time::Duration;

use crate::leader_election::LeaderElectionConfig;
use crate::object_name::NamespaceName;

/// The name of the Lease.
const LEASE: &str = "regcred";

/// The arguments of leader election.
#[derive(Debug, clap::Args)]
pub(super) struct LeaderElectionArgs {
    /// Unique identity for leader election. Default: the host name.
    #[arg(long, value_name = "NAME", env = "POD_NAME", value_parser = super::super::not_empty)]
    identity: Option<String>,

    /// Time after the leader's last renewal after which another replica takes over; from 3s to 10m.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = lease_duration)]
    lease_duration: Duration,
}

impl LeaderElectionArgs {
    /// Completes the arguments with the namespace and the host name.
    pub(super) fn config(self, namespace: &NamespaceName) -> LeaderElectionConfig {
        let Self { identity, lease_duration } = self;
        LeaderElectionConfig {
            namespace: namespace.to_string(),
            name: LEASE.to_owned(),
            identity: identity.unwrap_or_else(host_name),
            lease_duration,
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

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

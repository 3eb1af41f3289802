//! The Lease as the API server shows it, reduced to the fields that decisions need.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};

/// The state of a Lease.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    /// The precondition of every write to it.
    pub(super) resource_version: String,
    /// The holder and the times. The times are those of other machines and are only compared for
    /// equality.
    pub(super) spec: LeaseSpec,
}

impl Record {
    /// Returns the holder; `None` when the lease is vacated.
    pub(super) fn holder(&self) -> Option<&str> {
        self.spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// Returns the time for which the holder leads after a renewal, if the Lease states it.
    pub(super) fn duration(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.spec.lease_duration_seconds?).ok()?;
        (0 < seconds).then(|| Duration::from_secs(seconds))
    }
}

impl From<Lease> for Record {
    fn from(Lease { metadata, spec }: Lease) -> Self {
        let resource_version = metadata.resource_version.unwrap_or_default();
        Self { resource_version, spec: spec.unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(spec: serde_json::Value) -> Record {
        let lease = json!({"metadata": {"name": "regcred", "resourceVersion": "7"}, "spec": spec});
        serde_json::from_value::<Lease>(lease).expect("a Lease").into()
    }

    #[test]
    fn lease_without_holder_is_vacated() {
        assert_eq!(record(json!({"holderIdentity": "a"})).holder(), Some("a"));
        for spec in [json!({"holderIdentity": ""}), json!({"holderIdentity": null}), json!({}), json!(null)] {
            assert_eq!(record(spec).holder(), None);
        }
    }

    #[test]
    fn duration_that_is_not_positive_is_none() {
        let durations =
            [20, 0, -1].map(|seconds| record(json!({"leaseDurationSeconds": seconds})).duration());
        assert_eq!(durations, [Some(Duration::from_secs(20)), None, None]);
        assert_eq!(record(json!({})).duration(), None);
    }
}

//! The Lease as the API server shows it, reduced to what is decided on.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    /// The precondition of every write to it.
    pub(super) resource_version: String,
    /// Who holds it and since when. Its times are other machines' and are only ever compared for being
    /// the same.
    pub(super) spec: LeaseSpec,
}

impl Record {
    /// The holder; `None` when the lease is vacated.
    pub(super) fn holder(&self) -> Option<&str> {
        self.spec.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// How long the holder leads after it was last heard of, where it says so.
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
    fn a_lease_without_a_holder_is_vacated() {
        assert_eq!(record(json!({"holderIdentity": "a"})).holder(), Some("a"));
        for spec in [json!({"holderIdentity": ""}), json!({"holderIdentity": null}), json!({}), json!(null)] {
            assert_eq!(record(spec).holder(), None);
        }
    }

    #[test]
    fn a_duration_that_makes_no_sense_is_none() {
        let of = |seconds: i32| record(json!({"leaseDurationSeconds": seconds})).duration();
        assert_eq!([of(20), of(0), of(-1)], [Some(Duration::from_secs(20)), None, None]);
        assert_eq!(record(json!({})).duration(), None);
    }
}

//! The requests of regcred to the API server and to Vault, by their own audit logs.

use std::collections::BTreeMap;
use std::fmt;

use harness::TestCluster;
use serde::Serialize;
use world::{AuditEvent, AuditMark, VaultAuditMark};

use crate::cluster::{Bench as _, KEY};

/// The number of requests of each verb and resource.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Requests(BTreeMap<String, usize>);

impl Requests {
    fn count(events: &[AuditEvent]) -> Self {
        let mut counts = BTreeMap::new();
        for AuditEvent { verb, resource, subresource, .. } in events {
            let slash = if subresource.is_empty() { "" } else { "/" };
            *counts.entry(format!("{verb} {resource}{slash}{subresource}")).or_default() += 1;
        }
        Self(counts)
    }

    pub(crate) fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// All requests except those for some resources.
    pub(crate) fn but(&self, excepted: &[&str]) -> Self {
        self.only(|_, resource| !excepted.contains(&resource))
    }

    /// The requests that may change an object.
    pub(crate) fn writes(&self) -> Self {
        self.only(|verb, _| !["get", "list", "watch"].contains(&verb))
    }

    fn only(&self, matches: impl Fn(&str, &str) -> bool) -> Self {
        let mut kinds = self.0.clone();
        kinds.retain(|kind, _| kind.split_once(' ').is_some_and(|(verb, resource)| matches(verb, resource)));
        Self(kinds)
    }
}

/// Their total: the kinds are in the JSON.
impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.total().fmt(f)
    }
}

/// The requests of regcred in a period.
pub(crate) struct Cost {
    /// By the API server's audit log.
    pub(crate) requests: Requests,
    /// Reads of the password by Vault's audit log.
    pub(crate) store_reads: usize,
}

/// The beginning of such a period.
pub(crate) struct Mark {
    pub(crate) kube: AuditMark,
    vault: VaultAuditMark,
}

impl Mark {
    pub(crate) async fn new(cluster: &TestCluster) -> anyhow::Result<Self> {
        cluster.wait_idle().await?;
        Ok(Self { kube: cluster.kube.audit_mark()?, vault: cluster.vault.audit_mark()? })
    }

    /// The requests until now.
    pub(crate) async fn cost_since(&self, cluster: &TestCluster) -> anyhow::Result<Cost> {
        cluster.wait_idle().await?;
        let requests = Requests::count(&cluster.kube.audit_events_by(&cluster.user(), self.kube)?);
        let store_reads = cluster.vault.reads_of(&format!("secret/data/{KEY}"), self.vault)?;
        Ok(Cost { requests, store_reads })
    }
}

/// The requests of the period with the most of them, except those for some resources.
pub(crate) fn busiest<'a>(periods: impl IntoIterator<Item = &'a Cost>, excepted: &[&str]) -> Requests {
    let requests = periods.into_iter().map(|it| it.requests.but(excepted));
    requests.max_by_key(Requests::total).unwrap_or_default()
}

/// The number of reads of the password that differs most from one.
pub(crate) fn store_reads_unlike_one<'a>(periods: impl IntoIterator<Item = &'a Cost>) -> usize {
    let reads = periods.into_iter().map(|it| it.store_reads);
    reads.max_by_key(|reads| reads.abs_diff(1)).unwrap_or_default()
}

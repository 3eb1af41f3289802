//! What regcred asked the API server and Vault for, by their own audit logs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use world::{AuditEvent, AuditMark, VaultAuditMark};

use crate::stage::{KEY, Stage};

/// How many requests there were of each verb and resource.
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

    /// All but those of some resources.
    pub(crate) fn but(&self, excepted: &[&str]) -> Self {
        self.only(|_, resource| !excepted.contains(&resource))
    }

    /// Those that may change something.
    pub(crate) fn writes(&self) -> Self {
        self.only(|verb, _| !["get", "list", "watch"].contains(&verb))
    }

    fn only(&self, is_meant: impl Fn(&str, &str) -> bool) -> Self {
        let mut kinds = self.0.clone();
        kinds.retain(|kind, _| kind.split_once(' ').is_some_and(|(verb, resource)| is_meant(verb, resource)));
        Self(kinds)
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.total())?;
        for (place, (kind, count)) in self.0.iter().enumerate() {
            write!(f, "{} {count} {kind}", if place == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

/// What regcred asked for in a stretch of time.
pub(crate) struct Asked {
    /// By the API server's audit log.
    pub(crate) requests: Requests,
    /// Reads of the password by Vault's audit log.
    pub(crate) store_reads: usize,
}

/// The beginning of such a stretch.
pub(crate) struct Mark {
    pub(crate) kube: AuditMark,
    vault: VaultAuditMark,
}

impl Mark {
    pub(crate) async fn set(stage: &Stage) -> anyhow::Result<Self> {
        stage.rest().await?;
        Ok(Self { kube: stage.kube.audit_mark()?, vault: stage.vault.audit_mark()? })
    }

    /// Until now.
    pub(crate) async fn asked_since(&self, stage: &Stage) -> anyhow::Result<Asked> {
        stage.rest().await?;
        let requests = Requests::count(&stage.kube.audit_events_by(&stage.user, self.kube)?);
        let store_reads = stage.vault.reads_of(&format!("secret/data/{KEY}"), self.vault)?;
        Ok(Asked { requests, store_reads })
    }
}

/// The requests of the stretch that cost the API server most, but those of some resources.
pub(crate) fn busiest<'a>(stretches: impl IntoIterator<Item = &'a Asked>, excepted: &[&str]) -> Requests {
    let requests = stretches.into_iter().map(|it| it.requests.but(excepted));
    requests.max_by_key(Requests::total).unwrap_or_default()
}

/// How often the password was read, where it was not once.
pub(crate) fn oddest_store_reads<'a>(stretches: impl IntoIterator<Item = &'a Asked>) -> usize {
    let reads = stretches.into_iter().map(|it| it.store_reads);
    reads.max_by_key(|reads| reads.abs_diff(1)).unwrap_or_default()
}

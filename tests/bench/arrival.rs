//! The times at which a new password reached the namespaces, by the API server's audit log: measuring costs the machine
//! nothing during a rotation.

use std::collections::HashMap;

use anyhow::Context as _;
use harness::TestCluster;
use harness::bench::measure::Spread;
use jiff::Timestamp;
use world::{AuditEvent, AuditMark};

use crate::cluster::{Bench as _, TIMEOUT};

/// The writes of one side into the Secrets of one name.
pub(crate) struct Writes<'a> {
    /// The user of the side, as the audit log records it.
    pub(crate) user: String,
    /// The name of the Secret in every namespace.
    pub(crate) secret: &'a str,
    /// The beginning of the writes in the log.
    pub(crate) since: AuditMark,
}

impl Writes<'_> {
    /// Waits until the Secret of every namespace was patched; returns the seconds until then.
    pub(crate) async fn arrivals(
        &self,
        cluster: &TestCluster,
        departure: Timestamp,
    ) -> anyhow::Result<Spread> {
        let arrive = async {
            loop {
                cluster.wait_idle().await?;
                let reached = self.reached(cluster)?;
                let at = cluster.namespaces.iter().map(|namespace| reached.get(namespace));
                if let Some(at) = at.collect::<Option<Vec<_>>>() {
                    let seconds = at.into_iter().map(|at| at.duration_since(departure).as_secs_f64());
                    return anyhow::Ok(Spread::new(seconds));
                }
            }
        };
        let arrived = tokio::time::timeout(TIMEOUT, arrive).await;
        arrived.with_context(|| format!("the Secrets {} are not patched everywhere", self.secret))?
    }

    /// The time of the first patch of each namespace's Secret.
    pub(crate) fn reached(&self, cluster: &TestCluster) -> anyhow::Result<HashMap<String, Timestamp>> {
        let mut reached = HashMap::new();
        for event in cluster.kube.audit_events_by(&self.user, self.since)? {
            if is_written(&event, "patch") && event.name == self.secret {
                reached.entry(event.namespace).or_insert(event.answered);
            }
        }
        Ok(reached)
    }

    /// The time at which the Secret of a namespace was created, if it was.
    pub(crate) fn created(
        &self,
        cluster: &TestCluster,
        namespace: &str,
    ) -> anyhow::Result<Option<Timestamp>> {
        let events = cluster.kube.audit_events_by(&self.user, self.since)?;
        let created = events.iter().find(|it| is_written(it, "create") && it.namespace == namespace);
        Ok(created.map(|event| event.answered))
    }
}

fn is_written(event: &AuditEvent, verb: &str) -> bool {
    event.resource == "secrets" && event.verb == verb && (200..300).contains(&event.code)
}

/// The current time, by the clock that the API server uses too.
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

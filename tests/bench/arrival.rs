//! When a new password reached the namespaces, by the API server's audit log: while it is under way,
//! measuring costs the machine nothing.

use std::collections::HashMap;

use anyhow::Context as _;
use jiff::Timestamp;
use world::{AuditEvent, AuditMark};

use crate::measure::Spread;
use crate::stage::{PATIENCE, Stage};

/// The writes of one side into the Secrets of one name.
pub(crate) struct Writes<'a> {
    /// Who writes, as the audit log has it.
    pub(crate) user: &'a str,
    /// The name of the Secret in every namespace.
    pub(crate) secret: &'a str,
    /// Where they begin in the log.
    pub(crate) since: AuditMark,
}

impl Writes<'_> {
    /// Waits until the Secret of every namespace was patched, and tells the seconds after which it was.
    pub(crate) async fn arrivals(&self, stage: &Stage, departure: Timestamp) -> anyhow::Result<Spread> {
        let arrive = async {
            loop {
                stage.rest().await?;
                let reached = self.reached(stage)?;
                let at = stage.namespaces.iter().map(|namespace| reached.get(namespace));
                if let Some(at) = at.collect::<Option<Vec<_>>>() {
                    let seconds = at.into_iter().map(|at| at.duration_since(departure).as_secs_f64());
                    return anyhow::Ok(Spread::of(seconds));
                }
            }
        };
        let arrived = tokio::time::timeout(PATIENCE, arrive).await;
        arrived.with_context(|| format!("the Secrets {} are not patched everywhere", self.secret))?
    }

    /// When the Secret of each namespace was patched first.
    pub(crate) fn reached(&self, stage: &Stage) -> anyhow::Result<HashMap<String, Timestamp>> {
        let mut reached = HashMap::new();
        for event in stage.kube.audit_events_by(self.user, self.since)? {
            if is_written(&event, "patch") && event.name == self.secret {
                reached.entry(event.namespace).or_insert(event.answered);
            }
        }
        Ok(reached)
    }

    /// When the Secret of a namespace was created, if it was.
    pub(crate) fn created(&self, stage: &Stage, namespace: &str) -> anyhow::Result<Option<Timestamp>> {
        let events = stage.kube.audit_events_by(self.user, self.since)?;
        let created = events.iter().find(|it| is_written(it, "create") && it.namespace == namespace);
        Ok(created.map(|event| event.answered))
    }
}

fn is_written(event: &AuditEvent, verb: &str) -> bool {
    event.resource == "secrets" && event.verb == verb && (200..300).contains(&event.code)
}

/// Now, by the clock that the API server has too.
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

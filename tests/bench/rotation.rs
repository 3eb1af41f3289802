//! A rotation by the controller: a new password in Vault, and the annotation that says so.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;

use crate::arrival::{Writes, now};
use crate::measure::Spread;
use crate::requests::Mark;
use crate::stage::{PATIENCE, SECRET, Stage};

/// How often a rotation is asked how far it is, where something is to happen in the midst of it.
const POLL: Duration = Duration::from_millis(20);

/// A namespace that was made while a rotation ran.
pub(crate) struct Newcomer {
    /// From the request that made it until its Secret was there.
    pub(crate) seconds: f64,
    /// Whether namespaces were still waiting for the rotation when it was made.
    pub(crate) was_in_time: bool,
}

/// Rotates, and tells the seconds after which each namespace was reached.
pub(crate) async fn rotate(stage: &Stage, mark: &Mark) -> anyhow::Result<Spread> {
    let departure = begin(stage).await?;
    writes(stage, mark).arrivals(stage, departure).await
}

/// Rotates, and makes a namespace when a quarter of the others have the new password.
pub(crate) async fn rotate_with_newcomer(stage: &Stage, name: &str) -> anyhow::Result<Newcomer> {
    let mark = Mark::set(stage).await?;
    let departure = begin(stage).await?;
    let writes = writes(stage, &mark);
    let quarter = async {
        while writes.reached(stage)?.len() * 4 < stage.namespaces.len() {
            tokio::time::sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, quarter).await.context("a rotation does not go on")??;
    stage.kube.post("/api/v1/namespaces", &json!({ "metadata": { "name": name } })).await?;
    let arrivals = writes.arrivals(stage, departure).await?;
    let served = async {
        loop {
            if let Some(at) = writes.created(stage, name)? {
                return anyhow::Ok(at);
            }
            stage.rest().await?;
        }
    };
    let served = tokio::time::timeout(PATIENCE, served).await.context("a new namespace gets no Secret")??;
    let by_admin = stage.kube.audit_events_by("admin", mark.kube)?;
    let made = by_admin.iter().find(|it| it.verb == "create" && it.resource == "namespaces");
    let made = made.context("the audit log does not tell of a new namespace")?.received;
    Ok(Newcomer {
        seconds: served.duration_since(made).as_secs_f64(),
        was_in_time: made.duration_since(departure).as_secs_f64() < arrivals.highest,
    })
}

/// Puts the password and tells regcred; gives back the instant before the former.
async fn begin(stage: &Stage) -> anyhow::Result<Timestamp> {
    let departure = now();
    stage.change_password().await?;
    let change = json!({ "metadata": { "annotations": { "regcred.dev/rotate": departure.to_string() } } });
    stage.kube.patch("/apis/regcred.dev/v1alpha1/clusterpullsecrets/bench", &change).await?;
    Ok(departure)
}

fn writes<'a>(stage: &'a Stage, mark: &Mark) -> Writes<'a> {
    Writes { user: &stage.user, secret: SECRET, since: mark.kube }
}

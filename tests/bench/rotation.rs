//! A rotation by the controller: a new password in Vault, and the annotation that requests a fetch.

use std::time::Duration;

use anyhow::Context as _;
use harness::bench::measure::Spread;
use harness::{SECRET, TestCluster};
use jiff::Timestamp;
use serde_json::json;

use crate::arrival::{Writes, now};
use crate::cluster::{Bench as _, TIMEOUT};
use crate::requests::Mark;

/// The interval between two checks of a rotation's progress.
const POLL: Duration = Duration::from_millis(20);

/// A namespace that was created during a rotation.
pub(crate) struct NewNamespace {
    /// The time from the request that created it until its Secret existed.
    pub(crate) seconds: f64,
    /// True if the rotation still had namespaces to reach when this one was created.
    pub(crate) was_in_time: bool,
}

/// Rotates; returns the seconds until each namespace was reached.
pub(crate) async fn rotate(cluster: &TestCluster, mark: &Mark) -> anyhow::Result<Spread> {
    let departure = begin(cluster).await?;
    writes(cluster, mark).arrivals(cluster, departure).await
}

/// Rotates, and creates a namespace when a quarter of the others have the new password.
pub(crate) async fn rotate_with_new_namespace(
    cluster: &TestCluster,
    name: &str,
) -> anyhow::Result<NewNamespace> {
    let mark = Mark::new(cluster).await?;
    let departure = begin(cluster).await?;
    let writes = writes(cluster, &mark);
    let quarter = async {
        while writes.reached(cluster)?.len() * 4 < cluster.namespaces.len() {
            tokio::time::sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(TIMEOUT, quarter).await.context("a rotation does not go on")??;
    cluster.kube.post("/api/v1/namespaces", &json!({ "metadata": { "name": name } })).await?;
    let arrivals = writes.arrivals(cluster, departure).await?;
    let served = async {
        loop {
            if let Some(at) = writes.created(cluster, name)? {
                return anyhow::Ok(at);
            }
            cluster.wait_idle().await?;
        }
    };
    let served = tokio::time::timeout(TIMEOUT, served).await.context("a new namespace gets no Secret")??;
    let by_admin = cluster.kube.audit_events_by("admin", mark.kube)?;
    let created = by_admin.iter().find(|it| it.verb == "create" && it.resource == "namespaces");
    let created = created.context("the audit log has no new namespace")?.received;
    Ok(NewNamespace {
        seconds: served.duration_since(created).as_secs_f64(),
        was_in_time: created.duration_since(departure).as_secs_f64() < arrivals.highest,
    })
}

/// Puts the password and requests a fetch; returns the instant before both.
async fn begin(cluster: &TestCluster) -> anyhow::Result<Timestamp> {
    let departure = now();
    cluster.change_password().await?;
    let change = json!({ "metadata": { "annotations": { "regcred.dev/rotate": departure.to_string() } } });
    cluster.kube.patch("/apis/regcred.dev/v1alpha1/clusterpullsecrets/bench", &change).await?;
    Ok(departure)
}

fn writes(cluster: &TestCluster, mark: &Mark) -> Writes<'static> {
    Writes { user: cluster.user(), secret: SECRET, since: mark.kube }
}

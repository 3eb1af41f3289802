//! The requests about the one Lease.
//!
//! Each is bounded by the caller and none is repeated here. Every write but the creation has the
//! `resourceVersion` of what it was decided on as its precondition, so of two who decide at the same
//! time one is refused.

use std::time::Duration;

use backon::ExponentialBuilder;
use futures::{Stream, StreamExt, future};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{ExponentialBackoff, watch_object};
use serde_json::{Value, json};
use tracing::debug;

use super::Settings;
use super::record::Record;
use crate::cluster::error::Error;
use crate::cluster::params;

/// The shortest pause after a failed request.
pub(super) const MIN_PAUSE: Duration = Duration::from_millis(500);
/// The pauses after failed requests in a row, and between attempts to watch.
pub(super) const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(MIN_PAUSE)
    .with_max_delay(Duration::from_secs(5))
    .without_max_times()
    .with_jitter();

/// The Lease, as something to be asked for and written.
#[derive(Clone, Debug)]
pub(super) struct LeaseClient {
    api: Api<Lease>,
    pub(super) settings: Settings,
}

impl LeaseClient {
    pub(super) fn new(client: Client, settings: Settings) -> Self {
        Self { api: Api::namespaced(client, &settings.namespace), settings }
    }

    /// What the Lease says each time it changes, and at each beginning of the watch; `None` where there
    /// is none. Never ends: a watch that breaks is begun anew.
    pub(super) fn sightings(&self) -> impl Stream<Item = Option<Record>> + Send + 'static {
        watch_object(self.api.clone(), &self.settings.name)
            .backoff(ExponentialBackoff::from(PAUSES))
            .filter_map(|sighting| {
                future::ready(match sighting {
                    Ok(lease) => Some(lease.map(Record::from)),
                    Err(error) => {
                        debug!(%error, "the watch of the lease broke");
                        None
                    }
                })
            })
    }

    pub(super) async fn read(&self, limit: Duration) -> Result<Option<Record>, Error> {
        let lease = self.ask(limit, self.api.get_opt(&self.settings.name)).await?;
        Ok(lease.map(Record::from))
    }

    /// Creates the lease in our name; where another came first, that is `AlreadyExists`, and where its
    /// namespace is not there, `NotFound`.
    pub(super) async fn create(&self, now: MicroTime, limit: Duration) -> Result<Record, Error> {
        let lease = Lease {
            metadata: ObjectMeta { name: Some(self.settings.name.clone()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.settings.holder.clone()),
                lease_duration_seconds: Some(whole_seconds(self.settings.duration)),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            }),
        };
        Ok(self.ask(limit, self.api.create(&params::create(), &lease)).await?.into())
    }

    /// Puts our name into a lease that is free.
    pub(super) async fn take(
        &self,
        resource_version: &str,
        transitions: i32,
        now: MicroTime,
        limit: Duration,
    ) -> Result<Record, Error> {
        let spec = json!({
            "holderIdentity": self.settings.holder,
            "leaseDurationSeconds": whole_seconds(self.settings.duration),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        });
        self.write(resource_version, spec, limit).await
    }

    /// Makes a lease of ours last from now on.
    pub(super) async fn renew(
        &self,
        resource_version: &str,
        now: MicroTime,
        limit: Duration,
    ) -> Result<Record, Error> {
        // The duration as well: if somebody edited it, others would count another end than we do.
        let spec = json!({ "renewTime": now, "leaseDurationSeconds": whole_seconds(self.settings.duration) });
        self.write(resource_version, spec, limit).await
    }

    /// Takes our name out of a lease of ours, so that nobody has to wait for its end.
    pub(super) async fn vacate(
        &self,
        resource_version: &str,
        now: MicroTime,
        limit: Duration,
    ) -> Result<Record, Error> {
        // `null` takes a field away in a merge patch.
        self.write(resource_version, json!({ "holderIdentity": null, "renewTime": now }), limit).await
    }

    async fn write(&self, resource_version: &str, spec: Value, limit: Duration) -> Result<Record, Error> {
        let patch =
            Patch::Merge(json!({ "metadata": { "resourceVersion": resource_version }, "spec": spec }));
        Ok(self.ask(limit, self.api.patch(&self.settings.name, &params::patch(), &patch)).await?.into())
    }

    /// Waits for one request, at most `limit`; where the namespace may be the wrong one, the mend is told.
    async fn ask<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        let namespace = &self.settings.namespace;
        ask(limit, request).await.map_err(|error| match error {
            Error::NotFound(said) if said.starts_with("namespaces ") => Error::NotFound(format!(
                "the namespace {namespace}, where the lease belongs: create it (`kubectl create namespace {namespace}`), or name another one with --namespace"
            )),
            // Who may not look is told no more than this where there is no such namespace.
            Error::Forbidden(said) => Error::Forbidden(format!(
                "{said}: the Role and the RoleBinding of the lease belong into the namespace {namespace}; if they are in another one, name that with --namespace"
            )),
            error => error,
        })
    }
}

/// A duration as a Lease can say it: others may wait longer than we lead, never shorter.
fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(0 < duration.subsec_nanos());
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// Waits for one request, at most `limit`.
async fn ask<T>(limit: Duration, request: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(|error| Error::from(&error)),
        Err(_) => Err(Error::Unavailable(format!("no answer within {} ms", limit.as_millis()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    use crate::cluster::script::{Exchange, conflict, exchange, play, refused};
    use crate::leader_election::tests::{CREATE, READ, WRITE};

    const LIST: &str = "GET /apis/coordination.k8s.io/v1/namespaces/regcred-system/leases?&fieldSelector=metadata.name%3Dregcred&limit=500";
    const LIMIT: Duration = Duration::from_secs(1);
    const NOW: &str = "2026-11-24T06:00:00.000001Z";

    fn now() -> MicroTime {
        MicroTime(NOW.parse().expect("a time"))
    }

    fn lease() -> Value {
        json!({"metadata": {"name": "regcred", "resourceVersion": "8"}, "spec": {"holderIdentity": "me"}})
    }

    /// Plays one exchange to one request of the seat; gives back its outcome and what it sent.
    async fn check<T>(script: Exchange, act: impl AsyncFnOnce(LeaseClient) -> T) -> (T, Value) {
        let (outcome, mut sent) =
            play(vec![script], async |client| act(LeaseClient::new(client, Settings::example())).await).await;
        (outcome, sent.remove(0))
    }

    #[tokio::test]
    async fn creation_makes_the_lease_in_our_name() {
        let (outcome, sent) =
            check(exchange(CREATE, 201, lease()), async |seat| seat.create(now(), LIMIT).await).await;
        assert_eq!(outcome.map(|record| record.resource_version), Ok("8".to_owned()));
        let spec = json!({
            "holderIdentity": "me", "leaseDurationSeconds": 20, "acquireTime": NOW, "renewTime": NOW, "leaseTransitions": 0,
        });
        assert_eq!((&sent["spec"], &sent["metadata"]), (&spec, &json!({"name": "regcred"})));
    }

    #[tokio::test]
    async fn of_two_creators_the_second_is_told_so() {
        let script = refused(CREATE, 409, "AlreadyExists");
        let (outcome, _) = check(script, async |seat| seat.create(now(), LIMIT).await).await;
        assert_eq!(outcome.unwrap_err().reason(), "AlreadyExists");
    }

    /// What is told of a creation that is refused with these words.
    async fn told(code: u16, said: &str) -> String {
        let status = json!({"kind": "Status", "status": "Failure", "code": code, "message": said});
        let script = exchange(CREATE, code, status);
        check(script, async |seat| seat.create(now(), LIMIT).await).await.0.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_namespace_that_is_not_there_is_named_with_the_mend() {
        insta::assert_snapshot!(told(404, r#"namespaces "regcred-system" not found"#).await, @"not found: the namespace regcred-system, where the lease belongs: create it (`kubectl create namespace regcred-system`), or name another one with --namespace");
        let other = "the server could not find the requested resource";
        assert_eq!(told(404, other).await, format!("not found: {other}"));
    }

    #[tokio::test]
    async fn a_refusal_comes_with_where_the_rights_belong() {
        const MEND: &str = "the Role and the RoleBinding of the lease belong into the namespace regcred-system; if they are in another one, name that with --namespace";
        assert_eq!(told(403, "leases is forbidden").await, format!("leases is forbidden: {MEND}"));
        let script = refused(READ, 403, "Forbidden");
        let (outcome, _) = check(script, async |seat| seat.read(LIMIT).await).await;
        assert_eq!(outcome, Err(Error::Forbidden(format!("Forbidden: {MEND}"))));
    }

    #[tokio::test]
    async fn a_lease_that_is_not_there_is_none() {
        let script = refused(READ, 404, "NotFound");
        let (outcome, _) = check(script, async |seat| seat.read(LIMIT).await).await;
        assert_eq!(outcome, Ok(None));
    }

    #[tokio::test]
    async fn taking_writes_under_the_version_that_was_seen() {
        let (_, sent) =
            check(exchange(WRITE, 200, lease()), async |seat| seat.take("7", 3, now(), LIMIT).await).await;
        let spec = json!({
            "holderIdentity": "me", "leaseDurationSeconds": 20, "acquireTime": NOW, "renewTime": NOW, "leaseTransitions": 3,
        });
        assert_eq!(sent, json!({"metadata": {"resourceVersion": "7"}, "spec": spec}));
    }

    #[tokio::test]
    async fn renewing_leaves_the_holder_and_its_beginning_alone() {
        let (_, sent) =
            check(exchange(WRITE, 200, lease()), async |seat| seat.renew("7", now(), LIMIT).await).await;
        let spec = json!({"renewTime": NOW, "leaseDurationSeconds": 20});
        assert_eq!(sent, json!({"metadata": {"resourceVersion": "7"}, "spec": spec}));
    }

    #[tokio::test]
    async fn vacating_takes_the_holder_out_under_the_version_that_was_seen() {
        let (_, sent) =
            check(exchange(WRITE, 200, lease()), async |seat| seat.vacate("7", now(), LIMIT).await).await;
        let spec = json!({"holderIdentity": null, "renewTime": NOW});
        assert_eq!(sent, json!({"metadata": {"resourceVersion": "7"}, "spec": spec}));
    }

    #[tokio::test]
    async fn a_write_after_somebody_elses_is_told_so() {
        let (outcome, _) = check(conflict(WRITE), async |seat| seat.renew("7", now(), LIMIT).await).await;
        assert_eq!(outcome.unwrap_err().reason(), "Changed");
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_waited_for_as_long_as_the_caller_says() {
        let answer = ask(LIMIT, std::future::pending::<kube::Result<()>>()).await;
        assert_eq!(answer, Err(Error::Unavailable("no answer within 1000 ms".to_owned())));
    }

    #[test]
    fn a_fraction_of_a_second_is_a_whole_one_to_others() {
        assert_eq!(whole_seconds(Duration::from_secs(3)), 3);
        assert_eq!(whole_seconds(Duration::from_millis(3001)), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_cannot_begin_goes_on_trying_and_makes_no_hot_loop() {
        let mut script: Vec<_> = (0..8).map(|_| refused(LIST, 503, "ServiceUnavailable")).collect();
        let list = json!({"metadata": {"resourceVersion": "9"}, "items": [lease()]});
        script.push(exchange(LIST, 200, list));
        let start = Instant::now();
        let (sighting, _) = play(script, async |client| {
            let sightings = LeaseClient::new(client, Settings::example()).sightings();
            std::pin::pin!(sightings).next().await
        })
        .await;
        assert_eq!(sighting.flatten().map(|record| record.resource_version), Some("8".to_owned()));
        assert!(Duration::from_secs(15) < start.elapsed(), "{:?}", start.elapsed());
    }
}

//! The requests for the one Lease.
//!
//! The caller sets the timeout of each, and none is retried here. Every write but the creation has the
//! `resourceVersion` that the decision was based on as its precondition, so of two concurrent writers one
//! is rejected.

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

use super::LeaderElectionConfig;
use super::record::Record;
use crate::cluster::error::{Detail, Error};
use crate::cluster::params;

/// The shortest back-off after a failed request.
pub(super) const MIN_BACKOFF: Duration = Duration::from_millis(500);
/// The back-off after consecutive failed requests, and between attempts to watch.
pub(super) const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(MIN_BACKOFF)
    .with_max_delay(Duration::from_secs(5))
    .without_max_times()
    .with_jitter();

/// A client for one Lease.
#[derive(Clone, Debug)]
pub(super) struct LeaseClient {
    api: Api<Lease>,
    pub(super) config: LeaderElectionConfig,
}

impl LeaseClient {
    pub(super) fn new(client: Client, config: LeaderElectionConfig) -> Self {
        Self { api: Api::namespaced(client, &config.namespace), config }
    }

    /// Returns a stream of the Lease at each change and at each start of the watch; `None` if it does not
    /// exist. Never ends: a watch that breaks is restarted.
    pub(super) fn watch(&self) -> impl Stream<Item = Option<Record>> + Send + 'static {
        watch_object(self.api.clone(), &self.config.name)
            .backoff(ExponentialBackoff::from(BACKOFF))
            .filter_map(|event| {
                future::ready(match event {
                    Ok(lease) => Some(lease.map(Record::from)),
                    Err(error) => {
                        let error = Error::from(&error);
                        debug!(%error, "the watch of the lease broke");
                        None
                    }
                })
            })
    }

    pub(super) async fn read(&self, timeout: Duration) -> Result<Option<Record>, Error> {
        let lease = self.send(timeout, self.api.get_opt(&self.config.name)).await?;
        Ok(lease.map(Record::from))
    }

    /// Creates the lease held by this replica. Fails with `AlreadyExists` if another client came first, and
    /// with `NotFound` if its namespace does not exist.
    pub(super) async fn create(&self, now: MicroTime, timeout: Duration) -> Result<Record, Error> {
        let lease = Lease {
            metadata: ObjectMeta { name: Some(self.config.name.clone()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.config.identity.clone()),
                lease_duration_seconds: Some(whole_seconds(self.config.lease_duration)),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                lease_transitions: Some(0),
                ..LeaseSpec::default()
            }),
        };
        Ok(self.send(timeout, self.api.create(&params::create(), &lease)).await?.into())
    }

    /// Makes this replica the holder of a lease that is free.
    pub(super) async fn acquire(
        &self,
        resource_version: &str,
        transitions: i32,
        now: MicroTime,
        timeout: Duration,
    ) -> Result<Record, Error> {
        let spec = json!({
            "holderIdentity": self.config.identity,
            "leaseDurationSeconds": whole_seconds(self.config.lease_duration),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        });
        self.write(resource_version, spec, timeout).await
    }

    /// Renews a lease held by this replica.
    pub(super) async fn renew(
        &self,
        resource_version: &str,
        now: MicroTime,
        timeout: Duration,
    ) -> Result<Record, Error> {
        // The duration as well: if it was edited, other replicas would count to another expiry.
        let spec =
            json!({ "renewTime": now, "leaseDurationSeconds": whole_seconds(self.config.lease_duration) });
        self.write(resource_version, spec, timeout).await
    }

    /// Removes this replica as the holder, so that no other has to wait for the expiry.
    pub(super) async fn vacate(
        &self,
        resource_version: &str,
        now: MicroTime,
        timeout: Duration,
    ) -> Result<Record, Error> {
        // `null` removes a field in a merge patch.
        self.write(resource_version, json!({ "holderIdentity": null, "renewTime": now }), timeout).await
    }

    async fn write(&self, resource_version: &str, spec: Value, timeout: Duration) -> Result<Record, Error> {
        let patch =
            Patch::Merge(json!({ "metadata": { "resourceVersion": resource_version }, "spec": spec }));
        Ok(self.send(timeout, self.api.patch(&self.config.name, &params::patch(), &patch)).await?.into())
    }

    /// Sends one request with a timeout; if the namespace may be the wrong one, the error names the fix.
    async fn send<T>(
        &self,
        timeout: Duration,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        let namespace = &self.config.namespace;
        with_timeout(timeout, request).await.map_err(|error| match error {
            Error::NotFound(_) if error.resource() == Some("namespaces") => error.with_fix(format!(
                "Create the namespace of the lease (`kubectl create namespace {namespace}`), or set --namespace"
            )),
            // A client without the rights gets the same answer for a namespace that does not exist.
            Error::Forbidden(_) => error.with_fix(format!(
                "Create the Role and the RoleBinding of the lease in the namespace {namespace}, or set --namespace to theirs"
            )),
            error => error,
        })
    }
}

/// Rounds a duration up to seconds: others may wait longer than this replica leads, never shorter.
fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(0 < duration.subsec_nanos());
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// Waits for one request until the timeout.
async fn with_timeout<T>(
    timeout: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(timeout, request).await {
        Ok(answer) => answer.map_err(|error| Error::from(&error)),
        Err(_) => {
            let detail = format!("no answer within {} ms", timeout.as_millis());
            Err(Error::Unavailable(Detail::from_own_words(detail)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    use crate::cluster::error::ErrorReason;
    use crate::cluster::script::{Exchange, conflict, exchange, play, refused};
    use crate::leader_election::tests::{CREATE, READ, WRITE};

    const LIST: &str = "GET /apis/coordination.k8s.io/v1/namespaces/regcred-system/leases?&fieldSelector=metadata.name%3Dregcred&limit=500";
    const TIMEOUT: Duration = Duration::from_secs(1);
    const NOW: &str = "2026-11-24T06:00:00.000001Z";

    fn now() -> MicroTime {
        MicroTime(NOW.parse().expect("a time"))
    }

    fn lease() -> Value {
        json!({"metadata": {"name": "regcred", "resourceVersion": "8"}, "spec": {"holderIdentity": "me"}})
    }

    /// Plays one exchange to one request; returns its outcome and the body it sent.
    async fn check<T>(script: Exchange, act: impl AsyncFnOnce(LeaseClient) -> T) -> (T, Value) {
        let (outcome, mut sent) = play(vec![script], async |client| {
            act(LeaseClient::new(client, LeaderElectionConfig::example())).await
        })
        .await;
        (outcome, sent.remove(0))
    }

    #[tokio::test]
    async fn creation_makes_this_replica_the_holder() {
        let (outcome, sent) =
            check(exchange(CREATE, 201, lease()), async |client| client.create(now(), TIMEOUT).await).await;
        assert_eq!(outcome.map(|record| record.resource_version), Ok("8".to_owned()));
        let spec = json!({
            "holderIdentity": "me", "leaseDurationSeconds": 20, "acquireTime": NOW, "renewTime": NOW, "leaseTransitions": 0,
        });
        assert_eq!((&sent["spec"], &sent["metadata"]), (&spec, &json!({"name": "regcred"})));
    }

    #[tokio::test]
    async fn second_creation_fails_with_already_exists() {
        let script = refused(CREATE, 409, "AlreadyExists");
        let (outcome, _) = check(script, async |client| client.create(now(), TIMEOUT).await).await;
        assert_eq!(outcome.unwrap_err().reason(), ErrorReason::AlreadyExists);
    }

    /// The error of a creation that is rejected with a status about `kind`.
    async fn creation_error(code: u16, kind: &str, message: &str) -> String {
        let details = json!({"kind": kind, "name": "regcred-system"});
        let status = json!({"kind": "Status", "status": "Failure", "code": code, "message": message, "details": details});
        let script = exchange(CREATE, code, status);
        check(script, async |client| client.create(now(), TIMEOUT).await).await.0.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn missing_namespace_is_named_with_the_fix() {
        insta::assert_snapshot!(creation_error(404, "namespaces", "hunter2").await, @r#"not found: namespaces "regcred-system". Create the namespace of the lease (`kubectl create namespace regcred-system`), or set --namespace"#);
        assert_eq!(creation_error(404, "", "hunter2").await, "not found: HTTP status 404");
    }

    #[tokio::test]
    async fn forbidden_request_names_the_missing_rbac() {
        const FIX: &str = "Create the Role and the RoleBinding of the lease in the namespace regcred-system, or set --namespace to theirs";
        let message = r#"User "x" cannot create resource "leases" in API group "coordination.k8s.io""#;
        let expect = format!("no right to create leases \"regcred-system\". {FIX}");
        assert_eq!(creation_error(403, "leases", message).await, expect);
        let script = refused(READ, 403, "Forbidden");
        let (outcome, _) = check(script, async |client| client.read(TIMEOUT).await).await;
        let expect = format!("access to the object is denied (403 Forbidden). {FIX}");
        assert_eq!(outcome.map_err(|error| error.to_string()), Err(expect));
    }

    #[tokio::test]
    async fn missing_lease_is_none() {
        let script = refused(READ, 404, "NotFound");
        let (outcome, _) = check(script, async |client| client.read(TIMEOUT).await).await;
        assert_eq!(outcome, Ok(None));
    }

    #[tokio::test]
    async fn acquisition_requires_the_observed_version() {
        let (_, sent) =
            check(exchange(WRITE, 200, lease()), async |client| client.acquire("7", 3, now(), TIMEOUT).await)
                .await;
        let spec = json!({
            "holderIdentity": "me", "leaseDurationSeconds": 20, "acquireTime": NOW, "renewTime": NOW, "leaseTransitions": 3,
        });
        assert_eq!(sent, json!({"metadata": {"resourceVersion": "7"}, "spec": spec}));
    }

    #[tokio::test]
    async fn renewal_keeps_holder_and_acquire_time() {
        let (_, sent) =
            check(exchange(WRITE, 200, lease()), async |client| client.renew("7", now(), TIMEOUT).await)
                .await;
        let spec = json!({"renewTime": NOW, "leaseDurationSeconds": 20});
        assert_eq!(sent, json!({"metadata": {"resourceVersion": "7"}, "spec": spec}));
    }

    #[tokio::test]
    async fn vacating_requires_the_observed_version() {
        let (_, sent) =
            check(exchange(WRITE, 200, lease()), async |client| client.vacate("7", now(), TIMEOUT).await)
                .await;
        let spec = json!({"holderIdentity": null, "renewTime": NOW});
        assert_eq!(sent, json!({"metadata": {"resourceVersion": "7"}, "spec": spec}));
    }

    #[tokio::test]
    async fn write_after_another_writer_fails_with_changed() {
        let (outcome, _) =
            check(conflict(WRITE), async |client| client.renew("7", now(), TIMEOUT).await).await;
        assert_eq!(outcome.unwrap_err().reason(), ErrorReason::Changed);
    }

    #[tokio::test(start_paused = true)]
    async fn request_without_answer_times_out() {
        let answer = with_timeout(TIMEOUT, std::future::pending::<kube::Result<()>>()).await;
        assert_eq!(
            answer,
            Err(Error::Unavailable(Detail::from_own_words("no answer within 1000 ms".to_owned())))
        );
    }

    #[test]
    fn fraction_of_a_second_is_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_secs(3)), 3);
        assert_eq!(whole_seconds(Duration::from_millis(3001)), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn watch_that_cannot_start_retries_without_a_hot_loop() {
        let mut script: Vec<_> = (0..8).map(|_| refused(LIST, 503, "ServiceUnavailable")).collect();
        let list = json!({"metadata": {"resourceVersion": "9"}, "items": [lease()]});
        script.push(exchange(LIST, 200, list));
        let start = Instant::now();
        let (record, _) = play(script, async |client| {
            let records = LeaseClient::new(client, LeaderElectionConfig::example()).watch();
            std::pin::pin!(records).next().await
        })
        .await;
        assert_eq!(record.flatten().map(|record| record.resource_version), Some("8".to_owned()));
        assert!(Duration::from_secs(15) < start.elapsed(), "{:?}", start.elapsed());
    }
}

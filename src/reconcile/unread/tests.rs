//! Runs against a Secret of which the list kept no bytes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::*;
use crate::cluster::ownership::owned_secrets::OwnedSecrets;
use crate::cluster::script::{Exchange, exchange, play, refused};
use crate::cluster::{Secret, SecretBody};
use crate::provider::stores::Values;
use crate::reconcile::claims::{Claims, Others};
use crate::reconcile::desired_secret::{DesiredSecret, KnownValues};
use crate::reconcile::fixture::{self, cluster_pull_secret, recorded, service_account, values};
use crate::reconcile::progress::Monitor;
use crate::reconcile::version_order::KeyOrder;
use crate::reconcile::{apply, resolve};
use crate::report::Report;

const GET: &str = "GET /api/v1/namespaces/web/secrets/regcred";
const PATCH: &str = "PATCH /api/v1/namespaces/web/secrets/regcred?&fieldManager=regcred";

/// `(host, version, password)` of each entry, or of each read, which failed without a password.
type TestEntries<'a> = &'a [(&'a str, &'a str, &'a str)];

/// A Secret as it is in the cluster, and as a list keeps it that has no room for its bytes.
fn whole_and_listed(held: TestEntries<'_>) -> (Secret, Secret) {
    let whole = Secret { uid: "u".into(), ..fixture::secret("1", held) };
    let body = whole.body.clone().map(|body| SecretBody { docker_config: None, is_dropped: true, ..body });
    let listed = Secret { body, ..whole.clone() };
    (whole, listed)
}

/// The response to a request for a Secret.
fn response(secret: &Secret) -> Value {
    let bytes = secret.body.as_ref().and_then(|body| body.docker_config.as_ref()).expect("bytes");
    json!({
        "metadata": {
            "name": "regcred", "namespace": "web", "uid": "u", "resourceVersion": "1",
            "labels": {"app.kubernetes.io/managed-by": "regcred", "regcred.dev/pull-secret": "images"},
            "annotations": {"regcred.dev/versions": secret.versions.as_deref()},
        },
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": BASE64_STANDARD.encode(bytes.expose_secret())},
    })
}

/// Runs against a namespace `web` with this Secret; returns its report and the bodies that were sent.
async fn run(
    read: TestEntries<'_>,
    listed: Secret,
    dry_run: bool,
    script: Vec<Exchange>,
) -> (Report, Vec<Value>) {
    let hosts: Vec<_> = read.iter().map(|(host, ..)| *host).collect();
    let images = Arc::new(cluster_pull_secret("images", &hosts));
    let desired = [DesiredSecret::new(resolve::resolve(&images, &values(read)), &recorded("images", &[]))];
    let web = fixture::namespace(Some(listed), service_account(&["regcred"], &["regcred"]));
    let cluster = fixture::cluster(vec![("web", web)]);
    let no_values = Values::default();
    let known = KnownValues { values: &no_values, recorded: None, order: &|_| KeyOrder::default() };
    let claims = Claims::new(std::slice::from_ref(&images), Others::Unknown);
    let planner = Planner::new(&claims, &desired, &known, &cluster, None);
    let plan = planner.plan(&cluster);
    play(script, async |client| {
        let unread = Unread::new(&client, &planner, &plan, cluster);
        if dry_run {
            return apply::dry_run(plan, 1, &unread).await;
        }
        let monitor = Monitor { on_progress: &|_| {}, stop: &AtomicBool::new(false) };
        apply::apply(&client, plan, 1, &monitor, &unread, &mut OwnedSecrets::default()).await
    })
    .await
}

/// `result reason: message` of the only namespace.
fn line(report: &Report) -> String {
    let [web] = &report.cluster_pull_secrets[0].namespaces[..] else { panic!("one namespace") };
    let reason = web.reason.map_or("-", crate::report::TargetReason::as_str);
    format!("{} {reason}: {}", web.result, web.message.as_deref().unwrap_or("-"))
}

/// quay.io cannot be read.
const ONE_FAILS: TestEntries<'_> = &[("ghcr.io", "2", "new"), ("quay.io", "1", "")];

#[tokio::test]
async fn secret_without_bytes_is_read_before_it_is_judged() {
    for (held, expect) in [("pw", "unchanged -: -"), ("other", "updated -: -")] {
        let (whole, listed) = whole_and_listed(&[("ghcr.io", "1", held)]);
        let script = vec![exchange(GET, 200, response(&whole))];
        let (report, _) = run(&[("ghcr.io", "1", "pw")], listed, true, script).await;
        assert_eq!(line(&report), expect);
    }
}

#[tokio::test]
async fn entry_of_a_failed_registry_is_kept_from_an_unread_secret() {
    let (whole, listed) = whole_and_listed(&[("ghcr.io", "1", "old"), ("quay.io", "1", "kept")]);
    let written =
        json!({"metadata": {"name": "regcred", "namespace": "web", "uid": "u", "resourceVersion": "2"}});
    let script = vec![exchange(GET, 200, response(&whole)), exchange(PATCH, 200, written)];
    let (report, bodies) = run(ONE_FAILS, listed.clone(), false, script).await;
    assert_eq!(line(&report), "updated -: -");
    let (expect, _) = whole_and_listed(&[("ghcr.io", "2", "new"), ("quay.io", "1", "kept")]);
    assert_eq!(bodies[1]["data"], response(&expect)["data"]);
    // A dry run compares as well.
    let script = vec![exchange(GET, 200, response(&whole))];
    let (report, _) = run(ONE_FAILS, listed, true, script).await;
    assert_eq!(line(&report), "updated -: -");
    assert!(!report.cluster_pull_secrets[0].namespaces[0].changes.is_empty());
}

#[tokio::test]
async fn unread_secret_in_sync_is_compared_and_not_written() {
    let (whole, listed) = whole_and_listed(&[("ghcr.io", "2", "new"), ("quay.io", "1", "kept")]);
    for dry_run in [false, true] {
        let script = vec![exchange(GET, 200, response(&whole))];
        let (report, _) = run(ONE_FAILS, listed.clone(), dry_run, script).await;
        assert_eq!(line(&report), "unchanged -: -");
    }
}

#[tokio::test]
async fn secret_that_cannot_be_read_is_a_failure_with_its_fix() {
    let (_, listed) = whole_and_listed(&[("ghcr.io", "1", "old"), ("quay.io", "1", "kept")]);
    for dry_run in [false, true] {
        let script = vec![refused(GET, 403, "Forbidden")];
        let (report, _) = run(ONE_FAILS, listed.clone(), dry_run, script).await;
        assert!(!report.in_sync, "{report}");
        let line = line(&report);
        assert!(
            line.starts_with("failed Forbidden: cannot read Secret regcred, so it was not compared:"),
            "{line}"
        );
        let script = vec![refused(GET, 500, "InternalError")];
        let (report, _) = run(ONE_FAILS, listed.clone(), dry_run, script).await;
        let line = self::line(&report);
        assert!(line.starts_with("failed Unavailable: cannot read Secret regcred"), "{line}");
        assert!(line.ends_with(". Run again"), "{line}");
    }
}

#[tokio::test]
async fn unread_secret_that_is_gone_is_created() {
    let (_, listed) = whole_and_listed(&[("ghcr.io", "1", "old"), ("quay.io", "1", "kept")]);
    let script = vec![refused(GET, 404, "NotFound")];
    let (report, _) = run(ONE_FAILS, listed, true, script).await;
    assert_eq!(line(&report), "created -: -");
}

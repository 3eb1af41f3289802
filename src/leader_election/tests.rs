//! An elector against an API server that the test plays, under a paused clock.

use serde_json::{Value, json};

use super::*;
use crate::provider::without_tracing::tests::Log;

mod setup;

use setup::{Harness, lease};

pub(super) const CREATE: &str =
    "POST /apis/coordination.k8s.io/v1/namespaces/regcred-system/leases?&fieldManager=regcred";
pub(super) const READ: &str = "GET /apis/coordination.k8s.io/v1/namespaces/regcred-system/leases/regcred";
pub(super) const WRITE: &str =
    "PATCH /apis/coordination.k8s.io/v1/namespaces/regcred-system/leases/regcred?&fieldManager=regcred";

impl LeaderElectionConfig {
    /// A configuration for tests.
    pub(super) fn example() -> Self {
        Self {
            namespace: "regcred-system".to_owned(),
            name: "regcred".to_owned(),
            identity: "me".to_owned(),
            lease_duration: Duration::from_secs(20),
        }
    }
}

/// Returns true if `at` is at most a conflict back-off after `milliseconds`.
fn is_soon_after(milliseconds: u64, at: u64) -> bool {
    (milliseconds..milliseconds + 30).contains(&at)
}

fn lost(loss: Loss, cause: Option<Error>) -> Result<(), Lost> {
    Err(Lost { lease: "regcred-system/regcred".to_owned(), loss, cause })
}

#[tokio::test(start_paused = true)]
async fn creator_leads_and_renews_at_half_of_the_duration() {
    let mut harness = Harness::leading().await;
    assert!(harness.leadership.is_current());
    for renewal in 1..=5 {
        let request = harness.next_request(WRITE).await;
        assert_eq!(
            (request.at, request.version()),
            (u64::from(renewal) * 10_000, renewal.to_string().as_str())
        );
        harness.grant(request, renewal + 1);
    }
    assert!(harness.leadership.is_current());
}

#[tokio::test(start_paused = true)]
async fn second_creator_reads_and_follows() {
    let mut harness = Harness::new();
    harness.next_request(READ).await.reject(404, "NotFound");
    harness.next_request(CREATE).await.reject(409, "AlreadyExists");
    let request = harness.next_request(READ).await;
    assert!(request.at < 100);
    request.answer(200, &lease("other", 1));
    harness.expect_silence_until(19_900).await;
    assert!(!*harness.leading.borrow() && !harness.leadership.is_current());
}

#[tokio::test(start_paused = true)]
async fn follower_sends_nothing_while_the_holder_renews() {
    let mut harness = Harness::following().await;
    for renewal in 1..10 {
        harness.expect_silence_until(u64::from(renewal) * 10_000).await;
        harness.send_watch_event(&lease("other", renewal + 1));
    }
    harness.expect_silence_until(109_900).await;
    // The last renewal was observed at second 90.
    let request = harness.next_request(WRITE).await;
    assert_eq!((request.at, request.version()), (110_000, "10"));
    harness.grant(request, 11);
    harness.leading.wait_for(|leads| *leads).await.expect("a running election");
}

#[tokio::test(start_paused = true)]
async fn vacated_lease_is_acquired_on_the_watch_event() {
    let mut harness = Harness::following().await;
    harness.expect_silence_until(5000).await;
    harness.send_watch_event(&lease("", 2));
    let request = harness.next_request(WRITE).await;
    assert_eq!((request.at, request.version()), (5000, "2"));
    assert_eq!(request.body["spec"]["holderIdentity"], "me");
}

#[tokio::test(start_paused = true)]
async fn second_acquirer_reads_and_follows() {
    let mut harness = Harness::following().await;
    harness.next_request(WRITE).await.reject(409, "Conflict");
    let request = harness.next_request(READ).await;
    assert!(is_soon_after(20_000, request.at), "{}", request.at);
    request.answer(200, &lease("third", 2));
    harness.expect_silence_until(39_900).await;
}

#[tokio::test(start_paused = true)]
async fn repeated_failure_is_logged_once_and_its_end() {
    let (log, _guard) = Log::capture();
    let mut harness = Harness::leading().await;
    for _ in 0..3 {
        harness.next_request(WRITE).await.reject(503, "ServiceUnavailable");
    }
    harness.next_request(WRITE).await.reject(403, "Forbidden");
    let request = harness.next_request(WRITE).await;
    harness.grant(request, 2);
    harness.expect_silence_until(20_000).await;
    let text = log.text();
    let lines = ["cannot read or write the lease, retrying: ", "reading and writing the lease again"];
    assert_eq!(lines.map(|line| text.matches(line).count()), [2, 1], "{text}");
}

#[tokio::test(start_paused = true)]
async fn renewal_is_retried_while_the_lease_lasts() {
    let mut harness = Harness::leading().await;
    let request = harness.next_request(WRITE).await;
    assert_eq!(request.at, 10_000);
    request.reject(503, "ServiceUnavailable");
    let request = harness.next_request(WRITE).await;
    assert!((10_500..=11_000).contains(&request.at), "{}", request.at);
    request.reject(500, "InternalError");
    let request = harness.next_request(WRITE).await;
    assert!(request.at < 13_100, "{}", request.at);
    let at = request.at;
    harness.grant(request, 2);
    // The next expiry is counted from the renewal, and the back-off starts over.
    let request = harness.next_request(WRITE).await;
    assert!(is_soon_after(at + 10_000, request.at), "{}", request.at);
    request.reject(503, "ServiceUnavailable");
    let request = harness.next_request(WRITE).await;
    assert!(request.at <= at + 11_000, "{}", request.at);
}

#[tokio::test(start_paused = true)]
async fn leadership_without_an_answer_ends_at_expiry() {
    let mut harness = Harness::leading().await;
    let mut requests = Vec::new();
    while let Some(request) = harness.try_next_request(WRITE).await {
        requests.push(request);
    }
    assert!((4..12).contains(&requests.len()), "{} attempts", requests.len());
    assert!(requests.iter().all(|request| (10_000..20_000).contains(&request.at)));
    let (outcome, at) = harness.end().await;
    let Err(Lost { loss: Loss::Expired, cause: Some(Error::Unavailable(_)), .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(at, 20_000);
}

#[tokio::test(start_paused = true)]
async fn rejected_renewals_make_no_hot_loop() {
    let mut harness = Harness::leading().await;
    let mut attempts = 0;
    while let Some(request) = harness.try_next_request(WRITE).await {
        request.reject(403, "Forbidden");
        attempts += 1;
    }
    assert!((5..=12).contains(&attempts), "{attempts} attempts");
    let (outcome, at) = harness.end().await;
    let Err(Lost { loss: Loss::Expired, cause: Some(Error::Forbidden(_)), .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(at, 20_000);
}

#[tokio::test(start_paused = true)]
async fn unreadable_lease_is_retried_with_backoff() {
    let mut harness = Harness::new();
    for _ in 0..20 {
        harness.next_request(READ).await.reject(503, "ServiceUnavailable");
    }
    let seconds = harness.start.elapsed().as_secs();
    assert!((60..200).contains(&seconds), "{seconds} s");
    harness.next_request(READ).await.answer(200, &lease("", 1));
    let request = harness.next_request(WRITE).await;
    harness.grant(request, 2);
    harness.leading.wait_for(|leads| *leads).await.expect("a running election");
}

#[tokio::test(start_paused = true)]
async fn missing_namespace_backs_off_as_a_failure() {
    let mut harness = Harness::new();
    harness.next_request(READ).await.reject(404, "NotFound");
    harness.next_request(CREATE).await.reject(404, "NotFound");
    assert!(500 <= harness.next_request(READ).await.at);
}

#[tokio::test(start_paused = true)]
async fn lease_deleted_before_its_renewal_is_lost() {
    let mut harness = Harness::leading().await;
    harness.next_request(WRITE).await.reject(404, "NotFound");
    harness.next_request(READ).await.reject(404, "NotFound");
    let outcome = harness.end().await.0;
    assert_eq!(outcome, lost(Loss::Deleted, None));
}

#[tokio::test(start_paused = true)]
async fn endless_conflicts_make_no_hot_loop() {
    let mut harness = Harness::new();
    for version in 0..20 {
        harness.next_request(READ).await.answer(200, &lease("", version));
        harness.next_request(WRITE).await.reject(409, "Conflict");
    }
    assert!(Duration::from_secs(8) < harness.start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn annotation_by_a_third_party_keeps_the_holder() {
    let mut harness = Harness::leading().await;
    harness.lease["metadata"]["resourceVersion"] = json!("7");
    harness.send_watch_event(&harness.lease);
    harness.next_request(WRITE).await.reject(409, "Conflict");
    harness.next_request(READ).await.answer(200, &harness.lease);
    let request = harness.next_request(WRITE).await;
    assert!(is_soon_after(10_000, request.at), "{}", request.at);
    assert_eq!(request.version(), "7");
    harness.grant(request, 8);
    let request = harness.next_request(WRITE).await;
    assert!(is_soon_after(20_000, request.at), "{}", request.at);
    assert!(*harness.leading.borrow() && harness.leadership.is_current());
}

#[tokio::test(start_paused = true)]
async fn holder_that_reads_another_holder_has_lost() {
    let mut harness = Harness::leading().await;
    harness.next_request(WRITE).await.reject(409, "Conflict");
    harness.next_request(READ).await.answer(200, &lease("thief", 7));
    let (outcome, at) = harness.end().await;
    assert_eq!(outcome, lost(Loss::Taken("thief".to_owned()), None));
    assert!(is_soon_after(10_000, at), "{at}");
}

#[tokio::test(start_paused = true)]
async fn holder_that_watches_another_holder_reads_and_loses() {
    let mut harness = Harness::leading().await;
    harness.expect_silence_until(3000).await;
    harness.send_watch_event(&lease("thief", 7));
    harness.next_request(READ).await.answer(200, &lease("thief", 7));
    let (outcome, at) = harness.end().await;
    assert_eq!((outcome, at), (lost(Loss::Taken("thief".to_owned()), None), 3000));
}

#[tokio::test(start_paused = true)]
async fn process_suspended_past_expiry_has_lost() {
    let harness = Harness::leading().await;
    tokio::time::advance(Duration::from_mins(1)).await;
    assert!(!harness.leadership.is_current());
    let (outcome, _) = harness.end().await;
    assert_eq!(outcome, lost(Loss::Expired, None));
}

#[tokio::test(start_paused = true)]
async fn renewal_counts_from_before_it_was_sent() {
    let mut harness = Harness::leading().await;
    let request = harness.next_request(WRITE).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    harness.grant(request, 2);
    assert_eq!(harness.next_request(WRITE).await.at, 20_000);
}

#[tokio::test(start_paused = true)]
async fn release_stops_writes_and_then_vacates() {
    let mut harness = Harness::leading().await;
    harness.expect_silence_until(5000).await;
    harness.release();
    let request = harness.next_request(WRITE).await;
    assert!(!harness.leadership.is_current() && !*harness.leading.borrow());
    assert_eq!((request.at, request.version()), (5000, "1"));
    assert_eq!(request.body["spec"]["holderIdentity"], Value::Null);
    harness.grant(request, 2);
    assert_eq!(harness.end().await, (Ok(()), 5000));
}

#[tokio::test(start_paused = true)]
async fn dropped_release_vacates() {
    let mut harness = Harness::leading().await;
    drop(harness.release.take());
    let request = harness.next_request(WRITE).await;
    harness.grant(request, 2);
    assert_eq!(harness.end().await, (Ok(()), 0));
}

#[tokio::test(start_paused = true)]
async fn follower_releases_without_a_request() {
    let mut harness = Harness::following().await;
    harness.expect_silence_until(5000).await;
    harness.release();
    assert_eq!(harness.end().await, (Ok(()), 5000));
}

#[tokio::test(start_paused = true)]
async fn annotated_lease_is_vacated_after_a_conflict() {
    let mut harness = Harness::leading().await;
    harness.release();
    harness.next_request(WRITE).await.reject(409, "Conflict");
    harness.lease["metadata"]["resourceVersion"] = json!("7");
    harness.next_request(READ).await.answer(200, &harness.lease);
    let request = harness.next_request(WRITE).await;
    assert_eq!(request.version(), "7");
    harness.grant(request, 8);
    assert_eq!(harness.end().await.0, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn lease_held_by_another_is_not_vacated() {
    let mut harness = Harness::leading().await;
    harness.release();
    harness.next_request(WRITE).await.reject(409, "Conflict");
    harness.next_request(READ).await.answer(200, &lease("other", 7));
    assert_eq!(harness.end().await.0, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn unavailable_api_server_does_not_block_the_release() {
    let mut harness = Harness::leading().await;
    harness.release();
    let mut requests = Vec::new();
    while let Some(request) = harness.server.next_request().await {
        requests.push(request);
    }
    assert!(1 < requests.len());
    assert_eq!(harness.end().await, (Ok(()), 3000));
}

#[test]
fn loss_is_reported_in_one_line() {
    for (loss, expect) in [
        (Loss::Expired, "it expired before it was renewed"),
        (Loss::Taken("b".to_owned()), "b holds it now"),
        (Loss::DuplicateIdentity("b".to_owned()), "another process with the identity b holds it now"),
    ] {
        let error = lost(loss, None).unwrap_err().to_string();
        assert_eq!(error, format!("lost the lease regcred-system/regcred: {expect}"));
    }
}

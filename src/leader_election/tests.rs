//! A candidate against an API server that the test plays, under a paused clock.

use serde_json::{Value, json};

use super::*;

mod setup;

use setup::{Stage, lease};

pub(super) const CREATE: &str =
    "POST /apis/coordination.k8s.io/v1/namespaces/regcred-system/leases?&fieldManager=regcred";
pub(super) const READ: &str = "GET /apis/coordination.k8s.io/v1/namespaces/regcred-system/leases/regcred";
pub(super) const WRITE: &str =
    "PATCH /apis/coordination.k8s.io/v1/namespaces/regcred-system/leases/regcred?&fieldManager=regcred";

impl Settings {
    /// Settings for tests.
    pub(super) fn example() -> Self {
        Self {
            namespace: "regcred-system".to_owned(),
            name: "regcred".to_owned(),
            holder: "me".to_owned(),
            duration: Duration::from_secs(20),
        }
    }
}

/// At once but for the pause after a conflict.
fn is_soon_after(milliseconds: u64, at: u64) -> bool {
    (milliseconds..milliseconds + 30).contains(&at)
}

fn lost(loss: Loss, cause: Option<Error>) -> Result<(), Lost> {
    Err(Lost { lease: "regcred-system/regcred".to_owned(), loss, cause })
}

#[tokio::test(start_paused = true)]
async fn who_creates_the_lease_leads_and_renews_it_at_each_half_of_the_duration() {
    let mut stage = Stage::leading().await;
    assert!(stage.term.is_current());
    for renewal in 1..=5 {
        let asked = stage.asked(WRITE).await;
        assert_eq!((asked.at, asked.version()), (u64::from(renewal) * 10_000, renewal.to_string().as_str()));
        stage.grant(asked, renewal + 1);
    }
    assert!(stage.term.is_current());
}

#[tokio::test(start_paused = true)]
async fn of_two_creators_the_second_reads_and_follows() {
    let mut stage = Stage::new();
    stage.asked(READ).await.refuse(404, "NotFound");
    stage.asked(CREATE).await.refuse(409, "AlreadyExists");
    let asked = stage.asked(READ).await;
    assert!(asked.at < 100);
    asked.answer(200, &lease("other", 1));
    stage.silence_until(19_900).await;
    assert!(!*stage.leading.borrow() && !stage.term.is_current());
}

#[tokio::test(start_paused = true)]
async fn a_follower_asks_nothing_while_the_holder_renews() {
    let mut stage = Stage::following().await;
    for renewal in 1..10 {
        stage.silence_until(u64::from(renewal) * 10_000).await;
        stage.tell(&lease("other", renewal + 1));
    }
    stage.silence_until(109_900).await;
    // The last was heard of at second 90.
    let asked = stage.asked(WRITE).await;
    assert_eq!((asked.at, asked.version()), (110_000, "10"));
    stage.grant(asked, 11);
    stage.leading.wait_for(|leads| *leads).await.expect("a campaign");
}

#[tokio::test(start_paused = true)]
async fn a_vacated_lease_is_taken_when_the_watch_tells_of_it() {
    let mut stage = Stage::following().await;
    stage.silence_until(5000).await;
    stage.tell(&lease("", 2));
    let asked = stage.asked(WRITE).await;
    assert_eq!((asked.at, asked.version()), (5000, "2"));
    assert_eq!(asked.body["spec"]["holderIdentity"], "me");
}

#[tokio::test(start_paused = true)]
async fn of_two_takers_the_second_reads_and_follows() {
    let mut stage = Stage::following().await;
    stage.asked(WRITE).await.refuse(409, "Conflict");
    let asked = stage.asked(READ).await;
    assert!(is_soon_after(20_000, asked.at), "{}", asked.at);
    asked.answer(200, &lease("third", 2));
    stage.silence_until(39_900).await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_tried_again_while_the_term_lasts() {
    let mut stage = Stage::leading().await;
    let asked = stage.asked(WRITE).await;
    assert_eq!(asked.at, 10_000);
    asked.refuse(503, "ServiceUnavailable");
    let asked = stage.asked(WRITE).await;
    assert!((10_500..=11_000).contains(&asked.at), "{}", asked.at);
    asked.refuse(500, "InternalError");
    let asked = stage.asked(WRITE).await;
    assert!(asked.at < 13_100, "{}", asked.at);
    let at = asked.at;
    stage.grant(asked, 2);
    // The next term is counted from the renewal, and the pauses begin anew.
    let asked = stage.asked(WRITE).await;
    assert!(is_soon_after(at + 10_000, asked.at), "{}", asked.at);
    asked.refuse(503, "ServiceUnavailable");
    let asked = stage.asked(WRITE).await;
    assert!(asked.at <= at + 11_000, "{}", asked.at);
}

#[tokio::test(start_paused = true)]
async fn a_term_without_an_answer_ends_at_its_end() {
    let mut stage = Stage::leading().await;
    let mut requests = Vec::new();
    while let Some(asked) = stage.asked_at_all(WRITE).await {
        requests.push(asked);
    }
    assert!((4..12).contains(&requests.len()), "{} attempts", requests.len());
    assert!(requests.iter().all(|asked| (10_000..20_000).contains(&asked.at)));
    let (outcome, at) = stage.end().await;
    let Err(Lost { loss: Loss::Expired, cause: Some(Error::Unavailable(_)), .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(at, 20_000);
}

#[tokio::test(start_paused = true)]
async fn refused_renewals_make_no_hot_loop() {
    let mut stage = Stage::leading().await;
    let mut attempts = 0;
    while let Some(asked) = stage.asked_at_all(WRITE).await {
        asked.refuse(403, "Forbidden");
        attempts += 1;
    }
    assert!((5..=12).contains(&attempts), "{attempts} attempts");
    let (outcome, at) = stage.end().await;
    let Err(Lost { loss: Loss::Expired, cause: Some(Error::Forbidden(_)), .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(at, 20_000);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_read_is_tried_for_patiently() {
    let mut stage = Stage::new();
    for _ in 0..20 {
        stage.asked(READ).await.refuse(503, "ServiceUnavailable");
    }
    let seconds = stage.start.elapsed().as_secs();
    assert!((60..200).contains(&seconds), "{seconds} s");
    stage.asked(READ).await.answer(200, &lease("", 1));
    let asked = stage.asked(WRITE).await;
    stage.grant(asked, 2);
    stage.leading.wait_for(|leads| *leads).await.expect("a campaign");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_not_there_is_no_conflict() {
    let mut stage = Stage::new();
    stage.asked(READ).await.refuse(404, "NotFound");
    stage.asked(CREATE).await.refuse(404, "NotFound");
    assert!(500 <= stage.asked(READ).await.at);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_gone_at_its_renewal_is_lost() {
    let mut stage = Stage::leading().await;
    stage.asked(WRITE).await.refuse(404, "NotFound");
    stage.asked(READ).await.refuse(404, "NotFound");
    let outcome = stage.end().await.0;
    assert_eq!(outcome, lost(Loss::Deleted, None));
}

#[tokio::test(start_paused = true)]
async fn conflicts_without_end_make_no_hot_loop() {
    let mut stage = Stage::new();
    for version in 0..20 {
        stage.asked(READ).await.answer(200, &lease("", version));
        stage.asked(WRITE).await.refuse(409, "Conflict");
    }
    assert!(Duration::from_secs(8) < stage.start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_third_party_that_annotates_the_lease_does_not_unseat_its_holder() {
    let mut stage = Stage::leading().await;
    stage.lease["metadata"]["resourceVersion"] = json!("7");
    stage.tell(&stage.lease);
    stage.asked(WRITE).await.refuse(409, "Conflict");
    stage.asked(READ).await.answer(200, &stage.lease);
    let asked = stage.asked(WRITE).await;
    assert!(is_soon_after(10_000, asked.at), "{}", asked.at);
    assert_eq!(asked.version(), "7");
    stage.grant(asked, 8);
    let asked = stage.asked(WRITE).await;
    assert!(is_soon_after(20_000, asked.at), "{}", asked.at);
    assert!(*stage.leading.borrow() && stage.term.is_current());
}

#[tokio::test(start_paused = true)]
async fn a_holder_who_reads_another_ones_name_has_lost() {
    let mut stage = Stage::leading().await;
    stage.asked(WRITE).await.refuse(409, "Conflict");
    stage.asked(READ).await.answer(200, &lease("thief", 7));
    let (outcome, at) = stage.end().await;
    assert_eq!(outcome, lost(Loss::Taken("thief".to_owned()), None));
    assert!(is_soon_after(10_000, at), "{at}");
}

#[tokio::test(start_paused = true)]
async fn a_holder_who_hears_another_ones_name_reads_and_has_lost() {
    let mut stage = Stage::leading().await;
    stage.silence_until(3000).await;
    stage.tell(&lease("thief", 7));
    stage.asked(READ).await.answer(200, &lease("thief", 7));
    let (outcome, at) = stage.end().await;
    assert_eq!((outcome, at), (lost(Loss::Taken("thief".to_owned()), None), 3000));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_past_its_term_has_lost() {
    let stage = Stage::leading().await;
    tokio::time::advance(Duration::from_mins(1)).await;
    assert!(!stage.term.is_current());
    let (outcome, _) = stage.end().await;
    assert_eq!(outcome, lost(Loss::Expired, None));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_counts_from_before_it_was_sent() {
    let mut stage = Stage::leading().await;
    let asked = stage.asked(WRITE).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.grant(asked, 2);
    assert_eq!(stage.asked(WRITE).await.at, 20_000);
}

#[tokio::test(start_paused = true)]
async fn who_retires_stops_writing_and_then_vacates() {
    let mut stage = Stage::leading().await;
    stage.silence_until(5000).await;
    stage.retire();
    let asked = stage.asked(WRITE).await;
    assert!(!stage.term.is_current() && !*stage.leading.borrow());
    assert_eq!((asked.at, asked.version()), (5000, "1"));
    assert_eq!(asked.body["spec"]["holderIdentity"], Value::Null);
    stage.grant(asked, 2);
    assert_eq!(stage.end().await, (Ok(()), 5000));
}

#[tokio::test(start_paused = true)]
async fn who_is_forgotten_retires() {
    let mut stage = Stage::leading().await;
    drop(stage.retire.take());
    let asked = stage.asked(WRITE).await;
    stage.grant(asked, 2);
    assert_eq!(stage.end().await, (Ok(()), 0));
}

#[tokio::test(start_paused = true)]
async fn a_follower_retires_without_a_request() {
    let mut stage = Stage::following().await;
    stage.silence_until(5000).await;
    stage.retire();
    assert_eq!(stage.end().await, (Ok(()), 5000));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_annotated_is_vacated_all_the_same() {
    let mut stage = Stage::leading().await;
    stage.retire();
    stage.asked(WRITE).await.refuse(409, "Conflict");
    stage.lease["metadata"]["resourceVersion"] = json!("7");
    stage.asked(READ).await.answer(200, &stage.lease);
    let asked = stage.asked(WRITE).await;
    assert_eq!(asked.version(), "7");
    stage.grant(asked, 8);
    assert_eq!(stage.end().await.0, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_ours_any_more_is_not_vacated() {
    let mut stage = Stage::leading().await;
    stage.retire();
    stage.asked(WRITE).await.refuse(409, "Conflict");
    stage.asked(READ).await.answer(200, &lease("other", 7));
    assert_eq!(stage.end().await.0, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_does_not_keep_anybody_from_retiring() {
    let mut stage = Stage::leading().await;
    stage.retire();
    let mut requests = Vec::new();
    while let Some(request) = stage.server.next_request().await {
        requests.push(request);
    }
    assert!(1 < requests.len());
    assert_eq!(stage.end().await, (Ok(()), 3000));
}

#[test]
fn what_was_lost_is_told_in_one_line() {
    let tell = |loss| lost(loss, None).unwrap_err().to_string();
    assert_eq!(
        tell(Loss::Expired),
        "lost the lease regcred-system/regcred: its term ended before it was renewed"
    );
    assert_eq!(tell(Loss::Taken("b".to_owned())), "lost the lease regcred-system/regcred: b holds it now");
    assert_eq!(
        tell(Loss::Namesake("b".to_owned())),
        "lost the lease regcred-system/regcred: another process called b holds it now; give each replica an identity of its own"
    );
}

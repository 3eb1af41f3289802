//! Leadership against a real API server: one replica leads, the next one takes over, never two at once.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports, in its helpers too")]

mod cable;
mod election;

use std::time::Duration;

use regcred::cluster::error::Error;
use regcred::leader_election::{Loss, Lost};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cluster::until;
use cable::Cable;
use election::{Election, Replica, witness};

#[tokio::test]
async fn one_of_two_leads_and_a_vacated_lease_is_taken_at_once() {
    let election = Election::new("lease-vacate").await;
    // No term of this length ends within the test.
    let (mut a, mut b) = (election.run("a", 600), election.run("b", 600));
    let witness = witness(&[&a, &b]);
    until(async || a.leads() || b.leads()).await;
    if b.leads() {
        std::mem::swap(&mut a, &mut b);
    }
    assert!(a.leads() && !b.leads());
    assert_eq!(a.writes().await, Ok(()));
    assert_eq!(b.writes().await, Err(Error::NotLeading));

    let first = election.lease().await;
    let retired = Instant::now();
    a.retires().await;
    b.wins().await;
    let vacancy = retired.elapsed();
    assert!(vacancy < Duration::from_secs(2), "{vacancy:?}");
    assert_eq!(b.writes().await, Ok(()));
    let second = election.lease().await;
    assert_ne!(first["spec"]["holderIdentity"], second["spec"]["holderIdentity"]);
    assert_eq!(second["spec"]["leaseTransitions"], 1);
    assert!(!witness.is_finished(), "two led at once");

    b.retires().await;
    assert_eq!(election.lease().await["spec"].get("holderIdentity"), None);
}

#[tokio::test]
async fn the_lease_of_a_killed_leader_is_taken_when_its_term_is_over() {
    let election = Election::new("lease-killed").await;
    let mut a = election.run("a", 3);
    a.wins().await;
    let mut b = election.run("b", 3);
    let witness = witness(&[&a, &b]);
    // Some renewals later, so that it is not the first sight of the lease that counts.
    let renewed = async |version: &str| election.lease().await["metadata"]["resourceVersion"] != version;
    for _ in 0..2 {
        let version = election.lease().await["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        until(async || renewed(&version).await).await;
    }
    assert!(!b.leads());
    let killed = Instant::now();
    a.campaign.task.abort();
    b.wins().await;
    let vacancy = killed.elapsed();
    assert!(!a.term.is_current());
    assert!(vacancy < Duration::from_secs(4), "{vacancy:?}");
    assert!(!witness.is_finished(), "two led at once");
}

#[tokio::test]
async fn a_leader_that_is_started_again_under_its_name_leads_at_once() {
    let election = Election::new("lease-again").await;
    let mut a = election.run("a", 600);
    a.wins().await;
    a.campaign.task.abort();
    let killed = Instant::now();
    let mut again = election.run("a", 600);
    again.wins().await;
    assert!(killed.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn two_replicas_of_one_name_do_not_lead_together() {
    let election = Election::new("lease-namesake").await;
    let mut a = election.run("a", 600);
    a.wins().await;
    let mut namesake = election.run("a", 600);
    namesake.wins().await;
    a.loses().await;
    let Lost { loss, .. } = a.campaign.task.await.unwrap().unwrap_err();
    assert_eq!(loss, Loss::Namesake("a".to_owned()));
}

#[tokio::test]
async fn at_rest_a_leader_writes_once_in_half_a_term_and_a_follower_asks_nothing() {
    let election = Election::new("lease-rest").await;
    let kube = &election.world.kube;
    let user = world::service_account_user(election.namespace, "default");
    let mut a = election.run("a", 3);
    a.wins().await;
    let b = election.run("b", 3);
    // A watch is logged at its end, the list before it at once.
    until(async || election.logged("list") == 2).await;

    let mark = kube.audit_mark().unwrap();
    let start = Instant::now();
    until(async || 4 <= kube.audit_events_by(&user, mark).unwrap().len()).await;
    let elapsed = start.elapsed();
    let requests: Vec<_> = kube.audit_events_by(&user, mark).unwrap();
    assert!(requests.iter().all(|it| it.verb == "patch" && it.code == 200), "{requests:?}");
    assert!(Duration::from_millis(4490) < elapsed, "{elapsed:?}");
    assert!(a.leads() && !b.leads());
}

#[tokio::test]
async fn a_third_party_that_annotates_the_lease_unseats_nobody() {
    let election = Election::new("lease-annotated").await;
    let mut a = election.run("a", 3);
    a.wins().await;
    let b = election.run("b", 3);
    let first = election.lease().await;
    // Before each renewal somebody writes, so that each is refused first.
    for n in 0..4 {
        let renewed = election.lease().await["spec"]["renewTime"].clone();
        election.meddle(&json!({"metadata": {"annotations": {"theirs": n.to_string()}}})).await;
        until(async || election.lease().await["spec"]["renewTime"] != renewed).await;
    }
    assert!(a.leads() && a.term.is_current() && !b.leads());
    let last = election.lease().await;
    for field in ["holderIdentity", "acquireTime", "leaseTransitions"] {
        assert_eq!(first["spec"][field], last["spec"][field], "{field}");
    }
}

#[tokio::test]
async fn a_leader_whose_lease_is_taken_away_ends_at_once() {
    let election = Election::new("lease-thief").await;
    let mut a = election.run("a", 600);
    a.wins().await;
    let mut b = election.run("b", 600);
    election.meddle(&json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3}})).await;
    let stolen = Instant::now();
    a.loses().await;
    assert!(stolen.elapsed() < Duration::from_secs(2), "{:?}", stolen.elapsed());
    assert_eq!(a.writes().await, Err(Error::NotLeading));
    let lost = a.campaign.task.await.unwrap().unwrap_err();
    assert_eq!(lost.to_string(), "lost the lease lease-thief/regcred: thief holds it now");
    // The thief is granted what it claims.
    b.wins().await;
    assert!(Duration::from_secs(3) <= stolen.elapsed(), "{:?}", stolen.elapsed());
}

#[tokio::test]
async fn a_deleted_lease_ends_the_leader_and_makes_another() {
    let election = Election::new("lease-deleted").await;
    let mut a = election.run("a", 600);
    a.wins().await;
    let mut b = election.run("b", 600);
    let path = "/apis/coordination.k8s.io/v1/namespaces/lease-deleted/leases/regcred";
    let witness = witness(&[&a, &b]);
    election.world.kube.delete(path).await.unwrap();
    a.loses().await;
    // Either saw the deletion, or that the other has it already.
    let Lost { loss, .. } = a.campaign.task.await.unwrap().unwrap_err();
    assert!([Loss::Deleted, Loss::Taken("b".to_owned())].contains(&loss), "{loss}");
    b.wins().await;
    drop(witness);
}

/// What SIGSTOP does, to one thread instead of a process: time passes and nothing of the replica runs.
#[tokio::test]
async fn a_leader_that_was_stopped_past_its_term_knows_at_its_first_instruction() {
    let election = Election::new("lease-stopped").await;
    let (config, settings) = (election.config.clone(), election.settings("a", 3));
    let (leads, a_leads) = oneshot::channel();
    let (go_on, stopped) = std::sync::mpsc::channel();
    let a = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut a = Replica::run(config, settings);
            a.wins().await;
            assert_eq!(a.writes().await, Ok(()));
            leads.send(()).unwrap();
            // The only thread of this runtime stands still here.
            let () = stopped.recv().unwrap();
            assert!(!a.term.is_current());
            assert_eq!(a.writes().await, Err(Error::NotLeading));
            a.campaign.task.await.unwrap().unwrap_err().loss
        })
    });
    a_leads.await.unwrap();
    let mut b = election.run("b", 3);
    b.wins().await;
    go_on.send(()).unwrap();
    let loss = tokio::task::spawn_blocking(|| a.join().unwrap()).await.unwrap();
    assert_eq!(loss, Loss::Expired);
    assert!(b.leads() && b.term.is_current());
}

/// A replica at the end of a cable.
async fn wired(election: &Election, holder: &str, seconds: u64) -> (Replica, Cable) {
    let mut config = election.config.clone();
    let server = config.cluster_url.authority().unwrap().as_str().parse().unwrap();
    let cable = Cable::to(server).await;
    config.cluster_url = format!("https://{}", cable.address).parse().unwrap();
    (Replica::run(config, election.settings(holder, seconds)), cable)
}

#[tokio::test]
async fn a_leader_that_is_cut_off_gives_up_before_another_leads() {
    let election = Election::new("lease-cut").await;
    let (mut a, cable) = wired(&election, "a", 4).await;
    a.wins().await;
    let mut b = election.run("b", 4);
    let witness = witness(&[&a, &b]);
    cable.cut();
    let cut = Instant::now();
    a.loses().await;
    b.wins().await;
    assert!(!a.term.is_current());
    assert!(cut.elapsed() < Duration::from_secs(5), "{:?}", cut.elapsed());
    let lost = a.campaign.task.await.unwrap().unwrap_err();
    assert!(matches!(lost, Lost { loss: Loss::Expired, cause: Some(Error::Unavailable(_)), .. }), "{lost:?}");
    assert!(!witness.is_finished(), "two led at once");
}

#[tokio::test]
async fn an_api_server_that_is_away_for_less_than_a_term_unseats_nobody() {
    let election = Election::new("lease-blip").await;
    let (mut a, cable) = wired(&election, "a", 8).await;
    a.wins().await;
    let b = election.run("b", 8);
    let before = election.lease().await;
    cable.cut();
    let cut = Instant::now();
    // Until after the first renewal that failed.
    tokio::time::sleep_until(cut + Duration::from_secs(5)).await;
    assert_eq!(election.lease().await, before);
    cable.mend();
    until(async || election.lease().await["spec"]["renewTime"] != before["spec"]["renewTime"]).await;
    assert!(a.leads() && a.term.is_current() && !b.leads());
}

#[tokio::test]
async fn a_follower_outlives_the_loss_of_its_watch() {
    let election = Election::new("lease-watch").await;
    let mut a = election.run("a", 600);
    a.wins().await;
    let (mut b, cable) = wired(&election, "b", 600).await;
    // A watch is logged when it ends; one that had not begun yet at a cut ends with the next.
    let is_lost = async || 0 < election.logged("watch");
    while !is_lost().await {
        cable.cut();
        cable.mend();
        drop(tokio::time::timeout(Duration::from_secs(3), until(is_lost)).await);
    }
    let retired = Instant::now();
    a.retires().await;
    b.wins().await;
    assert!(retired.elapsed() < Duration::from_secs(10), "{:?}", retired.elapsed());
}

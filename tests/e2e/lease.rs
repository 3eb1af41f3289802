//! Leadership against a real API server: one replica leads, the next one takes over, never two at once.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports, in its helpers too")]

mod election;
mod frozen;
mod network;

use std::time::Duration;

use regcred::cluster::error::Error;
use regcred::leader_election::clock::Clock;
use regcred::leader_election::{Loss, Lost};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cluster::until;
use election::{Election, Replica, witness};
use network::NetworkLink;

#[tokio::test]
async fn one_of_two_leads_and_a_vacated_lease_is_acquired_at_once() {
    let election = Election::new("lease-vacate").await;
    // No lease of this duration expires within the test.
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
    let released = Instant::now();
    a.releases().await;
    b.wins().await;
    let vacancy = released.elapsed();
    assert!(vacancy < Duration::from_secs(2), "{vacancy:?}");
    assert_eq!(b.writes().await, Ok(()));
    let second = election.lease().await;
    assert_ne!(first["spec"]["holderIdentity"], second["spec"]["holderIdentity"]);
    assert_eq!(second["spec"]["leaseTransitions"], 1);
    assert!(!witness.is_finished(), "two led at once");

    b.releases().await;
    assert_eq!(election.lease().await["spec"].get("holderIdentity"), None);
}

#[tokio::test]
async fn lease_of_a_killed_leader_is_acquired_at_its_expiry() {
    let election = Election::new("lease-killed").await;
    let mut a = election.run("a", 3);
    a.wins().await;
    let mut b = election.run("b", 3);
    let witness = witness(&[&a, &b]);
    // After two renewals, so that the expiry is not counted from the first observation of the lease.
    for _ in 0..2 {
        let version = election.lease().await["metadata"]["resourceVersion"].clone();
        until(async || election.lease().await["metadata"]["resourceVersion"] != version).await;
    }
    assert!(!b.leads());
    let killed = Instant::now();
    a.election.task.abort();
    b.wins().await;
    let vacancy = killed.elapsed();
    assert!(!a.leadership.is_current());
    assert!(vacancy < Duration::from_secs(4), "{vacancy:?}");
    assert!(!witness.is_finished(), "two led at once");
}

#[tokio::test]
async fn restarted_leader_leads_at_once() {
    let election = Election::new("lease-again").await;
    let mut a = election.run("a", 600);
    a.wins().await;
    a.election.task.abort();
    let killed = Instant::now();
    let mut again = election.run("a", 600);
    again.wins().await;
    assert!(killed.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn replicas_of_one_identity_never_lead_together() {
    let election = Election::new("lease-duplicate").await;
    let mut a = election.run("a", 600);
    a.wins().await;
    let mut duplicate = election.run("a", 600);
    duplicate.wins().await;
    a.loses().await;
    let Lost { loss, .. } = a.election.task.await.unwrap().unwrap_err();
    assert_eq!(loss, Loss::DuplicateIdentity("a".to_owned()));
}

#[tokio::test]
async fn idle_leader_renews_at_half_time_and_follower_sends_nothing() {
    let election = Election::new("lease-rest").await;
    let kube = &election.world.kube;
    let user = world::service_account_user(election.namespace, "default");
    let mut a = election.run("a", 3);
    a.wins().await;
    let b = election.run("b", 3);
    // The audit log has a watch at its end, but the list before it at once.
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
async fn annotation_by_a_third_party_keeps_the_leader() {
    let election = Election::new("lease-annotated").await;
    let mut a = election.run("a", 3);
    a.wins().await;
    let b = election.run("b", 3);
    let first = election.lease().await;
    // A third party writes before each renewal, so that each is rejected first.
    for n in 0..4 {
        let renewed = election.lease().await["spec"]["renewTime"].clone();
        election.patch_lease(&json!({"metadata": {"annotations": {"theirs": n.to_string()}}})).await;
        until(async || election.lease().await["spec"]["renewTime"] != renewed).await;
    }
    assert!(a.leads() && a.leadership.is_current() && !b.leads());
    let last = election.lease().await;
    for field in ["holderIdentity", "acquireTime", "leaseTransitions"] {
        assert_eq!(first["spec"][field], last["spec"][field], "{field}");
    }
}

#[tokio::test]
async fn leader_with_a_stolen_lease_ends_at_once() {
    let election = Election::new("lease-thief").await;
    let mut a = election.run("a", 600);
    a.wins().await;
    let mut b = election.run("b", 600);
    election.patch_lease(&json!({"spec": {"holderIdentity": "thief", "leaseDurationSeconds": 3}})).await;
    let stolen = Instant::now();
    a.loses().await;
    assert!(stolen.elapsed() < Duration::from_secs(2), "{:?}", stolen.elapsed());
    assert_eq!(a.writes().await, Err(Error::NotLeading));
    let lost = a.election.task.await.unwrap().unwrap_err();
    assert_eq!(lost.to_string(), "lost the lease lease-thief/regcred: thief holds it now");
    // The thief keeps the lease for the duration it claims.
    b.wins().await;
    assert!(Duration::from_secs(3) <= stolen.elapsed(), "{:?}", stolen.elapsed());
}

#[tokio::test]
async fn deleted_lease_ends_the_leader_and_elects_another() {
    let election = Election::new("lease-deleted").await;
    let mut a = election.run("a", 600);
    a.wins().await;
    let mut b = election.run("b", 600);
    let path = "/apis/coordination.k8s.io/v1/namespaces/lease-deleted/leases/regcred";
    let witness = witness(&[&a, &b]);
    election.world.kube.delete(path).await.unwrap();
    a.loses().await;
    // It saw either the deletion, or the other replica as the holder.
    let Lost { loss, .. } = a.election.task.await.unwrap().unwrap_err();
    assert!([Loss::Deleted, Loss::Taken("b".to_owned())].contains(&loss), "{loss}");
    b.wins().await;
    drop(witness);
}

/// The effect of SIGSTOP, on one thread instead of a process: time passes and nothing of the replica runs.
#[tokio::test]
async fn leader_suspended_past_expiry_knows_at_once() {
    let election = Election::new("lease-stopped").await;
    let (config, lease_config) = (election.config.clone(), election.lease_config("a", 3));
    let (leads, a_leads) = oneshot::channel();
    let (go_on, stopped) = std::sync::mpsc::channel();
    let a = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut a = Replica::run(config, lease_config, Clock::boot_time());
            a.wins().await;
            assert_eq!(a.writes().await, Ok(()));
            leads.send(()).unwrap();
            // The only thread of this runtime blocks here.
            let () = stopped.recv().unwrap();
            assert!(!a.leadership.is_current());
            assert_eq!(a.writes().await, Err(Error::NotLeading));
            a.election.task.await.unwrap().unwrap_err().loss
        })
    });
    a_leads.await.unwrap();
    let mut b = election.run("b", 3);
    b.wins().await;
    go_on.send(()).unwrap();
    let loss = tokio::task::spawn_blocking(|| a.join().unwrap()).await.unwrap();
    assert_eq!(loss, Loss::Expired);
    assert!(b.leads() && b.leadership.is_current());
}

/// Starts a replica that reaches the API server over a link of its own.
async fn over_network(election: &Election, holder: &str, seconds: u64) -> (Replica, NetworkLink) {
    let mut config = election.config.clone();
    let server = config.cluster_url.authority().unwrap().as_str().parse().unwrap();
    let network = NetworkLink::new(server).await;
    config.cluster_url = format!("https://{}", network.address).parse().unwrap();
    let replica = Replica::run(config, election.lease_config(holder, seconds), Clock::boot_time());
    (replica, network)
}

#[tokio::test]
async fn leader_cut_off_gives_up_before_another_leads() {
    let election = Election::new("lease-cut").await;
    let (mut a, network) = over_network(&election, "a", 4).await;
    a.wins().await;
    let mut b = election.run("b", 4);
    let witness = witness(&[&a, &b]);
    network.cut();
    let cut = Instant::now();
    a.loses().await;
    b.wins().await;
    assert!(!a.leadership.is_current());
    assert!(cut.elapsed() < Duration::from_secs(5), "{:?}", cut.elapsed());
    let lost = a.election.task.await.unwrap().unwrap_err();
    assert!(matches!(lost, Lost { loss: Loss::Expired, cause: Some(Error::Unavailable(_)), .. }), "{lost:?}");
    assert!(!witness.is_finished(), "two led at once");
}

#[tokio::test]
async fn short_api_server_outage_keeps_the_leader() {
    let election = Election::new("lease-blip").await;
    let (mut a, network) = over_network(&election, "a", 8).await;
    a.wins().await;
    let b = election.run("b", 8);
    let before = election.lease().await;
    network.cut();
    let cut = Instant::now();
    // Until after the first renewal that failed.
    tokio::time::sleep_until(cut + Duration::from_secs(5)).await;
    assert_eq!(election.lease().await, before);
    network.restore();
    until(async || election.lease().await["spec"]["renewTime"] != before["spec"]["renewTime"]).await;
    assert!(a.leads() && a.leadership.is_current() && !b.leads());
}

#[tokio::test]
async fn follower_survives_the_loss_of_its_watch() {
    let election = Election::new("lease-watch").await;
    let mut a = election.run("a", 600);
    a.wins().await;
    let (mut b, network) = over_network(&election, "b", 600).await;
    // The audit log has a watch at its end; one that had not started at a cut ends with the next.
    while election.logged("watch") == 0 {
        network.cut();
        network.restore();
        drop(
            tokio::time::timeout(Duration::from_secs(3), until(async || 0 < election.logged("watch"))).await,
        );
    }
    let released = Instant::now();
    a.releases().await;
    b.wins().await;
    assert!(released.elapsed() < Duration::from_secs(10), "{:?}", released.elapsed());
}

//! A controller killed at any instant while it receives messages: every rotation is applied, and no message is lost or
//! left behind.

use std::time::{Duration, Instant};

use harness::repetitions;

use super::cloud::Cloud;
use crate::cluster::cluster_with_shared_namespaces;
use crate::rng::Rng;

const KILLS: usize = 50;

#[tokio::test]
async fn kills_lose_no_message_and_leave_none_behind() {
    let kills = repetitions(KILLS);
    let cluster = cluster_with_shared_namespaces("queue-killing", 50).await;
    let mut rng = Rng::new();
    let cloud = Cloud::new(&cluster, "0").await;
    cloud.start_synced("0").await.kill().await;
    // The time of a start and a rotation on this machine.
    rotate(&cloud, 1).await;
    let begun = Instant::now();
    let mut controller = cloud.controller().spawn().await;
    cluster.until_synced("1").await;
    let whole_rotation = begun.elapsed();

    let mut met = 0;
    for round in 2..2 + kills {
        rotate(&cloud, round).await;
        tokio::time::sleep(rng.duration(whole_rotation)).await;
        controller.kill().await;
        // A start fetches every key, so the queue is checked before it.
        if cloud.messages(&cloud.queue.url).await > 0 {
            met += 1;
        } else {
            let out_of_sync = cluster.out_of_sync(&round.to_string()).await;
            assert_eq!(out_of_sync, Vec::<String>::new(), "a message of round {round} was deleted too early");
        }
        controller = cloud.controller().spawn().await;
    }
    let last = (1 + kills).to_string();
    cluster.until_synced(&last).await;
    cloud.until_empty().await;
    assert!(met >= kills / 10, "{met} of {kills} kills met a message");
    assert_eq!(cluster.out_of_sync(&last).await, Vec::<String>::new());
    drop(controller);
}

async fn rotate(cloud: &Cloud<'_>, round: usize) {
    let version = cloud.put(&round.to_string()).await;
    // Straight to the queue: an event still on the bus would look like a lost message.
    cloud.send(&cloud.queue, &[cloud.event("AWSCURRENT", &version).to_string()], Duration::ZERO).await;
}

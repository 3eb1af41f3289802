//! Killed at any instant while messages flow: every rotation lands, and no message is lost or left.

use std::time::{Duration, Instant};

use super::cloud::Cloud;
use crate::dice::Dice;
use crate::stage::Stage;

const KILLS: usize = 50;

#[tokio::test]
async fn fifty_kills_while_messages_flow_lose_none_and_leave_none() {
    let stage = Stage::with_crowd("queue-killing", 50).await;
    let mut dice = Dice::new();
    let cloud = Cloud::new(&stage, "0").await;
    cloud.serve("0").await.kill().await;
    // How long a start and a rotation take here.
    rotate(&cloud, 1).await;
    let begun = Instant::now();
    let mut controller = cloud.controller().begin().await;
    stage.until_served("1").await;
    let whole_rotation = begun.elapsed();

    let mut met = 0;
    for round in 2..2 + KILLS {
        rotate(&cloud, round).await;
        tokio::time::sleep(dice.time(whole_rotation)).await;
        controller.kill().await;
        // A start reads every key by itself: whether a message may be gone is seen before.
        if cloud.messages(&cloud.queue.url).await > 0 {
            met += 1;
        } else {
            let unserved = stage.unserved(&round.to_string()).await;
            assert_eq!(unserved, Vec::<String>::new(), "a message of round {round} was deleted too early");
        }
        controller = cloud.controller().begin().await;
    }
    let last = (1 + KILLS).to_string();
    stage.until_served(&last).await;
    cloud.until_empty().await;
    assert!(met >= KILLS / 10, "{met} of {KILLS} kills met a message");
    assert_eq!(stage.unserved(&last).await, Vec::<String>::new());
    drop(controller);
}

async fn rotate(cloud: &Cloud<'_>, round: usize) {
    let version = cloud.put(&round.to_string()).await;
    // Straight to the queue: what is still on the bus would look like a message that is gone.
    cloud.send(&cloud.queue, &[cloud.event("AWSCURRENT", &version).to_string()], Duration::ZERO).await;
}

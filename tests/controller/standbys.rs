//! Rotations by the webhook at the addresses of standbys of a real OpenBao cluster, which answer reads themselves and may
//! not have the last write yet.

use std::time::Duration;

use harness::{Server, repetitions, until_within};
use serde_json::json;
use tokio::sync::OnceCell;
use world::{OpenBaoCluster, Reaper};

use crate::cluster::test_cluster;
use crate::controller::RunController as _;
use crate::webhook::hook::Hook;

const NAMESPACES: usize = 3;
/// The number of rotations in `make soak`, at all standbys together.
const ROTATIONS: usize = 200;
/// The longest time that a namespace may hold an old value.
const BOUND: Duration = Duration::from_secs(30);

/// The cluster, which ends with the process.
async fn openbao() -> &'static OpenBaoCluster {
    static CLUSTER: OnceCell<OpenBaoCluster> = OnceCell::const_new();
    let start = async || OpenBaoCluster::start(&Reaper::new()?).await;
    CLUSTER.get_or_try_init(start).await.expect("a cluster of OpenBao")
}

#[tokio::test]
async fn rotations_at_standbys_reach_every_namespace() {
    let openbao = openbao().await;
    let active = openbao.active().await.expect("an active node");
    let standbys = openbao.standbys().await.expect("standbys");
    let mut cluster = test_cluster("standbys", NAMESPACES).await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let key = cluster.key("ghcr");
    let write = async |password: &str| {
        active
            .put_kv2("secret", &key, &json!({"username": "robot", "password": password}))
            .await
            .expect("a write")
    };
    let body = json!({"store": "vault", "key": key}).to_string();
    for (number, standby) in standbys.iter().enumerate() {
        let mark = standby.audit_mark().expect("a mark");
        write(&format!("start-{number}")).await;
        cluster.vault = Server::Shared(standby);
        // Nothing is polled: the webhook alone tells of a write.
        let hook = Hook::start(&cluster, cluster.controller(), "").await;
        cluster.until_synced(&format!("start-{number}")).await;
        for rotation in 0..repetitions(ROTATIONS) / standbys.len() {
            let password = format!("password-{number}-{rotation}");
            write(&password).await;
            let (status, answer) = hook.post(&body).await;
            assert_eq!(status, 202, "{answer}");
            until_within(BOUND, &password, async || cluster.out_of_sync(&password).await.is_empty()).await;
        }
        let reads = standby.reads_of(&format!("secret/data/{key}"), mark).expect("an audit file");
        assert!(reads > 0, "the standby answers no reads itself");
    }
}

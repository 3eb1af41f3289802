//! Saves, their delays, and the namespace that stays unreadable.

use serde_json::json;

use super::*;
use crate::cluster::error::Error;
use crate::cluster::script::{exchange, play};
use crate::controller::fixture::leader;
use crate::installation::shard::Shard;
use crate::reconcile::fixture::{recorded, registry};

fn record(controller: &mut Controller, version: &str) {
    let values = recorded("images", &[("ghcr.io", version, version)]);
    let value = values.get("images", &registry("ghcr.io")).expect("a value").clone();
    let installation = controller.cache.installation.as_mut().expect("an installation");
    installation.record_value("images", &registry("ghcr.io"), value);
}

/// The response to a write of a shard.
fn written(resource_version: &str) -> serde_json::Value {
    json!({"metadata": {"name": "x", "resourceVersion": resource_version}})
}

/// The version in the body of a write of a shard.
fn written_version(body: &serde_json::Value) -> String {
    let data = serde_json::from_value(body["data"].clone()).expect("data");
    let shard = Shard::decode(&data).expect("a shard");
    shard.values[0].1.version.to_string()
}

#[tokio::test(start_paused = true)]
async fn shutdown_saves_what_changed_during_a_save() {
    const CREATE: &str = "POST /api/v1/namespaces/own/secrets?&fieldManager=regcred";
    const PATCH: &str = "PATCH /api/v1/namespaces/own/secrets/regcred-last-good-0?&fieldManager=regcred";
    let script = vec![exchange(CREATE, 201, written("5")), exchange(PATCH, 200, written("6"))];
    let (stopped, bodies) = play(script, async |client| {
        let mut controller = leader(client);
        record(&mut controller, "1");
        controller.start_save(Instant::now(), true);
        record(&mut controller, "2");
        controller.shut_down().await
    })
    .await;
    assert!(stopped.is_ok());
    assert_eq!(bodies.iter().map(written_version).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(bodies[1]["metadata"]["resourceVersion"], "5");
}

#[test]
fn save_waits_for_the_end_of_a_rotation_with_one_timer() {
    let (mut sync, start) = (InstallationSync::default(), Instant::now());
    let waits = (0..1000).map(|turn| sync.postpone_save(false, start + Duration::from_millis(turn)));
    assert_eq!(waits.collect::<BTreeSet<_>>(), [Some(start + SAVE_AT_LATEST)].into());
    assert_eq!(sync.postpone_save(true, start), Some(start + SAVE_AFTER));
    assert_eq!(sync.postpone_save(true, start + SAVE_AFTER), None);
    assert_eq!(sync.postpone_save(false, start + SAVE_AT_LATEST), None, "the rotation does not end");
}

#[test]
fn own_namespace_that_stays_unreadable_is_a_problem() {
    let error = KeyError::Request(Error::TimedOut);
    let mut sync = InstallationSync { consecutive_failures: 5, ..InstallationSync::default() };
    assert_eq!(sync.problem(&error), None, "it may pass");
    sync.consecutive_failures += 1;
    let problem = sync.problem(&error).expect("a problem");
    assert!(problem.message.starts_with("regcred's own namespace cannot be read"), "{}", problem.message);
    sync.is_known = true;
    assert_eq!(sync.problem(&error), None, "what is known stays in use");
}

#[test]
fn save_after_a_failure_waits_for_its_back_off() {
    let (mut sync, start) = (InstallationSync::default(), Instant::now());
    let not_before = start + 2 * SAVE_AT_LATEST;
    sync.not_before = Some(not_before);
    assert_eq!(sync.postpone_save(true, start), Some(not_before));
    assert_eq!(sync.postpone_save(false, start + SAVE_AT_LATEST), Some(not_before));
    assert_eq!(sync.postpone_save(false, not_before), None);
}

fn loaded(installation: Installation) -> Loaded {
    Loaded { installation, problems: Vec::new(), is_incomplete: false }
}

#[tokio::test(start_paused = true)]
async fn denied_shard_is_read_again_every_minute() {
    let ((), _) = play(Vec::new(), async |client| {
        let mut controller = leader(client);
        let mut installation = Installation::new(Arc::new(OwnershipKey::new("a", &[1; 32], None)), 1);
        installation.on_denied(0);
        controller.on_installation_loaded(Ok(loaded(installation)));
        let minute = Instant::now() + Duration::from_mins(1);
        assert!(!controller.installation_sync.must_load(minute - Duration::from_secs(1)));
        assert!(controller.installation_sync.must_load(minute));
        controller.on_installation_loaded(Ok(loaded(Installation::default())));
        assert!(!controller.installation_sync.must_load(minute));
    })
    .await;
}

//! An API server that is away, slow or contrary: nothing is lost, and nobody is hammered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use world::{Fault, Kind, Proxy, Rule, StopSignal};

use crate::controller::Controller;
use crate::stage::{Stage, until};

const CROWD: usize = 100;
/// How long nothing but refusals is answered.
const TROUBLE: Duration = Duration::from_secs(10);
/// Requests for one target in that time: a back-off that doubles from one second makes four.
const TRIES: usize = 8;
/// Attempts to watch or list one kind in that time.
const WATCH_TRIES: usize = 15;

fn rule(verb: Option<&'static str>, resource: Option<&'static str>, every: usize, fault: Fault) -> Rule {
    Rule { verb, resource, every, fault }
}

/// The same for every kind of object, each counted for itself: a target that is tried again must not always be the one
/// in so many requests because of what is asked beside it.
fn everywhere(every: usize, fault: Fault) -> Vec<Rule> {
    let kinds = [
        "secrets",
        "serviceaccounts",
        "namespaces",
        "clusterpullsecrets",
        "clusterpullsecrets/status",
        "events",
        "leases",
    ];
    kinds.map(|resource| rule(None, Some(resource), every, fault)).to_vec()
}

fn count(requests: &BTreeMap<Kind, usize>, is_it: impl Fn(&Kind) -> bool) -> usize {
    requests.iter().filter(|(kind, _)| is_it(kind)).map(|(_, count)| count).sum()
}

/// A controller behind a proxy that has served a password.
async fn behind_a_proxy(stage: &Stage) -> (Proxy, Controller) {
    let proxy = Proxy::start(stage.kube).expect("a proxy");
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let controller = stage.controller().through(&proxy).start().await;
    stage.until_served("one").await;
    (proxy, controller)
}

#[tokio::test]
async fn an_api_server_that_restarts_in_the_middle_of_a_rotation_loses_nothing() {
    let stage = Stage::with_crowd("fault-restart", 300).await;
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let controller = stage.controller().with(&["--concurrency", "2"]).start().await;
    stage.until_served("one").await;
    for (signal, password) in [(StopSignal::Kill, "two"), (StopSignal::Terminate, "three")] {
        stage.put_password(password).await;
        stage.ask(stage.name).await;
        until("the middle of a rotation", async || stage.unserved(password).await.len() < 300).await;
        stage.kube.restart_apiserver(signal).await.expect("it comes back");
        stage.until_served(password).await;
        assert!(!controller.has_ended(), "{signal:?}");
    }
    let account = "/api/v1/namespaces/crowd-000/serviceaccounts/default";
    stage.kube.patch(account, &json!({"imagePullSecrets": null})).await.expect("a patch");
    stage.until_served("three").await;
}

#[tokio::test]
async fn answers_that_refuse_are_survived_and_cost_few_requests() {
    let stage = Stage::with_crowd("fault-refuse", CROWD).await;
    let (proxy, controller) = behind_a_proxy(&stage).await;
    let faults = [
        ("conflict", vec![rule(Some("patch"), Some("secrets"), 2, Fault::Answer(409))]),
        ("gone", vec![rule(Some("patch"), Some("secrets"), 3, Fault::Answer(410))]),
        ("busy", everywhere(3, Fault::Answer(429))),
        ("broken", everywhere(3, Fault::Answer(500))),
        ("away", everywhere(3, Fault::Answer(503))),
        ("lost", vec![rule(Some("patch"), Some("secrets"), 3, Fault::Lose)]),
        ("late", vec![rule(None, None, 5, Fault::Delay(Duration::from_millis(500)))]),
    ];
    for (password, rules) in faults {
        stage.put_password(password).await;
        let _ = proxy.take_requests();
        proxy.follow(rules);
        stage.ask(stage.name).await;
        stage.until_served(password).await;
        let requests = proxy.take_requests();
        let patches = count(&requests, |it| it.resource == "secrets" && it.verb == "patch");
        assert!((CROWD..CROWD * 4).contains(&patches), "{password}: {patches} patches for {CROWD} Secrets");
        let all = count(&requests, |_| true);
        assert!(all < CROWD * 6, "{password}: {all} requests, {requests:?}");
        proxy.follow([]);
    }
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn conflicts_at_service_accounts_are_read_and_written_again() {
    let stage = Stage::with_crowd("fault-conflict", CROWD).await;
    let proxy = Proxy::start(stage.kube).expect("a proxy");
    proxy.follow([
        rule(Some("patch"), Some("serviceaccounts"), 2, Fault::Answer(409)),
        rule(Some("create"), Some("secrets"), 3, Fault::Answer(409)),
    ]);
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let _controller = stage.controller().through(&proxy).start().await;
    stage.until_served("one").await;
}

#[tokio::test]
async fn while_every_write_fails_targets_wait_and_are_written_afterwards() {
    let stage = Stage::with_crowd("fault-writes", 20).await;
    let (proxy, controller) = behind_a_proxy(&stage).await;
    for (code, password) in [(500, "two"), (429, "three")] {
        stage.put_password(password).await;
        proxy.follow([rule(Some("patch"), Some("secrets"), 1, Fault::Answer(code))]);
        let _ = proxy.take_requests();
        stage.ask(stage.name).await;
        tokio::time::sleep(TROUBLE).await;
        let requests = proxy.take_requests();
        let patches = count(&requests, |it| it.resource == "secrets" && it.verb == "patch");
        assert!(patches > 0 && patches <= 20 * TRIES, "{code}: {patches} patches for 20 Secrets");
        proxy.follow([]);
        stage.until_served(password).await;
    }
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn watches_that_are_cut_off_or_expire_are_taken_up_again_and_miss_nothing() {
    let stage = Stage::new("fault-watch", 3).await;
    let (proxy, controller) = behind_a_proxy(&stage).await;
    let account = "/api/v1/namespaces/fault-watch-000/serviceaccounts/default";
    let secret = "/api/v1/namespaces/fault-watch-001/secrets/regcred";
    let break_off: [(&str, &dyn Fn()); 3] = [
        ("cut off", &|| proxy.cut_watches()),
        ("expired", &|| proxy.expire_watches()),
        ("refused", &|| proxy.refuse()),
    ];
    for (round, (how, break_off)) in break_off.into_iter().enumerate() {
        break_off();
        if round == 0 {
            stage.kube.patch(account, &json!({"imagePullSecrets": null})).await.expect("a patch");
        }
        stage.kube.delete(secret).await.expect("a deletion");
        let late = stage.namespaces[2].as_str();
        stage.select(late, false).await;
        proxy.accept().expect("connections are taken again");
        until(&format!("all is as it should be after watches were {how}"), async || {
            stage.unserved("one").await == [late] && stage.secret(late).await.is_none()
        })
        .await;
        stage.select(late, true).await;
        stage.until_served("one").await;
        assert!(!controller.has_ended(), "{how}");
    }
    // Again and again, and it does not begin from the start each time.
    let _ = proxy.take_requests();
    for _ in 0..10 {
        proxy.cut_watches();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.kube.delete(secret).await.expect("a deletion");
    stage.until_served("one").await;
    let requests = proxy.take_requests();
    let again = count(&requests, |it| matches!(it.verb, "list" | "watch"));
    assert!(again <= 10 * 12, "{again} lists and watches for ten cuts: {requests:?}");
}

#[tokio::test]
async fn while_every_watch_is_refused_few_are_tried_and_afterwards_nothing_was_missed() {
    let stage = Stage::new("fault-blind", 2).await;
    let (proxy, controller) = behind_a_proxy(&stage).await;
    for code in [410, 500] {
        proxy.follow([rule(Some("watch"), None, 1, Fault::Answer(code))]);
        proxy.cut_watches();
        let _ = proxy.take_requests();
        let secret = "/api/v1/namespaces/fault-blind-000/secrets/regcred";
        stage.kube.delete(secret).await.expect("a deletion");
        tokio::time::sleep(TROUBLE).await;
        let requests = proxy.take_requests();
        for (kind, count) in requests.iter().filter(|(kind, _)| matches!(kind.verb, "list" | "watch")) {
            assert!(*count <= WATCH_TRIES, "{code}: {count} times {kind:?} in {TROUBLE:?}");
        }
        proxy.follow([]);
        stage.until_served("one").await;
    }
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn a_controller_that_starts_without_an_api_server_waits_for_it() {
    let stage = Stage::new("fault-start", 1).await;
    let proxy = Proxy::start(stage.kube).expect("a proxy");
    proxy.refuse();
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let controller = stage.controller().through(&proxy).begin().await;
    tokio::time::sleep(crate::stage::QUIET).await;
    assert!(!controller.is_ready().await);
    assert!(!controller.has_ended(), "a cluster that starts as a whole must not need luck");
    proxy.accept().expect("connections are taken");
    stage.until_served("one").await;
    until("it is ready", async || controller.is_ready().await).await;
}

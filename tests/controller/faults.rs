//! An API server that is away, slow or returns errors: no change is lost, and the server is not flooded with requests.

use std::collections::BTreeMap;
use std::time::Duration;

use harness::{NAMESPACE, SERVICE_ACCOUNT, TestCluster, until};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use regcred::cluster::watch::{Restores, WatchEvent, WatchedResource, watch};
use serde_json::json;
use tokio::sync::mpsc;
use world::{Fault, Proxy, RequestKind, Rule, StopSignal};

use crate::cluster::{cluster_with_shared_namespaces, test_cluster};
use crate::controller::{Controller, RunController as _};

const NAMESPACES: usize = 30;
/// The time in which every request fails.
const OUTAGE: Duration = Duration::from_secs(10);
/// The most requests for one target in that time: a back-off that doubles from one second makes four.
const TRIES: usize = 8;
/// The most attempts to watch or list one kind in that time.
const WATCH_TRIES: usize = 15;

fn rule(verb: Option<&'static str>, resource: Option<&'static str>, every: usize, fault: Fault) -> Rule {
    Rule { verb, resource, every, fault }
}

/// The same for every kind of object, each counted separately: a retried target must not always be the n-th request
/// because of requests for other kinds.
fn rules_for_all_kinds(every: usize, fault: Fault) -> Vec<Rule> {
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

fn count(requests: &BTreeMap<RequestKind, usize>, is_it: impl Fn(&RequestKind) -> bool) -> usize {
    requests.iter().filter(|(kind, _)| is_it(kind)).map(|(_, count)| count).sum()
}

/// Starts a proxy and a controller behind it, and waits until every namespace is in sync.
async fn start_behind_proxy(cluster: &TestCluster) -> (Proxy, Controller) {
    let proxy = Proxy::start(&cluster.kube).expect("a proxy");
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let controller = cluster.controller().through(&proxy).start().await;
    cluster.until_synced("one").await;
    (proxy, controller)
}

#[tokio::test]
async fn api_server_restart_during_rotation_loses_no_change() {
    let cluster = cluster_with_shared_namespaces("fault-restart", 300).await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let controller = cluster.controller().args(&["--concurrency", "2"]).start().await;
    cluster.until_synced("one").await;
    for (ending, password) in [(StopSignal::Kill, "two"), (StopSignal::Terminate, "three")] {
        cluster.put_password(password).await;
        cluster.request_rotation(cluster.name).await;
        until("the middle of a rotation", async || cluster.out_of_sync(password).await.len() < 300).await;
        cluster.kube.restart_apiserver(ending).await.expect("it comes back");
        cluster.until_synced(password).await;
        assert!(!controller.has_ended(), "{ending:?}");
    }
    let account = "/api/v1/namespaces/shared-000/serviceaccounts/default";
    cluster.kube.patch(account, &json!({"imagePullSecrets": null})).await.expect("a patch");
    cluster.until_synced("three").await;
}

#[tokio::test]
async fn injected_errors_are_retried_with_few_requests() {
    let cluster = cluster_with_shared_namespaces("fault-refuse", NAMESPACES).await;
    let (proxy, controller) = start_behind_proxy(&cluster).await;
    let faults = [
        ("conflict", vec![rule(Some("patch"), Some("secrets"), 2, Fault::Respond(409))]),
        ("gone", vec![rule(Some("patch"), Some("secrets"), 3, Fault::Respond(410))]),
        ("busy", rules_for_all_kinds(3, Fault::Respond(429))),
        ("broken", rules_for_all_kinds(3, Fault::Respond(500))),
        ("away", rules_for_all_kinds(3, Fault::Respond(503))),
        ("lost", vec![rule(Some("patch"), Some("secrets"), 3, Fault::DropResponse)]),
        ("late", vec![rule(None, None, 5, Fault::Delay(Duration::from_millis(500)))]),
    ];
    for (password, rules) in faults {
        cluster.put_password(password).await;
        let _ = proxy.take_requests();
        proxy.set_rules(rules);
        cluster.request_rotation(cluster.name).await;
        cluster.until_synced(password).await;
        let requests = proxy.take_requests();
        let patches = count(&requests, |it| it.resource == "secrets" && it.verb == "patch");
        assert!(
            (NAMESPACES..NAMESPACES * 4).contains(&patches),
            "{password}: {patches} patches for {NAMESPACES} Secrets"
        );
        let all = count(&requests, |_| true);
        assert!(all < NAMESPACES * 6, "{password}: {all} requests, {requests:?}");
        proxy.set_rules([]);
    }
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn service_account_conflicts_are_read_again_and_retried() {
    let cluster = cluster_with_shared_namespaces("fault-conflict", NAMESPACES).await;
    let proxy = Proxy::start(&cluster.kube).expect("a proxy");
    proxy.set_rules([
        rule(Some("patch"), Some("serviceaccounts"), 2, Fault::Respond(409)),
        rule(Some("create"), Some("secrets"), 3, Fault::Respond(409)),
    ]);
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let _controller = cluster.controller().through(&proxy).start().await;
    cluster.until_synced("one").await;
}

#[tokio::test]
async fn failing_writes_back_off_and_succeed_afterwards() {
    let cluster = cluster_with_shared_namespaces("fault-writes", 20).await;
    let (proxy, controller) = start_behind_proxy(&cluster).await;
    for (code, password) in [(500, "two"), (429, "three")] {
        cluster.put_password(password).await;
        proxy.set_rules([rule(Some("patch"), Some("secrets"), 1, Fault::Respond(code))]);
        let _ = proxy.take_requests();
        cluster.request_rotation(cluster.name).await;
        tokio::time::sleep(OUTAGE).await;
        let requests = proxy.take_requests();
        let patches = count(&requests, |it| it.resource == "secrets" && it.verb == "patch");
        assert!(patches > 0 && patches <= 20 * TRIES, "{code}: {patches} patches for 20 Secrets");
        proxy.set_rules([]);
        cluster.until_synced(password).await;
    }
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn interrupted_watches_resume_without_missing_changes() {
    let cluster = test_cluster("fault-watch", 3).await;
    let (proxy, controller) = start_behind_proxy(&cluster).await;
    let account = "/api/v1/namespaces/fault-watch-000/serviceaccounts/default";
    let secret = "/api/v1/namespaces/fault-watch-001/secrets/regcred";
    let interruptions: [(&str, &dyn Fn()); 3] = [
        ("cut off", &|| proxy.cut_watches()),
        ("expired", &|| proxy.expire_watches()),
        ("refused", &|| proxy.refuse()),
    ];
    for (round, (how, interrupt)) in interruptions.into_iter().enumerate() {
        interrupt();
        if round == 0 {
            cluster.kube.patch(account, &json!({"imagePullSecrets": null})).await.expect("a patch");
        }
        cluster.kube.delete(secret).await.expect("a deletion");
        let late = cluster.namespaces[2].as_str();
        cluster.select(late, false).await;
        proxy.accept().expect("connections are taken again");
        until(&format!("every namespace is in sync after watches were {how}"), async || {
            cluster.out_of_sync("one").await == [late] && cluster.secret(late).await.is_none()
        })
        .await;
        cluster.select(late, true).await;
        cluster.until_synced("one").await;
        assert!(!controller.has_ended(), "{how}");
    }
    // Repeated cuts do not cause a relist each time.
    let _ = proxy.take_requests();
    for _ in 0..10 {
        proxy.cut_watches();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.kube.delete(secret).await.expect("a deletion");
    cluster.until_synced("one").await;
    let requests = proxy.take_requests();
    let again = count(&requests, |it| matches!(it.verb, "list" | "watch"));
    assert!(again <= 10 * 12, "{again} lists and watches for ten cuts: {requests:?}");
}

#[tokio::test]
async fn refused_watches_back_off_and_miss_no_change() {
    let cluster = test_cluster("fault-blind", 2).await;
    let (proxy, controller) = start_behind_proxy(&cluster).await;
    for code in [410, 500] {
        proxy.set_rules([rule(Some("watch"), None, 1, Fault::Respond(code))]);
        proxy.cut_watches();
        let _ = proxy.take_requests();
        let secret = "/api/v1/namespaces/fault-blind-000/secrets/regcred";
        cluster.kube.delete(secret).await.expect("a deletion");
        tokio::time::sleep(OUTAGE).await;
        let requests = proxy.take_requests();
        for (kind, count) in requests.iter().filter(|(kind, _)| matches!(kind.verb, "list" | "watch")) {
            assert!(*count <= WATCH_TRIES, "{code}: {count} times {kind:?} in {OUTAGE:?}");
        }
        proxy.set_rules([]);
        cluster.until_synced("one").await;
    }
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn watch_on_a_dead_connection_resumes_and_misses_no_change() {
    let cluster = test_cluster("fault-stall", 1).await;
    let proxy = Proxy::start(&cluster.kube).expect("a proxy");
    proxy.set_rules([rule(Some("watch"), Some("namespaces"), 1, Fault::Stall)]);
    let (sender, mut events) = mpsc::channel(1024);
    let idle_limit = Duration::from_secs(2);
    let _watch = watch(
        &client(&cluster, &proxy).await,
        WatchedResource::Namespaces,
        idle_limit,
        sender,
        &Restores::default(),
    );
    let silent = RequestKind { verb: "watch", resource: "namespaces".to_owned() };
    until("the watch is open and silent", async || proxy.take_requests().contains_key(&silent)).await;
    proxy.set_rules([]);
    let namespace = cluster.namespaces[0].as_str();
    cluster.select(namespace, false).await;
    let applied = async {
        while let Some(event) = events.recv().await {
            if matches!(event, WatchEvent::Applied(object, _) if object.name == namespace) {
                return;
            }
        }
        panic!("the watch ended");
    };
    // Sooner than the API server ends the silent watch.
    tokio::time::timeout(Duration::from_mins(1), applied).await.expect("the change arrives");
}

/// Creates a client that connects through a proxy.
async fn client(cluster: &TestCluster, proxy: &Proxy) -> Client {
    let file = cluster.kube.kubeconfig_through(proxy, NAMESPACE, SERVICE_ACCOUNT).await;
    let kubeconfig = Kubeconfig::read_from(file.expect("a token")).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}

#[tokio::test]
async fn controller_started_before_the_api_server_waits_for_it() {
    let cluster = test_cluster("fault-start", 1).await;
    let proxy = Proxy::start(&cluster.kube).expect("a proxy");
    proxy.refuse();
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let controller = cluster.controller().through(&proxy).spawn().await;
    tokio::time::sleep(crate::cluster::QUIET).await;
    assert!(!controller.is_ready().await);
    assert_eq!(controller.readiness().await, "waiting for the first list of namespaces\n");
    assert!(!controller.has_ended(), "a cluster that starts as a whole must not need luck");
    proxy.accept().expect("connections are taken");
    cluster.until_synced("one").await;
    until("it is ready", async || controller.is_ready().await).await;
}

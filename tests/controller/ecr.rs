//! Tokens of Amazon ECR: moto issues them, behind a proxy that gives each a password `token-N` and an end of its own.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use harness::{TestCluster, until, until_within};
use serde_json::json;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use world::{EcrProxy, Moto, REGION, Reaper};

use crate::cluster::test_cluster;
use crate::controller::{Launch, RunController as _};

const NAMESPACES: usize = 3;
/// The life of a token. It is replaced after two thirds of it.
const LIFE: Duration = Duration::from_secs(15);
/// The life of a token that is not replaced during a test.
const LONG_LIFE: Duration = Duration::from_hours(12);

/// A cluster with a ClusterPullSecret for two hosts of one registry.
struct EcrCluster {
    cluster: TestCluster,
    moto: &'static Moto,
    proxy: EcrProxy,
    /// The number of the last token that was seen in each namespace.
    seen: RefCell<BTreeMap<String, usize>>,
}

impl EcrCluster {
    async fn new(name: &'static str, life: Duration) -> Self {
        let cluster = test_cluster(name, NAMESPACES).await;
        let moto = moto(&cluster.reaper).await;
        let proxy = EcrProxy::start(moto, life).await.expect("a proxy");
        let mut object = cluster.cluster_pull_secret(name);
        let from = json!({"store": "ecr", "key": Moto::ACCOUNT});
        object["spec"]["registries"] = hosts().map(|host| json!({"host": host, "from": from})).into();
        // The least that is possible: no refresh and no poll may request a token.
        object["spec"]["refreshInterval"] = json!("10s");
        cluster.apply(&object).await;
        Self { cluster, moto, proxy, seen: RefCell::default() }
    }

    fn controller(&self) -> Launch<'_> {
        self.cluster.controller().manifests(&self.config()).aws(self.moto)
    }

    fn config(&self) -> PathBuf {
        let more = format!(
            "- name: ecr\n  awsEcr: {{region: {REGION}, registryIds: [\"{}\"], endpointUrl: \"{}\"}}\n\
             triggers: {{pollInterval: 1s}}\n",
            Moto::ACCOUNT,
            self.proxy.endpoint
        );
        self.cluster.write(&[&self.cluster.config(&more)])
    }

    /// The number of tokens that were issued.
    fn issued(&self) -> usize {
        self.proxy.issued().len()
    }

    /// The number of the token in a namespace.
    async fn number(&self, namespace: &str) -> usize {
        let passwords = self.cluster.passwords(namespace).await;
        let number = |host: &str| passwords.get(host)?.strip_prefix("token-")?.parse::<usize>().ok();
        let [one, other] = hosts().map(|host| number(&host).unwrap_or_default());
        assert_eq!(one, other, "{namespace}: both hosts have the same token");
        one
    }

    /// The numbers of the tokens in all namespaces; no earlier one may follow a later one.
    async fn numbers(&self) -> Vec<usize> {
        let mut numbers = Vec::new();
        for namespace in &self.cluster.namespaces {
            let one = self.number(namespace).await;
            let before = self.seen.borrow_mut().insert(namespace.clone(), one).unwrap_or_default();
            assert!(one >= before, "{namespace}: token-{one} after token-{before}");
            numbers.push(one);
        }
        numbers
    }

    async fn until_all_hold(&self, token: usize) {
        let what = format!("token-{token} in all namespaces");
        until_within(2 * LIFE, &what, async || self.numbers().await.iter().all(|it| *it == token)).await;
    }
}

fn hosts() -> [String; 2] {
    let id = Moto::ACCOUNT;
    [format!("{id}.dkr.ecr.{REGION}.amazonaws.com"), format!("{id}.dkr-ecr.{REGION}.on.aws")]
}

/// The moto of all tests that need one; the first starts it.
async fn moto(reaper: &Reaper) -> &'static Moto {
    static SHARED: OnceCell<Moto> = OnceCell::const_new();
    let moto = SHARED.get_or_try_init(|| Moto::start(reaper)).await;
    moto.unwrap_or_else(|error| panic!("moto did not start: {error:#}"))
}

#[tokio::test]
async fn token_is_replaced_at_two_thirds_by_one_request() {
    let ecr = EcrCluster::new("ecr-refresh", LIFE).await;
    let controller = ecr.controller().start().await;
    ecr.until_all_hold(1).await;
    let started = Instant::now();
    let series =
        format!("regcred_credential_expiry_timestamp_seconds{{store=\"ecr\",key=\"{}\"}}", Moto::ACCOUNT);
    let mut expiry = controller.metric(&series).await.expect("an expiry");
    for token in 2..=3 {
        ecr.until_all_hold(token).await;
        assert_eq!(ecr.issued(), token, "each refresh is one request");
        let later = controller.metric(&series).await.expect("an expiry");
        assert!(later > expiry, "{expiry} {later}");
        expiry = later;
    }
    let elapsed = started.elapsed();
    assert!(elapsed + Duration::from_secs(2) > 2 * LIFE * 2 / 3, "two lives of two thirds: {elapsed:?}");
    assert!(elapsed < 2 * LIFE, "each namespace held a valid token all the time: {elapsed:?}");
    let annotation = ecr.cluster.secret(ecr.cluster.namespace(0)).await.expect("a Secret");
    let versions = annotation["metadata"]["annotations"]["regcred.dev/versions"].as_str().expect("versions");
    assert!(versions.contains("=ecr:expires@2"), "{versions}");
}

#[tokio::test]
async fn token_of_rotate_gives_way_to_the_valid_one_without_a_request() {
    let ecr = EcrCluster::new("ecr-rotate", LONG_LIFE).await;
    let _controller = ecr.controller().start().await;
    ecr.until_all_hold(1).await;
    let config = ecr.config().display().to_string();
    let mark = ecr.cluster.mark();
    let mut rotate = ecr.cluster.command(&["rotate", "-f", &config, "--output", "json"]);
    let output = rotate.envs(ecr.moto.env()).output().await.expect("regcred runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let writes = ecr.cluster.writes(mark).await;
    assert!(writes.len() >= NAMESPACES, "{writes:?}");
    until("the token of the controller in all namespaces", async || {
        let mut numbers = Vec::new();
        for namespace in &ecr.cluster.namespaces {
            numbers.push(ecr.number(namespace).await);
        }
        numbers == [1; NAMESPACES]
    })
    .await;
    ecr.cluster.until_idle().await;
    assert_eq!(ecr.issued(), 2, "rotate and the controller request one token each");
}

#[tokio::test]
async fn outage_at_the_refresh_leaves_the_token_in_place() {
    let ecr = EcrCluster::new("ecr-outage", LIFE).await;
    let controller = ecr.controller().start().await;
    ecr.until_all_hold(1).await;
    ecr.proxy.set_down(true);
    let name = ecr.cluster.name;
    until_within(2 * LIFE, "the end of the token", async || {
        ecr.cluster.condition(name, "Fetched").await == "False Expired"
    })
    .await;
    assert_eq!(ecr.numbers().await, [1; NAMESPACES], "what a namespace holds stays there");
    let retries = async || {
        let outcome = "regcred_fetches_total{store=\"ecr\",outcome=\"unavailable\"}";
        controller.metric(outcome).await.is_some_and(|count| count > 2.5)
    };
    until_within(2 * LIFE, "three failed reads", retries).await;
    assert_eq!(controller.log().matches("the store issued no other one").count(), 1, "it is one fault");
    ecr.proxy.set_down(false);
    ecr.until_all_hold(2).await;
    until("a fetched token", async || ecr.cluster.condition(name, "Fetched").await.starts_with("True")).await;
}

#[tokio::test]
async fn restart_requests_one_token() {
    let ecr = EcrCluster::new("ecr-restart", LONG_LIFE).await;
    let controller = ecr.controller().start().await;
    ecr.until_all_hold(1).await;
    controller.terminate().await;
    let _again = ecr.controller().start().await;
    // A start reads every key, and each read has another token.
    ecr.until_all_hold(2).await;
    assert_eq!(ecr.issued(), 2);
}

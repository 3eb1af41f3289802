//! Polls of scripted stores.

use std::sync::Mutex;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::credential::{Key, StoredValue};
use crate::provider::{Denied, ErrorKind, Provider};
use crate::trigger::channel::{self, TriggerReceiver};

const INTERVAL: Duration = Duration::from_secs(10);

/// A version, or the error of that name.
pub(super) fn answer(at: &StoreKey, text: &str) -> Result<Version, Error> {
    let kind = match text {
        "NotFound" => ErrorKind::NotFound,
        "Deleted" => ErrorKind::Deleted,
        "Denied" => ErrorKind::Denied(Denied::Key("x".to_owned())),
        "LoginRefused" => ErrorKind::Denied(Denied::Login("x".to_owned())),
        "Throttled" => ErrorKind::Throttled,
        "Unavailable" => ErrorKind::Unavailable("x".to_owned()),
        version => return Ok(version.into()),
    };
    Err(kind.at(at.clone()))
}

pub(super) fn store_key(store: &str, key: &str) -> StoreKey {
    StoreKey { store: store.into(), key: key.into() }
}

/// A store with all keys at one version; it hangs where that is empty.
struct FakeStore {
    name: &'static str,
    version: Mutex<&'static str>,
    /// The time and the number of keys of each request.
    requests: Mutex<Vec<(Instant, usize)>>,
}

impl FakeStore {
    fn new(name: &'static str, version: &'static str) -> Arc<Self> {
        Arc::new(Self { name, version: Mutex::new(version), requests: Mutex::default() })
    }

    fn set_version(&self, version: &'static str) {
        *self.version.lock().unwrap() = version;
    }

    /// The number of keys in each request.
    fn requested_keys(&self) -> Vec<usize> {
        self.requests.lock().unwrap().iter().map(|(_, keys)| *keys).collect()
    }
}

#[async_trait]
impl Provider for FakeStore {
    async fn read(&self, _: &[Key]) -> Vec<Result<StoredValue, Error>> {
        panic!("the poll reads no value")
    }

    async fn versions(&self, keys: &[Key]) -> Vec<Result<Version, Error>> {
        if keys.is_empty() {
            return Vec::new();
        }
        self.requests.lock().unwrap().push((Instant::now(), keys.len()));
        let version = *self.version.lock().unwrap();
        if version.is_empty() {
            std::future::pending::<()>().await;
        }
        keys.iter().map(|key| answer(&store_key(self.name, &key.0), version)).collect()
    }
}

/// A running poll, and its channels.
struct TestPoll {
    task: JoinHandle<()>,
    known: watch::Sender<KnownVersions>,
    leading: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    trigger_receiver: TriggerReceiver,
    metrics: Arc<Metrics>,
}

impl TestPoll {
    /// Polls stores with every key known at version 1.
    fn start(stores: &[&Arc<FakeStore>], keys: usize, jitter: fn() -> f64) -> Self {
        Self::start_with_budget(stores, keys, jitter, 1000)
    }

    /// The same with a number of polls for each second.
    fn start_with_budget(
        stores: &[&Arc<FakeStore>],
        keys: usize,
        jitter: fn() -> f64,
        max_polls_per_second: u32,
    ) -> Self {
        let versions = stores.iter().flat_map(|store| {
            let name = store.name;
            (0..keys).map(move |n| (store_key(name, &n.to_string()), Some("1".into())))
        });
        let (known, known_now) = watch::channel(versions.collect());
        let (leading, leads) = watch::channel(true);
        let (stop, stopped) = watch::channel(false);
        let (triggers, trigger_receiver) = channel::channel();
        let metrics = Arc::new(Metrics::new());
        let providers =
            stores.iter().map(|&store| (StoreName::from(store.name), Arc::clone(store) as Arc<dyn Provider>));
        let settings = PollSettings {
            stores: Arc::new(Stores::from_providers(providers, max_polls_per_second)),
            interval: INTERVAL,
            metrics: Arc::clone(&metrics),
            wall_clock: || Timestamp::UNIX_EPOCH,
            jitter,
        };
        let task = tokio::spawn(run(settings, known_now, triggers, leads, stopped));
        Self { task, known, leading, stop, trigger_receiver, metrics }
    }

    /// The keys of the trigger that is sent within some time.
    async fn triggered(&mut self, within: Duration) -> Vec<(String, Option<String>)> {
        let Ok(Some(event)) = timeout(within, self.trigger_receiver.recv()).await else { return Vec::new() };
        assert_eq!((event.trigger, event.at), (Trigger::Poll, Timestamp::UNIX_EPOCH));
        let scopes = event.scopes.into_iter().map(|scope| match scope {
            TriggerScope::Key(key, version) => (key.to_string(), version.map(|version| version.to_string())),
            other => panic!("{other:?}"),
        });
        scopes.collect()
    }

    /// Makes this the known version of every key.
    fn read(&self, version: Option<&str>) {
        self.known.send_modify(|known| known.values_mut().for_each(|it| *it = version.map(Version::from)));
    }
}

#[tokio::test(start_paused = true)]
async fn each_key_polled_once_per_interval_less_up_to_a_tenth() {
    for (jitter, pause) in [((|| 0.0) as fn() -> f64, 10), (|| 1.0, 9)] {
        let (store, began) = (FakeStore::new("vault", "1"), Instant::now());
        let mut poll = TestPoll::start(&[&store], 50, jitter);
        assert!(poll.triggered(INTERVAL * 5).await.is_empty());
        let requests: Vec<_> = store
            .requests
            .lock()
            .unwrap()
            .iter()
            .map(|(at, keys)| ((*at - began).as_secs(), *keys))
            .collect();
        assert_eq!(requests[..4], [(pause, 50), (2 * pause, 50), (3 * pause, 50), (4 * pause, 50)]);
        let text = poll.metrics.encode();
        let polls =
            format!(r#"regcred_polls_total{{store="vault",outcome="known"}} {}"#, requests.len() * 50);
        assert!(text.contains(&polls), "{polls} is not in\n{text}");
    }
}

/// Polls keys for ten minutes; returns the largest number of them in any second, and how often each was polled.
async fn polls_by_second(keys: usize, max_polls_per_second: u32) -> (usize, usize, String) {
    let (store, began) = (FakeStore::new("vault", "1"), Instant::now());
    let poll = TestPoll::start_with_budget(&[&store], keys, || 0.0, max_polls_per_second);
    tokio::time::sleep(Duration::from_mins(10)).await;
    let mut by_second: BTreeMap<u64, usize> = BTreeMap::new();
    for (at, keys) in store.requests.lock().unwrap().iter() {
        *by_second.entry((*at - began).as_secs()).or_default() += keys;
    }
    let polls: usize = by_second.values().sum();
    (by_second.into_values().max().unwrap_or_default(), polls / keys, poll.metrics.encode())
}

#[tokio::test(start_paused = true)]
async fn polls_keep_to_the_budget_of_the_store() {
    let (most, each, metrics) = polls_by_second(1000, 20).await;
    assert_eq!((most, each), (20, 11), "50 s for a round, after the first 10 s");
    assert!(metrics.contains(r#"regcred_poll_interval_seconds{store="vault"} 50"#), "{metrics}");
    let (most, each, metrics) = polls_by_second(100, 20).await;
    assert_eq!((most, each), (20, 59), "a round fits into the interval of 10 s");
    assert!(metrics.contains(r#"regcred_poll_interval_seconds{store="vault"} 10"#), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn key_out_of_use_is_not_polled_later_in_the_round() {
    let store = FakeStore::new("vault", "1");
    let poll = TestPoll::start_with_budget(&[&store], 5, || 0.0, 1);
    tokio::time::sleep(INTERVAL + Duration::from_millis(1500)).await;
    poll.known.send_modify(|known| known.retain(|key, _| key.key.0 == "0"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(store.requested_keys(), [1, 1], "the first two of the round");
}

#[tokio::test(start_paused = true)]
async fn changed_version_triggers_once_until_it_is_read() {
    let store = FakeStore::new("vault", "1");
    let mut poll = TestPoll::start(&[&store], 2, || 0.5);
    for (version, expect) in [("2", Some("2")), ("1", Some("1")), ("Deleted", None), ("1", Some("1"))] {
        store.set_version(version);
        let keys = ["0", "1"].map(|key| (format!("store vault, key {key}"), expect.map(str::to_owned)));
        assert_eq!(poll.triggered(INTERVAL).await, keys);
        assert!(poll.triggered(INTERVAL * 5).await.is_empty(), "{version} a second time");
        poll.read(expect);
    }
    store.set_version("Unavailable");
    assert!(poll.triggered(INTERVAL * 50).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn follower_polls_nothing() {
    let store = FakeStore::new("vault", "2");
    let mut poll = TestPoll::start(&[&store], 1, || 0.0);
    poll.leading.send(false).unwrap();
    assert!(poll.triggered(INTERVAL * 5).await.is_empty());
    assert!(store.requested_keys().is_empty());
    poll.leading.send(true).unwrap();
    assert_eq!(poll.triggered(INTERVAL + Duration::from_secs(1)).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hanging_store_delays_no_other() {
    let (hanging, healthy) = (FakeStore::new("hanging", ""), FakeStore::new("healthy", "1"));
    let mut poll = TestPoll::start(&[&hanging, &healthy], 1, || 0.0);
    assert!(poll.triggered(INTERVAL * 5).await.is_empty());
    healthy.set_version("2");
    assert_eq!(poll.triggered(INTERVAL).await, [("store healthy, key 0".to_owned(), Some("2".to_owned()))]);
    assert_eq!((hanging.requested_keys().len(), healthy.requested_keys().len()), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn unversioned_store_polled_once() {
    let (unversioned, versioned) =
        (FakeStore::new("kv1", Version::UNVERSIONED), FakeStore::new("vault", "1"));
    let mut poll = TestPoll::start(&[&unversioned, &versioned], 1, || 0.0);
    assert!(poll.triggered(INTERVAL * 5).await.is_empty());
    assert_eq!(unversioned.requested_keys(), [1]);
    assert!(versioned.requested_keys().len() >= 4);
    assert!(!poll.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn denied_poll_backs_off() {
    let store = FakeStore::new("vault", "Denied");
    let mut poll = TestPoll::start(&[&store], 100, || 0.0);
    assert!(poll.triggered(Duration::from_mins(15)).await.is_empty());
    assert_eq!(store.requested_keys(), [100; 5], "after 1, 2, 4 and 5 minutes");
}

#[tokio::test(start_paused = true)]
async fn poll_ends_on_stop_or_without_a_controller() {
    let store = FakeStore::new("vault", "");
    let poll = TestPoll::start(&[&store], 1, || 0.0);
    tokio::time::sleep(INTERVAL * 2).await;
    poll.stop.send(true).unwrap();
    timeout(INTERVAL, poll.task).await.unwrap().unwrap();

    let store = FakeStore::new("vault", "2");
    let TestPoll { task, trigger_receiver, known: _known, leading: _leading, stop: _stop, .. } =
        TestPoll::start(&[&store], 1, || 0.0);
    drop(trigger_receiver);
    timeout(INTERVAL * 2, task).await.unwrap().unwrap();
}

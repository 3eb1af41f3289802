//! Rounds over stores that answer what a test says.

use std::sync::Mutex;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::credential::{Key, StoredValue};
use crate::provider::Provider;
use crate::trigger::channel::{self, TriggerReceiver};

const INTERVAL: Duration = Duration::from_secs(10);

/// A version, or the reason why there is none.
pub(super) fn answer(at: &StoreKey, text: &str) -> Result<Version, Error> {
    let (at, what) = (at.clone(), "x".to_owned());
    Err(match text {
        "NotFound" => Error::NotFound { at, looked: what },
        "Deleted" => Error::Deleted { at },
        "Denied" => Error::Denied { at, what },
        "Throttled" => Error::Throttled { at },
        "Unavailable" => Error::Unavailable { at, whom: what.clone(), what },
        version => return Ok(version.into()),
    })
}

pub(super) fn place(store: &str, key: &str) -> StoreKey {
    StoreKey { store: store.into(), key: key.into() }
}

/// A store whose keys are all at one version; it hangs where that is empty.
struct Fake {
    name: &'static str,
    version: Mutex<&'static str>,
    /// The keys of each question, and when it was asked.
    asked: Mutex<Vec<(Instant, usize)>>,
}

impl Fake {
    fn new(name: &'static str, version: &'static str) -> Arc<Self> {
        Arc::new(Self { name, version: Mutex::new(version), asked: Mutex::default() })
    }

    fn is_at(&self, version: &'static str) {
        *self.version.lock().unwrap() = version;
    }

    /// How many keys it was asked for, question by question.
    fn asked(&self) -> Vec<usize> {
        self.asked.lock().unwrap().iter().map(|(_, keys)| *keys).collect()
    }
}

#[async_trait]
impl Provider for Fake {
    async fn read(&self, _: &[Key]) -> Vec<Result<StoredValue, Error>> {
        panic!("a poll reads no value")
    }

    async fn versions(&self, keys: &[Key]) -> Vec<Result<Version, Error>> {
        if keys.is_empty() {
            return Vec::new();
        }
        self.asked.lock().unwrap().push((Instant::now(), keys.len()));
        let version = *self.version.lock().unwrap();
        if version.is_empty() {
            std::future::pending::<()>().await;
        }
        keys.iter().map(|key| answer(&place(self.name, &key.0), version)).collect()
    }
}

/// A poll that runs, and what is around it.
struct Poll {
    task: JoinHandle<()>,
    held: watch::Sender<Held>,
    leading: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    trigger_receiver: TriggerReceiver,
    metrics: Arc<Metrics>,
}

impl Poll {
    /// Of stores of which every key is held at version 1.
    fn start(stores: &[&Arc<Fake>], keys: usize, jitter: fn() -> f64) -> Self {
        let places = |store: &&Arc<Fake>| {
            let name = store.name;
            (0..keys).map(move |n| (place(name, &n.to_string()), Some("1".into())))
        };
        let (held, held_now) = watch::channel(stores.iter().flat_map(places).collect());
        let (leading, leads) = watch::channel(true);
        let (stop, stopped) = watch::channel(false);
        let (triggers, trigger_receiver) = channel::channel();
        let metrics = Arc::new(Metrics::new());
        let providers =
            stores.iter().map(|&store| (StoreName::from(store.name), Arc::clone(store) as Arc<dyn Provider>));
        let settings = Settings {
            stores: Arc::new(Stores::of(providers)),
            interval: INTERVAL,
            metrics: Arc::clone(&metrics),
            wall_clock: || Timestamp::UNIX_EPOCH,
            jitter,
        };
        let task = tokio::spawn(run(settings, held_now, triggers, leads, stopped));
        Self { task, held, leading, stop, trigger_receiver, metrics }
    }

    /// What it rings for within some time.
    async fn looks(&mut self, within: Duration) -> Vec<(String, Option<String>)> {
        let Ok(Some(wake)) = timeout(within, self.trigger_receiver.recv()).await else { return Vec::new() };
        assert_eq!((wake.trigger, wake.at), (Trigger::Poll, Timestamp::UNIX_EPOCH));
        let look = |look| match look {
            TriggerScope::Key(place, version) => (place.to_string(), version.map(|version| version.0)),
            other => panic!("{other:?}"),
        };
        wake.looks.into_iter().map(look).collect()
    }

    /// A read brings this version of every key, or none.
    fn read(&self, version: Option<&str>) {
        self.held.send_modify(|held| held.values_mut().for_each(|it| *it = version.map(Version::from)));
    }
}

#[tokio::test(start_paused = true)]
async fn every_key_is_asked_for_once_in_an_interval_or_up_to_a_tenth_sooner() {
    for (jitter, pause) in [((|| 0.0) as fn() -> f64, 10), (|| 1.0, 9)] {
        let (store, began) = (Fake::new("vault", "1"), Instant::now());
        let mut poll = Poll::start(&[&store], 50, jitter);
        assert!(poll.looks(INTERVAL * 5).await.is_empty());
        let asked: Vec<_> =
            store.asked.lock().unwrap().iter().map(|(at, keys)| ((*at - began).as_secs(), *keys)).collect();
        assert_eq!(asked[..4], [(pause, 50), (2 * pause, 50), (3 * pause, 50), (4 * pause, 50)]);
        let text = poll.metrics.encode();
        let polls = format!(r#"regcred_polls_total{{store="vault",outcome="known"}} {}"#, asked.len() * 50);
        assert!(text.contains(&polls), "{polls} is not in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_version_rings_once_until_it_is_read() {
    let store = Fake::new("vault", "1");
    let mut poll = Poll::start(&[&store], 2, || 0.5);
    for (version, tells) in [("2", Some("2")), ("1", Some("1")), ("Deleted", None), ("1", Some("1"))] {
        store.is_at(version);
        let tells = tells.map(str::to_owned);
        let expect = ["0", "1"].map(|key| (format!("store vault, key {key}"), tells.clone()));
        assert_eq!(poll.looks(INTERVAL).await, expect);
        assert!(poll.looks(INTERVAL * 5).await.is_empty(), "{version} a second time");
        poll.read(tells.as_deref());
    }
    store.is_at("Unavailable");
    assert!(poll.looks(INTERVAL * 50).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_lead_asks_for_nothing() {
    let store = Fake::new("vault", "2");
    let mut poll = Poll::start(&[&store], 1, || 0.0);
    poll.leading.send(false).unwrap();
    assert!(poll.looks(INTERVAL * 5).await.is_empty());
    assert!(store.asked().is_empty());
    poll.leading.send(true).unwrap();
    assert_eq!(poll.looks(INTERVAL + Duration::from_secs(1)).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_delays_no_other() {
    let (hangs, well) = (Fake::new("hangs", ""), Fake::new("well", "1"));
    let mut poll = Poll::start(&[&hangs, &well], 1, || 0.0);
    assert!(poll.looks(INTERVAL * 5).await.is_empty());
    well.is_at("2");
    assert_eq!(poll.looks(INTERVAL).await, [("store well, key 0".to_owned(), Some("2".to_owned()))]);
    assert_eq!((hangs.asked().len(), well.asked().len()), (1, 5));
}

#[tokio::test(start_paused = true)]
async fn a_store_without_versions_is_asked_once() {
    let (without, with) = (Fake::new("kv1", Version::UNVERSIONED), Fake::new("vault", "1"));
    let mut poll = Poll::start(&[&without, &with], 1, || 0.0);
    assert!(poll.looks(INTERVAL * 5).await.is_empty());
    assert_eq!(without.asked(), [1]);
    assert!(with.asked().len() >= 4);
    assert!(!poll.task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_denied_rests() {
    let store = Fake::new("vault", "Denied");
    let mut poll = Poll::start(&[&store], 100, || 0.0);
    assert!(poll.looks(Duration::from_mins(15)).await.is_empty());
    assert_eq!(store.asked(), [100; 5], "after 1, 2, 4 and 5 minutes");
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_it_is_told_to_or_the_controller_is_gone() {
    let store = Fake::new("vault", "");
    let poll = Poll::start(&[&store], 1, || 0.0);
    tokio::time::sleep(INTERVAL * 2).await;
    poll.stop.send(true).unwrap();
    timeout(INTERVAL, poll.task).await.unwrap().unwrap();

    let store = Fake::new("vault", "2");
    let Poll { task, trigger_receiver, held: _held, leading: _leading, stop: _stop, .. } =
        Poll::start(&[&store], 1, || 0.0);
    drop(trigger_receiver);
    timeout(INTERVAL * 2, task).await.unwrap().unwrap();
}

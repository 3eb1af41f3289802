//! Reads of scripted stores, and the entries that follow.

use std::time::Duration;

use secrecy::ExposeSecret as _;

use super::*;
use crate::credential::StoredValue;
use crate::manifest::admission::tests::admission;
use crate::provider::{Denied, ErrorKind};
use crate::reconcile::fixture::{cluster_pull_secret, store_key, values};
use crate::sidecar::plan::DesiredEntries;

/// A sidecar with the registries of these hosts, at an instant.
struct TestState {
    state: SidecarState,
    now: Instant,
}

impl TestState {
    fn new(hosts: &[&str]) -> Self {
        Self::with(cluster_pull_secret("images", hosts))
    }

    fn with(registries: ClusterPullSecret) -> Self {
        let now = Instant::now();
        Self { state: SidecarState::new(Arc::new(registries), BTreeSet::new(), now), now }
    }

    /// A sidecar of a file that has entries by path for this server.
    fn with_split(hosts: &[&str], server: &str) -> Self {
        let (registries, now) = (Arc::new(cluster_pull_secret("images", hosts)), Instant::now());
        let split = [HostKey::parse(server).expect("a host")].into();
        Self { state: SidecarState::new(registries, split, now), now }
    }

    /// Starts what is due, and answers with these values.
    fn read(&mut self, read: &[(&str, &str, &str)]) {
        self.answer(values(read));
    }

    fn answer(&mut self, values: Values) {
        let started = self.state.start_due(self.now).concat_keys();
        assert_eq!(started, values.keys().cloned().collect(), "the keys that are due");
        self.state.on_read(values, (self.now, self.now), Timestamp::UNIX_EPOCH, 0.5);
    }

    fn advance(&mut self, time: Duration) -> Vec<StoreKey> {
        self.now += time;
        self.state.on_timer(self.now)
    }

    /// `key=password` for each entry, `key?` for each key that stays as it is, `*?` for a whole docker config, `key~` for
    /// an unusable entry of one, and `key!` for a registry that its store may not serve.
    fn entries(&self) -> Vec<String> {
        let DesiredEntries { entries, unread, denied, kept } = &self.state.desired().entries;
        let known =
            entries.iter().map(|(key, credential)| format!("{key}={}", credential.password.expose_secret()));
        let unread =
            unread.iter().map(|it| it.keys.as_ref().map_or_else(|| "*".to_owned(), |keys| keys.join("+")));
        let others = kept.iter().map(|key| format!("{key}~")).chain(denied.iter().map(|it| format!("{it}!")));
        known.chain(unread.map(|keys| format!("{keys}?"))).chain(others).collect()
    }

    /// The registries with a problem.
    fn problems(&self) -> Vec<String> {
        let problems = &self.state.desired().problems;
        problems.iter().filter(|(_, problem)| problem.is_some()).map(|(name, _)| name.clone()).collect()
    }

    /// The time until the next action.
    fn next_due(&self) -> Option<Duration> {
        self.state.next_due().map(|at| at.saturating_duration_since(self.now))
    }
}

/// The keys of all reads together.
trait ConcatKeys {
    fn concat_keys(self) -> BTreeSet<StoreKey>;
}

impl ConcatKeys for Vec<BTreeSet<StoreKey>> {
    fn concat_keys(self) -> BTreeSet<StoreKey> {
        self.into_iter().flatten().collect()
    }
}

fn stored(host: &str, text: &str) -> Values {
    let value = StoredValue {
        version: "1".into(),
        bytes: text.as_bytes().to_vec().into(),
        expiry: None,
        account: None,
    };
    [(store_key(host), Ok(value))].into()
}

const HOUR: Duration = Duration::from_hours(1);

#[test]
fn every_registry_is_read_at_the_start_and_each_refresh() {
    let mut test = TestState::new(&["ghcr.io", "docker.io"]);
    assert_eq!(test.entries(), ["ghcr.io?", "docker.io+https://index.docker.io/v1/+registry-1.docker.io?"]);
    test.read(&[("ghcr.io", "1", "one"), ("docker.io", "1", "hub")]);
    let hub = ["docker.io=hub", "ghcr.io=one", "https://index.docker.io/v1/=hub", "registry-1.docker.io=hub"];
    assert_eq!(test.entries(), hub);
    assert_eq!(test.next_due(), Some(HOUR));
    test.advance(HOUR);
    test.read(&[("ghcr.io", "2", "two"), ("docker.io", "1", "hub")]);
    assert!(test.entries().contains(&"ghcr.io=two".to_owned()));
}

#[test]
fn failed_read_keeps_the_last_good_entry_and_is_retried() {
    let mut test = TestState::new(&["ghcr.io", "quay.io"]);
    test.read(&[("ghcr.io", "1", "one"), ("quay.io", "", "")]);
    assert_eq!(test.entries(), ["ghcr.io=one", "quay.io?"]);
    assert_eq!(test.problems(), ["quay.io"]);
    assert!(test.state.is_settled());
    for seconds in [1, 2, 4, 8] {
        let pause = test.next_due().expect("a retry");
        assert!(
            pause <= Duration::from_secs(seconds) && pause > Duration::from_millis(seconds * 900),
            "{pause:?}"
        );
        test.advance(pause);
        test.read(&[("ghcr.io", "", ""), ("quay.io", "", "")]);
        assert_eq!(test.entries(), ["ghcr.io=one", "quay.io?"], "the last good entry stays");
        assert_eq!(test.problems(), ["ghcr.io", "quay.io"]);
    }
    test.advance(test.next_due().expect("a retry"));
    test.read(&[("ghcr.io", "2", "two"), ("quay.io", "1", "quay")]);
    assert_eq!(test.entries(), ["ghcr.io=two", "quay.io=quay"]);
    assert_eq!((test.problems(), test.next_due()), (Vec::new(), Some(HOUR)));
}

#[test]
fn polled_version_is_read_and_awaited() {
    let mut test = TestState::new(&["ghcr.io"]);
    test.read(&[("ghcr.io", "1", "one")]);
    test.advance(Duration::from_mins(1));
    let version = Version::from("2");
    test.state.on_change(&store_key("ghcr.io"), Some(&version), test.now, true);
    test.read(&[("ghcr.io", "1", "one")]);
    assert_eq!(test.next_due(), Some(Duration::from_millis(200)), "a replica lags behind");
    test.advance(Duration::from_millis(200));
    test.read(&[("ghcr.io", "2", "two")]);
    assert_eq!(test.entries(), ["ghcr.io=two"]);
    test.state.on_change(&store_key("ghcr.io"), Some(&version), test.now, true);
    assert!(test.state.start_due(test.now).is_empty(), "it was read already");
    test.state.on_change(&store_key("other"), Some(&version), test.now, true);
    assert!(test.state.start_due(test.now).is_empty(), "it is no key of this file");
}

#[test]
fn reload_reads_every_key_at_once() {
    let mut test = TestState::new(&["ghcr.io"]);
    test.read(&[("ghcr.io", "1", "one")]);
    test.state.read_all(test.now + Duration::from_millis(1));
    test.advance(Duration::from_millis(1));
    test.read(&[("ghcr.io", "1", "two")]);
    assert_eq!(test.entries(), ["ghcr.io=two"], "a store without versions");
}

#[test]
fn older_version_is_held_back_for_five_minutes() {
    let mut test = TestState::new(&["ghcr.io"]);
    test.read(&[("ghcr.io", "7@2026-11-27T10:00:00Z", "seven")]);
    test.advance(HOUR * 2);
    test.read(&[("ghcr.io", "6@2026-11-27T09:00:00Z", "six")]);
    assert_eq!(
        (test.entries(), test.problems()),
        (vec!["ghcr.io=seven".to_owned()], vec!["ghcr.io".to_owned()])
    );
    assert_eq!(test.next_due(), Some(Duration::from_mins(5)));
    test.advance(Duration::from_mins(5));
    test.read(&[("ghcr.io", "6@2026-11-27T09:00:00Z", "six")]);
    assert_eq!((test.entries(), test.problems()), (vec!["ghcr.io=six".to_owned()], Vec::new()));
}

#[test]
fn whole_docker_config_has_the_hosts_of_its_value() {
    let mut test = TestState::new(&["*"]);
    assert_eq!(test.entries(), ["*?"]);
    test.answer(stored(
        "*",
        r#"{"auths":{"ghcr.io/a":{"auth":"YTpi"},"ghcr.io/b":{"auth":"YTpj"},"quay.io":{"auth":"YTpk"}}}"#,
    ));
    assert_eq!(test.entries(), ["ghcr.io/a=b", "ghcr.io/b=c", "quay.io=d"]);
    assert_eq!(test.state.desired().limits.len(), 1, "two paths of one host");
}

#[test]
fn host_that_the_store_may_not_serve_loses_its_entry() {
    let mut images = cluster_pull_secret("images", &["ghcr.io", "quay.io"]);
    images.admission = admission(None, Some(&["quay.io"]));
    let mut test = TestState::with(images);
    assert_eq!(test.entries(), ["quay.io?", "ghcr.io!"]);
    assert_eq!(test.problems(), ["ghcr.io"]);
    test.read(&[("quay.io", "1", "quay")]);
    assert!(test.state.is_settled(), "its key is not read");
    assert_eq!(test.entries(), ["quay.io=quay", "ghcr.io!"]);
}

#[test]
fn read_of_one_key_never_postpones_the_refresh_of_another() {
    let mut test = TestState::new(&["ghcr.io", "quay.io"]);
    test.read(&[("ghcr.io", "1", "one"), ("quay.io", "1", "quay")]);
    for minute in 1..=3 {
        test.advance(HOUR / 4);
        let version = Version::from(format!("{}", minute + 1).as_str());
        test.state.on_change(&store_key("ghcr.io"), Some(&version), test.now, true);
        test.read(&[("ghcr.io", &format!("{}", minute + 1), "next")]);
    }
    assert_eq!(test.next_due(), Some(HOUR / 4), "the refresh stays where it was");
    test.advance(HOUR / 4);
    test.read(&[("ghcr.io", "4", "next"), ("quay.io", "2", "two")]);
    assert!(test.entries().contains(&"quay.io=two".to_owned()));
}

#[test]
fn read_of_another_key_is_no_failed_retry() {
    let mut test = TestState::new(&["ghcr.io", "quay.io"]);
    test.read(&[("ghcr.io", "1", "one"), ("quay.io", "", "")]);
    let retry = test.next_due().expect("a retry");
    for n in 2..6 {
        let version = Version::from(format!("{n}").as_str());
        test.state.on_change(&store_key("ghcr.io"), Some(&version), test.now, true);
        test.read(&[("ghcr.io", &format!("{n}"), "next")]);
        assert_eq!(test.next_due(), Some(retry));
    }
    test.advance(retry);
    test.read(&[("ghcr.io", "5", "next"), ("quay.io", "", "")]);
    assert!(test.next_due().expect("a retry") <= Duration::from_secs(2), "this was the second failure");
}

/// A docker config with one password for these hosts.
fn docker_config(hosts: &[&str], password: &str) -> String {
    let auths: serde_json::Map<_, _> = hosts
        .iter()
        .map(|host| ((*host).to_owned(), serde_json::json!({"username": "a", "password": password})))
        .collect();
    serde_json::json!({ "auths": auths }).to_string()
}

#[test]
fn first_of_two_docker_configs_has_the_host_of_both() {
    let mut images = cluster_pull_secret("images", &["*", "b.example.com"]);
    images.registries[1].host = None;
    let mut test = TestState::with(images);
    let both = test.state.start_due(test.now).concat_keys();
    assert_eq!(both.len(), 2);
    let mut answer = |key: &str, text: &str| {
        test.state.on_read(stored(key, text), (test.now, test.now), Timestamp::UNIX_EPOCH, 0.5);
    };
    answer("b.example.com", &docker_config(&["ghcr.io", "quay.io"], "second"));
    answer("*", &docker_config(&["ghcr.io"], "first"));
    assert_eq!(test.entries(), ["ghcr.io=first", "quay.io=second"]);
}

#[test]
fn unusable_entry_of_a_docker_config_stays_after_a_restart() {
    let mut test = TestState::new(&["*"]);
    test.answer(stored("*", r#"{"auths":{"ghcr.io":{"auth":"YTpi"},"quay.io":{"auth":"!"}}}"#));
    assert_eq!(test.entries(), ["ghcr.io=b", "quay.io~"]);
}

#[test]
fn path_keeps_its_key_while_a_docker_config_is_unread() {
    let mut test = TestState::with_split(&["ghcr.io/team", "*"], "ghcr.io");
    assert_eq!(test.entries(), ["ghcr.io/team?", "*?"]);
    assert_eq!(TestState::new(&["ghcr.io/team", "*"]).entries(), ["ghcr.io?", "*?"], "it was the only one");
    let started = test.state.start_due(test.now).concat_keys();
    assert_eq!(started.len(), 2);
    test.state.on_read(
        values(&[("ghcr.io/team", "1", "team")]),
        (test.now, test.now),
        Timestamp::UNIX_EPOCH,
        0.5,
    );
    assert_eq!(test.entries(), ["ghcr.io/team=team", "*?"]);
}

#[test]
fn issued_credential_is_renewed_at_two_thirds_of_its_life() {
    let mut test = TestState::new(&["ghcr.io"]);
    let mut values = values(&[("ghcr.io", "1", "one")]);
    let life = Life::new(Timestamp::UNIX_EPOCH, Duration::from_secs(90));
    for value in values.values_mut().flatten() {
        value.expiry = Some(Expiry::Issued(life));
    }
    test.answer(values);
    assert_eq!(test.next_due(), Some(Duration::from_mins(1)));
    assert_eq!(test.advance(Duration::from_mins(1)), [store_key("ghcr.io")]);
    let wall = Timestamp::UNIX_EPOCH + Duration::from_mins(1);
    let renewed = Life::new(wall, Duration::from_secs(90));
    test.state.on_renewed(&store_key("ghcr.io"), Some(renewed), wall, test.now);
    assert_eq!(test.next_due(), Some(Duration::from_mins(1)));
    assert_eq!(test.advance(Duration::from_mins(1)), [store_key("ghcr.io")]);
    test.state.on_renewed(&store_key("ghcr.io"), None, wall, test.now);
    test.read(&[("ghcr.io", "2", "two")]);
    assert_eq!(test.entries(), ["ghcr.io=two"]);
}

#[test]
fn deleted_key_keeps_its_entry_until_another_value_is_there() {
    let mut test = TestState::new(&["ghcr.io"]);
    test.read(&[("ghcr.io", "1", "one")]);
    for kind in [ErrorKind::NotFound, ErrorKind::Denied(Denied::Key("denied".to_owned()))] {
        test.state.read_all(test.now);
        test.answer([(store_key("ghcr.io"), Err(kind.at(store_key("ghcr.io"))))].into());
        assert_eq!(
            (test.entries(), test.problems()),
            (vec!["ghcr.io=one".to_owned()], vec!["ghcr.io".to_owned()])
        );
        test.now += Duration::from_secs(1);
    }
}

#[test]
fn path_of_an_engine_is_not_polled() {
    let mut images = cluster_pull_secret("images", &["ghcr.io", "quay.io"]);
    let path = StoreKey { key: "GET /artifactory/token/puller".into(), ..store_key("quay.io") };
    assert!(path.key.dynamic_path().is_some());
    images.registries[1].store_key = path;
    let test = TestState::with(images);
    let polled: Vec<_> = test.state.known_versions().into_keys().collect();
    assert_eq!(polled, [store_key("ghcr.io")], "a store that is asked for it would not be polled any more");
}

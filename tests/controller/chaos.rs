//! Faults of every kind at once, in rounds: after each an independent checker judges the cluster at rest, and every
//! version of every pull secret in between.
//!
//! `REGCRED_SEED` repeats a run.

mod checker;
mod fault;
mod history;
mod tenant;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use harness::{
    CLUSTER_PULL_SECRETS, LABEL, REPLICAS, SECRET, TestCluster, is_true_within, repetitions, until,
};
use serde_json::{Value, json};
use world::{Proxy, StopSignal};

use self::checker::{Expected, ExpectedNamespace, Recorded, Violation, violations};
use self::fault::{Kind, LONGEST_PAUSE};
use self::history::Recorder;
use self::tenant::Tenant;
use crate::cluster::long_test_cluster;
use crate::controller::{Controller, RunController as _};
use crate::rng::Rng;

const FAULTS: usize = 5000;
const FAULTS_PER_ROUND: usize = 25;
const NAMESPACES: usize = 24;
/// The namespaces that one storm deletes and creates.
const STORM: usize = 3;
/// The longest time to the state that the checker accepts: a Lease, and back-offs that doubled a few times.
const CONVERGENCE: Duration = Duration::from_mins(2);
/// A third revert of the same object in ten minutes has a back-off of its own, longer than a round.
const REVERTS: usize = 2;
const HOSTS: [(&str, &str); 2] = [("ghcr.io", "ghcr"), ("quay.io", "quay")];
const NAME: &str = "chaos";

struct Chaos<'a> {
    cluster: &'a TestCluster,
    proxy: &'a Proxy,
    rng: Rng,
    expected: Expected,
    recorder: Recorder,
    replicas: Vec<Controller>,
    paused: [bool; 2],
    is_sealed: bool,
    rotations: usize,
    /// The namespaces created so far: a name is never used again.
    created: usize,
    reverts: BTreeMap<(String, &'static str), usize>,
    counts: BTreeMap<Kind, usize>,
    /// The namespaces with a copy that becomes the pull secret in this round: until its end it may be either.
    taken_over: BTreeSet<String>,
    /// The faults of this round, for the message of a failure.
    round: Vec<String>,
}

impl Chaos<'_> {
    /// Injects one fault that is possible now.
    async fn inject(&mut self) {
        loop {
            let kind = Kind::draw(&mut self.rng);
            if self.try_inject(kind).await {
                *self.counts.entry(kind).or_default() += 1;
                return;
            }
        }
    }

    async fn try_inject(&mut self, kind: Kind) -> bool {
        if let Some(rule) = kind.rule(&mut self.rng) {
            self.round.push(format!("{rule:?}"));
            self.proxy.set_rules([rule]);
            return true;
        }
        self.round.push(format!("{kind:?}"));
        let signal = *self.rng.choose(&[StopSignal::Kill, StopSignal::Terminate]);
        match kind {
            Kind::Kill => {
                let replica = self.rng.below(REPLICAS.len());
                self.replicas[replica].kill().await;
                self.start(replica).await;
            }
            Kind::Pause => {
                let replica = self.rng.below(REPLICAS.len());
                self.toggle(replica).await;
            }
            Kind::CutWatches => self.proxy.cut_watches(),
            Kind::ExpireWatches => self.proxy.expire_watches(),
            Kind::Refuse => {
                self.proxy.refuse();
                tokio::time::sleep(self.rng.duration(LONGEST_PAUSE)).await;
                self.proxy.accept().expect("connections are accepted again");
            }
            Kind::RestartApiServer => {
                self.cluster.kube.restart_apiserver(signal).await.expect("the API server starts");
            }
            Kind::RestartEtcd => self.cluster.kube.restart_etcd(signal).await.expect("etcd starts"),
            Kind::Seal => self.seal(!self.is_sealed).await,
            Kind::Storm => self.storm().await,
            Kind::Select => return self.select().await,
            Kind::Rotate => return self.rotate().await,
            _ => return self.tenant(kind).await,
        }
        true
    }

    async fn start(&mut self, replica: usize) {
        let launch = self.cluster.controller().replica(REPLICAS[replica]).through(self.proxy);
        let manifests = self.cluster.write(&[&self.cluster.config("triggers: {pollInterval: 1s}\n")]);
        let controller = launch.manifests(&manifests).args(&["--lease-duration", "3s"]).spawn().await;
        self.paused[replica] = false;
        if replica < self.replicas.len() {
            self.replicas[replica] = controller;
        } else {
            self.replicas.push(controller);
        }
    }

    async fn toggle(&mut self, replica: usize) {
        if self.replicas[replica].has_ended() {
            self.start(replica).await;
        } else if self.paused[replica] {
            self.replicas[replica].resume();
            self.paused[replica] = false;
        } else {
            self.replicas[replica].pause();
            self.paused[replica] = true;
        }
    }

    async fn seal(&mut self, is_sealed: bool) {
        if is_sealed {
            self.cluster.vault.seal().await.expect("Vault seals");
        } else {
            self.cluster.vault.unseal().await.expect("Vault unseals");
        }
        self.is_sealed = is_sealed;
    }

    /// Puts a new password of each host; the number at its end grows.
    async fn rotate(&mut self) -> bool {
        if self.is_sealed {
            return false;
        }
        self.rotations += 1;
        for (host, key) in HOSTS {
            let password = format!("{key}-{}", self.rotations);
            self.cluster.put(key, &json!({"username": "robot", "password": password})).await;
            self.expected.credentials.insert(host.to_owned(), format!("robot:{password}"));
        }
        true
    }

    async fn storm(&mut self) {
        let names: Vec<_> = self.expected.namespaces.keys().take(STORM).cloned().collect();
        for name in &names {
            self.recorder.history().prune(name);
            self.expected.namespaces.remove(name);
        }
        let paths = names.iter().map(|name| format!("/api/v1/namespaces/{name}")).collect();
        self.cluster.kube.delete_all(paths).await.expect("namespaces are deleted");
        self.create(STORM).await;
    }

    async fn create(&mut self, count: usize) {
        let names: Vec<_> = (self.created..self.created + count).map(|n| format!("{NAME}-{n:05}")).collect();
        self.created += count;
        let labels = [(LABEL, NAME)];
        self.cluster.kube.create_namespaces(names.clone(), &labels).await.expect("namespaces");
        let selected = ExpectedNamespace { is_selected: true, ..ExpectedNamespace::default() };
        self.expected.namespaces.extend(names.into_iter().map(|name| (name, selected.clone())));
    }

    /// Toggles the selection of a random namespace; false where it has to stay as it is.
    async fn select(&mut self) -> bool {
        let names: Vec<_> = self.expected.namespaces.keys().cloned().collect();
        let name = self.rng.choose(&names).clone();
        if self.taken_over.contains(&name) {
            return false;
        }
        let state = self.expected.namespaces.get_mut(&name).expect("it is there");
        state.is_selected = !state.is_selected;
        if state.is_selected && state.copy.is_some() {
            self.taken_over.insert(name.clone());
        }
        let label = json!({"metadata": {"labels": {LABEL: if state.is_selected { NAME } else { "left" }}}});
        self.recorder.history().prune(&name);
        self.cluster.kube.patch(&format!("/api/v1/namespaces/{name}"), &label).await.expect("a label");
        true
    }

    /// An edit by the tenant of a random namespace; false where it is not possible there.
    async fn tenant(&mut self, kind: Kind) -> bool {
        let names: Vec<_> = self.expected.namespaces.keys().cloned().collect();
        let name = self.rng.choose(&names).clone();
        if kind == Kind::Unlabel && self.taken_over.contains(&name) {
            return false;
        }
        let reverted = match kind {
            Kind::DeleteSecret | Kind::EditSecret | Kind::Unlabel => Some("secret"),
            Kind::WipeEntries | Kind::Unannotate => Some("entry"),
            _ => None,
        };
        if let Some(what) = reverted {
            let reverts = self.reverts.entry((name.clone(), what)).or_default();
            if *reverts == REVERTS {
                return false;
            }
            *reverts += 1;
        }
        let (entry, source) = (format!("theirs-{}", self.rng.below(1000)), self.rng.choose(&names).clone());
        let state = self.expected.namespaces.get_mut(&name).expect("it is there");
        let mut tenant = Tenant { cluster: self.cluster, recorder: &self.recorder, name: &name, state };
        match kind {
            Kind::DeleteSecret => tenant.delete_secret().await,
            Kind::EditSecret => tenant.edit_secret().await,
            Kind::Unlabel => tenant.unlabel().await,
            Kind::Plant => tenant.plant().await,
            Kind::Copy => tenant.copy_from(&source).await,
            Kind::WipeEntries => tenant.wipe_entries().await,
            Kind::Unannotate => tenant.unannotate().await,
            Kind::AddEntry => tenant.add_entry(entry).await,
            Kind::ReorderEntries => tenant.reorder_entries().await,
            _ => unreachable!("the other kinds are no edits"),
        }
    }

    /// Ends every fault: what has ended starts again.
    async fn calm(&mut self) {
        self.proxy.set_rules([]);
        if self.is_sealed {
            self.seal(false).await;
        }
        for replica in 0..REPLICAS.len() {
            if self.paused[replica] {
                self.replicas[replica].resume();
                self.paused[replica] = false;
            }
            // A replica that lost its Lease ends, and the kubelet starts it again.
            if self.replicas[replica].has_ended() {
                self.start(replica).await;
            }
        }
    }

    /// Waits until the checker accepts the cluster. A replica that ends meanwhile is started again.
    async fn converge(&mut self) -> Result<(), Vec<Violation>> {
        let deadline = std::time::Instant::now() + CONVERGENCE;
        loop {
            self.calm().await;
            let is_at_rest = async || self.violations().await.is_some_and(|it| it.is_empty());
            if is_true_within(Duration::from_secs(2), is_at_rest).await {
                break;
            }
            if std::time::Instant::now() > deadline {
                return Err(self.violations().await.unwrap_or_default());
            }
        }
        for name in std::mem::take(&mut self.taken_over) {
            if let Some(state) = self.expected.namespaces.get_mut(&name) {
                state.copy = None;
            }
        }
        let violations = self.recorder.history().violations();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// Returns what the checker finds now; `None` while the API server is away.
    async fn violations(&self) -> Option<Vec<Violation>> {
        Some(violations(&self.expected, &self.record().await?))
    }

    async fn record(&self) -> Option<Recorded> {
        let list = async |path: &str| {
            let list = self.cluster.kube.get(path).await.ok()?;
            list["items"].as_array().cloned()
        };
        let namespaces = list(&format!("/api/v1/namespaces?labelSelector={LABEL}")).await?;
        // A namespace that is being deleted is not judged, and counted until it is gone.
        Some(Recorded {
            namespaces,
            secrets: list(&format!("/api/v1/secrets?fieldSelector=metadata.name%3D{SECRET}")).await?,
            service_accounts: list("/api/v1/serviceaccounts?fieldSelector=metadata.name%3Ddefault").await?,
            cluster_pull_secret: self
                .cluster
                .kube
                .get(&format!("{CLUSTER_PULL_SECRETS}/{NAME}"))
                .await
                .ok()?,
        })
    }
}

fn cluster_pull_secret(cluster: &TestCluster) -> Value {
    let registries =
        HOSTS.map(|(host, key)| json!({"host": host, "from": {"store": "vault", "key": cluster.key(key)}}));
    let mut object = cluster.cluster_pull_secret(NAME);
    object["spec"]["registries"] = json!(registries);
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_leave_no_violation() {
    let cluster = long_test_cluster(NAME).await;
    let proxy = Proxy::start(&cluster.kube).expect("a proxy");
    let mut chaos = Chaos {
        cluster: &cluster,
        proxy: &proxy,
        rng: Rng::new(),
        expected: Expected { label: NAME.to_owned(), ..Expected::default() },
        recorder: Recorder::new(&cluster).await,
        replicas: Vec::new(),
        paused: [false; 2],
        is_sealed: false,
        rotations: 0,
        created: 0,
        reverts: BTreeMap::new(),
        counts: BTreeMap::new(),
        taken_over: BTreeSet::new(),
        round: Vec::new(),
    };
    chaos.create(NAMESPACES).await;
    chaos.rotate().await;
    cluster.apply(&cluster_pull_secret(&cluster)).await;
    for replica in 0..REPLICAS.len() {
        chaos.start(replica).await;
    }
    until("the first state", async || chaos.violations().await.is_some_and(|it| it.is_empty())).await;

    let faults = repetitions(FAULTS);
    for round in 1..=faults / FAULTS_PER_ROUND {
        cluster.pause().await;
        chaos.round.clear();
        for _ in 0..FAULTS_PER_ROUND {
            chaos.inject().await;
            tokio::time::sleep(chaos.rng.duration(LONGEST_PAUSE)).await;
        }
        if let Err(violations) = chaos.converge().await {
            let violations: Vec<_> = violations.iter().map(ToString::to_string).collect();
            let faults = chaos.round.join("\n");
            panic!("violations after round {round}:\n{}\nafter the faults:\n{faults}", violations.join("\n"));
        }
    }
    let injected: usize = chaos.counts.values().sum();
    assert_eq!(injected, faults / FAULTS_PER_ROUND * FAULTS_PER_ROUND, "{:?}", chaos.counts);
    assert!(chaos.recorder.history().len() > injected, "the recorder saw {}", chaos.recorder.history().len());
}

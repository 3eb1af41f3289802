//! A namespace with a lease, and replicas that run for it, each with a client behind its fence.

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use regcred::cluster::error::Error;
use regcred::leader_election::clock::Clock;
use regcred::leader_election::fence::{self, Fence};
use regcred::leader_election::{self, LeaderElection, LeaderElectionConfig, Leadership};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use world::{AuditMark, World};

use crate::cluster::until;

pub(crate) struct Election {
    pub(crate) world: &'static World,
    pub(crate) namespace: &'static str,
    /// The configuration of an account that may run for the lease and create `ConfigMaps`.
    pub(crate) config: Config,
    /// The position in the audit log before the first replica.
    mark: AuditMark,
}

pub(crate) struct Replica {
    pub(crate) election: LeaderElection,
    pub(crate) leadership: Leadership,
    pub(crate) client: Client,
}

impl Election {
    pub(crate) async fn new(namespace: &'static str) -> Self {
        let world = World::shared().await;
        let kube = &world.kube;
        kube.create_namespaces([namespace], &[]).await.expect("a namespace");
        let role = json!({"metadata": {"name": "leader"}, "rules": [
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["regcred"],
             "verbs": ["get", "list", "watch", "patch"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["regcred"], "verbs": ["get", "patch"]},
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        ]});
        let binding = json!({
            "metadata": {"name": "leader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "leader"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
        });
        let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
        kube.post(&format!("{rbac}/roles"), &role).await.expect("a Role");
        kube.post(&format!("{rbac}/rolebindings"), &binding).await.expect("a RoleBinding");
        let account = world::service_account_user(namespace, "default");
        let may = ["auth", "can-i", "patch", "leases/regcred", "-n", namespace, "--as", &account];
        until(async || kube.kubectl(&may).await.is_ok()).await;

        let file = kube.kubeconfig_as(namespace, "default").await.expect("a token");
        let kubeconfig = Kubeconfig::read_from(file).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let mark = kube.audit_mark().expect("an audit log");
        Self { world, namespace, config: config.expect("a configuration"), mark }
    }

    pub(crate) fn lease_config(&self, identity: &str, seconds: u64) -> LeaderElectionConfig {
        LeaderElectionConfig {
            namespace: self.namespace.to_owned(),
            name: "regcred".to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(seconds),
        }
    }

    /// Starts a replica that runs for the lease with a duration of `seconds`.
    pub(crate) fn run(&self, identity: &str, seconds: u64) -> Replica {
        Replica::run(self.config.clone(), self.lease_config(identity, seconds), Clock::boot_time())
    }

    fn path(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/regcred", self.namespace)
    }

    /// Reads the lease as an administrator.
    pub(crate) async fn lease(&self) -> Value {
        self.world.kube.get(&self.path()).await.expect("a Lease")
    }

    /// Returns the number of requests of the replicas with this verb in the audit log.
    pub(crate) fn logged(&self, verb: &str) -> usize {
        let user = world::service_account_user(self.namespace, "default");
        let events = self.world.kube.audit_events_by(&user, self.mark).expect("an audit log");
        events.iter().filter(|event| event.verb == verb).count()
    }

    /// Changes the lease as an administrator.
    pub(crate) async fn patch_lease(&self, change: &Value) {
        self.world.kube.patch(&self.path(), change).await.expect("a patch");
    }
}

impl Replica {
    pub(crate) fn run(config: Config, lease_config: LeaderElectionConfig, clock: Clock) -> Self {
        let leadership = Leadership::new(&lease_config, clock);
        let client =
            fence::client(config, &Fence::new(&lease_config, leadership.clone()), ClientBuilder::try_from);
        let client = client.expect("a client");
        let election = leader_election::start(client.clone(), lease_config, leadership.clone());
        Self { election, leadership, client }
    }

    pub(crate) fn leads(&self) -> bool {
        *self.election.leading.borrow()
    }

    /// Waits until this replica leads.
    pub(crate) async fn wins(&mut self) {
        self.expect(true).await;
        assert!(self.leadership.is_current());
    }

    /// Waits until this replica no longer leads.
    pub(crate) async fn loses(&mut self) {
        self.expect(false).await;
        assert!(!self.leadership.is_current());
    }

    async fn expect(&mut self, leads: bool) {
        let change = self.election.leading.wait_for(|it| *it == leads);
        let change = tokio::time::timeout(Duration::from_mins(1), change).await;
        drop(change.expect("within a minute").expect("a running election"));
    }

    /// Releases the lease and waits for the end of the election.
    pub(crate) async fn releases(self) {
        self.election.release.send(()).expect("a running election");
        self.election.task.await.expect("no panic").expect("the lease was not lost");
    }

    /// Writes an object as this replica.
    pub(crate) async fn writes(&self) -> Result<(), Error> {
        let config_maps = Api::<ConfigMap>::default_namespaced(self.client.clone());
        let metadata = ObjectMeta { generate_name: Some("written-".to_owned()), ..ObjectMeta::default() };
        let config_map = ConfigMap { metadata, ..ConfigMap::default() };
        let written = config_maps.create(&PostParams::default(), &config_map).await;
        written.map(drop).map_err(|error| Error::from(&error))
    }
}

/// Polls all leaderships, and ends only if two are current at once, which is an error.
pub(crate) fn witness(replicas: &[&Replica]) -> JoinHandle<()> {
    let leaderships: Vec<Leadership> = replicas.iter().map(|replica| replica.leadership.clone()).collect();
    let mut interval = tokio::time::interval(Duration::from_millis(1));
    tokio::spawn(async move {
        while leaderships.iter().filter(|leadership| leadership.is_current()).count() < 2 {
            interval.tick().await;
        }
    })
}

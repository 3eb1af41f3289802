//! The rounds of a run: one, and up to two more where another process wrote at the same time.
//!
//! A Secret that holds a later version than the store answered, or an unknown one after a conflict, is not
//! written before the store was read again. Another round plans every namespace again: what this run wrote
//! before may be outdated as well.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::Client;
use tracing::{info, warn};

use super::claims::Claims;
use super::desired_secret::{DesiredSecret, KnownValues};
use super::plan::Planner;
use super::progress::Monitor;
use super::unread::Unread;
use super::version_order::KeyOrder;
use super::{Options, apply, copies, namespace_keys, namespace_values, resolve};
use crate::cluster::error::Error;
use crate::cluster::{self, Cluster};
use crate::credential::StoreKey;
use crate::installation::Installation;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::object_name::SecretName;
use crate::provider::stores::{Stores, Values};
use crate::report::Report;
use crate::rotator::AcceptedOlder;

/// The rounds after the first. Two suffice for two runs at once: each later round reads the stores after it
/// has seen what the other run wrote.
const MORE_ROUNDS: usize = 2;

/// The inputs that all rounds of a run share.
pub(super) struct Run<'a> {
    pub(super) client: &'a Client,
    pub(super) stores: &'a Stores,
    /// The claims of every ClusterPullSecret.
    pub(super) claims: Claims,
    /// Those that are reconciled.
    pub(super) chosen: Vec<&'a Arc<ClusterPullSecret>>,
    pub(super) options: Options,
    pub(super) monitor: &'a Monitor<'a>,
}

impl Run<'_> {
    /// Runs rounds until no Secret holds a version that asks for another read of the stores.
    pub(super) async fn run(
        &self,
        installation: impl Future<Output = Result<Installation, Error>>,
    ) -> Result<(Report, Installation), Error> {
        let (secret_names, shared) = (self.secret_names(), self.shared_keys());
        // In this order, here and below: what the store answers is no older than what a Secret was seen to hold.
        let observed = cluster::observe(self.client, &secret_names);
        let (cluster, mut installation) = tokio::try_join!(observed, installation)?;
        let mut values = self.stores.read(&shared).await;
        values.extend(self.read_own_keys(&cluster).await);
        let mut report = self.round(values, cluster, &mut installation).await;
        let mut settled = Vec::new();
        for _ in 0..MORE_ROUNDS {
            let conflicts = report.version_conflicts();
            // Conflicts that another round left as they were need no third one.
            if conflicts == settled || self.monitor.is_stopping() {
                break;
            }
            settled = conflicts;
            info!(
                "another process wrote at the same time, or a store answered an older version: reading both again"
            );
            let cluster = match cluster::observe(self.client, &secret_names).await {
                Ok(cluster) => cluster,
                Err(error) => {
                    warn!(%error, "cannot read the cluster again");
                    break;
                }
            };
            let mut values = self.stores.read(&shared).await;
            values.extend(self.read_own_keys(&cluster).await);
            report = report.followed_by(self.round(values, cluster, &mut installation).await);
        }
        Ok((report.with_hints(), installation))
    }

    fn secret_names(&self) -> BTreeSet<SecretName> {
        self.chosen.iter().flat_map(|it| it.secret_names().cloned()).collect()
    }

    /// Returns the keys that all namespaces share.
    fn shared_keys(&self) -> BTreeSet<StoreKey> {
        self.chosen.iter().flat_map(|it| namespace_keys::shared_keys(it)).cloned().collect()
    }

    /// Reads the keys of single namespaces, which are known once the namespaces are.
    async fn read_own_keys(&self, cluster: &Cluster) -> Values {
        let keys = namespace_keys::keys_of_namespaces(self.chosen.iter().map(AsRef::as_ref), cluster);
        if keys.is_empty() { Values::new() } else { self.stores.read(&keys).await }
    }

    /// Plans every namespace and carries the plan out.
    async fn round(&self, values: Values, mut cluster: Cluster, installation: &mut Installation) -> Report {
        cluster.assess(installation.key.as_deref(), &installation.owned);
        let accepted_older =
            if self.options.accept_older { AcceptedOlder::All } else { AcceptedOlder::default() };
        let desired = self.chosen.iter().map(|it| {
            let mut resolved = resolve::resolve(it, &values);
            namespace_values::summarise(&mut resolved, &cluster, &values);
            DesiredSecret::new(resolved, installation.values()).accepting_older(accepted_older.clone())
        });
        let desired: Vec<_> = desired.collect();
        for desired in &desired {
            desired.record(installation);
            namespace_values::record(
                desired.cluster_pull_secret(),
                &cluster.namespaces,
                &values,
                installation,
                &|_| KeyOrder::default(),
                &accepted_older,
            );
        }
        for it in &self.chosen {
            let copies = copies::copies(it, &self.claims, &cluster);
            if !copies.is_empty() {
                warn!(cluster_pull_secret = it.name, "{}", copies::describe(&copies));
            }
        }
        let key = installation.key.clone();
        let (recorded, owned) = installation.parts_mut();
        let known =
            KnownValues { values: &values, recorded: Some(recorded), order: &|_| KeyOrder::default() };
        let planner = Planner::new(&self.claims, &desired, &known, &cluster, key.as_ref());
        let plan = planner.plan(&cluster);
        let unread = Unread::new(self.client, &planner, &plan, cluster);
        if self.options.dry_run {
            apply::dry_run(plan, self.options.concurrency, &unread).await
        } else {
            apply::apply(self.client, plan, self.options.concurrency, self.monitor, &unread, owned).await
        }
    }
}

//! Which ClusterPullSecrets a command is about: those of the files, and where the files hold none,
//! those of the cluster.

use anyhow::anyhow;
use kube::Client;

use super::Failure;
use crate::cluster;
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, sort_by_age};
use crate::manifest::config::Store;
use crate::manifest::field::FieldErrors;
use crate::manifest::{object, read_object};
use crate::report::ClusterPullSecretReport;

/// The ClusterPullSecrets there are.
#[derive(Debug, Default)]
pub struct ClusterPullSecrets {
    /// Those without a mistake, the oldest first.
    pub good: Vec<ClusterPullSecret>,
    /// Objects of the cluster by name, with their mistakes. A mistake in a file ends the command; one in
    /// an object keeps nobody from the others.
    pub invalid: Vec<(String, FieldErrors)>,
}

impl ClusterPullSecrets {
    /// Those of the cluster, whose stores are `stores`; `none_given` says why it is asked.
    pub async fn of_cluster(
        client: &Client,
        address: &str,
        stores: &[Store],
        none_given: &str,
    ) -> Result<Self, Failure> {
        let listed = cluster::cluster_pull_secret::list(client).await.map_err(|error| {
            let what = format!("{none_given}, and those of the cluster at {address} cannot be read");
            Failure::World(anyhow::Error::new(error).context(what))
        })?;
        let listed = listed.ok_or_else(|| {
            Failure::World(anyhow!(
                "{none_given}, and the cluster at {address} does not know the kind: give one with -f, or install \
                 the CRD with `regcred crd | kubectl apply --server-side -f -`"
            ))
        })?;
        if listed.is_empty() {
            return Err(Failure::World(anyhow!(
                "{none_given}, and there is none in the cluster at {address} either: there is nothing to rotate"
            )));
        }
        let mut cluster_pull_secrets = Self::default();
        for json in &listed {
            match read_object(json, stores) {
                Ok(cluster_pull_secret) => cluster_pull_secrets.good.push(cluster_pull_secret),
                Err(mistakes) => cluster_pull_secrets.invalid.push((object::name(json).to_owned(), mistakes)),
            }
        }
        sort_by_age(&mut cluster_pull_secrets.good);
        Ok(cluster_pull_secrets)
    }

    /// Fails where one of `names` is none of them. `who` has them: `the manifests hold`, `they hold`.
    pub fn check_names(&self, names: &[String], [who, they]: [&str; 2]) -> Result<(), Failure> {
        let invalid = self.invalid.iter().map(|(name, _)| name);
        let known: Vec<_> = self.good.iter().map(|it| &it.name).chain(invalid).map(String::as_str).collect();
        match names.iter().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(Failure::World(anyhow!(
                "{who} no ClusterPullSecret {unknown}; {they}: {}",
                known.join(", ")
            ))),
        }
    }

    /// What is to be reported of those that nothing may be done for, where they are `wanted`.
    pub fn left_alone(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<ClusterPullSecretReport> {
        let at_rest = self
            .good
            .iter()
            .filter_map(|it| Some(ClusterPullSecretReport::at_rest(it, it.inactive_reason()?)));
        let invalid =
            self.invalid.iter().map(|(name, mistakes)| ClusterPullSecretReport::invalid(name, mistakes));
        at_rest.chain(invalid).filter(|report| wanted(&report.name)).collect()
    }
}

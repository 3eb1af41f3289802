//! The ClusterPullSecrets of a command: those of the files, or, if the files hold none, those of the cluster.

use anyhow::anyhow;
use kube::Client;
use tracing::warn;

use super::Failure;
use super::connection::request_failed;
use crate::cluster;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::manifest::cluster_pull_secret::sort_by_age;
use crate::manifest::config::Store;
use crate::manifest::field::FieldErrors;
use crate::manifest::object::LiveObject;
use crate::manifest::{object, read_object};
use crate::reconcile::claims::Others;
use crate::report::ClusterPullSecretReport;

/// The ClusterPullSecrets of a command.
#[derive(Debug, Default)]
pub struct ClusterPullSecrets {
    /// The valid ones, the oldest first.
    pub valid: Vec<ClusterPullSecret>,
    /// The invalid objects of the cluster by name, with their errors. An error in a file ends the command;
    /// one in an object does not block the others.
    pub invalid: Vec<(String, FieldErrors)>,
}

impl ClusterPullSecrets {
    /// Reads those of the cluster, which may refer to `stores`; `none_given` is the reason why the cluster is
    /// read.
    pub async fn from_cluster(
        client: &Client,
        address: &str,
        stores: &[Store],
        none_given: &str,
    ) -> Result<Self, Failure> {
        let listed = cluster::cluster_pull_secret::list(client).await.map_err(|error| {
            let what = format!("{none_given}, and those of the cluster at {address} cannot be read");
            request_failed(&what, &error)
        })?;
        let Some(listed) = listed else {
            return Err(crd_missing(&format!("{none_given}, and the CRD"), address));
        };
        if listed.is_empty() {
            let what = format!("{none_given}, and the cluster at {address} has none: nothing to rotate");
            return Err(Failure::external(anyhow!(what)).with_hint("pass a ClusterPullSecret with -f"));
        }
        let mut cluster_pull_secrets = Self::default();
        for json in &listed {
            match read_object(json, stores) {
                Ok(cluster_pull_secret) => {
                    report_unknown_fields(&cluster_pull_secret);
                    cluster_pull_secrets.valid.push(cluster_pull_secret);
                }
                Err(errors) => cluster_pull_secrets.invalid.push((object::name(json).to_owned(), errors)),
            }
        }
        sort_by_age(&mut cluster_pull_secrets.valid);
        Ok(cluster_pull_secrets)
    }

    /// Returns the invalid ones: no others exist in the cluster.
    #[must_use]
    pub fn others(&self) -> Others {
        Others::Invalid(self.invalid.iter().map(|(name, _)| name.clone()).collect())
    }

    /// Fails if one of `names` does not exist in `origin`: `the manifests`, `the cluster`.
    pub fn check_names(&self, names: &[String], origin: &str) -> Result<(), Failure> {
        let invalid = self.invalid.iter().map(|(name, _)| name);
        let known: Vec<_> = self.valid.iter().map(|it| &it.name).chain(invalid).map(String::as_str).collect();
        match names.iter().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(unknown) => Err(not_found(unknown, origin, &known)),
        }
    }

    /// Returns the reports of those that nothing may be done for, if they are `selected`.
    pub fn left_alone(&self, selected: &dyn Fn(&str) -> bool) -> Vec<ClusterPullSecretReport> {
        let at_rest = self
            .valid
            .iter()
            .filter_map(|it| Some(ClusterPullSecretReport::at_rest(it, it.inactive_reason()?)));
        let invalid =
            self.invalid.iter().map(|(name, errors)| ClusterPullSecretReport::invalid(name, errors));
        at_rest.chain(invalid).filter(|report| selected(&report.name)).collect()
    }
}

/// Logs the fields that this version does not know.
fn report_unknown_fields(manifest: &ClusterPullSecret) {
    if let Some(message) = manifest.object.as_ref().and_then(LiveObject::unknown_fields_message) {
        warn!(cluster_pull_secret = manifest.name, "{message}");
    }
}

/// Creates the failure of a cluster without the CRD; `what` ends with `the CRD`.
pub(super) fn crd_missing(what: &str, address: &str) -> Failure {
    Failure::external(anyhow!("{what} is not installed in the cluster at {address}")).with_hint(
        "install the CRD: `regcred crd | kubectl apply --server-side -f -`, or rotate without it: `regcred rotate -f FILE`",
    )
}

/// Creates the failure of a name that does not exist in `origin`, with the names that do.
pub(super) fn not_found(name: &str, origin: &str, known: &[&str]) -> Failure {
    let failure = Failure::external(anyhow!("ClusterPullSecret {name} not found in {origin}"));
    if known.is_empty() {
        return failure.with_hint("create it: none exists there");
    }
    failure.with_hint(format!("use one of: {}", known.join(", ")))
}

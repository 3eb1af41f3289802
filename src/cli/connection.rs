//! The connection to the cluster: `--kubeconfig` and `--context` as in kubectl, or the pod's ServiceAccount.

use std::path::PathBuf;

use anyhow::anyhow;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::Failure;

/// The arguments that select the cluster.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct Connection {
    /// The kubeconfig file. Default: $KUBECONFIG, ~/.kube/config, or the ServiceAccount of the pod.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Connection {
    /// Returns a client for the cluster, and the address it connects to. Sends no request yet.
    pub async fn client(&self) -> Result<(Client, String), Failure> {
        let (config, address) = self.config().await?;
        let client = Client::try_from(config).map_err(|error| no_client(&address, &error))?;
        Ok((client, address))
    }

    /// Returns the client configuration for the cluster, and the address it connects to.
    pub async fn config(&self) -> Result<(Config, String), Failure> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let config = match self.kubeconfig()? {
            Some(kubeconfig) => {
                let contexts: Vec<_> = kubeconfig.contexts.iter().map(|it| it.name.clone()).collect();
                let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
                // The errors of `kube` contain their causes, so only the message is kept.
                config.map_err(|error| {
                    Failure::external(anyhow!("cannot use the kubeconfig: {error}"))
                        .with_hint(format!("the contexts for --context are: {}", contexts.join(", ")))
                })?
            }
            None => Config::incluster().map_err(|_| {
                Failure::external(anyhow!("no Kubernetes configuration found (no kubeconfig, not in a pod)"))
                    .with_hint("pass --kubeconfig or set KUBECONFIG")
            })?,
        };
        let address = config.cluster_url.to_string();
        Ok((config, address))
    }

    /// Reads the kubeconfig, if there is one: `--kubeconfig`, else the files of `KUBECONFIG` merged, else
    /// `~/.kube/config`. As in kubectl, files of `KUBECONFIG` that do not exist are ignored.
    fn kubeconfig(&self) -> Result<Option<Kubeconfig>, Failure> {
        let files: Vec<PathBuf> = match (&self.kubeconfig, std::env::var_os("KUBECONFIG")) {
            (Some(file), _) => vec![file.clone()],
            (None, Some(list)) if !list.is_empty() => {
                std::env::split_paths(&list).filter(|file| file.exists()).collect()
            }
            (None, _) => {
                let home = std::env::home_dir().map(|home| home.join(".kube/config"));
                home.filter(|file| file.exists()).into_iter().collect()
            }
        };
        let kubeconfigs = files.iter().map(|file| {
            Kubeconfig::read_from(file)
                .map_err(|error| anyhow!("cannot use kubeconfig {}: {error}", file.display()))
        });
        let merged = kubeconfigs.reduce(|merged, next| {
            merged?.merge(next?).map_err(|error| anyhow!("cannot merge the files of KUBECONFIG: {error}"))
        });
        merged.transpose().map_err(Failure::external)
    }
}

/// Creates the failure of a client that cannot be built.
pub(super) fn no_client(address: &str, error: &kube::Error) -> Failure {
    Failure::external(anyhow!("cannot connect to the cluster at {address}: {error}"))
}

//! Which cluster: `--kubeconfig` and `--context` as in kubectl, or the pod regcred runs in.

use std::path::PathBuf;

use anyhow::anyhow;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::Failure;

/// Which cluster to talk to.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub struct Connection {
    /// The kubeconfig file. Default: $KUBECONFIG, ~/.kube/config, or the pod regcred runs in.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl Connection {
    /// A client for the cluster, and the address it talks to. Makes no request yet.
    pub async fn client(&self) -> Result<(Client, String), Failure> {
        let (config, address) = self.config().await?;
        let client = Client::try_from(config)
            .map_err(|error| Failure::World(anyhow!("cannot talk to the cluster at {address}: {error}")))?;
        Ok((client, address))
    }

    /// How to reach the cluster, and the address it is at.
    pub async fn config(&self) -> Result<(Config, String), Failure> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        // The errors of `kube` tell their cause in their own message, so only that is kept of them.
        let config = match self.kubeconfig()? {
            Some(kubeconfig) => {
                let contexts: Vec<_> = kubeconfig.contexts.iter().map(|it| it.name.clone()).collect();
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(|error| anyhow!("cannot use the kubeconfig: {error}; its contexts: {}", contexts.join(", ")))
            }
            None => Config::incluster().map_err(|_| {
                anyhow!(
                    "no cluster to talk to: there is no kubeconfig, and this is no pod with a ServiceAccount token; \
                     give --kubeconfig or set KUBECONFIG"
                )
            }),
        };
        let config = config.map_err(Failure::World)?;
        let address = config.cluster_url.to_string();
        Ok((config, address))
    }

    /// The kubeconfig, where there is one: `--kubeconfig`, else the files of `KUBECONFIG` merged, else
    /// `~/.kube/config`. Like kubectl, files of `KUBECONFIG` that do not exist are passed over.
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
        let read = |file: &PathBuf| {
            Kubeconfig::read_from(file)
                .map_err(|error| anyhow!("cannot use kubeconfig {}: {error}", file.display()))
        };
        let merged = files.iter().map(read).reduce(|merged, next| {
            merged?.merge(next?).map_err(|error| anyhow!("cannot merge the files of KUBECONFIG: {error}"))
        });
        merged.transpose().map_err(Failure::World)
    }
}

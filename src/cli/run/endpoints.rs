//! The endpoints for the kubelet and for Prometheus: their addresses, and the tasks that serve them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::super::Failure;
use super::super::listening::{bind, stopped};
use crate::admin::{self, Health};

/// The arguments of the endpoints.
#[derive(Debug, clap::Args)]
pub(super) struct EndpointArgs {
    /// Address of the endpoint of Prometheus: /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// Address of the endpoints of the kubelet: /live and /ready.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8082")]
    probe_listen: SocketAddr,
}

/// The endpoints, bound but not served yet.
pub(super) struct Endpoints {
    metrics: TcpListener,
    /// Not bound to the runtime of the process.
    probes: std::net::TcpListener,
}

/// The endpoints while they are served.
pub(super) struct RunningEndpoints {
    stop: watch::Sender<bool>,
    servers: JoinSet<io::Result<()>>,
}

impl Endpoints {
    /// Binds the addresses.
    pub(super) fn bind(args: &EndpointArgs) -> Result<Self, Failure> {
        let metrics = bind(args.listen, "--listen")?;
        let probes = bind(args.probe_listen, "--probe-listen")?;
        let probes = probes.into_std().context("cannot listen for probes").map_err(Failure::internal)?;
        Ok(Self { metrics, probes })
    }

    /// Returns the addresses in use, of the metrics and of the probes.
    pub(super) fn addresses(&self) -> [Option<SocketAddr>; 2] {
        [self.metrics.local_addr().ok(), self.probes.local_addr().ok()]
    }

    /// Serves the endpoints, the probes on a thread of their own: neither a busy sync loop nor a flood of another
    /// port delays their answers.
    pub(super) fn serve(self, health: Health) -> RunningEndpoints {
        let Self { metrics, probes } = self;
        let (stop, stop_signal) = watch::channel(false);
        let mut servers = JoinSet::new();
        let metrics_served =
            admin::serve_metrics(metrics, Arc::clone(&health.metrics), stopped(stop_signal.clone()));
        servers.spawn(async {
            metrics_served.await;
            Ok(())
        });
        servers.spawn_blocking(|| serve_probes(probes, health, stop_signal));
        RunningEndpoints { stop, servers }
    }
}

impl RunningEndpoints {
    /// Waits until a server ends by itself, which is a failure.
    pub(super) async fn failure(&mut self) -> Failure {
        match self.servers.join_next().await {
            Some(ended) => match outcome(ended) {
                Ok(()) => Failure::internal(anyhow!("a health or metrics endpoint ended by itself")),
                Err(failure) => failure,
            },
            None => std::future::pending().await,
        }
    }

    /// Finishes the requests in flight.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        // This fails only if the servers have ended already.
        let _ = self.stop.send(true);
        while let Some(ended) = self.servers.join_next().await {
            outcome(ended)?;
        }
        Ok(())
    }
}

fn outcome(ended: Result<io::Result<()>, JoinError>) -> Result<(), Failure> {
    let served = ended.context("a health or metrics endpoint panicked").map_err(Failure::internal)?;
    served.context("cannot serve the probes").map_err(Failure::internal)
}

fn serve_probes(
    listener: std::net::TcpListener,
    health: Health,
    stop_signal: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        admin::serve_probes(TcpListener::from_std(listener)?, health, stopped(stop_signal)).await;
        Ok(())
    })
}

//! What wakes the controller from outside, started beside it: the poll, the queues, the webhook.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::Failure;
use crate::http_server;
use crate::manifest::config::triggers::Triggers;
use crate::metrics::Metrics;
use crate::provider::stores::Stores;
use crate::trigger::{TriggerSender, poll, sqs, webhook};

/// How long sources may take to end.
const FAREWELL: Duration = Duration::from_millis(1500);

/// What sources are given.
pub(super) struct SourceContext {
    pub(super) sender: TriggerSender,
    pub(super) stores: Arc<Stores>,
    pub(super) held: watch::Receiver<poll::KnownVersions>,
    pub(super) leading: watch::Receiver<bool>,
    pub(super) metrics: Arc<Metrics>,
    /// The clock on the wall.
    pub(super) wall_clock: fn() -> Timestamp,
    /// A random number from 0 to 1.
    pub(super) jitter: fn() -> f64,
}

/// The sources that run. Each ends when it is told to, and none by itself.
pub(super) struct Sources {
    tasks: JoinSet<&'static str>,
    stop: watch::Sender<bool>,
}

/// The webhook, open but not served yet.
pub(super) struct Port {
    listener: TcpListener,
    settings: webhook::WebhookSettings,
}

impl Port {
    /// Opens the webhook that the Config describes, if it does: one that cannot be opened keeps the
    /// process from starting, before it asks to lead.
    pub(super) async fn open(
        triggers: &Triggers,
        metrics: &Arc<Metrics>,
        wall_clock: fn() -> Timestamp,
    ) -> Result<Option<Self>, Failure> {
        let Some(webhook) = &triggers.webhook else { return Ok(None) };
        let listener = listen(webhook.listen)?;
        let settings = webhook::WebhookSettings::open(webhook, Arc::clone(metrics), wall_clock).await;
        let settings = settings.map_err(|unusable| Failure::World(unusable.into()))?;
        Ok(Some(Self { listener, settings }))
    }
}

impl Sources {
    /// Starts what the Config describes.
    pub(super) fn start(triggers: &Triggers, port: Option<Port>, around: SourceContext) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let SourceContext { sender, stores, held, leading, metrics, wall_clock, jitter } = around;
        if let Some(interval) = triggers.poll_interval {
            let metrics = Arc::clone(&metrics);
            let settings = poll::PollSettings { stores, interval, metrics, wall_clock, jitter };
            let polling = poll::run(settings, held, sender.clone(), leading.clone(), stopped.clone());
            tasks.spawn(async {
                polling.await;
                "poll"
            });
        }
        for queue in &triggers.sqs {
            let (queue, metrics) = (queue.clone(), Arc::clone(&metrics));
            let settings = sqs::SqsSettings { queue, metrics, wall_clock, jitter };
            let reading = sqs::run(settings, sender.clone(), leading.clone(), stopped.clone());
            tasks.spawn(async {
                reading.await;
                "reader of a queue"
            });
        }
        if let Some(Port { listener, settings }) = port {
            tasks.spawn(async move {
                webhook::serve(listener, settings, sender, until(stopped)).await;
                "webhook"
            });
        }
        Self { tasks, stop }
    }

    /// Waits until one ends that should not; for ever where all is well.
    pub(super) async fn failure(&mut self) -> Failure {
        match self.tasks.join_next().await {
            Some(Ok(name)) => Failure::Broken(anyhow!("the {name} ended by itself")),
            Some(Err(error)) => {
                Failure::Broken(anyhow::Error::new(error).context("a source of triggers panicked"))
            }
            None => std::future::pending().await,
        }
    }

    /// Tells all of them to end: nothing new is taken in.
    pub(super) fn stop(&self) {
        let _ = self.stop.send(true);
    }

    /// Waits until they have ended, for a moment.
    pub(super) async fn ended(mut self) {
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        // What does not end in time goes with the process.
        let _ = tokio::time::timeout(FAREWELL, ended).await;
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    http_server::bind(address)
        .with_context(|| {
            format!("the webhook cannot listen at {address}: give it another address in `listen`")
        })
        .map_err(Failure::World)
}

/// Waits until the process ends.
pub(super) async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

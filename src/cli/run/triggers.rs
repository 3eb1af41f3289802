//! The trigger sources other than the controller's own watches: the poll, the SQS queues, the webhook.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::super::Failure;
use super::super::listening::stopped;
use crate::http_server;
use crate::manifest::config::triggers::Triggers;
use crate::metrics::Metrics;
use crate::provider::stores::Stores;
use crate::trigger::{TriggerSender, poll, sqs, webhook};

/// The time limit for the sources to stop.
const STOP_TIMEOUT: Duration = Duration::from_millis(1500);

/// The dependencies of the sources.
pub(super) struct SourceContext {
    pub(super) sender: TriggerSender,
    pub(super) stores: Arc<Stores>,
    pub(super) known_versions: watch::Receiver<poll::KnownVersions>,
    pub(super) leading: watch::Receiver<bool>,
    pub(super) metrics: Arc<Metrics>,
    /// The wall clock.
    pub(super) wall_clock: fn() -> Timestamp,
    /// A random number from 0 to 1.
    pub(super) jitter: fn() -> f64,
}

/// The running sources. Each runs until it is stopped.
pub(super) struct Sources {
    tasks: JoinSet<&'static str>,
    stop: watch::Sender<bool>,
}

/// The webhook, bound but not served yet.
pub(super) struct WebhookListener {
    listener: TcpListener,
    settings: webhook::WebhookSettings,
}

impl WebhookListener {
    /// Binds the webhook of the Config, if it has one. A failure ends the process before it runs for the
    /// lease.
    pub(super) async fn open(
        triggers: &Triggers,
        metrics: &Arc<Metrics>,
        wall_clock: fn() -> Timestamp,
    ) -> Result<Option<Self>, Failure> {
        let Some(webhook) = &triggers.webhook else { return Ok(None) };
        let listener = listen(webhook.listen)?;
        let settings = webhook::WebhookSettings::open(webhook, Arc::clone(metrics), wall_clock).await;
        let settings = settings.map_err(Failure::external)?;
        Ok(Some(Self { listener, settings }))
    }
}

impl Sources {
    /// Starts the sources of the Config.
    pub(super) fn start(
        triggers: &Triggers,
        webhook: Option<WebhookListener>,
        context: SourceContext,
    ) -> Self {
        let (stop, stop_signal) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let SourceContext { sender, stores, known_versions, leading, metrics, wall_clock, jitter } = context;
        if let Some(interval) = triggers.poll_interval {
            let metrics = Arc::clone(&metrics);
            let settings = poll::PollSettings { stores, interval, metrics, wall_clock, jitter };
            let poll =
                poll::run(settings, known_versions, sender.clone(), leading.clone(), stop_signal.clone());
            tasks.spawn(async {
                poll.await;
                "poll"
            });
        }
        for queue in &triggers.sqs {
            let (queue, metrics) = (queue.clone(), Arc::clone(&metrics));
            let settings = sqs::SqsSettings { queue, metrics, wall_clock, jitter };
            let receiver = sqs::run(settings, sender.clone(), leading.clone(), stop_signal.clone());
            tasks.spawn(async {
                receiver.await;
                "SQS receiver"
            });
        }
        if let Some(WebhookListener { listener, settings }) = webhook {
            tasks.spawn(async move {
                webhook::serve(listener, settings, sender, stopped(stop_signal)).await;
                "webhook"
            });
        }
        Self { tasks, stop }
    }

    /// Waits until a source ends by itself, which is a failure.
    pub(super) async fn failure(&mut self) -> Failure {
        match self.tasks.join_next().await {
            Some(Ok(name)) => Failure::internal(anyhow!("the {name} ended by itself")),
            Some(Err(error)) => {
                Failure::internal(anyhow::Error::new(error).context("a trigger source panicked"))
            }
            None => std::future::pending().await,
        }
    }

    /// Tells all sources to stop: no new trigger is accepted.
    pub(super) fn stop(&self) {
        let _ = self.stop.send(true);
    }

    /// Waits until all sources have stopped, for a limited time.
    pub(super) async fn join(mut self) {
        let joined = async { while self.tasks.join_next().await.is_some() {} };
        // A source that does not stop in time ends with the process.
        let _ = tokio::time::timeout(STOP_TIMEOUT, joined).await;
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    http_server::bind(address)
        .with_context(|| format!("the webhook cannot listen at {address}"))
        .map_err(|error| Failure::external(error).with_hint("set another address in triggers.webhook.listen"))
}

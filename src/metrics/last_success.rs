//! The age of the last success of each ClusterPullSecret, computed at the scrape.
//!
//! One that was never in sync counts from its first reconciliation, so that an alert on the age also finds one
//! that never worked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

use super::labels::ClusterPullSecretLabels;
use super::reference::SECONDS_SINCE_LAST_SUCCESS;

/// The instant from which the age of each ClusterPullSecret counts; written by reconciliations, read by scrapes.
#[derive(Clone, Debug, Default)]
pub(super) struct LastSuccess(Arc<Mutex<BTreeMap<String, Instant>>>);

impl LastSuccess {
    /// Counts from `now` unless there is an instant already.
    pub(super) fn begin(&self, cluster_pull_secret: &str, now: Instant) {
        self.since().entry(cluster_pull_secret.to_owned()).or_insert(now);
    }

    /// Counts from `at`.
    pub(super) fn renew(&self, cluster_pull_secret: &str, at: Instant) {
        self.since().insert(cluster_pull_secret.to_owned(), at);
    }

    /// Removes the series.
    pub(super) fn forget(&self, cluster_pull_secret: &str) {
        self.since().remove(cluster_pull_secret);
    }

    fn since(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        // A panic leaves the map consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for LastSuccess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let since = self.since();
        if since.is_empty() {
            return Ok(());
        }
        let description = &SECONDS_SINCE_LAST_SUCCESS;
        let help = format!("{}.", description.meaning);
        let mut family = encoder.encode_descriptor(description.name, &help, None, MetricType::Gauge)?;
        for (cluster_pull_secret, since) in since.iter() {
            let labels = ClusterPullSecretLabels { cluster_pull_secret: cluster_pull_secret.clone() };
            let seconds = ConstGauge::new(since.elapsed().as_secs_f64());
            seconds.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

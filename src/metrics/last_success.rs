//! How long ago each ClusterPullSecret was last in sync, counted when somebody asks.
//!
//! One that never was counts from its first pass: an alert on the age also finds what never worked.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

use super::labels::OfClusterPullSecret;
use super::reference::SECONDS_SINCE_LAST_SUCCESS;

/// From when the age of each ClusterPullSecret counts; the passes write it, scrapes read it.
#[derive(Clone, Debug, Default)]
pub(super) struct LastSuccess(Arc<Mutex<BTreeMap<String, Instant>>>);

impl LastSuccess {
    /// Counts from `now` unless there is something to count from already.
    pub(super) fn begin(&self, cluster_pull_secret: &str, now: Instant) {
        self.since().entry(cluster_pull_secret.to_owned()).or_insert(now);
    }

    /// Counts from `at`.
    pub(super) fn renew(&self, cluster_pull_secret: &str, at: Instant) {
        self.since().insert(cluster_pull_secret.to_owned(), at);
    }

    /// Counts no more.
    pub(super) fn forget(&self, cluster_pull_secret: &str) {
        self.since().remove(cluster_pull_secret);
    }

    fn since(&self) -> MutexGuard<'_, BTreeMap<String, Instant>> {
        // Whoever panicked left a map that is whole.
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
            let labels = OfClusterPullSecret { cluster_pull_secret: cluster_pull_secret.clone() };
            let seconds = ConstGauge::new(since.elapsed().as_secs_f64());
            seconds.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

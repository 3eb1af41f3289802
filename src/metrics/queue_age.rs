//! The age of the oldest trigger in the queue, computed at the scrape.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;

use super::reference::QUEUE_AGE;

/// The time of the oldest trigger in the queue; written by the controller, read by scrapes.
#[derive(Clone, Debug, Default)]
pub(super) struct QueueAge(Arc<Mutex<Option<Instant>>>);

impl QueueAge {
    pub(super) fn set(&self, oldest: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = oldest;
    }
}

impl Collector for QueueAge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let oldest = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let help = format!("{}.", QUEUE_AGE.meaning);
        let encoder = encoder.encode_descriptor(QUEUE_AGE.name, &help, None, MetricType::Gauge)?;
        ConstGauge::new(oldest.map_or(0.0, |since| since.elapsed().as_secs_f64())).encode(encoder)
    }
}

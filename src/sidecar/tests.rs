//! A running sidecar with a scripted store, in virtual time.

use async_trait::async_trait;

use super::*;
use crate::admin::{Heartbeat, Readiness};
use crate::credential::{Expiry, Key, Life, StoredValue, Version};
use crate::metrics::Metrics;
use crate::provider::{Error, Provider};
use crate::reconcile::fixture::cluster_pull_secret;

/// The life of a credential, and of each renewal.
const LIFE: Duration = Duration::from_secs(90);

/// A store with one credential, of which the lease is renewed a minute after the start.
#[derive(Debug)]
struct LeasingStore;

#[async_trait]
impl Provider for LeasingStore {
    async fn read(&self, keys: &[Key]) -> Vec<Result<StoredValue, Error>> {
        keys.iter().map(|_| Ok(value())).collect()
    }

    async fn versions(&self, keys: &[Key]) -> Vec<Result<Version, Error>> {
        keys.iter().map(|_| Ok(Version::unversioned())).collect()
    }

    async fn renew(&self, _key: &Key) -> Option<Life> {
        Some(Life::new(Timestamp::UNIX_EPOCH + Duration::from_mins(1), LIFE))
    }
}

fn value() -> StoredValue {
    StoredValue {
        version: "1".into(),
        bytes: br#"{"username":"robot","password":"one"}"#.to_vec().into(),
        expiry: Some(Expiry::Issued(Life::new(Timestamp::UNIX_EPOCH, LIFE))),
        account: None,
    }
}

/// The value of the metric.
fn expiry(metrics: &Metrics) -> Option<String> {
    let text = metrics.encode();
    let line = text.lines().find(|line| line.starts_with("regcred_credential_expiry_timestamp_seconds{"))?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[tokio::test(start_paused = true)]
async fn expiry_metric_follows_the_renewal_of_a_lease() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = OutputFile::open(&directory.path().join("config.json"), None, false).expect("a file");
    let provider: Arc<dyn Provider> = Arc::new(LeasingStore);
    let health = Health {
        heartbeat: Heartbeat::new(),
        readiness: Readiness::not_ready("starting"),
        metrics: Arc::new(Metrics::for_sidecar()),
    };
    let context = SidecarContext {
        registries: Arc::new(cluster_pull_secret("images", &["ghcr.io"])),
        stores: Arc::new(Stores::from_providers([("vault".into(), provider)], 1)),
        file: Arc::new(file),
        poll_interval: None,
        health: health.clone(),
        wall_clock: || Timestamp::UNIX_EPOCH,
        jitter: || 0.5,
    };
    let sidecar = Sidecar::start(context).await.expect("a start");
    let (_reload, reloads) = mpsc::channel(1);
    let (mut first, mut renewed) = (None, None);
    let stop = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        first = expiry(&health.metrics);
        tokio::time::sleep(Duration::from_secs(45)).await;
        renewed = expiry(&health.metrics);
    };
    sidecar.run(reloads, stop).await.expect("no panic");
    assert_eq!((first.as_deref(), renewed.as_deref()), (Some("90"), Some("150")));
}

//! Probes are answered in time, and scrapes too, while clients that never complete a request hold every connection.

mod flood;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::flood::Flood;
use crate::cluster::quiet_test_cluster;
use crate::controller::{Controller, RunController as _};

const PROBES: usize = 60;
/// The default timeout of a probe of the kubelet.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval between two probes, so that the flood is renewed several times.
const INTERVAL: Duration = Duration::from_millis(100);
/// The default timeout of a scrape of Prometheus.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time that clients without a request may delay the end of the process.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// The first line of the answer, or why there is none in time.
async fn get(address: SocketAddr, path: &str, limit: Duration) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: regcred\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.lines().next().unwrap_or_default().to_owned())
    };
    match timeout(limit, exchange).await {
        Ok(Ok(line)) => line,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    }
}

/// Probes in turn for liveness and readiness, each time during the whole flood; returns the failures.
async fn probe(address: SocketAddr, flood: &Flood) -> Vec<String> {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = Vec::new();
    for n in 0..PROBES {
        ticks.tick().await;
        flood.until_connected().await;
        let path = ["/live", "/ready"][n % 2];
        let begin = Instant::now();
        let line = get(address, path, PROBE_TIMEOUT).await;
        if line != "HTTP/1.1 200 OK" {
            failures.push(format!("probe {n}, {path}: {line:?} after {:?}", begin.elapsed()));
        }
    }
    failures
}

/// Expects a clean end in spite of the flood.
async fn terminate(controller: &Controller) {
    let (code, duration) = controller.terminate().await;
    assert_eq!(code, Some(0));
    assert!(duration < SHUTDOWN, "{duration:?}");
}

#[tokio::test]
async fn probes_succeed_during_a_flood_of_the_metrics_port() {
    let cluster = quiet_test_cluster("probes-metrics", 1).await;
    let controller = cluster.controller().start().await;
    let metrics = controller.metrics_address();
    let flood = Flood::start(metrics);
    assert_eq!(probe(controller.probe_address(), &flood).await, Vec::<String>::new());
    assert_eq!(get(metrics, "/metrics", SCRAPE_TIMEOUT).await, "HTTP/1.1 200 OK");
    terminate(&controller).await;
}

#[tokio::test]
async fn probes_succeed_during_a_flood_of_their_own_port() {
    let cluster = quiet_test_cluster("probes-own", 1).await;
    let controller = cluster.controller().start().await;
    let probes = controller.probe_address();
    let flood = Flood::start(probes);
    assert_eq!(probe(probes, &flood).await, Vec::<String>::new());
    terminate(&controller).await;
}

//! The clusters of these tests: an API server and a Vault that many of them use, one at a time. Two tests run side by side,
//! on servers of their own; those that measure how soon something happens run alone.
//!
//! A cluster is clean when a test enters it: no ClusterPullSecret, no Lease and nothing of earlier tests in a namespace.

use std::time::Duration;

use harness::TestCluster;
use jiff::Timestamp;

/// The bound on immediate reactions: from the API server's answer to a change to its answer to regcred.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(1);
/// The time without a write or a read that counts as silence.
pub(crate) const QUIET: Duration = Duration::from_secs(2);

const REGCRED: &str = env!("CARGO_BIN_EXE_regcred");

/// Enters a clean cluster with new namespaces, `NAME-000` and on.
pub(crate) async fn test_cluster(name: &'static str, namespaces: usize) -> TestCluster {
    TestCluster::exclusive(REGCRED, name, namespaces).await
}

/// The same while no other test runs, for tests that measure time.
pub(crate) async fn quiet_test_cluster(name: &'static str, namespaces: usize) -> TestCluster {
    TestCluster::alone(REGCRED, name, namespaces).await
}

/// The same for a test that is longer than many others together.
pub(crate) async fn long_test_cluster(name: &'static str) -> TestCluster {
    TestCluster::long(REGCRED, name, 0).await
}

/// The same with many namespaces, `shared-000` and on, which are created once for all tests.
pub(crate) async fn cluster_with_shared_namespaces(name: &'static str, namespaces: usize) -> TestCluster {
    TestCluster::exclusive_with_shared_namespaces(REGCRED, name, namespaces).await
}

/// The same while no other test runs.
pub(crate) async fn quiet_cluster_with_shared_namespaces(
    name: &'static str,
    namespaces: usize,
) -> TestCluster {
    TestCluster::alone_with_shared_namespaces(REGCRED, name, namespaces).await
}

#[expect(clippy::disallowed_methods, reason = "the edge of this process is this test")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

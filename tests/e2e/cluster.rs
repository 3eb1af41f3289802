//! The clusters of these tests: namespaces of their own in the one world that all of them share.

use harness::TestCluster;

/// Enters the shared world with new namespaces, `NAME-000` and on.
pub(crate) async fn test_cluster(name: &'static str, namespaces: usize) -> TestCluster {
    TestCluster::shared(env!("CARGO_BIN_EXE_regcred"), name, namespaces).await
}

/// Waits until a condition holds, without a description of it.
#[track_caller]
pub(crate) fn until<'a>(condition: impl AsyncFn() -> bool + 'a) -> impl Future<Output = ()> + 'a {
    harness::until("a condition of the test", condition)
}

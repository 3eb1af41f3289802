//! Two versions of regcred in the order of an upgrade and back: each serves what the other left, under the rights,
//! admission policies and CRD of that moment.

mod objects;
mod release;
mod service;
mod version;

use std::time::Duration;

use harness::until_within;

use crate::controller::Controller;

use release::{Installation, Release};
use version::Version;

/// Longer than any takeover below: a Lease that the other version did not release would outlast it.
const LEASE: [&str; 2] = ["--lease-duration", "5m"];
const TAKEOVER: Duration = Duration::from_secs(30);

impl Installation {
    /// Starts a controller while none leads.
    async fn start(&self, version: Version<'_>, identity: &str) -> Controller {
        let launch = version.controller(&self.cluster).identity(identity).args(&LEASE);
        let controller = launch.start().await;
        until_within(TAKEOVER, "the controller leads", async || controller.is_leader().await).await;
        controller
    }

    /// Replaces the leader as a Deployment does: the next one is ready before the leader ends.
    async fn replace(&self, leader: Controller, version: Version<'_>, identity: &str) -> Controller {
        let next = version.controller(&self.cluster).identity(identity).args(&LEASE).start().await;
        assert!(leader.is_leader().await && !next.is_leader().await, "the next one waits");
        assert_eq!(leader.terminate().await.0, Some(0));
        until_within(TAKEOVER, "the next one leads", async || next.is_leader().await).await;
        next
    }

    /// Applies the ClusterPullSecret, starts the baseline, and sets fields of users on what it wrote.
    async fn start_baseline(&self) -> Controller {
        // The CRD is installed: this waits until the API server serves it.
        harness::install_crd(&self.cluster.kube).await.expect("the CRD");
        self.apply_object().await;
        self.until_enforced(Release::Baseline).await;
        let baseline = Version::baseline(&self.baseline);
        let leader = self.start(baseline, "old").await;
        baseline.until_synced(&self.cluster, "first").await;
        self.set_users_fields().await;
        leader
    }
}

#[tokio::test]
async fn helm_upgrade_and_rollback_serve_without_refusals() {
    let it = Installation::empty("skew-helm").await;
    let (old, new) = (Version::baseline(&it.baseline), Version::current(&it.cluster));
    it.helm_install().await;
    let leader = it.start_baseline().await;
    it.assert_serves(old, "old-version-old-release-old-crd").await;

    // The policies and rights change at once, the pods one by one.
    it.assert_values_of_the_baseline_are_rejected().await;
    it.helm_upgrade(&[]).await;
    it.assert_serves(old, "old-version-new-release-old-crd").await;
    let leader = it.replace(leader, new, "new").await;
    it.assert_serves(new, "new-version-new-release-old-crd").await;
    it.helm_rollback().await;
    it.assert_serves(new, "new-version-old-release-old-crd").await;
    assert_eq!(leader.terminate().await.0, Some(0));
    let mark = it.cluster.mark();
    let leader = it.start(new, "new").await;
    it.assert_serves(new, "new-start-old-release-old-crd").await;
    it.assert_refused(mark).await;
    let leader = it.replace(leader, old, "old").await;
    it.assert_serves(old, "old-version-again").await;

    it.apply_crd(Release::Current).await;
    it.assert_serves(old, "old-version-old-release-new-crd").await;
    it.helm_upgrade(&["--reset-then-reuse-values"]).await;
    let leader = it.replace(leader, new, "new").await;
    it.assert_serves(new, "new-version-new-release-new-crd").await;
    it.helm_rollback().await;
    let _leader = it.replace(leader, old, "old").await;
    it.assert_serves(old, "old-version-old-release-new-crd-again").await;
    it.assert_removes().await;
}

#[tokio::test]
async fn applied_manifests_of_both_versions_serve_without_refusals() {
    let it = Installation::empty("skew-apply").await;
    let (old, new) = (Version::baseline(&it.baseline), Version::current(&it.cluster));
    it.apply_base(Release::Baseline).await;
    let leader = it.start_baseline().await;
    let identities = it.set_operators_fields().await;

    it.apply_base(Release::Current).await;
    assert_eq!(it.identities().await, identities);
    let leader = it.replace(leader, new, "new").await;
    it.assert_serves(new, "new-base").await;
    it.apply_base(Release::Baseline).await;
    assert_eq!(it.identities().await, identities);
    let leader = it.replace(leader, old, "old").await;
    it.assert_serves(old, "old-base").await;

    it.apply_rendered_chart(Release::Current).await;
    assert_eq!(it.identities().await, identities);
    let leader = it.replace(leader, new, "new").await;
    it.assert_serves(new, "new-chart").await;
    it.apply_rendered_chart(Release::Baseline).await;
    assert_eq!(it.identities().await, identities);
    let leader = it.replace(leader, old, "old").await;
    it.assert_serves(old, "old-chart").await;
    it.apply_rendered_chart(Release::Current).await;
    let _leader = it.replace(leader, new, "new").await;
    it.assert_removes().await;
}

#[tokio::test]
async fn rights_that_follow_the_image_are_used_without_a_restart() {
    let it = Installation::empty("skew-rights").await;
    it.helm_install().await;
    harness::install_crd(&it.cluster.kube).await.expect("the CRD");
    it.apply_object().await;
    it.until_enforced(Release::Baseline).await;
    let new = Version::current(&it.cluster);
    let mark = it.cluster.mark();
    let _leader = it.start(new, "new").await;
    new.until_synced(&it.cluster, "first").await;
    it.assert_refused(mark).await;
    it.helm_upgrade(&[]).await;
    // The next attempt is a minute after the last one.
    until_within(Duration::from_secs(90), "every Secret is signed", async || {
        let secrets = it.cluster.secrets().await;
        secrets.values().all(|secret| secret["metadata"]["annotations"]["regcred.dev/owner"].is_string())
    })
    .await;
}

//! Everything that a controller does for a ClusterPullSecret, done by one version with what another one left.

use harness::{CLUSTER_PULL_SECRETS, NAMESPACE, SECRET, condition_of, line, until};
use serde_json::json;
use world::AuditMark;

use super::release::Installation;
use super::version::{Version, cluster_pull_secret, put_passwords};

/// Returns true for a request to a Secret in regcred's own namespace.
fn is_own_secret(line: &str) -> bool {
    line.contains(&format!(" secrets {NAMESPACE}/"))
}

impl Installation {
    /// Applies the ClusterPullSecret, and gives the ServiceAccount of the last namespace an entry of its own.
    pub(super) async fn apply_object(&self) {
        put_passwords(&self.cluster, "first").await;
        self.cluster.apply(&cluster_pull_secret(&self.cluster)).await;
        let account = json!({"imagePullSecrets": [{"name": "own"}]});
        self.cluster.kube.patch(&self.users_paths()[1], &account).await.expect("an entry");
    }

    /// The paths of an object of each kind that no step deletes.
    fn users_paths(&self) -> [String; 3] {
        let namespace = format!("/api/v1/namespaces/{}", self.cluster.namespace(2));
        [
            format!("{namespace}/secrets/{SECRET}"),
            format!("{namespace}/serviceaccounts/default"),
            format!("{CLUSTER_PULL_SECRETS}/{}", self.cluster.name),
        ]
    }

    /// Sets a label and an annotation on an object of each kind, as users do.
    pub(super) async fn set_users_fields(&self) {
        let fields = json!({"metadata": {"labels": {"team": "a"}, "annotations": {"note": "a"}}});
        for path in self.users_paths() {
            self.cluster.kube.patch(&path, &fields).await.expect("a patch");
        }
    }

    async fn assert_users_fields(&self) {
        for path in self.users_paths() {
            let metadata = self.cluster.kube.get(&path).await.expect("an object")["metadata"].take();
            let fields = [&metadata["labels"]["team"], &metadata["annotations"]["note"]];
            assert_eq!(fields, [&json!("a"); 2], "{path}: {metadata}");
        }
        assert_eq!(self.cluster.references(self.cluster.namespace(2), "default").await, ["own", SECRET]);
    }

    /// Expects a controller of this version that leads to rotate, to restore what is removed, to follow the selection and
    /// to report, with no request refused.
    pub(super) async fn assert_serves(&self, version: Version<'_>, password: &str) {
        let cluster = &self.cluster;
        let mark = cluster.mark();
        put_passwords(cluster, password).await;
        cluster.annotate_rotation(cluster.name, password).await;
        version.until_synced(cluster, password).await;
        until("the status answers", async || {
            let status = cluster.status(cluster.name).await;
            status["observedRotate"] == password && condition_of(&status, "Ready") == "True InSync"
        })
        .await;
        let [first, second] = [0, 1].map(|n| format!("/api/v1/namespaces/{}", cluster.namespace(n)));
        cluster.kube.delete(&format!("{first}/secrets/{SECRET}")).await.expect("a deletion");
        let bare = json!({"imagePullSecrets": null});
        cluster.kube.patch(&format!("{second}/serviceaccounts/default"), &bare).await.expect("a patch");
        version.until_synced(cluster, password).await;

        let namespace = cluster.namespace(1);
        cluster.select(namespace, false).await;
        until("nothing is left in a namespace that is not selected", async || {
            cluster.secret(namespace).await.is_none()
                && cluster.references(namespace, "default").await.is_empty()
        })
        .await;
        cluster.select(namespace, true).await;
        version.until_synced(cluster, password).await;
        self.assert_users_fields().await;
        let mut refused = self.refused(mark).await;
        refused.retain(|it| !is_own_secret(it));
        assert_eq!(refused, Vec::<String>::new());
    }

    /// Expects that requests to regcred's own Secrets were refused since a mark: the release of the baseline has no
    /// rights for them.
    pub(super) async fn assert_refused(&self, mark: AuditMark) {
        let refused = self.refused(mark).await;
        assert!(refused.iter().any(|it| is_own_secret(it)), "{refused:?}");
    }

    /// The requests of regcred that were refused since a mark: `verb resource namespace/name code`.
    async fn refused(&self, mark: AuditMark) -> Vec<String> {
        let mut requests = self.cluster.requests(mark).await;
        requests.retain(|it| matches!(it.code, 400 | 401 | 403 | 422));
        requests.iter().map(line).collect()
    }

    /// Deletes the ClusterPullSecret, and expects that a controller removes everything for it.
    pub(super) async fn assert_removes(&self) {
        let cluster = &self.cluster;
        let path = format!("{CLUSTER_PULL_SECRETS}/{}", cluster.name);
        cluster.kube.delete(&path).await.expect("a deletion");
        until("the ClusterPullSecret is gone", async || {
            cluster.get_cluster_pull_secret(cluster.name).await.is_none()
        })
        .await;
        until("the Secrets are gone", async || cluster.secrets().await.is_empty()).await;
        assert_eq!(cluster.references(cluster.namespace(0), "default").await, Vec::<String>::new());
        assert_eq!(cluster.references(cluster.namespace(2), "default").await, ["own"]);
    }
}

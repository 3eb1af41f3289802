//! The manifests of both versions, installed as operators install them, and the moment from which the API server
//! enforces them.

use harness::{CLUSTER_PULL_SECRETS, NAMESPACE, SERVICE_ACCOUNT, TestCluster, until};
use serde_json::{Value, json};
use world::Baseline;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// A version of the manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// `deploy/` of the baseline.
    Baseline,
    /// `deploy/` of this version.
    Current,
}

/// A cluster in which operators replace one release by another.
pub(super) struct Installation {
    pub(super) cluster: TestCluster,
    pub(super) baseline: Baseline,
}

impl Installation {
    /// Starts servers with three selected namespaces, and of regcred with its namespace alone.
    pub(super) async fn empty(name: &'static str) -> Self {
        // The servers come after the build, which takes minutes the first time.
        let baseline = Baseline::build().await.expect("the baseline");
        let cluster = TestCluster::own(env!("CARGO_BIN_EXE_regcred"), name, 3).await.expect("servers");
        let installation = Self { cluster, baseline };
        for file in ["base/rbac.yaml", "base/admission-policies.yaml"] {
            let file = installation.path(Release::Current, file);
            installation.kubectl(&["delete", "--ignore-not-found", "-f", &file]).await;
        }
        installation
    }

    /// The path of a file of a release.
    fn path(&self, release: Release, file: &str) -> String {
        let deploy = match release {
            Release::Baseline => self.baseline.deploy.clone(),
            Release::Current => world::docs::path("deploy"),
        };
        deploy.join(file).display().to_string()
    }

    async fn kubectl(&self, arguments: &[&str]) -> String {
        self.cluster.kube.kubectl(arguments).await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    async fn helm(&self, arguments: &[&str]) {
        let arguments = [arguments, &["-n", NAMESPACE]].concat();
        self.cluster.kube.helm(&arguments).await.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Installs the chart of the baseline.
    pub(super) async fn helm_install(&self) {
        self.helm(&["install", SERVICE_ACCOUNT, &self.path(Release::Baseline, "chart")]).await;
    }

    /// Upgrades to the chart of this version; Helm leaves the CRD alone.
    pub(super) async fn helm_upgrade(&self, more: &[&str]) {
        let chart = self.path(Release::Current, "chart");
        self.helm(&[&["upgrade", SERVICE_ACCOUNT, &chart], more].concat()).await;
        self.until_enforced(Release::Current).await;
    }

    /// Expects Helm to reject an upgrade with the default values of the baseline, before it changes anything.
    pub(super) async fn assert_values_of_the_baseline_are_rejected(&self) {
        let chart = self.path(Release::Current, "chart");
        let upgrade = ["upgrade", SERVICE_ACCOUNT, &chart, "-n", NAMESPACE, "--reuse-values"];
        let error = self.cluster.kube.helm(&upgrade).await.expect_err("values that the chart does not know");
        assert!(error.to_string().contains("'ingressFrom' not allowed"), "{error:#}");
    }

    /// Goes back to the chart of the baseline.
    pub(super) async fn helm_rollback(&self) {
        self.helm(&["rollback", SERVICE_ACCOUNT]).await;
        self.until_enforced(Release::Baseline).await;
    }

    /// Applies the base of a release, with its CRD.
    pub(super) async fn apply_base(&self, release: Release) {
        self.kubectl(&["apply", "-k", &self.path(release, "base")]).await;
        self.until_enforced(release).await;
    }

    /// Applies the rendered chart of a release, with its CRD.
    pub(super) async fn apply_rendered_chart(&self, release: Release) {
        let chart = self.path(release, "chart");
        let template = [
            "template",
            SERVICE_ACCOUNT,
            &chart,
            "-n",
            NAMESPACE,
            "--include-crds",
            "--kube-version",
            "1.30.0",
        ];
        let objects = world::helm(&template).await.unwrap_or_else(|error| panic!("{error:#}"));
        let applied = self.cluster.kube.kubectl_stdin(&["apply", "-f", "-"], &objects).await;
        applied.unwrap_or_else(|error| panic!("{error:#}"));
        self.until_enforced(release).await;
    }

    /// Applies the CRD of a release.
    pub(super) async fn apply_crd(&self, release: Release) {
        self.kubectl(&["apply", "-f", &self.path(release, "crd.yaml")]).await;
    }

    /// The objects of a release that operators have fields in: path, UID, and what Kubernetes lets nobody change.
    async fn objects(&self) -> Vec<(String, Value)> {
        let namespaced = |group: &str, object: &str| format!("{group}/namespaces/{NAMESPACE}/{object}");
        let paths = [
            namespaced("/api/v1", "serviceaccounts/regcred"),
            namespaced("/api/v1", "services/regcred"),
            namespaced("/apis/apps/v1", "deployments/regcred"),
            namespaced("/apis/networking.k8s.io/v1", "networkpolicies/regcred"),
            namespaced("/apis/policy/v1", "poddisruptionbudgets/regcred"),
            namespaced(RBAC, "roles/regcred"),
            namespaced(RBAC, "rolebindings/regcred"),
            format!("{RBAC}/clusterroles/regcred"),
            format!("{RBAC}/clusterrolebindings/regcred"),
            "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/regcred".to_owned(),
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterpullsecrets.regcred.dev"
                .to_owned(),
        ];
        let mut objects = Vec::new();
        for path in paths {
            let object = self.cluster.kube.get(&path).await.expect("an object of a release");
            objects.push((path, object));
        }
        objects
    }

    /// Sets fields of every object that no release contains, as operators do; returns the objects' identities.
    pub(super) async fn set_operators_fields(&self) -> Vec<Value> {
        let fields = json!({"metadata": {"labels": {"team": "a"}, "annotations": {"note": "a"}}});
        for (path, _) in self.objects().await {
            self.cluster.kube.patch(&path, &fields).await.expect("a patch");
        }
        self.kubectl(&["set", "env", "deployment/regcred", "TEAM=a", "-n", NAMESPACE]).await;
        self.identities().await
    }

    /// UID, selector and role of each object, which no release changes. Expects the operators' fields.
    pub(super) async fn identities(&self) -> Vec<Value> {
        let mut identities = Vec::new();
        for (path, object) in self.objects().await {
            let metadata = &object["metadata"];
            let fields = [&metadata["labels"]["team"], &metadata["annotations"]["note"]];
            assert_eq!(fields, [&json!("a"); 2], "{path}: {metadata}");
            let selectors = [&object["spec"]["selector"], &object["spec"]["podSelector"]];
            identities.push(json!([path, metadata["uid"], selectors, object["roleRef"]]));
            if path.contains("deployments") {
                let env = object["spec"]["template"]["spec"]["containers"][0]["env"].as_array().cloned();
                assert!(env.into_iter().flatten().any(|it| it["name"] == "TEAM"), "{path}");
            }
        }
        identities
    }

    /// Waits until the Role and the admission policies of a release decide about regcred's requests.
    pub(super) async fn until_enforced(&self, release: Release) {
        let token = self.cluster.kube.token(NAMESPACE, SERVICE_ACCOUNT, 3600).await.expect("a token");
        let is_current = release == Release::Current;
        until(&format!("the rights of {release:?}"), async || {
            let shard = format!("/api/v1/namespaces/{NAMESPACE}/secrets/regcred-last-good-0");
            let answer = self.cluster.kube.request_as(&token, "GET", &shard, None).await;
            answer.is_err_and(|error| error.to_string().contains("forbidden")) != is_current
        })
        .await;
        let secret = json!({"metadata": {"name": "other"}, "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": "e30="}});
        let labels = json!({"metadata": {"labels": {"not": "ours"}}});
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        let object = format!("{CLUSTER_PULL_SECRETS}/{}", self.cluster.name);
        self.until_refused(&token, "POST", "/api/v1/namespaces/default/secrets", &secret, is_current).await;
        // A release that is applied removes no policies of another one.
        if is_current {
            self.until_refused(&token, "PATCH", account, &labels, true).await;
            self.until_refused(&token, "PATCH", &object, &labels, true).await;
        }
    }

    /// Waits until an admission policy refuses a write of regcred, or until none does.
    async fn until_refused(&self, token: &str, method: &str, path: &str, body: &Value, is_refused: bool) {
        let path = format!("{path}?dryRun=All");
        let content_type = if method == "PATCH" { MERGE_PATCH } else { "application/json" };
        let what = format!("{method} {path}: refused is {is_refused}");
        until(&what, async || {
            let body = Some((content_type, body.to_string()));
            let answer = self.cluster.kube.request_as(token, method, &path, body).await;
            answer.is_err_and(|error| format!("{error:#}").contains("ValidatingAdmissionPolicy"))
                == is_refused
        })
        .await;
    }
}

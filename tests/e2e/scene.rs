//! One test's part of the shared world: its namespaces, its manifests, and `regcred` run in it as the
//! ServiceAccount that `deploy/rbac.yaml` creates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::OnceCell;
use world::{Kube, World};

/// The ServiceAccount that `deploy/rbac.yaml` creates.
pub(crate) const NAMESPACE: &str = "regcred-system";
pub(crate) const SERVICE_ACCOUNT: &str = "regcred";

/// The store, and with it the kubeconfig of the ServiceAccount, that every scene uses.
static KUBECONFIG: OnceCell<PathBuf> = OnceCell::const_new();

/// Whether the CRD is installed, once for all scenes.
static CRD: OnceCell<()> = OnceCell::const_new();

/// Where the API server has ClusterPullSecrets.
pub(crate) const PULL_SECRETS: &str = "/apis/regcred.dev/v1alpha1/clusterpullsecrets";

/// Installs the CRD, and waits until it is served.
pub(crate) async fn install_crd(kube: &Kube) {
    let install = || async {
        let arguments = ["apply", "--server-side", "-f", "-"];
        kube.kubectl_stdin(&arguments, include_str!("../../deploy/crd.yaml"))
            .await
            .expect("deploy/crd.yaml applies");
        until(async || kube.get(PULL_SECRETS).await.is_ok()).await;
    };
    CRD.get_or_init(install).await;
}

pub(crate) struct Scene {
    pub(crate) world: &'static World,
    /// The label value by which the namespaces of this scene are selected, and the prefix of its keys.
    pub(crate) name: &'static str,
    pub(crate) directory: tempfile::TempDir,
}

/// How one run of `regcred` ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<std::process::Output> for Run {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("regcred prints UTF-8");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Run {
    /// The report of a run with `--output json`.
    #[track_caller]
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no report on stdout: {error}\n{}\n{}", self.stdout, self.stderr))
    }

    /// `namespace: result reason` for each namespace of the first pull secret.
    #[track_caller]
    pub(crate) fn results(&self) -> Vec<String> {
        let report = self.report();
        let namespaces =
            report["clusterPullSecrets"][0]["namespaces"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let line = |it: &Value| {
            format!("{}: {} {}", text(&it["namespace"]), text(&it["result"]), text(&it["reason"]))
        };
        namespaces.iter().map(|it| line(it).trim_end().to_owned()).collect()
    }

    /// `host version result` for each registry of the first pull secret.
    #[track_caller]
    pub(crate) fn registries(&self) -> Vec<String> {
        let report = self.report();
        let registries =
            report["clusterPullSecrets"][0]["registries"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        registries
            .iter()
            .map(|it| format!("{} {} {}", text(&it["host"]), text(&it["version"]), text(&it["result"])))
            .collect()
    }
}

impl Scene {
    /// A scene with that many namespaces, `NAME-000` and on.
    pub(crate) async fn new(name: &'static str, namespaces: usize) -> Self {
        let scene =
            Self { world: World::shared().await, name, directory: tempfile::tempdir().expect("a directory") };
        scene.kubeconfig().await;
        scene.add_namespaces(0..namespaces).await;
        scene
    }

    pub(crate) fn namespace(&self, n: usize) -> String {
        format!("{}-{n:03}", self.name)
    }

    pub(crate) async fn add_namespaces(&self, range: std::ops::Range<usize>) {
        let names = range.map(|n| self.namespace(n));
        self.world.kube.create_namespaces(names, &[("scene", self.name)]).await.expect("namespaces");
    }

    /// The kubeconfig of the ServiceAccount, which exists from the first scene on.
    pub(crate) async fn kubeconfig(&self) -> &Path {
        let make = || async {
            let kube = &self.world.kube;
            kube.kubectl_stdin(&["apply", "-f", "-"], include_str!("../../deploy/rbac.yaml"))
                .await
                .expect("deploy/rbac.yaml applies");
            kube.kubeconfig_as(NAMESPACE, SERVICE_ACCOUNT).await.expect("a token")
        };
        KUBECONFIG.get_or_init(make).await
    }

    /// The `Config` with every store of the world, and the file store of this scene.
    pub(crate) fn config(&self) -> String {
        self.config_with_vault(&self.world.vault.address, "")
    }

    /// The same with another Vault and further fields of it.
    pub(crate) fn config_with_vault(&self, address: &str, more: &str) -> String {
        let endpoint = &self.world.localstack.endpoint;
        let files = self.directory.path().join("files");
        std::fs::create_dir_all(&files).expect("a directory");
        format!(
            "apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores:\n\
             - name: vault\n  vault: {{address: \"{address}\"{more}}}\n\
             - name: aws\n  awsSecretsManager: {{region: {}, endpointUrl: \"{endpoint}\"}}\n\
             - name: files\n  file: {{directory: \"{}\"}}\n",
            world::REGION,
            files.display()
        )
    }

    /// A ClusterPullSecret of this scene named like it, whose Secrets are called `regcred`. `registries`
    /// are `(host, store, key)`, `more` are further lines of the spec.
    pub(crate) fn cluster_pull_secret(&self, registries: &[(&str, &str, &str)], more: &str) -> String {
        let registries: Vec<_> = registries
            .iter()
            .map(|(host, store, key)| json!({"host": host, "from": {"store": store, "key": key}}))
            .collect();
        format!(
            "apiVersion: regcred.dev/v1alpha1\nkind: ClusterPullSecret\nmetadata: {{name: {}}}\nspec:\n  \
             secretName: regcred\n  registries: {}\n  namespaces: {{selector: {{matchLabels: {{scene: {}}}}}}}\n{more}",
            self.name,
            json!(registries),
            self.name
        )
    }

    /// Writes the manifests of the scene.
    pub(crate) fn write(&self, documents: &[&str]) -> PathBuf {
        let file = self.directory.path().join("manifests.yaml");
        std::fs::write(&file, documents.join("\n---\n")).expect("a writable directory");
        file
    }

    /// `regcred rotate -f MANIFESTS --output json` and what else is given.
    pub(crate) async fn rotate(&self, manifests: &Path, more: &[&str]) -> Run {
        let manifests = manifests.display().to_string();
        let mut arguments = vec!["rotate", "-f", &manifests];
        if !more.contains(&"--output") {
            arguments.extend(["--output", "json"]);
        }
        arguments.extend(more);
        self.regcred(&arguments).await
    }

    /// `regcred` as the ServiceAccount of `deploy/rbac.yaml`.
    pub(crate) async fn regcred(&self, arguments: &[&str]) -> Run {
        self.command(arguments).await.output().await.expect("regcred runs").into()
    }

    /// The same, not started yet.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_regcred"));
        // Nothing of the machine the tests run on: no proxy, no profile, no home.
        command.args(arguments).env_clear().env("KUBECONFIG", self.kubeconfig().await);
        command.env("VAULT_TOKEN", &self.world.vault.root_token).envs(self.world.localstack.env());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// An object as the administrator sees it; `None` where it is not there.
    pub(crate) async fn object(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        self.world.kube.get(&format!("/api/v1/namespaces/{namespace}/{kind}/{name}")).await.ok()
    }

    /// The pull secret of a namespace.
    pub(crate) async fn secret(&self, namespace: &str) -> Option<Value> {
        self.object(namespace, "secrets", "regcred").await
    }

    /// `host → password` of the pull secret of a namespace.
    pub(crate) async fn passwords(&self, namespace: &str) -> BTreeMap<String, String> {
        let Some(secret) = self.secret(namespace).await else {
            return BTreeMap::new();
        };
        let config: Value = serde_json::from_slice(&docker_config(&secret)).expect("a docker config");
        let auths = config["auths"].as_object().cloned().unwrap_or_default();
        auths
            .into_iter()
            .map(|(host, entry)| (host, entry["password"].as_str().unwrap_or_default().to_owned()))
            .collect()
    }

    /// The `imagePullSecrets` of a ServiceAccount.
    pub(crate) async fn references(&self, namespace: &str, service_account: &str) -> Vec<String> {
        let object =
            self.object(namespace, "serviceaccounts", service_account).await.expect("a ServiceAccount");
        let references = object["imagePullSecrets"].as_array().cloned().unwrap_or_default();
        references.iter().map(|it| it["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Puts `{username: robot, password}` at `secret/data/KEY`.
    pub(crate) async fn put_vault(&self, key: &str, password: &str) -> u64 {
        let value = json!({"username": "robot", "password": password});
        self.world.vault.put_kv2("secret", key, &value).await.expect("Vault takes a value")
    }

    /// Makes a policy that forbids the creation of such objects in a namespace, and waits until it binds.
    pub(crate) async fn forbid_creation(&self, namespace: &str, resource: &str, message: &str) {
        let kube = &self.world.kube;
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": namespace},
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "resourceRules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]},
                    ],
                },
                "validations": [{"expression": "false", "message": message}],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": namespace}, "spec": {"policyName": namespace, "validationActions": ["Deny"]},
        });
        let base = "/apis/admissionregistration.k8s.io/v1";
        kube.post(&format!("{base}/validatingadmissionpolicies"), &policy).await.expect("a policy");
        kube.post(&format!("{base}/validatingadmissionpolicybindings"), &binding).await.expect("a binding");
        let probe = json!({"metadata": {"generateName": "probe-"}});
        let creation = format!("/api/v1/namespaces/{namespace}/{resource}?dryRun=All");
        until(async || kube.post(&creation, &probe).await.is_err()).await;
    }

    /// The requests of regcred's ServiceAccount that write, made by the pull secret's namespaces of this
    /// scene since `mark`: `verb resource code`.
    pub(crate) async fn writes_since(&self, mark: world::AuditMark) -> Vec<String> {
        self.world.kube.settle_audit_log().await.expect("an audit log");
        let user = world::service_account_user(NAMESPACE, SERVICE_ACCOUNT);
        let events = self.world.kube.audit_events_by(&user, mark).expect("an audit log");
        let ours = events.into_iter().filter(|it| it.is_write() && it.namespace.starts_with(self.name));
        ours.map(|it| format!("{} {} {}", it.verb, it.resource, it.code)).collect()
    }
}

/// The bytes of `.dockerconfigjson`.
pub(crate) fn docker_config(secret: &Value) -> Vec<u8> {
    let text = secret["data"][".dockerconfigjson"].as_str().expect("a docker config");
    STANDARD.decode(text).expect("the API server encodes base64")
}

/// Waits for a condition of the world, at most a minute.
pub(crate) async fn until(condition: impl AsyncFn() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), wait).await.expect("the condition comes true");
}

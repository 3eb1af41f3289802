//! What can be seen from the stage: objects as the administrator reads them, and requests as the API server logged them.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use world::{AuditEvent, AuditMark, service_account_user};

use super::{HOST, NAMESPACE, PULL_SECRETS, SECRET, SERVICE_ACCOUNT, Stage, furniture};

impl Stage {
    /// The Secrets called `name` of the namespaces of this stage, in one list.
    pub(crate) async fn secrets_named(&self, name: &str) -> BTreeMap<String, Value> {
        let path = format!("/api/v1/secrets?fieldSelector=metadata.name%3D{name}");
        self.by_namespace(&self.kube.get(&path).await.expect("a list of Secrets"))
    }

    /// The pull secrets of this stage by namespace.
    pub(crate) async fn secrets(&self) -> BTreeMap<String, Value> {
        self.secrets_named(SECRET).await
    }

    /// One pull secret.
    pub(crate) async fn secret(&self, namespace: &str) -> Option<Value> {
        self.kube.get(&format!("/api/v1/namespaces/{namespace}/secrets/{SECRET}")).await.ok()
    }

    /// The `imagePullSecrets` of a ServiceAccount.
    pub(crate) async fn references(&self, namespace: &str, account: &str) -> Vec<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}");
        references_of(&self.kube.get(&path).await.expect("a ServiceAccount"))
    }

    /// The namespaces of this stage whose Secret does not hold this password, or whose `default` ServiceAccount does not
    /// name it exactly once.
    pub(crate) async fn unserved(&self, password: &str) -> Vec<String> {
        let secrets = self.secrets().await;
        let path = "/api/v1/serviceaccounts?fieldSelector=metadata.name%3Ddefault";
        let accounts = self.by_namespace(&self.kube.get(path).await.expect("a list of ServiceAccounts"));
        let holds = |namespace: &String| {
            secrets.get(namespace).and_then(|secret| password_of(secret, HOST)).as_deref() == Some(password)
        };
        let names = |namespace: &String| {
            let references = accounts.get(namespace).map(references_of).unwrap_or_default();
            references.iter().filter(|name| *name == SECRET).count() == 1
        };
        self.namespaces.iter().filter(|it| !holds(it) || !names(it)).cloned().collect()
    }

    fn by_namespace(&self, list: &Value) -> BTreeMap<String, Value> {
        let items = list["items"].as_array().into_iter().flatten();
        let items =
            items.filter_map(|it| Some((it["metadata"]["namespace"].as_str()?.to_owned(), it.clone())));
        items.filter(|(namespace, _)| self.namespaces.contains(namespace)).collect()
    }

    /// A ClusterPullSecret; `None` where there is none.
    pub(crate) async fn pull_secret_object(&self, name: &str) -> Option<Value> {
        self.kube.get(&format!("{PULL_SECRETS}/{name}")).await.ok()
    }

    /// The status of a ClusterPullSecret; null where there is none yet.
    pub(crate) async fn status(&self, name: &str) -> Value {
        self.pull_secret_object(name).await.map_or(Value::Null, |it| it["status"].clone())
    }

    /// `STATUS REASON` of a condition, for example `False StoreUnavailable`; empty where it is not there.
    pub(crate) async fn condition(&self, name: &str, kind: &str) -> String {
        condition_of(&self.status(name).await, kind)
    }

    /// The Events about an object.
    pub(crate) async fn events_about(&self, kind: &str, namespace: Option<&str>, name: &str) -> Vec<Value> {
        let list = self.kube.get("/apis/events.k8s.io/v1/events").await.expect("a list of Events");
        let is_about = |event: &&Value| {
            let regarding = &event["regarding"];
            regarding["kind"] == kind
                && regarding["name"] == name
                && namespace.is_none_or(|namespace| regarding["namespace"] == namespace)
        };
        list["items"].as_array().into_iter().flatten().filter(is_about).cloned().collect()
    }

    pub(crate) fn mark(&self) -> AuditMark {
        self.kube.audit_mark().expect("an audit log")
    }

    /// Every complete request since a mark.
    pub(crate) async fn all_requests(&self, mark: AuditMark) -> Vec<AuditEvent> {
        self.kube.settle_audit_log().await.expect("an audit log");
        self.kube.audit_events_since(mark).expect("an audit log")
    }

    /// Every complete request by one of regcred's ServiceAccounts since a mark.
    pub(crate) async fn requests_as(&self, account: &str, mark: AuditMark) -> Vec<AuditEvent> {
        let user = service_account_user(NAMESPACE, account);
        let mut requests = self.all_requests(mark).await;
        requests.retain(|request| request.user == user);
        requests
    }

    /// The same by the one that tests use unless they have two.
    pub(crate) async fn requests(&self, mark: AuditMark) -> Vec<AuditEvent> {
        self.requests_as(SERVICE_ACCOUNT, mark).await
    }

    /// What regcred wrote or tried to write since a mark, but for its Lease: `verb resource namespace/name code`.
    pub(crate) async fn writes(&self, mark: AuditMark) -> Vec<String> {
        let requests = self.requests(mark).await;
        requests.iter().filter(|request| is_write(request)).map(line).collect()
    }

    /// From the answer to a change to the last answer to what regcred did about it, by the API server's clock.
    /// Both are told by `verb resource namespace/name`; the change is the last such request of anybody else.
    #[track_caller]
    pub(crate) fn delay<'a>(
        &'a self,
        mark: AuditMark,
        change: &'a str,
        effect: &'a str,
    ) -> impl Future<Output = Duration> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let ours = service_account_user(NAMESPACE, SERVICE_ACCOUNT);
            let requests = self.all_requests(mark).await;
            let last = |what: &str, is_ours: bool| {
                let is_it =
                    |it: &&AuditEvent| (it.user == ours) == is_ours && it.code < 300 && object(it) == what;
                let found = requests.iter().rfind(is_it);
                found.unwrap_or_else(|| panic!("no {what} in the audit log, at {caller}")).answered
            };
            // One that came before the change is no answer to it.
            let delay = last(effect, true).duration_since(last(change, false));
            Duration::try_from(delay).unwrap_or_else(|_| panic!("{effect} came before {change}, at {caller}"))
        }
    }

    /// From an instant to the answer to the last write of a Secret, without the time in which the API server had one to
    /// answer. There is one write for each namespace of the stage.
    pub(crate) async fn delay_beyond_writes(&self, mark: AuditMark, since: Timestamp) -> Duration {
        let mut writes = self.requests(mark).await;
        writes.retain(|it| is_write(it) && it.resource == "secrets");
        assert_eq!(writes.len(), self.namespaces.len(), "writes of Secrets");
        writes.sort_by_key(|it| it.received);
        let (mut delay, mut busy_until) = (Duration::ZERO, since);
        for AuditEvent { received, answered, .. } in &writes {
            // Negative where another one is under way.
            delay += Duration::try_from(received.duration_since(busy_until)).unwrap_or_default();
            busy_until = busy_until.max(*answered);
        }
        delay
    }

    /// How often the key of a stage was read since a mark of Vault's audit log.
    pub(crate) fn reads(&self, key: &str, mark: world::VaultAuditMark) -> usize {
        self.vault.reads_of(&format!("secret/data/{}", self.key(key)), mark).expect("Vault's audit log")
    }

    pub(crate) fn vault_mark(&self) -> world::VaultAuditMark {
        self.vault.audit_mark().expect("Vault's audit log")
    }

    /// With the CRD go all ClusterPullSecrets; the next stage puts it back.
    pub(crate) async fn remove_crd(&self) {
        furniture::remove_crd(self.kube).await.expect("the CRD can be removed");
    }

    /// Puts the CRD back.
    pub(crate) async fn apply_crd(&self) {
        furniture::apply_crd(self.kube).await.expect("deploy/crd.yaml applies");
    }
}

/// Whether a request of regcred is a write that a quiet controller does not make.
pub(crate) fn is_write(request: &AuditEvent) -> bool {
    request.is_write() && request.resource != "leases"
}

/// `verb resource namespace/name`, with the subresource behind the resource and without a namespace where there is none.
pub(crate) fn object(request: &AuditEvent) -> String {
    let resource = [request.resource.as_str(), &request.subresource];
    let resource = resource.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join("/");
    let place = [request.namespace.as_str(), &request.name];
    let place = place.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join("/");
    format!("{} {resource} {place}", request.verb)
}

/// The same with the code of the answer.
pub(crate) fn line(request: &AuditEvent) -> String {
    format!("{} {}", object(request), request.code)
}

pub(crate) fn references_of(account: &Value) -> Vec<String> {
    let references = account["imagePullSecrets"].as_array().cloned().unwrap_or_default();
    references.iter().map(|it| it["name"].as_str().unwrap_or_default().to_owned()).collect()
}

pub(crate) fn condition_of(status: &Value, kind: &str) -> String {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found = conditions.into_iter().find(|it| it["type"] == kind);
    found.map_or(String::new(), |it| format!("{} {}", text(&it["status"]), text(&it["reason"])))
}

/// The docker config of a Secret; null where it holds none.
pub(crate) fn docker_config(secret: &Value) -> Value {
    let text = secret["data"][".dockerconfigjson"].as_str().unwrap_or_default();
    let bytes = STANDARD.decode(text).expect("the API server encodes base64");
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// The password for a registry.
pub(crate) fn password_of(secret: &Value, host: &str) -> Option<String> {
    docker_config(secret)["auths"][host]["password"].as_str().map(str::to_owned)
}

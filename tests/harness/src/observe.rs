//! The objects of a cluster, as an administrator reads them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{CLUSTER_PULL_SECRETS, HOST, SECRET, TestCluster, until};

impl TestCluster {
    /// An object of the core group; `None` if it does not exist.
    pub async fn object(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        self.kube.get(&format!("/api/v1/namespaces/{namespace}/{kind}/{name}")).await.ok()
    }

    /// The Secrets called `name` in the namespaces of this test, by one list.
    pub async fn secrets_named(&self, name: &str) -> BTreeMap<String, Value> {
        let path = format!("/api/v1/secrets?fieldSelector=metadata.name%3D{name}");
        self.by_namespace(&self.kube.get(&path).await.expect("a list of Secrets"))
    }

    /// The pull secrets of this test by namespace.
    pub async fn secrets(&self) -> BTreeMap<String, Value> {
        self.secrets_named(SECRET).await
    }

    /// The pull secret of a namespace.
    pub async fn secret(&self, namespace: &str) -> Option<Value> {
        self.object(namespace, "secrets", SECRET).await
    }

    /// `host → password` of the pull secret of a namespace.
    pub async fn passwords(&self, namespace: &str) -> BTreeMap<String, String> {
        let config = self.secret(namespace).await.as_ref().map(docker_config).unwrap_or_default();
        let auths = config["auths"].as_object().cloned().unwrap_or_default();
        let passwords = auths.into_iter().map(|(host, entry)| {
            let (_, password) = credential_of(&entry).unwrap_or_default();
            (host, password)
        });
        passwords.collect()
    }

    /// The `imagePullSecrets` of a ServiceAccount.
    pub async fn references(&self, namespace: &str, account: &str) -> Vec<String> {
        let account = self.object(namespace, "serviceaccounts", account).await;
        references_of(&account.expect("a ServiceAccount"))
    }

    /// The namespaces of this test where the pull secret does not hold this password, or the `default` ServiceAccount
    /// does not reference it exactly once.
    pub async fn out_of_sync(&self, password: &str) -> Vec<String> {
        let secrets = self.secrets().await;
        let path = "/api/v1/serviceaccounts?fieldSelector=metadata.name%3Ddefault";
        let accounts = self.by_namespace(&self.kube.get(path).await.expect("a list of ServiceAccounts"));
        let namespaces = self.namespaces.iter().filter(|namespace| {
            let held = secrets.get(*namespace).and_then(|secret| password_of(secret, HOST));
            let references = accounts.get(*namespace).map(references_of).unwrap_or_default();
            let count = references.iter().filter(|name| *name == SECRET).count();
            held.as_deref() != Some(password) || count != 1
        });
        namespaces.cloned().collect()
    }

    /// Waits until every namespace holds this password and every `default` ServiceAccount references it.
    pub async fn until_synced(&self, password: &str) {
        let what = format!("the password {password} in every namespace and ServiceAccount");
        until(&what, async || self.out_of_sync(password).await.is_empty()).await;
    }

    fn by_namespace(&self, list: &Value) -> BTreeMap<String, Value> {
        let items = list["items"].as_array().into_iter().flatten();
        let items = items.map(|it| (text(&it["metadata"]["namespace"]), it.clone()));
        items.filter(|(namespace, _)| self.namespaces.contains(namespace)).collect()
    }

    /// A ClusterPullSecret; `None` if it does not exist.
    pub async fn get_cluster_pull_secret(&self, name: &str) -> Option<Value> {
        self.kube.get(&format!("{CLUSTER_PULL_SECRETS}/{name}")).await.ok()
    }

    /// The status of a ClusterPullSecret; null if it has none yet.
    pub async fn status(&self, name: &str) -> Value {
        self.get_cluster_pull_secret(name).await.map_or(Value::Null, |it| it["status"].clone())
    }

    /// `STATUS REASON` of a condition, for example `False StoreUnavailable`; empty if it is absent.
    pub async fn condition(&self, name: &str, kind: &str) -> String {
        condition_of(&self.status(name).await, kind)
    }

    /// The Events about an object.
    pub async fn events_about(&self, kind: &str, namespace: Option<&str>, name: &str) -> Vec<Value> {
        let list = self.kube.get("/apis/events.k8s.io/v1/events").await.expect("a list of Events");
        let mut events = list["items"].as_array().cloned().unwrap_or_default();
        events.retain(|event| {
            let regarding = &event["regarding"];
            regarding["kind"] == kind
                && regarding["name"] == name
                && namespace.is_none_or(|namespace| regarding["namespace"] == namespace)
        });
        events
    }
}

/// The text of a field; empty if it is absent.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The names in the `imagePullSecrets` of a ServiceAccount.
pub fn references_of(account: &Value) -> Vec<String> {
    let references = account["imagePullSecrets"].as_array().into_iter().flatten();
    references.map(|it| text(&it["name"])).collect()
}

/// `STATUS REASON` of a condition in a status; empty if it is absent.
pub fn condition_of(status: &Value, kind: &str) -> String {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let condition = conditions.find(|it| it["type"] == kind);
    condition.map_or(String::new(), |it| format!("{} {}", text(&it["status"]), text(&it["reason"])))
}

/// The bytes of a Secret's `.dockerconfigjson`; empty if it has none.
pub fn docker_config_bytes(secret: &Value) -> Vec<u8> {
    STANDARD.decode(text(&secret["data"][".dockerconfigjson"])).expect("the API server encodes base64")
}

/// The docker config of a Secret; null if it has none.
pub fn docker_config(secret: &Value) -> Value {
    serde_json::from_slice(&docker_config_bytes(secret)).unwrap_or_default()
}

/// The username and the password of an entry that holds `auth` alone; `None` for an entry of any other form.
pub fn credential_of(entry: &Value) -> Option<(String, String)> {
    let fields = entry.as_object().filter(|fields| fields.len() == 1)?;
    let auth = String::from_utf8(STANDARD.decode(fields.get("auth")?.as_str()?).ok()?).ok()?;
    let (username, password) = auth.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

/// The entry that regcred writes for a credential.
pub fn entry(username: &str, password: &str) -> Value {
    json!({"auth": STANDARD.encode(format!("{username}:{password}"))})
}

/// The bytes that earlier versions wrote for the password of `robot` under each key, which are in their order: three fields
/// in this order, and Docker Hub under `https://index.docker.io/v1/` alone.
pub fn earlier_docker_config(passwords: &[(&str, &str)]) -> Vec<u8> {
    let entries = passwords.iter().map(|(key, password)| {
        let auth = STANDARD.encode(format!("robot:{password}"));
        format!(r#""{key}":{{"username":"robot","password":"{password}","auth":"{auth}"}}"#)
    });
    format!(r#"{{"auths":{{{}}}}}"#, entries.collect::<Vec<_>>().join(",")).into_bytes()
}

/// The change that gives a Secret these bytes and this versions annotation.
pub fn with_content(docker_config: &[u8], versions: &str) -> Value {
    json!({
        "metadata": {"annotations": {"regcred.dev/versions": versions}},
        "data": {".dockerconfigjson": STANDARD.encode(docker_config)},
    })
}

/// The password for a registry in a Secret.
pub fn password_of(secret: &Value, host: &str) -> Option<String> {
    credential_of(&docker_config(secret)["auths"][host]).map(|(_, password)| password)
}

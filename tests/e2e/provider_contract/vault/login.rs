//! Login methods, and the life of a token.

use std::path::PathBuf;
use std::time::Duration;

use regcred::credential::Key;
use regcred::credential::dynamic_path::Method;
use regcred::manifest::config::{AppRoleAuth, KubernetesAuth, KvVersion, VaultAuth, VaultSettings};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use world::{Vault, VaultAuditMark};

use super::super::{json_of, password, read};
use super::server::{Server, VaultServer, on_every_server};
use super::{TIMEOUT, message, open, settings};

/// An auth mount, a policy and two keys of one test.
struct Mount {
    server: &'static Server,
    name: &'static str,
    beginning: VaultAuditMark,
    directory: TempDir,
}

impl Mount {
    async fn new<S: VaultServer>(name: &'static str) -> Self {
        let server = S::shared().await;
        let vault = server.vault;
        vault.write(&format!("sys/auth/{name}"), &json!({"type": "approle"})).await.unwrap();
        let policy = format!("path \"secret/data/{name}/*\" {{ capabilities = [\"read\"] }}");
        vault.put_policy(name, &policy).await.unwrap();
        for key in ["a", "b"] {
            vault.put_kv2("secret", &format!("{name}/{key}"), &password(key)).await.unwrap();
        }
        let beginning = vault.audit_mark().unwrap();
        Self { server, name, beginning, directory: TempDir::new().unwrap() }
    }

    /// Creates a role and puts its two ids into files.
    async fn app_role(&self, role: serde_json::Value) -> VaultSettings {
        let path = format!("auth/{}/role/regcred", self.name);
        let vault = self.server.vault;
        vault.write(&path, &role).await.unwrap();
        let role_id = vault.read(&format!("{path}/role-id")).await.unwrap();
        let secret_id = vault.write(&format!("{path}/secret-id"), &json!({})).await.unwrap();
        let auth = VaultAuth::AppRole(AppRoleAuth {
            role_id_file: self.file("role-id", role_id["data"]["role_id"].as_str().unwrap()),
            secret_id_file: self.file("secret-id", secret_id["data"]["secret_id"].as_str().unwrap()),
            mount: self.name.to_owned(),
        });
        VaultSettings { auth, ..settings(self.server, "secret", KvVersion::V2) }
    }

    fn vault(&self) -> &'static Vault {
        self.server.vault
    }

    /// A file as an editor leaves it.
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, format!("{content}\n")).unwrap();
        path
    }

    /// Creates a token with the policy.
    async fn token(&self) -> String {
        let body = json!({"policies": [self.name], "ttl": "20m", "display_name": "x", "no_parent": true});
        let answer = self.server.vault.write("auth/token/create", &body).await.unwrap();
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }

    /// The number of requests for `path` by logins at this mount, and by attempts to log in.
    fn requests(&self, path: &str) -> usize {
        let events = self.server.vault.audit_events_since(self.beginning).unwrap();
        let requests = events.iter().filter(|event| event.kind == "request" && event.path == path);
        let display_names = requests.map(|event| &event.display_name);
        display_names.filter(|it| it.is_empty() || it.starts_with(self.name)).count()
    }

    fn logins(&self) -> usize {
        self.requests(&format!("auth/{}/login", self.name))
    }

    fn renewals(&self) -> usize {
        self.requests("auth/token/renew-self")
    }
}

on_every_server! {
    app_role_logs_in_once_for_many_reads
    denied_path_is_reported_and_read_again_with_new_token
    denied_metadata_paths_are_reported
    role_with_a_new_policy_is_logged_in_again
    wrong_secret_id_names_the_files_and_a_new_one_is_read
    token_is_renewed_while_possible_and_then_replaced
    unrenewable_token_is_replaced
    revoked_token_is_replaced_once_for_all_reads
    refused_token_is_read_again_from_its_file
    service_account_logs_in_with_the_current_token_file
    locked_role_is_named_until_it_is_unlocked
    refused_address_is_named_and_does_not_lock_the_role
    lease_outlives_a_login_and_then_its_token_is_revoked
}

async fn app_role_logs_in_once_for_many_reads<S: VaultServer>() {
    let mount = Mount::new::<S>("login-approle").await;
    let provider = open(&mount.app_role(json!({"token_policies": [mount.name], "token_ttl": "20m"})).await);
    for _ in 0..3 {
        let values = provider.read(&["a", "b"].map(|key| Key(mount.key(key)))).await;
        assert_eq!(json_of(values[0].as_ref().unwrap()), password("a"));
        assert_eq!(json_of(values[1].as_ref().unwrap()), password("b"));
    }
    assert_eq!((mount.logins(), mount.renewals()), (1, 0));
}

async fn denied_path_is_reported_and_read_again_with_new_token<S: VaultServer>() {
    let mount = Mount::new::<S>("login-policy").await;
    let provider = open(&mount.app_role(json!({"token_policies": [mount.name], "token_ttl": "20m"})).await);
    let denied =
        "store vault, key prod/ghcr: access denied: no policy grants `read` on secret/data/prod/ghcr";
    assert_eq!(message(&*provider, "prod/ghcr").await, denied);
    assert!(read(&*provider, &mount.key("a")).await.is_ok());
    assert_eq!(mount.logins(), 1, "a new token is not replaced");

    // Later the policies of the role may have changed: a new token is tried, and not a third one at once.
    for _ in 0..3 {
        assert_eq!(message(&*provider, "prod/ghcr").await, denied);
    }
    assert_eq!(mount.logins(), 2);
    let tokens = mount.vault().request("LIST", "sys/leases/lookup/auth/login-policy/login", None).await;
    assert_eq!(tokens.unwrap()["data"]["keys"].as_array().unwrap().len(), 1, "the other is revoked");
}

async fn denied_metadata_paths_are_reported<S: VaultServer>() {
    let mount = Mount::new::<S>("login-metadata").await;
    let provider = open(&mount.app_role(json!({"token_policies": [mount.name], "token_ttl": "20m"})).await);
    let keys = ["a", "b"].map(|key| Key(mount.key(key)));
    for (key, version) in keys.iter().zip(provider.versions(&keys).await) {
        let path = format!("secret/metadata/{key}");
        let denied = format!("store vault, key {key}: access denied: no policy grants `read` on {path}");
        assert_eq!(version.unwrap_err().to_string(), denied);
        assert_eq!(mount.requests(&path), 1);
    }
    assert!(provider.read(&keys).await.iter().all(Result::is_ok));
    assert_eq!(mount.logins(), 1);
}

async fn role_with_a_new_policy_is_logged_in_again<S: VaultServer>() {
    let mount = Mount::new::<S>("login-role").await;
    let provider = open(&mount.app_role(json!({"token_policies": ["default"], "token_ttl": "20m"})).await);
    let key = mount.key("a");
    assert!(message(&*provider, &key).await.contains("no policy grants `read`"));
    let role = json!({"token_policies": [mount.name]});
    mount.vault().write("auth/login-role/role/regcred", &role).await.unwrap();
    assert_eq!(json_of(&read(&*provider, &key).await.unwrap()), password("a"));
}

async fn wrong_secret_id_names_the_files_and_a_new_one_is_read<S: VaultServer>() {
    let mount = Mount::new::<S>("login-wrong").await;
    let settings = mount.app_role(json!({"token_policies": [mount.name]})).await;
    let path = mount.directory.path().join("secret-id");
    let right = std::fs::read(&path).unwrap();
    std::fs::write(&path, "wrong").unwrap();
    let provider = open(&settings);
    assert_eq!(
        message(&*provider, "key").await,
        "store vault, key key: access denied: the login at auth/login-wrong was refused: check \
         `roleIdFile` and `secretIdFile`. Their contents are tried again when one changes or after 20 minutes, \
         because a few refused logins lock the role for all its users"
    );
    for _ in 0..6 {
        assert!(read(&*provider, &mount.key("a")).await.is_err());
    }
    assert_eq!(mount.logins(), 1, "more would lock the role");
    std::fs::write(&path, right).unwrap();
    assert!(read(&*provider, &mount.key("a")).await.is_ok());
}

async fn locked_role_is_named_until_it_is_unlocked<S: VaultServer>() {
    let mount = Mount::new::<S>("login-locked").await;
    let settings = mount.app_role(json!({"token_policies": [mount.name]})).await;
    let (vault, provider) = (mount.vault(), open(&settings));
    let role_id = vault.read("auth/login-locked/role/regcred/role-id").await.unwrap();
    let role_id = role_id["data"]["role_id"].as_str().unwrap();
    // Another client of the role; the servers lock it after five.
    for _ in 0..5 {
        let wrong = json!({"role_id": role_id, "secret_id": "wrong"});
        vault.request_as("", "POST", "auth/login-locked/login", Some(&wrong)).await.unwrap_err();
    }
    let key = mount.key("a");
    let locked = message(&*provider, &key).await;
    assert!(locked.contains("the login at auth/login-locked was refused: the role is locked"), "{locked}");
    let accessor = vault.read("sys/auth/login-locked").await.unwrap();
    let accessor = accessor["data"]["accessor"].as_str().unwrap();
    vault.write(&format!("sys/locked-users/{accessor}/unlock/{role_id}"), &json!({})).await.unwrap();
    assert_eq!(json_of(&read(&*provider, &key).await.unwrap()), password("a"));
}

async fn refused_address_is_named_and_does_not_lock_the_role<S: VaultServer>() {
    let mount = Mount::new::<S>("login-cidr").await;
    let role = json!({"token_policies": [mount.name], "secret_id_bound_cidrs": ["192.0.2.0/24"]});
    let provider = open(&mount.app_role(role).await);
    let key = mount.key("a");
    for _ in 0..7 {
        let refused = message(&*provider, &key).await;
        assert!(refused.contains("the role does not admit the address of this client"), "{refused}");
    }
    assert_eq!(mount.logins(), 7, "the servers lock a role after five that count");
    let role = json!({"token_policies": [mount.name], "secret_id_bound_cidrs": ["127.0.0.0/8"]});
    mount.vault().write("auth/login-cidr/role/regcred", &role).await.unwrap();
    assert_eq!(json_of(&read(&*provider, &key).await.unwrap()), password("a"));
}

/// The number of leases below a path of a server.
async fn leases(vault: &Vault, path: &str) -> usize {
    let listed = vault.request("LIST", &format!("sys/leases/lookup/{path}"), None).await.unwrap_or_default();
    listed["data"]["keys"].as_array().map_or(0, Vec::len)
}

async fn lease_outlives_a_login_and_then_its_token_is_revoked<S: VaultServer>() {
    let mount = Mount::new::<S>("login-lease").await;
    let (vault, name) = (mount.vault(), mount.name);
    vault.write(&format!("sys/mounts/{name}"), &json!({"type": "pki"})).await.unwrap();
    let root = json!({"common_name": "root", "ttl": "2h", "key_type": "ec"});
    vault.write(&format!("{name}/root/generate/internal"), &root).await.unwrap();
    let role = json!({
        "allow_any_name": true, "require_cn": false, "generate_lease": true, "key_type": "ec", "ttl": "1h",
    });
    vault.write(&format!("{name}/roles/puller"), &role).await.unwrap();
    let path = format!("{name}/issue/puller");
    let rules =
        [&path, "sys/leases/revoke"].map(|it| format!("path \"{it}\" {{ capabilities = [\"update\"] }}"));
    vault.put_policy(name, &rules.join("\n")).await.unwrap();
    let provider = open(&mount.app_role(json!({"token_policies": [name], "token_ttl": "20m"})).await);

    let key = Key::from_path(Method::Write, &path);
    let denied = Key::from("prod/ghcr");
    assert!(provider.read(std::slice::from_ref(&key)).await[0].is_ok());
    let both = provider.read(&[denied, key.clone()]).await;
    assert!(both[0].is_err() && both[1].is_ok(), "{both:?}");
    assert_eq!(mount.logins(), 2);
    let tokens = format!("auth/{name}/login");
    assert_eq!(
        (leases(vault, &path).await, leases(vault, &tokens).await),
        (2, 2),
        "no credential was revoked"
    );
    assert!(provider.read(std::slice::from_ref(&key)).await[0].is_ok());
    let replaced = provider.take_replaced_leases(&key);
    assert_eq!(replaced.len(), 2);
    provider.revoke_leases(replaced).await;
    assert_eq!((leases(vault, &path).await, leases(vault, &tokens).await), (1, 1));
}

async fn token_is_renewed_while_possible_and_then_replaced<S: VaultServer>() {
    let mount = Mount::new::<S>("login-short").await;
    // Renewed between 8 and 12 s, and replaced between 16 and 20 s: a busy machine may pause for seconds.
    let role = json!({"token_policies": [mount.name], "token_ttl": "12s", "token_max_ttl": "20s"});
    let provider = open(&mount.app_role(role).await);
    let started = Instant::now();
    let mut renewed_after = None;
    while mount.logins() < 2 {
        assert!(started.elapsed() < TIMEOUT, "{} renewals and no login", mount.renewals());
        assert!(read(&*provider, &mount.key("a")).await.is_ok());
        if mount.renewals() > 0 {
            renewed_after.get_or_insert(started.elapsed());
        }
        sleep(Duration::from_millis(250)).await;
    }
    let renewed_after = renewed_after.expect("a renewal before the second login");
    assert!(renewed_after >= Duration::from_secs(8), "{renewed_after:?}");
    let errors = mount.vault().audit_events_since(mount.beginning).unwrap();
    let refused = errors.iter().filter(|event| event.path == format!("secret/data/{}", mount.key("a")));
    assert!(refused.clone().all(|event| event.error.is_empty()), "a read used an expired token");
    assert!(refused.count() > 0);
}

async fn unrenewable_token_is_replaced<S: VaultServer>() {
    let mount = Mount::new::<S>("login-batch").await;
    let role = json!({"token_policies": [mount.name], "token_ttl": "2s", "token_type": "batch"});
    let provider = open(&mount.app_role(role).await);
    let started = Instant::now();
    while mount.logins() < 2 {
        assert!(started.elapsed() < TIMEOUT);
        assert!(read(&*provider, &mount.key("a")).await.is_ok());
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(mount.renewals(), 0);
}

async fn revoked_token_is_replaced_once_for_all_reads<S: VaultServer>() {
    let mount = Mount::new::<S>("login-revoked").await;
    let provider = open(&mount.app_role(json!({"token_policies": [mount.name], "token_ttl": "20m"})).await);
    assert!(read(&*provider, &mount.key("a")).await.is_ok());
    let path = format!("sys/leases/revoke-prefix/auth/{}/login", mount.name);
    mount.vault().write(&path, &json!({"sync": true})).await.unwrap();
    let values = provider.read(&["a", "b"].map(|key| Key(mount.key(key)))).await;
    assert!(values.iter().all(Result::is_ok), "{values:?}");
    assert_eq!(mount.logins(), 2);
}

async fn refused_token_is_read_again_from_its_file<S: VaultServer>() {
    let mount = Mount::new::<S>("login-file").await;
    let first = mount.token().await;
    let file = mount.file("token", &first);
    let auth = VaultAuth::TokenFile(file);
    let provider = open(&VaultSettings { auth, ..settings(mount.server, "secret", KvVersion::V2) });
    assert!(read(&*provider, &mount.key("a")).await.is_ok());
    mount.vault().write("auth/token/revoke", &json!({"token": first})).await.unwrap();
    let key = mount.key("a");
    assert_eq!(
        message(&*provider, &key).await,
        format!("store vault, key {key}: access denied: the token is expired, revoked or not renewable")
    );
    mount.file("token", &mount.token().await);
    assert!(read(&*provider, &key).await.is_ok());
}

async fn service_account_logs_in_with_the_current_token_file<S: VaultServer>() {
    let mount = Mount::new::<S>("login-policy-kubernetes").await;
    let kube = &mount.server.world.kube;
    let namespace = format!("login-{}", S::NAME);
    kube.create_namespaces([namespace.as_str()], &[]).await.unwrap();
    let vault = mount.vault();
    let role = "login-kubernetes";
    vault
        .create_kubernetes_role("kubernetes", role, &["default"], &[namespace.as_str()], &[mount.name], "20m")
        .await
        .unwrap();
    let token_file = mount.file("jwt", "no token");
    let auth = VaultAuth::Kubernetes(KubernetesAuth {
        role: role.to_owned(),
        mount: "kubernetes".to_owned(),
        token_file,
    });
    let provider = open(&VaultSettings { auth, ..settings(mount.server, "secret", KvVersion::V2) });
    let key = mount.key("a");
    let refused = message(&*provider, &key).await;
    assert!(refused.contains("the Vault could not have the token reviewed"), "{refused}");
    mount.file("jwt", &kube.token(&namespace, "default", 600).await.unwrap());
    assert_eq!(json_of(&read(&*provider, &key).await.unwrap()), password("a"));
}

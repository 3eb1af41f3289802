//! Identity tokens of a Vault as passwords of a registry: its token server verifies their signature by the keys that the
//! Vault publishes.

use std::time::Duration;

use harness::{TestCluster, until, until_within};
use serde_json::json;
use world::Registry;

use super::with_keys;
use crate::app_role::AppRole;
use crate::cluster::test_cluster;
use crate::controller::RunController as _;

/// The life of a token. It is replaced after 20 seconds.
const LIFE: Duration = Duration::from_secs(30);

/// Creates the role `NAME` of identity tokens, and returns its audience.
async fn create_role(cluster: &TestCluster) -> String {
    let (name, vault, ttl) = (cluster.name, &cluster.vault, format!("{}s", LIFE.as_secs()));
    let key = json!({"allowed_client_ids": "*", "algorithm": "RS256"});
    vault.write(&format!("identity/oidc/key/{name}"), &key).await.expect("a signing key");
    let role = json!({"key": name, "ttl": ttl});
    vault.write(&format!("identity/oidc/role/{name}"), &role).await.expect("a role");
    let role = vault.read(&format!("identity/oidc/role/{name}")).await.expect("the role");
    role["data"]["client_id"].as_str().expect("a client id").to_owned()
}

/// A token with another signature.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let other = if signature.starts_with('A') { "B" } else { "A" };
    format!("{signed}.{other}{}", &signature[1..])
}

#[tokio::test]
async fn identity_token_of_a_vault_pulls_from_a_registry() {
    let cluster = test_cluster("dynamic-token", 2).await;
    let name = cluster.name;
    let registry = Registry::start_token(&cluster.reaper).await.expect("a registry");
    registry.push_image("team/app", "1").await.expect("an image");
    let audience = create_role(&cluster).await;
    let issuer = format!("{}/v1/identity/oidc", cluster.vault.address);
    registry.trust_issuer(&issuer, &audience).await.expect("the documents of the Vault");

    // A token names the entity that obtains it, which the root token has none of.
    let path = format!("identity/oidc/token/{name}");
    let app_role =
        AppRole::create(&cluster, &format!("path \"{path}\" {{ capabilities = [\"read\"] }}")).await;
    let config = with_keys(&cluster.config_with_vault(&app_role.vault(&cluster), ""), &format!("\"{path}\""));
    let mut object = cluster.cluster_pull_secret(name);
    object["spec"]["registries"] = json!([{
        "host": registry.host, "username": registry.username,
        "from": {"store": "vault", "path": path, "passwordKey": "token"},
    }]);
    cluster.apply(&object).await;
    let _controller = cluster.controller().manifests(&cluster.write(&[&config])).start().await;

    let can_pull = async |token: &str| {
        registry.can_pull("team/app", "1", &registry.username, token).await.expect("an answer")
    };
    let held = async |n: usize| cluster.passwords(cluster.namespace(n)).await.remove(&registry.host);
    until("a token in every namespace", async || held(0).await.is_some() && held(1).await.is_some()).await;
    let first = held(0).await.expect("a token");
    assert!(can_pull(&first).await, "the registry accepts it");
    assert!(!can_pull(&forged(&first)).await, "the signature is verified");

    until_within(LIFE, "another token", async || held(1).await.is_some_and(|token| token != first)).await;
    assert!(can_pull(&held(1).await.expect("a token")).await, "the next one, too");
    until_within(LIFE, "the end of the first", async || !can_pull(&first).await).await;
    for n in 0..2 {
        assert!(can_pull(&held(n).await.expect("a token")).await, "every namespace holds a valid one");
    }
}

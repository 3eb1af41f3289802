//! Trusted certificates. The API server stands in for a Vault: it has its own certificate authority, and it answers a
//! connection as a server that is no Vault.

use std::path::PathBuf;

use regcred::manifest::config::{KvVersion, VaultAuth, VaultSettings};
use tokio::process::Command;
use world::World;

use super::{message, open};

/// The variable with the address of a Vault with an untrusted certificate, for a test that is run again.
const ADDRESS: &str = "REGCRED_TEST_UNTRUSTED_ADDRESS";

/// An authority that has signed nothing.
const OTHER_AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBkDCCATWgAwIBAgIUNoTbVmllMcqEY4nI/nryHYTYJhgwCgYIKoZIzj0EAwIw
HDEaMBgGA1UEAwwRYW5vdGhlciBhdXRob3JpdHkwIBcNMjYxMTIyMTMxNjA4WhgP
MjEyNjEwMjkxMzE2MDhaMBwxGjAYBgNVBAMMEWFub3RoZXIgYXV0aG9yaXR5MFkw
EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZ5atac5CeucMmlxvMWMRgn28WVeg2qB2
fBZmRg1+W4qC/hDFCQhT80Dg0jFzDr9DK8wzVueQmLGSuq/b1oLFZKNTMFEwHQYD
VR0OBBYEFC9l2MUwctj8wc32KzXTzf3cvj4PMB8GA1UdIwQYMBaAFC9l2MUwctj8
wc32KzXTzf3cvj4PMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIh
AMmChG9MbeN0Ml8HPw10QJfuiFwreDO5hvZDafxPlo6gAiEAvVcLSTLxuw2pQOcl
/rwwLxJovdzyNf/U6wiGo2n4LwQ=
-----END CERTIFICATE-----
";

async fn message_of(address: &str, ca_file: Option<PathBuf>) -> String {
    let directory = tempfile::TempDir::new().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "hvs.token").unwrap();
    let settings = VaultSettings {
        address: address.parse().unwrap(),
        mount: "secret".to_owned(),
        kv: KvVersion::V2,
        namespace: None,
        ca_file,
        redirect_hosts: Vec::new(),
        allow_http: false,
        auth: VaultAuth::TokenFile(token),
    };
    message(&*open(&settings), "key").await
}

#[tokio::test]
async fn certificate_of_unknown_authority_is_refused() {
    #[allow(clippy::disallowed_methods, reason = "the edge of this process is this test")]
    let address = match std::env::var(ADDRESS) {
        Ok(address) => address,
        Err(_) => World::shared().await.kube.url.clone(),
    };
    assert_eq!(
        message_of(&address, None).await,
        format!(
            "store vault, key key: the store at {address} is unavailable: invalid peer certificate: \
             UnknownIssuer; set `caFile` to the authority that signed the Vault's certificate"
        )
    );
}

#[tokio::test]
async fn environment_cannot_disable_verification() {
    let address = &World::shared().await.kube.url;
    for value in ["", "1", "true"] {
        let again = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "provider_contract::vault::tls::certificate_of_unknown_authority_is_refused"])
            .env(ADDRESS, address)
            .env("VAULT_SKIP_VERIFY", value)
            .env("VAULT_CACERT", &World::shared().await.kube.ca_file)
            .output()
            .await
            .unwrap();
        let report = String::from_utf8_lossy(&again.stdout);
        assert!(
            again.status.success() && report.contains("1 passed"),
            "VAULT_SKIP_VERIFY={value:?}: {report}"
        );
    }
}

#[tokio::test]
async fn authority_in_the_ca_file_is_trusted() {
    let kube = &World::shared().await.kube;
    assert_eq!(
        message_of(&kube.url, Some(kube.ca_file.clone())).await,
        "store vault, key key: status 403, but not from a Vault; check `address`"
    );
}

#[tokio::test]
async fn wrong_ca_file_is_reported() {
    let directory = tempfile::TempDir::new().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, OTHER_AUTHORITY).unwrap();
    let address = &World::shared().await.kube.url;
    let message = message_of(address, Some(ca_file.clone())).await;
    assert_eq!(
        message,
        format!(
            "store vault, key key: the store at {address} is unavailable: invalid peer certificate: \
             UnknownIssuer; `caFile` {} did not sign the Vault's certificate",
            ca_file.display()
        )
    );
}

//! Valid manifests.

use std::path::Path;
use std::time::Duration;

use super::super::Manifests;
use super::super::cluster_pull_secret::{Deletion, Existing, ServiceAccounts};
use super::super::config::triggers::Triggers;
use super::super::config::{Backend, KvVersion, VaultAuth};
use super::super::status::reason::ReadyReason;
use super::{EXAMPLE, SMALLEST, errors, files, good};
use crate::docker_config::host_key::HostKey;

#[test]
fn example_is_read_in_full() {
    let Manifests { stores, triggers, cluster_pull_secrets } = good(EXAMPLE);
    let names: Vec<&str> = stores.iter().map(|store| store.name.as_str()).collect();
    assert_eq!(names, ["vault", "approle", "token", "environment", "aws", "files", "ecr"]);
    let auths: Vec<&VaultAuth> = stores
        .iter()
        .filter_map(|store| match &store.backend {
            Backend::Vault(vault) => Some(&vault.auth),
            Backend::AwsSecretsManager(_)
            | Backend::AwsEcr(_)
            | Backend::File(_)
            | Backend::DefaultDirectory(_) => None,
        })
        .collect();
    assert!(matches!(
        auths[..],
        [VaultAuth::Kubernetes(_), VaultAuth::AppRole(_), VaultAuth::TokenFile(_), VaultAuth::Environment]
    ));
    let Backend::Vault(vault) = &stores[0].backend else { panic!("{:?}", stores[0]) };
    assert_eq!((vault.mount.as_str(), vault.kv), ("secret", KvVersion::V1));
    let keys = stores[4].keys.as_ref().expect("keys");
    assert!(keys.is_match("ci/ghcr") && !keys.is_match("ci/team/ghcr") && !keys.is_match("other"));

    let aws = (&stores[4].admission, stores[4].max_polls_per_second);
    assert_eq!((format!("{:?}", aws.0.selector.match_labels), aws.1), (r#"{"tier": "prod"}"#.to_owned(), 5));
    assert!(aws.0.namespaces.is_some() && aws.0.hosts.is_some() && stores[0].admission.hosts.is_none());
    assert_eq!(stores[0].max_polls_per_second, 20);
    let Backend::AwsEcr(ecr) = &stores[6].backend else { panic!("{:?}", stores[6]) };
    assert_eq!(
        (ecr.registry_ids.as_slice(), ecr.role_arn.is_some()),
        (&["123456789012".to_owned()][..], true)
    );
    assert!(!stores[6].backend.has_versions());

    let [images] = &cluster_pull_secrets[..] else { panic!("{cluster_pull_secrets:?}") };
    assert_eq!((images.name.as_str(), images.secret_name.as_str()), ("images", "regcred"));
    let hosts: Vec<Option<&str>> =
        images.registries.iter().map(|registry| registry.host.as_ref().map(HostKey::as_str)).collect();
    assert_eq!(hosts, [Some("ghcr.io"), Some("docker.io"), None]);
    assert_eq!(images.registries[1].store_key.to_string(), "store aws, key prod/dockerhub");
    let labels = [("tier".to_owned(), "prod".to_owned())].into();
    let admitted = ["team-a", "other"]
        .map(|name| images.admission.admits_namespace(&"aws".into(), &name.into(), &labels));
    assert_eq!(admitted, [true, false], "the lists of the stores come with the ClusterPullSecret");
    let web = [("team".to_owned(), "web".to_owned())].into();
    assert!(images.selection.selects(&"team-a".into(), &web));
    assert!(!images.selection.selects(&"team-sandbox".into(), &web));
    assert_eq!(images.service_accounts, ServiceAccounts::Named(vec!["default".into(), "builder".into()]));
    assert_eq!(images.existing, Existing::Adopt);
    assert_eq!((images.refresh_interval.as_secs(), images.deletion), (5400, Deletion::Retain));
    assert_eq!(images.inactive_reason(), Some(ReadyReason::Suspended));

    assert_eq!(triggers.poll_interval, Some(Duration::from_secs(90)));
    let [queue] = &triggers.sqs[..] else { panic!("{triggers:?}") };
    assert_eq!((queue.region.as_str(), queue.endpoint_url.as_deref()), ("eu-west-1", None));
    let webhook = triggers.webhook.expect("a webhook");
    assert_eq!((webhook.listen.port(), webhook.requests_per_second), (8081, 10));
    assert!(webhook.tls.is_some() && webhook.hmac_key_file.is_none());
}

#[test]
fn smallest_manifest_has_every_default() {
    let Manifests { stores, triggers, cluster_pull_secrets } = good(SMALLEST);
    assert_eq!(triggers, Triggers::default());
    assert!(matches!(&stores[..], [store] if store.name == "files"), "{stores:?}");
    assert!(
        matches!(&stores[0].backend, Backend::DefaultDirectory(path) if path == Path::new("credentials"))
    );
    assert_eq!(cluster_pull_secrets[0].secret_name, "images");
    assert_eq!(cluster_pull_secrets[0].service_accounts, ServiceAccounts::Named(vec!["default".into()]));
    assert_eq!(cluster_pull_secrets[0].existing, Existing::Refuse);
    assert!(cluster_pull_secrets[0].selection.selects(&"default".into(), &[].into()));
}

#[test]
fn fields_of_the_api_server_are_ignored() {
    let object = format!(
        "{}\nstatus: {{conditions: [{{type: Ready}}], failures: null}}\n",
        SMALLEST.replace(
            "{name: images}",
            "{name: images, uid: 1, creationTimestamp: null, managedFields: [{}]}"
        )
    );
    assert_eq!(good(&object).cluster_pull_secrets.len(), 1);
    let items = object.lines().fold(String::new(), |text, line| format!("{text}\n  {line}"));
    let list = format!(
        "apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: \"\"}}\nitems:\n-{}\n",
        &items[2..]
    );
    assert_eq!(good(&list).cluster_pull_secrets.len(), 1);
    let bad_list = list.replace("key: ghcr", "key: ''");
    assert_eq!(errors(&bad_list), "images.yaml:8: items[0].spec.registries[0].from.key: must not be empty");
}

#[test]
fn json_is_read_too() {
    let json = r#"{"apiVersion": "regcred.dev/v1alpha1", "kind": "ClusterPullSecret", "metadata": {"name": "images"},
        "spec": {"registries": [{"host": "ghcr.io", "from": {"store": "files", "key": "ghcr"}}], "serviceAccounts": ["*"]}}"#;
    assert_eq!(good(json).cluster_pull_secrets[0].service_accounts, ServiceAccounts::All);
}

#[test]
fn empty_documents_are_ignored() {
    assert_eq!(good(&format!("---\n---\n# nothing\n---\n{SMALLEST}---\n")).cluster_pull_secrets.len(), 1);
    assert_eq!(errors("# nothing\n"), "images.yaml: contains no manifest");
}

#[test]
fn anchors_and_merges_are_read() {
    let text = "apiVersion: regcred.dev/v1alpha1
kind: ClusterPullSecret
metadata: {name: images}
spec:
  registries:
    - &first
      host: ghcr.io
      from: &from {store: files, key: ghcr}
    - {<<: *first, host: quay.io}
    - {host: docker.io, from: *from}
";
    let registries = &good(text).cluster_pull_secrets[0].registries;
    assert!(registries.iter().all(|registry| registry.store_key.key.0 == "ghcr"));
    assert_eq!(registries[1].host.as_ref().map(ToString::to_string).as_deref(), Some("quay.io"));
}

#[test]
fn cluster_pull_secrets_keep_the_order_given() {
    let [b, a] = ["name: b", "name: a"].map(|name| SMALLEST.replace("name: images", name));
    let read = files(&[("b.yaml", &b), ("a.yaml", &a)]).expect("valid manifests");
    assert_eq!(read.cluster_pull_secrets.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
}

//! Manifests as people write them, good and bad.

mod documents;
mod fields;
mod good;
mod object;
mod together;
mod triggers;

use std::path::Path;

use proptest::prelude::*;

use super::mistake::Mistakes;
use super::source::Text;
use super::{Manifests, interpret};

fn files(files: &[(&str, &str)]) -> Result<Manifests, Mistakes> {
    let texts: Vec<Text> =
        files.iter().map(|(file, text)| Text { file: (*file).into(), text: (*text).into() }).collect();
    interpret(&texts, Path::new("credentials"), Mistakes::default())
}

fn good(text: &str) -> Manifests {
    files(&[("images.yaml", text)]).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn mistakes(text: &str) -> String {
    files(&[("images.yaml", text)]).expect_err("there are mistakes").to_string()
}

/// The only mistake of a ClusterPullSecret with these lines for a spec, without its file.
fn check_spec(spec: &str, expected: &str) {
    let spec = spec.lines().fold(String::new(), |text, line| format!("{text}\n  {line}"));
    let text = format!(
        "apiVersion: regcred.dev/v1alpha1\nkind: ClusterPullSecret\nmetadata: {{name: images}}\nspec:{spec}\n"
    );
    assert_eq!(mistakes(&text), format!("images.yaml:{expected}"), "{text}");
}

/// The only mistake of a Config with this for a store, without its file and line.
fn check_store(store: &str, expected: &str) {
    let text = format!("apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores: [{store}]\n");
    assert_eq!(mistakes(&text), format!("images.yaml:3: stores[0]{expected}"), "{store}");
}

/// Every mistake of a Config with these lines for its triggers.
fn of_triggers(triggers: &str) -> String {
    mistakes(&format!("apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores: []\ntriggers: {triggers}\n"))
}

const EXAMPLE: &str = r#"
apiVersion: regcred.dev/v1alpha1
kind: Config
stores:
  - name: vault
    vault:   # in the cluster
      address: https://vault.vault:8200
      # where the passwords are
      mount: /secret/
      kvVersion: 1
      namespace: team-a
      caFile: /etc/ssl/vault.pem
      auth:
        kubernetes: {role: regcred, mount: kubernetes}
  - name: approle
    vault:
      address: https://vault.vault:8200
      auth:
        appRole: {roleIdFile: /run/role, secretIdFile: /run/secret}
  - name: token
    vault: {address: "http://127.0.0.1:8200", auth: {tokenFile: /run/token}}
  - name: environment
    vault: {address: "http://127.0.0.1:8200"}
  - name: aws
    awsSecretsManager: {region: eu-west-1, endpointUrl: "http://127.0.0.1:4566"}
    keys: ["ci/*", "prod/*"]
  - name: files
    file: {directory: /run/registry-credentials}
triggers:
  pollInterval: 1m30s
  sqs: [{queueUrl: "https://sqs.eu-west-1.amazonaws.com/123456789012/regcred", region: eu-west-1}]
  webhook:
    tokenFile: /run/webhook/tokens
    tls: {certificateFile: /run/webhook/tls.crt, keyFile: /run/webhook/tls.key}
---
apiVersion: regcred.dev/v1alpha1
kind: ClusterPullSecret
metadata: {name: images}
spec:
  secretName: regcred
  registries:
    - host: ghcr.io
      from: {store: vault, key: ci/ghcr, usernameKey: username, passwordKey: password}
    - host: docker.io
      from: {store: aws, key: prod/dockerhub}
      username: robot
    - from: {store: files, key: config.json}
  namespaces:
    selector:
      matchLabels: {team: web}
      matchExpressions: [{key: tier, operator: NotIn, values: ["1"]}]
    include: ["team-*"]
    exclude: ["*-sandbox"]
  serviceAccounts: [default, builder]
  existing: Adopt
  refreshInterval: 1h30m
  deletion: Retain
  suspend: true
"#;

const SMALLEST: &str = "apiVersion: regcred.dev/v1alpha1
kind: ClusterPullSecret
metadata: {name: images}
spec: {registries: [{host: ghcr.io, from: {store: files, key: ghcr}}]}
";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = files(&[("images.yaml", &text)]);
    }

    #[test]
    fn any_mutilated_manifest_is_read_or_refused(
        from in 0..EXAMPLE.len(), length in 0_usize..40, instead in "[\\[\\]{}:,&*!|>'\"%@`#\n\t a-z0-9-]{0,8}",
    ) {
        let end = (from + length).min(EXAMPLE.len());
        let text = format!("{}{instead}{}", &EXAMPLE[..from], &EXAMPLE[end..]);
        let _ = files(&[("images.yaml", &text)]);
    }
}

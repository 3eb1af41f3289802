//! Manifests with many errors, all of which are reported.

use insta::assert_snapshot;

use super::{errors, files};

#[test]
fn all_errors_are_reported_at_once() {
    let stores = "apiVersion: regcred.dev/v1
kind: Config
stores:
  - name: vault
    vault:
      address: https://robot:sentinel@vault:8200
      mount: /
      kvVersion: 3
      password: sentinel
  - name: both
    file: {directory: ''}
    awsSecretsManager: {region: EU}
";
    let images = "apiVersion: regcred.dev/v1alpha1
kind: ClusterPullSecret
metadata:
  name: Images
spec:
  secretName: a..b
  registries:
    - host: ghcr.io
      from: {store: vualt, key: ../ghcr}
    - host: https://GHCR.io/v2/
      from: {store: both, key: ''}
      username: 'robot:sentinel'
    - host: robot:sentinel@quay.io
      from: {store: vault, key: quay}
  namespaces:
    selector:
      matchLabels: {'a b': web}
      matchExpressions: [{key: tier, operator: In}]
    include: ['team-[', Web]
  serviceAccounts: [default, '*', default]
---
apiVersion: regcred.dev/v1alpha1
kind: ClusterPullSecret
metadata: {name: Images}
spec:
  registires: []
  verify: Enforce
  serviceAccounts: default
  existing: adopt
  secretName: no
  registries:
    - from: {store: vault}
---
kind: Secret
apiVersion: v1
data: {password: sentinel}
---
just text
";
    let errors = files(&[("stores.yaml", stores), ("images.yaml", images)]).expect_err("errors").to_string();
    assert!(!errors.contains("sentinel"), "{errors}");
    assert_snapshot!(errors, @r###"
    images.yaml:4: document 1: metadata.name: must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit (around every dot too), and have at most 253 characters
    images.yaml:6: document 1: spec.secretName: must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit (around every dot too), and have at most 253 characters
    images.yaml:9: document 1: spec.registries[0].from.store: no store has this name; did you mean vault? known: both, vault
    images.yaml:9: document 1: spec.registries[0].from.key: must not have . or .. between its slashes
    images.yaml:10: document 1: spec.registries[1].host: is ghcr.io, which images.yaml:8 has already: list each registry only once
    images.yaml:11: document 1: spec.registries[1].from.key: must not be empty
    images.yaml:12: document 1: spec.registries[1].username: must not have a colon
    images.yaml:13: document 1: spec.registries[2].host: holds an @: write the host alone; usernames and passwords stay in the store
    images.yaml:17: document 1: spec.namespaces.selector.matchLabels["a b"]: must be a label: letters, digits, hyphens, underscores and dots, at most 63 characters, with a letter or digit at both ends; before a slash there may be a DNS name
    images.yaml:18: document 1: spec.namespaces.selector.matchExpressions[0].values: must not be empty with the operators In and NotIn
    images.yaml:19: document 1: spec.namespaces.include[0]: must be the name of a namespace (lower-case letters, digits and hyphens, at most 63 characters), or a glob of such letters with *, ? and {one,other}
    images.yaml:19: document 1: spec.namespaces.include[1]: must be the name of a namespace (lower-case letters, digits and hyphens, at most 63 characters), or a glob of such letters with *, ? and {one,other}
    images.yaml:20: document 1: spec.serviceAccounts[1]: * stands for all: it must be the only entry
    images.yaml:20: document 1: spec.serviceAccounts[2]: is listed twice: remove one
    images.yaml:24: document 2: metadata.name: a ClusterPullSecret has this name already, at images.yaml:4
    images.yaml:24: document 2: metadata.name: must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit (around every dot too), and have at most 253 characters
    images.yaml:26: document 2: spec.registires: unknown field; did you mean registries? known: deletion, existing, namespaces, refreshInterval, registries, secretName, serviceAccounts, suspend
    images.yaml:27: document 2: spec.verify: unknown field; known: deletion, existing, namespaces, refreshInterval, registries, secretName, serviceAccounts, suspend
    images.yaml:28: document 2: spec.serviceAccounts: must be a list, not text
    images.yaml:29: document 2: spec.existing: no such value; did you mean Adopt? known: Refuse, Adopt, AdoptAndKeep
    images.yaml:30: document 2: spec.secretName: must be text, but is true or false to YAML: put it in quotes
    images.yaml:32: document 2: spec.registries[0].from: must have either key or path
    images.yaml:34: document 3: kind: unknown kind "Secret"; known: Config, ClusterPullSecret
    images.yaml:38: document 4: must be a map with a kind, Config or ClusterPullSecret
    stores.yaml:1: apiVersion: must be regcred.dev/v1alpha1
    stores.yaml:6: stores[0].vault.address: must not hold a username or password
    stores.yaml:7: stores[0].vault.mount: must not be empty
    stores.yaml:8: stores[0].vault.kvVersion: must be 1 or 2
    stores.yaml:9: stores[0].vault.password: unknown field; passwords stay in the store; known: address, allowHttp, auth, caFile, kvVersion, mount, namespace, redirectHosts
    stores.yaml:10: stores[1]: has more than one of vault, awsSecretsManager, awsEcr and file: make each a store of its own
    stores.yaml:11: stores[1].file.directory: must not be empty
    stores.yaml:12: stores[1].awsSecretsManager.region: must be the name of a region, such as eu-west-1
    "###);
}

#[test]
fn no_error_hides_another() {
    let text = r#"apiVersion: regcred.dev/v1alpha1
kind: Config
stores:
  - name: Bad_Name
    vault:
      address: ftp://vault
      kvVersion: 3
      mount: se cret
      namespace: "team-a\n"
      auth: {kubernetes: {role: '', mount: a//b, tokenFile: 1}, appRole: {roleIdFile: '', secretIdfile: x}}
    keys: ['[', 1]
  - name: aws
    awsSecretsManager: {region: EU, endpointUrl: ftp://x, profile: x}
    file: {directory: '', mode: x}
---
apiVersion: regcred.dev/v1alpha1
kind: ClusterPullSecret
metadata: {name: Images, labels: 3}
spec:
  registries:
    - hots: x
      host: user@ghcr.io
      from: {store: valt, key: "", usernameKey: 3}
      username: a:b
    - {host: quay.io, from: {store: aws}, user: x}
    - {host: quay.io, from: {store: aws, key: .., passwordKey: ''}, username: 3}
  serviceAccounts: [Default, 3, '*', 3]
  namespaces:
    include: ['[', 3]
    exclude: [Foo]
    selectr: {}
    selector:
      matchLabels: {'a b': 3, c: 'd e'}
      matchExpressions: [{key: 'a b', operator: Is, values: ['c d']}, {operator: In, values: []}, 3]
  secretName: A
  existing: 3
"#;
    assert_snapshot!(errors(text), @r###"
    images.yaml:4: document 1: stores[0].name: must be lower-case letters, digits and hyphens, begin and end with a letter or digit, and have at most 63 characters
    images.yaml:6: document 1: stores[0].vault.address: must be an http or https URL
    images.yaml:7: document 1: stores[0].vault.kvVersion: must be 1 or 2
    images.yaml:8: document 1: stores[0].vault.mount: must be ASCII without spaces and control characters: it goes into HTTP requests
    images.yaml:9: document 1: stores[0].vault.namespace: must be ASCII without spaces and control characters: it goes into HTTP requests
    images.yaml:10: document 1: stores[0].vault.auth.kubernetes.tokenFile: must be text, but is a number to YAML: put it in quotes
    images.yaml:10: document 1: stores[0].vault.auth.appRole: the field secretIdFile is missing
    images.yaml:10: document 1: stores[0].vault.auth.appRole.secretIdfile: unknown field; did you mean secretIdFile? known: mount, roleIdFile, secretIdFile
    images.yaml:10: document 1: stores[0].vault.auth.kubernetes.role: must not be empty
    images.yaml:10: document 1: stores[0].vault.auth.kubernetes.mount: must not have an empty part, . or .. between its slashes
    images.yaml:10: document 1: stores[0].vault.auth.appRole.roleIdFile: must not be empty
    images.yaml:10: document 1: stores[0].vault.auth: has more than one of kubernetes, appRole and tokenFile: give one
    images.yaml:11: document 1: stores[0].keys[1]: must be text, but is a number to YAML: put it in quotes
    images.yaml:11: document 1: stores[0].keys[0]: is not a valid glob: unclosed character class; missing ']'
    images.yaml:12: document 1: stores[1]: has more than one of vault, awsSecretsManager, awsEcr and file: make each a store of its own
    images.yaml:13: document 1: stores[1].awsSecretsManager.profile: unknown field; known: endpointUrl, region, roleArn
    images.yaml:13: document 1: stores[1].awsSecretsManager.region: must be the name of a region, such as eu-west-1
    images.yaml:13: document 1: stores[1].awsSecretsManager.endpointUrl: must be an http or https URL
    images.yaml:14: document 1: stores[1].file.mode: unknown field; known: directory
    images.yaml:14: document 1: stores[1].file.directory: must not be empty
    images.yaml:18: document 2: metadata.name: must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit (around every dot too), and have at most 253 characters
    images.yaml:21: document 2: spec.registries[0].hots: unknown field; did you mean host? known: from, host, username
    images.yaml:22: document 2: spec.registries[0].host: holds an @: write the host alone; usernames and passwords stay in the store
    images.yaml:23: document 2: spec.registries[0].from.usernameKey: must be text, but is a number to YAML: put it in quotes
    images.yaml:23: document 2: spec.registries[0].from.store: no store has this name; known: Bad_Name, aws
    images.yaml:23: document 2: spec.registries[0].from.key: must not be empty
    images.yaml:24: document 2: spec.registries[0].username: must not have a colon
    images.yaml:24: document 2: spec.registries[0].username: cannot be combined with from.usernameKey: use only one of them
    images.yaml:25: document 2: spec.registries[1].user: unknown field; known: from, host, username
    images.yaml:25: document 2: spec.registries[1].from: must have either key or path
    images.yaml:26: document 2: spec.registries[2].username: must be text, but is a number to YAML: put it in quotes
    images.yaml:26: document 2: spec.registries[2].from.key: must not have . or .. between its slashes
    images.yaml:26: document 2: spec.registries[2].from.passwordKey: must not be empty
    images.yaml:26: document 2: spec.registries[2].host: is quay.io, which images.yaml:25 has already: list each registry only once
    images.yaml:27: document 2: spec.serviceAccounts[1]: must be text, but is a number to YAML: put it in quotes
    images.yaml:27: document 2: spec.serviceAccounts[3]: must be text, but is a number to YAML: put it in quotes
    images.yaml:27: document 2: spec.serviceAccounts[0]: must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit (around every dot too), and have at most 253 characters
    images.yaml:27: document 2: spec.serviceAccounts[2]: * stands for all: it must be the only entry
    images.yaml:29: document 2: spec.namespaces.include[1]: must be text, but is a number to YAML: put it in quotes
    images.yaml:29: document 2: spec.namespaces.include[0]: must be the name of a namespace (lower-case letters, digits and hyphens, at most 63 characters), or a glob of such letters with *, ? and {one,other}
    images.yaml:30: document 2: spec.namespaces.exclude[0]: must be the name of a namespace (lower-case letters, digits and hyphens, at most 63 characters), or a glob of such letters with *, ? and {one,other}
    images.yaml:31: document 2: spec.namespaces.selectr: unknown field; did you mean selector? known: exclude, include, selector
    images.yaml:33: document 2: spec.namespaces.selector.matchLabels["a b"]: must be text, but is a number to YAML: put it in quotes
    images.yaml:33: document 2: spec.namespaces.selector.matchLabels["a b"]: must be a label: letters, digits, hyphens, underscores and dots, at most 63 characters, with a letter or digit at both ends; before a slash there may be a DNS name
    images.yaml:33: document 2: spec.namespaces.selector.matchLabels.c: must be the value of a label: letters, digits, hyphens, underscores and dots, at most 63 characters, with a letter or digit at both ends
    images.yaml:34: document 2: spec.namespaces.selector.matchExpressions[0].operator: no such value; did you mean In? known: In, NotIn, Exists, DoesNotExist
    images.yaml:34: document 2: spec.namespaces.selector.matchExpressions[1]: the field key is missing
    images.yaml:34: document 2: spec.namespaces.selector.matchExpressions[2]: must be a map, not a number
    images.yaml:34: document 2: spec.namespaces.selector.matchExpressions[0].key: must be a label: letters, digits, hyphens, underscores and dots, at most 63 characters, with a letter or digit at both ends; before a slash there may be a DNS name
    images.yaml:34: document 2: spec.namespaces.selector.matchExpressions[0].values[0]: must be the value of a label: letters, digits, hyphens, underscores and dots, at most 63 characters, with a letter or digit at both ends
    images.yaml:34: document 2: spec.namespaces.selector.matchExpressions[1].values: must not be empty with the operators In and NotIn
    images.yaml:35: document 2: spec.secretName: must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit (around every dot too), and have at most 253 characters
    images.yaml:36: document 2: spec.existing: must be one of Refuse, Adopt, AdoptAndKeep
    "###);
}

#[test]
fn default_store_next_to_a_config_is_explained() {
    let config = "apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores:\n  - {name: aws, awsSecretsManager: {region: eu-west-1}}\n";
    let images = "\
apiVersion: regcred.dev/v1alpha1
kind: ClusterPullSecret
metadata: {name: images}
spec: {registries: [{host: ghcr.io, from: {store: files, key: ghcr}}]}
";
    let errors = files(&[("config.yaml", config), ("images.yaml", images)]).expect_err("errors").to_string();
    let note = "known: aws (the store `files` exists only if no Config defines a store)";
    assert!(errors.contains(note), "{errors}");
}

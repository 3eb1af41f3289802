//! The command line as a new user meets it: help, exit codes, and the errors of bad manifests.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Runs `regcred` in a directory, without a cluster; returns its exit code, stdout and stderr.
fn regcred(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_regcred"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory)
        .stdin(Stdio::null())
        .output()
        .expect("regcred runs");
    let stderr = text(output.stderr).replace(&directory.display().to_string(), "HOME");
    (output.status.code().unwrap_or(-1), text(output.stdout), stderr)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("regcred prints UTF-8")
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).expect("a file");
    }
    directory
}

const GOOD: &str = "\
apiVersion: regcred.dev/v1alpha1
kind: ClusterPullSecret
metadata: {name: images}
spec:
  registries:
    - host: ghcr.io
      from: {store: files, key: ghcr}
";

#[test]
fn help_names_commands_and_exit_codes() {
    let (code, stdout, _) = regcred(directory(&[]).path(), &["--help"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(stdout, @r"
    Sync registry passwords from Vault and AWS Secrets Manager into Kubernetes pull secrets

    Usage: regcred [OPTIONS] <COMMAND>

    Commands:
      run     Run the controller: keep pull secrets in sync in every selected namespace
      rotate  Reconcile once: write the pull secrets of every selected namespace, and print a report
      crd     Print the CRD of ClusterPullSecret as YAML, for kubectl apply
      help    Print this message or the help of the given subcommand(s)

    Options:
      -v, --verbose...  Increase verbosity: -v logs every change, -vv everything; `run` always logs
                        changes
      -h, --help        Print help
      -V, --version     Print version

    Exit codes:
      0  done and in sync
      1  a problem with your manifests, stores or cluster, named in the output;
         or changes found by a dry run with --exit-code
      2  invalid command line
      3  regcred itself failed

    Passwords are never arguments: they come from stores, files and the environment.
    ");
}

#[test]
fn help_of_rotate_names_every_flag() {
    let (code, stdout, _) = regcred(directory(&[]).path(), &["rotate", "--help"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(stdout, @r"
    Reconcile once: write the pull secrets of every selected namespace, and print a report

    Usage: regcred rotate [OPTIONS] [NAME]...

    Arguments:
      [NAME]...
              Only these ClusterPullSecrets. Default: all

    Options:
      -f, --filename <FILE>
              Manifests: a file, a directory of them, or - for stdin; repeatable. Without a
              ClusterPullSecret in them, those of the cluster are used

      -v, --verbose...
              Increase verbosity: -v logs every change, -vv everything; `run` always logs changes

          --dry-run
              Write nothing; print the report and the changes, passwords as (changed)

          --exit-code
              With --dry-run: exit with 1 if there are changes

          --wait
              Request the rotation from the controller in the cluster, wait for its result, and print it
              with the time of each stage. Reads no store

          --timeout <DURATION>
              With --wait: the time limit
              
              [default: 60s]

      -o, --output <OUTPUT>
              Format of the report on stdout

              Possible values:
              - table: For people: equal rows are folded
              - json:  For programs: one entry for each namespace
              - yaml:  The same as YAML
              
              [default: table]

          --concurrency <N>
              Maximum number of concurrent writes to the API server
              
              [default: 32]

          --files <DIR>
              Directory of the store `files`, with a file per key, if no Config defines a store
              
              [env: REGCRED_FILES=]
              [default: /run/registry-credentials]

      -h, --help
              Print help (see a summary with '-h')

    Cluster:
          --kubeconfig <FILE>
              The kubeconfig file. Default: $KUBECONFIG, ~/.kube/config, or the ServiceAccount of the
              pod

          --context <NAME>
              The context of the kubeconfig

    Examples:
      regcred rotate -f images.yaml --dry-run
      regcred rotate -f manifests/ -f - images --output json
      regcred rotate -f config.yaml
      regcred rotate --wait images

    Environment:
      VAULT_TOKEN for a Vault without another `auth`
      KUBECONFIG, and the AWS SDK's own variables and profiles

    For the exit codes, see regcred --help.
    ");
}

#[test]
fn invalid_command_line_exits_2() {
    for arguments in [
        &[][..],
        &["crd", "x"],
        &["rotate", "-f", "x", "--concurrency", "0"],
        &["rotate", "-f", "x", "--exit-code"],
    ] {
        let (code, stdout, stderr) = regcred(directory(&[]).path(), arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
    }
}

#[test]
fn every_manifest_error_is_reported_at_once() {
    let bad = "\
apiVersion: regcred.dev/v1alpha1
kind: Config
stores:
  - name: vault
    vault: {address: ftp://vault, kvVersion: 3}
    keys: [\"[\"]
---
apiVersion: regcred.dev/v1alpha1
kind: ClusterPullSecret
metadata: {name: Images}
spec:
  registries:
    - hots: ghcr.io
      host: user@ghcr.io
      from: {store: valt, key: \"\", usernameKey: 3}
  serviceAccounts: [Default, 3]
  namespaces: {include: [\"[\"], exclude: [Foo], selectr: {}}
";
    let directory = directory(&[("bad.yaml", bad)]);
    let (code, stdout, stderr) =
        regcred(directory.path(), &["rotate", "-f", "bad.yaml", "-f", "missing.yaml"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    insta::assert_snapshot!(stderr, @r"
    error: 14 errors in the manifests; nothing was read or written
      bad.yaml:5: document 1: stores[0].vault.kvVersion: must be from 1 to 2
      bad.yaml:5: document 1: stores[0].vault.address: must be an http or https URL
      bad.yaml:6: document 1: stores[0].keys[0]: is no glob: unclosed character class; missing ']'
      bad.yaml:10: document 2: metadata.name: must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit (around every dot too), and have at most 253 characters
      bad.yaml:13: document 2: spec.registries[0].hots: unknown field; did you mean host? known: from, host, username
      bad.yaml:14: document 2: spec.registries[0].host: holds an @: write the host alone; usernames and passwords stay in the store
      bad.yaml:15: document 2: spec.registries[0].from.usernameKey: must be text, but is a number to YAML: put it in quotes
      bad.yaml:15: document 2: spec.registries[0].from.key: must not be empty
      bad.yaml:16: document 2: spec.serviceAccounts[1]: must be text, but is a number to YAML: put it in quotes
      bad.yaml:16: document 2: spec.serviceAccounts[0]: must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit (around every dot too), and have at most 253 characters
      bad.yaml:17: document 2: spec.namespaces.selectr: unknown field; did you mean selector? known: exclude, include, selector
      bad.yaml:17: document 2: spec.namespaces.include[0]: must be the name of a namespace (lower-case letters, digits and hyphens, at most 63 characters), or a glob of such letters with *, ? and {one,other}
      bad.yaml:17: document 2: spec.namespaces.exclude[0]: must be the name of a namespace (lower-case letters, digits and hyphens, at most 63 characters), or a glob of such letters with *, ? and {one,other}
      missing.yaml: cannot be read: No such file or directory (os error 2)
    ");
}

#[test]
fn unknown_name_exits_1_and_lists_the_known_ones() {
    let directory = directory(&[("images.yaml", GOOD)]);
    let (code, _, stderr) = regcred(directory.path(), &["rotate", "-f", "images.yaml", "image"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(stderr, @r"
    error: ClusterPullSecret image not found in the manifests
    hint: use one of: images
    ");
}

#[test]
fn missing_kubeconfig_hints_at_the_flag() {
    let directory = directory(&[("images.yaml", GOOD)]);
    let (code, _, stderr) = regcred(directory.path(), &["rotate", "-f", "images.yaml"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(stderr, @r"
    error: no Kubernetes configuration found (no kubeconfig, not in a pod)
    hint: pass --kubeconfig or set KUBECONFIG
    ");
}

const CONFIG: &str = "\
apiVersion: regcred.dev/v1alpha1
kind: Config
stores: [{name: vault, vault: {address: \"http://127.0.0.1:1\"}}]
";

/// A directory with a Config and the kubeconfig of a cluster that answers a list of its ClusterPullSecrets
/// with `status` and `body`.
async fn cluster(status: u16, body: Value) -> (MockServer, tempfile::TempDir) {
    let server = MockServer::start().await;
    let list = Mock::given(path("/apis/regcred.dev/v1alpha1/clusterpullsecrets"));
    list.respond_with(ResponseTemplate::new(status).set_body_json(body)).expect(1..).mount(&server).await;
    let kubeconfig = KUBECONFIG.replace("http://127.0.0.1:1", &server.uri());
    (server, directory(&[("config.yaml", CONFIG), ("kubeconfig", &kubeconfig)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_is_read_without_a_pull_secret_in_a_file() {
    let not_found =
        json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "x"});
    check_stderr(
        404,
        not_found,
        &["rotate"],
        "error: no ClusterPullSecret given with -f, and the CRD is not installed in the cluster at CLUSTER/\n\
         hint: pass a ClusterPullSecret with -f, or install the CRD: \
         `regcred crd | kubectl apply --server-side -f -`",
    )
    .await;
    check_stderr(
        200,
        json!({"metadata": {}, "items": []}),
        &["rotate", "-f", "config.yaml"],
        "error: no ClusterPullSecret in the manifests, and the cluster at CLUSTER/ has none: nothing to rotate\n\
         hint: pass a ClusterPullSecret with -f",
    )
    .await;
    check_stderr(
        200,
        json!({"metadata": {}, "items": [{"metadata": {"name": "images"}}]}),
        &["rotate", "-f", "config.yaml", "image"],
        "error: ClusterPullSecret image not found in the cluster at CLUSTER/\nhint: use one of: images",
    )
    .await;
    let forbidden =
        json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no"});
    check_stderr(
        403,
        forbidden,
        &["rotate"],
        "error: no ClusterPullSecret given with -f, and those of the cluster at CLUSTER/ cannot be read: no",
    )
    .await;
}

/// Checks the stderr of a command with a cluster that answers a list so.
async fn check_stderr(status: u16, body: Value, arguments: &[&str], expect: &str) {
    let (server, directory) = cluster(status, body).await;
    let arguments = [arguments, &["--kubeconfig", "kubeconfig"]].concat();
    let (code, stdout, stderr) = regcred(directory.path(), &arguments);
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert_eq!(stderr.replace(&server.uri(), "CLUSTER").trim(), expect);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_object_is_reported_and_left_alone() {
    let object = json!({
        "apiVersion": "regcred.dev/v1alpha1", "kind": "ClusterPullSecret", "metadata": {"name": "images"},
        "spec": {"registries": [{"host": "ghcr.io", "from": {"store": "valt", "key": "ghcr"}}]},
    });
    let (_server, directory) = cluster(200, json!({"metadata": {}, "items": [object]})).await;
    let (code, stdout, stderr) =
        regcred(directory.path(), &["rotate", "-f", "config.yaml", "--kubeconfig", "kubeconfig"]);
    assert_eq!((code, stderr.as_str()), (1, ""));
    insta::assert_snapshot!(stdout, @r"
    images: left alone

      ! Invalid: spec.registries[0].from.store: no store has this name; did you mean vault? known: vault

    nothing was done; 1 ClusterPullSecret was left alone
    ");
}

#[test]
fn crd_in_deploy_matches_the_types() {
    let (code, stdout, _) = regcred(directory(&[]).path(), &["crd"]);
    assert_eq!(code, 0);
    let is_current = stdout == include_str!("../deploy/crd.yaml");
    assert!(is_current, "deploy/crd.yaml is stale: regenerate it with `cargo run -- crd > deploy/crd.yaml`");
}

const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: \"http://127.0.0.1:1\"}}]
users: [{name: me, user: {}}]
contexts: [{name: there, context: {cluster: here, user: me}}]
current-context: there
";

#[test]
fn unreachable_cluster_exits_1_and_writes_nothing() {
    // No server listens on port 1.
    let directory = directory(&[("images.yaml", GOOD), ("kubeconfig", KUBECONFIG)]);
    let arguments = ["rotate", "-f", "images.yaml", "--kubeconfig", "kubeconfig"];
    let (code, stdout, stderr) = regcred(directory.path(), &arguments);
    assert_eq!((code, stdout.as_str()), (1, ""));
    insta::assert_snapshot!(stderr, @"error: failed to read the cluster at http://127.0.0.1:1/ (nothing was written): the API server is unavailable: Connection refused (os error 111)");
    let arguments = [&arguments[..], &["--context", "elsewhere"]].concat();
    let (code, _, stderr) = regcred(directory.path(), &arguments);
    assert_eq!(code, 1);
    insta::assert_snapshot!(stderr, @r"
    error: cannot use the kubeconfig: failed to load current context: elsewhere
    hint: the contexts for --context are: there
    ");
}

#[test]
fn invalid_lease_duration_exits_2() {
    for (duration, what) in
        [("1s", "must be from 3s to 10m"), ("soon", "must be a duration such as 20s or 1m")]
    {
        let (code, _, stderr) = regcred(directory(&[]).path(), &["run", "--lease-duration", duration]);
        assert_eq!(code, 2);
        assert!(stderr.contains(what), "{stderr}");
    }
}

#[test]
fn run_rejects_invalid_manifests_before_it_starts() {
    let directory = directory(&[("bad.yaml", &GOOD.replace("ghcr.io", "https://user@ghcr.io"))]);
    let (code, _, stderr) = regcred(directory.path(), &["run", "-f", "bad.yaml"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("1 error in the manifests; nothing was read or written"), "{stderr}");
}

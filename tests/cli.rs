//! The command line as a new user meets it: help, exit codes, and what bad manifests are told.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// `code`, stdout and stderr of `regcred` in a directory, with no cluster to talk to.
fn regcred(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_regcred"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory)
        .stdin(Stdio::null())
        .output()
        .expect("regcred runs");
    let text = |bytes| String::from_utf8(bytes).expect("regcred prints UTF-8");
    let stderr = text(output.stderr).replace(&directory.display().to_string(), "HOME");
    (output.status.code().unwrap_or(-1), text(output.stdout), stderr)
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
fn help_tells_what_it_is_and_what_the_exit_codes_mean() {
    let (code, stdout, _) = regcred(directory(&[]).path(), &["--help"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(stdout, @r"
    Registry passwords from Vault and AWS Secrets Manager into Kubernetes, kept true

    Usage: regcred [OPTIONS] <COMMAND>

    Commands:
      run     Keep the pull secrets of every selected namespace true, until told to end
      rotate  Put the passwords of the manifests into every selected namespace, once, and report
      crd     Print the CRD of ClusterPullSecret as YAML, to be applied with kubectl
      help    Print this message or the help of the given subcommand(s)

    Options:
      -v, --verbose...  Say more on stderr: -v every change, -vv everything; `run` tells changes anyway
      -h, --help        Print help
      -V, --version     Print version

    Exit codes:
      0  done and in sync
      1  something about your world or your manifests is wrong, and the report says what;
         or a dry run with --exit-code found something to do
      2  the command line is wrong
      3  regcred itself failed

    No password is ever an argument: they come from stores, files and the environment.
    ");
}

#[test]
fn help_of_rotate_names_every_choice() {
    let (code, stdout, _) = regcred(directory(&[]).path(), &["rotate", "--help"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!(stdout, @r"
    Put the passwords of the manifests into every selected namespace, once, and report

    Usage: regcred rotate [OPTIONS] [NAME]...

    Arguments:
      [NAME]...
              Only these ClusterPullSecrets. Default: all

    Options:
      -f, --filename <FILE>
              Manifests: a file, a directory of them, or - for stdin. May be given several times. Where
              they hold no ClusterPullSecret, those of the cluster are taken

      -v, --verbose...
              Say more on stderr: -v every change, -vv everything; `run` tells changes anyway

          --dry-run
              Write nothing; print the report and what would change, passwords as (changed)

          --exit-code
              With --dry-run: exit with 1 when there is something to do

          --wait
              Ask the controller of the cluster instead, wait until it has answered, and print what it
              did and how long each stage took. Reads no store

          --timeout <DURATION>
              With --wait: for how long
              
              [default: 60s]

      -o, --output <OUTPUT>
              The shape of the report on stdout

              Possible values:
              - table: For people: equal rows are folded
              - json:  For programs: every namespace by itself
              - yaml:  The same as YAML
              
              [default: table]

          --concurrency <N>
              Writes to the API server that may be under way at once
              
              [default: 32]

          --files <DIR>
              Where the store `files` looks when no Config defines a store: a directory with a file per
              key
              
              [env: REGCRED_FILES=]
              [default: /run/registry-credentials]

      -h, --help
              Print help (see a summary with '-h')

    Cluster:
          --kubeconfig <FILE>
              The kubeconfig file. Default: $KUBECONFIG, ~/.kube/config, or the pod regcred runs in

          --context <NAME>
              The context of the kubeconfig

    Examples:
      regcred rotate -f images.yaml --dry-run
      regcred rotate -f manifests/ -f - images --output json
      regcred rotate -f config.yaml
      regcred rotate --wait images

    Environment:
      VAULT_TOKEN for a Vault whose `auth` names nothing else
      KUBECONFIG, and the AWS SDK's own variables and profiles

    The exit codes are told by regcred --help.
    ");
}

#[test]
fn a_wrong_command_line_is_2() {
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
fn every_mistake_is_told_at_once_and_is_1() {
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
    error: 14 mistakes in the manifests; nothing was read or written
      bad.yaml:5: document 1: stores[0].vault.kvVersion: must be from 1 to 2
      bad.yaml:5: document 1: stores[0].vault.address: must be an http or https URL
      bad.yaml:6: document 1: stores[0].keys[0]: is not a valid glob: unclosed character class; missing ']'
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
fn a_name_that_no_manifest_holds_is_1_and_tells_those_there_are() {
    let directory = directory(&[("images.yaml", GOOD)]);
    let (code, _, stderr) = regcred(directory.path(), &["rotate", "-f", "images.yaml", "image"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(stderr, @"error: the manifests hold no ClusterPullSecret image; they hold: images");
}

#[test]
fn without_a_cluster_the_message_says_how_to_name_one() {
    let directory = directory(&[("images.yaml", GOOD)]);
    let (code, _, stderr) = regcred(directory.path(), &["rotate", "-f", "images.yaml"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(stderr, @"error: no cluster to talk to: there is no kubeconfig, and this is no pod with a ServiceAccount token; give --kubeconfig or set KUBECONFIG");
}

const CONFIG: &str = "\
apiVersion: regcred.dev/v1alpha1
kind: Config
stores: [{name: vault, vault: {address: \"http://127.0.0.1:1\"}}]
";

/// A directory with a Config and the kubeconfig of a cluster that answers with `status` and `body` when it is
/// asked for its ClusterPullSecrets.
async fn cluster(status: u16, body: serde_json::Value) -> (MockServer, tempfile::TempDir) {
    let server = MockServer::start().await;
    let asked = Mock::given(path("/apis/regcred.dev/v1alpha1/clusterpullsecrets"));
    asked.respond_with(ResponseTemplate::new(status).set_body_json(body)).expect(1..).mount(&server).await;
    let kubeconfig = KUBECONFIG.replace("http://127.0.0.1:1", &server.uri());
    (server, directory(&[("config.yaml", CONFIG), ("kubeconfig", &kubeconfig)]))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_pull_secret_in_a_file_the_cluster_is_asked() {
    let not_found =
        json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "x"});
    let check = async |status, body, arguments: &[&str], expect: &str| {
        let (server, directory) = cluster(status, body).await;
        let arguments = [arguments, &["--kubeconfig", "kubeconfig"]].concat();
        let (code, stdout, stderr) = regcred(directory.path(), &arguments);
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        assert_eq!(stderr.replace(&server.uri(), "CLUSTER").trim(), expect);
    };
    check(
        404,
        not_found,
        &["rotate"],
        "error: no ClusterPullSecret is given with -f, and the cluster at CLUSTER/ does not know the kind: \
         give one with -f, or install the CRD with `regcred crd | kubectl apply --server-side -f -`",
    )
    .await;
    let list = |items: serde_json::Value| json!({"metadata": {}, "items": items});
    check(
        200,
        list(json!([])),
        &["rotate", "-f", "config.yaml"],
        "error: the manifests hold no ClusterPullSecret, and there is none in the cluster at CLUSTER/ either: \
         there is nothing to rotate",
    )
    .await;
    check(
        200,
        list(json!([{"metadata": {"name": "images"}}])),
        &["rotate", "-f", "config.yaml", "image"],
        "error: the cluster has no ClusterPullSecret image; it has: images",
    )
    .await;
    let forbidden =
        json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no"});
    check(
        403,
        forbidden,
        &["rotate"],
        "error: no ClusterPullSecret is given with -f, and those of the cluster at CLUSTER/ cannot be read: no",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_with_a_mistake_is_reported_and_left_alone() {
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
fn the_crd_in_deploy_is_that_of_the_types() {
    let (code, stdout, _) = regcred(directory(&[]).path(), &["crd"]);
    assert_eq!(code, 0);
    let is_current = stdout == include_str!("../deploy/crd.yaml");
    assert!(is_current, "deploy/crd.yaml is stale: renew it with `cargo run -- crd > deploy/crd.yaml`");
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
fn a_cluster_that_cannot_be_reached_is_1_and_says_that_nothing_was_written() {
    // Nobody listens on port 1.
    let directory = directory(&[("images.yaml", GOOD), ("kubeconfig", KUBECONFIG)]);
    let run = |more: &[&str]| {
        regcred(
            directory.path(),
            &[&["rotate", "-f", "images.yaml", "--kubeconfig", "kubeconfig"], more].concat(),
        )
    };
    let (code, stdout, stderr) = run(&[]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    insta::assert_snapshot!(stderr, @"error: failed to read the cluster at http://127.0.0.1:1/; nothing was written: the API server is unavailable: Connection refused (os error 111)");
    let (code, _, stderr) = run(&["--context", "elsewhere"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(stderr, @"error: cannot use the kubeconfig: failed to load current context: elsewhere; its contexts: there");
}

#[test]
fn a_lease_that_is_too_short_is_a_wrong_command_line() {
    for (duration, what) in
        [("1s", "must be from 3s to 10m"), ("soon", "must be a duration such as 20s or 1m")]
    {
        let (code, _, stderr) = regcred(directory(&[]).path(), &["run", "--lease-duration", duration]);
        assert_eq!(code, 2);
        assert!(stderr.contains(what), "{stderr}");
    }
}

#[test]
fn the_controller_refuses_manifests_with_mistakes_before_it_does_anything() {
    let directory = directory(&[("bad.yaml", &GOOD.replace("ghcr.io", "https://user@ghcr.io"))]);
    let (code, _, stderr) = regcred(directory.path(), &["run", "-f", "bad.yaml"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("a mistake in the manifests; nothing was read or written"), "{stderr}");
}

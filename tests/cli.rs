//! The command line as a new user meets it: help, exit codes, and what bad manifests are told.

use std::path::Path;
use std::process::{Command, Stdio};

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
      rotate  Put the passwords of the manifests into every selected namespace, once, and report
      help    Print this message or the help of the given subcommand(s)

    Options:
      -v, --verbose...  Say more on stderr: -v every change, -vv everything
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

    Usage: regcred rotate [OPTIONS] --filename <FILE> [NAME]...

    Arguments:
      [NAME]...
              Only these ClusterPullSecrets of the manifests. Default: all

    Options:
      -f, --filename <FILE>
              Manifests: a file, a directory of them, or - for stdin. May be given several times

      -v, --verbose...
              Say more on stderr: -v every change, -vv everything

          --dry-run
              Write nothing; print the report and what would change, passwords as (changed)

          --exit-code
              With --dry-run: exit with 1 when there is something to do

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
        &["rotate"],
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
      bad.yaml:6: document 1: stores[0].keys[0]: is no glob: unclosed character class; missing ']'
      bad.yaml:10: document 2: metadata.name: must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit (around every dot too), and have at most 253 characters
      bad.yaml:13: document 2: spec.registries[0].hots: unknown field; did you mean host? known: from, host, username
      bad.yaml:14: document 2: spec.registries[0].host: holds an @: write the host alone; usernames and passwords stay in the store
      bad.yaml:15: document 2: spec.registries[0].from.usernameKey: must be text, but is a number to YAML: put it in quotes
      bad.yaml:15: document 2: spec.registries[0].from.key: must not be empty
      bad.yaml:16: document 2: spec.serviceAccounts[1]: must be text, but is a number to YAML: put it in quotes
      bad.yaml:16: document 2: spec.serviceAccounts[0]: must be lower-case letters, digits, hyphens and dots, begin and end with a letter or digit (around every dot too), and have at most 253 characters
      bad.yaml:17: document 2: spec.namespaces.selectr: unknown field; did you mean selector? known: exclude, include, selector
      bad.yaml:17: document 2: spec.namespaces.include[0]: is no glob: unclosed character class; missing ']'
      bad.yaml:17: document 2: spec.namespaces.exclude[0]: must be lower-case letters, digits and hyphens, begin and end with a letter or digit, and have at most 63 characters
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

#[test]
fn a_cluster_that_cannot_be_reached_is_1_and_says_that_nothing_was_written() {
    // Nobody listens on port 1.
    let kubeconfig = "\
apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: \"http://127.0.0.1:1\"}}]
users: [{name: me, user: {}}]
contexts: [{name: there, context: {cluster: here, user: me}}]
current-context: there
";
    let directory = directory(&[("images.yaml", GOOD), ("kubeconfig", kubeconfig)]);
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

//! The command line as a new user meets it: help, exit codes, generated files, and the errors of bad manifests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Runs `regcred` in a directory, without a cluster; returns its exit code, stdout and stderr.
fn regcred(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    regcred_with(directory, &[], arguments)
}

/// Runs `regcred` as above, with these environment variables.
fn regcred_with(directory: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_regcred"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory)
        .envs(environment.iter().copied())
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
    Sync registry passwords from Vault, OpenBao, AWS Secrets Manager and ECR into Kubernetes

    Usage: regcred [OPTIONS] <COMMAND>

    Commands:
      run          Run the controller: keep pull secrets in sync in every selected namespace
      rotate       Reconcile once: write the pull secrets of every selected namespace, and print a
                   report
      sidecar      Keep a docker config file current, for builders and other clients that read one
      crd          Print the CRD of ClusterPullSecret as YAML, for kubectl apply
      schema       Print the JSON Schema of the manifests, for completion and checks in editors
      completions  Print the completion script of a shell
      man          Print the manual page, or write the pages of all subcommands to a directory
      help         Print this message or the help of the given subcommand(s)

    Options:
      -v, --verbose...  Increase verbosity: -v logs every change, -vv everything; `run`, and `sidecar`
                        without --once, always log changes
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
              Increase verbosity: -v logs every change, -vv everything; `run`, and `sidecar` without
              --once, always log changes

          --dry-run
              Write nothing but the record of a refused AppRole login; print the report and the changes,
              passwords as (changed)

          --exit-code
              With --dry-run: exit with 1 if there are changes

          --accept-older
              Write to Secrets that hold a later version than the store answers, as after the restore of
              the store from a backup. Without this flag such Secrets are left as they are, and the exit
              code is 1

          --wait
              Request the rotation from the controller in the cluster, wait for its result, and print it
              with the time of each stage. Reads no store

          --timeout <DURATION>
              With --wait: the time limit
              
              [default: 60s]

      -o, --output <FORMAT>
              Format of the report on stdout

              Possible values:
              - table: For people: equal rows are folded
              - json:  For programs: one entry for each namespace
              - yaml:  The JSON report, as YAML
              
              [default: table]

          --concurrency <N>
              Maximum number of concurrent writes to the API server
              
              [default: 32]

          --files <DIR>
              Directory of the store `files`, with a file per key, if no Config defines a store
              
              [env: REGCRED_FILES=]
              [default: /run/registry-credentials]

          --namespace <NAME>
              Namespace of regcred: of its Lease, the key that signs its Secrets, and the last good
              values. Default: that of the pod, else regcred-system
              
              [env: POD_NAMESPACE=]

          --last-good-shards <N>
              Number of Secrets that hold the last good values; from 1 to 64
              
              [default: 16]

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
      HTTPS_PROXY and NO_PROXY for the API server and the stores
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
      bad.yaml:5: document 1: stores[0].vault.kvVersion: must be 1 or 2
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
    hint: correct these lines and run the command again
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
fn context_without_a_kubeconfig_is_never_that_of_the_pod() {
    let directory = directory(&[("images.yaml", GOOD)]);
    let (code, _, stderr) =
        regcred(directory.path(), &["rotate", "-f", "images.yaml", "--context", "production"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(stderr, @r"
    error: no Kubernetes configuration found (--context needs a kubeconfig)
    hint: pass --kubeconfig or set KUBECONFIG
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
    let environment = [("KUBECONFIG", "/nonexist")];
    let (code, _, stderr) = regcred_with(directory.path(), &environment, &["rotate", "-f", "images.yaml"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!(stderr, @r"
    error: no Kubernetes configuration found: KUBECONFIG names /nonexist, which does not exist
    hint: correct KUBECONFIG, or pass --kubeconfig
    ");
}

#[test]
fn unreadable_kubeconfig_is_one_line_and_a_hint() {
    let bad = "kind: Config\nusers: [{name: me, user: hunter2}]\n";
    let directory = directory(&[("images.yaml", GOOD), ("bad", bad)]);
    for (file, error, hint) in [
        ("/x", "/x: no such file", "pass an existing file with --kubeconfig"),
        (
            "bad",
            "bad:2: not the YAML of a kubeconfig",
            "pass another file with --kubeconfig, or correct this one",
        ),
    ] {
        let arguments = ["rotate", "-f", "images.yaml", "--kubeconfig", file];
        let (code, _, stderr) = regcred(directory.path(), &arguments);
        assert_eq!(code, 1);
        assert_eq!(stderr, format!("error: cannot read kubeconfig {error}\nhint: {hint}\n"));
    }
}

#[test]
fn wait_with_an_exported_files_directory_is_accepted() {
    let environment = [("REGCRED_FILES", "/run/files")];
    let (code, _, stderr) = regcred_with(directory(&[]).path(), &environment, &["rotate", "--wait"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.starts_with("error: no Kubernetes configuration found"), "{stderr}");
}

#[test]
fn wait_with_a_files_directory_exits_2() {
    for arguments in
        [&["rotate", "--wait", "--files", "/run/files"][..], &["rotate", "--files=.", "images", "--wait"]]
    {
        let (code, _, stderr) = regcred(directory(&[]).path(), arguments);
        assert_eq!(code, 2, "{stderr}");
        let expect = "error: the argument '--files <DIR>' cannot be used with '--wait': the controller reads the stores, with its own --files\n\nUsage: regcred rotate ";
        assert!(stderr.starts_with(expect), "{stderr}");
    }
}

#[test]
fn empty_identity_or_namespace_exits_2() {
    for (variable, flag) in [("POD_NAME", "--identity"), ("POD_NAMESPACE", "--namespace")] {
        for (environment, arguments) in [(&[][..], &["run", flag, ""][..]), (&[(variable, "")], &["run"])] {
            let (code, _, stderr) = regcred_with(directory(&[]).path(), environment, arguments);
            assert_eq!(code, 2, "{stderr}");
            assert!(stderr.contains(flag) && stderr.contains("must not be empty"), "{stderr}");
        }
    }
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
        not_found.clone(),
        &["rotate"],
        "error: no ClusterPullSecret given with -f, and the CRD is not installed in the cluster at CLUSTER/\n\
         hint: install the CRD: `regcred crd | kubectl apply --server-side -f -`, \
         or rotate without it: `regcred rotate -f FILE`",
    )
    .await;
    check_stderr(
        404,
        not_found,
        &["rotate", "--wait"],
        "error: the CRD is not installed in the cluster at CLUSTER/\n\
         hint: install the CRD: `regcred crd | kubectl apply --server-side -f -`, \
         or rotate without it: `regcred rotate -f FILE`",
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
        "error: no ClusterPullSecret given with -f, and those of the cluster at CLUSTER/ cannot be read: \
         access to the object is denied (403 Forbidden)\n\
         hint: check the rights of the account of this process, and the admission plugins of the API server",
    )
    .await;
    let unauthorized = json!({"kind": "Status", "status": "Failure", "code": 401, "reason": "Unauthorized", "message": "no"});
    for (arguments, error) in [
        (
            &["rotate"][..],
            "no ClusterPullSecret given with -f, and those of the cluster at CLUSTER/ cannot be read",
        ),
        (&["rotate", "--wait"], "failed to list the ClusterPullSecrets of the cluster at CLUSTER/"),
    ] {
        let expect = format!(
            "error: {error}: the API server rejected the credentials\n\
             hint: log in again: the API server rejected the credentials of the kubeconfig"
        );
        check_stderr(401, unauthorized.clone(), arguments, &expect).await;
    }
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
    images: left unchanged

      ! Invalid: spec.registries[0].from.store: no store has this name; did you mean vault? known: vault

    nothing was reconciled; 1 ClusterPullSecret was left unchanged
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
fn rotate_reports_what_k8schain_does_not_find() {
    let path = GOOD.replace("host: ghcr.io", "host: docker.io/acme");
    let directory = directory(&[("good.yaml", GOOD), ("path.yaml", &path), ("kubeconfig", KUBECONFIG)]);
    for (file, count) in [("good.yaml", 0), ("path.yaml", 1)] {
        let (_, _, stderr) = regcred(directory.path(), &["rotate", "-f", file, "--kubeconfig", "kubeconfig"]);
        assert_eq!(
            stderr.matches("docker.io/acme: the kubelet finds the credential, but k8schain").count(),
            count,
            "{stderr}"
        );
    }
}

#[test]
fn unreachable_cluster_exits_1_and_writes_nothing() {
    // No server listens on port 1.
    let directory = directory(&[("images.yaml", GOOD), ("kubeconfig", KUBECONFIG)]);
    let arguments = ["rotate", "-f", "images.yaml", "--kubeconfig", "kubeconfig"];
    let (code, stdout, stderr) = regcred(directory.path(), &arguments);
    assert_eq!((code, stdout.as_str()), (1, ""));
    insta::assert_snapshot!(stderr, @r"
    error: failed to read the cluster at http://127.0.0.1:1/ (nothing was written): the API server is unavailable: Connection refused (os error 111)
    hint: check that the API server of the kubeconfig's context is reachable; --context selects another
    ");
    let arguments = [&arguments[..], &["--context", "elsewhere"]].concat();
    let (code, _, stderr) = regcred(directory.path(), &arguments);
    assert_eq!(code, 1);
    insta::assert_snapshot!(stderr, @r"
    error: cannot use the kubeconfig: no context elsewhere
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

const COMMANDS: [&str; 7] = ["run", "rotate", "sidecar", "crd", "schema", "completions", "man"];

#[test]
fn completions_of_each_shell_name_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, stderr) = regcred(directory(&[]).path(), &["completions", shell]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{shell}");
        for word in COMMANDS.into_iter().chain(["dry-run", "kubeconfig"]) {
            assert!(stdout.contains(word), "{shell}: {word}");
        }
    }
    let (code, _, _) = regcred(directory(&[]).path(), &["completions", "cmd"]);
    assert_eq!(code, 2);
}

/// The long flags in the help of a command.
fn flags(help: &str) -> Vec<&str> {
    let words =
        help.lines().filter(|line| line.trim_start().starts_with('-')).flat_map(str::split_whitespace);
    words.filter(|word| word.starts_with("--")).map(|word| word.trim_matches(['.', ','])).collect()
}

#[test]
fn man_pages_name_every_flag() {
    let directory = directory(&[]);
    let (code, main, _) = regcred(directory.path(), &["man"]);
    assert_eq!(code, 0);
    let (code, stdout, stderr) = regcred(directory.path(), &["man", "--output", "share/man1"]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    let pages = directory.path().join("share/man1");
    assert_eq!(std::fs::read_to_string(pages.join("regcred.1")).expect("a page"), main);
    assert_eq!(std::fs::read_dir(&pages).expect("a directory").count(), 1 + COMMANDS.len());
    for command in COMMANDS {
        assert!(main.contains(&format!("regcred\\-{command}(1)")), "{command}");
        let page = std::fs::read_to_string(pages.join(format!("regcred-{command}.1"))).expect("a page");
        let (_, help, _) = regcred(directory.path(), &[command, "--help"]);
        let flags = flags(&help);
        assert!(flags.contains(&"--help"), "{help}");
        for flag in flags {
            assert!(page.contains(&flag.replace('-', "\\-")), "{command}: {flag}");
        }
    }
}

#[test]
fn man_pages_have_the_standard_sections() {
    let directory = directory(&[]);
    let (code, _, stderr) = regcred(directory.path(), &["man", "--output", "."]);
    assert_eq!(code, 0, "{stderr}");
    let names = COMMANDS.map(|command| format!("regcred-{command}"));
    for name in std::iter::once("regcred").chain(names.iter().map(String::as_str)) {
        let page = std::fs::read_to_string(directory.path().join(format!("{name}.1"))).expect("a page");
        assert!(page.contains(concat!("\"regcred ", env!("CARGO_PKG_VERSION"), "\"")), "{page}");
        assert!(page.contains(".SH \"EXIT STATUS\"\n") && !page.contains(".SH EXTRA\n"), "{page}");
        let (_, others) = page.split_once(".SH \"SEE ALSO\"\n").expect("a section");
        let mut seen: Vec<_> = others.trim().split(", ").map(|it| it.replace('\\', "")).collect();
        seen.push(format!("{name}(1)"));
        seen.sort();
        let mut expect: Vec<_> = names.iter().map(|it| format!("{it}(1)")).collect();
        expect.push("regcred(1)".to_owned());
        expect.sort();
        assert_eq!(seen, expect);
        if name == "regcred" {
            assert!(page.contains(".SH \"EXIT STATUS\"\n.nf\n  0  done and in sync\n"), "{page}");
        }
    }
}

#[test]
fn man_pages_that_cannot_be_written_exit_1() {
    let directory = directory(&[("taken", "")]);
    let (code, _, stderr) = regcred(directory.path(), &["man", "--output", "taken"]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error: cannot write the manual pages to taken: "), "{stderr}");
}

/// The JSON Schema that `regcred schema` prints with these arguments.
fn schema(arguments: &[&str]) -> Value {
    let (code, stdout, _) = regcred(directory(&[]).path(), &[&["schema"], arguments].concat());
    assert_eq!(code, 0);
    serde_json::from_str(&stdout).expect("JSON")
}

/// The violations of a schema by a value, for the keywords that the schemas use.
fn violations(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut violations = Vec::new();
    let count = value.as_array().map(Vec::len).or(value.as_object().map(serde_json::Map::len));
    let length = value.as_str().map(|text| text.chars().count()).or(count);
    for (keyword, expect) in schema.as_object().expect("a schema") {
        let is_valid = match keyword.as_str() {
            "$schema" | "title" | "description" | "default" | "format" | "properties" | "then" => true,
            "type" => expect == type_of(value) || *expect == json!([type_of(value)]),
            "const" => expect == value,
            "enum" => expect.as_array().expect("a list").contains(value),
            "required" => expect
                .as_array()
                .expect("a list")
                .iter()
                .all(|it| value.get(it.as_str().expect("a name")).is_some()),
            "minItems" | "minLength" => {
                length.is_none_or(|it| it as u64 >= expect.as_u64().expect("a bound"))
            }
            "allOf" => {
                let all = expect.as_array().expect("a list").iter();
                violations.extend(all.flat_map(|it| self::violations(it, value, path)));
                true
            }
            "if" => {
                if self::violations(expect, value, path).is_empty() {
                    violations.extend(self::violations(&schema["then"], value, path));
                }
                true
            }
            "pattern" => value.as_str().is_none_or(|text| matches(expect.as_str().expect("a pattern"), text)),
            "minimum" => value.as_f64() >= expect.as_f64(),
            "maximum" => value.as_f64() <= expect.as_f64(),
            "maxLength" | "maxItems" | "maxProperties" => {
                length.is_none_or(|it| it as u64 <= expect.as_u64().expect("a bound"))
            }
            "oneOf" => {
                let of = expect.as_array().expect("a list");
                of.iter().filter(|it| self::violations(it, value, path).is_empty()).count() == 1
            }
            "items" => {
                let items = value.as_array().into_iter().flatten();
                violations
                    .extend(items.flat_map(|item| self::violations(expect, item, &format!("{path}[]"))));
                true
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object();
                let others = value.as_object().into_iter().flatten();
                let others = others.filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)));
                let others: Vec<_> = others.collect();
                if expect.is_object() {
                    violations.extend(others.iter().flat_map(|(_, it)| self::violations(expect, it, path)));
                }
                expect.is_object() || others.is_empty()
            }
            unknown => panic!("{path}: this test does not know the keyword {unknown}"),
        };
        if !is_valid {
            violations.push(format!("{path}: {keyword}: {expect}"));
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let field = value.get(name).into_iter();
        violations.extend(field.flat_map(|it| self::violations(property, it, &format!("{path}.{name}"))));
    }
    violations
}

/// Matches a text with the regular expressions of the HTTP mock.
fn matches(pattern: &str, text: &str) -> bool {
    let mut request = wiremock::Request {
        url: "http://localhost".parse().expect("a URL"),
        method: wiremock::http::Method::GET,
        headers: wiremock::http::HeaderMap::new(),
        body: Vec::new(),
    };
    request.headers.insert("text", text.parse().expect("a header"));
    wiremock::Match::matches(&wiremock::matchers::header_regex("text", pattern), &request)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The manifests in a YAML text; other documents are left out.
fn manifests(yaml: &str) -> Vec<Value> {
    let documents = yaml.split("\n---").filter_map(|document| serde_saphyr::from_str::<Value>(document).ok());
    documents.filter(|it| it["apiVersion"] == "regcred.dev/v1alpha1").collect()
}

/// The manifests that the repository shows to users: in the documentation, and in files to apply.
fn published_manifests() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending: Vec<PathBuf> =
        ["README.md", "docs", "examples", "deploy/first.yaml"].map(|name| root.join(name)).into();
    let mut found = Vec::new();
    while let Some(path) = pending.pop() {
        let extension = path.extension().unwrap_or_default().to_owned();
        if path.is_dir() {
            pending.extend(
                std::fs::read_dir(&path).expect("a directory").map(|it| it.expect("an entry").path()),
            );
        } else if extension == "yaml" {
            found.extend(manifests(&std::fs::read_to_string(&path).expect("a text")));
        } else if extension == "md" {
            let page = std::fs::read_to_string(&path).expect("a text");
            let blocks = page.split("```yaml\n").skip(1).filter_map(|it| it.split("```").next());
            found.extend(blocks.flat_map(manifests));
        }
    }
    found
}

#[test]
fn schema_accepts_the_published_manifests() {
    let either = schema(&[]);
    let manifests = published_manifests();
    for kind in ["Config", "ClusterPullSecret"] {
        let name = kind.to_lowercase();
        let (schema, of_kind): (_, Vec<_>) =
            (schema(&[&name]), manifests.iter().filter(|it| it["kind"] == kind).collect());
        assert!(!of_kind.is_empty(), "{kind}");
        for manifest in of_kind {
            assert_eq!(violations(&schema, manifest, ""), Vec::<String>::new(), "{manifest}");
            assert_eq!(violations(&either, manifest, ""), Vec::<String>::new(), "{manifest}");
        }
    }
}

#[test]
fn schema_accepts_the_kind_as_a_manifest_writes_it() {
    for kind in ["Config", "ClusterPullSecret"] {
        assert_eq!(schema(&[kind]), schema(&[&kind.to_lowercase()]));
    }
}

#[test]
fn schema_rejects_what_the_reader_rejects() {
    let good: Value = serde_saphyr::from_str(GOOD).expect("YAML");
    let (schema, either) = (schema(&["clusterpullsecret"]), schema(&[]));
    assert_eq!(violations(&schema, &good, ""), Vec::<String>::new());
    for (pointer, field, value) in [
        ("", "spce", json!({})),
        ("", "kind", json!("Config")),
        ("/spec", "unknown", json!(1)),
        ("/spec", "secretName", Value::Null),
        ("/spec", "existing", json!("Replace")),
        ("/spec", "secretName", json!("Bad_Name")),
        ("/spec", "registries", json!([])),
        ("/spec", "refreshInterval", json!("")),
        ("/spec", "refreshInterval", json!("1d")),
        ("/spec", "refreshInterval", json!("30m1h")),
        ("/spec", "serviceAccounts", json!(["Default"])),
        ("/metadata", "name", json!("a..b")),
        ("/spec/registries/0", "host", json!(5)),
        ("/spec/registries/0/from", "password", json!("x")),
        ("/spec/registries/0/from", "store", json!("a.b")),
    ] {
        let mut bad = good.clone();
        bad.pointer_mut(pointer).expect("a map")[field] = value;
        assert_ne!(violations(&schema, &bad, ""), Vec::<String>::new(), "{bad}");
        assert_ne!(violations(&either, &bad, ""), Vec::<String>::new(), "{bad}");
        let directory = directory(&[("bad.json", &bad.to_string())]);
        let (code, _, stderr) = regcred(directory.path(), &["rotate", "-f", "bad.json"]);
        assert!(code == 1 && stderr.contains("in the manifests; nothing was read"), "{bad}: {stderr}");
    }
}

#[test]
fn schema_rejects_what_no_store_can_be() {
    let (schema, either) = (schema(&["config"]), schema(&[]));
    let vault = json!({"address": "https://vault:8200", "auth": {"tokenFile": "/token"}});
    let file = json!({"directory": "/files"});
    let two_methods =
        json!({"address": "https://vault:8200", "auth": {"tokenFile": "/t", "kubernetes": {"role": "r"}}});
    for (store, poll_interval, is_valid) in [
        (json!({"name": "a", "vault": vault}), "0s", true),
        (json!({"name": "a", "file": file}), "1h30m", true),
        (json!({"name": "a", "file": file, "vault": vault}), "10s", false),
        (json!({"name": "a"}), "10s", false),
        (json!({"name": "A", "file": file}), "10s", false),
        (json!({"name": "a", "vault": two_methods}), "10s", false),
        (json!({"name": "a", "file": file}), "never", false),
    ] {
        let config = json!({
            "apiVersion": "regcred.dev/v1alpha1", "kind": "Config", "stores": [store],
            "triggers": {"pollInterval": poll_interval},
        });
        for schema in [&schema, &either] {
            let violations = violations(schema, &config, "");
            assert_eq!(violations.is_empty(), is_valid, "{config}: {violations:?}");
        }
    }
}

//! `deploy/sidecar/`: a real API server admits it, the binary takes its manifests and arguments, a real Vault accepts the
//! token of its ServiceAccount, and three users read its file.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use world::{Kube, Reaper, Vault};

use crate::rendering::{Objects, deploy, objects, read};

/// The group of the shared directory, `fsGroup` of the pods.
const GROUP: u32 = 65532;

async fn rendered(directory: &str) -> Objects {
    objects(&world::kustomize(&deploy(directory)).await.expect("kustomize builds it"))
}

/// The spec of the pods of a Deployment or a Job.
#[track_caller]
fn pod_spec<'a>(objects: &'a Objects, name: &str) -> &'a Value {
    &objects[name]["spec"]["template"]["spec"]
}

/// The manifests in the `ConfigMap`.
#[track_caller]
fn manifests(objects: &Objects) -> String {
    let config = objects.iter().find(|(name, _)| name.starts_with("ConfigMap ")).expect("a ConfigMap").1;
    config["data"]["manifests.yaml"].as_str().expect("manifests").to_owned()
}

#[tokio::test]
async fn sidecar_of_each_pod_is_admitted_as_a_native_one() {
    let reaper = Reaper::new().expect("a reaper");
    let kube = Kube::start(&reaper).await.expect("an API server");
    for (namespace, directory) in [("vault-builds", "sidecar/vault"), ("aws-builds", "sidecar/aws")] {
        let labels = json!({"pod-security.kubernetes.io/enforce": "baseline"});
        let object = json!({"metadata": {"name": namespace, "labels": labels}});
        kube.post("/api/v1/namespaces", &object).await.expect("a namespace");
        let path = deploy(directory).display().to_string();
        kube.kubectl(&["apply", "-n", namespace, "-k", &path]).await.expect("kubectl applies it");
        for path in ["apps/v1/namespaces/NS/deployments/builder", "batch/v1/namespaces/NS/jobs/build"] {
            let object =
                kube.get(&format!("/apis/{}", path.replace("NS", namespace))).await.expect("an object");
            let spec = &object["spec"]["template"]["spec"];
            let sidecar = &spec["initContainers"][0];
            assert_eq!(sidecar["restartPolicy"], "Always", "{path}");
            let probe = &sidecar["startupProbe"]["exec"]["command"];
            assert_eq!(*probe, json!(["/regcred", "sidecar", "--check", "/docker/config.json"]), "{path}");
            let pod = json!({"metadata": {"generateName": "build-"}, "spec": spec});
            let creation = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
            let pod = kube.post(&creation, &pod).await.expect("the pod is admitted");
            assert_eq!(pod["spec"]["initContainers"][0]["restartPolicy"], "Always", "{path}");
        }
    }
}

#[tokio::test]
async fn sidecar_shares_one_directory_in_memory_with_every_container() {
    let objects = rendered("sidecar/vault").await;
    for name in ["Deployment builder", "Job build"] {
        let spec = pod_spec(&objects, name);
        assert_eq!(spec["securityContext"]["fsGroup"], GROUP, "{name}");
        assert_eq!(spec["automountServiceAccountToken"], false, "{name}: no Kubernetes API is used");
        let volumes = spec["volumes"].as_array().expect("volumes");
        let docker = volumes.iter().find(|it| it["name"] == "docker").expect("the directory");
        assert_eq!(docker["emptyDir"]["medium"], "Memory", "{name}");
        for container in spec["containers"].as_array().expect("containers") {
            let mounts = container["volumeMounts"].as_array().expect("mounts");
            let mount = mounts.iter().find(|it| it["name"] == "docker").expect("the directory");
            assert_eq!(mount["readOnly"], true, "{name}");
            assert_eq!(mount["subPath"], Value::Null, "a file by subPath is never replaced");
        }
    }
}

#[tokio::test]
async fn sidecar_in_aws_gets_its_role_by_the_service_account() {
    let objects = rendered("sidecar/aws").await;
    let annotations = &objects["ServiceAccount builder"]["metadata"]["annotations"];
    assert_eq!(annotations["eks.amazonaws.com/role-arn"], "arn:aws:iam::123456789012:role/builder");
    let text = manifests(&objects);
    let manifests = regcred::manifest::parse("manifests.yaml", &text, Path::new("/nonexistent"));
    let stores = manifests.unwrap_or_else(|errors| panic!("{errors}")).stores;
    assert_eq!(stores.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["aws"]);
}

/// A directory that every user may enter, with a copy of the binary that they may run.
fn shared_directory() -> TempDir {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let anybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), anybody.clone()).expect("a mode");
    std::fs::copy(env!("CARGO_BIN_EXE_regcred"), directory.path().join("regcred")).expect("a copy");
    for name in ["manifests", "docker", "vault"] {
        std::fs::create_dir(directory.path().join(name)).expect("a directory");
        std::fs::set_permissions(directory.path().join(name), anybody.clone()).expect("a mode");
    }
    directory
}

/// The arguments of the sidecar with the paths of a directory, for one write.
fn arguments(container: &Value, directory: &Path) -> Vec<String> {
    let arguments = container["args"].as_array().expect("arguments").iter();
    let at = |name: &str| directory.join(name).display().to_string();
    let arguments = arguments.map(|it| it.as_str().expect("text"));
    let arguments: Vec<_> = arguments
        .map(|it| it.replace("/etc/regcred", &at("manifests")).replace("/docker", &at("docker")))
        .collect();
    let listen = arguments.iter().position(|it| it == "--listen").expect("--listen");
    let (before, after) = (&arguments[..listen], &arguments[listen + 2..]);
    [before, after, &["--once".to_owned()]].concat()
}

#[tokio::test]
async fn sidecar_logs_in_at_vault_with_the_token_of_its_pod() {
    let reaper = Reaper::new().expect("a reaper");
    let (kube, vault) = tokio::join!(Kube::start(&reaper), Vault::start(&reaper));
    let (kube, vault) = (kube.expect("an API server"), vault.expect("a Vault"));
    kube.create_namespaces(["builds"], &[]).await.expect("a namespace");
    let path = deploy("sidecar/vault").display().to_string();
    kube.kubectl(&["apply", "-n", "builds", "-k", &path]).await.expect("kubectl applies it");
    vault.enable_kubernetes_auth("kubernetes", &kube).await.expect("an auth method");
    let policy = "path \"secret/data/ci/*\" { capabilities = [\"read\"] }";
    vault.put_policy("builder", policy).await.expect("a policy");
    let role = json!({
        "bound_service_account_names": "builder", "bound_service_account_namespaces": "builds", "audience": "vault",
        "token_policies": ["builder"], "token_ttl": "20m",
    });
    vault.write("auth/kubernetes/role/builder", &role).await.expect("a role");
    let value = json!({"username": "robot", "password": "hunter2"});
    vault.put_kv2("secret", "ci/ghcr", &value).await.expect("a value");

    let objects = rendered("sidecar/vault").await;
    let sidecar = &pod_spec(&objects, "Job build")["initContainers"][0];
    let directory = shared_directory();
    let token_file = directory.path().join("vault/token");
    let text = manifests(&objects).replace("https://vault.vault:8200", &vault.address);
    let text = text.replace("/run/vault/token", &token_file.display().to_string());
    std::fs::write(directory.path().join("manifests/manifests.yaml"), text).expect("a file");
    let projected = json!({"spec": {"expirationSeconds": 3600, "audiences": ["vault"]}});
    let request = "/api/v1/namespaces/builds/serviceaccounts/builder/token";
    let token = kube.post(request, &projected).await.expect("a token");
    std::fs::write(&token_file, token["status"]["token"].as_str().expect("a token")).expect("a file");

    let mut command = tokio::process::Command::new(directory.path().join("regcred"));
    command.args(arguments(sidecar, directory.path())).env_clear();
    let output = command.output().await.expect("regcred runs");
    assert!(output.status.success(), "{}", text_of(&output));
    let file = std::fs::read_to_string(directory.path().join("docker/config.json")).expect("a file");
    assert_eq!(file, r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6aHVudGVyMg=="}}}"#);
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a program as a user in the group of the directory, without any capability.
fn run_as(user: u32, group: Option<u32>, program: &[&str]) -> Output {
    // Only root may become another user.
    let is_root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if is_root { "setpriv" } else { "sudo" });
    if !is_root {
        command.args(["-n", "setpriv"]);
    }
    let groups = group.map_or_else(|| "--clear-groups".to_owned(), |group| format!("--groups={group}"));
    let user = [format!("--reuid={user}"), format!("--regid={user}"), groups];
    command.args(user).args(["--bounding-set=-all", "--inh-caps=-all", "--"]).args(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").output().expect("setpriv runs")
}

#[tokio::test]
async fn file_is_read_by_three_users_and_no_other_group() {
    let objects = rendered("sidecar/vault").await;
    let spec = pod_spec(&objects, "Deployment builder");
    let directory = shared_directory();
    // As the kubelet makes an emptyDir with fsGroup.
    let docker = directory.path().join("docker");
    chown(&docker, None, Some(GROUP)).expect("a group");
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o2777)).expect("a mode");
    let password = r#"{"username":"robot","password":"hunter2"}"#;
    std::fs::write(directory.path().join("vault/ghcr"), password).expect("a password");
    let text = manifests(&objects);
    let (_, cluster_pull_secret) = text.split_once("---\n").expect("two documents");
    let text = cluster_pull_secret.replace("store: vault, key: ci/ghcr", "store: files, key: ghcr");
    std::fs::write(directory.path().join("manifests/manifests.yaml"), text).expect("a file");

    let sidecar = &spec["initContainers"][0];
    let user = |container: &Value| {
        let user = container["securityContext"]["runAsUser"].as_u64().expect("a user");
        u32::try_from(user).expect("a small number")
    };
    let regcred = directory.path().join("regcred").display().to_string();
    let files = directory.path().join("vault").display().to_string();
    let arguments = arguments(sidecar, directory.path());
    let arguments: Vec<_> = arguments.iter().map(String::as_str).chain(["--files", &files]).collect();
    let written = run_as(user(sidecar), Some(GROUP), &[&[regcred.as_str()], arguments.as_slice()].concat());
    assert!(written.status.success(), "{}", text_of(&written));

    let file = docker.join("config.json").display().to_string();
    let containers = spec["containers"].as_array().expect("containers");
    let mut users: Vec<_> = containers.iter().map(user).chain([user(sidecar)]).collect();
    users.sort_unstable();
    users.dedup();
    assert_eq!(users, [0, 1000, 65532]);
    for user in users {
        let read = run_as(user, Some(GROUP), &["cat", &file]);
        assert!(read.status.success(), "{user}: {}", text_of(&read));
    }
    assert!(!run_as(1001, None, &["cat", &file]).status.success(), "a user of another group");
}

#[test]
fn systemd_unit_runs_the_command_and_reloads_by_hangup() {
    let unit = read("sidecar/regcred-sidecar.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let directory = shared_directory();
    let root = directory.path().display().to_string();
    let command = start
        .replace("/usr/local/bin/regcred", &format!("{root}/regcred"))
        .replace("/etc/regcred", &format!("{root}/manifests"))
        .replace("/run/regcred-docker", &format!("{root}/docker"));
    let manifest = "apiVersion: regcred.dev/v1alpha1\nkind: ClusterPullSecret\nmetadata: {name: images}\nspec:\n  registries:\n  - {host: ghcr.io, from: {store: files, key: ghcr}}\n";
    std::fs::write(directory.path().join("manifests/images.yaml"), manifest).expect("a file");
    std::fs::write(directory.path().join("vault/ghcr"), r#"{"username":"a","password":"b"}"#)
        .expect("a file");
    let mut words = command.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).args(["--once", "--files"]).arg(directory.path().join("vault")).env_clear();
    let output = command.output().expect("regcred runs");
    assert!(output.status.success(), "{}", text_of(&output));
    let mode =
        std::fs::metadata(directory.path().join("docker/config.json")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "the group of the service reads it");
    assert!(unit.contains("\nExecReload=/bin/kill -HUP $MAINPID\n"));
    assert!(unit.contains("\nRuntimeDirectory=regcred-docker\n"), "the directory of --output");
    assert!(unit.contains("\nRuntimeDirectoryPreserve=restart\n"), "the file outlives a restart");
    // With it, systemd keeps that directory below /run/private, which other users cannot enter.
    assert!(!unit.contains("\nDynamicUser="));
}

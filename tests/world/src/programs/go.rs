//! Builds pinned Go programs into the cache, once; all missing programs of a module in one run of the compiler.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

use super::pins::Pin;
use super::release::{Release, Releases};
use super::{Program, cache, on_path, patch, pins};
use crate::progress::report;

/// A Go module with its programs and build flags.
pub(crate) struct GoModule {
    /// The folder below `go/` that holds the module.
    pub(crate) folder: &'static str,
    /// The pinned sources of the programs.
    pub(crate) pins: &'static [Pin],
    /// Each program with its package.
    programs: &'static [(Program, &'static str)],
    /// Build tags, if any.
    tags: Option<&'static str>,
    /// Variables that the linker sets to the version of Kubernetes.
    link: &'static [&'static str],
    /// The module that is built from a patched copy, if any.
    patched: Option<&'static str>,
    /// The approximate build time to print, on two cores with an empty build cache.
    minutes: u32,
}

const KUBE_APISERVER: &str = "k8s.io/kubernetes/cmd/kube-apiserver";
const KUBE_CONTROLLER_MANAGER: &str = "k8s.io/kubernetes/cmd/kube-controller-manager";

/// Variables without which the programs of Kubernetes cannot parse their own version.
const KUBE_VERSION: &[&str] =
    &["k8s.io/component-base/version.gitVersion", "k8s.io/client-go/pkg/version.gitVersion"];

const VAULT_PROGRAMS: &[(Program, &str)] = &[
    (Program::Vault, "github.com/hashicorp/vault"),
    (
        Program::VaultPluginAuthKubernetes,
        "github.com/hashicorp/vault-plugin-auth-kubernetes/cmd/vault-plugin-auth-kubernetes",
    ),
];

/// The control plane that replaces that of [`MODULES`] if the oldest is selected.
const KUBE_OLDEST: GoModule = GoModule {
    folder: "kube-oldest",
    pins: pins::KUBE_OLDEST,
    programs: &[
        (Program::KubeApiserver, KUBE_APISERVER),
        (Program::KubeControllerManager, KUBE_CONTROLLER_MANAGER),
    ],
    tags: None,
    link: KUBE_VERSION,
    patched: None,
    minutes: 8,
};

/// The Vault that replaces that of [`MODULES`] if the oldest is selected.
const VAULT_OLDEST: GoModule = GoModule {
    folder: "vault-oldest",
    pins: pins::VAULT_OLDEST,
    programs: VAULT_PROGRAMS,
    tags: Some("minimal"),
    link: &[],
    patched: None,
    minutes: 6,
};

const MODULES: &[GoModule] = &[
    GoModule {
        folder: "etcd",
        pins: pins::ETCD,
        programs: &[(Program::Etcd, "go.etcd.io/etcd/server/v3")],
        tags: None,
        link: &[],
        patched: None,
        minutes: 1,
    },
    GoModule {
        folder: "helm",
        pins: pins::HELM,
        programs: &[(Program::Helm, "helm.sh/helm/v3/cmd/helm")],
        tags: None,
        link: &[],
        patched: None,
        minutes: 1,
    },
    GoModule {
        folder: "clients",
        pins: pins::CLIENTS,
        programs: &[
            (Program::Crane, "github.com/google/go-containerregistry/cmd/crane"),
            (Program::Oras, "oras.land/oras/cmd/oras"),
            (Program::K8schain, "./k8schain"),
        ],
        tags: None,
        link: &[],
        patched: None,
        minutes: 2,
    },
    GoModule {
        folder: "registry",
        pins: pins::REGISTRY,
        programs: &[(Program::Registry, "./registry")],
        tags: None,
        link: &[],
        patched: None,
        minutes: 1,
    },
    GoModule {
        folder: "kube",
        pins: pins::KUBE,
        programs: &[
            (Program::KubeApiserver, KUBE_APISERVER),
            (Program::KubeControllerManager, KUBE_CONTROLLER_MANAGER),
            (Program::Kubectl, "k8s.io/kubernetes/cmd/kubectl"),
            (Program::Keyring, "./keyring"),
        ],
        tags: None,
        link: KUBE_VERSION,
        patched: None,
        minutes: 8,
    },
    GoModule {
        folder: "vault",
        pins: pins::VAULT,
        programs: VAULT_PROGRAMS,
        tags: Some("minimal"),
        link: &[],
        patched: Some("github.com/hashicorp/vault"),
        minutes: 6,
    },
];

/// Builds `programs` into the cache, the programs of one module in one run of the compiler.
pub(crate) fn build(programs: &[Program]) -> anyhow::Result<()> {
    let releases = Releases::from_env()?;
    for module in modules(releases) {
        let members = module.programs.iter().filter(|(member, _)| programs.contains(member));
        let members: Vec<_> = members
            .filter(|(member, _)| std::ptr::eq(module_of(*member, releases), module))
            .copied()
            .collect();
        if !members.is_empty() {
            build_module(module, &members)?;
        }
    }
    Ok(())
}

/// Returns the modules in build order; a program is built from the first module that contains it.
fn modules(releases: Releases) -> impl Iterator<Item = &'static GoModule> {
    let kube = (releases.kubernetes == Release::Oldest).then_some(&KUBE_OLDEST);
    let vault = (releases.vault == Release::Oldest).then_some(&VAULT_OLDEST);
    kube.into_iter().chain(vault).chain(MODULES)
}

/// Returns the module that builds `program`.
pub(crate) fn module_of(program: Program, releases: Releases) -> &'static GoModule {
    modules(releases)
        .find(|module| module.programs.iter().any(|(member, _)| *member == program))
        .expect("a test holds that every program has a module")
}

fn build_module(module: &GoModule, members: &[(Program, &str)]) -> anyhow::Result<()> {
    let cache = cache::directory(module.pins)?;
    let _lock = cache::lock(&cache, || report("waiting for another process that builds programs"))?;
    let mut missing = Vec::new();
    for (member, package) in members {
        if member.find()?.is_none() {
            missing.push((*member, *package));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let go = compiler(on_path("go"))?;
    let sources = cache.join("src");
    pins::write_to(&sources, module.pins)?;

    let names = missing.iter().map(|(member, _)| member.name()).collect::<Vec<_>>().join(", ");
    report(&format!("building {names} from pinned Go modules, about {} min the first time", module.minutes));
    let started = Instant::now();
    let scratch = cache.join("build");
    // The lock is held, so an existing directory is left over from an interrupted build.
    let _ = std::fs::remove_dir_all(&scratch);
    let outcome = prepare(&go, module, &sources)
        .and_then(|()| compile(&go, module, &missing, &sources, &scratch))
        .and_then(|()| publish(&missing, &scratch, &cache.join("bin")));
    // A partial build is useless, so the directory is removed in any case.
    let _ = std::fs::remove_dir_all(&scratch);
    outcome?;
    report(&format!("built {names} in {} s", started.elapsed().as_secs()));
    Ok(())
}

/// Puts a patched copy of a module next to `go.mod`, which replaces the module by it.
fn prepare(go: &Path, module: &GoModule, sources: &Path) -> anyhow::Result<()> {
    let Some(patched) = module.patched else { return Ok(()) };
    let version = pins::version(module.folder, patched).context("a patched module has no pin")?;
    patch::apply(go, &sources.join("go").join(module.folder), patched, version)
}

fn compile(
    go: &Path,
    module: &GoModule,
    missing: &[(Program, &str)],
    sources: &Path,
    scratch: &Path,
) -> anyhow::Result<()> {
    cache::create(scratch)?;
    let mut command = Command::new(go);
    command.current_dir(sources.join("go").join(module.folder)).args(["build", "-trimpath"]);
    if let Some(tags) = module.tags {
        command.args(["-tags", tags]);
    }
    // Stripped programs hold no DWARF; not generating it saves a sixth of the CPU time.
    command.args(["-gcflags=all=-dwarf=false", "-ldflags", &link_flags(module)]).arg("-o");
    if let [(member, package)] = missing {
        // The name of a single package may differ from that of its program, as for etcd.
        command.arg(scratch.join(member.name())).arg(package);
    } else {
        let mut directory = OsString::from(scratch);
        directory.push("/");
        command.arg(directory).args(missing.iter().map(|(_, package)| package));
    }
    // A workspace file in a parent directory of the cache must not change the build.
    command.env("GOWORK", "off").stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot run {}", go.display()))?;
    if !output.status.success() {
        bail!(
            "go build in {} failed; it needs the Go module proxy and 10 GB of free disk: {}",
            module.folder,
            last_lines(&String::from_utf8_lossy(&output.stderr), 20)
        );
    }
    Ok(())
}

fn link_flags(module: &GoModule) -> String {
    let version = pins::version(module.folder, "k8s.io/kubernetes").unwrap_or_default();
    let set = module.link.iter().map(|variable| format!(" -X {variable}=v{version}"));
    std::iter::once("-s -w".to_owned()).chain(set).collect()
}

/// Renames each program into place, so that no process can see a partial file.
fn publish(missing: &[(Program, &str)], scratch: &Path, bin: &Path) -> anyhow::Result<()> {
    cache::create(bin)?;
    for (member, _) in missing {
        let to = bin.join(member.name());
        std::fs::rename(scratch.join(member.name()), &to)
            .with_context(|| format!("cannot create {}", to.display()))?;
    }
    Ok(())
}

/// Returns the Go command, or an error with the two alternatives.
fn compiler(found: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    found.context(
        "Go is not on PATH: install Go 1.26 or newer from https://go.dev/dl, \
         or put the programs into a directory and name it in REGCRED_WORLD_BIN",
    )
}

pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_go_is_reported_with_fix() {
        let message = compiler(None).unwrap_err().to_string();
        assert!(message.contains("install Go 1.26"), "{message}");
        assert!(message.contains("REGCRED_WORLD_BIN"), "{message}");
    }

    #[test]
    fn every_program_has_exactly_one_module() {
        for program in Program::ALL {
            let modules =
                MODULES.iter().filter(|module| module.programs.iter().any(|(member, _)| *member == program));
            assert_eq!(modules.count(), 1, "{}", program.name());
        }
    }

    #[test]
    fn oldest_release_replaces_only_its_own_programs() {
        let releases = Releases { kubernetes: Release::Newest, vault: Release::Oldest };
        assert_eq!(module_of(Program::Vault, releases).folder, "vault-oldest");
        assert_eq!(module_of(Program::KubeApiserver, releases).folder, "kube");
        let releases = Releases { kubernetes: Release::Oldest, vault: Release::Newest };
        assert_eq!(module_of(Program::Vault, releases).folder, "vault");
        assert_eq!(module_of(Program::KubeApiserver, releases).folder, "kube-oldest");
    }

    #[test]
    fn kubernetes_programs_are_linked_with_their_version() {
        let kube = MODULES.iter().find(|module| module.folder == "kube").unwrap();
        assert!(link_flags(kube).contains("component-base/version.gitVersion=v1."), "{}", link_flags(kube));
    }
}

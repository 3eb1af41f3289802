//! Builds pinned Go programs into the cache, once, all missing programs of a module in one go.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

use super::pins::Pin;
use super::{Kubernetes, Program, cache, on_path, pins};
use crate::talk::say;

/// Programs that share a module, and how they are built.
struct Unit {
    /// The folder below `go/` that holds the module.
    folder: &'static str,
    /// The pins that decide what the programs are built from.
    pins: &'static [Pin],
    /// Each program with its package.
    programs: &'static [(Program, &'static str)],
    /// Build tags, if any.
    tags: Option<&'static str>,
    /// Variables set by the linker besides the stripping of symbols.
    link: &'static [&'static str],
    /// What to tell people about the time, on two cores with an empty build cache.
    minutes: u32,
}

const KUBE_APISERVER: &str = "k8s.io/kubernetes/cmd/kube-apiserver";
const KUBE_CONTROLLER_MANAGER: &str = "k8s.io/kubernetes/cmd/kube-controller-manager";

/// Variables without which the programs of Kubernetes cannot parse their own version.
const KUBE_VERSION: &[&str] =
    &["k8s.io/component-base/version.gitVersion", "k8s.io/client-go/pkg/version.gitVersion"];

/// The control plane that stands in for the one of [`UNITS`] when [`Kubernetes::Oldest`] is chosen.
const KUBE_OLDEST: Unit = Unit {
    folder: "kube-oldest",
    pins: pins::KUBE_OLDEST,
    programs: &[
        (Program::KubeApiserver, KUBE_APISERVER),
        (Program::KubeControllerManager, KUBE_CONTROLLER_MANAGER),
    ],
    tags: None,
    link: KUBE_VERSION,
    minutes: 8,
};

const UNITS: &[Unit] = &[
    Unit {
        folder: "etcd",
        pins: pins::ETCD,
        programs: &[(Program::Etcd, "go.etcd.io/etcd/server/v3")],
        tags: None,
        link: &[],
        minutes: 1,
    },
    Unit {
        folder: "helm",
        pins: pins::HELM,
        programs: &[(Program::Helm, "helm.sh/helm/v3/cmd/helm")],
        tags: None,
        link: &[],
        minutes: 1,
    },
    Unit {
        folder: "registry",
        pins: pins::REGISTRY,
        programs: &[(Program::Registry, "./registry")],
        tags: None,
        link: &[],
        minutes: 1,
    },
    Unit {
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
        minutes: 8,
    },
    Unit {
        folder: "vault",
        pins: pins::VAULT,
        programs: &[
            (Program::Vault, "github.com/hashicorp/vault"),
            (
                Program::VaultPluginAuthKubernetes,
                "github.com/hashicorp/vault-plugin-auth-kubernetes/cmd/vault-plugin-auth-kubernetes",
            ),
        ],
        tags: Some("minimal"),
        link: &[],
        minutes: 6,
    },
];

/// Builds those of `programs` that are found nowhere, the programs of one module in one go.
pub(crate) fn build(programs: &[Program]) -> anyhow::Result<()> {
    for unit in std::iter::once(&KUBE_OLDEST).chain(UNITS) {
        let members = unit.programs.iter().filter(|(member, _)| programs.contains(member));
        let members: Vec<_> =
            members.filter(|(member, _)| std::ptr::eq(unit_of(*member), unit)).copied().collect();
        if !members.is_empty() {
            build_unit(unit, &members)?;
        }
    }
    Ok(())
}

/// The pins that decide what `program` is built from.
pub(crate) fn pins_of(program: Program) -> &'static [Pin] {
    unit_of(program).pins
}

/// The folder below `go/` that holds the module of `program`.
pub(crate) fn folder_of(program: Program) -> &'static str {
    unit_of(program).folder
}

fn unit_of(program: Program) -> &'static Unit {
    let oldest = (Kubernetes::chosen() == Kubernetes::Oldest).then_some(&KUBE_OLDEST);
    let mut units = oldest.into_iter().chain(UNITS);
    units
        .find(|unit| unit.programs.iter().any(|(member, _)| *member == program))
        .expect("a test holds that every program has a unit")
}

fn build_unit(unit: &Unit, members: &[(Program, &str)]) -> anyhow::Result<()> {
    let cache = cache::of(unit.pins)?;
    let _lock = cache::lock(&cache, || say("waiting for another process that builds programs"))?;
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
    pins::write_to(&sources, unit.pins)?;

    let names = missing.iter().map(|(member, _)| member.name()).collect::<Vec<_>>().join(", ");
    say(&format!("building {names} from pinned Go modules, about {} min the first time", unit.minutes));
    let begun = Instant::now();
    let scratch = cache.join("build");
    // The lock is held, so a directory that exists is left over from a build that was cut short.
    let _ = std::fs::remove_dir_all(&scratch);
    let outcome = compile(&go, unit, &missing, &sources, &scratch)
        .and_then(|()| publish(&missing, &scratch, &cache.join("bin")));
    // Half a build is of no use, whatever the outcome.
    let _ = std::fs::remove_dir_all(&scratch);
    outcome?;
    say(&format!("built {names} in {} s", begun.elapsed().as_secs()));
    Ok(())
}

fn compile(
    go: &Path,
    unit: &Unit,
    missing: &[(Program, &str)],
    sources: &Path,
    scratch: &Path,
) -> anyhow::Result<()> {
    cache::create(scratch)?;
    let mut command = Command::new(go);
    command.current_dir(sources.join("go").join(unit.folder)).args(["build", "-trimpath"]);
    if let Some(tags) = unit.tags {
        command.args(["-tags", tags]);
    }
    // Stripped programs hold no DWARF; not generating it saves a sixth of the CPU time.
    command.args(["-gcflags=all=-dwarf=false", "-ldflags", &link_flags(unit)]).arg("-o");
    if let [(member, package)] = missing {
        // A single package may be called otherwise than its program, as etcd's is.
        command.arg(scratch.join(member.name())).arg(package);
    } else {
        let mut directory = OsString::from(scratch);
        directory.push("/");
        command.arg(directory).args(missing.iter().map(|(_, package)| package));
    }
    // A workspace file somewhere above the cache must not change what is built.
    command.env("GOWORK", "off").stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot run {}", go.display()))?;
    if !output.status.success() {
        bail!(
            "go build in {} failed; it needs the Go module proxy and 10 GB of free disk: {}",
            unit.folder,
            last_lines(&String::from_utf8_lossy(&output.stderr), 20)
        );
    }
    Ok(())
}

fn link_flags(unit: &Unit) -> String {
    let version = pins::version(unit.folder, "k8s.io/kubernetes").unwrap_or_default();
    let set = unit.link.iter().map(|variable| format!(" -X {variable}=v{version}"));
    std::iter::once("-s -w".to_owned()).chain(set).collect()
}

/// Renames each program into place: a reader sees the whole file or none.
fn publish(missing: &[(Program, &str)], scratch: &Path, bin: &Path) -> anyhow::Result<()> {
    cache::create(bin)?;
    for (member, _) in missing {
        let to = bin.join(member.name());
        std::fs::rename(scratch.join(member.name()), &to)
            .with_context(|| format!("cannot put {} in place", to.display()))?;
    }
    Ok(())
}

/// The Go command, or the sentence that says how to get by without it.
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
    fn missing_go_says_what_to_install() {
        let message = compiler(None).unwrap_err().to_string();
        assert!(message.contains("install Go 1.26"), "{message}");
        assert!(message.contains("REGCRED_WORLD_BIN"), "{message}");
    }

    #[test]
    fn every_program_has_exactly_one_unit() {
        for program in Program::ALL {
            let units =
                UNITS.iter().filter(|unit| unit.programs.iter().any(|(member, _)| *member == program));
            assert_eq!(units.count(), 1, "{}", program.name());
        }
    }

    #[test]
    fn kubernetes_programs_learn_their_version() {
        let kube = UNITS.iter().find(|unit| unit.folder == "kube").unwrap();
        assert!(link_flags(kube).contains("component-base/version.gitVersion=v1."), "{}", link_flags(kube));
    }
}

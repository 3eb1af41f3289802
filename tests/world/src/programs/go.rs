//! Builds pinned Go programs into the cache, once, all missing programs of a module in one go.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

use super::{Program, cache, on_path, pins};
use crate::talk::say;

/// Programs that share a module, and how they are built.
struct Unit {
    /// The folder below `go/` that holds the module.
    folder: &'static str,
    /// Each program with its package.
    programs: &'static [(Program, &'static str)],
    /// Build tags, if any.
    tags: Option<&'static str>,
    /// Variables set by the linker besides the stripping of symbols.
    link: &'static [&'static str],
    /// What to tell people about the time, on two cores with an empty build cache.
    minutes: u32,
}

const UNITS: &[Unit] = &[
    Unit {
        folder: "etcd",
        programs: &[(Program::Etcd, "go.etcd.io/etcd/server/v3")],
        tags: None,
        link: &[],
        minutes: 1,
    },
    Unit {
        folder: "helm",
        programs: &[(Program::Helm, "helm.sh/helm/v3/cmd/helm")],
        tags: None,
        link: &[],
        minutes: 1,
    },
    Unit {
        folder: "registry",
        programs: &[(Program::Registry, "github.com/distribution/distribution/v3/cmd/registry")],
        tags: None,
        link: &[],
        minutes: 1,
    },
    Unit {
        folder: "kube",
        programs: &[
            (Program::KubeApiserver, "k8s.io/kubernetes/cmd/kube-apiserver"),
            (Program::KubeControllerManager, "k8s.io/kubernetes/cmd/kube-controller-manager"),
            (Program::Kubectl, "k8s.io/kubernetes/cmd/kubectl"),
            (Program::Keyring, "./keyring"),
        ],
        tags: None,
        // Without these the programs cannot parse their own version.
        link: &["k8s.io/component-base/version.gitVersion", "k8s.io/client-go/pkg/version.gitVersion"],
        minutes: 8,
    },
    Unit {
        folder: "vault",
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

/// Builds `program` and whatever else of its module is found nowhere.
pub(crate) fn build(program: Program) -> anyhow::Result<()> {
    let unit = UNITS
        .iter()
        .find(|unit| unit.programs.iter().any(|(member, _)| *member == program))
        .with_context(|| format!("{} has no build unit", program.name()))?;
    let cache = cache::of_these_pins()?;
    let _lock = cache::lock(&cache, || say("waiting for another process that builds programs"))?;
    let mut missing = Vec::new();
    for (member, package) in unit.programs {
        if member.find()?.is_none() {
            missing.push((*member, *package));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let go = compiler(on_path("go"))?;
    let sources = cache.join("src");
    pins::write_to(&sources, pins::PINS)?;

    let names = missing.iter().map(|(member, _)| member.name()).collect::<Vec<_>>().join(", ");
    say(&format!("building {names} from pinned Go modules, about {} min the first time", unit.minutes));
    let begun = Instant::now();
    let scratch = cache.join("build");
    // The lock is ours, so a directory that is there was left by a build that was cut short.
    let _ = std::fs::remove_dir_all(&scratch);
    let outcome = compile(&go, unit, &missing, &sources, &scratch)
        .and_then(|()| publish(&missing, &scratch, &cache.join("bin")));
    // Whatever happened, half a build is of no use to anyone.
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
    command.args(["-ldflags", &link_flags(unit)]).arg("-o");
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

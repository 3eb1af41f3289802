//! The programs the world is made of, and where each is found: `$REGCRED_WORLD_BIN`, `PATH`, the cache, else built.

mod cache;
mod go;
mod pins;
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

pub(crate) use cache::root as cache_root;
pub(crate) use pins::hex;

/// The directory that goes before everything else.
const BIN_VARIABLE: &str = "REGCRED_WORLD_BIN";

/// Chooses the control plane: `oldest`, or the newest where it is unset.
const KUBERNETES_VARIABLE: &str = "REGCRED_WORLD_KUBERNETES";

/// The release of Kubernetes that a world runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kubernetes {
    /// The newest that regcred is tested on.
    Newest,
    /// The oldest that the documentation promises.
    Oldest,
}

impl Kubernetes {
    /// The choice of the environment.
    pub(crate) fn chosen() -> Self {
        match std::env::var_os(KUBERNETES_VARIABLE) {
            Some(value) if value == "oldest" => Self::Oldest,
            _ => Self::Newest,
        }
    }
}

/// A program that the world starts or calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Program {
    /// The store below the API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The controllers that make ServiceAccounts and finish namespaces.
    KubeControllerManager,
    /// The command line; any version on `PATH` will do.
    Kubectl,
    /// Our own small program around the kubelet's keyring.
    Keyring,
    /// Vault with KV, AppRole, JWT, userpass, transit and PKI.
    Vault,
    /// Vault's Kubernetes auth method, a plugin of its own.
    VaultPluginAuthKubernetes,
    /// The `distribution` registry.
    Registry,
    /// Helm, to render the chart.
    Helm,
}

impl Program {
    /// Every program, in the order in which a person would wait for them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Etcd,
        Self::Registry,
        Self::Helm,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::Kubectl,
        Self::Keyring,
        Self::Vault,
        Self::VaultPluginAuthKubernetes,
    ];

    /// The programs that the demo runs: no controllers, no Kubernetes auth in Vault, no chart, no kubectl.
    const BARE: [Self; 5] = [Self::Etcd, Self::Registry, Self::KubeApiserver, Self::Keyring, Self::Vault];

    /// The name of its file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Keyring => "keyring",
            Self::Vault => "vault",
            Self::VaultPluginAuthKubernetes => "vault-plugin-auth-kubernetes",
            Self::Registry => "registry",
            Self::Helm => "helm",
        }
    }

    /// How a program found on `PATH` shows that it is the pinned one: its version argument and the module of the pin.
    ///
    /// `None` for programs that are never taken from `PATH`: other tools are called `keyring` too, the plugin
    /// cannot tell its version, and a Helm built without flags does not know its own.
    fn proof(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Etcd => Some(("--version", "go.etcd.io/etcd/server/v3")),
            Self::KubeApiserver | Self::KubeControllerManager => Some(("--version", "k8s.io/kubernetes")),
            Self::Vault => Some(("version", "github.com/hashicorp/vault")),
            Self::Registry => Some(("--version", "github.com/distribution/distribution/v3")),
            Self::Kubectl | Self::Keyring | Self::Helm | Self::VaultPluginAuthKubernetes => None,
        }
    }

    /// The program's file, built first if it is nowhere to be found.
    pub(crate) async fn path(self) -> anyhow::Result<PathBuf> {
        blocking(move || {
            if let Some(path) = self.find()? {
                return Ok(path);
            }
            go::build(&[self])?;
            self.find()?.with_context(|| {
                format!("{} was built but is not in the cache: run `world build` again", self.name())
            })
        })
        .await
    }

    /// Looks in `$REGCRED_WORLD_BIN`, then `PATH`, then the cache.
    fn find(self) -> anyhow::Result<Option<PathBuf>> {
        if let Some(directory) = std::env::var_os(BIN_VARIABLE) {
            let path = PathBuf::from(directory).join(self.name());
            if path.is_file() {
                return Ok(Some(path));
            }
        }
        if let Some(path) = on_path(self.name()).filter(|path| self.is_pinned(path)) {
            return Ok(Some(path));
        }
        let path = cache::of(go::pins_of(self))?.join("bin").join(self.name());
        Ok(path.is_file().then_some(path))
    }

    /// Whether the file from `PATH` may stand for the pinned program: same major and minor version.
    fn is_pinned(self, path: &Path) -> bool {
        if self == Self::Kubectl {
            return true;
        }
        let Some((argument, module)) = self.proof() else { return false };
        let Some(wanted) =
            pins::version(go::folder_of(self), module).and_then(|version| version.rsplit_once('.'))
        else {
            return false;
        };
        Command::new(path)
            .arg(argument)
            .output()
            .is_ok_and(|output| speaks_of(&String::from_utf8_lossy(&output.stdout), wanted.0))
    }
}

/// Builds and installs whatever is missing, so that a later start takes seconds.
pub async fn build_all() -> anyhow::Result<()> {
    build(&Program::ALL).await?;
    localstack_python().await?;
    deploy_tools_python().await?;
    Ok(())
}

/// Builds and installs what [`World::start_bare`](crate::World::start_bare) needs and is missing, and nothing else.
pub async fn build_bare() -> anyhow::Result<()> {
    build(&Program::BARE).await?;
    localstack_python().await.map(drop)
}

async fn build(programs: &'static [Program]) -> anyhow::Result<()> {
    blocking(move || {
        let mut missing = Vec::new();
        for program in programs {
            if program.find()?.is_none() {
                missing.push(*program);
            }
        }
        go::build(&missing)
    })
    .await
}

/// The Python interpreter of the LocalStack installation, installed first if it is missing.
pub(crate) async fn localstack_python() -> anyhow::Result<PathBuf> {
    blocking(python::localstack).await
}

/// The Python interpreter of cfn-lint and python-hcl2, installed first if it is missing.
pub(crate) async fn deploy_tools_python() -> anyhow::Result<PathBuf> {
    blocking(python::deploy_tools).await
}

/// The first executable file called `name` on `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    std::env::split_paths(&std::env::var_os("PATH")?).map(|directory| directory.join(name)).find(|path| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// Whether a version text names `major.minor` with any patch.
fn speaks_of(text: &str, major_minor: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || c == 'v')
        .any(|word| word.strip_prefix(major_minor).is_some_and(|rest| rest.starts_with('.')))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("the thread that looks for programs ended early")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_release_counts_and_another_minor_does_not() {
        for (text, wanted, expected) in [
            ("etcd Version: 3.6.4\nGit SHA: x", "3.6", true),
            ("Kubernetes v1.37.2", "1.37", true),
            ("Kubernetes v1.3.7", "1.37", false),
            ("registry github.com/distribution/distribution/v3 v3.0.0+unknown", "3.0", true),
            ("registry github.com/docker/distribution 2.8.3", "3.0", false),
        ] {
            assert_eq!(speaks_of(text, wanted), expected, "{text}");
        }
    }
}

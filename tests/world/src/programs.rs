//! The programs of the world, from `$REGCRED_WORLD_BIN`, `PATH` or the cache; missing ones are built.

mod baseline;
mod cache;
mod go;
mod image;
mod patch;
mod pins;
mod python;
mod release;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use self::release::Releases;

pub use baseline::Baseline;
pub(crate) use cache::root as cache_root;
pub use image::{image_flags, image_target};
pub(crate) use pins::hex;

/// The directory that is searched first.
const BIN_VARIABLE: &str = "REGCRED_WORLD_BIN";

/// A program that the world starts or calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Program {
    /// The storage of the API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The controllers that create ServiceAccounts and finalize namespaces.
    KubeControllerManager,
    /// The command line; any version on `PATH` is accepted.
    Kubectl,
    /// The wrapper around the kubelet's keyring, from `go/kube/keyring`.
    Keyring,
    /// Vault with KV, AppRole, JWT, userpass, transit and PKI.
    Vault,
    /// Vault's Kubernetes auth method, an external plugin.
    VaultPluginAuthKubernetes,
    /// The `distribution` registry.
    Registry,
    /// Helm, to render the chart.
    Helm,
    /// The client on go-containerregistry.
    Crane,
    /// The client on oras-go.
    Oras,
    /// The wrapper around k8schain's library, from `go/clients/k8schain`.
    K8schain,
}

impl Program {
    /// Every program, the shortest builds first.
    pub(crate) const ALL: [Self; 12] = [
        Self::Etcd,
        Self::Registry,
        Self::Helm,
        Self::Crane,
        Self::Oras,
        Self::K8schain,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::Kubectl,
        Self::Keyring,
        Self::Vault,
        Self::VaultPluginAuthKubernetes,
    ];

    /// The programs of the demo: no controllers, no Kubernetes auth in Vault, no chart, no kubectl.
    const BARE: [Self; 5] = [Self::Etcd, Self::Registry, Self::KubeApiserver, Self::Keyring, Self::Vault];

    /// Returns the file name.
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
            Self::Crane => "crane",
            Self::Oras => "oras",
            Self::K8schain => "k8schain",
        }
    }

    /// Returns the check of a program on `PATH`: its version argument, and the module of the pin.
    ///
    /// `None` for programs that are never taken from `PATH`: other tools have the name `keyring` too, the plugin
    /// cannot print its version, and Helm, crane and oras built without flags do not know their own.
    fn version_check(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Etcd => Some(("--version", "go.etcd.io/etcd/server/v3")),
            Self::KubeApiserver | Self::KubeControllerManager => Some(("--version", "k8s.io/kubernetes")),
            Self::Vault => Some(("version", "github.com/hashicorp/vault")),
            Self::Registry => Some(("--version", "github.com/distribution/distribution/v3")),
            Self::Kubectl
            | Self::Keyring
            | Self::Helm
            | Self::VaultPluginAuthKubernetes
            | Self::Crane
            | Self::Oras
            | Self::K8schain => None,
        }
    }

    /// Returns the path of the program, which is built first if it is missing.
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

    /// Searches `$REGCRED_WORLD_BIN`, then `PATH`, then the cache.
    fn find(self) -> anyhow::Result<Option<PathBuf>> {
        if let Some(directory) = std::env::var_os(BIN_VARIABLE) {
            let path = PathBuf::from(directory).join(self.name());
            if path.is_file() {
                return Ok(Some(path));
            }
        }
        let module = go::module_of(self, Releases::from_env()?);
        if let Some(path) = on_path(self.name()).filter(|path| self.is_pinned(path, module.folder)) {
            return Ok(Some(path));
        }
        let path = cache::directory(module.pins)?.join("bin").join(self.name());
        Ok(path.is_file().then_some(path))
    }

    /// Returns true if the file from `PATH` has the major and minor version of the pin in `go/<folder>`.
    fn is_pinned(self, path: &Path, folder: &str) -> bool {
        if self == Self::Kubectl {
            return true;
        }
        let Some((argument, module)) = self.version_check() else { return false };
        let Some((pinned, _patch)) =
            pins::version(folder, module).and_then(|version| version.rsplit_once('.'))
        else {
            return false;
        };
        Command::new(path)
            .arg(argument)
            .output()
            .is_ok_and(|output| has_minor_version(&String::from_utf8_lossy(&output.stdout), pinned))
    }
}

/// Builds and installs all missing programs, so that a later start takes seconds.
pub async fn build_all() -> anyhow::Result<()> {
    build(&Program::ALL).await?;
    localstack_python().await?;
    deploy_tools_python().await?;
    bao().await?;
    moto_python().await?;
    docker_py_python().await?;
    Ok(())
}

/// Builds and installs the missing programs of [`World::start_bare`](crate::World::start_bare) only.
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

/// Returns the Python interpreter of the LocalStack installation, which is installed first if it is missing.
pub(crate) async fn localstack_python() -> anyhow::Result<PathBuf> {
    blocking(python::localstack).await
}

/// Returns the Python interpreter of the moto installation, which is installed first if it is missing.
pub(crate) async fn moto_python() -> anyhow::Result<PathBuf> {
    blocking(python::moto).await
}

/// Returns the Python interpreter with docker-py, which is installed first if it is missing.
pub(crate) async fn docker_py_python() -> anyhow::Result<PathBuf> {
    blocking(python::docker_py).await
}

/// Returns the Python interpreter of cfn-lint and python-hcl2, which are installed first if they are missing.
pub(crate) async fn deploy_tools_python() -> anyhow::Result<PathBuf> {
    blocking(python::deploy_tools).await
}

/// Returns the server and command line of OpenBao, which is installed first if it is missing.
pub(crate) async fn bao() -> anyhow::Result<PathBuf> {
    blocking(python::bao).await
}

/// Returns the first executable file called `name` on `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    std::env::split_paths(&std::env::var_os("PATH")?).map(|directory| directory.join(name)).find(|path| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// Returns true if a version text contains `major.minor` with any patch.
fn has_minor_version(text: &str, major_minor: &str) -> bool {
    text.split(|c: char| c.is_whitespace() || c == 'v')
        .any(|word| word.strip_prefix(major_minor).is_some_and(|rest| rest.starts_with('.')))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("the search for programs failed")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_version_matches_any_patch_and_no_other_minor() {
        for (text, minor, expected) in [
            ("etcd Version: 3.6.4\nGit SHA: x", "3.6", true),
            ("Kubernetes v1.37.2", "1.37", true),
            ("Kubernetes v1.3.7", "1.37", false),
            ("registry github.com/distribution/distribution/v3 v3.0.0+unknown", "3.0", true),
            ("registry github.com/docker/distribution 2.8.3", "3.0", false),
        ] {
            assert_eq!(has_minor_version(text, minor), expected, "{text}");
        }
    }
}

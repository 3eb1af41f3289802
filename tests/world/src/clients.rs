//! Clients of registries that read a docker config file: programs and libraries of others, each at its pinned version.

mod docker_py;

use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::Command;

use crate::programs::{self, Program};

pub use docker_py::LongLivedDockerPy;

/// A client that reads the file anew each time it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RegistryClient {
    /// skopeo on containers/image, as the distribution has it.
    Skopeo,
    /// crane on go-containerregistry.
    Crane,
    /// oras on oras-go.
    Oras,
    /// The library of Kyverno, Tekton and Knative, which takes the file as a pull secret.
    K8schain,
    /// docker-py, the Python library.
    DockerPy,
}

impl RegistryClient {
    /// Every client.
    pub const ALL: [Self; 5] = [Self::Skopeo, Self::Crane, Self::Oras, Self::K8schain, Self::DockerPy];

    /// Returns the command that requests the manifest of an image with the credential of a docker config file.
    ///
    /// It fails with the word "unauthorized" in any case on stderr if the registry refuses the credential.
    pub async fn command(self, docker_config: &Path, image: &str) -> anyhow::Result<Command> {
        let directory = docker_config.parent().context("a docker config file has a directory")?;
        let mut command = Command::new(match self {
            Self::Skopeo => programs::on_path("skopeo").context("install it: apt-get install skopeo")?,
            Self::Crane => Program::Crane.path().await?,
            Self::Oras => Program::Oras.path().await?,
            Self::K8schain => Program::K8schain.path().await?,
            Self::DockerPy => programs::docker_py_python().await?,
        });
        // Files of the caller's own home must not answer instead.
        command.env_clear().env("HOME", "/nonexistent").env("DOCKER_CONFIG", directory);
        match self {
            Self::Skopeo => {
                command.args(["inspect", "--tls-verify=false", "--raw", "--authfile"]);
                command.arg(docker_config).arg(format!("docker://{image}"))
            }
            Self::Crane => command.args(["digest", image]),
            Self::Oras => command.args(["manifest", "fetch", "--plain-http", "--descriptor", image]),
            Self::K8schain => command.arg(docker_config).arg(image),
            Self::DockerPy => command.args(["-c", docker_py::SCRIPT, image]),
        };
        command.stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    /// Returns the version of a program that is not pinned.
    pub async fn unpinned_version(self) -> anyhow::Result<Option<String>> {
        if self != Self::Skopeo {
            return Ok(None);
        }
        let output = Command::new("skopeo").arg("--version").output().await.context("cannot run skopeo")?;
        Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()))
    }
}

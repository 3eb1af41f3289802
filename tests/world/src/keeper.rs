//! A world that stays up for a shell: a detached process keeps it, a state file tells others where it is.
//!
//! The keeper holds a file lock for as long as it lives, so nobody has to guess whether a process id still means it.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process, setsid};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::kube::credentials::write_private;
use crate::process::until;
use crate::programs::{build_all, cache_root};
use crate::registry::{Registry, set_password_in};
use crate::talk::say;
use crate::{Kube, World};

/// Where the world that is up can be found.
#[derive(Debug, Deserialize, Serialize)]
struct State {
    env: Vec<(String, String)>,
    /// The directory that goes onto `PATH`.
    bin: PathBuf,
    registries: Vec<KeptRegistry>,
}

#[derive(Debug, Deserialize, Serialize)]
struct KeptRegistry {
    /// What its variables begin with.
    prefix: String,
    host: String,
    username: String,
    directory: PathBuf,
}

/// Which of the two registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one with Basic authentication.
    Basic,
    /// The one with a token server.
    Token,
}

impl Which {
    fn prefix(self) -> &'static str {
        match self {
            Self::Basic => "REGISTRY",
            Self::Token => "TOKEN_REGISTRY",
        }
    }
}

/// Starts a keeper unless there is one, and returns the `export` lines of its world.
pub async fn up() -> anyhow::Result<String> {
    if is_kept()? {
        say("a world is already up; this is its environment");
        return wait_for_state(|| Ok(())).await;
    }
    build_all().await?;
    let begun = Instant::now();
    let log_path = file("keeper.log")?;
    let log = File::create(&log_path).with_context(|| format!("cannot create {}", log_path.display()))?;
    let errors = log.try_clone().context("cannot share the keeper's log")?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let child = Command::new(program)
        .arg("keep")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .context("cannot start the keeper")?;
    let child = std::sync::Mutex::new(child);
    let exports = wait_for_state(|| {
        let ended = crate::guardian::lock(&child).try_wait().ok().flatten().is_some();
        // If two people start one at the same moment, one keeper gives way to the other.
        if ended && !is_kept()? {
            let said = std::fs::read_to_string(&log_path).unwrap_or_default();
            bail!("{}", said.trim().trim_start_matches("world: "));
        }
        Ok(())
    })
    .await?;
    say(&format!("up after {:.1} s", begun.elapsed().as_secs_f32()));
    Ok(exports)
}

/// The `export` lines of the world that is up.
pub fn env() -> anyhow::Result<String> {
    if !is_kept()? {
        bail!("no world is up: start one with `world up`");
    }
    match read_state()? {
        Some(state) => exports(&state),
        None => bail!("the world is still starting: ask again in a few seconds"),
    }
}

/// Stops the world that is up and waits until nothing of it is left.
pub async fn down() -> anyhow::Result<()> {
    if !is_kept()? {
        say("no world is up");
        return Ok(());
    }
    let pid = std::fs::read_to_string(file("keeper.lock")?).context("cannot read the keeper's process id")?;
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw).context("the keeper left no process id")?;
    kill_process(pid, Signal::TERM).context("cannot stop the keeper")?;
    until("the end of the world", || async { Ok((!is_kept()?).then_some(())) }).await?;
    say("the world is down");
    Ok(())
}

/// Changes the password of a registry of the world that is up.
pub fn set_password(which: Which, password: &str) -> anyhow::Result<()> {
    let state = read_state()?.filter(|_| is_kept().unwrap_or(false));
    let state = state.context("no world is up: start one with `world up`")?;
    let registry = state.registries.iter().find(|registry| registry.prefix == which.prefix());
    let registry = registry.context("the world that is up has no such registry")?;
    set_password_in(&registry.directory, password)
}

/// Is the keeper: starts a world and holds it until told to stop.
pub async fn keep() -> anyhow::Result<()> {
    // Fails only for a process that leads its group already, and then there is no terminal to leave.
    let _ = setsid();
    let lock_path = file("keeper.lock")?;
    let lock = open_lock()?;
    // Somebody may hold it for the instant of a look.
    if until("the keeper's lock", || async { Ok(Some(lock.try_lock().is_ok())) }).await? {
        write_private(&lock_path, &std::process::id().to_string())?;
    } else {
        bail!("another keeper has the world up");
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let life = async {
        let world = World::start().await?;
        write_state(&world).await?;
        // Held until one of the signals ends this future.
        std::future::pending::<()>().await;
        drop(world);
        anyhow::Ok(())
    };
    let outcome = tokio::select! {
        outcome = life => outcome,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    let _ = std::fs::remove_file(file("keeper.json")?);
    drop(lock);
    outcome
}

async fn wait_for_state(alive: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<String> {
    let state = until("a world that is up", || async {
        alive()?;
        if is_kept()? { read_state() } else { Ok(None) }
    });
    exports(&state.await?)
}

async fn write_state(world: &World) -> anyhow::Result<()> {
    let kubectl = Kube::kubectl_path().await?;
    let kept = |which: Which, registry: &Registry| KeptRegistry {
        prefix: which.prefix().to_owned(),
        host: registry.host.clone(),
        username: registry.username.clone(),
        directory: registry.directory.clone(),
    };
    let state = State {
        env: world.env().into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        bin: kubectl.parent().context("kubectl lies in no directory")?.to_owned(),
        registries: vec![kept(Which::Basic, &world.registry), kept(Which::Token, &world.token_registry)],
    };
    let path = file("keeper.json")?;
    let new = path.with_extension("new");
    write_private(&new, &serde_json::to_string(&state).context("cannot write the state as JSON")?)?;
    std::fs::rename(&new, &path).with_context(|| format!("cannot replace {}", path.display()))
}

fn read_state() -> anyhow::Result<Option<State>> {
    let path = file("keeper.json")?;
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
            .context("cannot read a registry's password: the world is going down")?;
        lines.push(export(&format!("{}_HOST", registry.prefix), &registry.host));
        lines.push(export(&format!("{}_USERNAME", registry.prefix), &registry.username));
        lines.push(export(&format!("{}_PASSWORD", registry.prefix), &password));
    }
    lines.push(format!("export PATH={}:\"$PATH\"\n", quote(&state.bin.display().to_string())));
    Ok(lines.concat())
}

fn export(name: &str, value: &str) -> String {
    format!("export {name}={}\n", quote(value))
}

/// Quotes for any POSIX shell, but only what needs it.
fn quote(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn is_kept() -> anyhow::Result<bool> {
    Ok(open_lock()?.try_lock().is_err())
}

fn open_lock() -> anyhow::Result<File> {
    let path = file("keeper.lock")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_the_shell() {
        assert_eq!(export("A", "http://127.0.0.1:1"), "export A=http://127.0.0.1:1\n");
        assert_eq!(export("A", "it's $HOME"), "export A='it'\\''s $HOME'\n");
        assert_eq!(export("A", ""), "export A=''\n");
    }
}

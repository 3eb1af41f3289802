//! The reaper: a small shell process that outlives its owner just long enough to clean up after it.
//!
//! The reaper reads commands from a pipe that only the owner holds. However the owner ends (return, panic, Ctrl-C or
//! SIGKILL), the pipe closes; the reaper then kills every registered process group and removes every registered
//! directory. A `static` world, which Rust never drops, therefore leaves nothing behind.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use crate::process::Process;

/// Reads commands, one a line: `watch GROUP`, `forget GROUP`, `remove DIRECTORY`.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM
groups=' '
while read -r verb what; do
  case $verb in
    watch) groups="$groups$what " ;;
    forget) case $groups in *" $what "*) groups="${groups%% "$what" *} ${groups#* "$what" }" ;; esac ;;
    remove) set -- "$@" "$what" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
tries=0
for directory in "$@"; do
  # A dying process may still write: try until nothing is left, for ten seconds at most.
  until rm -rf -- "$directory" 2>/dev/null && [ ! -e "$directory" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || break
    sleep 0.1
  done
done
"#;

/// Holds a new process back until the reaper has registered its group; if the owner dies first, nothing starts.
const GATE: &str = r#"read -r go && exec "$@" </dev/null"#;

/// Owns the processes and directories of a world or of any part of one; clones share them.
///
/// When the last clone is dropped, every process is killed and every directory removed before `drop` returns.
#[derive(Clone, Debug)]
pub struct Reaper {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The temporary directory, for all data that may reach a disk.
    directory: PathBuf,
    /// The directory in memory, for data that should not reach a disk; equal to `directory` if `/dev/shm` is missing.
    memory: PathBuf,
    /// The pipe to the reaper process; closed by `drop`.
    commands: Mutex<Option<ChildStdin>>,
    /// The reaper process.
    shell: Mutex<Child>,
    /// Numbers the directories, so that the names of two parts of one kind differ.
    next: AtomicU32,
}

impl Reaper {
    /// Starts a reaper with a new temporary directory.
    pub fn new() -> anyhow::Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "regcred-world-reaper"])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A process group of its own: Ctrl-C in the terminal must reach the owner only.
            .process_group(0)
            .spawn()
            .context("cannot start /bin/sh, which cleans up after the world")?;
        let commands = shell.stdin.take().context("the reaper has no stdin")?;
        let name = unique_name();
        let directory = std::env::temp_dir().join(&name);
        let shm = Path::new("/dev/shm");
        let memory = if shm.is_dir() { shm.join(&name) } else { directory.clone() };
        let mut inner = Inner {
            directory: directory.clone(),
            memory,
            commands: Mutex::new(Some(commands)),
            shell: Mutex::new(shell),
            next: AtomicU32::new(0),
        };
        inner.send("remove", &inner.directory.display())?;
        private_directory(&inner.directory)?;
        if inner.memory != directory {
            inner.send("remove", &inner.memory.display())?;
            if private_directory(&inner.memory).is_err() {
                inner.memory = directory;
            }
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Creates a directory below the temporary one, for a part called `name`.
    pub fn new_directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.create_numbered(&self.inner.directory, name)
    }

    /// Creates a directory in memory, or on disk if `/dev/shm` is missing.
    pub(crate) fn new_directory_in_memory(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.create_numbered(&self.inner.memory, name)
    }

    fn create_numbered(&self, parent: &Path, name: &str) -> anyhow::Result<PathBuf> {
        let path = parent.join(format!("{name}-{}", self.inner.next.fetch_add(1, Ordering::Relaxed)));
        private_directory(&path)?;
        Ok(path)
    }

    /// Starts `program` in a process group of its own that dies with the owner. Its environment is empty but for
    /// `PATH`; `directory` is its working directory, its home and the directory of its log.
    pub fn spawn(
        &self,
        name: &str,
        directory: &Path,
        program: &Path,
        configure: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Process> {
        let log = directory.join(format!("{name}.log"));
        // Appended, so that a restarted part continues its log.
        let out = OpenOptions::new().create(true).append(true).open(&log);
        let out = out.with_context(|| format!("cannot open {}", log.display()))?;
        let err = out.try_clone().with_context(|| format!("cannot share {}", log.display()))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GATE, name]).arg(program);
        // The caller's environment may point to another world, and etcd and the registry read settings from it.
        command.env_clear().env("HOME", directory).env("TMPDIR", directory);
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        configure(&mut command);
        let mut child = command
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        self.inner.send("watch", &child.id())?;
        let mut gate = child.stdin.take().context("a new process has no stdin")?;
        gate.write_all(b"go\n").with_context(|| format!("{name} ended before it began"))?;
        Ok(Process::new(name, log, child, self.clone()))
    }

    /// Unregisters a group that is about to end, so that the reaper never kills a later group of the same number.
    pub(crate) fn forget(&self, group: u32) {
        // A reaper that cannot be reached has ended, and kills nothing.
        let _ = self.inner.send("forget", &group);
    }
}

impl Inner {
    fn send(&self, verb: &str, what: &dyn std::fmt::Display) -> anyhow::Result<()> {
        let mut commands = lock(&self.commands);
        let pipe = commands.as_mut().context("the reaper was stopped")?;
        pipe.write_all(format!("{verb} {what}\n").as_bytes())
            .context("the reaper process was killed: start the world again")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        lock(&self.commands).take();
        // After the wait, every process and every directory is gone.
        let _ = lock(&self.shell).wait();
    }
}

/// Locks a mutex, poisoned or not: one panicking test must not fail the others, and the data is valid at every instant.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn private_directory(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new().mode(0o700).create(path).with_context(|| format!("cannot create {}", path.display()))
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.subsec_nanos());
    format!("regcred-world-{}-{}-{nanos:09}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

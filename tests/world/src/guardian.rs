//! The guardian: a small shell process that outlives its owner just long enough to clean up after it.
//!
//! It reads orders from a pipe that only the owner holds. However the owner ends, be it by return, panic, Ctrl-C or
//! SIGKILL, the pipe closes; then the guardian kills every process group it was told of and removes every directory.
//! That is why a `static` world, which Rust never drops, leaves nothing behind.

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

/// Orders, one a line: `watch GROUP`, `forget GROUP`, `remove DIRECTORY`.
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

/// Holds back a new process until the guardian knows its group; if the owner dies first, nothing starts.
const GATE: &str = r#"read -r go && exec "$@" </dev/null"#;

/// Owns the processes and directories of a world or of any part of one; clones share them.
///
/// When the last clone is dropped everything is killed and removed before `drop` returns.
#[derive(Clone, Debug)]
pub struct Guardian {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The temporary directory that holds everything but what wants to live in memory.
    directory: PathBuf,
    /// The same for data that should never reach a disk; equal to `directory` where there is no such place.
    memory: PathBuf,
    /// Where orders go; closed by `drop`.
    orders: Mutex<Option<ChildStdin>>,
    /// The guardian process itself.
    shell: Mutex<Child>,
    /// Numbers the directories, so that two parts of one kind do not meet.
    next: AtomicU32,
}

impl Guardian {
    /// Starts a guardian with a new temporary directory.
    pub fn new() -> anyhow::Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "regcred-world-guardian"])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own group: Ctrl-C in the terminal must reach the owner only.
            .process_group(0)
            .spawn()
            .context("cannot start /bin/sh, which cleans up after the world")?;
        let orders = shell.stdin.take().context("the guardian has no stdin")?;
        let name = unique_name();
        let directory = std::env::temp_dir().join(&name);
        let shm = Path::new("/dev/shm");
        let memory = if shm.is_dir() { shm.join(&name) } else { directory.clone() };
        let mut inner = Inner {
            directory: directory.clone(),
            memory,
            orders: Mutex::new(Some(orders)),
            shell: Mutex::new(shell),
            next: AtomicU32::new(0),
        };
        inner.order("remove", &inner.directory.display())?;
        private_directory(&inner.directory)?;
        if inner.memory != directory {
            inner.order("remove", &inner.memory.display())?;
            if private_directory(&inner.memory).is_err() {
                inner.memory = directory;
            }
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A new directory below the temporary one, for a part called `name`.
    pub fn new_directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.numbered(&self.inner.directory, name)
    }

    /// A new directory in memory if the machine has such a place.
    pub(crate) fn new_directory_in_memory(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.numbered(&self.inner.memory, name)
    }

    fn numbered(&self, parent: &Path, name: &str) -> anyhow::Result<PathBuf> {
        let path = parent.join(format!("{name}-{}", self.inner.next.fetch_add(1, Ordering::Relaxed)));
        private_directory(&path)?;
        Ok(path)
    }

    /// Starts `program` in a process group of its own that dies with the owner, with an empty environment but for
    /// `PATH`, and with `directory` as working directory, home and place for its log.
    pub fn spawn(
        &self,
        name: &str,
        directory: &Path,
        program: &Path,
        configure: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Process> {
        let log = directory.join(format!("{name}.log"));
        // Appended, so that a part that is started again goes on where it ended.
        let out = OpenOptions::new().create(true).append(true).open(&log);
        let out = out.with_context(|| format!("cannot open {}", log.display()))?;
        let err = out.try_clone().with_context(|| format!("cannot share {}", log.display()))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GATE, name]).arg(program);
        // The caller's environment may speak of another world, and etcd and the registry take settings from theirs.
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
        self.inner.order("watch", &child.id())?;
        let mut gate = child.stdin.take().context("a new process has no stdin")?;
        gate.write_all(b"go\n").with_context(|| format!("{name} ended before it began"))?;
        Ok(Process::new(name, log, child, self.clone()))
    }

    /// Tells the guardian that a group is about to be gone, so that its number is never killed for another's.
    pub(crate) fn forget(&self, group: u32) {
        // If the guardian cannot be reached it has ended, and kills nothing.
        let _ = self.inner.order("forget", &group);
    }
}

impl Inner {
    fn order(&self, verb: &str, what: &dyn std::fmt::Display) -> anyhow::Result<()> {
        let mut orders = lock(&self.orders);
        let pipe = orders.as_mut().context("the guardian was dismissed")?;
        pipe.write_all(format!("{verb} {what}\n").as_bytes())
            .context("the guardian process ended: something killed it, start the world again")
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        lock(&self.orders).take();
        // Waiting makes `drop` mean that everything is gone.
        let _ = lock(&self.shell).wait();
    }
}

/// A lock that a panicking test cannot spoil for the others: what it guards is valid at every instant.
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

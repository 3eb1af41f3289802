//! However the owner of a world ends, no process and no file is left behind.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The longest wait for a condition.
const TIMEOUT: Duration = Duration::from_mins(2);

/// A cache and a temporary directory for the program `world`, with built programs from the real cache.
struct Sandbox {
    directory: PathBuf,
}

impl Sandbox {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("world-sandbox-{name}-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("cache/regcred-world")).unwrap();
        std::fs::create_dir_all(directory.join("tmp")).unwrap();
        Self { directory }
    }

    /// Returns the command `world` with this sandbox in its environment.
    fn world(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_world"));
        command.env("XDG_CACHE_HOME", self.directory.join("cache")).env("TMPDIR", self.directory.join("tmp"));
        command
    }

    /// Links the directories of the real cache here, so that nothing is built twice.
    async fn share_programs(&self) {
        world::build_all().await.unwrap();
        let home = PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
        let real = std::env::var_os("XDG_CACHE_HOME").map_or(home, PathBuf::from).join("regcred-world");
        for entry in std::fs::read_dir(&real).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
            std::os::unix::fs::symlink(
                entry.path(),
                self.directory.join("cache/regcred-world").join(entry.file_name()),
            )
            .unwrap();
        }
    }

    fn state(&self) -> PathBuf {
        self.directory.join("cache/regcred-world/daemon.json")
    }

    /// Returns the processes with a working directory in this sandbox.
    fn processes(&self) -> Vec<String> {
        let sandbox = self.directory.join("tmp");
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let directory = std::fs::read_link(entry.path().join("cwd")).ok()?;
                let command = std::fs::read(entry.path().join("cmdline")).ok()?;
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                directory.starts_with(&sandbox).then_some(command)
            })
            .collect()
    }

    /// Returns the files of a world, on disk and in memory.
    fn leftovers(&self, owner: u32) -> Vec<PathBuf> {
        let prefix = format!("regcred-world-{owner}-");
        [self.directory.join("tmp"), PathBuf::from("/dev/shm")]
            .iter()
            .filter_map(|directory| std::fs::read_dir(directory).ok())
            .flat_map(Iterator::flatten)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .map(|entry| entry.path())
            .collect()
    }

    fn expect_empty(&self, owner: u32) {
        eventually("the end of every process", || self.processes().is_empty());
        eventually("the removal of every file", || self.leftovers(owner).is_empty());
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Stops the daemon after a failed test.
        let _ = self.world().arg("down").stderr(Stdio::null()).status();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test]
async fn killed_owner_leaves_nothing_behind() {
    let sandbox = Sandbox::new("killed");
    sandbox.share_programs().await;
    let mut daemon = sandbox.world().arg("daemon").stderr(Stdio::null()).spawn().unwrap();
    wait_until_up(&sandbox, &mut daemon);
    assert!(sandbox.processes().len() >= 7, "{:?}", sandbox.processes());
    assert!(!sandbox.leftovers(daemon.id()).is_empty());

    daemon.kill().unwrap();
    daemon.wait().unwrap();
    sandbox.expect_empty(daemon.id());
}

#[tokio::test]
async fn owner_killed_while_starting_leaves_nothing_behind() {
    let sandbox = Sandbox::new("early");
    sandbox.share_programs().await;
    let mut daemon = sandbox.world().arg("daemon").stderr(Stdio::null()).spawn().unwrap();
    eventually("the first process", || !sandbox.processes().is_empty());
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    sandbox.expect_empty(daemon.id());
}

#[tokio::test]
async fn interrupted_owner_cleans_up_before_it_ends() {
    let sandbox = Sandbox::new("interrupted");
    sandbox.share_programs().await;
    let mut daemon = sandbox.world().arg("daemon").stderr(Stdio::null()).spawn().unwrap();
    wait_until_up(&sandbox, &mut daemon);
    let pid = Pid::from_raw(i32::try_from(daemon.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert!(daemon.wait().unwrap().success());
    assert_eq!(sandbox.leftovers(daemon.id()), Vec::<PathBuf>::new());
    assert_eq!(sandbox.processes(), Vec::<String>::new());
    assert!(!sandbox.state().exists());
}

#[tokio::test]
async fn second_up_reuses_the_world_until_down() {
    let sandbox = Sandbox::new("updown");
    sandbox.share_programs().await;
    let first = sandbox.world().arg("up").output().unwrap();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let second = sandbox.world().arg("up").output().unwrap();
    assert_eq!(first.stdout, second.stdout);
    assert!(String::from_utf8_lossy(&second.stderr).contains("already up"));

    let exports = String::from_utf8(first.stdout).unwrap();
    let answer = Command::new("sh")
        .args([
            "-c",
            &format!("{exports}\nkubectl get namespace default -o name && echo \"$REGISTRY_PASSWORD\""),
        ])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&answer.stdout).starts_with("namespace/default\n"), "{answer:?}");

    assert!(sandbox.world().args(["set-password", "basic", "new one"]).status().unwrap().success());
    let env = sandbox.world().arg("env").output().unwrap();
    assert!(String::from_utf8_lossy(&env.stdout).contains("REGISTRY_PASSWORD='new one'\n"));

    let down = sandbox.world().arg("down").output().unwrap();
    assert!(String::from_utf8_lossy(&down.stderr).contains("the world is down"));
    assert_eq!(sandbox.processes(), Vec::<String>::new());
    assert!(!sandbox.world().arg("env").output().unwrap().status.success());
}

fn wait_until_up(sandbox: &Sandbox, daemon: &mut Child) {
    eventually("the start of the world", || {
        assert!(daemon.try_wait().unwrap().is_none(), "the daemon ended");
        sandbox.state().exists()
    });
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "timed out after {} s waiting for {what}", TIMEOUT.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! Whatever happens to the owner, nothing is left running and no file stays behind.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything here may take before it counts as never.
const PATIENCE: Duration = Duration::from_mins(2);

/// A cache and a temporary directory of its own for the program `world`, with the programs shared.
struct Room {
    directory: PathBuf,
}

impl Room {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("world-room-{name}-{}", std::process::id()));
        std::fs::create_dir_all(directory.join("cache/regcred-world")).unwrap();
        std::fs::create_dir_all(directory.join("tmp")).unwrap();
        Self { directory }
    }

    /// The program `world`, ready to be run in this room.
    fn world(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_world"));
        command.env("XDG_CACHE_HOME", self.directory.join("cache")).env("TMPDIR", self.directory.join("tmp"));
        command
    }

    /// Links the digest's directory of the real cache here, so that nothing is built twice.
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
        self.directory.join("cache/regcred-world/keeper.json")
    }

    /// Processes that run on files of this room.
    fn processes(&self) -> Vec<String> {
        let room = self.directory.join("tmp");
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let directory = std::fs::read_link(entry.path().join("cwd")).ok()?;
                let said = std::fs::read(entry.path().join("cmdline")).ok()?;
                let said = String::from_utf8_lossy(&said).replace('\0', " ");
                directory.starts_with(&room).then_some(said)
            })
            .collect()
    }

    /// Files of a world that were left behind, on disk or in memory.
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

impl Drop for Room {
    fn drop(&mut self) {
        // A keeper that a failed test left up ends here; after `world down` there is none.
        let _ = self.world().arg("down").stderr(Stdio::null()).status();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test]
async fn nothing_survives_an_owner_that_is_killed() {
    let room = Room::new("killed");
    room.share_programs().await;
    let mut keeper = room.world().arg("keep").stderr(Stdio::null()).spawn().unwrap();
    wait_until_up(&room, &mut keeper);
    assert!(room.processes().len() >= 7, "{:?}", room.processes());
    assert!(!room.leftovers(keeper.id()).is_empty());

    keeper.kill().unwrap();
    keeper.wait().unwrap();
    room.expect_empty(keeper.id());
}

#[tokio::test]
async fn nothing_survives_an_owner_that_is_killed_while_it_starts() {
    let room = Room::new("early");
    room.share_programs().await;
    let mut keeper = room.world().arg("keep").stderr(Stdio::null()).spawn().unwrap();
    eventually("the first process", || !room.processes().is_empty());
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    room.expect_empty(keeper.id());
}

#[tokio::test]
async fn an_interrupted_owner_cleans_up_before_it_ends() {
    let room = Room::new("interrupted");
    room.share_programs().await;
    let mut keeper = room.world().arg("keep").stderr(Stdio::null()).spawn().unwrap();
    wait_until_up(&room, &mut keeper);
    let pid = Pid::from_raw(i32::try_from(keeper.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert!(keeper.wait().unwrap().success());
    assert_eq!(room.leftovers(keeper.id()), Vec::<PathBuf>::new());
    assert_eq!(room.processes(), Vec::<String>::new());
    assert!(!room.state().exists());
}

#[tokio::test]
async fn up_twice_is_one_world_and_down_ends_it() {
    let room = Room::new("updown");
    room.share_programs().await;
    let first = room.world().arg("up").output().unwrap();
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let second = room.world().arg("up").output().unwrap();
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

    assert!(room.world().args(["set-password", "basic", "new one"]).status().unwrap().success());
    let env = room.world().arg("env").output().unwrap();
    assert!(String::from_utf8_lossy(&env.stdout).contains("REGISTRY_PASSWORD='new one'\n"));

    let down = room.world().arg("down").output().unwrap();
    assert!(String::from_utf8_lossy(&down.stderr).contains("the world is down"));
    assert_eq!(room.processes(), Vec::<String>::new());
    assert!(!room.world().arg("env").output().unwrap().status.success());
}

fn wait_until_up(room: &Room, keeper: &mut Child) {
    eventually("a world that is up", || {
        assert!(keeper.try_wait().unwrap().is_none(), "the keeper ended");
        room.state().exists()
    });
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not come in {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

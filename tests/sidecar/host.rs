//! A directory with manifests, passwords and the file of a sidecar, and runs of the binary in it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The longest wait for something that takes milliseconds on an idle machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A machine with one sidecar.
pub(crate) struct Host {
    pub(crate) directory: TempDir,
}

/// The result of a run that has ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    /// With `DIR` for the directory of the host.
    pub(crate) stderr: String,
}

/// A sidecar that runs, killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Host {
    /// Creates a host with passwords, by key of the store `files`, and a ClusterPullSecret with a registry for each:
    /// `(host, password)`.
    pub(crate) fn new(passwords: &[(&str, &str)]) -> Self {
        let host = Self { directory: tempfile::tempdir_in("/dev/shm").unwrap() };
        for name in ["passwords", "docker"] {
            std::fs::create_dir(host.path(name)).unwrap();
        }
        for (registry, password) in passwords {
            host.put(registry, password);
        }
        let registries: Vec<_> = passwords.iter().map(|(registry, _)| *registry).collect();
        host.write_manifests(&registries, "");
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The file of the sidecar.
    pub(crate) fn file(&self) -> PathBuf {
        self.path("docker/config.json")
    }

    /// The key of a registry: names of files have no slashes, colons or stars.
    fn key(registry: &str) -> String {
        registry.replace(['/', ':', '*'], "_")
    }

    /// Puts the password of a registry into the store, as an editor that renames does.
    pub(crate) fn put(&self, registry: &str, password: &str) {
        let value = json!({"username": "robot", "password": password}).to_string();
        self.put_value(registry, &value);
    }

    pub(crate) fn put_value(&self, registry: &str, value: &str) {
        let path = self.path("passwords").join(Self::key(registry));
        let temporary = self.path("new-password");
        std::fs::write(&temporary, value).unwrap();
        std::fs::rename(temporary, path).unwrap();
    }

    /// Removes the password of a registry from the store.
    pub(crate) fn remove(&self, registry: &str) {
        std::fs::remove_file(self.path("passwords").join(Self::key(registry))).unwrap();
    }

    /// Writes a ClusterPullSecret `images` with these registries and further fields of the spec. Nothing is polled, so
    /// that each test chooses what causes a read.
    pub(crate) fn write_manifests(&self, registries: &[&str], more: &str) {
        self.write_polled_manifests("0s", registries, more);
    }

    /// The same with this interval of the poll.
    pub(crate) fn write_polled_manifests(&self, interval: &str, registries: &[&str], more: &str) {
        let passwords = self.path("passwords").display().to_string();
        let config = format!(
            "apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores:\n- {{name: files, file: {{directory: {passwords}}}}}\ntriggers: {{pollInterval: {interval}}}\n---\n"
        );
        let registries = registries.iter().map(|registry| {
            let from = format!("{{store: files, key: \"{}\"}}", Self::key(registry));
            format!("    - host: \"{registry}\"\n      from: {from}\n")
        });
        let text = format!(
            "apiVersion: regcred.dev/v1alpha1\nkind: ClusterPullSecret\nmetadata: {{name: images}}\nspec:\n{more}  registries:\n{}",
            registries.collect::<String>()
        );
        std::fs::write(self.path("manifests.yaml"), config + &text).unwrap();
    }

    /// `regcred` with these arguments, in this directory and an empty environment.
    pub(crate) fn regcred(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_regcred"));
        command.args(arguments).current_dir(self.directory.path()).env_clear().stdin(Stdio::null());
        command.env("REGCRED_FILES", self.path("passwords"));
        command
    }

    /// `regcred sidecar` for the file, with further arguments.
    pub(crate) fn sidecar(&self, arguments: &[&str]) -> Command {
        let fixed = ["sidecar", "-f", "manifests.yaml", "--output", "docker/config.json"];
        self.regcred(&[&fixed, arguments].concat())
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, mut command: Command) -> Ended {
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: stderr.replace(&self.directory.path().display().to_string(), "DIR"),
        }
    }

    /// Runs `regcred sidecar --once` with further arguments.
    pub(crate) fn once(&self, arguments: &[&str]) -> Ended {
        self.run(self.sidecar(&[&["--once"], arguments].concat()))
    }

    /// Starts a sidecar that keeps running.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::new(self.sidecar(arguments))
    }

    /// `key=username:password` for each entry of the file; `None` without a file.
    pub(crate) fn entries(&self) -> Option<Vec<String>> {
        entries_of(&self.file())
    }

    /// Waits until the file has these entries.
    #[track_caller]
    pub(crate) fn await_entries(&self, expected: &[&str]) {
        let is_written = || self.entries().is_some_and(|entries| entries == expected);
        assert!(until(is_written), "{expected:?} is not in the file: {:?}", self.entries());
    }

    /// The names in the directory of the file.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("docker")).unwrap();
        let mut names: Vec<_> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Reads a file that must be whole if it exists.
#[track_caller]
pub(crate) fn entries_of(path: &Path) -> Option<Vec<String>> {
    let bytes = std::fs::read(path).ok()?;
    let config: Value = serde_json::from_slice(&bytes).expect("a whole file");
    let entries = config["auths"].as_object().expect("auths").iter().map(|(key, entry)| {
        let auth = entry["auth"].as_str().expect("auth");
        let decoded = STANDARD.decode(auth).expect("base64");
        format!("{key}={}", String::from_utf8(decoded).expect("UTF-8"))
    });
    Some(entries.collect())
}

/// Waits until a condition holds; returns false if it never does.
pub(crate) fn until(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > TIMEOUT {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

impl Running {
    /// Starts a command and collects its log.
    pub(crate) fn new(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, lines) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let mut log = lines.lock().unwrap();
                log.push_str(&line.unwrap());
                log.push('\n');
            }
        });
        Self { child, log, reader: Some(reader) }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log has a text.
    #[track_caller]
    pub(crate) fn await_log(&self, text: &str) {
        assert!(until(|| self.log().contains(text)), "{text} is not in the log:\n{}", self.log());
    }

    pub(crate) fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends the process by SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends the process by SIGTERM; returns its exit code and its log.
    pub(crate) fn stop(self) -> (i32, String) {
        self.send(Signal::TERM);
        self.ended()
    }

    /// Waits until the process ends; returns its exit code and its log.
    pub(crate) fn ended(mut self) -> (i32, String) {
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        (status.code().unwrap_or(-1), self.log())
    }

    /// Returns the answer of the endpoint at `path`: its status and its body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.await_log("listening");
        let log = self.log();
        let (_, rest) = log.split_once("address=").expect("an address");
        let address = rest.split_whitespace().next().expect("an address").to_owned();
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

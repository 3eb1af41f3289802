//! docker-py: the credential that it finds in the file, and a process that keeps its client while the file changes.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::programs;

/// Requests the manifest of an image as `pull` does, but without a Docker engine. With a second argument it stays, and
/// answers each line of stdin by one line; the line `reload` reads the file again.
pub(super) const SCRIPT: &str = r#"
import base64, json, sys
import docker, requests
from docker import auth

def pull(client, image):
    registry, rest = auth.resolve_repository_name(image)
    header = auth.get_config_header(client, registry)
    if not header:
        return "no credential in the file"
    found = json.loads(base64.urlsafe_b64decode(header))
    repository, tag = rest.rsplit(":", 1)
    url = f"http://{registry}/v2/{repository}/manifests/{tag}"
    headers = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    answer = requests.head(url, auth=(found["username"], found["password"]), headers=headers)
    return {200: "ok", 401: "unauthorized"}.get(answer.status_code, f"status {answer.status_code}")

image = sys.argv[1]
# Nothing listens there: only the part of the client that reads the file is used.
client = docker.APIClient(base_url="tcp://127.0.0.1:9", version="1.44")
if len(sys.argv) == 2:
    answer = pull(client, image)
    sys.exit(None if answer == "ok" else answer)
for line in sys.stdin:
    if line.strip() == "reload":
        client.reload_config()
    print(pull(client, image), flush=True)
"#;

/// A process that keeps its docker-py client, killed when it is dropped.
#[derive(Debug)]
pub struct LongLivedDockerPy {
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl LongLivedDockerPy {
    /// Starts a process that reads the file `config.json` of a directory once, and asks for an image.
    pub async fn start(directory: &Path, image: &str) -> anyhow::Result<Self> {
        let mut child = Command::new(programs::docker_py_python().await?)
            .args(["-c", SCRIPT, image, "stay"])
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("DOCKER_CONFIG", directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start Python")?;
        let stdin = child.stdin.take().context("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Self { stdin, stdout, _child: child })
    }

    /// Requests the manifest with the credential that the client holds; `ok` or the problem.
    pub async fn pull(&mut self) -> anyhow::Result<String> {
        self.say("pull").await
    }

    /// Reads the file again, and requests the manifest.
    pub async fn reload(&mut self) -> anyhow::Result<String> {
        self.say("reload").await
    }

    async fn say(&mut self, line: &str) -> anyhow::Result<String> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.context("docker-py is gone")?;
        self.stdout.next_line().await?.context("docker-py ended; its message is on stderr")
    }
}

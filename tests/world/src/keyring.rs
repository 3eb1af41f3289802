//! Asks the kubelet's own code for the credentials that a pull secret provides for an image.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize, Serializer};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::programs::Program;

/// One pull secret and the image that a container asks for.
#[derive(Clone, Debug, Serialize)]
pub struct KeyringQuestion {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub name: String,
    /// Type of the Secret, normally `kubernetes.io/dockerconfigjson`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The bytes under `.dockerconfigjson`.
    #[serde(rename = "dockerconfigjson", serialize_with = "as_base64")]
    pub docker_config: Vec<u8>,
    /// For example `127.0.0.1:5000/team/app`.
    pub image: String,
}

/// The result of the kubelet's lookup.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KeyringAnswer {
    /// The credentials that the kubelet would try, in this order; empty means an anonymous pull.
    pub credentials: Vec<KeyringCredential>,
    /// The kubelet's error; the pull of the pod then fails, whatever other credentials it has.
    #[serde(default)]
    pub error: Option<String>,
}

/// One user name and password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KeyringCredential {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
    /// The kubelet's hash of both, by which it recognises a credential that pulled an image before (KEP-2535).
    pub hash: String,
}

/// Runs the kubelet's code and returns one answer for each question, in the same order.
pub async fn ask_kubelet(questions: &[KeyringQuestion]) -> anyhow::Result<Vec<KeyringAnswer>> {
    let input = serde_json::to_vec(questions).context("cannot write the questions as JSON")?;
    let mut child = Command::new(Program::Keyring.path().await?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the keyring program")?;
    let mut stdin = child.stdin.take().context("the keyring program has no stdin")?;
    let feed = async {
        // A failed write means that the program ended early; its own message is more useful than a broken pipe.
        let _ = stdin.write_all(&input).await;
        drop(stdin);
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.context("cannot wait for the keyring program")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("the keyring program did not print the expected JSON")
}

fn as_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

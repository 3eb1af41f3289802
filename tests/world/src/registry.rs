//! A real `distribution` registry with one user; the password can change while the registry runs.

mod image;
mod login;
mod token_server;
mod trusted_issuer;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use reqwest::Client;
use serde_json::{Value, json};

use crate::kube::credentials::{random_token, write_private};
use crate::process::Process;
use crate::programs::Program;
use crate::reaper::Reaper;
use crate::{http, port};
use token_server::TokenServer;

/// The one user of a registry.
const USERNAME: &str = "robot";
/// Holds the password in plain text, for the token server and [`Registry::password`]; below the private directory.
const PASSWORD_FILE: &str = "password";
/// Holds the hash of the password, for a registry with Basic authentication, which reloads the file when it changes.
const HTPASSWD_FILE: &str = "htpasswd";

/// A running registry; dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    /// `127.0.0.1:PORT`, as in an image's name; it speaks plain HTTP.
    pub host: String,
    /// The one user.
    pub username: String,
    /// The directory of its files, for [`set_password_in`].
    pub(crate) directory: PathBuf,
    client: Client,
    _token_server: Option<TokenServer>,
    _process: Process,
    _reaper: Reaper,
}

impl Registry {
    /// Starts a registry that checks the password itself (Basic, from an `htpasswd` file).
    pub async fn start_basic(reaper: &Reaper) -> anyhow::Result<Self> {
        let directory = reaper.new_directory("registry")?;
        set_password_in(&directory, &random_token()?)?;
        let auth = json!({ "htpasswd": { "realm": "world", "path": directory.join(HTPASSWD_FILE) } });
        Self::start(reaper, directory, &auth, None).await
    }

    /// Starts a registry that sends its clients to a token server (Bearer).
    pub async fn start_token(reaper: &Reaper) -> anyhow::Result<Self> {
        let directory = reaper.new_directory("token-registry")?;
        set_password_in(&directory, &random_token()?)?;
        let server = TokenServer::start(USERNAME, &directory)?;
        let jwks = directory.join("jwks.json");
        write_private(&jwks, &server.jwks().to_string())?;
        let auth = json!({
            "token": {
                "realm": server.realm(),
                "service": token_server::SERVICE,
                "issuer": token_server::ISSUER,
                "jwks": jwks,
                "signingalgorithms": [token_server::ALGORITHM],
            },
        });
        Self::start(reaper, directory, &auth, Some(server)).await
    }

    async fn start(
        reaper: &Reaper,
        directory: PathBuf,
        auth: &Value,
        token_server: Option<TokenServer>,
    ) -> anyhow::Result<Self> {
        let program = Program::Registry.path().await?;
        let host = format!("127.0.0.1:{}", port::free()?);
        let config = json!({
            "version": "0.1",
            "log": { "level": "warn", "accesslog": { "disabled": true } },
            "storage": { "filesystem": { "rootdirectory": directory.join("data") }, "delete": { "enabled": true } },
            "http": { "addr": host, "secret": random_token()? },
            "auth": auth,
        });
        // JSON is valid YAML.
        write_private(&directory.join("config.yml"), &config.to_string())?;
        let process = reaper.spawn("registry", &directory, &program, |command| {
            command.args(["serve", "config.yml"]).env("OTEL_TRACES_EXPORTER", "none");
        })?;
        let client = http::client(None)?;
        let url = format!("http://{host}/v2/");
        process
            .wait_until("a first response", || async { client.get(&url).send().await.is_ok().then_some(()) })
            .await?;
        Ok(Self {
            host,
            username: USERNAME.to_owned(),
            directory,
            client,
            _token_server: token_server,
            _process: process,
            _reaper: reaper.clone(),
        })
    }

    /// Returns the current password.
    pub fn password(&self) -> anyhow::Result<String> {
        let path = self.directory.join(PASSWORD_FILE);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Changes the password, with effect from the next request on.
    pub fn set_password(&self, password: &str) -> anyhow::Result<()> {
        set_password_in(&self.directory, password)
    }
}

/// Changes the password of the registry with its files in `directory`.
pub(crate) fn set_password_in(directory: &Path, password: &str) -> anyhow::Result<()> {
    // The lowest cost: a password for tests protects nothing, and every request computes the hash.
    let hash = bcrypt::hash(password, 4).context("cannot hash the password")?;
    replace(&directory.join(HTPASSWD_FILE), &format!("{USERNAME}:{hash}\n"))?;
    replace(&directory.join(PASSWORD_FILE), password)
}

/// Replaces a file atomically, with a modification time later than that of the old file.
///
/// The registry compares that time only, and two changes can fall within one tick of the file system's clock.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let before = path.metadata().and_then(|old| old.modified()).ok();
    let new = path.with_extension("new");
    write_private(&new, text)?;
    if let Some(before) = before {
        let later = SystemTime::now().max(before + Duration::from_millis(1));
        std::fs::File::options()
            .write(true)
            .open(&new)
            .and_then(|file| file.set_modified(later))
            .with_context(|| format!("cannot set the modification time of {}", new.display()))?;
    }
    std::fs::rename(&new, path).with_context(|| format!("cannot replace {}", path.display()))
}

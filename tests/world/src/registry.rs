//! A real `distribution` registry, whose one user's password can change while it runs.

mod image;
mod login;
mod token_server;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use reqwest::Client;
use serde_json::{Value, json};

use crate::guardian::Guardian;
use crate::kube::credentials::{random_token, write_private};
use crate::process::Process;
use crate::programs::Program;
use crate::{http, port};
use token_server::TokenServer;

/// The one user of a registry.
const USERNAME: &str = "robot";
/// Holds the password in clear, for the token server and for whoever asks the world; below the private directory.
const PASSWORD_FILE: &str = "password";
/// Holds the password hashed, for a registry with Basic authentication, which reads it again when it changes.
const HTPASSWD_FILE: &str = "htpasswd";

/// A running registry; dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    /// `127.0.0.1:PORT`, as in an image's name; it speaks plain HTTP.
    pub host: String,
    /// The one user.
    pub username: String,
    /// Where its files are; [`set_password_in`] needs it.
    pub(crate) directory: PathBuf,
    client: Client,
    _token_server: Option<TokenServer>,
    _process: Process,
    _guardian: Guardian,
}

impl Registry {
    /// Starts a registry that asks for the password itself (Basic, from an `htpasswd` file).
    pub async fn start_basic(guardian: &Guardian) -> anyhow::Result<Self> {
        let directory = guardian.new_directory("registry")?;
        set_password_in(&directory, &random_token()?)?;
        let auth = json!({ "htpasswd": { "realm": "world", "path": directory.join(HTPASSWD_FILE) } });
        Self::start(guardian, directory, &auth, None).await
    }

    /// Starts a registry that sends its clients to a token server (Bearer).
    pub async fn start_token(guardian: &Guardian) -> anyhow::Result<Self> {
        let directory = guardian.new_directory("token-registry")?;
        set_password_in(&directory, &random_token()?)?;
        let server = TokenServer::start(USERNAME, directory.join(PASSWORD_FILE))?;
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
        Self::start(guardian, directory, &auth, Some(server)).await
    }

    async fn start(
        guardian: &Guardian,
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
        // JSON is YAML too.
        write_private(&directory.join("config.yml"), &config.to_string())?;
        let process = guardian.spawn("registry", &directory, &program, |command| {
            command.args(["serve", "config.yml"]).env("OTEL_TRACES_EXPORTER", "none");
        })?;
        let client = http::client(None)?;
        let url = format!("http://{host}/v2/");
        process.until("answering", || async { client.get(&url).send().await.is_ok().then_some(()) }).await?;
        Ok(Self {
            host,
            username: USERNAME.to_owned(),
            directory,
            client,
            _token_server: token_server,
            _process: process,
            _guardian: guardian.clone(),
        })
    }

    /// The password that is right just now.
    pub fn password(&self) -> anyhow::Result<String> {
        let path = self.directory.join(PASSWORD_FILE);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Makes `password` the right one, from the next request on; the old one is wrong at once.
    pub fn set_password(&self, password: &str) -> anyhow::Result<()> {
        set_password_in(&self.directory, password)
    }
}

/// Changes the password of the registry that has its files in `directory`.
pub(crate) fn set_password_in(directory: &Path, password: &str) -> anyhow::Result<()> {
    // The lowest cost: a test's password guards nothing, and every request pays for it.
    let hash = bcrypt::hash(password, 4).context("cannot hash the password")?;
    replace(&directory.join(HTPASSWD_FILE), &format!("{USERNAME}:{hash}\n"))?;
    replace(&directory.join(PASSWORD_FILE), password)
}

/// Replaces a file in one step, with a modification time later than the old one's.
///
/// The registry looks at that time only, and two changes can fall within one tick of the file system's clock.
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
            .with_context(|| format!("cannot date {}", new.display()))?;
    }
    std::fs::rename(&new, path).with_context(|| format!("cannot replace {}", path.display()))
}

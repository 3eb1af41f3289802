//! moto, a mock of AWS: one server answers ECR, Secrets Manager and STS.

mod ecr_proxy;

use std::ops::Deref;

pub use ecr_proxy::EcrProxy;

use crate::aws_endpoint::AwsEndpoint;
use crate::process::Process;
use crate::reaper::Reaper;
use crate::{http, port, programs};

/// A running moto; dropping it ends it.
#[derive(Debug)]
pub struct Moto {
    aws: AwsEndpoint,
    _process: Process,
    _reaper: Reaper,
}

impl Moto {
    /// The account of all resources.
    pub const ACCOUNT: &str = "123456789012";

    /// Starts a moto that runs until the returned value or `reaper` is dropped.
    pub async fn start(reaper: &Reaper) -> anyhow::Result<Self> {
        let python = programs::moto_python().await?;
        let directory = reaper.new_directory("moto")?;
        let port = port::free()?;
        let process = reaper.spawn("moto", &directory, &python, |command| {
            command
                .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
                .env("PYTHONUTF8", "1")
                .env("PYTHONDONTWRITEBYTECODE", "1");
        })?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let client = http::client(None)?;
        let health = format!("{endpoint}/moto-api/");
        process
            .wait_until("a successful health check", || async {
                http::is_healthy(&client, &health).await.then_some(())
            })
            .await?;
        Ok(Self { aws: AwsEndpoint { endpoint, client }, _process: process, _reaper: reaper.clone() })
    }
}

impl Deref for Moto {
    type Target = AwsEndpoint;

    fn deref(&self) -> &AwsEndpoint {
        &self.aws
    }
}

//! A start of each tool with one key: the time to the first file, and the memory after it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use harness::bench::in_turn;
use harness::bench::measure::{Paired, Spread, memory};
use harness::bench::report::{Table, at_most, ratio_at_most, say};
use tokio::process::Command;
use world::Vault;

use crate::tool::{Running, Tool, put};

const KEY: &str = "bench/first";
/// The most resident memory of the sidecar after the first write, in MiB.
const MOST_MEMORY: f64 = 12.0;
/// The same, as a multiple of vault agent's.
const MOST_OF_VAULT_AGENT: f64 = 0.25;
/// The longest time to the first file, as a multiple of curl and the start of a process.
const MOST_OF_CURL: f64 = 1.5;
/// The time after which a start is over.
const SETTLED: Duration = Duration::from_secs(2);

/// One start.
struct Start {
    /// The time to the first file.
    seconds: f64,
    /// In MiB, anonymous and of files.
    resident: f64,
    anonymous: f64,
}

pub(crate) async fn measure(vault: &Vault, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    put(vault, KEY, "first").await?;
    let (mut starts, mut floors) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        say(&format!("first file, round {round}"));
        let current = async || start(Tool::Regcred, vault).await;
        let pair = in_turn(round, current, async || start(Tool::VaultAgent, vault).await).await?;
        floors.push(pair.current.seconds / floor(vault).await?);
        starts.push(pair);
    }
    let phase = "start with one key";
    table.paired(phase, "time to the first file, s", &Paired::new(&starts, |it: &Start| it.seconds), None);
    let ratio = Spread::new(floors);
    let limit = at_most(ratio.median, MOST_OF_CURL);
    table.row(phase, "the same, by curl of the secret and the start of a process", &ratio, Some(limit));
    let resident = Paired::new(&starts, |it| it.resident);
    let limit = ratio_at_most(&resident, MOST_OF_VAULT_AGENT);
    table.paired(phase, "resident after the first file, MiB", &resident, Some(limit));
    let limit = at_most(resident.current.highest, MOST_MEMORY);
    table.row(phase, "the highest of them, MiB", &resident.current.highest, Some(limit));
    table.paired(phase, "of which anonymous, MiB", &Paired::new(&starts, |it| it.anonymous), None);
    Ok(())
}

async fn start(tool: Tool, vault: &Vault) -> anyhow::Result<Start> {
    let mut running = Running::start(tool, vault, &[KEY.to_owned()])?;
    let seconds = running.first_file().await?;
    tokio::time::sleep(SETTLED).await;
    let anonymous = memory(running.id, "RssAnon")?;
    let resident = anonymous + memory(running.id, "RssFile")?;
    running.stop().await?;
    Ok(Start { seconds, resident, anonymous })
}

/// Seconds of curl for the secret, and of the start and end of a process.
async fn floor(vault: &Vault) -> anyhow::Result<f64> {
    let url = format!("{}/v1/secret/data/{KEY}", vault.address);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--output", "/dev/null", "--header"]);
    curl.arg(format!("X-Vault-Token: {}", vault.root_token)).arg(url);
    let begun = Instant::now();
    run(curl).await?;
    run(Command::new("true")).await?;
    Ok(begun.elapsed().as_secs_f64())
}

async fn run(mut command: Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().await.context("cannot run a program")?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

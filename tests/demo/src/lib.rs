//! The story of `make demo`: two rotations, a run without a change and a file for builders, on a world of its own.
//!
//! Each statement is checked before it is printed, and the first failed check ends the story with an error. No password
//! is printed.

mod cluster;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use cluster::{DemoCluster, NAMESPACES, Run};

const COMMAND: &str = "$ regcred rotate -f manifests.yaml";

/// Runs the story with the `regcred` at this path, relative to the directory of the running program.
pub async fn main(regcred: &str) -> ExitCode {
    match story(regcred).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format!("error: the demo failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn story(regcred: &str) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let regcred = program.parent().unwrap_or(Path::new(".")).join(regcred);
    ensure!(regcred.is_file(), "{} is missing: build it with `cargo build`", regcred.display());
    build_the_world().await?;
    let cluster = start_the_world(&regcred).await?;
    fill_the_stores(&cluster).await?;
    create_the_namespaces(&cluster).await?;
    first_rotation(&cluster).await?;
    change_the_passwords(&cluster).await?;
    second_rotation(&cluster).await?;
    rotation_without_change(&cluster).await?;
    file_for_builders(&cluster).await?;
    print("The passwords are stored in one place, and one command brings every namespace in sync with it.");
    Ok(())
}

/// Returns quickly if everything is cached; otherwise explains the wait.
async fn build_the_world() -> anyhow::Result<()> {
    let build = world::build_bare();
    tokio::pin!(build);
    if let Ok(built) = tokio::time::timeout(Duration::from_secs(2), &mut build).await {
        return built;
    }
    print(
        "The first run builds the servers from source, which takes about 8 minutes; later runs start in seconds.",
    );
    build.await
}

async fn start_the_world(regcred: &Path) -> anyhow::Result<DemoCluster> {
    let started = Instant::now();
    let cluster = DemoCluster::start(regcred).await?;
    print(&format!(
        "regcred copies registry passwords from Vault and AWS Secrets Manager into every namespace.\n\
         This demo uses real servers, on this machine only, started in {}: a Kubernetes API server,\n\
         Vault, LocalStack for AWS Secrets Manager, and two registries that require a password.\n",
        seconds(started.elapsed())
    ));
    Ok(cluster)
}

async fn fill_the_stores(cluster: &DemoCluster) -> anyhow::Result<()> {
    cluster.fill_stores().await?;
    print(&format!(
        "The password of registry {} is in Vault, that of {} in Secrets Manager.",
        cluster.basic().host,
        cluster.token().host
    ));
    Ok(())
}

async fn create_the_namespaces(cluster: &DemoCluster) -> anyhow::Result<()> {
    cluster.create_namespaces().await?;
    expect_logins(cluster, 0).await?;
    print(&format!(
        "{NAMESPACES} namespaces, team-01 to team-{NAMESPACES}, have no pull secret: pods there cannot pull images.\n"
    ));
    Ok(())
}

async fn first_rotation(cluster: &DemoCluster) -> anyhow::Result<()> {
    let run = cluster.rotate().await?;
    check(&run, "created", 2 * NAMESPACES)?;
    print(COMMAND);
    for line in run.stdout.lines().filter(|line| !line.is_empty()) {
        print(&format!("  {line}"));
    }
    expect_logins(cluster, NAMESPACES).await?;
    print(&format!(
        "Done in {}, with the manifests of tests/demo and only the rights of deploy/rbac.yaml.\n\
         Vault was read once for all namespaces. The kubelet's own code now finds credentials\n\
         that log in at both registries in {NAMESPACES} of {NAMESPACES} namespaces.\n",
        seconds(run.wall)
    ));
    Ok(())
}

async fn change_the_passwords(cluster: &DemoCluster) -> anyhow::Result<()> {
    cluster.change_passwords().await?;
    expect_logins(cluster, 0).await?;
    print(&format!(
        "Both passwords change, at the registries and in the stores. The registries now reject\n\
         the credentials in the namespaces: 0 of {NAMESPACES} log in.\n"
    ));
    Ok(())
}

async fn second_rotation(cluster: &DemoCluster) -> anyhow::Result<()> {
    let before = cluster.secret_uids().await?;
    let run = cluster.rotate().await?;
    check(&run, "updated", NAMESPACES)?;
    expect_logins(cluster, NAMESPACES).await?;
    ensure!(before == cluster.secret_uids().await?, "a Secret was replaced instead of changed in place");
    print_summary(&run);
    print(&format!(
        "Done in {} with {} writes, and {} of regcred's own record. Each Secret was updated in place, so that\n\
         nodes still trust the images they have pulled. {NAMESPACES} of {NAMESPACES} namespaces log in at both registries again.\n",
        seconds(run.wall),
        run.writes,
        run.own_writes
    ));
    Ok(())
}

async fn rotation_without_change(cluster: &DemoCluster) -> anyhow::Result<()> {
    let run = cluster.rotate().await?;
    check(&run, "unchanged", 0)?;
    ensure!(run.own_writes == 0, "regcred wrote its own record {} times", run.own_writes);
    print_summary(&run);
    print(&format!(
        "Done in {}. No change, no write: the audit log of the API server has {} reads, 0 writes.\n",
        seconds(run.wall),
        run.reads
    ));
    Ok(())
}

async fn file_for_builders(cluster: &DemoCluster) -> anyhow::Result<()> {
    let logins = cluster.sidecar_logins().await?;
    ensure!(logins == 2, "{logins} entries of the file log in instead of 2");
    print(
        "$ regcred sidecar -f manifests.yaml --output config.json --once\n\
         The same credentials in a file, for builders that talk to registries themselves, without a cluster.\n\
         Its entries log in at both registries; without --once a sidecar keeps the file current.\n",
    );
    Ok(())
}

/// Checks the summary, the writes and the store reads of a run.
fn check(run: &Run, result: &str, writes: usize) -> anyhow::Result<()> {
    let summary = format!("{NAMESPACES} namespaces: {NAMESPACES} {result}");
    ensure!(run.stdout.contains(&summary), "regcred did not print \"{summary}\" but:\n{}", run.stdout);
    ensure!(run.writes == writes, "{} writes instead of {writes}", run.writes);
    ensure!(run.store_reads == 1, "the password in Vault was read {} times", run.store_reads);
    Ok(())
}

async fn expect_logins(cluster: &DemoCluster, namespaces: usize) -> anyhow::Result<()> {
    let logins = cluster.logins().await?;
    ensure!(
        logins == [namespaces; 2],
        "{logins:?} namespaces log in at the two registries instead of {namespaces}"
    );
    Ok(())
}

/// Prints the last line of a report, the summary.
fn print_summary(run: &Run) {
    print(COMMAND);
    print(&format!("  {}", run.stdout.lines().last().unwrap_or_default()));
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f32())
}

#[expect(clippy::print_stdout, reason = "the output of the demo")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the one place where a failure is printed")]
fn print_error(text: &str) {
    eprintln!("{text}");
}

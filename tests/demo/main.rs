//! `make demo`: what regcred is for, told in plain text on a world of its own.
//!
//! A test as well: everything is checked before it is told, and the first thing that is not so ends the
//! story with an error. No password is printed.

mod cast;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::ensure;

use cast::{Cast, NAMESPACES, Run};

const COMMAND: &str = "$ regcred rotate -f manifests.yaml";

#[tokio::main]
async fn main() -> ExitCode {
    match story().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: the demo ended early: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn story() -> anyhow::Result<()> {
    build_the_world().await?;
    let cast = the_world().await?;
    the_stores(&cast).await?;
    the_namespaces(&cast).await?;
    the_first_rotation(&cast).await?;
    the_passwords_change(&cast).await?;
    the_second_rotation(&cast).await?;
    the_silence(&cast).await?;
    tell(
        "That is all: the passwords live in one place, and one command makes every namespace agree with it.",
    );
    Ok(())
}

/// Takes no time when everything is in the cache; a newcomer is told why it takes long.
async fn build_the_world() -> anyhow::Result<()> {
    let build = world::build_all();
    tokio::pin!(build);
    if let Ok(built) = tokio::time::timeout(Duration::from_secs(2), &mut build).await {
        return built;
    }
    tell(
        "A first run builds its world from source, which takes about 16 minutes; later ones start in seconds.",
    );
    build.await
}

async fn the_world() -> anyhow::Result<Cast> {
    let begun = Instant::now();
    let cast = Cast::gather().await?;
    tell(&format!(
        "regcred carries registry passwords from where they live into every namespace of a cluster.\n\
         Here with the real parts, on this machine only, started in {}: a Kubernetes API server,\n\
         a Vault, a LocalStack for AWS Secrets Manager, and two registries that ask for a password.\n",
        seconds(begun.elapsed())
    ));
    Ok(cast)
}

async fn the_stores(cast: &Cast) -> anyhow::Result<()> {
    cast.fill_stores().await?;
    tell(&format!(
        "The password of registry {} is in Vault, that of {} in Secrets Manager.",
        cast.basic().host,
        cast.token().host
    ));
    Ok(())
}

async fn the_namespaces(cast: &Cast) -> anyhow::Result<()> {
    cast.create_namespaces().await?;
    expect_logins(cast, 0).await?;
    tell(&format!(
        "{NAMESPACES} namespaces, team-01 to team-{NAMESPACES}, have neither: no pod there can pull.\n"
    ));
    Ok(())
}

async fn the_first_rotation(cast: &Cast) -> anyhow::Result<()> {
    let run = cast.rotate().await?;
    check(&run, "created", 2 * NAMESPACES)?;
    tell(COMMAND);
    for line in run.stdout.lines().filter(|line| !line.is_empty()) {
        tell(&format!("  {line}"));
    }
    expect_logins(cast, NAMESPACES).await?;
    tell(&format!(
        "Done in {}, with the manifests of tests/demo and no more rights than deploy/rbac.yaml gives.\n\
         Vault was read once for all of them. What the kubelet's own code now finds for a pod in a\n\
         namespace logs in at both registries: in {NAMESPACES} of {NAMESPACES} namespaces.\n",
        seconds(run.wall)
    ));
    Ok(())
}

async fn the_passwords_change(cast: &Cast) -> anyhow::Result<()> {
    cast.change_passwords().await?;
    expect_logins(cast, 0).await?;
    tell(&format!(
        "Both passwords change, at the registries and in the stores. What the namespaces hold\n\
         is refused now: 0 of {NAMESPACES} log in.\n"
    ));
    Ok(())
}

async fn the_second_rotation(cast: &Cast) -> anyhow::Result<()> {
    let before = cast.secret_uids().await?;
    let run = cast.rotate().await?;
    check(&run, "updated", NAMESPACES)?;
    expect_logins(cast, NAMESPACES).await?;
    ensure!(before == cast.secret_uids().await?, "a Secret was made anew instead of changed in place");
    tell_summary(&run);
    tell(&format!(
        "Done in {} with {} writes. Each Secret was changed in place, so that nodes go on to trust\n\
         the images they have. {NAMESPACES} of {NAMESPACES} log in at both registries again.\n",
        seconds(run.wall),
        run.writes
    ));
    Ok(())
}

async fn the_silence(cast: &Cast) -> anyhow::Result<()> {
    let run = cast.rotate().await?;
    check(&run, "unchanged", 0)?;
    tell_summary(&run);
    tell(&format!(
        "Done in {}. Nothing to do is no write: the API server's audit log has {} reads, 0 writes.\n",
        seconds(run.wall),
        run.reads
    ));
    Ok(())
}

/// Makes sure that a run did what it says.
fn check(run: &Run, result: &str, writes: usize) -> anyhow::Result<()> {
    let summary = format!("{NAMESPACES} namespaces: {NAMESPACES} {result}");
    ensure!(run.stdout.contains(&summary), "regcred did not say \"{summary}\" but:\n{}", run.stdout);
    ensure!(run.writes == writes, "{} writes where {writes} were due", run.writes);
    ensure!(run.store_reads == 1, "the password in Vault was read {} times", run.store_reads);
    Ok(())
}

async fn expect_logins(cast: &Cast, namespaces: usize) -> anyhow::Result<()> {
    let logins = cast.logins().await?;
    ensure!(
        logins == [namespaces; 2],
        "at the two registries {logins:?} namespaces log in instead of {namespaces}"
    );
    Ok(())
}

/// The last line of a report, which says it all where the rest is as before.
fn tell_summary(run: &Run) {
    tell(COMMAND);
    tell(&format!("  {}", run.stdout.lines().last().unwrap_or_default()));
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f32())
}

#[expect(clippy::print_stdout, reason = "the story")]
fn tell(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the one place where a failure is printed")]
fn complain(text: &str) {
    eprintln!("{text}");
}

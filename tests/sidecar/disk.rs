//! A disk that takes no file: full, read-only, or gone.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rustix::process::{Signal, geteuid};

use crate::host::{Host, Running};

/// Runs a sidecar that can write no file of more than 512 bytes, as on a full disk.
fn limited(host: &Host) -> Running {
    let mut command = Command::new("sh");
    // A process that ignores SIGXFSZ gets an error from the write instead.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" sidecar -f manifests.yaml --output docker/config.json --listen 127.0.0.1:0";
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_regcred")])
        .current_dir(host.directory.path())
        .env_clear();
    command.env("REGCRED_FILES", host.path("passwords"));
    Running::new(command)
}

#[test]
fn full_disk_leaves_the_last_good_file_and_is_retried() {
    let host = Host::new(&[("ghcr.io", "one")]);
    let running = limited(&host);
    host.await_entries(&["ghcr.io=robot:one"]);
    host.put("ghcr.io", &"x".repeat(1000));
    running.send(Signal::HUP);
    running.await_log("cannot write docker/config.json: File too large (os error 27); correct the directory, its permissions or its free space");
    assert_eq!(host.entries().unwrap(), ["ghcr.io=robot:one"]);
    assert_eq!(host.names(), [".config.json.regcred", "config.json"], "nothing fills the disk further");
    let (_, metrics) = running.get("/metrics");
    assert!(metrics.contains("regcred_config_file_writes_total{outcome=\"failed\"} "), "{metrics}");
    assert!(!metrics.contains("regcred_config_file_writes_total{outcome=\"failed\"} 0"), "{metrics}");
    assert_eq!(running.get("/ready"), (200, "ready\n".to_owned()));
    host.put("ghcr.io", "two");
    running.send(Signal::HUP);
    host.await_entries(&["ghcr.io=robot:two"]);
    assert_eq!(running.stop().0, 0);
}

#[test]
fn directory_that_goes_away_is_reported_and_the_file_returns() {
    let host = Host::new(&[("ghcr.io", "one")]);
    let running = host.start(&[]);
    host.await_entries(&["ghcr.io=robot:one"]);
    std::fs::rename(host.path("docker"), host.path("gone")).unwrap();
    host.put("ghcr.io", "two");
    running.send(Signal::HUP);
    running.await_log("cannot read docker: No such file or directory (os error 2)");
    std::fs::rename(host.path("gone"), host.path("docker")).unwrap();
    host.await_entries(&["ghcr.io=robot:two"]);
    assert_eq!(running.stop().0, 0);
}

/// The arguments of `setpriv` that bind root to the permissions of files, as they bind every other user.
const BOUND: [&str; 2] = ["--bounding-set", "-dac_override,-dac_read_search"];

/// Runs a sidecar that the permissions of the directory bind, by whatever user the tests run.
fn bound(host: &Host, arguments: &[&str]) -> Command {
    let sidecar = host.sidecar(arguments);
    if !geteuid().is_root() {
        return sidecar;
    }
    let mut command = Command::new("setpriv");
    command.args(BOUND).arg(sidecar.get_program()).args(sidecar.get_args());
    command.current_dir(host.directory.path()).env_clear().env("REGCRED_FILES", host.path("passwords"));
    command
}

fn set_mode(host: &Host, mode: u32) {
    std::fs::set_permissions(host.path("docker"), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn read_only_directory_leaves_the_last_good_file_and_is_retried() {
    let host = Host::new(&[("ghcr.io", "one")]);
    let running = Running::new(bound(&host, &["--listen", "127.0.0.1:0"]));
    host.await_entries(&["ghcr.io=robot:one"]);
    set_mode(&host, 0o555);
    host.put("ghcr.io", "two");
    running.send(Signal::HUP);
    running.await_log("cannot write docker/config.json: Permission denied (os error 13); let this user write to the directory, or run the sidecar as the user that wrote the file");
    assert_eq!(host.entries().unwrap(), ["ghcr.io=robot:one"]);
    set_mode(&host, 0o755);
    host.await_entries(&["ghcr.io=robot:two"]);
    assert_eq!(running.stop().0, 0);
}

#[test]
fn read_only_directory_at_the_start_is_refused_by_name() {
    let host = Host::new(&[("ghcr.io", "one")]);
    set_mode(&host, 0o555);
    let ended = host.run(bound(&host, &["--once"]));
    set_mode(&host, 0o755);
    let expect = "error: cannot lock docker/.config.json.regcred: Permission denied (os error 13)\nhint: let this user write to the directory, or run the sidecar as the user that wrote the file";
    assert_eq!((ended.code, ended.stderr.trim()), (1, expect));
    assert_eq!(host.names(), Vec::<String>::new());
}

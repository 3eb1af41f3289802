//! A sidecar that keeps running: reads, probes, and a store that cannot be read.

use rustix::process::Signal;

use crate::host::{Host, Running};

/// The value of a metric without labels.
#[track_caller]
fn metric(running: &Running, name: &str) -> String {
    let (_, text) = running.get("/metrics");
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).rsplit(' ').next().unwrap().to_owned()
}

const STALE: &str = "regcred_config_file_stale";

#[test]
fn hangup_reads_every_credential_again() {
    let host = Host::new(&[("ghcr.io", "one"), ("quay.io", "quay")]);
    let running = host.start(&["--listen", "127.0.0.1:0"]);
    host.await_entries(&["ghcr.io=robot:one", "quay.io=robot:quay"]);
    host.put("ghcr.io", "two");
    running.send(Signal::HUP);
    host.await_entries(&["ghcr.io=robot:two", "quay.io=robot:quay"]);
    assert_eq!(running.get("/live"), (200, "alive\n".to_owned()));
    assert_eq!(running.get("/ready"), (200, "ready\n".to_owned()));
    assert_eq!(metric(&running, STALE), "0");
    let (_, metrics) = running.get("/metrics");
    assert!(!metrics.contains("regcred_leader"), "a sidecar has no metrics of a controller:\n{metrics}");
    let (code, log) = running.stop();
    assert_eq!(code, 0);
    assert!(log.contains("reading every credential again") && log.contains("stopping"), "{log}");
}

/// Another value reaches the file without a signal.
#[track_caller]
fn check_read_by_itself(host: &Host) {
    let running = host.start(&[]);
    host.await_entries(&["ghcr.io=robot:one"]);
    host.put("ghcr.io", "two");
    host.await_entries(&["ghcr.io=robot:two"]);
    assert_eq!(running.stop().0, 0);
}

#[test]
fn poll_reads_a_value_with_another_version() {
    let host = Host::new(&[("ghcr.io", "one")]);
    host.write_polled_manifests("1s", &["ghcr.io"], "");
    check_read_by_itself(&host);
}

#[test]
fn refresh_interval_reads_without_a_poll() {
    let host = Host::new(&[("ghcr.io", "one")]);
    host.write_manifests(&["ghcr.io"], "  refreshInterval: 10s\n");
    check_read_by_itself(&host);
}

#[test]
fn store_down_at_the_start_keeps_the_file_and_is_ready() {
    let host = Host::new(&[("ghcr.io", "one")]);
    assert_eq!(host.once(&[]).code, 0);
    host.remove("ghcr.io");
    let running = host.start(&["--listen", "127.0.0.1:0"]);
    running.await_log("the file may not be current: store files, key ghcr.io: ");
    assert_eq!(running.get("/ready"), (200, "ready\n".to_owned()));
    assert_eq!(metric(&running, STALE), "1");
    assert_eq!(host.entries().unwrap(), ["ghcr.io=robot:one"]);
    host.put("ghcr.io", "two");
    host.await_entries(&["ghcr.io=robot:two"]);
    running.await_log("fetched again");
    assert_eq!(metric(&running, STALE), "0");
}

#[test]
fn store_down_without_a_file_is_not_ready() {
    let host = Host::new(&[("ghcr.io", "one"), ("quay.io", "quay")]);
    host.remove("quay.io");
    let running = host.start(&["--listen", "127.0.0.1:0"]);
    host.await_entries(&["ghcr.io=robot:one"]);
    let expect = (503, "the docker config has no entry yet for quay.io\n".to_owned());
    assert_eq!(running.get("/ready"), expect);
    let check = || host.run(host.regcred(&["sidecar", "--check", "docker/config.json"]));
    let ended = check();
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert_eq!(ended.stderr, "error: docker/config.json has no entry yet for quay.io\n");
    host.put("quay.io", "quay");
    host.await_entries(&["ghcr.io=robot:one", "quay.io=robot:quay"]);
    assert!(crate::host::until(|| running.get("/ready").0 == 200));
    let ended = check();
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
}

#[test]
fn once_fails_with_the_name_of_what_was_not_fetched() {
    let host = Host::new(&[("ghcr.io", "one"), ("quay.io", "quay")]);
    host.remove("quay.io");
    let ended = host.once(&[]);
    assert_eq!(ended.code, 1);
    let expect = "error: not every credential was fetched; the others are in the file\n  quay.io: store files, key quay.io: ";
    assert!(ended.stderr.starts_with(expect), "{}", ended.stderr);
    assert_eq!(host.entries().unwrap(), ["ghcr.io=robot:one"]);
    host.remove("ghcr.io");
    let ended = host.once(&[]);
    assert!(
        ended.stderr.starts_with("error: no credential was fetched; the file stays as it is\n"),
        "{}",
        ended.stderr
    );
    assert_eq!(host.entries().unwrap(), ["ghcr.io=robot:one"]);
}

#[test]
fn once_ends_at_a_signal_while_a_store_is_silent() {
    let host = Host::new(&[("ghcr.io", "one")]);
    // Accepts connections, and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let manifests = format!(
        "apiVersion: regcred.dev/v1alpha1\nkind: Config\nstores:\n- {{name: vault, vault: {{address: \"http://{address}\"}}}}\n---\napiVersion: regcred.dev/v1alpha1\nkind: ClusterPullSecret\nmetadata: {{name: images}}\nspec: {{registries: [{{host: ghcr.io, from: {{store: vault, key: ghcr}}}}]}}\n"
    );
    std::fs::write(host.path("manifests.yaml"), manifests).unwrap();
    let mut command = host.sidecar(&["--once"]);
    command.env("VAULT_TOKEN", "token");
    let running = Running::new(command);
    let (connection, _) = silent.accept().unwrap();
    running.send(Signal::TERM);
    let (code, log) = running.ended();
    assert_eq!(
        (code, log.as_str()),
        (1, "error: stopped by SIGTERM before every credential was fetched; the file stays as it is\n")
    );
    drop(connection);
}

#[test]
fn file_that_another_program_removed_is_written_again() {
    let host = Host::new(&[("ghcr.io", "one")]);
    let running = host.start(&[]);
    host.await_entries(&["ghcr.io=robot:one"]);
    std::fs::remove_file(host.file()).unwrap();
    host.await_entries(&["ghcr.io=robot:one"]);
    assert_eq!(running.stop().0, 0);
}

#[test]
fn entry_of_another_program_is_reported_and_kept() {
    let host = Host::new(&[("ghcr.io", "one")]);
    let running = host.start(&[]);
    host.await_entries(&["ghcr.io=robot:one"]);
    let both = r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6b25l"},"quay.io":{"auth":"YTpi"}}}"#;
    std::fs::write(host.file(), both).unwrap();
    running.await_log(
        "docker/config.json is left as it is: the file holds what regcred did not write: auths.quay.io",
    );
    assert_eq!(host.entries().unwrap(), ["ghcr.io=robot:one", "quay.io=a:b"]);
}

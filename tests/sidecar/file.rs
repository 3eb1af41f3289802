//! The file: its form, its mode, and what else may be in it.

use std::os::unix::fs::PermissionsExt as _;

use crate::host::Host;

#[test]
fn every_registry_has_the_form_that_all_clients_read() {
    let host = Host::new(&[("GHCR.io", "one"), ("docker.io", "hub"), ("registry.test:5443/team", "team")]);
    let ended = host.once(&[]);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""));
    let text = std::fs::read_to_string(host.file()).unwrap();
    insta::assert_snapshot!(text, @r#"{"auths":{"docker.io":{"auth":"cm9ib3Q6aHVi"},"ghcr.io":{"auth":"cm9ib3Q6b25l"},"https://index.docker.io/v1/":{"auth":"cm9ib3Q6aHVi"},"registry-1.docker.io":{"auth":"cm9ib3Q6aHVi"},"registry.test:5443":{"auth":"cm9ib3Q6dGVhbQ=="}}}"#);
    assert_eq!(host.names(), [".config.json.regcred", "config.json"]);
}

#[test]
fn unchanged_content_is_not_rewritten() {
    use std::os::unix::fs::MetadataExt as _;
    let host = Host::new(&[("ghcr.io", "one")]);
    let inode = || std::fs::metadata(host.file()).unwrap().ino();
    host.once(&[]);
    let first = inode();
    host.once(&[]);
    assert_eq!(inode(), first);
    host.put("ghcr.io", "two");
    host.once(&[]);
    assert_ne!(inode(), first);
}

#[test]
fn mode_is_private_unless_the_directory_is_shared() {
    let host = Host::new(&[("ghcr.io", "one")]);
    let mode = || std::fs::metadata(host.file()).unwrap().permissions().mode() & 0o7777;
    host.once(&[]);
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(host.path("docker"), std::fs::Permissions::from_mode(0o2777)).unwrap();
    host.once(&[]);
    assert_eq!(mode(), 0o640);
    host.once(&["--mode", "0444"]);
    assert_eq!(mode(), 0o444);
}

const FOREIGN: &str = r#"{"auths":{"quay.io":{"auth":"YTpi"}},"credsStore":"pass"}"#;

#[test]
fn file_of_another_program_is_refused_without_merge() {
    let host = Host::new(&[("ghcr.io", "one")]);
    std::fs::write(host.file(), FOREIGN).unwrap();
    let ended = host.once(&[]);
    assert_eq!(ended.code, 1);
    let expect = "error: docker/config.json is left as it is: the file holds what regcred did not write: credsStore, auths.quay.io\nhint: pass --merge to keep all that, or give another path";
    assert_eq!(ended.stderr.trim(), expect);
    assert_eq!(std::fs::read_to_string(host.file()).unwrap(), FOREIGN);
}

#[test]
fn merge_keeps_the_other_entries_and_keys() {
    let host = Host::new(&[("ghcr.io", "one")]);
    std::fs::write(host.file(), FOREIGN).unwrap();
    let ended = host.once(&["--merge"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("`credsStore` is set: docker, BuildKit, crane"), "{}", ended.stderr);
    let text = std::fs::read_to_string(host.file()).unwrap();
    let expect =
        r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6b25l"},"quay.io":{"auth":"YTpi"}},"credsStore":"pass"}"#;
    assert_eq!(text, expect);
    // Another start knows which of the entries is regcred's.
    host.put("gcr.io", "gcr");
    host.write_manifests(&["gcr.io"], "");
    assert_eq!(host.once(&["--merge"]).code, 0);
    assert_eq!(host.entries().unwrap(), ["gcr.io=robot:gcr", "quay.io=a:b"]);
}

#[test]
fn entry_of_another_program_for_the_same_registry_is_named() {
    let host = Host::new(&[("ghcr.io", "one")]);
    let theirs = r#"{"auths":{"ghcr.io":{"auth":"YTpi"}}}"#;
    std::fs::write(host.file(), theirs).unwrap();
    let ended = host.once(&[]);
    assert!(
        ended.stderr.contains("the file holds what regcred did not write: auths.ghcr.io"),
        "{}",
        ended.stderr
    );
    assert_eq!(std::fs::read_to_string(host.file()).unwrap(), theirs);
    let ended = host.once(&["--merge"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("`auths` had ghcr.io by another program: the entry of regcred replaces it")
    );
    assert_eq!(host.entries().unwrap(), ["ghcr.io=robot:one"]);
}

#[test]
fn half_a_file_of_another_program_is_left_alone() {
    let host = Host::new(&[("ghcr.io", "one")]);
    std::fs::write(host.file(), r#"{"auths":{"ghcr.io":{"auth":"hunt"#).unwrap();
    for arguments in [&[][..], &["--merge"]] {
        let ended = host.once(arguments);
        let expect = "error: docker/config.json is left as it is: the file is not JSON\nhint: remove the file, or give another path";
        assert_eq!((ended.code, ended.stderr.trim()), (1, expect));
    }
}

//! How registries are spelled, and what the kubelet matches.

use proptest::prelude::*;

use super::{HostKey, HostKeyError};

fn check(written: &[&str], expected: &str) {
    for text in written {
        assert_eq!(HostKey::parse(text).map(|key| key.to_string()), Ok(expected.to_owned()), "{text}");
    }
}

fn refuse(written: &[&str], expected: &HostKeyError) {
    for text in written {
        assert_eq!(HostKey::parse(text).as_ref(), Err(expected), "{text}");
    }
}

#[test]
fn one_registry_has_one_key() {
    check(
        &[
            "ghcr.io",
            "GHCR.io",
            "http://ghcr.io",
            "HTTPS://ghcr.io/",
            "https://ghcr.io/v1",
            "ghcr.io/v1/",
            "ghcr.io/v2/",
        ],
        "ghcr.io",
    );
    check(&["https://Registry:5000/", "registry:5000/v2/"], "registry:5000");
    check(&["localhost"], "localhost");
    check(&["127.0.0.1:5000"], "127.0.0.1:5000");
}

#[test]
fn docker_hub_has_one_key() {
    check(
        &[
            "docker.io",
            "https://docker.io/",
            "index.docker.io",
            "index.docker.io/v1/",
            "https://index.docker.io/v1/",
        ],
        "https://index.docker.io/v1/",
    );
    check(&["docker.io/acme", "https://index.docker.io/v1/acme"], "docker.io/acme");
    check(&["docker.io:443"], "docker.io:443");
    refuse(
        &[
            "https://registry-1.docker.io/v2/",
            "registry-1.docker.io/acme",
            "registry.hub.docker.com",
            "https://hub.docker.com",
        ],
        &HostKeyError::DockerHubServer,
    );
}

#[test]
fn a_path_is_kept_with_its_slash() {
    check(&["Ghcr.io/web/app_1.x", "https://ghcr.io/v2/web/app_1.x"], "ghcr.io/web/app_1.x");
    check(&["ghcr.io/web/"], "ghcr.io/web/");
    check(&["ghcr.io/v1beta"], "ghcr.io/v1beta");
    check(&["ghcr.io/web/v2/"], "ghcr.io/web/v2/");
}

#[test]
fn a_glob_stands_in_the_host() {
    check(&["*.example.com"], "*.example.com");
    check(&["https://*.dkr.ecr.*.AMAZONAWS.com/team"], "*.dkr.ecr.*.amazonaws.com/team");
    check(&["eu-*.example.com:5000"], "eu-*.example.com:5000");
    check(&["*:5000"], "*:5000");
}

#[test]
fn an_ipv6_address_needs_brackets_and_a_port() {
    check(&["[FD00::1]:5000", "https://[fd00::1]:5000/v2/"], "[fd00::1]:5000");
    refuse(&["[fd00::1]", "https://[fd00::1]/team"], &HostKeyError::Ipv6WithoutPort);
    refuse(&["fd00::1", "[fd00::1", "[fd00::1]5000", "[::ffff:1.2.3.4]:5000", "[:]:1"], &HostKeyError::Ipv6);
}

#[test]
fn what_the_kubelet_would_never_match_is_refused() {
    refuse(&["", "/", "https://", "https:///v1/", "/team"], &HostKeyError::Empty);
    refuse(&["robot:sentinel@ghcr.io", "ghcr.io/app@sha256:00"], &HostKeyError::UserInfo);
    refuse(&["oci://ghcr.io", "docker://ghcr.io", "://ghcr.io"], &HostKeyError::Scheme);
    refuse(&["ghcr.io?x", "ghcr.io/a#b", "a?.example.com"], &HostKeyError::Query);
    refuse(&["[ab].example.com", "[]:1", "a[bc].example.com", "a\\.example.com"], &HostKeyError::Pattern);
    refuse(&["**.example.com"], &HostKeyError::DoubleGlob);
    refuse(&["ghcr.io:*", "ghcr.io/*", "ghcr.io/team-*/app"], &HostKeyError::GlobOutsideHost);
    refuse(&[".ghcr.io", "ghcr.io.", "a..b", "-a.example.com", "a-.example.com"], &HostKeyError::Label);
    refuse(&["ghcr", "*", "registry/team"], &HostKeyError::SingleLabel);
    refuse(
        &["ghcr.io:", "ghcr.io:0", "ghcr.io:65536", "ghcr.io:05000", "ghcr.io:+5", "ghcr.io:latest"],
        &HostKeyError::Port,
    );
    refuse(&["ghcr.io//team", "ghcr.io/a/../b", "ghcr.io/.", "ghcr.io/team//"], &HostKeyError::PathPart);
    refuse(&["ghcr.io/Team", "https://ghcr.io/V2/"], &HostKeyError::PathCase);
    refuse(&["ghcr.io/v1/v2/team", "ghcr.io/v2/v2"], &HostKeyError::ApiVersionTwice);
}

#[test]
fn a_stray_character_is_named() {
    refuse(&["ghcr.io ", " ghcr.io"], &HostKeyError::Character(' '));
    refuse(&["ghcr.io\n"], &HostKeyError::Character('\n'));
    refuse(&["a,b.example.com", "ghcr.io/a,b"], &HostKeyError::Character(','));
    refuse(&["a=b.example.com", "ghcr.io/a=b"], &HostKeyError::Character('='));
    refuse(&["büro.example.com", "ghcr.io/bü"], &HostKeyError::Character('ü'));
    refuse(&["ghcr.io/app:latest"], &HostKeyError::Character(':'));
    refuse(&["a_b.example.com"], &HostKeyError::Character('_'));
    refuse(&["ghcr.io/a%20b"], &HostKeyError::Character('%'));
}

#[test]
fn an_error_never_repeats_user_info() {
    let error = HostKey::parse("https://robot:sentinel@ghcr.io").expect_err("user-info is refused");
    assert!(!format!("{error} {error:?}").contains("sentinel"), "{error}");
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in any::<String>()) {
        let _ = HostKey::parse(&text);
    }

    #[test]
    fn a_key_is_its_own_key(text in "(https?://)?[a-zA-Z0-9.*\\[\\]:-]{1,12}(\\.io|docker\\.io)?(:[0-9]{1,5})?(/|/v1|/v2/|/[a-zA-Z./]{1,6}){0,3}") {
        if let Ok(key) = HostKey::parse(&text) {
            prop_assert_eq!(HostKey::parse(key.as_str()), Ok(key.clone()));
        }
    }
}

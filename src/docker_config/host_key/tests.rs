//! The spellings of a registry, and the keys that the kubelet matches.

use proptest::prelude::*;

use super::{HostKey, HostKeyError, split_last_resort};

fn check(written: &[&str], expected: &str) {
    for text in written {
        assert_eq!(HostKey::parse(text).map(|key| key.to_string()), Ok(expected.to_owned()), "{text}");
    }
}

fn reject(written: &[&str], expected: &HostKeyError) {
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
        "docker.io",
    );
    check(&["docker.io/acme", "https://index.docker.io/v1/acme"], "docker.io/acme");
    check(&["docker.io:443"], "docker.io:443");
    reject(
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
fn docker_hub_alone_has_two_keys_in_a_docker_config() {
    let keys = |host: &str| {
        let key = HostKey::parse(host).expect("a valid host");
        key.config_keys().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(keys("docker.io"), ["docker.io", "https://index.docker.io/v1/"]);
    assert_eq!(keys("index.docker.io"), keys("docker.io"));
    for host in ["docker.io/acme", "docker.io:443", "index.docker.io:443", "ghcr.io", "registry:5000"] {
        assert_eq!(keys(host), [host]);
    }
}

#[test]
fn last_resort_is_the_index_host_in_any_spelling() {
    let keys = [
        "docker.io",
        "https://docker.io/v1/",
        "docker.io/acme",
        "index.docker.io:443",
        "ghcr.io",
        "index.docker.io",
        "https://index.docker.io/v1/",
        "HTTPS://INDEX.docker.io/v2/",
        "index.docker.io/acme",
    ];
    let [last_resort, others] = split_last_resort(keys.map(|key| (key.to_owned(), ())));
    assert_eq!(others.iter().map(|(key, ())| key).collect::<Vec<_>>(), keys[..5].iter().collect::<Vec<_>>());
    assert_eq!(
        last_resort.iter().map(|(key, ())| key).collect::<Vec<_>>(),
        keys[5..].iter().collect::<Vec<_>>()
    );
}

#[test]
fn path_is_kept_with_its_slash() {
    check(&["Ghcr.io/web/app_1.x", "https://ghcr.io/v2/web/app_1.x"], "ghcr.io/web/app_1.x");
    check(&["ghcr.io/web/"], "ghcr.io/web/");
    check(&["ghcr.io/v1beta"], "ghcr.io/v1beta");
    check(&["ghcr.io/web/v2/"], "ghcr.io/web/v2/");
}

#[test]
fn glob_is_valid_in_the_host() {
    check(&["*.example.com"], "*.example.com");
    check(&["https://*.dkr.ecr.*.AMAZONAWS.com/team"], "*.dkr.ecr.*.amazonaws.com/team");
    check(&["eu-*.example.com:5000"], "eu-*.example.com:5000");
    check(&["*:5000"], "*:5000");
}

#[test]
fn ipv6_address_needs_brackets_and_a_port() {
    check(&["[FD00::1]:5000", "https://[fd00::1]:5000/v2/"], "[fd00::1]:5000");
    reject(&["[fd00::1]", "https://[fd00::1]/team"], &HostKeyError::Ipv6WithoutPort);
    reject(&["fd00::1", "[fd00::1", "[fd00::1]5000", "[::ffff:1.2.3.4]:5000", "[:]:1"], &HostKeyError::Ipv6);
}

#[test]
fn text_the_kubelet_never_matches_is_rejected() {
    reject(&["", "/", "https://", "https:///v1/", "/team"], &HostKeyError::Empty);
    reject(&["robot:sentinel@ghcr.io", "ghcr.io/app@sha256:00"], &HostKeyError::UserInfo);
    reject(&["oci://ghcr.io", "docker://ghcr.io", "://ghcr.io"], &HostKeyError::Scheme);
    reject(&["ghcr.io?x", "ghcr.io/a#b", "a?.example.com"], &HostKeyError::Query);
    reject(&["[ab].example.com", "[]:1", "a[bc].example.com", "a\\.example.com"], &HostKeyError::Pattern);
    reject(&["**.example.com"], &HostKeyError::DoubleGlob);
    reject(&["ghcr.io:*", "ghcr.io/*", "ghcr.io/team-*/app"], &HostKeyError::GlobOutsideHost);
    reject(&[".ghcr.io", "ghcr.io.", "a..b", "-a.example.com", "a-.example.com"], &HostKeyError::Label);
    reject(&["ghcr", "*", "registry/team"], &HostKeyError::SingleLabel);
    reject(
        &["ghcr.io:", "ghcr.io:0", "ghcr.io:65536", "ghcr.io:05000", "ghcr.io:+5", "ghcr.io:latest"],
        &HostKeyError::Port,
    );
    reject(&["ghcr.io//team", "ghcr.io/a/../b", "ghcr.io/.", "ghcr.io/team//"], &HostKeyError::PathPart);
    reject(&["ghcr.io/Team", "https://ghcr.io/V2/"], &HostKeyError::PathCase);
    reject(&["ghcr.io/v1/v2/team", "ghcr.io/v2/v2"], &HostKeyError::ApiVersionTwice);
}

#[test]
fn invalid_character_is_named() {
    reject(&["ghcr.io ", " ghcr.io"], &HostKeyError::Character(' '));
    reject(&["ghcr.io\n"], &HostKeyError::Character('\n'));
    reject(&["a,b.example.com", "ghcr.io/a,b"], &HostKeyError::Character(','));
    reject(&["a=b.example.com", "ghcr.io/a=b"], &HostKeyError::Character('='));
    reject(&["büro.example.com", "ghcr.io/bü"], &HostKeyError::Character('ü'));
    reject(&["ghcr.io/app:latest"], &HostKeyError::Character(':'));
    reject(&["a_b.example.com"], &HostKeyError::Character('_'));
    reject(&["ghcr.io/a%20b"], &HostKeyError::Character('%'));
}

#[test]
fn error_never_repeats_user_info() {
    let error = HostKey::parse("https://robot:sentinel@ghcr.io").expect_err("user-info is rejected");
    assert!(!format!("{error} {error:?}").contains("sentinel"), "{error}");
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_rejected(text in any::<String>()) {
        let _ = HostKey::parse(&text);
    }

    #[test]
    fn parsed_key_is_stable(text in "(https?://)?[a-zA-Z0-9.*\\[\\]:-]{1,12}(\\.io|docker\\.io)?(:[0-9]{1,5})?(/|/v1|/v2/|/[a-zA-Z./]{1,6}){0,3}") {
        if let Ok(key) = HostKey::parse(&text) {
            prop_assert_eq!(HostKey::parse(key.as_str()), Ok(key.clone()));
        }
    }
}

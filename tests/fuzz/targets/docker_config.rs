//! Stored values of every shape, and docker configs: the source of a registry, one line each for host,
//! username and the three fields, and then the value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regcred::credential::StoreKey;
use regcred::docker_config::DockerConfig;
use regcred::docker_config::host_key::HostKey;
use regcred::docker_config::shapes::{self, ParsedValue};
use regcred::manifest::cluster_pull_secret::RegistrySource;
use secrecy::ExposeSecret;

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(6, |byte| *byte == b'\n');
    let [host, username, username_key, password_key, config_key, value] =
        std::array::from_fn(|_| lines.next().unwrap_or_default());
    let host = text(host).and_then(|host| HostKey::parse(&host).ok());
    if let Some(host) = &host {
        assert_eq!(HostKey::parse(host.as_str()).as_ref(), Ok(host), "a host key has two spellings");
    }
    check_round_trip(&DockerConfig::parse_lenient(value));
    let registry = RegistrySource {
        host,
        store_key: StoreKey { store: "files".into(), key: "ghcr".into() },
        username: text(username),
        username_key: text(username_key),
        password_key: text(password_key),
        config_key: text(config_key),
    };
    match shapes::parse(&value.to_vec().into(), &registry) {
        Ok(ParsedValue { config, rejected }) => {
            assert!(!config.auths.is_empty() || !rejected.is_empty(), "accepted without an entry");
            if let Some(host) = &registry.host {
                assert!(config.auths.keys().eq([host]), "another host than the requested one");
                assert!(rejected.is_empty(), "a good entry with a bad one");
            }
            check_round_trip(&config);
        }
        Err(malformed) => assert!(!malformed.to_string().is_empty(), "rejected without a reason"),
    }
});

/// Returns a line as text, unless it is empty.
fn text(line: &[u8]) -> Option<String> {
    str::from_utf8(line).ok().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Expects a config to survive rendering and parsing, Docker Hub as one entry.
fn check_round_trip(config: &DockerConfig) {
    let bytes = config.render();
    let again = DockerConfig::parse_lenient(bytes.expose_secret());
    assert!(config.auths.keys().eq(again.auths.keys()), "other hosts than before");
    for (before, after) in config.auths.values().zip(again.auths.values()) {
        assert_eq!(before.username, after.username);
        assert!(before.password.expose_secret() == after.password.expose_secret());
    }
}

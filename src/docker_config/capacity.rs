//! The capacity of a Secret, and what exceeds it.
//!
//! Pure. The API server would reject the write in every namespace, so it is rejected once, before the first.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;

use super::DockerConfig;
use super::host_key::HostKey;
use crate::credential::Credential;

/// The most bytes in the data of a Secret, as the API server counts them: `MaxSecretSize`.
pub const MAX_DATA_BYTES: usize = 1024 * 1024;

/// The most bytes of the versions annotation: the API server's limit for all annotations of an object
/// (`TotalAnnotationSizeLimitB`), less 1 KiB for the other ones.
pub const MAX_VERSIONS_BYTES: usize = 255 * 1024;

/// Registries that an error names.
const NAMED: usize = 3;

/// The reason why no Secret can hold the credentials, with the fix. Names hosts and sizes, no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// The docker config has too many bytes.
    #[error(
        "the docker config has {bytes} bytes, and a Secret holds at most {MAX_DATA_BYTES}; nothing new was written. \
         The largest entries: {largest}. Shorten these values in the store, or divide the registries among several ClusterPullSecrets"
    )]
    DockerConfig {
        /// The size of the docker config.
        bytes: usize,
        /// The largest entries: `ghcr.io (700000 bytes), …`.
        largest: String,
    },
    /// The annotation has too many bytes, because there are too many entries.
    #[error(
        "the versions of {entries} entries have {bytes} bytes, and the annotations of a Secret at most {MAX_VERSIONS_BYTES}; nothing new was written. \
         Divide the registries among several ClusterPullSecrets"
    )]
    Versions {
        /// The number of entries.
        entries: usize,
        /// The size of the annotation.
        bytes: usize,
    },
}

/// Checks that a Secret can hold the docker config, rendered in `bytes`, and the versions annotation.
pub fn check(config: &DockerConfig, bytes: usize, versions: &str) -> Result<(), TooLarge> {
    if bytes > MAX_DATA_BYTES {
        return Err(TooLarge::DockerConfig { bytes, largest: largest(&config.auths) });
    }
    if versions.len() > MAX_VERSIONS_BYTES {
        return Err(TooLarge::Versions { entries: config.auths.len(), bytes: versions.len() });
    }
    Ok(())
}

/// Returns the largest entries, the largest first, each with its bytes in a docker config.
fn largest(auths: &BTreeMap<HostKey, Credential>) -> String {
    let sizes = auths.iter().map(|(host, credential)| {
        let alone = DockerConfig { auths: [(host.clone(), credential.clone())].into() };
        (alone.render().expose_secret().len(), host)
    });
    let mut sizes: Vec<_> = sizes.collect();
    sizes.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| a.cmp(b)));
    let named = sizes.iter().take(NAMED).map(|(bytes, host)| format!("{host} ({bytes} bytes)"));
    named.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;

    /// A docker config with one entry for `ghcr.io` that renders to this number of bytes.
    fn config_of(bytes: usize) -> DockerConfig {
        let empty = config(&[("ghcr.io", "", "")]).render().expose_secret().len();
        // Base64 renders three bytes as four; the colon is there already.
        let password = "x".repeat((bytes - empty) / 4 * 3 + 2);
        config(&[("ghcr.io", "", &password)])
    }

    fn check_rendered(config: &DockerConfig) -> Result<(), TooLarge> {
        check(config, config.render().expose_secret().len(), "ghcr.io=vault:1")
    }

    #[test]
    fn docker_config_above_the_limit_is_rejected() {
        let config = config_of(500);
        assert_eq!(check(&config, MAX_DATA_BYTES, ""), Ok(()));
        let error = check(&config, MAX_DATA_BYTES + 1, "").expect_err("it is too large");
        assert!(
            error.to_string().contains("has 1048577 bytes, and a Secret holds at most 1048576"),
            "{error}"
        );
    }

    #[test]
    fn rendered_docker_config_is_measured_in_full() {
        assert_eq!(check_rendered(&config_of(MAX_DATA_BYTES - 8)), Ok(()));
        assert!(check_rendered(&config_of(MAX_DATA_BYTES + 8)).is_err());
    }

    #[test]
    fn error_names_the_largest_registries_and_no_value() {
        let entry = |host, bytes: usize| (host, "robot", "sentinel".repeat(bytes / 8));
        let entries =
            [entry("a.io", 800), entry("b.io", 80_000), entry("docker.io", 400_000), entry("c.io", 700_000)];
        let entries = entries.each_ref().map(|(host, user, password)| (*host, *user, password.as_str()));
        let error = check_rendered(&config(&entries)).expect_err("it is too large").to_string();
        let largest =
            "The largest entries: docker.io (1066765 bytes), c.io (933374 bytes), b.io (106706 bytes).";
        assert!(error.contains(largest), "{error}");
        assert!(!error.contains("sentinel") && !error.contains("a.io"), "{error}");
    }

    #[test]
    fn versions_of_too_many_entries_are_rejected() {
        let config = config_of(500);
        assert_eq!(check(&config, 500, &"x".repeat(MAX_VERSIONS_BYTES)), Ok(()));
        let error = check(&config, 500, &"x".repeat(MAX_VERSIONS_BYTES + 1)).expect_err("it is too large");
        assert!(error.to_string().starts_with("the versions of 1 entries have 261121 bytes"), "{error}");
    }
}

//! The entry for a registry of Amazon ECR, which images may name by any of its hosts.
//!
//! Pure. A docker config has one entry for a registry; its credential is valid at every host of the same registry.

use serde_json::{Map, Value};

use super::Malformed;
use crate::docker_config::ecr_host::{self, EcrHost};
use crate::docker_config::host_key::HostKey;

/// Returns the entries with one for `host`, where they have none and `host` is another host of a registry that they do
/// have.
pub(super) fn with_alias(mut auths: Map<String, Value>, host: Option<&HostKey>) -> Map<String, Value> {
    let Some((host, wanted)) = host.and_then(|host| Some((host, EcrHost::from_key(host)?))) else {
        return auths;
    };
    if hosts(&auths).any(|(_, key)| key == *host) {
        return auths;
    }
    let alias = hosts(&auths).find(|(_, key)| {
        EcrHost::parse(key.as_str()).is_some_and(|registry| registry.is_same_registry(&wanted))
    });
    let entry = alias.and_then(|(name, _)| auths.get(name).cloned());
    auths.extend(entry.map(|entry| (host.to_string(), entry)));
    auths
}

/// Describes the absence of an entry for `host` where every entry is for a registry of ECR; `None` for others.
pub(super) fn describe_absence(auths: &Map<String, Value>, host: Option<&HostKey>) -> Option<Malformed> {
    let host = host?;
    let keys: Vec<HostKey> = hosts(auths).map(|(_, key)| key).collect();
    let is_ecr = !keys.is_empty() && keys.iter().all(|key| EcrHost::from_key(key).is_some());
    let first = keys.first().filter(|_| is_ecr)?;
    Some(Malformed(if ecr_host::is_public(host.as_str()) {
        format!(
            "the token is for {first}, and not for {host}, whose tokens are those of another API. Remove this registry: its images can be pulled without a credential"
        )
    } else {
        format!("the token is for {first}, and not for {host}. Compare the account and the region of both")
    }))
}

/// Returns the names of the entries that are registry hosts.
fn hosts(auths: &Map<String, Value>) -> impl Iterator<Item = (&str, HostKey)> {
    auths.keys().filter_map(|name| Some((name.as_str(), HostKey::parse(name).ok()?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{check, registry};
    use crate::docker_config::shapes::parse;

    const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    const OTHER: &str = "999999999999.dkr.ecr.eu-west-1.amazonaws.com";

    fn config(hosts: &[&str]) -> String {
        let entries = hosts.iter().map(|host| ((*host).to_owned(), json!({"auth": "QVdTOnB3"})));
        json!({"auths": entries.collect::<serde_json::Map<_, _>>()}).to_string()
    }

    fn error(value: &str, host: &str) -> String {
        let value = value.as_bytes().to_vec().into();
        parse(&value, &registry(host, "", "", "")).expect_err("an error").to_string()
    }

    #[test]
    fn every_host_of_a_registry_has_its_credential() {
        for host in [
            HOST,
            "123456789012.dkr.ecr-fips.eu-west-1.amazonaws.com",
            "123456789012.dkr-ecr.eu-west-1.on.aws",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team",
        ] {
            for value in [config(&[HOST]), config(&["https://123456789012.dkr-ecr.eu-west-1.on.aws"])] {
                check(&value, &registry(host, "", "", ""), &format!("{host} AWS pw"));
            }
        }
        check(&config(&[OTHER, HOST]), &registry("", "", "", ""), &format!("{HOST} AWS pw; {OTHER} AWS pw"));
    }

    #[test]
    fn entry_of_the_host_itself_comes_first() {
        let alias = "123456789012.dkr-ecr.eu-west-1.on.aws";
        let value = json!({"auths": {HOST: {"auth": "QVdTOnB3"}, alias: {"auth": "cm9ib3Q6cHc="}}});
        check(&value.to_string(), &registry(alias, "", "", ""), &format!("{alias} robot pw"));
    }

    #[test]
    fn other_account_and_region_are_named() {
        for host in [OTHER, "123456789012.dkr-ecr.us-east-1.on.aws", "ghcr.io"] {
            let expect = format!(
                "the token is for {HOST}, and not for {host}. Compare the account and the region of both"
            );
            assert_eq!(error(&config(&[HOST]), host), expect);
        }
        assert_eq!(error(&config(&[HOST, "ghcr.io"]), OTHER), format!("`auths` has no entry for {OTHER}"));
    }

    #[test]
    fn public_gallery_needs_no_credential() {
        let error = error(&config(&[HOST]), "public.ecr.aws");
        assert!(error.contains("those of another API. Remove this registry"), "{error}");
    }
}

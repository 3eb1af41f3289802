//! The hosts of the private registries of Amazon ECR.
//!
//! Pure. A registry is an account in a region, and has several hosts: `123456789012.dkr.ecr.eu-west-1.amazonaws.com`,
//! the same with `ecr-fips`, and the dual-stack `123456789012.dkr-ecr.eu-west-1.on.aws`. A token is valid at each of
//! them. The domains are a closed list, so that no other host is ever taken for one.

use super::host_key::HostKey;

/// The domains after `ID.dkr.ecr.REGION.`, by partition.
const DOMAINS: [&str; 7] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "csp.hci.ic.gov",
    "cloud.adc-e.uk",
];

/// The domains after `ID.dkr-ecr.REGION.`, by partition.
const DUAL_STACK_DOMAINS: [&str; 2] = ["on.aws", "on.amazonwebservices.com.cn"];

/// The hosts of the public gallery.
const PUBLIC: [&str; 2] = ["public.ecr.aws", "ecr-public.aws.com"];

/// A private registry, by the host that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcrHost<'a> {
    /// The registry id: the account.
    pub id: &'a str,
    /// The region.
    pub region: &'a str,
    /// The host after the registry id.
    pub rest: &'a str,
}

impl<'a> EcrHost<'a> {
    /// Parses a host, without a port and a path.
    #[must_use]
    pub fn parse(host: &'a str) -> Option<Self> {
        let (id, rest) = host.split_once('.').filter(|(id, _)| is_registry_id(id))?;
        let (services, domains) = match rest.strip_prefix("dkr.") {
            Some(after) => (after, &DOMAINS[..]),
            None => (rest.strip_prefix("dkr-")?, &DUAL_STACK_DOMAINS[..]),
        };
        let region = services.strip_prefix("ecr.").or_else(|| services.strip_prefix("ecr-fips."))?;
        let (region, domain) = region.split_once('.')?;
        let is_region =
            !region.is_empty() && region.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        (is_region && domains.contains(&domain)).then_some(Self { id, region, rest })
    }

    /// Parses the host of a key in a docker config, which may have a path.
    #[must_use]
    pub fn from_key(key: &'a HostKey) -> Option<Self> {
        Self::parse(key.server())
    }

    /// Returns true if both hosts are those of one registry.
    #[must_use]
    pub fn is_same_registry(&self, other: &EcrHost<'_>) -> bool {
        (self.id, self.region) == (other.id, other.region)
    }
}

/// Returns true for the 12 digits of an account.
#[must_use]
pub fn is_registry_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns true for the public gallery: another API issues its tokens.
#[must_use]
pub fn is_public(host: &str) -> bool {
    PUBLIC.contains(&host.split_once('/').map_or(host, |(host, _)| host))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "123456789012";

    #[test]
    fn hosts_of_every_partition_are_known() {
        for (rest, region) in [
            ("dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1"),
            ("dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
            ("dkr-ecr.eu-west-1.on.aws", "eu-west-1"),
            ("dkr-ecr-fips.us-east-1.on.aws", "us-east-1"),
            ("dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "cn-north-1"),
            ("dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1"),
            ("dkr.ecr.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
        ] {
            let host = format!("{ID}.{rest}");
            assert_eq!(EcrHost::parse(&host), Some(EcrHost { id: ID, region, rest }), "{rest}");
        }
    }

    #[test]
    fn other_hosts_are_no_registries_of_ecr() {
        for host in [
            "ghcr.io",
            "public.ecr.aws",
            "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
            "12345678901a.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.com",
            "123456789012.dkr.ecr.eu-west-1.on.aws",
            "123456789012.dkr-ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.eu.west.amazonaws.com",
            "123456789012.dkr.ecr..amazonaws.com",
            "123456789012.dkr.ecr.*.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443",
            "a.123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        ] {
            assert_eq!(EcrHost::parse(host), None, "{host}");
        }
    }

    #[test]
    fn hosts_of_one_account_and_region_are_the_same_registry() {
        let host = EcrHost::parse("123456789012.dkr.ecr.eu-west-1.amazonaws.com").expect("a host");
        for (other, expect) in [
            ("123456789012.dkr-ecr.eu-west-1.on.aws", true),
            ("123456789012.dkr.ecr-fips.eu-west-1.amazonaws.com", true),
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com", false),
            ("999999999999.dkr.ecr.eu-west-1.amazonaws.com", false),
        ] {
            let other = EcrHost::parse(other).expect("a host");
            assert_eq!(host.is_same_registry(&other), expect, "{other:?}");
        }
    }

    #[test]
    fn path_of_a_key_is_no_part_of_its_host() {
        let key = HostKey::parse("https://123456789012.dkr.ecr.eu-west-1.amazonaws.com/team").expect("a key");
        assert_eq!(EcrHost::from_key(&key).map(|host| host.region), Some("eu-west-1"));
        assert!(
            is_public("public.ecr.aws/docker") && is_public("ecr-public.aws.com") && !is_public("ghcr.io")
        );
    }
}

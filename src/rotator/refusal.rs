//! The reasons why a Secret is not changed.

use crate::cluster::{PULL_SECRET_TYPE, SecretBody};
use crate::docker_config::host_key::HostKey;
use crate::manifest::status::reason::AppliedReason;
use crate::{message, named};

/// The reason why a Secret is not changed, with the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// regcred did not create the Secret, and may not adopt it.
    #[error(
        "regcred did not create this Secret. {}choose another `secretName`",
        if *is_adoptable { "Set `existing: Adopt` to take it over, or " } else { "Delete it, or " }
    )]
    Foreign {
        /// True if its type is right, and the Secret is not immutable.
        is_adoptable: bool,
    },
    /// The Secret has entries that adoption would remove.
    #[error(
        "regcred did not create this Secret, and it has entries for other registries: {}. Set `existing: AdoptAndKeep` to keep them, or move them to another Secret",
        shown(.0)
    )]
    ForeignEntries(Vec<String>),
    /// The Secret belongs to another ClusterPullSecret.
    #[error(
        "this Secret belongs to ClusterPullSecret {0}. Choose another `secretName` or other namespaces for one of the two"
    )]
    ClaimedBy(String),
    /// The kubelet does not read this type as a docker config, and a type cannot be changed.
    #[error("this Secret has {}, which cannot be changed. Delete it, or choose another `secretName`", shown_type(.0))]
    WrongType(String),
    /// The data of the Secret cannot be changed.
    #[error("this Secret is immutable. Delete it, or choose another `secretName`")]
    Immutable,
}

impl Refusal {
    /// Suggests adoption only where the Secret can be adopted.
    pub(super) fn foreign(body: &SecretBody) -> Self {
        Self::Foreign { is_adoptable: body.type_ == PULL_SECRET_TYPE && !body.immutable }
    }

    /// Returns the reason in a report.
    #[must_use]
    pub fn reason(&self) -> AppliedReason {
        match self {
            Self::Foreign { .. } | Self::ForeignEntries(_) | Self::ClaimedBy(_) => AppliedReason::Conflict,
            Self::WrongType(_) => AppliedReason::WrongType,
            Self::Immutable => AppliedReason::Immutable,
        }
    }
}

/// Names a type, which tenants choose: up to a megabyte of any characters.
fn shown_type(type_: &str) -> String {
    message::printable(type_).map_or_else(|| "another type".to_owned(), |type_| format!("type {type_}"))
}

/// Joins the hosts of a list that tenants write: what looks like no host is not shown.
fn shown(hosts: &[String]) -> String {
    let hosts = hosts.iter().map(|host| {
        let host = message::printable(host).and_then(|host| HostKey::parse(host).ok());
        host.map_or_else(|| "(no valid host)".to_owned(), |host| host.to_string())
    });
    named::join(hosts, ", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_type(type_: &str) -> String {
        Refusal::WrongType(type_.to_owned()).to_string()
    }

    #[test]
    fn type_is_named_only_if_it_can_be_shown() {
        assert!(wrong_type("Opaque").starts_with("this Secret has type Opaque, which cannot be changed."));
        for type_ in ["x".repeat(600 << 10), "\u{1b}[2J".to_owned(), String::new()] {
            assert!(wrong_type(&type_).starts_with("this Secret has another type, which cannot be changed."));
        }
    }

    #[test]
    fn foreign_host_is_named_only_if_it_can_be_shown() {
        let hosts =
            ["quay.io".to_owned(), format!("{}.io", "a".repeat(600 << 10)), "\u{1b}[2J.io".to_owned()];
        let message = Refusal::ForeignEntries(hosts.to_vec()).to_string();
        assert!(message.contains("registries: quay.io, (no valid host), (no valid host)."), "{message}");
    }

    #[test]
    fn foreign_hosts_are_named_up_to_ten() {
        let hosts = (10..22).map(|n| format!("r{n}.io")).collect();
        let message = Refusal::ForeignEntries(hosts).to_string();
        assert!(message.contains("r18.io, r19.io and 2 more. Set"), "{message}");
    }
}

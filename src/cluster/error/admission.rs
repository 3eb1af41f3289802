//! The policy, webhook or quota that refused a write, by the fixed wording of the API server.
//!
//! In goes the message of a `Status`, out comes a name and nothing else: the rest of such a message belongs to
//! the author of the policy or webhook. The wording is that of `k8s.io/apiserver`, which has no field for it.

use super::Detail;
use crate::manifest::names::dns_subdomain;

/// The wording before the cause, after the name of the object.
const FORBIDDEN: &str = " is forbidden: ";
/// The wording before the cause of a status with the code 500.
const INTERNAL: &str = "Internal error occurred: ";

/// The part of the API server that refused a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission<'a> {
    /// A webhook denied the write.
    Webhook(Option<&'a str>),
    /// A webhook could not be called, and its `failurePolicy` is `Fail`.
    WebhookCall(Option<&'a str>),
    /// A `ValidatingAdmissionPolicy` or `MutatingAdmissionPolicy` denied the write.
    Policy(Option<&'a str>),
    /// A `ResourceQuota` is exceeded.
    Quota(Option<&'a str>),
}

impl<'a> Admission<'a> {
    /// Finds the refusing part by the begin of a message; what a webhook or a policy wrote comes later.
    pub(super) fn parse(message: &'a str) -> Option<Self> {
        let cause = cause(message);
        if let Some(rest) = cause.strip_prefix("admission webhook ") {
            let (name, rest) = quoted(rest, '"')?;
            return rest.starts_with(" denied the request").then_some(Self::Webhook(checked(name)));
        }
        if let Some(rest) = cause.strip_prefix("failed calling webhook ") {
            return Some(Self::WebhookCall(quoted(rest, '"').and_then(|(name, _)| checked(name))));
        }
        if let Some(rest) = cause.strip_prefix("exceeded quota: ") {
            return Some(Self::Quota(rest.split(',').next().and_then(checked)));
        }
        let rest = ["ValidatingAdmissionPolicy ", "MutatingAdmissionPolicy ", "policy "];
        let rest = rest.into_iter().find_map(|kind| cause.strip_prefix(kind))?;
        let (name, rest) = quoted(rest, '\'').or_else(|| quoted(rest, '"'))?;
        let denies = rest.starts_with(" with binding ") || rest.starts_with(" denied request");
        denies.then_some(Self::Policy(checked(name)))
    }

    /// Words the refusal.
    pub(super) fn detail(self) -> Detail {
        const ADMIT: &str = "admit the Secrets and ServiceAccounts that regcred writes";
        match self {
            Self::Webhook(name) => {
                Detail::from_own_words(format!("{} denied the write", named("the admission webhook", name)))
                    .with_fix(format!("Its log has the reason: let it {ADMIT}"))
            }
            Self::WebhookCall(name) => {
                let webhook = named("the admission webhook", name);
                Detail::from_own_words(format!("{webhook} could not be called")).with_fix(
                    "Repair the webhook, or exempt the Secrets and ServiceAccounts that regcred writes",
                )
            }
            Self::Policy(name) => {
                Detail::from_own_words(format!("{} denied the write", named("the admission policy", name)))
                    .with_fix(format!("Let it {ADMIT}"))
            }
            Self::Quota(name) => {
                Detail::from_own_words(format!("{} is exceeded", named("the ResourceQuota", name)))
                    .with_fix("Raise it, or delete objects that it counts")
            }
        }
    }
}

/// Skips the object of a message, as in `secrets "regcred" is forbidden: CAUSE`. Names of objects have no
/// colon, so a colon shows that the text belongs to a later part.
fn cause(message: &str) -> &str {
    if let Some(cause) = message.strip_prefix(INTERNAL) {
        return cause;
    }
    match message.split_once(FORBIDDEN) {
        Some((object, cause)) if !object.contains(": ") => cause,
        _ => message,
    }
}

/// Splits a text after its first part, which is in quotes.
fn quoted(text: &str, quote: char) -> Option<(&str, &str)> {
    text.strip_prefix(quote)?.split_once(quote)
}

/// Returns the name if it is one that Kubernetes permits.
fn checked(name: &str) -> Option<&str> {
    dns_subdomain(name).is_ok().then_some(name)
}

fn named(kind: &str, name: Option<&str>) -> String {
    name.map_or_else(|| kind.to_owned(), |name| format!("{kind} {name}"))
}

#[cfg(test)]
mod tests {
    use super::Admission::{Policy, Quota, Webhook, WebhookCall};
    use super::*;

    #[test]
    fn refusing_part_is_found_by_the_fixed_wording() {
        for (message, expect) in [
            (
                r#"admission webhook "no.example.com" denied the request: hunter2"#,
                Webhook(Some("no.example.com")),
            ),
            (
                r#"admission webhook "no.example.com" denied the request without explanation"#,
                Webhook(Some("no.example.com")),
            ),
            (
                r#"Internal error occurred: failed calling webhook "no.example.com": failed to call webhook: hunter2"#,
                WebhookCall(Some("no.example.com")),
            ),
            (
                r#"secrets "regcred" is forbidden: ValidatingAdmissionPolicy 'no' with binding 'b' denied request: hunter2"#,
                Policy(Some("no")),
            ),
            (
                "secrets is forbidden: ValidatingAdmissionPolicy 'no' denied request: hunter2",
                Policy(Some("no")),
            ),
            (
                r#"secrets "x" is forbidden: policy 'no' with binding 'b' denied request: hunter2"#,
                Policy(Some("no")),
            ),
            (r#"secrets "x" is forbidden: policy "no" denied request: hunter2"#, Policy(Some("no"))),
            (
                r#"secrets "regcred" is forbidden: exceeded quota: few, requested: count/secrets=1, used: …"#,
                Quota(Some("few")),
            ),
        ] {
            assert_eq!(Admission::parse(message), Some(expect), "{message}");
        }
    }

    #[test]
    fn name_that_kubernetes_does_not_permit_is_dropped() {
        let long = "a".repeat(254);
        for name in ["Hunter2", "hunter2=", "a_b", "", "hunter2 hunter2", &long] {
            let message = format!(r#"admission webhook "{name}" denied the request: x"#);
            assert_eq!(Admission::parse(&message), Some(Webhook(None)), "{name}");
            let message =
                format!("secrets is forbidden: ValidatingAdmissionPolicy '{name}' denied request: x");
            assert_eq!(Admission::parse(&message), Some(Policy(None)), "{name}");
        }
        assert_eq!(
            Webhook(None).detail().without_fix().to_string(),
            "the admission webhook denied the write"
        );
    }

    #[test]
    fn wording_later_in_a_message_is_ignored() {
        let webhook = r#"admission webhook "real" denied the request: s is forbidden: exceeded quota: fake"#;
        assert_eq!(Admission::parse(webhook), Some(Webhook(Some("real"))));
        for message in [
            r#"secrets "x" is forbidden: User "admission webhook" cannot create resource "secrets""#,
            r#"Secret "x" is invalid: metadata.labels: Invalid value: "x is forbidden: exceeded quota: fake""#,
            r#"data: Invalid value: "admission webhook \"fake\" denied the request""#,
            "policy of the house",
        ] {
            assert_eq!(Admission::parse(message), None, "{message}");
        }
    }
}

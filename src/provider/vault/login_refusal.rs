//! The messages about a refused login: the cause that the Vault tells, and the fix.
//!
//! Pure. Quotes no word of a response.

use super::hint::Hint;

/// The login that was refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Login<'a> {
    /// With the token of a ServiceAccount.
    Kubernetes {
        /// The mount of the auth method.
        mount: &'a str,
        /// The role.
        role: &'a str,
    },
    /// With a role id and a secret id.
    AppRole {
        /// The mount of the auth method.
        mount: &'a str,
    },
}

/// The servers lock the role after five logins with a wrong secret id.
const WRONG_IDS: &str = "check `roleIdFile` and `secretIdFile`. Their contents are tried again when one changes or \
                         after 20 minutes, because a few refused logins lock the role for all its users";

impl Login<'_> {
    /// Returns the message about a refusal with this status.
    pub(super) fn refusal(self, code: u16, hint: Option<Hint>) -> String {
        let mount = self.mount();
        if hint == Some(Hint::NoMount) {
            return format!("no auth method is mounted at auth/{mount}");
        }
        let cause = match self {
            Self::Kubernetes { role, .. } => kubernetes_cause(role, hint),
            Self::AppRole { .. } => app_role_cause(code, hint),
        };
        format!("the login at auth/{mount} was refused: {cause}")
    }

    fn mount(&self) -> &str {
        match self {
            Self::Kubernetes { mount, .. } | Self::AppRole { mount } => mount,
        }
    }
}

fn kubernetes_cause(role: &str, hint: Option<Hint>) -> String {
    match hint {
        Some(Hint::NoRole) => {
            format!("there is no role {role}. Create it, or correct `auth.kubernetes.role`")
        }
        Some(Hint::OtherServiceAccount) => format!(
            "role {role} is not bound to this ServiceAccount. Add it to `bound_service_account_names`"
        ),
        Some(Hint::OtherServiceAccountNamespace) => format!(
            "role {role} is not bound to the namespace of this ServiceAccount. Add it to \
             `bound_service_account_namespaces`"
        ),
        Some(Hint::OtherAudience) => format!(
            "the token in `tokenFile` is not for the audience of role {role}. Mount a token with that audience"
        ),
        Some(Hint::DeadToken) => "the Vault could not have the token reviewed. Check that its auth method \
             reaches the API server, that its reviewer token is valid and bound to system:auth-delegator, and \
             that the ServiceAccount and the auth method exist"
            .to_owned(),
        _ => format!("check role {role}, the ServiceAccounts it is bound to and its audience"),
    }
}

fn app_role_cause(code: u16, hint: Option<Hint>) -> String {
    match (code, hint) {
        (_, Some(Hint::OtherAddress)) => {
            "the role does not admit the address of this client. Correct its CIDR restrictions".to_owned()
        }
        (403, _) => "the role is locked after refused logins, or nothing is mounted there. The lock ends 15 \
             minutes after the last of them, or at once with `sys/locked-users/MOUNT_ACCESSOR/unlock/ROLE_ID`"
            .to_owned(),
        _ => WRONG_IDS.to_owned(),
    }
}

/// The message about a login that is not made, because its contents were refused a short time ago: the same as about
/// the refusal.
pub(super) fn not_tried(mount: &str) -> String {
    Login::AppRole { mount }.refusal(400, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_causes_have_messages_of_their_own() {
        let login = Login::Kubernetes { mount: "k", role: "r" };
        let hints = [
            None,
            Some(Hint::NoMount),
            Some(Hint::NoRole),
            Some(Hint::OtherServiceAccount),
            Some(Hint::OtherServiceAccountNamespace),
            Some(Hint::OtherAudience),
            Some(Hint::DeadToken),
        ];
        let messages: std::collections::BTreeSet<_> =
            hints.iter().map(|hint| login.refusal(403, *hint)).collect();
        assert_eq!(messages.len(), hints.len(), "{messages:?}");
        assert!(messages.iter().all(|message| message.contains("auth/k")), "{messages:?}");
    }

    #[test]
    fn locked_role_is_told_from_wrong_ids() {
        let login = Login::AppRole { mount: "approle" };
        assert_eq!(login.refusal(400, None), format!("the login at auth/approle was refused: {WRONG_IDS}"));
        assert_eq!(not_tried("approle"), login.refusal(400, None), "the status stays the same");
        assert!(login.refusal(403, Some(Hint::DeadToken)).contains("the role is locked"));
        assert!(login.refusal(400, Some(Hint::OtherAddress)).contains("CIDR"));
    }
}

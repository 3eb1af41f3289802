//! Known words in the body of an error response.
//!
//! In: a body. Out: a [`Hint`], and nothing else of the body. The words are those of Vault 1.19 and 1.21 and of
//! OpenBao 2.7.

use serde::Deserialize;

/// The information taken from the body of an error response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// The version is deleted or destroyed.
    Deleted,
    /// The Vault is sealed or not initialised.
    Sealed,
    /// The namespace is sealed.
    SealedNamespace,
    /// An administrator has locked the namespace.
    LockedNamespace,
    /// There is no such namespace.
    NoNamespace,
    /// The engine is being upgraded from version 1 to 2.
    Upgrading,
    /// A path of KV v1 at an engine of version 2.
    IsVersioned,
    /// Nothing is mounted at the path.
    NoMount,
    /// The auth method has no such role.
    NoRole,
    /// The role does not admit the ServiceAccount.
    OtherServiceAccount,
    /// The role does not admit the namespace of the ServiceAccount.
    OtherServiceAccountNamespace,
    /// The token is for another audience.
    OtherAudience,
    /// The role does not admit the address of the client.
    OtherAddress,
    /// The token is expired, revoked or none; of a login nothing is known.
    DeadToken,
    /// The server gives no reason.
    NoReason,
    /// The body is not from a Vault.
    NotVault,
}

/// The words that mean a hint. The first match counts.
const WORDS: [(&str, Hint); 15] = [
    ("namespace is sealed", Hint::SealedNamespace),
    ("namespace has been locked", Hint::LockedNamespace),
    ("is sealed", Hint::Sealed),
    ("not yet initialized", Hint::Sealed),
    ("namespace not found", Hint::NoNamespace),
    ("Upgrading from non-versioned to versioned", Hint::Upgrading),
    ("Waiting for the primary to upgrade", Hint::Upgrading),
    ("versioned K/V secrets engine", Hint::IsVersioned),
    ("no handler for route", Hint::NoMount),
    ("invalid role name", Hint::NoRole),
    ("service account name not authorized", Hint::OtherServiceAccount),
    ("namespace not authorized", Hint::OtherServiceAccountNamespace),
    ("invalid audience (aud) claim", Hint::OtherAudience),
    ("CIDR restrictions", Hint::OtherAddress),
    ("invalid token", Hint::DeadToken),
];

/// The whole error with which `OpenBao` refuses a dead token, and both servers a login that they do not explain.
/// A refusal by the policies begins with other words.
const NOT_EXPLAINED: &str = "permission denied";

/// The body of an error response.
#[derive(Deserialize)]
struct ErrorBody {
    errors: Option<Vec<String>>,
    warnings: Option<Vec<String>>,
    data: Option<ErrorData>,
}

#[derive(Deserialize)]
struct ErrorData {
    metadata: Option<serde::de::IgnoredAny>,
}

impl Hint {
    pub(super) fn from_body(body: &str) -> Option<Self> {
        let Ok(body) = serde_json::from_str::<ErrorBody>(body) else {
            return Some(Self::NotVault);
        };
        if body.data.as_ref().is_some_and(|data| data.metadata.is_some()) {
            return Some(Self::Deleted);
        }
        let known = WORDS.iter().find(|(words, _)| body.contains(words));
        match (known, &body.errors) {
            (Some((_, hint)), _) => Some(*hint),
            (None, None) => Some(Self::NotVault),
            (None, Some(errors)) if errors.is_empty() => Some(Self::NoReason),
            (None, Some(errors)) => (*errors == [NOT_EXPLAINED]).then_some(Self::DeadToken),
        }
    }
}

impl ErrorBody {
    fn contains(&self, words: &str) -> bool {
        self.errors.iter().chain(&self.warnings).flatten().any(|text| text.contains(words))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hint(error: &str) -> Option<Hint> {
        Hint::from_body(&json!({"errors": [error]}).to_string())
    }

    #[test]
    fn words_of_the_servers_are_known() {
        for (error, expect) in [
            ("Vault is sealed", Some(Hint::Sealed)),
            ("namespace is sealed", Some(Hint::SealedNamespace)),
            ("API access to this namespace has been locked by an administrator", Some(Hint::LockedNamespace)),
            ("namespace not found", Some(Hint::NoNamespace)),
            ("namespace not authorized", Some(Hint::OtherServiceAccountNamespace)),
            ("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n", Some(Hint::DeadToken)),
            ("1 error occurred:\n\t* permission denied\n\n", None),
            ("permission denied", Some(Hint::DeadToken)),
            ("invalid role or secret ID", None),
            ("invalid role name \"nope\"", Some(Hint::NoRole)),
        ] {
            assert_eq!(hint(error), expect, "{error}");
        }
    }

    #[test]
    fn body_without_errors_is_not_from_a_vault() {
        for body in ["", "<html>", "{}", "[]"] {
            assert_eq!(Hint::from_body(body), Some(Hint::NotVault), "{body:?}");
        }
        assert_eq!(Hint::from_body(r#"{"errors": []}"#), Some(Hint::NoReason));
    }
}

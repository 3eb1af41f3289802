//! Keys that hold the name of the namespace, so that each namespace has a credential of its own.
//!
//! Pure. `teams/{{namespace}}/ghcr` is a key of the spec; `teams/web/ghcr` is the key that is read for the
//! namespace `web`. The name of a namespace has neither slashes nor dots, so it never leaves its part of the key.

use super::{Key, StoreKey};
use crate::object_name::NamespaceName;

/// The placeholder for the name of the namespace.
const NAMESPACE: &str = "{{namespace}}";

impl Key {
    /// Returns true if each namespace has a key of its own.
    #[must_use]
    pub fn is_per_namespace(&self) -> bool {
        self.0.contains(NAMESPACE)
    }

    /// Returns the key for a namespace.
    #[must_use]
    pub fn in_namespace(&self, name: &NamespaceName) -> Self {
        Self(self.0.replace(NAMESPACE, name.as_str()))
    }

    /// Returns true if the key has braces other than those of the placeholder.
    pub(crate) fn has_other_braces(key: &str) -> bool {
        key.split(NAMESPACE).any(|part| part.contains(['{', '}']))
    }
}

impl StoreKey {
    /// Returns true if each namespace has a key of its own.
    #[must_use]
    pub fn is_per_namespace(&self) -> bool {
        self.key.is_per_namespace()
    }

    /// Returns the key for a namespace.
    #[must_use]
    pub fn in_namespace(&self, name: &NamespaceName) -> Self {
        Self { store: self.store.clone(), key: self.key.in_namespace(name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholder_becomes_the_name_of_the_namespace() {
        for (key, expect) in [
            ("teams/{{namespace}}/ghcr", "teams/web/ghcr"),
            ("{{namespace}}", "web"),
            ("{{namespace}}/{{namespace}}-ghcr", "web/web-ghcr"),
        ] {
            let key = Key::from(key);
            assert!(key.is_per_namespace(), "{key}");
            assert_eq!(key.in_namespace(&"web".into()), Key::from(expect));
        }
        let shared = Key::from("ci/ghcr");
        assert!(!shared.is_per_namespace());
        assert_eq!(shared.in_namespace(&"web".into()), shared);
    }

    #[test]
    fn only_the_placeholder_may_have_braces() {
        for key in ["ci/ghcr", "teams/{{namespace}}/ghcr", "{{namespace}}{{namespace}}"] {
            assert!(!Key::has_other_braces(key), "{key}");
        }
        for key in [
            "{{ namespace }}",
            "{namespace}",
            "{{Namespace}}",
            "{{name}}",
            "{{{namespace}}}",
            "a{b",
            "a}b",
            "{{namespace}",
            "{{namespace}}/{{team}}",
        ] {
            assert!(Key::has_other_braces(key), "{key}");
        }
    }
}

//! Names of Kubernetes objects as types: two names that are swapped do not compile.
//!
//! Plain data. A name goes in and out as text; its JSON and its schema are those of a string. Nothing is
//! validated here: manifests are validated as a whole, and the API server validates the others.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

macro_rules! object_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        /// The schema of a string, without a definition of its own.
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                String::schema_name()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                String::json_schema(generator)
            }
        }

        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        /// Permits lookups by text in maps and sets.
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }
    };
}

object_name! {
    /// The name of a namespace.
    NamespaceName
}

object_name! {
    /// The name of a Secret, the same in every namespace.
    SecretName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_schema_are_those_of_a_string() {
        let name: SecretName = serde_json::from_str(r#""regcred""#).expect("a string");
        assert_eq!(name, "regcred");
        assert_eq!(serde_json::to_string(&name).expect("JSON"), r#""regcred""#);
        let (ours, text) = (schemars::schema_for!(Vec<NamespaceName>), schemars::schema_for!(Vec<String>));
        assert_eq!(ours.get("items"), text.get("items"));
    }
}

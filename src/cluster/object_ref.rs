//! References to objects of a kind that the context names.
//!
//! Plain data.

use crate::object_name::NamespaceName;

/// A reference to an object of a kind that the context names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// The namespace; `None` for a cluster-scoped object.
    pub namespace: Option<NamespaceName>,
    /// The name.
    pub name: String,
}

impl ObjectRef {
    /// Refers to an object of a namespace.
    #[must_use]
    pub fn namespaced(namespace: NamespaceName, name: impl Into<String>) -> Self {
        Self { namespace: Some(namespace), name: name.into() }
    }

    /// Refers to a cluster-scoped object.
    #[must_use]
    pub fn cluster_scoped(name: impl Into<String>) -> Self {
        Self { namespace: None, name: name.into() }
    }
}

//! ServiceAccounts, reduced to what decisions about their entries need.
//!
//! Pure. A tenant may fill a ServiceAccount with a megabyte of entries or
//! annotations: a bounded part is kept, and a question that the bounded part cannot answer is answered by
//! reading that one object.

pub(crate) mod annotation;
pub(crate) mod entry_list;

use crate::object_map::ObjectMap;
use crate::object_name::SecretName;
use annotation::parse_added;
pub use entry_list::EntryList;

/// The most bytes of the annotation [`ADDED`](super::ADDED).
pub(crate) const MAX_ANNOTATION_BYTES: usize = 1024;

/// A ServiceAccount, reduced to its `imagePullSecrets`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The precondition of every write to it.
    pub resource_version: String,
    /// The names under `imagePullSecrets`.
    pub image_pull_secrets: EntryList,
    /// The names that regcred added, each with its ClusterPullSecret if the annotation has one.
    pub added: ObjectMap<SecretName, Option<String>>,
    /// The state of the annotation that `added` was read from.
    pub annotation: Annotation,
    /// The object has annotations, of whatever name.
    pub has_annotations: bool,
}

/// The state of regcred's annotation of a ServiceAccount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Annotation {
    /// The object does not have the annotation.
    #[default]
    Absent,
    /// The annotation is there.
    Present,
    /// Another writer removed entries from the annotation, or the whole annotation, and left the entries that
    /// it records. `is_present` is true if there still is one.
    Lost {
        /// The annotation is there, with other names.
        is_present: bool,
    },
    /// The annotation is longer than regcred writes it.
    Malformed,
}

impl Annotation {
    /// Returns true if the object has the annotation, readable or not.
    #[must_use]
    pub fn is_present(self) -> bool {
        match self {
            Self::Absent | Self::Lost { is_present: false } => false,
            Self::Present | Self::Lost { is_present: true } | Self::Malformed => true,
        }
    }
}

impl ServiceAccount {
    /// Sets the parts that come from the metadata.
    pub(super) fn set_metadata(
        &mut self,
        resource_version: String,
        has_annotations: bool,
        added: Option<&str>,
    ) {
        (self.resource_version, self.has_annotations) = (resource_version, has_annotations);
        (self.annotation, self.added) = match added {
            None => (Annotation::Absent, ObjectMap::default()),
            Some(text) if text.len() > MAX_ANNOTATION_BYTES => (Annotation::Malformed, ObjectMap::default()),
            Some(text) => (Annotation::Present, parse_added(text)),
        };
    }

    /// Takes over what was known to be regcred's, where the entry is still there and only its record is gone:
    /// another writer removed the annotation.
    pub fn keep_lost_annotation(&mut self, known: &Self) {
        if self.annotation == Annotation::Malformed {
            return;
        }
        let is_present = self.annotation.is_present();
        for (name, added_for) in known.added.iter() {
            if !self.added.contains_key(name) && self.image_pull_secrets.contains(name) != Some(false) {
                self.added.insert(name.clone(), added_for.clone());
                self.annotation = Annotation::Lost { is_present };
            }
        }
    }

    /// Returns true if regcred added an entry of this name, and the kept part of the list does not show whether it is
    /// still there.
    #[must_use]
    pub fn is_entry_unseen(&self, name: &SecretName) -> bool {
        self.added.contains_key(name) && self.image_pull_secrets.contains(name).is_none()
    }

    /// Returns true if decisions about this ServiceAccount are the same as about the other.
    #[must_use]
    pub fn has_same_entries(&self, other: &Self) -> bool {
        !self.image_pull_secrets.is_truncated()
            && self.image_pull_secrets == other.image_pull_secrets
            && (&self.added, self.annotation) == (&other.added, other.annotation)
    }
}

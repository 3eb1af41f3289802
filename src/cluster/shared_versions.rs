//! The versions annotations in memory, one copy for the Secrets that have the same.
//!
//! Pure. The Secrets of a ClusterPullSecret hold the same versions in nearly every namespace, and each is decoded
//! alone.

use std::collections::VecDeque;
use std::sync::Arc;

/// The number of texts that are remembered: a few ClusterPullSecrets, each before and after a rotation.
const MAX_TEXTS: usize = 16;

/// The texts that were seen last.
#[derive(Debug, Default)]
pub struct SharedVersions(VecDeque<Arc<str>>);

impl SharedVersions {
    /// Makes a text share the copy of an equal one.
    pub fn intern(&mut self, versions: &mut Option<Arc<str>>) {
        let Some(versions) = versions else { return };
        if let Some(copy) = self.0.iter().find(|copy| *copy == versions) {
            *versions = Arc::clone(copy);
            return;
        }
        self.0.truncate(MAX_TEXTS - 1);
        self.0.push_front(Arc::clone(versions));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interned(shared: &mut SharedVersions, text: &str) -> Arc<str> {
        let mut versions = Some(text.into());
        shared.intern(&mut versions);
        versions.expect("a text")
    }

    #[test]
    fn equal_versions_share_one_copy() {
        let mut shared = SharedVersions::default();
        let first = interned(&mut shared, "ghcr.io=vault:1");
        let other = interned(&mut shared, "ghcr.io=vault:2");
        assert!(Arc::ptr_eq(&first, &interned(&mut shared, "ghcr.io=vault:1")));
        assert_eq!(&*other, "ghcr.io=vault:2");
    }

    #[test]
    fn few_versions_are_remembered() {
        let mut shared = SharedVersions::default();
        let first = interned(&mut shared, "0");
        for text in 1..100 {
            interned(&mut shared, &text.to_string());
        }
        assert_eq!(shared.0.len(), MAX_TEXTS);
        assert!(!Arc::ptr_eq(&first, &interned(&mut shared, "0")));
    }
}

//! The versions annotation in which nothing later was found.
//!
//! Before a rotation nearly all Secrets have the same annotation: it is parsed for the first of them.

use std::sync::{Mutex, PoisonError};

/// The last annotation in which a content found nothing later than it has itself.
#[derive(Debug, Default)]
pub struct CheckedAnnotation(Mutex<String>);

impl CheckedAnnotation {
    /// Returns true if nothing later was found in this annotation.
    pub(super) fn is(&self, annotation: &str) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) == annotation
    }

    /// Records that nothing later was found in this annotation.
    pub(super) fn record(&self, annotation: &str) {
        annotation.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The copy of a content gets other versions: it has checked nothing.
impl Clone for CheckedAnnotation {
    fn clone(&self) -> Self {
        Self::default()
    }
}

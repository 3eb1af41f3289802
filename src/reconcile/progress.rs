//! The progress of a run, and the signal that ends it early.
//!
//! Pure: the caller shows the progress and sets the signal.

use std::sync::atomic::{AtomicBool, Ordering};

/// The progress of a run over the namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// This number of namespaces needs a request.
    Planned(usize),
    /// One of these namespaces is done, with or without success.
    Finished,
}

/// Receives the progress of a run and can end the run early.
pub struct Monitor<'a> {
    /// Called at every step.
    pub on_progress: &'a (dyn Fn(Progress) + Sync),
    /// True once no further namespace may be started.
    pub stop: &'a AtomicBool,
}

impl Monitor<'_> {
    /// Returns true if no further namespace may be started.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

//! The writes of the file: the time of the next one, and another attempt after a failure.

use std::sync::Arc;

use tokio::time::Instant;

use super::output_file::{AppliedFile, FileStamp, OutputError, OutputFile};
use super::plan::DesiredEntries;
use crate::backoff;

/// The file, and the state of its writes.
pub(super) struct Writer {
    file: Arc<OutputFile>,
    /// The file as it was after the last write.
    stamp: Option<FileStamp>,
    /// The time of the next write; `None` while the file is as desired.
    due: Option<Instant>,
    /// The writes in a row that failed.
    failures: u32,
}

impl Writer {
    /// Creates the state before the first write.
    pub(super) fn new(file: Arc<OutputFile>) -> Self {
        Self { file, stamp: None, due: None, failures: 0 }
    }

    /// Requests a write: other entries are desired.
    pub(super) fn request(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// Requests a write if another program wrote or removed the file.
    pub(super) fn check(&mut self, now: Instant) {
        if self.file.stamp() != self.stamp {
            self.due = Some(now);
        }
    }

    /// Returns the time of the next write.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Brings the file to the desired entries; a failed write is due again after a pause, which follows `jitter`.
    pub(super) async fn apply(
        &mut self,
        desired: DesiredEntries,
        jitter: f64,
    ) -> Result<AppliedFile, OutputError> {
        let file = Arc::clone(&self.file);
        // A disk may take its time.
        let outcome = tokio::task::spawn_blocking(move || file.apply(&desired)).await;
        let outcome = outcome.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
        match &outcome {
            Ok(applied) => (self.stamp, self.due, self.failures) = (applied.stamp, None, 0),
            Err(_) => {
                self.failures = self.failures.saturating_add(1);
                self.due = Some(Instant::now() + backoff::after(self.failures, jitter));
                self.stamp = self.file.stamp();
            }
        }
        outcome
    }
}

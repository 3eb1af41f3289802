//! The progress of a reconciliation, on a terminal and nowhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::reconcile::Progress;

/// A spinner while the stores and the cluster are read, then a bar over the namespaces.
pub struct Bar(ProgressBar);

impl Bar {
    /// Starts the spinner. With log lines there is no bar: each line would leave a piece of it behind.
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        let bar = ProgressBar::new_spinner().with_message("reading the stores and the cluster");
        if verbose {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Shows the progress.
    pub fn show(&self, progress: Progress) {
        match progress {
            Progress::Planned(0) => self.clear(),
            Progress::Planned(namespaces) => {
                let style = ProgressStyle::with_template("{bar:40} {pos}/{len} namespaces");
                self.0.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                // A later round begins at zero.
                self.0.set_position(0);
                self.0.set_length(namespaces as u64);
            }
            Progress::Finished => self.0.inc(1),
        }
    }

    /// Removes it from the terminal.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

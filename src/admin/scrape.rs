//! The text of a scrape, shared by the scrapes of the same moment: clients that read slowly cost connections, and no
//! memory for a text of their own.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::time::Instant;

use crate::metrics::Metrics;

/// The longest time that a text is shared. A connection lasts a few of these, and so do the texts in memory.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The metrics, and the last text if it is still being sent.
#[derive(Clone, Debug)]
pub(super) struct Scrapes {
    metrics: Arc<Metrics>,
    last: Arc<Mutex<LastText>>,
}

/// The last text and the time of its encoding.
#[derive(Debug)]
struct LastText {
    encoded: Instant,
    text: Weak<String>,
}

/// A text in flight.
struct SharedText(Arc<String>);

impl AsRef<[u8]> for SharedText {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Scrapes {
    /// No text yet.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let last = LastText { encoded: Instant::now(), text: Weak::new() };
        Self { metrics, last: Arc::new(Mutex::new(last)) }
    }

    /// Returns the current text, or a recent one that another scrape is still reading.
    pub(super) fn text(&self) -> Bytes {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = last.text.upgrade().filter(|_| last.encoded.elapsed() < MAX_AGE);
        let text = recent.unwrap_or_else(|| {
            let text = Arc::new(self.metrics.encode());
            *last = LastText { encoded: Instant::now(), text: Arc::downgrade(&text) };
            text
        });
        Bytes::from_owner(SharedText(text))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn leads(text: &Bytes) -> bool {
        str::from_utf8(text).unwrap().contains("\nregcred_leader 1\n")
    }

    #[tokio::test(start_paused = true)]
    async fn text_is_shared_while_it_is_sent_and_recent() {
        let metrics = Arc::new(Metrics::new());
        let scrapes = Scrapes::new(Arc::clone(&metrics));
        let first = scrapes.text();
        metrics.set_leader(true);
        let second = scrapes.clone().text();
        assert_eq!(first.as_ptr(), second.as_ptr(), "one text for both");
        advance(MAX_AGE).await;
        assert!(!leads(&first) && leads(&scrapes.text()), "too old to be shared");
    }

    #[tokio::test(start_paused = true)]
    async fn text_that_was_sent_is_encoded_again() {
        let metrics = Arc::new(Metrics::new());
        let scrapes = Scrapes::new(Arc::clone(&metrics));
        assert!(!leads(&scrapes.text()));
        metrics.set_leader(true);
        assert!(leads(&scrapes.text()));
    }
}

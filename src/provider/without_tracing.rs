//! Runs the clients of the stores and of SQS without their log output.
//!
//! These clients log tokens, session credentials and error bodies at some level, and the level and target
//! change with a release or an environment variable (`LOG_SENSITIVE_BODIES`). A filter by target would
//! have to know both; here everything is dropped.

use std::pin::Pin;

use tracing::Dispatch;
use tracing::instrument::{WithDispatch, WithSubscriber};

/// Runs `request` without a subscriber; boxed, because the futures of these clients take tens of kilobytes.
pub(crate) fn without_tracing<F: Future>(request: F) -> WithDispatch<Pin<Box<F>>> {
    Box::pin(request).with_subscriber(Dispatch::none())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::DefaultGuard;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// The log output of this thread at every level while the guard lives.
    #[derive(Clone, Default)]
    pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        pub(crate) fn capture() -> (Self, DefaultGuard) {
            let log = Self::default();
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_writer(log.clone())
                .with_ansi(false)
                .finish();
            (log, tracing::subscriber::set_default(subscriber))
        }

        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[tokio::test]
    async fn log_output_inside_is_dropped() {
        let (log, _guard) = Log::capture();
        tracing::error!("before");
        without_tracing(async {
            tracing::error!("inside");
            tokio::task::yield_now().await;
            tracing::error!("inside");
        })
        .await;
        tracing::error!("after");
        let text = log.text();
        assert!(text.contains("before") && text.contains("after"), "{text}");
        assert!(!text.contains("inside"), "{text}");
    }
}

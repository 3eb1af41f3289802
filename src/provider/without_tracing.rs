//! The clients of the stores, and of a queue, are used with nobody listening to what they log.
//!
//! They log tokens, session credentials and error bodies at some level or other, and which and where
//! changes with a release or an environment variable (`LOG_SENSITIVE_BODIES`). A filter by target
//! would have to know; here none is heard at any.

use std::pin::Pin;

use tracing::Dispatch;
use tracing::instrument::{WithDispatch, WithSubscriber};

/// `talk`, unheard; boxed, for the futures of these clients are tens of kilobytes large.
pub(crate) fn unheard<F: Future>(talk: F) -> WithDispatch<Pin<Box<F>>> {
    Box::pin(talk).with_subscriber(Dispatch::none())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::DefaultGuard;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// Everything that is logged on this thread, at any level, while the guard lives.
    #[derive(Clone, Default)]
    pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        pub(crate) fn listen() -> (Self, DefaultGuard) {
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
    async fn what_is_logged_inside_is_not_heard_outside() {
        let (log, _guard) = Log::listen();
        tracing::error!("before");
        unheard(async {
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

//! Logging to stderr.
//!
//! Only regcred's own events are logged. The libraries below it log whole requests and responses at some
//! level, and their failures come back as errors anyway.

use std::io::IsTerminal;

use tracing::{Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: coloured on a terminal.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Starts logging to stderr, once for the process. `verbosity` 0 logs warnings only, 1 every change, 2 also
/// what needed no change, above that everything.
pub fn init(verbosity: u8, format: LogFormat) {
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    tracing_subscriber::registry().with(layer(verbosity, format, colour, std::io::stderr)).init();
}

fn layer<S, W>(verbosity: u8, format: LogFormat, colour: bool, writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let level = match verbosity {
        0 => Level::WARN,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(colour).boxed(),
        // The fields are at the top level with the message, where log search expects them.
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
    };
    layer.with_filter(Targets::new().with_target("regcred", level))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::Value;

    use super::*;

    /// The lines logged of one event at each level, and of one of a library.
    fn logged(verbosity: u8, format: LogFormat) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = Mutex::new(file.reopen().unwrap());
        let subscriber = tracing_subscriber::registry().with(layer(verbosity, format, false, writer));
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "hyper", "hunter2");
            tracing::trace!("trace");
            tracing::debug!("debug");
            tracing::info!("info");
            let span = tracing::info_span!("reconcile", trigger = "Start");
            span.in_scope(|| tracing::warn!(store = %"vault", n = 3, "warn"));
        });
        std::fs::read_to_string(file.path()).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_verbosity_logs_one_level_more() {
        for format in [LogFormat::Text, LogFormat::Json] {
            for (verbosity, expect) in [(0, 1), (1, 2), (2, 3), (3, 4), (u8::MAX, 4)] {
                let lines = logged(verbosity, format);
                assert_eq!(lines.len(), expect, "{verbosity} {format:?}: {lines:?}");
            }
        }
    }

    #[test]
    fn libraries_are_not_logged_at_any_verbosity() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = logged(u8::MAX, format).concat();
            assert!(!lines.contains("hunter2"), "{lines}");
        }
    }

    #[test]
    fn text_line_without_colour_is_plain() {
        let line = logged(1, LogFormat::Text).remove(1);
        assert!(line.ends_with(r#" WARN reconcile{trigger="Start"}: warn store=vault n=3"#), "{line:?}");
    }

    #[test]
    fn json_line_is_one_flat_object() {
        let mut line: Value = serde_json::from_str(&logged(1, LogFormat::Json)[1]).unwrap();
        let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(time.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{time}");
        insta::assert_json_snapshot!(line, @r#"
        {
          "level": "WARN",
          "message": "warn",
          "n": 3,
          "spans": [
            {
              "name": "reconcile",
              "trigger": "Start"
            }
          ],
          "store": "vault"
        }
        "#);
    }
}

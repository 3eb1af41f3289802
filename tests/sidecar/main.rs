//! `regcred sidecar` with the store `files`: no server is needed. Its stores on a network are in `tests/e2e`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports, in its helpers too")]

mod command_line;
mod disk;
mod file;
mod host;
mod killing;
mod readers;
mod running;

//! regcred takes registry passwords from where they live and keeps them true in Kubernetes.
//!
//! Data flows one way, and the modules stand in that order:
//!
//! ```text
//! manifest ─▶ trigger ─▶ provider ─▶ docker_config ─▶ rotator ─▶ patcher ─▶ report
//! what is     why now    read once   what the         Secret in  entry in   what was done,
//! wanted                 per key     kubelet reads    each ns    each SA    and why not
//! ```
//!
//! [`reconcile`] is the only module that sees the whole line, [`cli`] the only one that sees the terminal.
//! [`controller`] keeps it running for ever, while [`leader_election`] says who leads.
//! Every module that writes is observe → decide → act, and the decision is a pure function.

pub mod manifest;

pub mod backoff;
pub mod trigger;
mod trigger_kind;

pub mod credential;
pub mod provider;
mod secret_file;

pub mod docker_config;

pub mod cluster;
pub mod rotator;

pub mod patcher;

pub mod reconcile;
pub mod report;

pub mod controller;
pub mod leader_election;

pub mod admin;
mod http_server;
mod log_throttle;
pub mod metrics;

pub mod cli;

//! regcred syncs registry passwords from the secrets managers that store them into Kubernetes.
//!
//! Data flows one way, and the modules stand in that order:
//!
//! ```text
//! manifest ─▶ trigger ─▶ provider ─▶ docker_config ─▶ rotator ─▶ patcher ─▶ report
//! desired     why now    fetch once  the file the     Secret in  entry in   status, Events,
//! state                  per key     kubelet reads    each ns    each SA    metrics, table
//! ```
//!
//! [`reconcile`] is the only module that sees the whole line, [`cli`] the only one that sees the terminal.
//! [`controller`] reconciles until it is stopped, and [`leader_election`] picks the replica that writes.
//! Every module that writes is observe → decide → act, and the decision is a pure function.

mod error_chain;
mod message;
mod named;
pub mod object_map;
pub mod object_name;
mod proxy_failure;

pub mod manifest;

pub mod backoff;
pub mod trigger;
mod trigger_kind;

pub mod credential;
pub mod provider;
mod secret_file;

pub mod docker_config;

pub mod cluster;
pub mod installation;
pub mod rotator;

pub mod patcher;

pub mod reconcile;
pub mod report;

pub mod controller;
pub mod fetches;
pub mod leader_election;
pub mod sidecar;

pub mod admin;
mod http_server;
mod log_throttle;
pub mod metrics;
mod repeated_failure;

pub mod cli;

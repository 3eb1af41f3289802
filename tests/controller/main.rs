//! `regcred run` against a real API server, its real controllers and a real Vault.
//!
//! The tests share two sets of these servers and take turns; those that measure how soon things happen run alone. Each
//! runs the real binary as the ServiceAccount that `deploy/base` creates, and reads its requests from the API server's own
//! audit log.

mod cluster;
mod controller;
mod model;
mod rng;

mod app_role;
mod availability;
mod bounds;
mod by_hand;
mod capacity;
mod chaos;
mod churn;
mod drift;
mod dynamic;
mod earlier_form;
mod ecr;
mod events;
mod faults;
mod files;
mod harness_self_test;
mod killing;
mod last_good;
mod lifecycle;
mod log;
mod memory;
mod namespace_keys;
mod new_targets;
mod ownership;
mod poll;
mod probes;
mod queue;
mod restore;
mod rotation;
mod secrecy;
mod standbys;
mod startup;
mod status;
mod unknown_fields;
mod version_order;
mod version_skew;
mod webhook;

//! `regcred run` against a real API server, its real controllers and a real Vault.
//!
//! All tests share one world, and take turns: what is said to happen at once is measured. Each runs the real binary as the
//! ServiceAccount that `deploy/base` creates, and reads what it did from the API server's own audit log.

mod controller;
mod dice;
mod model;
mod stage;

mod availability;
mod by_hand;
mod churn;
mod drift;
mod events;
mod faults;
mod files;
mod killing;
mod lifecycle;
mod newcomers;
mod poll;
mod queue;
mod rehearsal;
mod rotation;
mod secrecy;
mod startup;
mod status;
mod webhook;

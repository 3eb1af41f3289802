//! The contents of `deploy/`: chart and base are equivalent, grant the needed rights only, and run pods that the
//! strictest Pod Security level admits.
//!
//! The base and `deploy/rbac.yaml` are rendered from the chart by `make base`.

mod aws;
mod base;
mod chart;
mod cluster;
mod docs;
mod rendering;
mod rights;
mod sidecar;
mod values;
mod vault;

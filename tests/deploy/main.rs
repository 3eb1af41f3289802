//! What `deploy/` brings into a cluster: the chart and the base are one truth, no more rights than needed, and
//! pods that the strictest Pod Security level admits.
//!
//! The base and `deploy/rbac.yaml` are the chart rendered; `make base` renders them anew.

mod aws;
mod base;
mod chart;
mod cluster;
mod docs;
mod rendering;
mod values;
mod vault;

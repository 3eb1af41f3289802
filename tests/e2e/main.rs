//! regcred against the real things: a kube-apiserver, a Vault, a Secrets Manager and two registries.
//!
//! All tests share one world. Each has namespaces and keys of its own, and runs the real binary as the
//! ServiceAccount that `deploy/rbac.yaml` creates.

mod admission;
mod cluster;
mod connection;
mod crd;
mod docker_config;
mod ecr;
mod lease;
mod objects;
mod policy;
mod provider_contract;
mod refusals;
mod rotation;
mod secrecy;
mod service_accounts;
mod sidecar;
mod stored_values;
mod thousand;
mod version_order;

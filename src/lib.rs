//! regcred takes registry passwords from where they live and keeps them true in Kubernetes.

pub mod manifest;

pub mod credential;
pub mod provider;

pub mod docker_config;

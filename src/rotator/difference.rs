//! The part of a Secret that a write changes: a new form of the same credentials is no rotation.

use std::sync::Arc;

use secrecy::ExposeSecret;

use crate::cluster::{DockerConfigBytes, Secret};
use crate::docker_config::earlier_form::is_earlier_form;

/// The part of a Secret that a write changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The credentials.
    Credentials,
    /// The form: the same credentials, as earlier versions wrote them.
    Form,
    /// The metadata only.
    Metadata,
}

impl Difference {
    /// Compares the Secret as observed with the bytes that are written.
    pub(super) fn between(observed: Option<&Secret>, written: &DockerConfigBytes) -> Self {
        let held = observed.and_then(|secret| secret.body.as_ref()?.docker_config.as_ref());
        match held {
            Some(held) if is_equal(held, written) => Self::Metadata,
            Some(held) if is_earlier_form(held, written) => Self::Form,
            Some(_) | None => Self::Credentials,
        }
    }
}

fn is_equal(held: &DockerConfigBytes, written: &DockerConfigBytes) -> bool {
    Arc::ptr_eq(held, written) || held.expose_secret() == written.expose_secret()
}

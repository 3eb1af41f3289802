//! The parameters of a write: each is made in the name of regcred, which the API server notes beside
//! what was written.

use kube::api::{PatchParams, PostParams};

use super::FIELD_MANAGER;

/// Those of a creation.
pub(crate) fn create() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Those of a patch.
pub(crate) fn patch() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

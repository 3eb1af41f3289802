//! The parameters of writes: each names regcred as the field manager.

use kube::api::{PatchParams, PostParams};

use super::FIELD_MANAGER;

/// Returns the parameters of a creation.
pub(crate) fn create() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Returns the parameters of a patch.
pub(crate) fn patch() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

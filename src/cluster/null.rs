//! The `null` of JSON in place of an empty map, list or string.
//!
//! Pure.

use serde::{Deserialize, Deserializer};

/// Reads `null` as empty: Go writes an empty map or list so if the field is not omitted.
pub(super) fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    value: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

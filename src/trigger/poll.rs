//! The poll: asks every store for the versions of its keys, and rings where one is new.

use std::collections::BTreeMap;

use crate::credential::{Place, Version};

/// Every key that is read, with the version it was last read at; none where it could not be read.
pub type Held = BTreeMap<Place, Option<Version>>;

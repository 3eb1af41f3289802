//! YAML and JSON as trees of nodes that know their lines.
//!
//! In: text. Out: one tree for each document, or errors with their lines. Nothing here knows a field of a
//! manifest.

mod composer;
pub(crate) mod document;
pub(crate) mod node;
mod scalar;

//! An error with its causes.

use std::error::Error;

/// Returns an error and its causes, outermost first: the innermost one names the failure of a connection, and the layers
/// above it only say that there was one.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

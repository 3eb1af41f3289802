//! The message of an error, in regcred's own words.
//!
//! A text of another party cannot become a [`Detail`]: literals of regcred can, and the modules that read a
//! `Status` or a broken connection build the rest from names and closed lists.

use std::borrow::Cow;
use std::fmt;

/// The message of an error: the cause, and the fix where there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    cause: Cow<'static, str>,
    fix: Option<Box<str>>,
    resource: Option<Box<str>>,
}

impl Detail {
    /// Creates a message that names objects; `cause` must hold no text of another party.
    #[must_use]
    pub(crate) fn from_own_words(cause: String) -> Self {
        Self { cause: cause.into(), ..Self::default() }
    }

    /// Returns the message with the resource that it is about.
    pub(super) fn about(self, resource: Option<&str>) -> Self {
        Self { resource: resource.map(Into::into), ..self }
    }

    /// Returns the resource that the message is about: `namespaces`.
    pub(super) fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }

    /// Returns the message with this fix, a sentence without its full stop.
    #[must_use]
    pub fn with_fix(self, fix: impl Into<Box<str>>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    /// Returns the message without its fix.
    #[must_use]
    pub fn without_fix(self) -> Self {
        Self { fix: None, ..self }
    }

    /// Returns the fix.
    #[must_use]
    pub fn fix(&self) -> Option<&str> {
        self.fix.as_deref()
    }
}

impl From<&'static str> for Detail {
    fn from(cause: &'static str) -> Self {
        Self { cause: cause.into(), ..Self::default() }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        match &self.fix {
            Some(fix) => write!(f, ". {fix}"),
            None => Ok(()),
        }
    }
}

//! The errors that end a command, each with the hint that fixes it.

use std::fmt;

use super::Exit;

/// An error that ends a command.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// Creates a failure with a cause outside of regcred: in the manifests, the cluster or the host.
    pub fn external(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::NotInSync, error: error.into(), hint: None }
    }

    /// Creates a failure of regcred itself.
    pub fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Internal, error: error.into(), hint: None }
    }

    /// Adds the fix.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Returns the exit code of the process.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

/// The error with the chain of its causes, and the hint on a line of its own.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {:#}", self.error)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn hint_follows_the_causes_on_its_own_line() {
        let failure = Failure::external(anyhow!("refused").context("cannot connect"));
        assert_eq!(failure.to_string(), "error: cannot connect: refused");
        assert_eq!(
            failure.with_hint("start it").to_string(),
            "error: cannot connect: refused\nhint: start it"
        );
    }
}

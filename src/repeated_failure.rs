//! The log of a failure that repeats until its cause is gone: one line when it begins, and one when its cause changes.

/// A failure that may repeat, by its message.
#[derive(Clone, Debug, Default)]
pub(crate) struct RepeatedFailure(Option<String>);

impl RepeatedFailure {
    /// Records a failure; returns true if a line is due: it began, or has another cause than before.
    pub(crate) fn begins(&mut self, message: &str) -> bool {
        let is_known = self.0.as_deref() == Some(message);
        if !is_known {
            self.0 = Some(message.to_owned());
        }
        !is_known
    }

    /// Records a success; returns true if it ends a failure.
    pub(crate) fn ends(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_is_due_when_it_begins_changes_and_begins_again() {
        let mut failure = RepeatedFailure::default();
        assert!(!failure.ends());
        let due = ["a", "a", "b", "b", "a"].map(|message| failure.begins(message));
        assert_eq!(due, [true, false, true, false, true]);
        assert!(failure.ends() && !failure.ends());
        assert!(failure.begins("a"));
    }
}

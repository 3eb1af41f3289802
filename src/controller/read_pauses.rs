//! The pauses of namespaces in which a Secret or a ServiceAccount was read and nothing had to be written.
//!
//! Pure; times are parameters. A tenant may edit an annotation of its pull secret without end, and each edit is a
//! question that only a read answers. Without a pause, these reads would follow each other, and a reconciliation that
//! waits for the namespace would never end.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::object_name::NamespaceName;

/// The time after such a read for which events of the namespace wait.
const PAUSE: Duration = Duration::from_secs(1);

/// The end of the pause of each namespace.
#[derive(Debug, Default)]
pub(super) struct ReadPauses(BTreeMap<NamespaceName, Instant>);

impl ReadPauses {
    /// Records a read after which nothing was written.
    pub(super) fn record(&mut self, namespace: &NamespaceName, now: Instant) {
        self.0.retain(|_, until| *until > now);
        self.0.insert(namespace.clone(), now + PAUSE);
    }

    /// Returns the end of the pause of a namespace, if it has one.
    pub(super) fn until(&self, namespace: &NamespaceName, now: Instant) -> Option<Instant> {
        self.0.get(namespace).copied().filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_pauses_for_a_second_after_a_read_without_a_write() {
        let (mut pauses, now) = (ReadPauses::default(), Instant::now());
        let (web, other) = (NamespaceName::from("web"), NamespaceName::from("other"));
        pauses.record(&web, now);
        assert_eq!(pauses.until(&web, now), Some(now + PAUSE));
        assert_eq!(pauses.until(&other, now), None);
        assert_eq!(pauses.until(&web, now + PAUSE), None);
    }

    #[test]
    fn past_pauses_are_forgotten() {
        let (mut pauses, now) = (ReadPauses::default(), Instant::now());
        pauses.record(&"web".into(), now);
        pauses.record(&"other".into(), now + PAUSE);
        assert_eq!(pauses.0.len(), 1);
    }
}

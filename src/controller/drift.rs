//! Back-off against writers that keep reverting managed resources.
//!
//! Pure. In go reverts with their times, out comes the pause before the resource is restored, none for at
//! once. From the third revert within ten minutes on, the resource is contested: reported, and restored with
//! increasing back-off. Rewrites in the form of earlier versions have a higher allowance.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::backoff;
use crate::object_name::{NamespaceName, SecretName};
use crate::rotator::Difference;

/// The time for which a revert counts.
const WINDOW: Duration = Duration::from_mins(10);
/// The reverts within that time that are restored at once.
const IMMEDIATE_RESTORES: usize = 2;
/// The same of the form of a Secret: a job with an earlier `rotate` may write it each minute.
const IMMEDIATE_RESTORES_OF_FORM: usize = 20;
/// The first pause of a contested resource, as the back-off after this many failures: some seconds, in which
/// an observer can see the other writer's change.
const FIRST_PAUSE: usize = 3;

/// One resource that regcred manages in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ManagedResource {
    /// The pull secret of that name.
    Secret(SecretName),
    /// The form of that pull secret, with the same credentials.
    SecretForm(SecretName),
    /// The entry of that pull secret in a ServiceAccount.
    Entry {
        /// The ServiceAccount.
        service_account: String,
        /// The pull secret.
        secret_name: SecretName,
    },
}

impl ManagedResource {
    /// Returns the part of a pull secret that a write restored.
    pub(super) fn from_difference(secret_name: &SecretName, difference: Difference) -> Self {
        match difference {
            Difference::Credentials | Difference::Metadata => Self::Secret(secret_name.clone()),
            Difference::Form => Self::SecretForm(secret_name.clone()),
        }
    }

    fn immediate_restores(&self) -> usize {
        match self {
            Self::Secret(_) | Self::Entry { .. } => IMMEDIATE_RESTORES,
            Self::SecretForm(_) => IMMEDIATE_RESTORES_OF_FORM,
        }
    }
}

/// Reverts by namespace and resource, with their times.
#[derive(Debug, Default)]
pub struct DriftBackoff(BTreeMap<(NamespaceName, ManagedResource), VecDeque<Instant>>);

impl DriftBackoff {
    /// Records a revert. Returns the pause before the resource is restored; `None` for at once.
    pub fn on_reverted(
        &mut self,
        namespace: &NamespaceName,
        resource: &ManagedResource,
        now: Instant,
        jitter: f64,
    ) -> Option<Duration> {
        let times = self.0.entry((namespace.clone(), resource.clone())).or_default();
        while times.front().is_some_and(|first| now.duration_since(*first) > WINDOW) {
            times.pop_front();
        }
        times.push_back(now);
        let excess = times.len().checked_sub(resource.immediate_restores() + 1)?;
        // Only the reverts within the window are kept, so this number stays small.
        Some(backoff::after(u32::try_from(excess + FIRST_PAUSE).unwrap_or(u32::MAX), jitter))
    }

    /// Forgets reverts that are too old to matter.
    pub fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, times| times.back().is_some_and(|last| now.duration_since(*last) <= WINDOW));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> ManagedResource {
        ManagedResource::Entry { service_account: "default".into(), secret_name: "regcred".into() }
    }

    /// Checks the pause, in seconds, after a revert at each of these seconds.
    #[track_caller]
    fn check(seconds: &[u64], expect: &[Option<u64>]) {
        let (begin, mut drift) = (Instant::now(), DriftBackoff::default());
        let pauses = seconds.iter().map(|second| {
            let now = begin + Duration::from_secs(*second);
            drift.on_reverted(&"web".into(), &entry(), now, 0.0).map(|pause| pause.as_secs())
        });
        assert_eq!(pauses.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn third_revert_in_ten_minutes_starts_backoff() {
        check(&[0, 1, 2, 3, 4], &[None, None, Some(4), Some(8), Some(16)]);
    }

    #[test]
    fn occasional_reverts_are_restored_at_once() {
        check(&[0, 601, 1202, 1803], &[None, None, None, None]);
    }

    #[test]
    fn form_of_earlier_versions_is_restored_more_often() {
        let (now, mut drift) = (Instant::now(), DriftBackoff::default());
        let form = ManagedResource::from_difference(&"regcred".into(), Difference::Form);
        let mut pauses = (0..=IMMEDIATE_RESTORES_OF_FORM)
            .map(|_| drift.on_reverted(&"web".into(), &form, now, 0.0).is_some());
        assert!(pauses.by_ref().take(IMMEDIATE_RESTORES_OF_FORM).all(|is_pause| !is_pause));
        assert_eq!(pauses.next(), Some(true), "a loop is a contest");
        for difference in [Difference::Credentials, Difference::Metadata] {
            let secret = ManagedResource::from_difference(&"regcred".into(), difference);
            assert_eq!(secret, ManagedResource::Secret("regcred".into()));
        }
    }

    #[test]
    fn backoff_is_per_resource_and_expires() {
        let (begin, mut drift) = (Instant::now(), DriftBackoff::default());
        for _ in 0..4 {
            drift.on_reverted(&"web".into(), &entry(), begin, 0.0);
        }
        assert_eq!(drift.on_reverted(&"wed".into(), &entry(), begin, 0.0), None);
        assert_eq!(
            drift.on_reverted(&"web".into(), &ManagedResource::Secret("regcred".into()), begin, 0.0),
            None
        );
        let later = begin + WINDOW + Duration::from_secs(1);
        assert_eq!(drift.on_reverted(&"web".into(), &entry(), later, 0.0), None);
        drift.forget_old(later + WINDOW + Duration::from_secs(1));
        assert!(drift.0.is_empty());
    }
}

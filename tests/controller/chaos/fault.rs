//! The kinds of faults, and how often each is drawn.

use std::time::Duration;

use world::{Fault, Rule};

use crate::rng::Rng;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// SIGKILL of a replica.
    Kill,
    /// SIGSTOP of a replica, or SIGCONT where it is stopped.
    Pause,
    /// The proxy answers 409, 410, 429 or 5xx.
    Respond,
    /// The answer to a request that was carried out is lost.
    LoseAnswer,
    /// The body of an answer is cut off.
    CutAnswer,
    /// Every watch is cut off.
    CutWatches,
    /// Every watch ends with a 410.
    ExpireWatches,
    /// No connection is accepted for a moment.
    Refuse,
    /// The API server restarts.
    RestartApiServer,
    /// etcd restarts.
    RestartEtcd,
    /// Vault is sealed, or unsealed where it is sealed.
    Seal,
    /// Namespaces are deleted and others are created, all at once.
    Storm,
    /// A namespace enters or leaves the selection.
    Select,
    /// A new password in Vault.
    Rotate,
    /// A tenant deletes the pull secret.
    DeleteSecret,
    /// A tenant writes another docker config into the pull secret.
    EditSecret,
    /// A tenant removes regcred's labels from the pull secret.
    Unlabel,
    /// A tenant creates a Secret under the name of the pull secret.
    Plant,
    /// A tenant copies the pull secret into another namespace.
    Copy,
    /// A tenant empties `imagePullSecrets`.
    WipeEntries,
    /// A tenant removes regcred's annotation from the ServiceAccount.
    Unannotate,
    /// A tenant adds an entry of its own.
    AddEntry,
    /// A tenant reverses the list.
    ReorderEntries,
}

/// Each kind with its weight.
const WEIGHTS: [(Kind, usize); 23] = [
    (Kind::Kill, 4),
    (Kind::Pause, 3),
    (Kind::Respond, 9),
    (Kind::LoseAnswer, 6),
    (Kind::CutAnswer, 6),
    (Kind::CutWatches, 5),
    (Kind::ExpireWatches, 3),
    (Kind::Refuse, 2),
    (Kind::RestartApiServer, 1),
    (Kind::RestartEtcd, 1),
    (Kind::Seal, 3),
    (Kind::Storm, 6),
    (Kind::Select, 8),
    (Kind::Rotate, 9),
    (Kind::DeleteSecret, 6),
    (Kind::EditSecret, 6),
    (Kind::Unlabel, 4),
    (Kind::Plant, 3),
    (Kind::Copy, 4),
    (Kind::WipeEntries, 6),
    (Kind::Unannotate, 4),
    (Kind::AddEntry, 7),
    (Kind::ReorderEntries, 6),
];

/// Requests that faults of the proxy concern.
const REQUESTS: [(Option<&str>, Option<&str>); 7] = [
    (Some("patch"), Some("secrets")),
    (Some("create"), Some("secrets")),
    (Some("patch"), Some("serviceaccounts")),
    (Some("list"), None),
    (None, Some("clusterpullsecrets/status")),
    (None, Some("leases")),
    (None, None),
];

impl Kind {
    /// Draws a kind.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut left = rng.below(WEIGHTS.iter().map(|(_, weight)| weight).sum());
        for (kind, weight) in WEIGHTS {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return kind,
            }
        }
        unreachable!("the weights sum up to the bound")
    }

    /// Returns the rule of the proxy for a fault of requests; `None` for the other kinds.
    pub(crate) fn rule(self, rng: &mut Rng) -> Option<Rule> {
        let fault = match self {
            Self::Respond => Fault::Respond(*rng.choose(&[409, 410, 429, 500, 503, 504])),
            Self::LoseAnswer => Fault::DropResponse,
            Self::CutAnswer => Fault::CutResponse,
            _ => return None,
        };
        let (verb, resource) = *rng.choose(&REQUESTS);
        Some(Rule { verb, resource, every: 2 + rng.below(4), fault })
    }
}

/// The longest pause between two faults.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_millis(250);

#[test]
fn every_kind_is_drawn() {
    let mut rng = Rng::new();
    let drawn: std::collections::BTreeSet<_> = (0..20_000).map(|_| Kind::draw(&mut rng)).collect();
    assert_eq!(drawn.len(), WEIGHTS.len());
}

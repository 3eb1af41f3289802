//! The action in a selected namespace.
//!
//! Pure. In go the desired Secret as the namespace may have it, and the Secret as observed. Where there is no new
//! content to write, what a store does not admit is removed from the old one.

use std::sync::Arc;

use super::{Action, TargetInput, prune};
use crate::cluster::{Namespace, Secret};
use crate::object_name::SecretName;
use crate::reconcile::desired_secret::NamespaceView;
use crate::reconcile::entry_change::{entry_changes, missing};
use crate::reconcile::last_good;
use crate::reconcile::no_content::NoContent;
use crate::report::Shortfall;
use crate::rotator::{self, AcceptedOlder, Content, Decision, Refusal};

/// The action in a namespace that a ClusterPullSecret holds.
pub(super) struct SelectedAction {
    pub(super) action: Action,
    /// The reason why the new content is not written, where the action removes entries from the old one.
    pub(super) shortfall: Option<Shortfall>,
}

impl From<Action> for SelectedAction {
    fn from(action: Action) -> Self {
        Self { action, shortfall: None }
    }
}

/// Decides about a namespace that the ClusterPullSecret holds.
pub(super) fn apply(
    namespace: &Namespace,
    input: &TargetInput<'_>,
    view: Option<&NamespaceView<'_>>,
    take_over_from: Option<&str>,
) -> SelectedAction {
    let TargetInput { cluster_pull_secret, owner, accepted_older, .. } = input;
    let observed = namespace.secrets.get(&owner.secret_name);
    let own = last_good::own_secret(namespace, cluster_pull_secret);
    let is_unread = own.is_some_and(|(_, it)| it.body.as_ref().is_none_or(|body| body.is_dropped));
    if observed.is_some_and(|observed| observed.is_shortened) {
        return read(&owner.secret_name);
    }
    // A Secret with a previous name has the last good entries as well, and goes after the write.
    if let Some((name, _)) =
        own.filter(|_| is_unread && view.is_some_and(|view| !view.desired().is_complete()))
    {
        return read(name);
    }
    let own = own.filter(|(name, _)| **name == owner.secret_name).map(|(_, secret)| secret);
    let no_content = match content(view, namespace) {
        Ok(content) => {
            let content = accepting_older(content, observed, accepted_older);
            return write(namespace, input, content, take_over_from).into();
        }
        Err(no_content) => no_content,
    };
    // What a store no longer admits may not stay either.
    let holder = view.zip(own).filter(|(view, own)| view.has_denied_entry(own));
    match (&no_content, holder) {
        (NoContent::NoCredential | NoContent::OlderLastGood(_), holder)
            if holder.is_some() || view.is_some_and(|view| view.is_denied) =>
        {
            prune(namespace, owner).unwrap_or(Action::None).into()
        }
        (NoContent::TooLarge | NoContent::TooLargeHere(_), Some(_)) if is_unread => read(&owner.secret_name),
        (NoContent::TooLarge | NoContent::TooLargeHere(_), Some((view, own))) => SelectedAction {
            action: match view.admitted_content(own) {
                Some(rest) => write(namespace, input, rest, take_over_from),
                None => prune(namespace, owner).unwrap_or(Action::None),
            },
            shortfall: Some(Shortfall { reason: no_content.reason(), message: no_content.to_string() }),
        },
        _ => Action::NoContent(no_content).into(),
    }
}

fn read(secret_name: &SecretName) -> SelectedAction {
    Action::Read { secret_name: secret_name.clone() }.into()
}

/// Decides about the Secret by its content, and about the entries of ServiceAccounts.
fn write(
    namespace: &Namespace,
    input: &TargetInput<'_>,
    content: Arc<Content>,
    take_over_from: Option<&str>,
) -> Action {
    let TargetInput { cluster_pull_secret, owner, guards, .. } = input;
    let observed = namespace.secrets.get(&owner.secret_name);
    let secret = rotator::decide(observed, &content, owner, take_over_from);
    let (entry_changes, missing) = match secret {
        Decision::Refuse(_) => (Vec::new(), Vec::new()),
        Decision::Unchanged
        | Decision::Read
        | Decision::Create
        | Decision::Update { .. }
        | Decision::Outdated(_) => {
            (entry_changes(namespace, cluster_pull_secret, guards), missing(namespace, cluster_pull_secret))
        }
    };
    Action::Apply {
        content,
        secret,
        take_over_from: take_over_from.map(str::to_owned),
        entry_changes,
        missing,
    }
}

/// Returns the content of the view of a namespace.
fn content(view: Option<&NamespaceView<'_>>, namespace: &Namespace) -> Result<Arc<Content>, NoContent> {
    view.map_or(Err(NoContent::NoCredential), |view| view.desired().content_for(namespace))
}

/// Gives up the later versions that a Secret holds as observed, and no others.
fn accepting_older(
    content: Arc<Content>,
    observed: Option<&Secret>,
    accepted: &AcceptedOlder,
) -> Arc<Content> {
    if accepted.is_none() {
        return content;
    }
    let mut later = content.fetched.later_than_fetched(observed);
    later.retain(|conflict| accepted.contains(&conflict.store_key));
    if later.is_empty() {
        return content;
    }
    Arc::new(Content { fetched: content.fetched.giving_up(&later), ..content.as_ref().clone() })
}

/// Decides about a namespace in which another ClusterPullSecret holds the Secret.
pub(super) fn refuse(namespace: &Namespace, view: Option<&NamespaceView<'_>>, rival: &str) -> Action {
    match content(view, namespace) {
        Err(no_content) => Action::NoContent(no_content),
        Ok(content) => Action::Apply {
            content,
            secret: Decision::Refuse(Refusal::ClaimedBy(rival.to_owned())),
            take_over_from: None,
            entry_changes: Vec::new(),
            missing: Vec::new(),
        },
    }
}

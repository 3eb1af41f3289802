//! The `imagePullSecrets` of one ServiceAccount.
//!
//! In goes the ServiceAccount as observed and whether it should name a pull secret, out comes at most
//! one write. The list is atomic: every kind of patch replaces it as a whole, so it is read, changed
//! and written back under the `resourceVersion` it was read at, and every other entry keeps its place
//! ([kubernetes#91250]). What regcred added stands in an annotation, and only that is ever removed.
//!
//! [kubernetes#91250]: https://github.com/kubernetes/kubernetes/issues/91250

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use kube::Client;
use kube::api::{Api, Patch};
use serde_json::json;
use tracing::debug;

use crate::cluster;
use crate::cluster::error::{Error, conflict_backoff, within};
use crate::cluster::{ADDED, ServiceAccount, params, render_added};
use crate::rotator::Owner;

/// Whether a ServiceAccount should name the pull secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It should.
    Named,
    /// It should not: where regcred added the name, it goes.
    Absent,
}

/// The write that puts a ServiceAccount right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The precondition of the write.
    pub resource_version: String,
    /// The whole new list.
    pub image_pull_secrets: Vec<String>,
    /// The whole new annotation.
    pub added: BTreeMap<String, Option<String>>,
}

/// What became of one ServiceAccount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was as it should be.
    Unchanged,
    /// Its list was changed.
    Patched,
    /// It is gone.
    Gone,
}

/// What to write, given what is there; `None` is no write.
#[must_use]
pub fn decide(observed: &ServiceAccount, owner: &Owner, wanted: Wanted) -> Option<Change> {
    let Owner { secret_name, pull_secret, .. } = owner;
    let mut change = Change {
        resource_version: observed.resource_version.clone(),
        image_pull_secrets: observed.image_pull_secrets.clone(),
        added: observed.added.clone(),
    };
    let is_named = observed.image_pull_secrets.iter().any(|name| name == secret_name);
    match (wanted, observed.added.get(secret_name)) {
        // Somebody else's entry is as good as ours.
        (Wanted::Named, None) if is_named => return None,
        (Wanted::Named, Some(Some(added_for))) if is_named && added_for == pull_secret => return None,
        (Wanted::Named, _) => {
            if !is_named {
                change.image_pull_secrets.push(secret_name.to_owned());
            }
            change.added.insert(secret_name.to_owned(), Some(pull_secret.to_owned()));
        }
        (Wanted::Absent, None) => return None,
        (Wanted::Absent, Some(_)) => {
            change.added.remove(secret_name);
            // Where somebody added the name a second time, ours is the last one.
            if let Some(ours) = change.image_pull_secrets.iter().rposition(|name| name == secret_name) {
                change.image_pull_secrets.remove(ours);
            }
        }
    }
    Some(change)
}

/// Makes `observed` what is wanted, in at most one write; afterwards it is what the cluster holds.
/// Where another writer came first, the ServiceAccount is read and decided on anew.
pub async fn act(
    client: &Client,
    namespace: &str,
    name: &str,
    observed: &mut ServiceAccount,
    owner: &Owner,
    wanted: Wanted,
) -> Result<Outcome, Error> {
    let service_accounts = Api::<core::ServiceAccount>::namespaced(client.clone(), namespace);
    let mut backoff = conflict_backoff();
    loop {
        let Some(change) = decide(observed, owner, wanted) else {
            return Ok(Outcome::Unchanged);
        };
        match (patch(&service_accounts, name, &change).await, backoff.next()) {
            (Ok(resource_version), _) => {
                let Change { image_pull_secrets, added, .. } = change;
                *observed = ServiceAccount { resource_version, image_pull_secrets, added };
                return Ok(Outcome::Patched);
            }
            (Err(Error::NotFound(_)), _) => return Ok(Outcome::Gone),
            (Err(Error::Changed(_)), Some(pause)) => {
                debug!(namespace, service_account = name, "another writer came first");
                tokio::time::sleep(pause).await;
            }
            (Err(error), _) => return Err(error),
        }
        match cluster::service_account(client, namespace, name).await? {
            Some(current) => *observed = current,
            None => return Ok(Outcome::Gone),
        }
    }
}

/// Writes the change; gives back the new `resourceVersion`.
async fn patch(
    service_accounts: &Api<core::ServiceAccount>,
    name: &str,
    change: &Change,
) -> Result<String, Error> {
    let added = render_added(&change.added);
    let references: Vec<_> = change.image_pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    let patch = json!({
        "metadata": {
            "resourceVersion": change.resource_version,
            // `null` takes the annotation away in a merge patch.
            "annotations": { ADDED: (!added.is_empty()).then_some(added) },
        },
        "imagePullSecrets": references,
    });
    let written =
        within(service_accounts.patch_metadata(name, &params::patch(), &Patch::Merge(patch))).await?;
    Ok(written.metadata.resource_version.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::script::{conflict, exchange, play, refused};
    use crate::manifest::cluster_pull_secret::Existing;
    use crate::rotator::Collection;
    use proptest::prelude::*;

    fn owner(secret_name: &str) -> Owner {
        Owner {
            pull_secret: "images".into(),
            secret_name: secret_name.into(),
            existing: Existing::Refuse,
            collection: Collection::Unknown,
        }
    }

    /// `added` as the annotation has it; a name alone was added for us.
    fn service_account(list: &[&str], added: &[&str]) -> ServiceAccount {
        let entry = |entry: &&str| {
            let (name, added_for) = entry.split_once('=').unwrap_or((entry, "images"));
            (name.to_owned(), Some(added_for.to_owned()).filter(|it| !it.is_empty()))
        };
        ServiceAccount {
            resource_version: "7".into(),
            image_pull_secrets: list.iter().map(ToString::to_string).collect(),
            added: added.iter().map(entry).collect(),
        }
    }

    /// From `(list, added)` to `(list, added)`, or to no write.
    #[track_caller]
    fn check(before: (&[&str], &[&str]), wanted: Wanted, after: Option<(&[&str], &[&str])>) {
        let change = decide(&service_account(before.0, before.1), &owner("regcred"), wanted);
        let expect = after.map(|(list, added)| {
            let ServiceAccount { resource_version, image_pull_secrets, added } = service_account(list, added);
            Change { resource_version, image_pull_secrets, added }
        });
        assert_eq!(change, expect);
    }

    #[test]
    fn an_entry_that_was_added_for_another_pull_secret_becomes_ours() {
        check((&["regcred"], &["regcred=other"]), Wanted::Named, Some((&["regcred"], &["regcred=images"])));
        check((&["regcred"], &["regcred="]), Wanted::Named, Some((&["regcred"], &["regcred=images"])));
    }

    #[test]
    fn our_name_is_added_behind_every_other_entry() {
        check((&[], &[]), Wanted::Named, Some((&["regcred"], &["regcred"])));
        check((&["b", "a", "b"], &[]), Wanted::Named, Some((&["b", "a", "b", "regcred"], &["regcred"])));
    }

    #[test]
    fn an_entry_that_is_there_is_no_write() {
        check((&["regcred", "a"], &["regcred"]), Wanted::Named, None);
        // Somebody else added it: it is not ours to record, so it is not ours to remove.
        check((&["regcred", "a"], &[]), Wanted::Named, None);
    }

    #[test]
    fn only_what_we_added_is_removed() {
        check((&["a", "regcred", "b"], &["regcred"]), Wanted::Absent, Some((&["a", "b"], &[])));
        check((&["a", "regcred"], &[]), Wanted::Absent, None);
        check((&["regcred"], &["other", "regcred"]), Wanted::Absent, Some((&[], &["other"])));
    }

    #[test]
    fn an_entry_that_somebody_removed_is_put_back() {
        check((&["a"], &["regcred"]), Wanted::Named, Some((&["a", "regcred"], &["regcred"])));
    }

    #[test]
    fn an_entry_that_is_gone_already_leaves_only_the_annotation_to_mend() {
        check((&["a"], &["regcred"]), Wanted::Absent, Some((&["a"], &[])));
    }

    const GET: &str = "GET /api/v1/namespaces/web/serviceaccounts/default";
    const PATCH: &str = "PATCH /api/v1/namespaces/web/serviceaccounts/default?&fieldManager=regcred";

    /// The ServiceAccount as the API server shows it.
    fn shown(resource_version: &str, list: &[&str]) -> serde_json::Value {
        let list: Vec<_> = list.iter().map(|name| json!({"name": name})).collect();
        json!({"metadata": {"name": "default", "resourceVersion": resource_version}, "imagePullSecrets": list})
    }

    async fn add(client: Client) -> Result<Outcome, Error> {
        act(&client, "web", "default", &mut service_account(&["a"], &[]), &owner("regcred"), Wanted::Named)
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn conflict_rereads_and_keeps_others_entries() {
        let script = vec![
            conflict(PATCH),
            exchange(GET, 200, shown("9", &["a", "b"])),
            exchange(PATCH, 200, shown("10", &[])),
        ];
        let (outcome, bodies) = play(script, add).await;
        assert_eq!(outcome, Ok(Outcome::Patched));
        assert_eq!(bodies[0]["metadata"]["resourceVersion"], "7");
        let expect = json!({
            "metadata": {"resourceVersion": "9", "annotations": {ADDED: "regcred=images"}},
            "imagePullSecrets": [{"name": "a"}, {"name": "b"}, {"name": "regcred"}],
        });
        assert_eq!(bodies[2], expect);
    }

    #[tokio::test]
    async fn a_second_wish_for_the_same_list_builds_on_the_first() {
        let script = vec![exchange(PATCH, 200, shown("8", &[])), exchange(PATCH, 200, shown("9", &[]))];
        let ((), bodies) = play(script, async |client| {
            let mut observed = service_account(&["a"], &[]);
            for secret_name in ["one", "two"] {
                act(&client, "web", "default", &mut observed, &owner(secret_name), Wanted::Named)
                    .await
                    .expect("a patch");
            }
        })
        .await;
        assert_eq!(bodies[1]["metadata"]["resourceVersion"], "8");
        assert_eq!(bodies[1]["imagePullSecrets"], json!([{"name": "a"}, {"name": "one"}, {"name": "two"}]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_with_somebody_who_added_our_name_is_no_second_write() {
        let script = vec![conflict(PATCH), exchange(GET, 200, shown("9", &["regcred"]))];
        assert_eq!(play(script, add).await.0, Ok(Outcome::Unchanged));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_account_that_is_gone_is_no_failure() {
        assert_eq!(play(vec![refused(PATCH, 404, "NotFound")], add).await.0, Ok(Outcome::Gone));
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_who_never_rests_is_given_up_on_and_told() {
        let mut script = Vec::new();
        for _ in 0..12 {
            script.extend([conflict(PATCH), exchange(GET, 200, shown("9", &["a"]))]);
        }
        script.push(conflict(PATCH));
        assert_eq!(play(script, add).await.0.map_err(|error| error.reason()), Err("Changed"));
    }

    proptest! {
        #[test]
        fn everyone_elses_entries_keep_their_place(list in proptest::collection::vec("[a-d]|regcred", 0..8), ours in any::<bool>(), named in any::<bool>()) {
            let mut before = ServiceAccount { image_pull_secrets: list, ..ServiceAccount::default() };
            if ours {
                before.added.insert("regcred".into(), Some("images".into()));
            }
            let others = |names: &[String]| names.iter().filter(|name| *name != "regcred").cloned().collect::<Vec<_>>();
            let wanted = if named { Wanted::Named } else { Wanted::Absent };
            if let Some(change) = decide(&before, &owner("regcred"), wanted) {
                prop_assert_eq!(others(&change.image_pull_secrets), others(&before.image_pull_secrets));
                let after = ServiceAccount { resource_version: String::new(), image_pull_secrets: change.image_pull_secrets, added: change.added };
                prop_assert_eq!(decide(&after, &owner("regcred"), wanted), None, "a second pass writes nothing");
            }
        }
    }
}

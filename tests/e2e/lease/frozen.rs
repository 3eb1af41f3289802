//! A virtual machine that its host paused: no clock of the machine shows the pause.

use std::sync::Arc;
use std::time::Duration;

use regcred::cluster;
use regcred::cluster::ownership::Ownership;
use regcred::credential::StoreKey;
use regcred::docker_config::host_key::HostKey;
use regcred::leader_election::clock::Clock;
use regcred::manifest::cluster_pull_secret::Existing;
use regcred::rotator::{self, Content, Difference, FetchedVersion, FetchedVersions, Outcome};

use super::election::{Election, Replica};

fn owner() -> Ownership {
    Ownership {
        cluster_pull_secret: "images".to_owned(),
        secret_name: "regcred".into(),
        existing: Existing::Refuse,
        key: None,
    }
}

/// The content of a Secret that was fetched at this version.
fn content(version: u64) -> Content {
    let store_key = StoreKey { store: "vault".into(), key: "ci/ghcr".into() };
    let text = format!("{version}@2026-11-27T10:00:0{version}Z");
    let fetched = FetchedVersion::new(&store_key, text.as_str().into());
    let docker_config = format!(r#"{{"auths":{{"ghcr.io":{{"auth":"{version}"}}}}}}"#).into_bytes();
    Content::new(
        Arc::new(docker_config.into()),
        format!("ghcr.io=vault:{text}"),
        FetchedVersions([(HostKey::parse("ghcr.io").unwrap(), fetched)].into()),
    )
}

/// Applies a content over the Secret as this replica knows it.
async fn apply(
    replica: &Replica,
    election: &Election,
    known: &mut Option<cluster::Secret>,
    version: u64,
) -> Outcome {
    let namespace = election.namespace.into();
    rotator::apply(&replica.client, &namespace, known, &content(version), &owner(), None).await.unwrap()
}

#[tokio::test]
async fn frozen_clock_passes_the_fence_and_versions_decide() {
    let election = Election::new("lease-frozen").await;
    let frozen = Clock::new(|| Duration::from_secs(1000));
    let mut paused = Replica::run(election.config.clone(), election.lease_config("paused", 3), frozen);
    paused.wins().await;
    let mut known = None;
    assert_eq!(apply(&paused, &election, &mut known, 1).await, Outcome::Created);
    // No code of a paused machine runs, not even its watch of the lease.
    paused.election.task.abort();

    let mut next = election.run("next", 3);
    next.wins().await;
    let mut seen =
        cluster::get_secret(&next.client, &election.namespace.into(), &"regcred".into()).await.unwrap();
    if let Some(seen) = &mut seen {
        seen.assess(&election.namespace.into(), &"regcred".into(), None, None);
    }
    assert_eq!(apply(&next, &election, &mut seen, 3).await, Outcome::Updated(Difference::Credentials));

    // The paused machine goes on: its clock stood still, and its fence lets every write through.
    assert!(paused.leadership.is_current());
    assert_eq!(paused.writes().await, Ok(()));
    let outcome = apply(&paused, &election, &mut known, 2).await;
    let Outcome::Outdated(conflict) = outcome else { panic!("{outcome:?}") };
    assert_eq!((conflict.held.to_string().as_str(), conflict.fetched.to_string().as_str()), ("3", "2"));
    let left =
        cluster::get_secret(&next.client, &election.namespace.into(), &"regcred".into()).await.unwrap();
    assert_eq!(left.and_then(|secret| secret.versions), Some(content(3).versions));
}

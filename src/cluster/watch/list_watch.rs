//! Lists a resource, then watches it from the version of the list.
//!
//! In goes a client, out come the events of one resource. A watch that ends resumes at the last version it has
//! seen, and misses nothing, unless etcd was restored from a backup in between: versions are given out again
//! then. So everything is listed again where the API server is older than this watch or another one, and after a
//! failure: etcd is restored while no API server runs.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::pin::pin;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::TryStreamExt;
use kube::Client;
use kube::api::{ListParams, WatchEvent as ApiEvent, WatchParams};
use kube::core::Request;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use super::restores::{KnownRestores, Restores};
use super::{WatchEvent, WatchedObject, WatchedResource};
use crate::cluster::error::{Error, with_timeout};
use crate::cluster::list::{List, ListRequest, Step};
use crate::cluster::object::{Listed, PageMetadata, Wire, decode};
use crate::cluster::revision;
use crate::repeated_failure::RepeatedFailure;

/// The longest back-off before a failed watch is retried.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The seconds after which the API server ends a watch, and the watch resumes.
const WATCH_SECONDS: u32 = 290;

/// The least time between two lists, where the failures of a watch cause them.
const LIST_PAUSE: Duration = Duration::from_secs(5);
/// The same for each object of the list, so that lists of a large cluster cost little.
const LIST_PAUSE_PER_OBJECT: Duration = Duration::from_millis(10);

/// A resource that is listed and watched.
pub(super) struct ListWatch<W> {
    client: Client,
    resource: WatchedResource,
    request: ListRequest,
    /// The longest silence of a watch before it resumes.
    idle_limit: Duration,
    events: mpsc::Sender<WatchEvent>,
    /// The version to watch from; `None` while the resource has to be listed.
    version: Option<String>,
    /// The time from which the resource may be listed again.
    next_list: Instant,
    /// The watch has failed since the last list.
    has_failed: bool,
    /// The failure that was logged last.
    failure: RepeatedFailure,
    /// The limit of a page, as the last list found it.
    limit: Option<usize>,
    /// A watch from this version or an earlier one has ended.
    is_resumed: bool,
    restores: KnownRestores,
    wire: PhantomData<fn() -> W>,
}

/// The reason why a list or a watch does not go on.
enum Ended {
    /// The receiver of the events is gone.
    Unwatched,
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<W: Wire> ListWatch<W>
where
    W::Object: Into<WatchedObject> + Send,
{
    pub(super) fn new(
        client: Client,
        resource: WatchedResource,
        request: ListRequest,
        idle_limit: Duration,
        events: mpsc::Sender<WatchEvent>,
        restores: &Restores,
    ) -> Self {
        Self {
            client,
            resource,
            request,
            idle_limit,
            events,
            version: None,
            next_list: Instant::now(),
            has_failed: false,
            failure: RepeatedFailure::default(),
            limit: None,
            is_resumed: false,
            restores: restores.subscribe(),
            wire: PhantomData,
        }
    }

    /// Sends events until the receiver is gone. Failures are retried with back-off, without end.
    pub(super) async fn run(mut self) {
        let mut backoff = watch_backoff();
        loop {
            if self.has_failed && Instant::now() >= self.next_list {
                self.version = None;
            }
            if self.restores.take() && self.version.take().is_some() {
                info!(resource = %self.resource, "etcd was restored from a backup: listing again");
            }
            let before = self.version.clone();
            let result = match self.version {
                None => self.list().await,
                Some(_) => self.watch().await,
            };
            // Only an object or a complete list proves that the watch works.
            if self.version.is_some() && self.version != before {
                backoff = watch_backoff();
                if self.failure.ends() {
                    info!(resource = %self.resource, "watching again");
                }
            }
            let error = match result {
                Ok(()) => continue,
                Err(Ended::Unwatched) => return,
                Err(Ended::Failed(error)) => error,
            };
            self.log_failure(&error);
            self.has_failed = true;
            if matches!(error, Error::Expired | Error::NotFound(_)) {
                self.version = None;
            }
            if self.send(WatchEvent::Failed(self.resource.clone(), error)).await.is_err() {
                return;
            }
            tokio::time::sleep(backoff.next().unwrap_or(MAX_BACKOFF)).await;
        }
    }

    fn log_failure(&mut self, error: &Error) {
        let resource = &self.resource;
        match error {
            // The CRD is not installed, or the snapshot of a list is too old: neither is a fault.
            Error::NotFound(_) | Error::Expired => debug!(%resource, "watch ended: {error}"),
            error if self.failure.begins(&error.to_string()) => {
                warn!(%resource, reason = %error.reason(), "watch failed, retrying: {error}");
            }
            error => debug!(%resource, reason = %error.reason(), "watch failed again: {error}"),
        }
    }

    async fn send(&self, event: WatchEvent) -> Result<(), Ended> {
        self.events.send(event).await.map_err(|_| Ended::Unwatched)
    }

    /// Lists every object.
    async fn list(&mut self) -> Result<(), Ended> {
        self.send(WatchEvent::ListStarted(self.resource.clone())).await?;
        let list = List::new(self.client.clone(), self.request.clone(), decode::<W>);
        let mut list = list.with_limit(self.limit);
        let mut listed = BTreeSet::new();
        loop {
            match list.next().await? {
                Step::Items(items) => {
                    for Listed { object_ref, object, .. } in items {
                        listed.insert(object_ref.clone());
                        self.send(WatchEvent::Listed(object_ref, object.into())).await?;
                    }
                }
                Step::Restarted => listed.clear(),
                Step::Complete(version) if version.is_empty() => {
                    let message = "the API server sent a list without a resourceVersion";
                    return Err(Error::Invalid(message.into()).into());
                }
                Step::Complete(version) => {
                    debug!(resource = %self.resource, objects = listed.len(), "watching");
                    (self.version, self.is_resumed) = (Some(version), false);
                    (self.limit, self.has_failed) = (Some(list.limit()), false);
                    self.next_list = Instant::now() + pause_after_list(listed.len());
                    return self.send(WatchEvent::Relisted(self.resource.clone(), listed)).await;
                }
            }
        }
    }

    /// Watches until the watch ends, is silent for too long, or has to be listed again.
    async fn watch(&mut self) -> Result<(), Ended> {
        let Some(version) = self.version.clone() else { return Ok(()) };
        if self.is_resumed {
            let current = self.current_version().await?;
            if self.is_restored(&current) {
                return Ok(());
            }
        }
        self.is_resumed = true;
        let params = WatchParams {
            field_selector: self.request.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            ..WatchParams::default()
        };
        let endpoint = Request::new(&self.request.path);
        let request = if self.request.metadata_only {
            endpoint.watch_metadata(&params, &version)
        } else {
            endpoint.watch(&params, &version)
        };
        let request = request.map_err(kube::Error::BuildRequest);
        let events = with_timeout(async { self.client.request_events::<W>(request?).await }).await?;
        let mut events = pin!(events);
        loop {
            let idle_at = Instant::now() + self.idle_limit;
            let ends_at = if self.has_failed { idle_at.min(self.next_list) } else { idle_at };
            let next = tokio::select! {
                () = self.restores.announced() => return Ok(()),
                next = timeout_at(ends_at, events.try_next()) => next,
            };
            let Ok(next) = next else {
                if ends_at == idle_at {
                    let idle_limit = self.idle_limit;
                    info!(resource = %self.resource, ?idle_limit, "the watch is silent: resuming on another connection");
                }
                return Ok(());
            };
            let Some(event) = next.map_err(|error| Error::from(&error))? else { return Ok(()) };
            let event = match event {
                ApiEvent::Added(wire) | ApiEvent::Modified(wire) => {
                    let Listed { object_ref, resource_version, object } = wire.reduce();
                    self.version = Some(resource_version);
                    WatchEvent::Applied(object_ref, object.into())
                }
                ApiEvent::Deleted(wire) => {
                    let Listed { object_ref, resource_version, .. } = wire.reduce();
                    self.version = Some(resource_version.clone());
                    WatchEvent::Deleted(self.resource.clone(), object_ref, resource_version)
                }
                ApiEvent::Bookmark(bookmark) => {
                    if self.is_restored(&bookmark.metadata.resource_version) {
                        return Ok(());
                    }
                    self.version = Some(bookmark.metadata.resource_version);
                    continue;
                }
                ApiEvent::Error(status) => return Err(Error::from(status.as_ref()).into()),
            };
            self.send(event).await?;
        }
    }

    /// Reads the current version of the resource from a quorum.
    async fn current_version(&self) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Page {
            metadata: PageMetadata,
        }
        let params = ListParams { field_selector: self.request.fields.clone(), ..ListParams::default() };
        let request = Request::new(&self.request.path).list_metadata(&params.limit(1));
        let request = request.map_err(kube::Error::BuildRequest);
        let page = with_timeout(async { self.client.request::<Page>(request?).await }).await?;
        Ok(page.metadata.resource_version)
    }

    /// Returns true if the API server's version is older than the last one seen; then the resource has to be
    /// listed again.
    fn is_restored(&mut self, current: &str) -> bool {
        let is_restored = self.version.as_ref().is_some_and(|seen| revision(current) < revision(seen));
        if is_restored {
            info!(resource = %self.resource, "etcd was restored from a backup: listing again");
            self.version = None;
            self.restores.announce();
        }
        is_restored
    }
}

/// Returns the pause after a list of this length, before failures of the watch cause another one.
fn pause_after_list(objects: usize) -> Duration {
    LIST_PAUSE.max(LIST_PAUSE_PER_OBJECT.saturating_mul(u32::try_from(objects).unwrap_or(u32::MAX)))
}

/// Returns the back-off between attempts to watch, without end.
fn watch_backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(MAX_BACKOFF)
        .without_max_times()
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests;

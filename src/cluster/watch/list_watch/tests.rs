//! Watches of namespaces, with scripted answers of the API server.

use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::cluster::object::WireNamespace;
use crate::cluster::script::{Exchange, exchange, play, refused};
use crate::cluster::watch::IDLE_LIMIT;
use crate::provider::without_tracing::tests::Log;

const LIST: &str = "GET /api/v1/namespaces?&limit=50";
const CURRENT: &str = "GET /api/v1/namespaces?&limit=1";

const LIST_AGAIN: &str = "GET /api/v1/namespaces?&limit=2000";

fn list_again(version: &str, names: &[&str]) -> Exchange {
    Exchange { request_line: LIST_AGAIN, ..list(version, names) }
}

fn list(version: &str, names: &[&str]) -> Exchange {
    let items: Vec<_> = names.iter().map(|name| json!({"metadata": {"name": name}})).collect();
    exchange(LIST, 200, json!({"metadata": {"resourceVersion": version}, "items": items}))
}

fn current(version: &str) -> Exchange {
    exchange(CURRENT, 200, json!({"metadata": {"resourceVersion": version}, "items": []}))
}

const WATCH_5: &str =
    "GET /api/v1/namespaces?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=5";
const WATCH_7: &str =
    "GET /api/v1/namespaces?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=7";
const WATCH_8: &str =
    "GET /api/v1/namespaces?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=8";
const WATCH_9: &str =
    "GET /api/v1/namespaces?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=9";

const WATCH_12: &str =
    "GET /api/v1/namespaces?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=12";

fn event(kind: &str, name: &str, version: &str) -> Value {
    json!({"type": kind, "object": {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name, "resourceVersion": version}}})
}

/// A watch of namespaces.
fn list_watch(
    client: Client,
    sender: mpsc::Sender<WatchEvent>,
    restores: &Restores,
) -> ListWatch<WireNamespace> {
    let request = ListRequest { path: "/api/v1/namespaces".into(), fields: None, metadata_only: false };
    ListWatch::new(client, WatchedResource::Namespaces, request, IDLE_LIMIT, sender, restores)
}

/// The events of a script, until its last response was read.
async fn events(script: Vec<Exchange>, count: usize) -> Vec<String> {
    let act = async |client: Client| {
        let (sender, mut receiver) = mpsc::channel(16);
        let watch = list_watch(client, sender, &Restores::default());
        let watch = tokio::spawn(watch.run());
        let mut events = Vec::new();
        while events.len() < count {
            let event = timeout(2 * IDLE_LIMIT, receiver.recv()).await.expect("an event in time");
            events.push(match event.expect("an event") {
                WatchEvent::ListStarted(_) => "list".to_owned(),
                WatchEvent::Listed(object, _) => format!("listed {}", object.name),
                WatchEvent::Relisted(_, present) => format!("relisted {}", present.len()),
                WatchEvent::Applied(object, _) => format!("applied {}", object.name),
                WatchEvent::Deleted(_, object, version) => format!("deleted {} {version}", object.name),
                WatchEvent::Failed(_, error) => format!("failed {}", error.reason()),
            });
        }
        watch.abort();
        // The task owns the client; the script ends once the task is gone.
        drop(watch.await);
        events
    };
    play(script, act).await.0
}

/// The names that are listed until a request fails.
async fn names_until_failure(
    watch: ListWatch<WireNamespace>,
    receiver: &mut mpsc::Receiver<WatchEvent>,
    on_applied: impl Fn(),
) -> Vec<String> {
    let watch = tokio::spawn(watch.run());
    let mut listed = Vec::new();
    while let Some(event) = receiver.recv().await {
        match event {
            WatchEvent::Applied(..) => on_applied(),
            WatchEvent::Listed(object, _) => listed.push(object.name),
            WatchEvent::Failed(..) => break,
            _ => {}
        }
    }
    watch.abort();
    drop(watch.await);
    listed
}

/// The end of every script: the task pauses after a failure, and sends no further request.
fn end(request_line: &'static str) -> Exchange {
    refused(request_line, 403, "Forbidden")
}

#[tokio::test(start_paused = true)]
async fn watch_resumes_at_the_last_version() {
    let script = vec![
        list("7", &["a"]),
        exchange(WATCH_7, 200, event("DELETED", "a", "9")),
        current("9"),
        exchange(WATCH_9, 200, event("ADDED", "b", "10")),
        end(CURRENT),
    ];
    let expect = ["list", "listed a", "relisted 1", "deleted a 9", "applied b", "failed Forbidden"];
    assert_eq!(events(script, expect.len()).await, expect);
}

#[tokio::test(start_paused = true)]
async fn silent_watch_resumes_on_another_connection() {
    let dead = Exchange { stays_open: true, ..exchange(WATCH_7, 200, event("ADDED", "a", "9")) };
    let script = vec![
        list("7", &[]),
        dead,
        current("10"),
        exchange(WATCH_9, 200, event("ADDED", "b", "10")),
        end(CURRENT),
    ];
    let expect = ["list", "relisted 0", "applied a", "applied b", "failed Forbidden"];
    assert_eq!(events(script, expect.len()).await, expect);
}

#[tokio::test(start_paused = true)]
async fn repeated_failure_is_logged_once_and_its_end() {
    let (log, _guard) = Log::capture();
    let [down, down_again] = [(); 2].map(|()| refused(LIST, 500, "InternalError"));
    let script = vec![down, down_again, refused(LIST, 403, "Forbidden"), list("7", &[]), end(WATCH_7)];
    let expect = [
        &["list", "failed Unavailable"][..],
        &["list", "failed Unavailable"],
        &["list", "failed Forbidden"],
        &["list", "relisted 0", "failed Forbidden"],
    ];
    let expect = expect.concat();
    assert_eq!(events(script, expect.len()).await, expect);
    let text = log.text();
    let lines = ["watch failed, retrying", "watching again"];
    assert_eq!(lines.map(|line| text.matches(line).count()), [3, 1], "{text}");
}

#[tokio::test(start_paused = true)]
async fn failed_watch_lists_again_after_a_pause() {
    let down = || refused(WATCH_7, 500, "InternalError");
    let down_again = || refused(CURRENT, 500, "InternalError");
    let script = vec![list("7", &["a"]), down(), down_again(), list_again("7", &["b"]), end(WATCH_7)];
    let act = async |client: Client| {
        let (sender, mut receiver) = mpsc::channel(16);
        let mut watch = list_watch(client, sender, &Restores::default());
        assert!(watch.list().await.is_ok());
        for _ in 0..2 {
            assert!(watch.watch().await.is_err());
            watch.has_failed = true;
        }
        tokio::time::advance(LIST_PAUSE).await;
        names_until_failure(watch, &mut receiver, || {}).await
    };
    assert_eq!(play(script, act).await.0, ["a", "b"]);
}

#[test]
fn lists_of_large_clusters_are_further_apart() {
    assert_eq!(pause_after_list(3), LIST_PAUSE);
    assert_eq!(pause_after_list(10_000), Duration::from_secs(100));
}

#[tokio::test(start_paused = true)]
async fn expired_watch_lists_again() {
    let script =
        vec![list("7", &[]), refused(WATCH_7, 410, "Expired"), list_again("9", &["b"]), end(WATCH_9)];
    let expect =
        ["list", "relisted 0", "failed Expired", "list", "listed b", "relisted 1", "failed Forbidden"];
    assert_eq!(events(script, expect.len()).await, expect);
}

#[tokio::test(start_paused = true)]
async fn api_server_older_than_the_watch_is_listed_again() {
    let script = vec![
        list("7", &["a"]),
        exchange(WATCH_7, 200, event("ADDED", "b", "9")),
        current("8"),
        list_again("8", &[]),
        end(WATCH_8),
    ];
    let expect = ["list", "listed a", "relisted 1", "applied b", "list", "relisted 0", "failed Forbidden"];
    assert_eq!(events(script, expect.len()).await, expect);
}

#[tokio::test(start_paused = true)]
async fn bookmark_older_than_the_watch_lists_again() {
    let script = vec![
        list("7", &[]),
        exchange(WATCH_7, 200, event("BOOKMARK", "", "5")),
        list_again("5", &[]),
        end(WATCH_5),
    ];
    let expect = ["list", "relisted 0", "list", "relisted 0", "failed Forbidden"];
    assert_eq!(events(script, expect.len()).await, expect);
}

#[tokio::test(start_paused = true)]
async fn restore_that_another_watch_finds_lists_again() {
    let open = Exchange { stays_open: true, ..exchange(WATCH_7, 200, event("ADDED", "a", "9")) };
    let script = vec![list("7", &[]), open, list_again("12", &["b"]), end(WATCH_12)];
    let act = async |client: Client| {
        let (sender, mut receiver) = mpsc::channel(16);
        let restores = Restores::default();
        let watch = list_watch(client, sender, &restores);
        names_until_failure(watch, &mut receiver, || restores.subscribe().announce()).await
    };
    assert_eq!(play(script, act).await.0, ["b"]);
}

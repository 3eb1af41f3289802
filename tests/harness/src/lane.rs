//! The sets of servers that tests use one at a time.
//!
//! Most tests wait for most of their time, so two of them run side by side, each in a lane of its own. A test that
//! measures how soon something happens runs alone.

use std::path::PathBuf;

use tokio::sync::{Mutex, MutexGuard, OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};
use world::{Kube, Reaper, Vault};

use crate::setup;

/// The servers of one lane.
pub(crate) struct Exclusive {
    pub(crate) kube: Kube,
    pub(crate) vault: Vault,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) reaper: Reaper,
}

struct ServerSet {
    turn: Mutex<()>,
    /// Started by the first test.
    servers: OnceCell<Exclusive>,
}

impl ServerSet {
    const fn new() -> Self {
        Self { turn: Mutex::const_new(()), servers: OnceCell::const_new() }
    }
}

/// The first lane has the shared namespaces.
static FIRST: ServerSet = ServerSet::new();
static SECOND: ServerSet = ServerSet::new();
/// Held by every test in a lane, for writing by one that runs alone.
static ACTIVITY: RwLock<()> = RwLock::const_new(());

/// Held by the test that uses a lane.
#[derive(Debug)]
pub(crate) struct Turn {
    _guard: MutexGuard<'static, ()>,
    is_second: bool,
    activity: Activity,
}

#[derive(Debug)]
#[expect(dead_code, reason = "the guards are held")]
enum Activity {
    BesideAnother(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
    Paused,
}

impl Turn {
    /// Waits for a lane.
    pub(crate) async fn any() -> Self {
        let (guard, is_second) = tokio::select! {
            biased;
            guard = FIRST.turn.lock() => (guard, false),
            guard = SECOND.turn.lock() => (guard, true),
        };
        Self::beside_another(guard, is_second).await
    }

    /// Waits for the lane with the shared namespaces.
    pub(crate) async fn first() -> Self {
        Self::beside_another(FIRST.turn.lock().await, false).await
    }

    /// Waits for the other lane.
    pub(crate) async fn second() -> Self {
        Self::beside_another(SECOND.turn.lock().await, true).await
    }

    /// Waits until no other test runs.
    pub(crate) async fn alone() -> Self {
        let guard = FIRST.turn.lock().await;
        Self { _guard: guard, is_second: false, activity: Activity::Alone(ACTIVITY.write().await) }
    }

    async fn beside_another(guard: MutexGuard<'static, ()>, is_second: bool) -> Self {
        Self { _guard: guard, is_second, activity: Activity::BesideAnother(ACTIVITY.read().await) }
    }

    /// Lets the tests pass that wait to run alone; the lane stays taken.
    pub(crate) async fn pause(&mut self) {
        self.activity = Activity::Paused;
        self.activity = Activity::BesideAnother(ACTIVITY.read().await);
    }

    /// Returns the servers of the lane.
    pub(crate) async fn servers(&self) -> &'static Exclusive {
        let lane = if self.is_second { &SECOND } else { &FIRST };
        let servers = lane.servers.get_or_try_init(setup::start).await;
        servers.unwrap_or_else(|error| panic!("the servers did not start: {error:#}"))
    }
}

//! The work queue: the next namespace to reconcile.
//!
//! Pure. Every ClusterPullSecret has a lane of its own with a limit of its own, so that one with slow
//! namespaces delays no other. Within a lane, deletions, new namespaces and drift go before
//! the bulk of a refresh. Only one lane at a time works on a namespace: two would write to the same
//! ServiceAccounts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::object_name::NamespaceName;

/// The order of an item within its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Something in the cluster changed.
    High,
    /// One of many, for a refresh.
    Normal,
}

/// A namespace to reconcile for a ClusterPullSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The ClusterPullSecret.
    pub cluster_pull_secret: String,
    /// The namespace.
    pub namespace: NamespaceName,
}

/// The lanes of all ClusterPullSecrets.
#[derive(Debug)]
pub struct Queue {
    lanes: BTreeMap<String, Lane>,
    /// Namespaces in flight, each with the other lanes that wait for it.
    busy: BTreeMap<NamespaceName, BTreeSet<String>>,
    /// The lane that had its turn last.
    last: String,
    /// Items of all lanes that are in flight.
    in_flight: usize,
    /// Items of one lane, and of all lanes, that may be in flight at once.
    limits: (usize, usize),
}

#[derive(Debug, Default)]
struct Lane {
    high: Fifo,
    normal: Fifo,
    /// Items in flight.
    in_flight: usize,
    /// True while nothing may start.
    is_closed: bool,
}

/// A first-in, first-out queue without duplicates.
#[derive(Debug, Default)]
struct Fifo {
    order: VecDeque<NamespaceName>,
    members: BTreeSet<NamespaceName>,
}

impl Fifo {
    fn push(&mut self, namespace: &NamespaceName) {
        if self.members.insert(namespace.clone()) {
            self.order.push_back(namespace.clone());
        }
    }

    fn pop(&mut self) -> Option<NamespaceName> {
        while let Some(first) = self.order.pop_front() {
            if self.members.remove(&first) {
                return Some(first);
            }
        }
        None
    }
}

impl Queue {
    /// Creates an empty queue; each lane may have `limit` items in flight, all together four times as many.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            lanes: BTreeMap::new(),
            busy: BTreeMap::new(),
            last: String::new(),
            in_flight: 0,
            limits: (limit, limit.saturating_mul(4)),
        }
    }

    /// Adds an item, unless it is queued already; raises its priority where the new one is higher.
    pub fn push(&mut self, cluster_pull_secret: &str, namespace: &NamespaceName, priority: Priority) {
        let lane = self.lanes.entry(cluster_pull_secret.to_owned()).or_default();
        match priority {
            Priority::High => {
                lane.normal.members.remove(namespace);
                lane.high.push(namespace);
            }
            Priority::Normal if !lane.high.members.contains(namespace) => lane.normal.push(namespace),
            Priority::Normal => {}
        }
    }

    /// Opens or closes a lane; a closed one keeps its items and starts none.
    pub fn set_open(&mut self, cluster_pull_secret: &str, is_open: bool) {
        self.lanes.entry(cluster_pull_secret.to_owned()).or_default().is_closed = !is_open;
    }

    /// Takes the next item, which is in flight until [`Queue::done`].
    pub fn pop(&mut self) -> Option<Item> {
        while self.in_flight < self.limits.1 {
            let name = self.next_lane()?.clone();
            let lane = self.lanes.get_mut(&name)?;
            self.last.clone_from(&name);
            let Some(namespace) = lane.high.pop().or_else(|| lane.normal.pop()) else { continue };
            match self.busy.get_mut(&namespace) {
                Some(waiting) => drop(waiting.insert(name)),
                None => {
                    lane.in_flight += 1;
                    self.in_flight += 1;
                    self.busy.insert(namespace.clone(), BTreeSet::new());
                    return Some(Item { cluster_pull_secret: name, namespace });
                }
            }
        }
        None
    }

    /// Returns the lane that has its turn: the first after the last one that can start an item.
    fn next_lane(&self) -> Option<&String> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after_last = self.lanes.range::<String, _>((Excluded(&self.last), Unbounded));
        let mut lanes = after_last.chain(&self.lanes);
        lanes.find(|(_, lane)| lane.can_start(self.limits.0)).map(|(name, _)| name)
    }

    /// Returns true if an item of this namespace is in flight.
    #[must_use]
    pub fn is_busy(&self, namespace: &NamespaceName) -> bool {
        self.busy.contains_key(namespace)
    }

    /// Ends an item; the lanes that wait for its namespace come next.
    pub fn done(&mut self, item: &Item) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(&item.cluster_pull_secret) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
            self.drop_if_default(&item.cluster_pull_secret);
        }
        for cluster_pull_secret in self.busy.remove(&item.namespace).unwrap_or_default() {
            self.push(&cluster_pull_secret, &item.namespace, Priority::High);
        }
    }

    /// Returns true if nothing of a lane is queued or in flight.
    #[must_use]
    pub fn is_idle(&self, cluster_pull_secret: &str) -> bool {
        let lane = self.lanes.get(cluster_pull_secret);
        lane.is_none_or(|lane| lane.depth() == 0 && lane.in_flight == 0)
            && !self.busy.values().any(|waiting| waiting.contains(cluster_pull_secret))
    }

    /// Returns the number of queued items that wait for their turn. Those of a closed lane do not: it may stay closed
    /// for ever.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.lanes.values().filter(|lane| !lane.is_closed).map(Lane::depth).sum()
    }

    /// Removes a lane. Its items in flight still finish, and count in a new lane of the same name until then.
    pub fn remove_lane(&mut self, cluster_pull_secret: &str) {
        if let Some(lane) = self.lanes.get_mut(cluster_pull_secret) {
            *lane = Lane { in_flight: lane.in_flight, ..Lane::default() };
            self.drop_if_default(cluster_pull_secret);
        }
    }

    /// Drops a lane that is like one that does not exist.
    fn drop_if_default(&mut self, cluster_pull_secret: &str) {
        let lane = self.lanes.get(cluster_pull_secret);
        if lane.is_some_and(|lane| !lane.is_closed && lane.depth() == 0 && lane.in_flight == 0) {
            self.lanes.remove(cluster_pull_secret);
        }
    }

    /// Drops the queued items of every lane.
    pub fn clear(&mut self) {
        for lane in self.lanes.values_mut() {
            (lane.high, lane.normal) = (Fifo::default(), Fifo::default());
        }
        self.busy.values_mut().for_each(BTreeSet::clear);
    }
}

impl Lane {
    fn depth(&self) -> usize {
        self.high.members.len() + self.normal.members.len()
    }

    fn can_start(&self, limit: usize) -> bool {
        !self.is_closed && self.depth() > 0 && self.in_flight < limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(limit: usize, items: &[(&str, &str, Priority)]) -> Queue {
        let mut queue = Queue::new(limit);
        for (cluster_pull_secret, namespace, priority) in items {
            queue.push(cluster_pull_secret, &(*namespace).into(), *priority);
        }
        queue
    }

    /// Takes every item that may start now.
    fn pop_all(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop())
            .map(|it| format!("{}/{}", it.cluster_pull_secret, it.namespace))
            .collect()
    }

    fn done(queue: &mut Queue, cluster_pull_secret: &str, namespace: &str) {
        queue.done(&Item { cluster_pull_secret: cluster_pull_secret.into(), namespace: namespace.into() });
    }

    use Priority::{High, Normal};

    #[test]
    fn high_priority_items_go_before_the_bulk() {
        let mut queue =
            queue(9, &[("a", "1", Normal), ("a", "2", Normal), ("a", "new", High), ("a", "2", High)]);
        assert_eq!(pop_all(&mut queue), ["a/new", "a/2", "a/1"]);
    }

    #[test]
    fn lanes_take_turns_and_full_one_delays_no_other() {
        let mut queue = queue(
            2,
            &[
                ("a", "1", Normal),
                ("a", "2", Normal),
                ("a", "3", Normal),
                ("b", "4", Normal),
                ("b", "5", Normal),
            ],
        );
        assert_eq!(pop_all(&mut queue), ["a/1", "b/4", "a/2", "b/5"]);
        queue.push("b", &"6".into(), High);
        done(&mut queue, "b", "4");
        assert_eq!(pop_all(&mut queue), ["b/6"]);
    }

    #[test]
    fn namespace_is_in_flight_for_one_lane_at_a_time() {
        let mut queue = queue(9, &[("a", "web", High), ("b", "web", Normal), ("b", "db", Normal)]);
        assert_eq!(pop_all(&mut queue), ["a/web", "b/db"]);
        assert!(!queue.is_idle("b"));
        done(&mut queue, "b", "db");
        assert!(!queue.is_idle("b"), "it still waits for its turn in web");
        done(&mut queue, "a", "web");
        assert_eq!(pop_all(&mut queue), ["b/web"]);
    }

    #[test]
    fn item_pushed_while_in_flight_is_requeued() {
        let mut queue = queue(9, &[("a", "web", High)]);
        assert_eq!(pop_all(&mut queue), ["a/web"]);
        queue.push("a", &"web".into(), High);
        assert_eq!(pop_all(&mut queue), Vec::<String>::new());
        done(&mut queue, "a", "web");
        assert_eq!(pop_all(&mut queue), ["a/web"]);
        done(&mut queue, "a", "web");
        assert!(queue.is_idle("a"));
    }

    #[test]
    fn item_of_removed_lane_counts_until_it_is_done() {
        let mut queue = queue(2, &[("a", "old", High), ("a", "queued", Normal)]);
        queue.set_open("a", true);
        assert_eq!(queue.pop().map(|it| it.namespace), Some("old".into()));
        queue.remove_lane("a");
        assert!(queue.depth() == 0 && !queue.is_idle("a"));
        for namespace in ["new", "next"] {
            queue.push("a", &namespace.into(), Normal);
        }
        assert_eq!(pop_all(&mut queue), ["a/new"], "the limit holds for both lanes");
        done(&mut queue, "a", "old");
        assert_eq!(pop_all(&mut queue), ["a/next"]);
        done(&mut queue, "a", "next");
        assert!(!queue.is_idle("a"), "an item of the new lane is in flight");
        done(&mut queue, "a", "new");
        assert!(queue.is_idle("a") && queue.lanes.is_empty());
    }

    #[test]
    fn closed_lane_keeps_its_items() {
        let mut queue = queue(9, &[("a", "web", High)]);
        queue.set_open("a", false);
        assert_eq!((pop_all(&mut queue), queue.depth()), (Vec::new(), 0));
        assert!(!queue.is_idle("a"));
        queue.set_open("a", true);
        assert_eq!(queue.depth(), 1);
        assert_eq!(pop_all(&mut queue), ["a/web"]);
    }
}

//! What is to be looked at next.
//!
//! Pure. Every ClusterPullSecret has a lane of its own with a limit of its own, so that one whose
//! namespaces answer slowly delays no other. In a lane deletions, new namespaces and drift go before
//! the bulk of a refresh. A namespace is worked on by one lane at a time: two would write to the same
//! ServiceAccounts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How soon something has to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Something in the cluster changed.
    AtOnce,
    /// One of many, for a refresh.
    InTurn,
}

/// A namespace to be looked at for a ClusterPullSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The ClusterPullSecret.
    pub cluster_pull_secret: String,
    /// The namespace.
    pub namespace: String,
}

/// The lanes of all ClusterPullSecrets.
#[derive(Debug)]
pub struct Queue {
    lanes: BTreeMap<String, Lane>,
    /// Namespaces that somebody works on, and who else wants to.
    busy: BTreeMap<String, BTreeSet<String>>,
    /// The lane that had its turn last.
    last: String,
    /// Items of all lanes that are under way.
    under_way: usize,
    /// Items of one lane, and of all lanes, that may be under way at once.
    limits: (usize, usize),
}

#[derive(Debug, Default)]
struct Lane {
    at_once: Line,
    in_turn: Line,
    /// Items under way.
    under_way: usize,
    /// Nothing may begin yet.
    closed: bool,
}

/// First in, first out, and nobody twice.
#[derive(Debug, Default)]
struct Line {
    order: VecDeque<String>,
    members: BTreeSet<String>,
}

impl Line {
    fn push(&mut self, namespace: &str) {
        if self.members.insert(namespace.to_owned()) {
            self.order.push_back(namespace.to_owned());
        }
    }

    fn pop(&mut self) -> Option<String> {
        while let Some(first) = self.order.pop_front() {
            if self.members.remove(&first) {
                return Some(first);
            }
        }
        None
    }
}

impl Queue {
    /// An empty queue; each lane may have `limit` items under way, all together four times as many.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            lanes: BTreeMap::new(),
            busy: BTreeMap::new(),
            last: String::new(),
            under_way: 0,
            limits: (limit, limit.saturating_mul(4)),
        }
    }

    /// Adds an item, unless it waits already; what waits in turn may become urgent.
    pub fn push(&mut self, cluster_pull_secret: &str, namespace: &str, urgency: Urgency) {
        let lane = self.lanes.entry(cluster_pull_secret.to_owned()).or_default();
        match urgency {
            Urgency::AtOnce => {
                lane.in_turn.members.remove(namespace);
                lane.at_once.push(namespace);
            }
            Urgency::InTurn if !lane.at_once.members.contains(namespace) => lane.in_turn.push(namespace),
            Urgency::InTurn => {}
        }
    }

    /// Says whether items of a lane may begin.
    pub fn open(&mut self, cluster_pull_secret: &str, open: bool) {
        self.lanes.entry(cluster_pull_secret.to_owned()).or_default().closed = !open;
    }

    /// The next item, which is under way from now on until [`Queue::done`].
    pub fn begin(&mut self) -> Option<Item> {
        while self.under_way < self.limits.1 {
            let name = self.turn()?.clone();
            let lane = self.lanes.get_mut(&name)?;
            self.last.clone_from(&name);
            let Some(namespace) = lane.at_once.pop().or_else(|| lane.in_turn.pop()) else { continue };
            match self.busy.get_mut(&namespace) {
                Some(waiting) => drop(waiting.insert(name)),
                None => {
                    lane.under_way += 1;
                    self.under_way += 1;
                    self.busy.insert(namespace.clone(), BTreeSet::new());
                    return Some(Item { cluster_pull_secret: name, namespace });
                }
            }
        }
        None
    }

    /// The lane whose turn it is: the first behind the last one that may begin something.
    fn turn(&self) -> Option<&String> {
        use std::ops::Bound::{Excluded, Unbounded};
        let is_due = |(_, lane): &(&String, &Lane)| {
            !lane.closed && lane.waiting() > 0 && lane.under_way < self.limits.0
        };
        let behind = self.lanes.range::<String, _>((Excluded(&self.last), Unbounded));
        behind.chain(&self.lanes).find(is_due).map(|(name, _)| name)
    }

    /// Whether somebody works on a namespace.
    #[must_use]
    pub fn is_busy(&self, namespace: &str) -> bool {
        self.busy.contains_key(namespace)
    }

    /// An item is no longer under way; who waited for its namespace comes next.
    pub fn done(&mut self, item: &Item) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(&item.cluster_pull_secret) {
            lane.under_way = lane.under_way.saturating_sub(1);
        }
        for cluster_pull_secret in self.busy.remove(&item.namespace).unwrap_or_default() {
            self.push(&cluster_pull_secret, &item.namespace, Urgency::AtOnce);
        }
    }

    /// Whether nothing of a lane waits or is under way.
    #[must_use]
    pub fn is_idle(&self, cluster_pull_secret: &str) -> bool {
        let is_parked = || self.busy.values().any(|waiting| waiting.contains(cluster_pull_secret));
        self.lanes.get(cluster_pull_secret).is_none_or(|lane| lane.waiting() == 0 && lane.under_way == 0)
            && !is_parked()
    }

    /// Items that wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.lanes.values().map(Lane::waiting).sum()
    }

    /// Takes a lane away; what is under way in it comes to its end.
    pub fn forget(&mut self, cluster_pull_secret: &str) {
        self.lanes.remove(cluster_pull_secret);
    }

    /// Takes away what waits in every lane.
    pub fn clear(&mut self) {
        for lane in self.lanes.values_mut() {
            (lane.at_once, lane.in_turn) = (Line::default(), Line::default());
        }
        self.busy.values_mut().for_each(BTreeSet::clear);
    }
}

impl Lane {
    fn waiting(&self) -> usize {
        self.at_once.members.len() + self.in_turn.members.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(limit: usize, items: &[(&str, &str, Urgency)]) -> Queue {
        let mut queue = Queue::new(limit);
        for (cluster_pull_secret, namespace, urgency) in items {
            queue.push(cluster_pull_secret, namespace, *urgency);
        }
        queue
    }

    /// Takes what may begin now.
    fn take(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.begin())
            .map(|it| format!("{}/{}", it.cluster_pull_secret, it.namespace))
            .collect()
    }

    fn done(queue: &mut Queue, cluster_pull_secret: &str, namespace: &str) {
        queue.done(&Item { cluster_pull_secret: cluster_pull_secret.into(), namespace: namespace.into() });
    }

    use Urgency::{AtOnce, InTurn};

    #[test]
    fn what_is_urgent_goes_before_the_bulk() {
        let mut queue =
            queue(9, &[("a", "1", InTurn), ("a", "2", InTurn), ("a", "new", AtOnce), ("a", "2", AtOnce)]);
        assert_eq!(take(&mut queue), ["a/new", "a/2", "a/1"]);
    }

    #[test]
    fn lanes_have_their_turns_and_a_full_one_delays_no_other() {
        let mut queue = queue(
            2,
            &[
                ("a", "1", InTurn),
                ("a", "2", InTurn),
                ("a", "3", InTurn),
                ("b", "4", InTurn),
                ("b", "5", InTurn),
            ],
        );
        assert_eq!(take(&mut queue), ["a/1", "b/4", "a/2", "b/5"]);
        queue.push("b", "6", AtOnce);
        done(&mut queue, "b", "4");
        assert_eq!(take(&mut queue), ["b/6"]);
    }

    #[test]
    fn a_namespace_is_worked_on_by_one_at_a_time() {
        let mut queue = queue(9, &[("a", "web", AtOnce), ("b", "web", InTurn), ("b", "db", InTurn)]);
        assert_eq!(take(&mut queue), ["a/web", "b/db"]);
        assert!(!queue.is_idle("b"));
        done(&mut queue, "b", "db");
        assert!(!queue.is_idle("b"), "it still waits for its turn in web");
        done(&mut queue, "a", "web");
        assert_eq!(take(&mut queue), ["b/web"]);
    }

    #[test]
    fn what_changes_while_it_is_worked_on_is_looked_at_again() {
        let mut queue = queue(9, &[("a", "web", AtOnce)]);
        assert_eq!(take(&mut queue), ["a/web"]);
        queue.push("a", "web", AtOnce);
        assert_eq!(take(&mut queue), Vec::<String>::new());
        done(&mut queue, "a", "web");
        assert_eq!(take(&mut queue), ["a/web"]);
        done(&mut queue, "a", "web");
        assert!(queue.is_idle("a"));
    }

    #[test]
    fn a_closed_lane_keeps_its_items() {
        let mut queue = queue(9, &[("a", "web", AtOnce)]);
        queue.open("a", false);
        assert_eq!((take(&mut queue), queue.depth()), (Vec::new(), 1));
        queue.open("a", true);
        assert_eq!(take(&mut queue), ["a/web"]);
    }
}

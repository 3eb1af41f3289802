//! The mode of the file and its group, from those of its directory.
//!
//! Pure but for the two reads of what the process is and what the directory has. A directory of another group is one
//! that is shared with that group, such as an `emptyDir` with `fsGroup`.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use rustix::process::{Gid, getegid, geteuid, getgroups};

/// The bit of a directory that gives its group to every file in it.
const SETGID: u32 = 0o2000;

/// The mode of a file and the group that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    /// The group to set; `None` where the file has the right one when it is created.
    pub(super) group: Option<u32>,
    /// The group of the directory, which the process may not give to a file.
    pub(super) unreachable_group: Option<u32>,
}

/// The mode of a directory and its group.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirectoryMode {
    pub(super) mode: u32,
    pub(super) group: u32,
}

/// The groups of a process.
#[derive(Clone, Debug)]
pub(super) struct ProcessGroups {
    pub(super) own: u32,
    pub(super) others: Vec<u32>,
    /// True for a process that gives a file to any group.
    pub(super) is_root: bool,
}

impl Attributes {
    pub(super) fn new(directory: DirectoryMode, process: &ProcessGroups, mode: Option<u32>) -> Self {
        let DirectoryMode { mode: directory_mode, group } = directory;
        let is_setgid = directory_mode & SETGID != 0;
        let is_shared = is_setgid || group != process.own;
        let is_reachable = is_setgid || process.may_give(group);
        Self {
            mode: mode.unwrap_or(if is_shared && is_reachable { 0o640 } else { 0o600 }),
            group: (is_shared && !is_setgid && is_reachable).then_some(group),
            unreachable_group: (!is_reachable && mode.is_none()).then_some(group),
        }
    }

    /// Returns true if a file has these.
    pub(super) fn are_of(&self, mode: u32, group: u32) -> bool {
        self.mode == mode && self.group.is_none_or(|it| it == group)
    }
}

impl DirectoryMode {
    pub(super) fn new(directory: &Metadata) -> Self {
        Self { mode: directory.mode(), group: directory.gid() }
    }
}

impl ProcessGroups {
    /// Returns the groups of this process.
    pub(super) fn current() -> Self {
        let others = getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect();
        Self { own: getegid().as_raw(), others, is_root: geteuid().is_root() }
    }

    fn may_give(&self, group: u32) -> bool {
        self.is_root || self.own == group || self.others.contains(&group)
    }
}

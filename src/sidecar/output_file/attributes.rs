//! The mode of the file and its group, from those of its directory.
//!
//! Pure. A directory of another group is one that is shared with that group, such as an `emptyDir` with `fsGroup`.

/// The bit of a directory that gives its group to every file in it.
const SETGID: u32 = 0o2000;

/// The mode of a file and the group that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    /// The group to set; `None` where the file has the right one when it is created.
    pub(super) group: Option<u32>,
}

impl Attributes {
    pub(super) fn new(directory_mode: u32, directory_group: u32, own_group: u32, mode: Option<u32>) -> Self {
        let is_setgid = directory_mode & SETGID != 0;
        let is_shared = is_setgid || directory_group != own_group;
        Self {
            mode: mode.unwrap_or(if is_shared { 0o640 } else { 0o600 }),
            group: (is_shared && !is_setgid).then_some(directory_group),
        }
    }
}

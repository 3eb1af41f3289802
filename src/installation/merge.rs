//! The merge of a shard that another process wrote.
//!
//! Pure. Versions of AWS have no order, so that a conflict is resolved by what changed: the stored shard counts, except
//! for what this process changed since it read or wrote it. A password that another process removed does not come
//! back.

use std::collections::BTreeMap;

use super::last_good::ValueId;
use super::shard::{InvalidShard, Shard, index_of_value};
use super::{Installation, StoredShard};
use crate::credential::Version;

impl Installation {
    /// Merges the content of a shard that another process wrote since this one read it. A shard that does not exist
    /// removes nothing: it was deleted with everything in it.
    pub fn merge(&mut self, mut stored: StoredShard) -> Option<InvalidShard> {
        if let (Some(_), Ok(shard)) = (&stored.resource_version, &mut stored.content) {
            self.drop_replaced(stored.index, shard);
            self.drop_removed(shard);
        }
        self.restore(stored)
    }

    /// Drops the values that the shard has not, or has at a version that is not older.
    fn drop_replaced(&mut self, index: u16, shard: &Shard) {
        let stored: BTreeMap<&ValueId, &Version> =
            shard.values.iter().map(|(id, value)| (id, &value.version)).collect();
        self.values.remove_unless(|id, value| {
            self.unsaved.contains(id)
                || index_of_value(id, self.shards) != index
                || stored.get(id).is_some_and(|stored| stored.is_replaced_by(&value.version))
        });
    }

    /// Drops what this process removed from the content of a shard.
    fn drop_removed(&self, shard: &mut Shard) {
        shard.values.retain(|(id, _)| !self.unsaved.contains(id) || self.values.contains(id));
    }

    /// Marks the values of a shard that was written as saved, unless it changed since, or has no room for them.
    pub(super) fn mark_saved(&mut self, index: u16) {
        if self.dirty.contains(&index) {
            return;
        }
        let left_out = self.left_out.get(&index);
        self.unsaved.retain(|id| {
            index_of_value(id, self.shards) != index
                || left_out.is_some_and(|it| it.contains(&id.cluster_pull_secret))
        });
    }
}

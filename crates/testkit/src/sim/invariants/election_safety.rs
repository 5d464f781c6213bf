//! **Election safety.** A term of a group has at most one leader, for ever.
//!
//! Checked in two places: the roles of nodes, and the leaders that entries name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use fastness_types::{Epoch, NodeId, ShardId};

/// The leader of each term.
#[derive(Debug, Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<(ShardId, u64), NodeId>,
}

impl ElectionSafety {
    /// Checks an epoch that occurs in a role or in an entry.
    ///
    /// # Errors
    /// Another node has led the same term.
    pub fn see(&mut self, shard: ShardId, epoch: Epoch) -> Result<(), String> {
        // Term 0 has no leader: the node that forms a group writes the first entry.
        if epoch.term == 0 {
            return Ok(());
        }
        match self.leaders.entry((shard, epoch.term)) {
            Entry::Vacant(entry) => {
                entry.insert(epoch.node);
                Ok(())
            }
            Entry::Occupied(entry) if *entry.get() == epoch.node => Ok(()),
            Entry::Occupied(entry) => {
                let (term, one, other) = (epoch.term, entry.get(), epoch.node);
                Err(format!("election safety: shard {shard}: nodes {one} and {other} have both led term {term}"))
            }
        }
    }
}

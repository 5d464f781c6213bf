//! **Election safety.** A term of a group has at most one leader, for ever.
//!
//! Seen in two places: in what nodes are, and in what entries say of the leader that proposed them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use fastness_types::{Epoch, NodeId, ShardId};

/// Who has led each term.
#[derive(Debug, Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<(ShardId, u64), NodeId>,
}

impl ElectionSafety {
    /// An epoch was seen, in a role or in an entry. `Err` tells what is broken.
    ///
    /// # Errors
    /// Another node has led its term.
    pub fn see(&mut self, shard: ShardId, epoch: Epoch) -> Result<(), String> {
        // Term 0 has no leader: whoever forms a group writes its first entry.
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

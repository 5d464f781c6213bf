//! **Log matching.** Two logs that have an entry of the same index and leader have the same entry there, and the same
//! ones before it. And **state machine safety**: what one node holds for committed at an index is what every node does,
//! for ever.
//!
//! The first follows from each entry and the leader of the one before it, so that is what is kept. Looked at are whole
//! logs, committed or not.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fastness_log::LogEntry;
use fastness_types::{Epoch, NodeId, ShardId};

use crate::sim::stable_log::epoch_of;

/// What is known of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    hash: u64,
    /// The leader of the entry before it, once it was seen.
    before: Option<Epoch>,
}

/// Every entry that was ever seen.
#[derive(Debug, Default)]
pub struct LogMatching {
    entries: BTreeMap<(ShardId, u64, Epoch), (Content, NodeId)>,
    committed: BTreeMap<ShardId, BTreeMap<u64, (Epoch, NodeId)>>,
}

impl LogMatching {
    /// `entry` stands in a node's log behind one of `before` (`None`: it is the first that is there).
    ///
    /// # Errors
    /// The same entry was another one, or stood behind another one, elsewhere or before.
    pub fn see(&mut self, shard: ShardId, node: NodeId, entry: &LogEntry, before: Option<Epoch>) -> Result<(), String> {
        let epoch = epoch_of(entry);
        let found = Content { hash: hash(entry), before };
        match self.entries.entry((shard, entry.index, epoch)) {
            Place::Vacant(place) => {
                place.insert((found, node));
                Ok(())
            }
            Place::Occupied(mut place) => {
                let (known, first) = place.get_mut();
                let fits = known.before.is_none() || before.is_none() || known.before == before;
                if known.hash != found.hash || !fits {
                    return Err(format!(
                        "log matching: shard {shard}: entry {} of epoch {epoch} on node {node} is not that on node {first}",
                        entry.index
                    ));
                }
                known.before = known.before.or(before);
                Ok(())
            }
        }
    }

    /// A node holds an entry for committed. True if it is the first to do so.
    ///
    /// # Errors
    /// Another one was committed there.
    pub fn commit(&mut self, shard: ShardId, node: NodeId, index: u64, epoch: Epoch) -> Result<bool, String> {
        match self.committed.entry(shard).or_default().entry(index) {
            Place::Vacant(place) => {
                place.insert((epoch, node));
                Ok(true)
            }
            Place::Occupied(place) if place.get().0 == epoch => Ok(false),
            Place::Occupied(place) => {
                let (its, other) = place.get();
                Err(format!(
                    "state machine safety: shard {shard}: entry {index} is of epoch {its} on node {other}, of {epoch} on {node}"
                ))
            }
        }
    }

    /// The newest committed entry of a leader before `term`.
    #[must_use]
    pub fn newest_committed_before(&self, shard: ShardId, term: u64) -> Option<(u64, Epoch)> {
        let committed = self.committed.get(&shard)?;
        committed.iter().rev().find(|(_, (epoch, _))| epoch.term < term).map(|(index, (epoch, _))| (*index, *epoch))
    }

    /// How many entries were committed.
    #[must_use]
    pub fn committed(&self) -> usize {
        self.committed.values().map(BTreeMap::len).sum()
    }
}

fn hash(entry: &LogEntry) -> u64 {
    let mut hasher = DefaultHasher::new();
    (entry.kind as u8).hash(&mut hasher);
    entry.payload.hash(&mut hasher);
    hasher.finish()
}

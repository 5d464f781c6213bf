//! **Log matching.** If two logs have an entry with the same index and leader, they have the same entry there and the
//! same entries before it. **State machine safety**: when one node regards an entry as committed, every node has the
//! same committed entry at that index, for ever.
//!
//! The first invariant follows from each entry and the leader of the entry before it, so these are recorded. Whole logs
//! are checked, committed or not.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use fastness_log::LogEntry;
use fastness_types::{Epoch, NodeId, ShardId};

use crate::sim::stable_log::epoch_of;

/// What is known about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    hash: u64,
    /// The leader of the entry before it, once known.
    before: Option<Epoch>,
}

/// Every entry of every log so far.
#[derive(Debug, Default)]
pub struct LogMatching {
    entries: BTreeMap<(ShardId, u64, Epoch), (Content, NodeId)>,
    committed: BTreeMap<ShardId, BTreeMap<u64, (Epoch, NodeId)>>,
}

impl LogMatching {
    /// Checks an entry of a node's log that follows an entry of leader `before` (`None`: it is the first one in the
    /// log).
    ///
    /// # Errors
    /// The same entry has another content, or another predecessor, elsewhere or earlier.
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

    /// Records that a node regards an entry as committed. True if it is the first node to do so.
    ///
    /// # Errors
    /// Another entry was committed at that index.
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

    /// Number of committed entries.
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

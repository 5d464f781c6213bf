//! Reads the logs of all nodes as they grow, for the invariants that check them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use fastness_log::key::Key;
use fastness_log::{GroupLog, LogEntry};
use fastness_types::{Epoch, GroupId, NodeId, ShardId};
use futures::FutureExt as _;

use crate::sim::node::{Replica, SimNode};
use crate::sim::stable_log::{StableLog, epoch_of};

/// Maximum size of one read, bytes.
const SLICE_BYTES: usize = 4 * 1024 * 1024;

/// Entries from `from` to `to`, as far as one read goes. `None`: some of them are missing.
#[must_use]
pub fn read(log: &GroupLog, from: u64, to: u64) -> Option<Vec<Arc<LogEntry>>> {
    // In a simulation the caller reads the log itself, so this never waits.
    let read = log.read(from..to + 1, SLICE_BYTES).now_or_never()?;
    read.ok().filter(|entries| !entries.is_empty())
}

/// The leader that proposed the entry at `index`; `None` if there is no such entry.
#[must_use]
pub fn epoch_at(log: &GroupLog, index: u64) -> Option<Epoch> {
    read(log, index, index)?.first().map(|entry| epoch_of(entry))
}

/// How far the log of each running replica was checked.
#[derive(Default)]
pub struct Logs {
    committed: BTreeMap<(NodeId, ShardId), u64>,
    /// Content of the disks of stopped nodes, and of damaged disks before the damage: their nodes have acknowledged it.
    down: BTreeMap<NodeId, StableLog>,
}

/// The new part of a log.
pub struct News {
    /// Entries that are newly regarded as committed.
    pub committed: Vec<Arc<LogEntry>>,
    /// All uncommitted entries.
    pub open: Vec<Arc<LogEntry>>,
    /// The leader of the entry before the first of these.
    pub before: Option<Epoch>,
}

impl Logs {
    /// Records that a node stops.
    pub fn note_stop(&mut self, node: &SimNode) {
        self.committed.retain(|(of, _), _| *of != node.id);
        let was_damaged = node.expected.get().is_some() && self.down.contains_key(&node.id);
        if !was_damaged {
            self.down.insert(node.id, node.stable_log());
        }
    }

    /// Records that a node runs again, on its disk or on one that it must refuse.
    pub fn note_start(&mut self, node: &SimNode) {
        if node.expected.get().is_none() {
            self.down.remove(&node.id);
        }
    }

    /// Whether a replica has committed entries that were not checked.
    #[must_use]
    pub fn has_committed(&self, node: NodeId, shard: ShardId, replica: &Replica) -> bool {
        let checked = self.committed.get(&(node, shard)).copied().unwrap_or(0);
        checked < replica.handle.committed().0
    }

    /// Returns the part of a log that was not checked yet.
    ///
    /// # Errors
    /// An entry that must exist is missing.
    pub fn news(&mut self, node: NodeId, shard: ShardId, replica: &Replica) -> Result<News, String> {
        let state = replica.log.state();
        let purged = state.purged.map_or(0, |purged| purged.index);
        let last = state.last.map_or(0, |last| last.index);
        let committed = replica.handle.committed().0;
        let checked = self.committed.entry((node, shard)).or_default();
        // A snapshot stands for purged entries; comparing digests shows that it has the same content.
        let from = (*checked).max(purged) + 1;
        let before = if from - 1 == purged {
            state.purged.map(|id| Epoch { term: id.term, node: NodeId(id.node) })
        } else {
            epoch_at(&replica.log, from - 1)
        };
        let mut entries = Vec::new();
        while from + (entries.len() as u64) <= last {
            let next = from + entries.len() as u64;
            let read = read(&replica.log, next, last);
            entries.extend(read.ok_or_else(|| format!("shard {shard}: node {node} has no entry {next} of {last}"))?);
        }
        // The entries that an installed snapshot covers may be reported as committed just before the log says so.
        let open = entries.split_off(entries.partition_point(|entry| entry.index <= committed));
        *checked = committed.min(last).max(purged);
        Ok(News { committed: entries, open, before })
    }

    /// Whether an entry is on the stable storage of a node.
    #[must_use]
    pub fn is_stable(&self, node: &SimNode, shard: ShardId, index: u64, epoch: Epoch) -> bool {
        if let Some(down) = self.down.get(&node.id) {
            let purged = down.purged.get(&shard).copied().unwrap_or(0);
            if index <= purged || down.entries.get(&(shard, index)) == Some(&epoch) {
                return true;
            }
        }
        let live = node.live.borrow();
        let Some(replica) = live.as_ref().and_then(|live| live.replicas.get(shard.0 as usize - 1)) else {
            return false;
        };
        if index <= replica.log.state().purged.map_or(0, |purged| purged.index) {
            return true;
        }
        let key = Key::Entry { group: GroupId::from(shard), index };
        replica.control.flushed().0 >= index && epoch_at(&replica.log, index) == Some(epoch) && node.disk.is_synced(key)
    }
}

/// Calls `visit` for every running replica.
pub fn each_replica(nodes: &[Rc<SimNode>], mut visit: impl FnMut(&SimNode, ShardId, &Replica)) {
    for node in nodes {
        let live = node.live.borrow();
        for (at, replica) in live.iter().flat_map(|live| &live.replicas).enumerate() {
            visit(node, ShardId(at as u32 + 1), replica);
        }
    }
}

//! The content of a node's logs after a crash, as far as invariants need it: who proposed which entry.

use std::collections::BTreeMap;

use fastness_log::LogEntry;
use fastness_types::{Epoch, NodeId, ShardId};

/// Content of a disk when its node stopped: per shard, who proposed which entry, and up to where the log was purged.
#[derive(Debug, Default, Clone)]
pub struct StableLog {
    /// By shard and index.
    pub entries: BTreeMap<(ShardId, u64), Epoch>,
    /// By shard.
    pub purged: BTreeMap<ShardId, u64>,
}

/// The leader that an entry names.
#[must_use]
pub fn epoch_of(entry: &LogEntry) -> Epoch {
    Epoch { term: entry.term, node: NodeId(entry.node) }
}

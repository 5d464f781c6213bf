//! **Bounds.** In a run whose limits are scaled down, no log entry, no chunk of a snapshot and no replica's memory is
//! larger than its limit allows, whatever clients send.
//!
//! A replica's memory may exceed `maxmemory` by what was admitted when it was just below the limit: the effects of one
//! unit, in the data, in the uncommitted effects and in the undo records; and by the key or slice that an image is
//! writing.

use fastness_log::LogEntry;
use fastness_types::{NodeId, ShardId};

use crate::sim::node::Replica;
use crate::sim::profile::Scale;

/// A batch is closed once it has that many bytes of effects; the heads of units are not counted.
const ENTRY_SLACK: usize = 4 * 1024;

/// The bounds of a run.
#[derive(Debug, Clone, Copy)]
pub struct ScaleBounds {
    scale: Scale,
}

impl ScaleBounds {
    /// The bounds of a run with these limits.
    #[must_use]
    pub fn new(scale: Scale) -> ScaleBounds {
        ScaleBounds { scale }
    }

    /// Checks an entry of a log.
    ///
    /// # Errors
    /// The entry is too long.
    pub fn entry(&self, shard: ShardId, node: NodeId, entry: &LogEntry) -> Result<(), String> {
        let (bytes, most) = (entry.payload.len(), self.scale.entry_bytes + ENTRY_SLACK);
        if bytes <= most {
            return Ok(());
        }
        Err(format!("bounds: shard {shard}: entry {} on node {node} has {bytes} bytes, at most {most}", entry.index))
    }

    /// Checks the memory of a running replica.
    ///
    /// # Errors
    /// The replica uses too much memory.
    pub fn memory(&self, shard: ShardId, node: NodeId, replica: &Replica) -> Result<(), String> {
        let used = replica.shard.memory();
        let most = self.scale.maxmemory + 4 * self.scale.unit_bytes as u64;
        if used.total() <= most {
            return Ok(());
        }
        Err(format!("bounds: shard {shard}: node {node} holds {} bytes, at most {most}: {used:?}", used.total()))
    }
}

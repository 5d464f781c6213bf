//! What a log is opened with.

use std::sync::Arc;

use fastness_types::{Clock, ClusterId, DiskId, NodeId, SystemClock, limits};

/// How to open a log.
#[derive(Clone)]
pub struct LogOptions {
    /// The node that the disk must belong to.
    pub node: NodeId,
    /// The cluster that the disk must belong to.
    pub cluster: ClusterId,
    /// The id that an empty store gets; `None`, as production has it: a random one.
    pub new_disk: Option<DiskId>,
    /// Entries kept in memory per group, bytes.
    pub tail_bytes_max: usize,
    /// Entries that wait for the writer, bytes, all groups together; at it [`Log::room`](crate::Log::room) waits.
    pub queue_bytes_max: usize,
    /// Measures synced writes.
    pub clock: Arc<dyn Clock>,
}

impl LogOptions {
    /// The defaults for a node.
    #[must_use]
    pub fn new(node: NodeId, cluster: ClusterId) -> LogOptions {
        LogOptions {
            node,
            cluster,
            new_disk: None,
            tail_bytes_max: limits::LOG_TAIL_BYTES_MAX,
            queue_bytes_max: 2 * limits::OPEN_EFFECT_BYTES_MAX,
            clock: Arc::new(SystemClock),
        }
    }
}

impl std::fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogOptions").field("node", &self.node).field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

//! Options of a log.

use std::sync::Arc;

use fastness_types::{Clock, ClusterId, DiskId, NodeId, SystemClock, limits};

/// How to open a log.
#[derive(Clone)]
pub struct LogOptions {
    /// The node that the disk must belong to.
    pub node: NodeId,
    /// The cluster that the disk must belong to.
    pub cluster: ClusterId,
    /// The id of a new disk, given to an empty store; `None` (as in production) draws a random one.
    pub new_disk: Option<DiskId>,
    /// Bound of the entries kept in memory per group, in bytes.
    pub tail_bytes_max: usize,
    /// Bound of the entries queued for the writer, all groups together, in bytes; at it
    /// [`Log::wait_for_capacity`](crate::Log::wait_for_capacity) waits.
    pub queue_bytes_max: usize,
    /// Clock that measures synced writes.
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

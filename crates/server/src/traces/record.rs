//! What a sampled write leaves: points in time, sizes and positions.

use std::sync::Arc;

use fastness_types::{BootNs, LogIndex, ShardId, Slot};
use parking_lot::Mutex;

use super::replication::StoredAt;

/// What the client was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceOutcome {
    /// It has not run.
    NotRun,
    /// A reply that is no error.
    Ok,
    /// An error.
    Error,
}

/// A finished trace, to be sent off the loop's thread.
#[derive(Debug, Clone)]
pub(crate) struct TraceRecord {
    pub(crate) trace_id: u128,
    /// The client's span; 0: none.
    pub(crate) parent: u64,
    /// The wall clock at `began`, ns since the Unix epoch.
    pub(crate) wall_ns: u64,
    pub(crate) began: BootNs,
    pub(crate) command: &'static str,
    pub(crate) family: &'static str,
    pub(crate) shard: ShardId,
    pub(crate) slot: Option<Slot>,
    pub(crate) request_bytes: usize,
    pub(crate) reply_bytes: usize,
    pub(crate) outcome: TraceOutcome,
    /// When its bytes were read from the socket.
    pub(crate) received: BootNs,
    /// When it ran, the last time if it had to wait.
    pub(crate) started: BootNs,
    pub(crate) executed: Option<BootNs>,
    /// Whether it staged something.
    pub(crate) is_staged: bool,
    /// When its batch was passed to consensus.
    pub(crate) proposed: Option<BootNs>,
    pub(crate) committed: Option<BootNs>,
    /// The log entry that holds it.
    pub(crate) index: Option<LogIndex>,
    /// When its reply was passed to the socket.
    pub(crate) replied: Option<BootNs>,
    pub(crate) stored: Arc<Mutex<StoredAt>>,
}

//! What PSYNC and SYNC leave for the connection that they make a reader's.

use std::sync::Arc;

use fastness_engine::command::CommandSpec;

use super::readers::OutboundReader;
use super::stream::OutboundRequest;
use crate::snapshots::SnapshotFiles;

/// See the module.
pub struct Outlet {
    /// What was asked for.
    pub request: OutboundRequest,
    /// The reader.
    pub reader: Arc<OutboundReader>,
    /// The snapshots with which the stream starts.
    pub files: SnapshotFiles,
    /// The command that was run: the user must keep the right to it.
    pub spec: &'static CommandSpec,
}

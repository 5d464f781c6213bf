//! Snapshots of this replica: when a snapshot is cut, and which log position it has.
//!
//! - Each replica makes its own snapshots. The image (`engine/src/image/`) is cut at one point in time and written one
//!   slice per turn; slices wait while the disk is too slow.
//! - A replica cuts at its newest applied entry. A **primary**, whose memory runs ahead of the log, closes the open
//!   batch and cuts after it; its snapshot becomes valid when that batch commits, at the index of the commit. If the
//!   tenure ends before, the image shows effects that were undone or may be undone, and is discarded.
//! - A snapshot names its log position and the checksum of the log up to there, so that two replicas can be compared at
//!   any position that they share, and a restored one continues with the same checksum.
//! - A restore (`restore.rs`) uses the newest readable snapshot. An unreadable one is skipped, and an error is logged.
//!   If none is left, the log is replayed from its start, if it still has it.
//! - Two snapshots are kept, and the log is purged only up to the older one. So if the newer one is unreadable, the
//!   older one and the log still have everything. Replicas that need entries before the start of the log are sent the
//!   newer one (`consensus/src/snapshot/send.rs`).
//! - A snapshot that another node has sent replaces the log up to its position, and counts as an entry of another
//!   epoch.

use std::time::Duration;

use fastness_types::{BootNs, Plant};

use crate::edges::Edges;
use crate::role::Phase;
use crate::snapshot_format::Tail;
use crate::snapshots::SnapshotPlace;
use crate::state::State;

impl State {
    /// Cuts a snapshot if one is due, or writes a slice of the one in progress; returns when to continue.
    pub(crate) fn follow_snapshot(&mut self, edges: &Edges, now: BootNs) -> Option<Duration> {
        let replica = &mut self.replica;
        // An image takes no step within a unit.
        if replica.phase != Phase::Serving || replica.scripts.is_suspended() {
            return None;
        }
        if replica.snapshots.is_due(now)
            && !replica.digests.is_walking()
            && replica.snapshots.admits(replica.data.engine.memory_of_data(), now)
            && let Some(place) = self.snapshot_place(edges, now)
        {
            let (replica, format) = (&mut self.replica, edges.handle.format());
            let data = (&mut replica.data.engine, &replica.records);
            replica.snapshots.cut(data, replica.shard, place, format);
        }
        let replica = &mut self.replica;
        let next = replica.snapshots.write_slice(&mut replica.data.engine, &edges.handle, now);
        next.or_else(|| self.replica.snapshots.due_in(now))
    }

    /// The log position of memory. On a primary with uncommitted effects this closes the open batch. `None`: the
    /// position cannot be determined now.
    fn snapshot_place(&mut self, edges: &Edges, now: BootNs) -> Option<SnapshotPlace> {
        let replica = &self.replica;
        match &mut self.leader {
            Some(leader) if !leader.stage.is_clean() && !Plant::SpeculativeSnapshot.is_on() => {
                if !leader.may_act(now) {
                    return None;
                }
                leader.stage.seal(replica.settings.mode.in_force());
                leader.stage.propose(&edges.handle, replica.batching.in_flight_max);
                Some(SnapshotPlace::Staged(leader.tenure, leader.stage.last_staged()))
            }
            // Memory and the checksum of the log belong to different entries.
            _ if replica.position.is_within_batch() => None,
            _ => Some(SnapshotPlace::Known(Box::new(Tail::at(&replica.position, &replica.settings)))),
        }
    }
}

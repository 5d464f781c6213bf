//! Snapshots of this replica: when one is cut, and at which position of the log it is.
//!
//! - Each replica makes its own. The image (`engine/src/image/`) is cut at one point and written one slice per turn;
//!   slices wait while the disk is behind.
//! - A replica cuts at its newest applied entry. A **primary**, whose memory runs ahead of the log, closes the open
//!   batch and cuts after it; its snapshot counts once that batch has committed, at the index where it did. If the
//!   tenure ends before, what the image shows was undone or is in doubt, and it is discarded.
//! - A snapshot names its log position and the checksum of the log up to there, so that two replicas can be compared at
//!   any position that they share, and a restored one continues with the same checksum.
//! - A restore (`restore.rs`) takes the newest snapshot that reads whole. One that does not is skipped with an error in
//!   the log file, until only the log's own start is left, if the log still has it.
//! - Two are kept, and the log is purged up to the older one: if the newer does not read whole, the older and the log
//!   still hold everything. Replicas that need more than the log holds are sent the newer one
//!   (`consensus/src/snapshot/send.rs`).
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
    /// Cuts a snapshot if it is time, writes a slice of one, ends it; returns when to continue.
    pub(crate) fn follow_snapshot(&mut self, edges: &Edges, now: BootNs) -> Option<Duration> {
        let replica = &mut self.replica;
        if replica.phase != Phase::Serving {
            return None;
        }
        if replica.snapshots.is_due(now)
            && !replica.digests.is_walking()
            && replica.snapshots.admits(replica.data.engine.memory_of_data(), now)
            && let Some(place) = self.snapshot_place(edges, now)
        {
            let (replica, format) = (&mut self.replica, edges.handle.format());
            replica.snapshots.cut(&mut replica.data.engine, replica.shard, place, format);
        }
        let replica = &mut self.replica;
        let next = replica.snapshots.write_slice(replica.shard, &mut replica.data.engine, &edges.handle, now);
        next.or_else(|| self.replica.snapshots.due_in(now))
    }

    /// Where memory is in the log. On a primary that runs ahead of it the open batch is closed for that. `None`: it
    /// cannot be said now.
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
            // Memory and the log's checksum are not of the same entry.
            _ if replica.position.is_within_batch() => None,
            _ => Some(SnapshotPlace::Known(Box::new(Tail::at(&replica.position, &replica.settings)))),
        }
    }
}

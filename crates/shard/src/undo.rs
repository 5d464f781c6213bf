//! Undo of uncommitted effects when a tenure is lost.
//!
//! # The problem
//!
//! A primary executes a command at once and replicates its effects afterwards, so its memory runs ahead of the log.
//! When another leader's entry is committed in the place of one of its batches, memory holds effects that will never
//! commit. It must become exactly what the log says before the next entry is applied and before anything is served.
//! Simple solutions fail:
//!
//! - *Execute only after the commit.* The next command of a pipeline or a transaction could not see the one before for
//!   a whole round trip to the other AZs.
//! - *Keep a second, committed copy of the data.* That doubles memory.
//! - *Reverse the effects.* An effect says what a key becomes, not what it was: `SET a 2` cannot be reversed by itself.
//! - *Restore from snapshot and log.* Correct, and the fallback here, but it takes seconds to minutes in which this
//!   replica serves nothing, just after a failover, when it may be needed most.
//!
//! # The solution
//!
//! During a tenure the engine keeps an undo log: for every key that an uncommitted batch has changed, the previous
//! value, by the batch's sequence. A commit drops the records of its batch. When the tenure is lost, the records are
//! applied from the newest to the oldest. Records may take `undo_bytes_max`; beyond that they are dropped, and an undo
//! is a restore (`restore.rs`).
//!
//! # An example
//!
//! `a` is 1. Batch 4 is `SET a 2`; batch 5 is `DEL a` and `SET b 9`. The records are: *4: a was 1*; *5: a was 2, b was
//! missing*. Batch 4 commits, and its record is dropped. Then a foreign entry commits in the place of batch 5. Undo
//! removes `b` and sets `a` to 2: the state after batch 4, to which the foreign entry is then applied.
//!
//! # What else is undone
//!
//! The leader part is dropped with its dirty keys, its open batch and its pending replies; these are answered UNKNOWN,
//! or CLUSTERDOWN where they only read. Clients that wait for keys are released, and those that cache what they have
//! read are informed that nothing of it is valid. A staged mode or lag bound is forgotten. A script that is suspended
//! is abandoned. An image that is being written may show what was undone: a snapshot starts again, a digest is answered
//! with an error.
//!
//! # Invariants
//!
//! - Only an entry of another epoch, or an installed snapshot, causes an undo. A lost lease or role does not: what is
//!   uncommitted may still commit (`leadership.rs`).
//! - Between the loss of the role and the undo nothing is served from this memory: `may_act` is false, and a replica
//!   with uncommitted effects admits no read.
//! - After an undo memory is the log up to `position.applied`, as if the tenure's uncommitted commands had never run.

use fail::fail_point;
use fastness_events::Event;
use fastness_types::{LogIndex, Plant};

use crate::snapshot_format::Tail;
use crate::state::{Replica, State};

impl State {
    /// Ends the tenure because of an entry of another epoch. True if memory was emptied and must be restored, because
    /// it had uncommitted effects without sufficient undo records.
    pub(crate) fn meet_foreign_entry(&mut self) -> bool {
        if self.leader.is_some() {
            self.abandon_script();
        }
        match &self.leader {
            Some(leader) if leader.stage.is_clean() => {
                self.end_tenure();
                false
            }
            Some(_) => self.undo(),
            None => false,
        }
    }

    /// Discards memory in favour of an installed snapshot of `index`, which is newer.
    pub(crate) fn meet_installed(&mut self, index: LogIndex) {
        self.abandon_script();
        let replica = &mut self.replica;
        let (shard, applied) = (replica.shard.0, replica.position.applied.0);
        tracing::info!(shard, applied, index = index.0, "memory is restored from a snapshot of another node");
        replica.position.jumped_to = index;
        replica.snapshots.count_received();
        let open = self.leader.as_ref().is_some_and(|leader| !leader.stage.is_clean());
        let kept = (Plant::OpenKeptOverInstall.is_on() && open).then(|| replica.data.replace());
        if !self.meet_foreign_entry() {
            self.replica.restart_from_log();
        }
        if let Some(kept) = kept {
            self.replica.data.engine = kept;
        }
    }

    /// Undoes uncommitted effects. True if memory was emptied for that and must be restored.
    fn undo(&mut self) -> bool {
        let Some(mut leader) = self.leader.take() else { return false };
        let replica = &mut self.replica;
        let started = replica.clock.boot();
        let units = leader.stage.open_units();
        fail_point!("shard::undo");
        replica.counters.undone += 1;
        replica.counters.undone_units += units as u64;
        replica.tenures.record_end(leader.tenure, leader.committed, replica.position.applied);
        let (record_bytes, by_records) = (replica.data.engine.undo_bytes(), replica.revert());
        if by_records {
            replica.counters.undone_by_records += 1;
            replica.settings.unstage();
            if Plant::ImageKeptOverUndo.is_on() {
                replica.snapshots.mistake(Tail::at(&replica.position, &replica.settings));
            } else {
                replica.snapshots.start_again();
            }
            replica.digests.drop_image();
            replica.tenures.undo_took = replica.clock.boot().since(started);
        } else {
            replica.restart_from_log();
            replica.tenures.undo_started = Some(started);
        }
        let (committed, staged) = (leader.committed.0, leader.stage.last_staged().0);
        tracing::debug!(shard = replica.shard.0, committed, staged, record_bytes, "the last batches of the tenure");
        let (shard, term) = (replica.recorder.shard(), leader.epoch.term);
        replica.recorder.record(Event::WritesUndone { shard, term, units: units as u64, by_records });
        leader.waiting.wake_all();
        replica.key_waits.release_all();
        replica.key_events.end_tenure();
        replica.report_lost();
        !by_records
    }
}

impl Replica {
    /// Undoes uncommitted effects by their undo records; false if these do not suffice.
    fn revert(&mut self) -> bool {
        if Plant::NoUndo.is_on() {
            self.data.engine.drop_undo();
            return true;
        }
        if !Plant::RecordsKeptOverUndo.is_on() {
            self.records.undo();
        }
        self.data.engine.undo()
    }
}

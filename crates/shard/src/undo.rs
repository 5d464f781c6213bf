//! Undo of uncommitted effects at a lost tenure.

use fail::fail_point;
use fastness_types::{LogIndex, Plant};

use crate::snapshot_format::Tail;
use crate::state::{Replica, State};

impl State {
    /// Ends the tenure because of an entry of another epoch. True if memory had run ahead and is empty now: it must be
    /// restored.
    pub(crate) fn meet_foreign_entry(&mut self) -> bool {
        match &self.leader {
            Some(leader) if leader.stage.is_clean() => {
                self.end_tenure();
                false
            }
            Some(_) => self.undo(),
            None => false,
        }
    }

    /// A snapshot of `index` was installed, and memory does not hold as much: it is given up for the snapshot.
    pub(crate) fn meet_installed(&mut self, index: LogIndex) {
        let replica = &mut self.replica;
        let (shard, applied) = (replica.shard.0, replica.position.applied.0);
        tracing::info!(shard, applied, index = index.0, "a snapshot is restored from");
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

    /// Throws away what did not commit. True if the memory that held it went with it.
    fn undo(&mut self) -> bool {
        let Some(mut leader) = self.leader.take() else { return false };
        let replica = &mut self.replica;
        let started = replica.clock.boot();
        let units = leader.stage.open_units();
        fail_point!("shard::undo");
        replica.counters.undone += 1;
        replica.counters.undone_units += units as u64;
        replica.tenures.record_end(leader.tenure, leader.committed, replica.position.applied);
        let (record_bytes, by_records) = (replica.data.engine.undo_bytes(), replica.take_back());
        if by_records {
            replica.counters.undone_by_records += 1;
            replica.settings.unstage();
            if Plant::ImageKeptOverUndo.is_on() {
                replica.snapshots.mistake(Tail::at(&replica.position, &replica.settings));
            } else {
                replica.snapshots.begin_again();
            }
            replica.digests.drop_image();
            replica.tenures.undo_took = replica.clock.boot().since(started);
        } else {
            replica.restart_from_log();
            replica.tenures.undo_started = Some(started);
        }
        tracing::warn!(
            shard = replica.shard.0, epoch = %leader.epoch, committed = leader.committed.0,
            staged = leader.stage.last_staged().0, units, record_bytes, by_records,
            "leadership was lost with uncommitted effects: what did not commit is undone"
        );
        leader.waiting.wake_all();
        !by_records
    }
}

impl Replica {
    /// Takes back uncommitted effects by their records; false if these do not suffice.
    fn take_back(&mut self) -> bool {
        if Plant::NoUndo.is_on() {
            self.data.engine.drop_undo();
            return true;
        }
        self.data.engine.undo()
    }
}

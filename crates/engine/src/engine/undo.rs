//! Undoing uncommitted effects, and rolling back one unit: the engine's side of [undo records](crate::keyspace::undo),
//! whose documentation explains why they exist and how they work.
//!
//! # After lost leadership
//! A primary keeps records from the start of its tenure ([`Engine::keep_undo`]). It reports for each unit in which
//! batch it was staged ([`Engine::end_unit`]) and which batches have committed ([`Engine::forget_undo`]). If it loses
//! its leadership while effects are uncommitted, [`Engine::undo`] returns memory at once to the newest batch that
//! committed. If records were dropped because they would have taken too much memory, it returns false, and the owner
//! reads memory from snapshot and log instead.
//!
//! # When a unit becomes too long
//! A **unit**, the effects of one command or transaction, has a bound, because it must fit into log entries as a whole.
//! How long it becomes is known only while it runs: a short command can have a long effect (INCRBYFLOAT writes
//! thousands of digits), and a command removes the expired keys that it meets. Checking beforehand would mean running
//! it twice. So effects are counted where they are staged, before they are performed ([`EffectBuf`]); from the first
//! effect that does not fit on, nothing of the unit is performed, and when the command has ended, [`Engine::roll_back`]
//! removes the unit as if it had never run. Example, with space for two effects:
//!
//! ```text
//! begin_unit            savepoint
//! SET a 1               performed, effect 1, record: absent a
//! SET b 1               performed, effect 2, record: absent b
//! SET c 1               does not fit: not performed, the buffer has overflowed
//! SET d 1               not performed either
//! roll_back             b and a are removed, effects 1 and 2 are truncated
//! ```
//!
//! # Invariants
//! - A unit that was rolled back leaves no trace in data, effects, notifications, touched keys, watching sessions and
//!   counters of expired and evicted keys. (Counters of hits and misses stay: the look-ups did happen.)
//! - Records of the current unit are never dropped, so a roll-back is always possible; records of earlier units are not
//!   read.
//! - An image in progress stays valid: before the unit changed a value, the image wrote it as of the image's point, and
//!   it remembers that it did.

use super::{Engine, Stats};
use crate::effect::EffectBuf;
use fastness_types::{Plant, Seq};

/// State outside of data and effects that a roll-back restores.
#[derive(Debug)]
pub struct Savepoint {
    stats: Stats,
    /// How many notifications there were.
    notified: usize,
}

impl Engine {
    /// Starts to keep undo records: the present state is committed. All records are dropped once they hold more than
    /// `bytes_max`; see [`crate::keyspace::undo`].
    pub fn keep_undo(&mut self, bytes_max: usize) {
        self.keyspace.keep_undo(self.newest_timestamp(), bytes_max);
    }

    /// Ends a unit: what has changed since the last call belongs to the batch `seq`, at [`Engine::newest_timestamp`].
    /// The owner calls it once for each unit, also for one that changes no data.
    #[inline]
    pub fn end_unit(&mut self, seq: Seq) {
        self.image_unit_ended();
        let timestamp = self.newest_timestamp();
        self.keyspace.end_unit(seq, timestamp);
    }

    /// Starts a unit, whose effects may take `bytes_max` bytes. [`Engine::end_unit`] or [`Engine::roll_back`] ends it.
    #[inline]
    pub fn begin_unit(&mut self, effects: &mut EffectBuf, bytes_max: usize) -> Savepoint {
        effects.begin_unit(bytes_max);
        self.watchers.begin_unit();
        Savepoint { stats: self.stats(), notified: self.notified() }
    }

    /// Undoes what the unit has changed, and removes its effects. Records must be [kept](Engine::keep_undo).
    pub fn roll_back(&mut self, savepoint: Savepoint, effects: &mut EffectBuf) {
        effects.truncate_unit();
        self.forget_notifications(savepoint.notified);
        self.watchers.roll_back_unit();
        self.clear_changed();
        let Stats { hits, misses, .. } = self.stats;
        self.stats = Stats { hits, misses, ..savepoint.stats };
        if Plant::SavepointKept.is_on() {
            return;
        }
        self.image_before_rollback();
        let lent = if self.keyspace.unit_lends_tables() { self.take_lent_tables() } else { None };
        self.keyspace.undo_unit(lent);
    }

    /// Drops the records of the batches up to `seq`, which have committed and cannot be undone any more.
    pub fn forget_undo(&mut self, seq: Seq) {
        self.keyspace.forget_undo(seq);
    }

    /// Drops all records and stops keeping them: the present state is committed.
    pub fn drop_undo(&mut self) {
        self.keyspace.drop_undo();
    }

    /// Returns data and time to the newest batch that was forgotten, and stops keeping records. Gives up an image in
    /// progress and touches all watching sessions. Returns false if records are missing; memory then has to be
    /// discarded.
    #[must_use]
    pub fn undo(&mut self) -> bool {
        if !Plant::ImageKeptOverUndo.is_on() {
            self.drop_image();
        }
        let Some(timestamp) = self.keyspace.undo() else { return false };
        self.go_back_to(timestamp);
        self.touch_every_watcher();
        self.clear_changed();
        true
    }

    /// Bytes that records hold; [`Engine::memory_used`] counts them.
    #[must_use]
    pub fn undo_bytes(&self) -> u64 {
        self.keyspace.undo_bytes() as u64
    }
}

//! Going back to what is committed: the engine's side of [undo records](crate::keyspace::undo).
//!
//! A primary keeps records from the beginning of its tenure. It says of each unit in which batch it was staged, and
//! which batches have committed. When its leadership turns out to be lost with effects open, [`Engine::undo`] brings
//! memory back to the newest batch that committed, at once; where records were lost, since they would have taken too
//! much memory, it says so, and memory is to be read from snapshot and log again.
//!
//! The same records are the way back for one **unit**, a command or transaction, that turns out to be longer than a
//! unit may be. Its effects are counted where they are staged, before they are performed ([`EffectBuf`]); at the first
//! that does not fit nothing of the unit is performed any more, and when the command has ended [`Engine::roll_back`]
//! removes the unit as if it had never run: data, effects, what it has touched, the sessions that it has touched,
//! counters of expired keys. Records of a unit that runs have no bound but the unit's, so they are always there; those
//! of earlier units are not looked at. An image in progress stays valid: it has written what the unit was about to
//! change before the unit changed it, at the image's point, and remembers that it has.

use super::{Engine, Stats};
use crate::effect::EffectBuf;
use fastness_types::{Plant, Seq};

/// What a unit that is taken back leaves as it was, beside data and effects.
#[derive(Debug)]
pub struct Savepoint {
    stats: Stats,
}

impl Engine {
    /// From here on what changes can be undone; all there is now is committed. `bytes_max`: see
    /// [`crate::keyspace::undo`].
    pub fn keep_undo(&mut self, bytes_max: usize) {
        self.keyspace.keep_undo(self.newest_timestamp(), bytes_max);
    }

    /// What has changed since the last call is a unit of the batch `seq`, and [`Engine::newest_timestamp`] its time. To
    /// be called once for each unit, also for one that changes no data.
    #[inline]
    pub fn end_unit(&mut self, seq: Seq) {
        self.image_unit_ended();
        let timestamp = self.newest_timestamp();
        self.keyspace.end_unit(seq, timestamp);
    }

    /// A unit begins, whose effects may be `bytes_max` long. To be ended by [`Engine::end_unit`], or
    /// [`Engine::roll_back`].
    #[inline]
    pub fn begin_unit(&mut self, effects: &mut EffectBuf, bytes_max: usize) -> Savepoint {
        effects.begin_unit(bytes_max);
        self.watchers.begin_unit();
        Savepoint { stats: self.stats() }
    }

    /// Takes back what the unit has changed since it began, and its effects. Records must be [kept](Engine::keep_undo).
    pub fn roll_back(&mut self, savepoint: Savepoint, effects: &mut EffectBuf) {
        effects.truncate_unit();
        self.watchers.roll_back_unit();
        let Stats { hits, misses, expired: _, expired_fields: _ } = self.stats;
        self.stats = Stats { hits, misses, ..savepoint.stats };
        if Plant::SavepointKept.is_on() {
            return;
        }
        self.image_before_rollback();
        let lent = if self.keyspace.unit_lends_tables() { self.take_lent_tables() } else { None };
        self.keyspace.undo_unit(lent);
    }

    /// The batches up to `seq` have committed: they are not undone any more.
    pub fn forget_undo(&mut self, seq: Seq) {
        self.keyspace.forget_undo(seq);
    }

    /// All there is now is committed, and what changes from here on is not kept.
    pub fn drop_undo(&mut self) {
        self.keyspace.drop_undo();
    }

    /// Brings data and time back to the newest batch that was forgotten, and keeps nothing from then on. An image in
    /// progress is given up, sessions that watch any key are touched. False if records are missing: then memory is of
    /// no use any more.
    #[must_use]
    pub fn undo(&mut self) -> bool {
        if !Plant::ImageKeptOverUndo.is_on() {
            self.drop_image();
        }
        let Some(timestamp) = self.keyspace.undo() else { return false };
        self.go_back_to(timestamp);
        self.touch_every_watcher();
        true
    }

    /// Bytes that records hold; [`Engine::memory_used`] counts them.
    #[must_use]
    pub fn undo_bytes(&self) -> u64 {
        self.keyspace.undo_bytes() as u64
    }
}

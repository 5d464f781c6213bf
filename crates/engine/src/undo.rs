//! Going back to what is committed: the engine's side of [undo records](crate::keyspace::undo).
//!
//! A primary keeps records from the beginning of its tenure. It says of each unit in which batch it was staged, and which batches
//! have committed. When its leadership turns out to be lost with effects open, [`Engine::undo`] brings memory back to the newest
//! batch that committed, at once; where records were lost, since they would have taken too much memory, it says so, and
//! memory is to be read from snapshot and log again.

use crate::engine::Engine;
use fastness_types::Seq;

impl Engine {
    /// From here on what changes can be undone; all there is now is committed. `bytes_max`: see [`crate::keyspace::undo`].
    pub fn keep_undo(&mut self, bytes_max: usize) {
        self.keyspace.keep_undo(self.newest_stamp(), bytes_max);
    }

    /// What has changed since the last call is a unit of the batch `seq`, and [`Engine::newest_stamp`] its time. To be called once
    /// for each unit, also for one that changes no data.
    #[inline]
    pub fn end_unit(&mut self, seq: Seq) {
        let stamp = self.newest_stamp();
        self.keyspace.end_unit(seq, stamp);
    }

    /// The batches up to `seq` have committed: they are not undone any more.
    pub fn forget_undo(&mut self, seq: Seq) {
        self.keyspace.forget_undo(seq);
    }

    /// All there is now is committed, and what changes from here on is not kept.
    pub fn drop_undo(&mut self) {
        self.keyspace.drop_undo();
    }

    /// Brings data and time back to the newest batch that was forgotten, and keeps nothing from then on. An image in progress is given up,
    /// sessions that watch any key are touched. False if records are missing: then memory is of no use any more.
    #[must_use]
    pub fn undo(&mut self) -> bool {
        self.drop_image();
        let Some(stamp) = self.keyspace.undo() else { return false };
        self.go_back_to(stamp);
        self.touch_every_watcher();
        true
    }

    /// Bytes that records hold; [`Engine::memory_used`] counts them.
    #[must_use]
    pub fn undo_bytes(&self) -> u64 {
        self.keyspace.undo_bytes() as u64
    }
}

//! Restoring memory: at the start, after an undo for which undo records did not suffice, and for a snapshot that
//! another node has sent. Memory is emptied, the newest readable snapshot is loaded, and the rest is replayed from the
//! log (`log_walk.rs`).

use fail::fail_point;
use fastness_consensus::handle::OwnSnapshot;
use fastness_events::{Event, SnapshotFailure};
use fastness_types::{LogIndex, Plant};

use crate::idempotency::stored;
use crate::inner::Inner;
use crate::loading::Loading;
use crate::role::Phase;
use crate::snapshot_format::{SnapshotHead, Tail, UnusableSnapshot, read_head, read_tail};
use crate::snapshot_store::{SnapshotPart, SnapshotSource};
use crate::state::Replica;
use crate::time::CommittedTime;

impl Replica {
    /// Empties memory, to be restored from snapshot and log.
    pub(crate) fn restart_from_log(&mut self) {
        self.data.restart();
        self.report_lost();
        self.records.restart();
        fail_point!("shard::restore");
        self.position.restart();
        self.committed_time = CommittedTime::default();
        self.settings.restart();
        self.snapshots.restart();
        self.digests.drop_image();
        self.phase = Phase::Restoring;
        self.loading = Loading::new(self.clock.boot(), self.clock.wall());
        self.counters.restores += 1;
    }

    /// Loads one part of a snapshot; true if it was the last. `head`: what the head says, with the chunks of records
    /// that are still to come.
    fn take_part(&mut self, part: SnapshotPart, head: &mut Option<SnapshotHead>) -> Result<bool, UnusableSnapshot> {
        match (part, &mut *head) {
            (SnapshotPart::Head(bytes), None) => {
                let read = read_head(self.shard, &bytes)?;
                // Even without any key, because time must never run backwards.
                self.data.engine.advance_timestamp(read.timestamp);
                *head = Some(read);
                self.snapshots.begin_read();
                Ok(false)
            }
            (SnapshotPart::Chunk(chunk), Some(head)) => {
                self.snapshots.read_chunk(chunk.len());
                self.loading.read_chunk(chunk.len());
                match head.record_chunks {
                    0 => self.data.engine.load_image(head.timestamp, &chunk)?,
                    left => {
                        stored::load(&mut self.records, &chunk)?;
                        head.record_chunks = left - 1;
                    }
                }
                Ok(false)
            }
            (SnapshotPart::Tail(_), Some(head)) if head.record_chunks > 0 => {
                Err(UnusableSnapshot::Parts("it has fewer chunks than its head says"))
            }
            (SnapshotPart::Tail(tail), Some(_)) => {
                self.take_position(&read_tail(&tail)?)?;
                self.loading.end_snapshot();
                Ok(true)
            }
            (SnapshotPart::Head(_), Some(_)) => Err(UnusableSnapshot::Parts("it has two heads")),
            (SnapshotPart::Chunk(_) | SnapshotPart::Tail(_), None) => {
                Err(UnusableSnapshot::Parts("it starts without a head"))
            }
        }
    }

    /// Records that the snapshot is loaded: memory is at its position.
    fn take_position(&mut self, tail: &Tail) -> Result<(), UnusableSnapshot> {
        self.data.engine.end_image_load()?;
        let (read, written) = (self.data.engine.keyspace_stats().keys, tail.keys);
        if read != written {
            return Err(UnusableSnapshot::Keys { read, written });
        }
        self.position.checksum = tail.log_checksum()?;
        if let Some(mode) = tail.mode()? {
            self.settings.mode.commit(mode);
        }
        if let Some(bound) = tail.lag_bound() {
            self.settings.lag_bound.commit(bound);
        }
        self.committed_time.advance(self.data.engine.newest_timestamp(), self.clock.boot());
        self.position.walked = tail.index();
        self.position.apply_walked();
        self.position.fragments.clear();
        (self.position.epoch, self.position.seq) = (tail.epoch(), tail.seq());
        self.snapshots.end_read(tail.index(), tail.keys);
        Ok(())
    }
}

/// Restores memory from the newest readable snapshot, if a restore is due. The rest is replayed from the log.
pub(crate) async fn restore(inner: &Inner) {
    let mut below = None;
    loop {
        let Some((index, mut source)) = inner.state.borrow_mut().replica.snapshots.take_restore(below) else { return };
        inner.state.borrow_mut().replica.loading.expect_snapshot(source.bytes().unwrap_or(0));
        let loaded = match load(inner, source.as_mut()).await {
            Ok(()) if inner.state.borrow().replica.position.applied != index => Err(UnusableSnapshot::Position),
            loaded => loaded,
        };
        let replica = &mut inner.state.borrow_mut().replica;
        match loaded {
            Ok(()) => {
                if Plant::SnapshotOffByOne.is_on() {
                    replica.position.applied = LogIndex(index.0 + 1);
                }
                let keys = replica.snapshots.info().keys;
                // The next own one has the log purged.
                let epoch = replica.position.epoch;
                inner.edges.handle.report_snapshot(OwnSnapshot { index, epoch, purge_upto: LogIndex(0) });
                let shard = replica.shard.0;
                return tracing::info!(shard, index = index.0, keys, "memory is restored from a snapshot");
            }
            Err(error) => {
                let (shard, step, reason) = (replica.recorder.shard(), SnapshotFailure::Read, error.to_string());
                replica.recorder.record(Event::SnapshotFailed { shard, step, index: Some(index), reason });
                replica.restart_from_log();
                below = Some(index);
            }
        }
    }
}

async fn load(inner: &Inner, source: &mut dyn SnapshotSource) -> Result<(), UnusableSnapshot> {
    let mut head = None;
    loop {
        inner.edges.handle.report_turn();
        let part = source.next().await.map_err(UnusableSnapshot::Unreadable)?;
        let part = part.ok_or(UnusableSnapshot::Parts("it has no tail"))?;
        if inner.state.borrow_mut().replica.take_part(part, &mut head)? {
            return Ok(());
        }
        // Connected clients are answered LOADING meanwhile.
        tokio::task::yield_now().await;
    }
}

//! Checks snapshots in an engine of their own: whether one holds what it says, and whether the log leads from one to
//! the next.

use fastness_consensus::handle::{Committed, EntryPayload};
use fastness_engine::{ApplyError, Digest, Engine, EngineOptions};
use fastness_types::{Epoch, HashSeed, LogIndex, Seq, ShardId, WallMs};

use crate::batch::{Batch, BatchError, Run};
use crate::fragment::{Fragments, Part};
use crate::position::chain;
use crate::snapshot_format::{UnusableSnapshot, read_head, read_tail};

/// A snapshot that is read into an engine of its own, to check that it holds what it says.
#[derive(Debug)]
pub struct SnapshotCheck {
    engine: Engine,
    timestamp: WallMs,
}

/// What a whole snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotReport {
    /// Its position in the log.
    pub index: LogIndex,
    /// The epoch of the entry there.
    pub epoch: Epoch,
    /// Checksum of the log up to there, 16 hexadecimal digits.
    pub log_checksum: String,
    /// Keys.
    pub keys: u64,
    /// Digest of the data.
    pub digest: Digest,
}

impl SnapshotCheck {
    /// Starts with the head.
    ///
    /// # Errors
    /// It is not this shard's, or of another version.
    pub fn new(shard: ShardId, head: &[u8]) -> Result<SnapshotCheck, UnusableSnapshot> {
        let timestamp = read_head(shard, head)?;
        // A digest does not depend on the seed.
        let options = EngineOptions { seed: HashSeed([0; 16]), maxmemory: 0 };
        Ok(SnapshotCheck { engine: Engine::new(options), timestamp })
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// It holds something else than keys and values.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), UnusableSnapshot> {
        Ok(self.engine.load_image(self.timestamp, chunk)?)
    }

    /// Compares with the tail; the log can be replayed from there.
    ///
    /// # Errors
    /// Parts of a value are missing, or the data is not what the tail says.
    pub fn finish(mut self, tail: &[u8]) -> Result<(SnapshotReport, SnapshotReplay), UnusableSnapshot> {
        let tail = read_tail(tail)?;
        self.engine.end_image_load()?;
        let (keys, digest) = (self.engine.keyspace_stats().keys, self.engine.digest());
        if (keys, digest.to_string()) != (tail.keys, tail.digest.clone()) {
            let (tail_keys, tail_digest) = (tail.keys, tail.digest);
            return Err(UnusableSnapshot::Data { keys, digest, tail_keys, tail_digest });
        }
        let (index, epoch, seq, checksum) = (tail.index(), tail.epoch(), tail.seq(), tail.log_checksum()?);
        let report = SnapshotReport { index, epoch, log_checksum: tail.log_checksum, keys, digest };
        Ok((
            report,
            SnapshotReplay { engine: self.engine, index, epoch, seq, checksum, fragments: Fragments::default() },
        ))
    }
}

/// Why the log does not lead from one snapshot to the next.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// An entry is not the next one.
    #[error("entry {} of epoch {epoch} follows entry {} of epoch {after_epoch}", index.0, after.0)]
    Order {
        /// The entry.
        index: LogIndex,
        /// Its epoch.
        epoch: Epoch,
        /// The entry before it.
        after: LogIndex,
        /// The epoch of that.
        after_epoch: Epoch,
    },
    /// A batch is missing.
    #[error("entry {} holds batch {}, {} was expected", index.0, found.0, expected.0)]
    Gap {
        /// The entry.
        index: LogIndex,
        /// Its batch.
        found: Seq,
        /// The next batch of the epoch.
        expected: Seq,
    },
    /// An entry's payload is not a batch.
    #[error("entry {}: {error}", index.0)]
    Batch {
        /// The entry.
        index: LogIndex,
        /// What is wrong with it.
        error: BatchError,
    },
    /// Effects cannot be applied.
    #[error("entry {}: {error}", index.0)]
    Apply {
        /// The entry.
        index: LogIndex,
        /// What is wrong with it.
        error: ApplyError,
    },
    /// The log leads somewhere else than the snapshot.
    #[error("the log leads to index {}, epoch {epoch}, log checksum {log_checksum}, digest {digest}", index.0)]
    Differs {
        /// The position that the log leads to.
        index: LogIndex,
        /// The epoch there.
        epoch: Epoch,
        /// Checksum of the log up to there.
        log_checksum: String,
        /// Digest of the data there.
        digest: Digest,
    },
}

/// The log, replayed from a snapshot on.
#[derive(Debug)]
pub struct SnapshotReplay {
    engine: Engine,
    index: LogIndex,
    epoch: Epoch,
    seq: Seq,
    checksum: u64,
    /// Fragments of a batch that is not whole yet.
    fragments: Fragments,
}

impl SnapshotReplay {
    /// The position that it has reached.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        self.index
    }

    /// Applies the next entry.
    ///
    /// # Errors
    /// It is not the next one, or cannot be applied.
    pub fn apply(&mut self, entry: &Committed) -> Result<(), ReplayError> {
        let index = entry.index;
        if index.0 != self.index.0 + 1 || entry.epoch < self.epoch {
            let (after, after_epoch) = (self.index, self.epoch);
            return Err(ReplayError::Order { index, epoch: entry.epoch, after, after_epoch });
        }
        if entry.epoch > self.epoch {
            (self.epoch, self.seq) = (entry.epoch, Seq(0));
            self.fragments.clear();
        }
        if let EntryPayload::Batch(payload) = &entry.payload {
            self.apply_batch(index, payload)?;
        }
        self.checksum = chain(self.checksum, entry);
        self.index = index;
        Ok(())
    }

    fn apply_batch(&mut self, index: LogIndex, payload: &[u8]) -> Result<(), ReplayError> {
        let broken = |error| ReplayError::Batch { index, error };
        let part = Part::of(payload).map_err(broken)?;
        let (found, _) = part.place().map_err(broken)?;
        let expected = self.seq.next();
        if found != expected {
            return Err(ReplayError::Gap { index, found, expected });
        }
        self.seq = found;
        let Some(whole) = self.fragments.push(part).map_err(broken)? else { return Ok(()) };
        let batch = Batch::decode(&whole).map_err(broken)?;
        for run in batch.runs() {
            if let Run::Effects { timestamp, effects } = run {
                let applied = self.engine.apply(timestamp, effects);
                applied.map_err(|error| ReplayError::Apply { index, error })?;
            }
        }
        self.engine.advance_timestamp(batch.header.timestamp);
        Ok(())
    }

    /// Compares with the snapshot of the position that it has reached.
    ///
    /// # Errors
    /// They differ.
    pub fn compare(&self, with: &SnapshotReport) -> Result<(), ReplayError> {
        let (index, epoch, digest) = (self.index, self.epoch, self.engine.digest());
        let log_checksum = format!("{:016x}", self.checksum);
        if (index, epoch, &log_checksum, digest) != (with.index, with.epoch, &with.log_checksum, with.digest) {
            return Err(ReplayError::Differs { index, epoch, log_checksum, digest });
        }
        Ok(())
    }
}

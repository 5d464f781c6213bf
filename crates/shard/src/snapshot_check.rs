//! Verifies snapshots in a separate engine: whether the data matches the tail, and whether replaying the log from one
//! snapshot leads to the next.

use fastness_consensus::handle::{Committed, EntryPayload};
use fastness_engine::{ApplyError, Digest, Engine, EngineOptions};
use fastness_types::{Epoch, HashSeed, LogIndex, Seq, ShardId};

use crate::batch::{Batch, BatchError, Run};
use crate::fragment::{Fragments, Part};
use crate::idempotency::records::Records;
use crate::idempotency::stored;
use crate::position::chain;
use crate::snapshot_format::{SnapshotHead, UnusableSnapshot, read_head, read_tail};

/// A snapshot that is loaded into a separate engine, to verify its data against its tail.
#[derive(Debug)]
pub struct SnapshotCheck {
    engine: Engine,
    records: Records,
    head: SnapshotHead,
}

/// Position and content of a complete snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotReport {
    /// Its position in the log.
    pub index: LogIndex,
    /// Epoch of the entry at that position.
    pub epoch: Epoch,
    /// Checksum of the log up to that position, 16 hexadecimal digits.
    pub log_checksum: String,
    /// Number of keys.
    pub keys: u64,
    /// Digest of the data.
    pub digest: Digest,
}

impl SnapshotCheck {
    /// Starts to load a snapshot with its head.
    ///
    /// # Errors
    /// The snapshot belongs to another shard, or has an unknown version.
    pub fn new(shard: ShardId, head: &[u8]) -> Result<SnapshotCheck, UnusableSnapshot> {
        let head = read_head(shard, head)?;
        // A digest does not depend on the seed.
        let options = EngineOptions { seed: HashSeed([0; 16]), maxmemory: 0 };
        Ok(SnapshotCheck { engine: Engine::new(options), records: Records::default(), head })
    }

    /// Loads the next chunk.
    ///
    /// # Errors
    /// The chunk contains something other than keys and values, or idempotency records where these are due.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), UnusableSnapshot> {
        match self.head.record_chunks {
            0 => Ok(self.engine.load_image(self.head.timestamp, chunk)?),
            left => {
                self.head.record_chunks = left - 1;
                Ok(stored::load(&mut self.records, chunk)?)
            }
        }
    }

    /// Compares the data with the tail. Returns a replay of the log that starts at the snapshot's position.
    ///
    /// # Errors
    /// Parts of a value are missing, or the data does not match the tail.
    pub fn finish(mut self, tail: &[u8]) -> Result<(SnapshotReport, SnapshotReplay), UnusableSnapshot> {
        let tail = read_tail(tail)?;
        self.engine.end_image_load()?;
        let (keys, digest) = (self.engine.keyspace_stats().keys, digest_of(&self.engine, &self.records));
        if (keys, digest.to_string()) != (tail.keys, tail.digest.clone()) {
            let (tail_keys, tail_digest) = (tail.keys, tail.digest);
            return Err(UnusableSnapshot::Data { keys, digest, tail_keys, tail_digest });
        }
        let (index, epoch, seq, checksum) = (tail.index(), tail.epoch(), tail.seq(), tail.log_checksum()?);
        let report = SnapshotReport { index, epoch, log_checksum: tail.log_checksum, keys, digest };
        Ok((
            report,
            SnapshotReplay {
                engine: self.engine,
                records: self.records,
                index,
                epoch,
                seq,
                checksum,
                fragments: Fragments::default(),
            },
        ))
    }
}

/// The digest of the data and of the idempotency records.
fn digest_of(engine: &Engine, records: &Records) -> Digest {
    Digest(engine.digest().0.wrapping_add(records.digest()))
}

/// Why replaying the log from one snapshot does not lead to the next.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// An entry does not follow the preceding one.
    #[error("entry {} of epoch {epoch} follows entry {} of epoch {after_epoch}", index.0, after.0)]
    Order {
        /// The entry.
        index: LogIndex,
        /// Its epoch.
        epoch: Epoch,
        /// The preceding entry.
        after: LogIndex,
        /// The epoch of the preceding entry.
        after_epoch: Epoch,
    },
    /// A batch is missing.
    #[error("entry {} holds batch {}, {} was expected", index.0, found.0, expected.0)]
    Gap {
        /// The entry.
        index: LogIndex,
        /// Its batch.
        found: Seq,
        /// The batch that was expected.
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
    /// The replayed log leads to a state that differs from the snapshot.
    #[error("the log leads to index {}, epoch {epoch}, log checksum {log_checksum}, digest {digest}", index.0)]
    Differs {
        /// The position that the replay has reached.
        index: LogIndex,
        /// The epoch at that position.
        epoch: Epoch,
        /// Checksum of the log up to that position.
        log_checksum: String,
        /// Digest of the data at that position.
        digest: Digest,
    },
}

/// A replay of the log that starts at a snapshot.
#[derive(Debug)]
pub struct SnapshotReplay {
    engine: Engine,
    records: Records,
    index: LogIndex,
    epoch: Epoch,
    seq: Seq,
    checksum: u64,
    /// Fragments of a batch that is not complete yet.
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
    /// The entry does not follow the preceding one, or cannot be applied.
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
        for (timestamp, change) in batch.records() {
            self.records.apply(&change, timestamp);
        }
        self.engine.advance_timestamp(batch.header.timestamp);
        Ok(())
    }

    /// Compares the state with the snapshot of the position that the replay has reached.
    ///
    /// # Errors
    /// They differ.
    pub fn compare(&self, with: &SnapshotReport) -> Result<(), ReplayError> {
        let (index, epoch, digest) = (self.index, self.epoch, digest_of(&self.engine, &self.records));
        let log_checksum = format!("{:016x}", self.checksum);
        if (index, epoch, &log_checksum, digest) != (with.index, with.epoch, &with.log_checksum, with.digest) {
            return Err(ReplayError::Differs { index, epoch, log_checksum, digest });
        }
        Ok(())
    }
}

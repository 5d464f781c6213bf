//! Checking snapshots in a scratch place: whether one holds what it says, and whether the log leads from one to the
//! next.

use fastness_consensus::handle::{Committed, EntryPayload};
use fastness_engine::{Digest, Engine, EngineOptions};
use fastness_types::{Epoch, HashSeed, LogIndex, NodeId, Seq, ShardId, WallMs};

use crate::batch::{Batch, Run};
use crate::fragment::{Fragments, Part};
use crate::position::chain;
use crate::snapshot_format::{read_head, read_tail};

/// A snapshot that is read into a scratch engine, to see whether it is what it says.
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
    /// Of the log up to there, 16 hexadecimal digits.
    pub log_checksum: String,
    /// Keys.
    pub keys: u64,
    /// Of the data.
    pub digest: Digest,
}

impl SnapshotCheck {
    /// Begins with the head.
    ///
    /// # Errors
    /// It is not this shard's, or of another version.
    pub fn new(shard: ShardId, head: &[u8]) -> Result<SnapshotCheck, String> {
        let timestamp = read_head(shard, head)?;
        // A digest does not depend on the seed.
        let options = EngineOptions { seed: HashSeed([0; 16]), maxmemory: 0 };
        Ok(SnapshotCheck { engine: Engine::new(options), timestamp })
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// It holds something else than keys and values.
    pub fn chunk(&mut self, chunk: &[u8]) -> Result<(), String> {
        self.engine.load_image(self.timestamp, chunk).map_err(|error| error.to_string())
    }

    /// Compares with the tail; the log can be replayed from there.
    ///
    /// # Errors
    /// Parts of a value are missing, or the data is not what the tail says.
    pub fn finish(mut self, tail: &[u8]) -> Result<(SnapshotReport, SnapshotReplay), String> {
        let tail = read_tail(tail)?;
        self.engine.end_image_load().map_err(|error| error.to_string())?;
        let (keys, digest) = (self.engine.keyspace_stats().keys, self.engine.digest());
        if (keys, digest.to_string()) != (tail.keys, tail.digest.clone()) {
            return Err(format!(
                "it holds {keys} keys with digest {digest}, its tail says {} with {}",
                tail.keys, tail.digest
            ));
        }
        let epoch = Epoch { term: tail.term, node: NodeId(tail.node) };
        let checksum = u64::from_str_radix(&tail.log_checksum, 16).map_err(|error| format!("log_checksum: {error}"))?;
        let index = LogIndex(tail.index);
        let report = SnapshotReport { index, epoch, log_checksum: tail.log_checksum, keys, digest };
        Ok((
            report,
            SnapshotReplay {
                engine: self.engine,
                index,
                epoch,
                seq: Seq(tail.sequence),
                checksum,
                fragments: Fragments::default(),
            },
        ))
    }
}

/// The log, replayed from a snapshot on.
#[derive(Debug)]
pub struct SnapshotReplay {
    engine: Engine,
    index: LogIndex,
    epoch: Epoch,
    seq: Seq,
    checksum: u64,
    /// Of a batch that is not whole yet.
    fragments: Fragments,
}

impl SnapshotReplay {
    /// Where it stands.
    #[must_use]
    pub fn index(&self) -> LogIndex {
        self.index
    }

    /// Applies the next entry.
    ///
    /// # Errors
    /// It is not the next one, or cannot be applied.
    pub fn apply(&mut self, entry: &Committed) -> Result<(), String> {
        let index = entry.index;
        if index.0 != self.index.0 + 1 || entry.epoch < self.epoch {
            return Err(format!(
                "entry {} of epoch {} follows entry {} of epoch {}",
                index.0, entry.epoch, self.index.0, self.epoch
            ));
        }
        if entry.epoch > self.epoch {
            (self.epoch, self.seq) = (entry.epoch, Seq(0));
            self.fragments.clear();
        }
        if let EntryPayload::Batch(payload) = &entry.payload {
            let broken = |error: &dyn std::fmt::Display| format!("entry {}: {error}", index.0);
            let part = Part::of(payload).map_err(|error| broken(&error))?;
            let (seq, _) = part.place().map_err(|error| broken(&error))?;
            if seq != self.seq.next() {
                return Err(format!("entry {} holds batch {}, {} was expected", index.0, seq.0, self.seq.0 + 1));
            }
            self.seq = seq;
            if let Some(whole) = self.fragments.push(part).map_err(|error| broken(&error))? {
                let batch = Batch::decode(&whole).map_err(|error| broken(&error))?;
                for run in batch.runs() {
                    if let Run::Effects { timestamp, effects } = run {
                        self.engine.apply(timestamp, effects).map_err(|error| broken(&error))?;
                    }
                }
                self.engine.advance_timestamp(batch.header.timestamp);
            }
        }
        self.checksum = chain(self.checksum, entry);
        self.index = index;
        Ok(())
    }

    /// Compares with the snapshot of the position that it has reached.
    ///
    /// # Errors
    /// They differ; the text says in what.
    pub fn compare(&self, with: &SnapshotReport) -> Result<(), String> {
        let digest = self.engine.digest();
        let here = (self.index, self.epoch, format!("{:016x}", self.checksum), digest);
        let there = (with.index, with.epoch, with.log_checksum.clone(), with.digest);
        if here != there {
            return Err(format!(
                "the log leads to index {}, epoch {}, log checksum {}, digest {}",
                here.0.0, here.1, here.2, here.3
            ));
        }
        Ok(())
    }
}

//! A snapshot as an RDB file, for readers outside of the cluster.
//!
//! The chunks of the snapshot pass through an engine of its own: what is whole is written and forgotten, so that of a
//! snapshot of any size about 1 MiB, the largest value and the idempotency records are in memory. The file
//! ends only if everything that was written has the digest in the snapshot's tail.

use fastness_engine::outbound::dialect::Dialect;
use fastness_engine::outbound::rdb::{RdbWriter, WrittenKeys};
use fastness_engine::{Digest, Engine, EngineOptions};
use fastness_types::{HashSeed, LogIndex, ShardId};

use crate::idempotency::records::Records;
use crate::idempotency::stored;
use crate::snapshot_format::{SnapshotHead, UnusableSnapshot, read_head, read_tail};

/// Bytes of chunks that are loaded before they are written, about.
const DRAINED_BYTES: usize = 1 << 20;

/// What an RDB file begins with.
#[derive(Debug, Clone, Copy)]
pub struct RdbStart<'a> {
    /// The version of the format.
    pub dialect: Dialect,
    /// Facts of the file: names and values.
    pub facts: &'a [(&'a str, &'a str)],
    /// About how many keys it has.
    pub keys: u64,
}

/// What an RDB file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportedSnapshot {
    /// The log position of its data.
    pub index: LogIndex,
    /// Keys.
    pub keys: u64,
    /// Hashes whose fields have deadlines that the file does not carry.
    pub hashes_without_deadlines: u64,
}

/// See the module.
#[derive(Debug)]
pub struct SnapshotExport {
    engine: Engine,
    records: Records,
    head: SnapshotHead,
    rdb: RdbWriter,
    loaded: usize,
    written: WrittenKeys,
}

impl SnapshotExport {
    /// Starts with the head of a snapshot, and appends the start of the file to `out`.
    ///
    /// # Errors
    /// The snapshot belongs to another shard, or has an unknown version.
    pub fn begin(
        shard: ShardId,
        head: &[u8],
        start: RdbStart<'_>,
        out: &mut Vec<u8>,
    ) -> Result<SnapshotExport, UnusableSnapshot> {
        let head = read_head(shard, head)?;
        // Neither the digest nor the file depends on the seed of the cluster: the order of keys does not matter.
        let engine = Engine::new(EngineOptions { seed: HashSeed([0; 16]), maxmemory: 0 });
        let rdb = RdbWriter::begin(start.dialect, start.facts, start.keys, out);
        Ok(SnapshotExport {
            engine,
            records: Records::default(),
            head,
            rdb,
            loaded: 0,
            written: WrittenKeys::default(),
        })
    }

    /// Takes the next chunk, and appends what is due of the file to `out`.
    ///
    /// # Errors
    /// The chunk contains something other than keys and values, or idempotency records where these are due.
    pub fn chunk(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), UnusableSnapshot> {
        if self.head.record_chunks > 0 {
            self.head.record_chunks -= 1;
            return Ok(stored::load(&mut self.records, chunk)?);
        }
        self.engine.load_image(self.head.timestamp, chunk)?;
        self.loaded += chunk.len();
        if self.loaded >= DRAINED_BYTES {
            self.drain(out);
        }
        Ok(())
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        self.loaded = 0;
        let WrittenKeys { keys, digest } = self.engine.drain_to_rdb(&mut self.rdb, out);
        self.written.keys += keys;
        self.written.digest.0 = self.written.digest.0.wrapping_add(digest.0);
    }

    /// Compares what was written with the tail of the snapshot, and appends the end of the file.
    ///
    /// # Errors
    /// Parts of a value are missing, or the data does not match the tail. The file has no end then.
    pub fn finish(mut self, tail: &[u8], out: &mut Vec<u8>) -> Result<ExportedSnapshot, UnusableSnapshot> {
        let tail = read_tail(tail)?;
        self.engine.end_image_load()?;
        self.drain(out);
        let keys = self.written.keys;
        let digest = Digest(self.written.digest.0.wrapping_add(self.records.digest()));
        if (keys, digest.to_string()) != (tail.keys, tail.digest.clone()) {
            let (tail_keys, tail_digest) = (tail.keys, tail.digest);
            return Err(UnusableSnapshot::Data { keys, digest, tail_keys, tail_digest });
        }
        let hashes_without_deadlines = self.rdb.end(out);
        Ok(ExportedSnapshot { index: tail.index(), keys, hashes_without_deadlines })
    }
}

//! The head and the tail of a snapshot. **Frozen**: both are in files on disk.
//!
//! Both are JSON, because they are small and operators may have to read them in an emergency.

use std::time::Duration;

use fastness_engine::{Digest, ImageError};
use fastness_types::{Epoch, LogIndex, NodeId, Seq, ShardId, UnknownDurability, WallMs};
use serde::{Deserialize, Serialize};

use crate::lag_bound::DesiredLagBound;
use crate::mode::DesiredMode;
use crate::position::LogPosition;
use crate::reader::BatchError;
use crate::settings::Settings;
use crate::snapshot_store::SourceError;

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableSnapshot {
    /// The file cannot be read, or is damaged.
    #[error("{0}")]
    Unreadable(SourceError),
    /// A part is missing, or one too many exists.
    #[error("{0}")]
    Parts(&'static str),
    /// The head cannot be decoded.
    #[error("its head: {0}")]
    Head(serde_json::Error),
    /// The snapshot belongs to another shard, or has an unknown version.
    #[error("version {version}, shard {shard}: not of this shard")]
    Foreign {
        /// The value in the head.
        version: u32,
        /// The value in the head.
        shard: u32,
    },
    /// The tail cannot be decoded.
    #[error("its tail: {0}")]
    Tail(serde_json::Error),
    /// The checksum in the tail is not a number.
    #[error("log_checksum: {0}")]
    Checksum(std::num::ParseIntError),
    /// The mode in the tail is unknown.
    #[error("durability: {0}")]
    Durability(UnknownDurability),
    /// A chunk contains something other than keys and values, or the last value is incomplete.
    #[error("{0}")]
    Image(#[from] ImageError),
    /// A chunk contains something other than idempotency records.
    #[error("{0}")]
    Records(#[from] BatchError),
    /// The number of keys differs from that in the tail.
    #[error("{read} keys were read, {written} were written")]
    Keys {
        /// Number of keys in the chunks.
        read: u64,
        /// Number of keys in the tail.
        written: u64,
    },
    /// The data does not match the digest in the tail.
    #[error("it holds {keys} keys with digest {digest}, its tail says {tail_keys} with {tail_digest}")]
    Data {
        /// Number of keys in the chunks.
        keys: u64,
        /// Digest of the data in the chunks.
        digest: Digest,
        /// The value in the tail.
        tail_keys: u64,
        /// The value in the tail.
        tail_digest: String,
    },
    /// The position in the tail differs from the position under which the snapshot is stored.
    #[error("it is one of another position")]
    Position,
}

/// Version of head and tail.
const VERSION: u32 = 1;
/// The version if chunks with idempotency records precede the image.
const VERSION_WITH_RECORDS: u32 = 2;

/// The head of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: u32,
    shard: u32,
    /// The newest timestamp in the data, ms since the Unix epoch.
    #[serde(rename = "stamp")]
    timestamp: u64,
    /// Chunks with idempotency records before the image; only in version 2.
    #[serde(default, skip_serializing_if = "is_zero")]
    record_chunks: u64,
}

/// What a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotHead {
    /// The newest timestamp in the data.
    pub(crate) timestamp: WallMs,
    /// How many chunks precede the image.
    pub(crate) record_chunks: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The tail of a snapshot: its position in the log and the checks of its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tail {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) node: u64,
    /// The newest batch of that epoch.
    pub(crate) sequence: u64,
    /// The mode in the log; absent if the log has none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    durability: Option<String>,
    #[serde(default)]
    durability_version: u64,
    /// The lag bound in the log, and its version; absent if the log has none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_lag_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    max_lag_version: u64,
    /// 16 hexadecimal digits.
    pub(crate) log_checksum: String,
    pub(crate) keys: u64,
    /// 32 hexadecimal digits.
    pub(crate) digest: String,
}

impl Tail {
    /// The tail of a snapshot at the newest entry in memory. The number of keys and the digest are filled in once the
    /// image is written.
    pub(crate) fn at(position: &LogPosition, settings: &Settings) -> Tail {
        let (mode, bound) = (settings.mode.committed(), settings.lag_bound.committed());
        Tail {
            index: position.applied.0,
            term: position.epoch.term,
            node: position.epoch.node.0,
            sequence: position.seq.0,
            durability: mode.map(|desired| desired.mode.name().to_owned()),
            durability_version: mode.map_or(0, |desired| desired.version),
            max_lag_ms: bound.map(|desired| desired.bound.as_millis() as u64),
            max_lag_version: bound.map_or(0, |desired| desired.version),
            log_checksum: format!("{:016x}", position.checksum),
            keys: 0,
            digest: String::new(),
        }
    }

    pub(crate) fn index(&self) -> LogIndex {
        LogIndex(self.index)
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch { term: self.term, node: NodeId(self.node) }
    }

    pub(crate) fn seq(&self) -> Seq {
        Seq(self.sequence)
    }

    pub(crate) fn log_checksum(&self) -> Result<u64, UnusableSnapshot> {
        u64::from_str_radix(&self.log_checksum, 16).map_err(UnusableSnapshot::Checksum)
    }

    /// The mode in the log; `None`: it has none yet.
    pub(crate) fn mode(&self) -> Result<Option<DesiredMode>, UnusableSnapshot> {
        let Some(mode) = &self.durability else { return Ok(None) };
        let mode = mode.parse().map_err(UnusableSnapshot::Durability)?;
        Ok(Some(DesiredMode { mode, version: self.durability_version }))
    }

    /// The lag bound in the log; `None`: it has none yet.
    pub(crate) fn lag_bound(&self) -> Option<DesiredLagBound> {
        let bound = Duration::from_millis(self.max_lag_ms?);
        Some(DesiredLagBound { bound, version: self.max_lag_version })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings have a JSON form")
    }
}

/// Encodes the head of a snapshot.
pub(crate) fn encode_head(shard: ShardId, SnapshotHead { timestamp, record_chunks }: SnapshotHead) -> Vec<u8> {
    let version = if record_chunks > 0 { VERSION_WITH_RECORDS } else { VERSION };
    let head = Head { version, shard: shard.0, timestamp: timestamp.0, record_chunks };
    serde_json::to_vec(&head).expect("numbers have a JSON form")
}

pub(crate) fn read_head(shard: ShardId, head: &[u8]) -> Result<SnapshotHead, UnusableSnapshot> {
    let Head { version, shard: of, timestamp, record_chunks } =
        serde_json::from_slice(head).map_err(UnusableSnapshot::Head)?;
    if !matches!(version, VERSION | VERSION_WITH_RECORDS) || of != shard.0 {
        return Err(UnusableSnapshot::Foreign { version, shard: of });
    }
    Ok(SnapshotHead { timestamp: WallMs(timestamp), record_chunks })
}

pub(crate) fn read_tail(tail: &[u8]) -> Result<Tail, UnusableSnapshot> {
    serde_json::from_slice(tail).map_err(UnusableSnapshot::Tail)
}

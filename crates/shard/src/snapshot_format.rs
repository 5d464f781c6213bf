//! What a snapshot starts and ends with. **Frozen**: both are in files on disk.
//!
//! JSON, because both are small, and read by people in emergencies.

use std::time::Duration;

use fastness_engine::{Digest, ImageError};
use fastness_types::{Epoch, LogIndex, NodeId, Seq, ShardId, UnknownDurability, WallMs};
use serde::{Deserialize, Serialize};

use crate::lag_bound::DesiredLagBound;
use crate::mode::DesiredMode;
use crate::position::LogPosition;
use crate::settings::Settings;
use crate::snapshot_store::SourceError;

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableSnapshot {
    /// It cannot be read from its disk, or is damaged there.
    #[error("{0}")]
    Unreadable(SourceError),
    /// A part is missing, or there is one too many.
    #[error("{0}")]
    Parts(&'static str),
    /// The head is not one.
    #[error("its head: {0}")]
    Head(serde_json::Error),
    /// It is of another shard, or of a version that is not known here.
    #[error("version {version}, shard {shard}: not of this shard")]
    Foreign {
        /// As its head says.
        version: u32,
        /// As its head says.
        shard: u32,
    },
    /// The tail is not one.
    #[error("its tail: {0}")]
    Tail(serde_json::Error),
    /// The tail's checksum is no number.
    #[error("log_checksum: {0}")]
    Checksum(std::num::ParseIntError),
    /// The tail's mode is none.
    #[error("durability: {0}")]
    Durability(UnknownDurability),
    /// A chunk holds something else than keys and values, or the last value is incomplete.
    #[error("{0}")]
    Image(#[from] ImageError),
    /// Fewer or more keys than its tail says.
    #[error("{read} keys were read, {written} were written")]
    Keys {
        /// As many were in its chunks.
        read: u64,
        /// As many are in its tail.
        written: u64,
    },
    /// The data is not what its tail says.
    #[error("it holds {keys} keys with digest {digest}, its tail says {tail_keys} with {tail_digest}")]
    Data {
        /// Keys in its chunks.
        keys: u64,
        /// Digest of its chunks' data.
        digest: Digest,
        /// As its tail says.
        tail_keys: u64,
        /// As its tail says.
        tail_digest: String,
    },
    /// Its tail says another position than it is stored under.
    #[error("it is one of another position")]
    Position,
}

/// Version of head and tail.
const VERSION: u32 = 1;

/// What a snapshot starts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: u32,
    shard: u32,
    /// The newest timestamp in the data, ms since the Unix epoch.
    #[serde(rename = "stamp")]
    timestamp: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a snapshot ends with: its position in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tail {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) node: u64,
    /// The newest batch of that epoch.
    pub(crate) sequence: u64,
    /// The mode that the log says; absent: it says none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    durability: Option<String>,
    #[serde(default)]
    durability_version: u64,
    /// The bound of the durability lag that the log says, and its version; absent: it says none yet.
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
    /// The tail of a snapshot at the newest entry that memory holds. Keys and digest are the image's, and known once it
    /// is written.
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

    /// The mode that the log says; `None`: it says none yet.
    pub(crate) fn mode(&self) -> Result<Option<DesiredMode>, UnusableSnapshot> {
        let Some(mode) = &self.durability else { return Ok(None) };
        let mode = mode.parse().map_err(UnusableSnapshot::Durability)?;
        Ok(Some(DesiredMode { mode, version: self.durability_version }))
    }

    /// The bound of the durability lag that the log says; `None`: it says none yet.
    pub(crate) fn lag_bound(&self) -> Option<DesiredLagBound> {
        let bound = Duration::from_millis(self.max_lag_ms?);
        Some(DesiredLagBound { bound, version: self.max_lag_version })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and strings have a JSON form")
    }
}

/// The head of a snapshot whose newest timestamp is `timestamp`.
pub(crate) fn encode_head(shard: ShardId, timestamp: WallMs) -> Vec<u8> {
    let head = Head { version: VERSION, shard: shard.0, timestamp: timestamp.0 };
    serde_json::to_vec(&head).expect("numbers have a JSON form")
}

/// The timestamp that a head says.
pub(crate) fn read_head(shard: ShardId, head: &[u8]) -> Result<WallMs, UnusableSnapshot> {
    let Head { version, shard: of, timestamp } = serde_json::from_slice(head).map_err(UnusableSnapshot::Head)?;
    if (version, of) != (VERSION, shard.0) {
        return Err(UnusableSnapshot::Foreign { version, shard: of });
    }
    Ok(WallMs(timestamp))
}

pub(crate) fn read_tail(tail: &[u8]) -> Result<Tail, UnusableSnapshot> {
    serde_json::from_slice(tail).map_err(UnusableSnapshot::Tail)
}

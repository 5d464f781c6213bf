//! What a snapshot starts and ends with. **Frozen**: both are in files on disk.
//!
//! JSON, because both are small, and read by people in emergencies.

use std::time::Duration;

use fastness_types::{Epoch, LogIndex, NodeId, Seq, ShardId, WallMs};
use serde::{Deserialize, Serialize};

use crate::lag_bound::DesiredLagBound;
use crate::mode::DesiredMode;
use crate::position::LogPosition;
use crate::settings::Settings;

/// Version of head and tail.
const VERSION: u32 = 1;

/// What a snapshot starts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    version: u32,
    shard: u32,
    /// The newest timestamp in the data, ms since the Unix epoch.
    timestamp: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a snapshot ends with: where in the log it stands.
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
    /// Of the newest entry that memory holds. Keys and digest are the image's, and known once it is written.
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

    pub(crate) fn log_checksum(&self) -> Result<u64, String> {
        u64::from_str_radix(&self.log_checksum, 16).map_err(|error| format!("log_checksum: {error}"))
    }

    /// The mode that the log says; `None`: it says none yet.
    pub(crate) fn mode(&self) -> Result<Option<DesiredMode>, String> {
        let Some(mode) = &self.durability else { return Ok(None) };
        let mode = mode.parse().map_err(|error| format!("durability: {error}"))?;
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
pub(crate) fn read_head(shard: ShardId, head: &[u8]) -> Result<WallMs, String> {
    let head: Head = serde_json::from_slice(head).map_err(|error| format!("its head: {error}"))?;
    if (head.version, head.shard) != (VERSION, shard.0) {
        return Err(format!("version {}, shard {}: not of this shard", head.version, head.shard));
    }
    Ok(WallMs(head.timestamp))
}

pub(crate) fn read_tail(tail: &[u8]) -> Result<Tail, String> {
    serde_json::from_slice(tail).map_err(|error| format!("its tail: {error}"))
}

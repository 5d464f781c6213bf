//! A snapshot of group 0: its whole state, as parts of a file. **Frozen**: the golden test below has the bytes.
//!
//! - The head is a JSON object: the version, and the position in the log.
//! - The chunks, joined, are the map as one JSON value; `null` before the cluster is created.
//! - The tail is a JSON object with the number of bytes of all chunks.
//!
//! The state is one value of bounded size, so a snapshot is that value, written in one go. It is JSON for the reason
//! that commands are: people read it in emergencies. The file is encrypted, and detects damage of its own bytes
//! (`log/src/snapshot.rs`).
//!
//! Rules: those of [`command`](crate::command). A field that old readers would ignore raises `version`.

use bytes::Bytes;
use fastness_consensus::snapshot::SnapshotPart;
use fastness_types::limits::CONTROL_SNAPSHOT_BYTES_MAX;
use fastness_types::{Epoch, LogIndex, NodeId, Seq};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::command::DecodeError;
use crate::command::stored_map::StoredMap;
use crate::state::ControlState;

/// The version that this code writes, and the newest one that it reads.
const VERSION: u32 = 1;
/// Bytes of one chunk.
const CHUNK_BYTES: usize = 256 * 1024;

/// Why a snapshot cannot be written or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotFormatError {
    /// Written by a newer version.
    #[error(
        "the snapshot has version {found}, this node reads versions up to {VERSION}: upgrade it to the version of the other nodes"
    )]
    Version {
        /// The version in its head.
        found: u32,
    },
    /// The head cannot be decoded.
    #[error("its head is not readable: {0}")]
    Head(String),
    /// The tail cannot be decoded.
    #[error("its tail is not readable: {0}")]
    Tail(String),
    /// The parts are not one head, chunks and one tail.
    #[error("it is not one head, chunks and one tail")]
    Parts,
    /// It is longer than any state of group 0.
    #[error("it has more than {CONTROL_SNAPSHOT_BYTES_MAX} bytes")]
    TooLong,
    /// It has more or fewer bytes than its tail says.
    #[error("it has {found} bytes, its tail says {said}")]
    Bytes {
        /// Bytes of all chunks.
        found: usize,
        /// The number in the tail.
        said: u64,
    },
    /// The map cannot be decoded, or breaks an invariant.
    #[error("its map: {0}")]
    Map(#[from] DecodeError),
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    index: u64,
    term: u64,
    node: u64,
    /// The newest command of that epoch.
    sequence: u64,
}

/// The part of a head that every version has.
#[derive(Deserialize)]
struct HeadVersion {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Tail {
    bytes: u64,
}

/// Encodes a state as the parts of a snapshot.
///
/// # Errors
/// It takes more than [`CONTROL_SNAPSHOT_BYTES_MAX`].
pub fn encode(state: &ControlState) -> Result<Vec<SnapshotPart>, SnapshotFormatError> {
    let json = "plain structs of numbers and strings have a JSON form";
    let head = Head {
        version: VERSION,
        index: state.index.0,
        term: state.epoch.term,
        node: state.epoch.node.0,
        sequence: state.seq.0,
    };
    let map = serde_json::to_vec(&state.map.as_deref().map(StoredMap::from)).expect(json);
    if map.len() > CONTROL_SNAPSHOT_BYTES_MAX {
        return Err(SnapshotFormatError::TooLong);
    }
    let tail = Tail { bytes: map.len() as u64 };
    let mut left = Bytes::from(map);
    let mut parts = vec![SnapshotPart::Head(serde_json::to_vec(&head).expect(json).into())];
    while !left.is_empty() {
        parts.push(SnapshotPart::Chunk(left.split_to(left.len().min(CHUNK_BYTES))));
    }
    parts.push(SnapshotPart::Tail(serde_json::to_vec(&tail).expect(json).into()));
    Ok(parts)
}

/// Reads the parts of a snapshot one by one.
#[derive(Default)]
pub struct Decoder {
    head: Option<Head>,
    map: Vec<u8>,
    tail: Option<Tail>,
}

impl Decoder {
    /// Takes the next part.
    ///
    /// # Errors
    /// The snapshot cannot be used.
    pub fn take(&mut self, part: &SnapshotPart) -> Result<(), SnapshotFormatError> {
        match (part, &self.head, &self.tail) {
            (SnapshotPart::Head(bytes), None, None) => {
                let unreadable = |error: serde_json::Error| SnapshotFormatError::Head(error.to_string());
                // The version first, so that a head of a newer version is not reported as unreadable.
                let HeadVersion { version } = serde_json::from_slice(bytes).map_err(unreadable)?;
                if version == 0 || version > VERSION {
                    return Err(SnapshotFormatError::Version { found: version });
                }
                self.head = Some(serde_json::from_slice(bytes).map_err(unreadable)?);
            }
            (SnapshotPart::Chunk(bytes), Some(_), None) => {
                if self.map.len() + bytes.len() > CONTROL_SNAPSHOT_BYTES_MAX {
                    return Err(SnapshotFormatError::TooLong);
                }
                self.map.extend_from_slice(bytes);
            }
            (SnapshotPart::Tail(bytes), Some(_), None) => {
                let tail = serde_json::from_slice(bytes);
                self.tail = Some(tail.map_err(|error| SnapshotFormatError::Tail(error.to_string()))?);
            }
            _ => return Err(SnapshotFormatError::Parts),
        }
        Ok(())
    }

    /// The state, once all parts are taken.
    ///
    /// # Errors
    /// The snapshot cannot be used.
    pub fn finish(self) -> Result<ControlState, SnapshotFormatError> {
        let (Some(head), Some(tail)) = (self.head, self.tail) else { return Err(SnapshotFormatError::Parts) };
        if tail.bytes != self.map.len() as u64 {
            return Err(SnapshotFormatError::Bytes { found: self.map.len(), said: tail.bytes });
        }
        let stored: Option<StoredMap> =
            serde_json::from_slice(&self.map).map_err(|error| DecodeError::Malformed(error.to_string()))?;
        Ok(ControlState {
            index: LogIndex(head.index),
            epoch: Epoch { term: head.term, node: NodeId(head.node) },
            seq: Seq(head.sequence),
            map: stored.map(StoredMap::into_map).transpose()?.map(Arc::new),
        })
    }
}

/// Reads all parts of a snapshot.
///
/// # Errors
/// It cannot be used.
pub fn decode<'p>(parts: impl IntoIterator<Item = &'p SnapshotPart>) -> Result<ControlState, SnapshotFormatError> {
    let mut decoder = Decoder::default();
    parts.into_iter().try_for_each(|part| decoder.take(part))?;
    decoder.finish()
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;

//! Records in a snapshot: chunks before those of the image. **Frozen**: files hold the layout.
//!
//! A chunk is a sequence of items, none of which is cut:
//!
//! ```text
//! kind       u8      1: a record, in the order of the log; 2: the floor of a client, after its records
//! client     varint length, bytes; of a floor: empty for that of clients without records
//! sequence   u64 le; of a floor: the floor, and nothing follows
//! payload    16 bytes
//! timestamp  u64 le
//! reply      varint length, bytes
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use fastness_types::WallMs;

use super::records::{Record, Records};
use crate::reader::{BatchError, Reader, put_varint};

const RECORD: u8 = 1;
const FLOOR: u8 = 2;

/// The records at one point of the log, on their way into a snapshot.
pub(crate) struct FrozenRecords {
    records: VecDeque<Arc<Record>>,
    floors: VecDeque<(Arc<[u8]>, u64)>,
    /// Items of each chunk.
    chunk_items: usize,
    /// The digest of all of them.
    pub(crate) digest: u128,
}

impl FrozenRecords {
    /// The records as they are now, for chunks of about `chunk_bytes` on average.
    pub(crate) fn of(records: &Records, chunk_bytes: usize) -> FrozenRecords {
        let mut floors: VecDeque<(Arc<[u8]>, u64)> = records.floors().collect();
        if records.floor_of_gone() > 0 {
            floors.push_back((Arc::from(&b""[..]), records.floor_of_gone()));
        }
        let records_each = records.bytes() / records.len().max(1);
        FrozenRecords {
            records: records.all().cloned().collect(),
            floors,
            chunk_items: (chunk_bytes / records_each.max(1)).max(1),
            digest: records.digest(),
        }
    }

    /// How many chunks are left.
    pub(crate) fn chunks(&self) -> u64 {
        (self.records.len() + self.floors.len()).div_ceil(self.chunk_items) as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.floors.is_empty()
    }

    /// The next chunk; empty if there is none.
    pub(crate) fn next_chunk(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..self.chunk_items {
            if let Some(record) = self.records.pop_front() {
                out.push(RECORD);
                put_sized(&mut out, &record.client);
                out.extend_from_slice(&record.sequence.to_le_bytes());
                out.extend_from_slice(&record.payload.to_le_bytes());
                out.extend_from_slice(&record.timestamp.0.to_le_bytes());
                put_sized(&mut out, &record.reply);
            } else if let Some((client, floor)) = self.floors.pop_front() {
                out.push(FLOOR);
                put_sized(&mut out, &client);
                out.extend_from_slice(&floor.to_le_bytes());
            } else {
                break;
            }
        }
        out
    }
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Adds what a chunk holds.
pub(crate) fn load(records: &mut Records, chunk: &[u8]) -> Result<(), BatchError> {
    let mut reader = Reader(chunk);
    while !reader.0.is_empty() {
        match reader.byte()? {
            RECORD => {
                let (client, sequence) = (reader.sized()?, reader.u64()?);
                let payload = u128::from_le_bytes(reader.take(16)?.try_into().expect("sixteen bytes were taken"));
                let (timestamp, reply) = (WallMs(reader.u64()?), reader.sized()?.into());
                if client.is_empty() {
                    return Err(BatchError::Record);
                }
                let record = Record { client: client.into(), sequence, payload, timestamp, reply, at: None };
                if !records.restore(record) {
                    return Err(BatchError::Record);
                }
            }
            FLOOR => {
                let (client, floor) = (reader.sized()?, reader.u64()?);
                if !records.restore_floor(client, floor) {
                    return Err(BatchError::Record);
                }
            }
            kind => return Err(BatchError::Unknown("record kind", kind)),
        }
    }
    Ok(())
}

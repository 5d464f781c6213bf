//! Log entries and their format on disk.
//!
//! Entry record, version 1 (frozen; golden files in `tests/golden`), integers big-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 1 | version = 1 |
//! | 1 | kind: 1 blank, 2 batch, 3 membership |
//! | 2 | reserved, 0 (checked) |
//! | 4 | id of the data key |
//! | 8 | term of the leader that proposed it |
//! | 8 | node id of that leader |
//! | 12 | nonce |
//! | n | payload, encrypted |
//! | 16 | authentication tag |
//!
//! Group and index are in the key (`key.rs`). The authentication tag also covers the record's place (`keyring.rs`). The
//! proposer defines the payload: idempotency records, per-write durability, timestamps and databases are fields of the
//! batch, which has a version of its own. A new field of the envelope takes version 2; version 1 stays readable.

use bytes::Bytes;

/// The version that is written.
pub const ENTRY_VERSION: u8 = 1;
pub(crate) const HEADER_BYTES: usize = 36;
pub(crate) const TAG_BYTES: usize = 16;

/// What an entry means to Raft. Numbers are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// The first entry of a leader's term.
    Blank = 1,
    /// A batch of effects.
    Batch = 2,
    /// A change of the group's members.
    Membership = 3,
}

impl EntryKind {
    /// The kind with this frozen number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<EntryKind> {
        match number {
            1 => Some(EntryKind::Blank),
            2 => Some(EntryKind::Batch),
            3 => Some(EntryKind::Membership),
            _ => None,
        }
    }
}

/// Id of an entry: its index and the leader that proposed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EntryId {
    /// Index in the group's log.
    pub index: u64,
    /// Term of the leader.
    pub term: u64,
    /// Node id of the leader.
    pub node: u64,
}

/// One entry of one group's log, decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Index in the group's log.
    pub index: u64,
    /// Term of the leader that proposed it.
    pub term: u64,
    /// Node id of that leader.
    pub node: u64,
    /// What the entry means to Raft.
    pub kind: EntryKind,
    /// Not interpreted by this crate.
    pub payload: Bytes,
}

impl LogEntry {
    /// The entry's id.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId { index: self.index, term: self.term, node: self.node }
    }

    /// Bytes that the entry counts against memory bounds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.payload.len() + size_of::<LogEntry>() + 32
    }
}

/// The unencrypted header of an entry record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    pub(crate) kind: EntryKind,
    pub(crate) key_id: u32,
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) nonce: [u8; 12],
}

impl EntryHeader {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(ENTRY_VERSION);
        out.push(self.kind as u8);
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.key_id.to_be_bytes());
        out.extend_from_slice(&self.term.to_be_bytes());
        out.extend_from_slice(&self.node.to_be_bytes());
        out.extend_from_slice(&self.nonce);
    }

    /// Decodes a header, and returns it with the bytes that follow it.
    pub(crate) fn decode(record: &[u8]) -> Result<(EntryHeader, &[u8]), RecordError> {
        let &version = record.first().ok_or(RecordError::Short)?;
        if version != ENTRY_VERSION {
            return Err(RecordError::Version(version));
        }
        if record.len() < HEADER_BYTES + TAG_BYTES {
            return Err(RecordError::Short);
        }
        if record[2..4] != [0, 0] {
            return Err(RecordError::Reserved);
        }
        let kind = EntryKind::from_number(record[1]).ok_or(RecordError::Kind(record[1]))?;
        let header = EntryHeader {
            kind,
            key_id: u32_at(record, 4),
            term: u64_at(record, 8),
            node: u64_at(record, 16),
            nonce: array_at(record, 24),
        };
        Ok((header, &record[HEADER_BYTES..]))
    }
}

/// Purge record, version 1, before it is sealed: `version u8 | index u64 | term u64 | node u64`. If a membership entry
/// was purged, the newest one follows: `index u64 | term u64 | node u64 | payload`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PurgeRecord {
    pub(crate) upto: EntryId,
    pub(crate) membership: Option<LogEntry>,
}

impl PurgeRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![1u8];
        encode_id(self.upto, &mut out);
        if let Some(entry) = &self.membership {
            encode_id(entry.id(), &mut out);
            out.extend_from_slice(&entry.payload);
        }
        out
    }

    pub(crate) fn decode(record: &[u8]) -> Result<PurgeRecord, RecordError> {
        match record.first() {
            Some(1) => {}
            Some(&version) => return Err(RecordError::Version(version)),
            None => return Err(RecordError::Short),
        }
        let upto = decode_id(&record[1..])?;
        let rest = &record[25..];
        let membership = if rest.is_empty() {
            None
        } else {
            let EntryId { index, term, node } = decode_id(rest)?;
            let payload = Bytes::copy_from_slice(&rest[24..]);
            Some(LogEntry { index, term, node, kind: EntryKind::Membership, payload })
        };
        Ok(PurgeRecord { upto, membership })
    }
}

fn encode_id(id: EntryId, out: &mut Vec<u8>) {
    for field in [id.index, id.term, id.node] {
        out.extend_from_slice(&field.to_be_bytes());
    }
}

fn decode_id(bytes: &[u8]) -> Result<EntryId, RecordError> {
    if bytes.len() < 24 {
        return Err(RecordError::Short);
    }
    Ok(EntryId { index: u64_at(bytes, 0), term: u64_at(bytes, 8), node: u64_at(bytes, 16) })
}

/// Bytes `at..at + N`. The caller has checked the length.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes is an array of N bytes")
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(array_at(bytes, at))
}

/// Why a stored record is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The record is too short for its fields.
    #[error("the record is too short")]
    Short,
    /// The record was written by a newer version, or is damaged.
    #[error("this version does not know format version {0}")]
    Version(u8),
    /// A kind that version 1 does not have.
    #[error("entry kind {0} is not known")]
    Kind(u8),
    /// Bytes that version 1 writes as 0 have another value.
    #[error("reserved bytes are not zero")]
    Reserved,
    /// The data key that sealed the record is not on this disk.
    #[error("its data key {0} does not exist on this disk")]
    NoKey(u32),
    /// The authentication tag does not match the content, the data key and the place.
    #[error("its authentication tag does not match: the record was changed, or was copied from another place")]
    Tag,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_decodes_to_itself() {
        let header = EntryHeader { kind: EntryKind::Batch, key_id: 5, term: 6, node: 7, nonce: *b"abcdefghijkl" };
        let mut record = Vec::new();
        header.encode(&mut record);
        assert_eq!(record.len(), HEADER_BYTES);
        record.extend_from_slice(&[9; TAG_BYTES]);
        assert_eq!(EntryHeader::decode(&record), Ok((header, &[9u8; TAG_BYTES][..])));
    }

    #[test]
    fn each_defect_of_a_header_has_its_own_error() {
        assert_eq!(EntryHeader::decode(&[]), Err(RecordError::Short));
        assert_eq!(EntryHeader::decode(&[2; 60]), Err(RecordError::Version(2)));
        assert_eq!(EntryHeader::decode(&[1; 20]), Err(RecordError::Short));
        let mut record = vec![0; 60];
        record[0] = 1;
        assert_eq!(EntryHeader::decode(&record), Err(RecordError::Kind(0)));
        record[1] = 2;
        record[3] = 1;
        assert_eq!(EntryHeader::decode(&record), Err(RecordError::Reserved));
    }

    #[test]
    fn a_purge_record_decodes_to_itself() {
        let upto = EntryId { index: 10, term: 2, node: 3 };
        let membership =
            LogEntry { index: 4, term: 1, node: 1, kind: EntryKind::Membership, payload: Bytes::from_static(b"m") };
        for membership in [None, Some(membership)] {
            let record = PurgeRecord { upto, membership };
            assert_eq!(PurgeRecord::decode(&record.encode()), Ok(record));
        }
        assert_eq!(PurgeRecord::decode(&[1; 10]), Err(RecordError::Short));
        assert_eq!(PurgeRecord::decode(&[1; 30]), Err(RecordError::Short));
    }
}

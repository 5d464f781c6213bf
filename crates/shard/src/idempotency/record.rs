//! The record of a unit in the log. **Frozen**: logs hold the layout; the test `golden` has the bytes.
//!
//! ```text
//! form         u8      1
//! leave        varint  so many records, the oldest of all, leave before this one is added
//! leave_own    varint  after that, so many of this client leave, those with the lowest sequence numbers
//! client       varint length, bytes: who, see `client_of`
//! sequence     u64 le
//! payload      16 bytes: checksum of the command and its arguments
//! reply        the rest: the reply in RESP3; a null array is written as in RESP2
//! ```
//!
//! The record of a unit of the kind `Leave` is a varint: so many records leave, the oldest of all.

use crate::reader::{BatchError, Reader, put_varint};

const FORM: u8 = 1;

/// The record in the head of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnitRecord<'a> {
    pub(crate) leave: u64,
    pub(crate) leave_own: u64,
    pub(crate) client: &'a [u8],
    pub(crate) sequence: u64,
    pub(crate) payload: u128,
    pub(crate) reply: &'a [u8],
}

impl<'a> UnitRecord<'a> {
    pub(crate) fn encode(&self) -> Box<[u8]> {
        let mut out = Vec::with_capacity(48 + self.client.len() + self.reply.len());
        out.push(FORM);
        put_varint(&mut out, self.leave);
        put_varint(&mut out, self.leave_own);
        put_varint(&mut out, self.client.len() as u64);
        out.extend_from_slice(self.client);
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.payload.to_le_bytes());
        out.extend_from_slice(self.reply);
        out.into()
    }

    pub(crate) fn decode(bytes: &'a [u8]) -> Result<UnitRecord<'a>, BatchError> {
        let mut reader = Reader(bytes);
        let form = reader.byte()?;
        if form != FORM {
            return Err(BatchError::Unknown("record form", form));
        }
        let (leave, leave_own) = (reader.varint()?, reader.varint()?);
        let client = reader.sized()?;
        if client.is_empty() {
            return Err(BatchError::Record);
        }
        let sequence = reader.u64()?;
        let payload = u128::from_le_bytes(reader.take(16)?.try_into().expect("sixteen bytes were taken"));
        Ok(UnitRecord { leave, leave_own, client, sequence, payload, reply: reader.0 })
    }
}

/// The record of a unit by which the `count` oldest records leave.
pub(crate) fn encode_leave(count: u64) -> Box<[u8]> {
    let mut out = Vec::new();
    put_varint(&mut out, count);
    out.into()
}

pub(crate) fn decode_leave(bytes: &[u8]) -> Result<u64, BatchError> {
    let mut reader = Reader(bytes);
    let count = reader.varint()?;
    if reader.0.is_empty() { Ok(count) } else { Err(BatchError::Record) }
}

/// What a unit does to the idempotency records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordChange<'a> {
    /// One is added, after others have left.
    Add(UnitRecord<'a>),
    /// The oldest leave.
    Leave(u64),
}

/// A client as records name it: the length of the user's name in one byte, the user's name, the client's own.
pub(crate) fn client_of(user: &[u8], client: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(3 + user.len() + client.len());
    put_varint(&mut name, user.len() as u64);
    name.extend_from_slice(user);
    name.extend_from_slice(client);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden() {
        let record =
            UnitRecord { leave: 300, leave_own: 1, client: b"\x01ux", sequence: 7, payload: 0x0102, reply: b":1\r\n" };
        let bytes = record.encode();
        let mut expected = vec![1, 0xac, 2, 1, 3, 1, b'u', b'x', 7, 0, 0, 0, 0, 0, 0, 0, 2, 1];
        expected.extend_from_slice(&[0; 14]);
        expected.extend_from_slice(b":1\r\n");
        assert_eq!(&bytes[..], expected, "frozen");
        assert_eq!(UnitRecord::decode(&bytes), Ok(record));
        for cut in 0..bytes.len() - record.reply.len() {
            assert_eq!(UnitRecord::decode(&bytes[..cut]), Err(BatchError::Truncated), "{cut}");
        }
        let mut other = bytes.to_vec();
        other[0] = 2;
        assert_eq!(UnitRecord::decode(&other), Err(BatchError::Unknown("record form", 2)));
        assert_eq!(UnitRecord::decode(&UnitRecord { client: b"", ..record }.encode()), Err(BatchError::Record));
        assert_eq!(&encode_leave(300)[..], [0xac, 2], "frozen");
        assert_eq!((decode_leave(&[0xac, 2]), decode_leave(&[1, 1])), (Ok(300), Err(BatchError::Record)));
    }

    #[test]
    fn clients_of_two_users_differ() {
        assert_ne!(client_of(b"ab", b"c"), client_of(b"a", b"bc"));
        assert_eq!(client_of(b"ab", b"c"), b"\x02abc");
    }
}

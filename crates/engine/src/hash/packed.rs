//! A small hash as one run of bytes (packed; OBJECT ENCODING: `listpack`), with its fields in the order in which they
//! were added.
//!
//! ```text
//! 0    u16   number of fields, little-endian
//! ..   u8    length of the field
//! ..         the field
//! ..   u8    length of its value
//! ..         the value; the next field follows
//! ```
//!
//! The run is stored in the key's entry, so that a small hash is one allocation with its key. Finding a field reads the
//! run from its start, and a change copies it: both are bounded by the upper bounds of [`PackedLimits`]. Fields of a
//! packed hash have no deadlines.
//!
//! # Invariant
//! The run was made by [`PackedHashBuf`]: its lengths add up, and each field occurs once.

use crate::keyspace::{NewValue, Packed, PackedLimits, TypeNumber};

/// The number of the type in digests and in the headers of entries. Frozen.
pub const NUMBER: TypeNumber = TypeNumber(1);

const HEAD: usize = 2;

/// A field with its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// A packed hash, for reading.
#[derive(Debug, Clone, Copy)]
pub struct PackedHash<'a> {
    bytes: &'a [u8],
}

/// A packed hash, for changing.
#[derive(Debug, Clone)]
pub struct PackedHashBuf {
    bytes: Vec<u8>,
}

/// The offsets of a pair.
struct PairPlace {
    /// Offset of the field's length.
    at: usize,
    /// Offset of the value's length.
    value_at: usize,
    /// Offset of the end of the pair.
    end: usize,
}

impl<'a> PackedHash<'a> {
    /// The value of a key, if it is a packed hash.
    #[must_use]
    pub fn of(packed: Packed<'a>) -> Option<PackedHash<'a>> {
        (packed.of == NUMBER).then(|| PackedHash::new(packed.bytes))
    }

    /// The value to store in an entry.
    #[must_use]
    pub fn value(self) -> NewValue<'a> {
        NewValue::Packed(Packed { of: NUMBER, bytes: self.bytes })
    }

    /// Reads bytes that a [`PackedHashBuf`] made.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> PackedHash<'a> {
        PackedHash { bytes }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Number of fields.
    #[must_use]
    pub fn len(self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[0], self.bytes[1]]))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    fn place(self, at: usize) -> Option<PairPlace> {
        let field_len = usize::from(*self.bytes.get(at)?);
        let value_at = at + 1 + field_len;
        Some(PairPlace { at, value_at, end: value_at + 1 + usize::from(self.bytes[value_at]) })
    }

    fn pair(self, place: &PairPlace) -> Pair<'a> {
        (&self.bytes[place.at + 1..place.value_at], &self.bytes[place.value_at + 1..place.end])
    }

    fn places(self) -> impl Iterator<Item = PairPlace> + use<'a> {
        let mut at = HEAD;
        std::iter::from_fn(move || {
            let place = self.place(at)?;
            at = place.end;
            Some(place)
        })
    }

    fn find(self, field: &[u8]) -> Option<PairPlace> {
        self.places().find(|place| self.pair(place).0 == field)
    }

    /// The field's value.
    #[must_use]
    pub fn get(self, field: &[u8]) -> Option<&'a [u8]> {
        self.find(field).map(|place| self.pair(&place).1)
    }

    /// Every pair, the oldest field first.
    pub fn iter(self) -> impl Iterator<Item = Pair<'a>> + use<'a> {
        self.places().map(move |place| self.pair(&place))
    }

    /// A copy, for changing.
    #[must_use]
    pub fn to_buf(self) -> PackedHashBuf {
        PackedHashBuf { bytes: self.bytes.to_vec() }
    }
}

impl Default for PackedHashBuf {
    fn default() -> PackedHashBuf {
        PackedHashBuf { bytes: vec![0; HEAD] }
    }
}

impl PackedHashBuf {
    /// The hash, for reading.
    #[must_use]
    pub fn packed(&self) -> PackedHash<'_> {
        PackedHash { bytes: &self.bytes }
    }

    /// Sets a field, in its place or after all others. The caller checks [`PackedLimits`].
    pub fn set(&mut self, field: &[u8], value: &[u8]) {
        debug_assert!(field.len().max(value.len()) as u64 <= PackedLimits::TEXT_MAX);
        let sized = |text: &[u8]| [text.len() as u8].into_iter().chain(text.iter().copied()).collect::<Vec<u8>>();
        if let Some(place) = self.packed().find(field) {
            self.bytes.splice(place.value_at..place.end, sized(value));
            return;
        }
        self.bytes.reserve(field.len() + value.len() + 2);
        self.bytes.push(field.len() as u8);
        self.bytes.extend_from_slice(field);
        self.bytes.push(value.len() as u8);
        self.bytes.extend_from_slice(value);
        self.count(self.packed().len() + 1);
    }

    /// Removes a field.
    pub fn remove(&mut self, field: &[u8]) {
        let Some(place) = self.packed().find(field) else { return };
        self.bytes.drain(place.at..place.end);
        self.count(self.packed().len() - 1);
    }

    fn count(&mut self, len: usize) {
        self.bytes[..HEAD].copy_from_slice(&(len as u16).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: usize = PackedLimits::TEXT_MAX as usize;

    #[test]
    fn fields_keep_their_order() {
        let mut row = PackedHashBuf::default();
        assert!(row.packed().is_empty());
        row.set(b"a", b"1");
        row.set(b"", b"");
        row.set(b"b", &[b'x'; LONGEST]);
        row.set(b"a", b"longer");
        let pairs: Vec<Pair<'_>> = row.packed().iter().collect();
        assert_eq!(pairs, [(&b"a"[..], &b"longer"[..]), (b"", b""), (b"b", &[b'x'; LONGEST])]);
        assert_eq!(
            (row.packed().len(), row.packed().get(b"a"), row.packed().get(b"c")),
            (3, Some(&b"longer"[..]), None)
        );
        row.remove(b"");
        row.remove(b"nosuch");
        assert_eq!((row.packed().len(), row.packed().get(b"")), (2, None));
        row.remove(b"a");
        row.remove(b"b");
        assert_eq!(row.packed().bytes(), [0, 0]);
    }
}

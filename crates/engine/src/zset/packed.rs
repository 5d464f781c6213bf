//! A small sorted set as one run of bytes (packed; OBJECT ENCODING: `listpack`), with its members in order.
//!
//! ```text
//! 0    u16   number of members, little-endian
//! ..         score, packed (`score.rs`)
//! ..   u8    length of the member
//! ..         the member; the next score follows
//! ```
//!
//! The run is stored in the key's entry, so that a small sorted set is one allocation with its key. Finding a member
//! reads the run from its start, and a change copies it: both are bounded by the upper bounds of
//! [`PackedLimits`].
//!
//! A score of `-0` is stored as 0, as Valkey's listpack has it.
//!
//! # Invariant
//! The run was made by [`PackedZsetBuf`]: its lengths add up, each member occurs once, and members are in the order of
//! score and name.

use super::members::Member;
use super::score::{order_of, packed_len, unpacked, write_packed};
use crate::keyspace::{NewValue, Packed, PackedLimits, TypeNumber};

/// The number of the type in digests and in the headers of entries. Frozen.
pub const NUMBER: TypeNumber = TypeNumber(5);

const HEAD: usize = 2;

/// A packed sorted set, for reading.
#[derive(Debug, Clone, Copy)]
pub struct PackedZset<'a> {
    bytes: &'a [u8],
}

/// A packed sorted set, for changing.
#[derive(Debug, Clone)]
pub struct PackedZsetBuf {
    bytes: Vec<u8>,
}

/// The offsets of a member.
struct MemberPlace {
    /// Offset of the score.
    at: usize,
    /// Offset of the length of the name.
    name_at: usize,
    /// Offset of the end.
    end: usize,
}

impl<'a> PackedZset<'a> {
    /// The value of a key, if it is a packed sorted set.
    #[must_use]
    pub fn of(packed: Packed<'a>) -> Option<PackedZset<'a>> {
        (packed.of == NUMBER).then(|| PackedZset::new(packed.bytes))
    }

    /// The value to store in an entry.
    #[must_use]
    pub fn value(self) -> NewValue<'a> {
        NewValue::Packed(Packed { of: NUMBER, bytes: self.bytes })
    }

    /// Reads bytes that a [`PackedZsetBuf`] made.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> PackedZset<'a> {
        PackedZset { bytes }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Number of members.
    #[must_use]
    pub fn len(self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[0], self.bytes[1]]))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    fn place(self, at: usize) -> Option<MemberPlace> {
        let score_len = packed_len(*self.bytes.get(at)?)?;
        let name_at = at + 1 + score_len;
        Some(MemberPlace { at, name_at, end: name_at + 1 + usize::from(self.bytes[name_at]) })
    }

    fn places(self) -> impl Iterator<Item = MemberPlace> + use<'a> {
        let mut at = HEAD;
        std::iter::from_fn(move || {
            let place = self.place(at)?;
            at = place.end;
            Some(place)
        })
    }

    fn name(self, place: &MemberPlace) -> &'a [u8] {
        &self.bytes[place.name_at + 1..place.end]
    }

    fn score_at(self, place: &MemberPlace) -> f64 {
        unpacked(self.bytes[place.at], &self.bytes[place.at + 1..place.name_at])
    }

    /// The score of a member.
    #[must_use]
    pub fn score(self, name: &[u8]) -> Option<f64> {
        self.places().find(|place| self.name(place) == name).map(|place| self.score_at(&place))
    }

    /// The rank of a member, and its score.
    #[must_use]
    pub fn rank(self, name: &[u8]) -> Option<(usize, f64)> {
        let (rank, place) = self.places().enumerate().find(|(_, place)| self.name(place) == name)?;
        Some((rank, self.score_at(&place)))
    }

    /// Every member, in order.
    pub fn iter(self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        self.places().map(move |place| (self.name(&place), self.score_at(&place)))
    }

    /// A copy, for changing.
    #[must_use]
    pub fn to_buf(self) -> PackedZsetBuf {
        PackedZsetBuf { bytes: self.bytes.to_vec() }
    }
}

impl Default for PackedZsetBuf {
    fn default() -> PackedZsetBuf {
        PackedZsetBuf { bytes: vec![0; HEAD] }
    }
}

impl PackedZsetBuf {
    /// The sorted set, for reading.
    #[must_use]
    pub fn packed(&self) -> PackedZset<'_> {
        PackedZset { bytes: &self.bytes }
    }

    /// Sets the score of a member. The caller checks [`PackedLimits`].
    pub fn set(&mut self, name: &[u8], score: f64) {
        debug_assert!(name.len() as u64 <= PackedLimits::TEXT_MAX);
        self.remove(name);
        let place = (order_of(score), name);
        let packed = self.packed();
        let is_after = |held: &MemberPlace| (order_of(packed.score_at(held)), packed.name(held)) > place;
        let at = packed.places().find(is_after).map_or(self.bytes.len(), |next| next.at);
        let mut member = Vec::with_capacity(name.len() + 10);
        // The sum of -0 and 0 is 0.
        write_packed(score + 0.0, &mut member);
        member.push(name.len() as u8);
        member.extend_from_slice(name);
        self.bytes.splice(at..at, member);
        self.count(self.packed().len() + 1);
    }

    /// Removes a member.
    pub fn remove(&mut self, name: &[u8]) {
        let packed = self.packed();
        let Some(place) = packed.places().find(|place| packed.name(place) == name) else { return };
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

    #[test]
    fn members_are_in_order() {
        let mut packed = PackedZsetBuf::default();
        assert!(packed.packed().is_empty());
        for (name, score) in [(&b"b"[..], 1.0), (b"a", 1.0), (b"", -0.0), (b"c", f64::NEG_INFINITY), (b"d", 1e300)] {
            packed.set(name, score);
        }
        packed.set(b"b", -7.5);
        let members: Vec<Member<'_>> = packed.packed().iter().collect();
        let all = [(&b"c"[..], f64::NEG_INFINITY), (b"b", -7.5), (b"", 0.0), (b"a", 1.0), (b"d", 1e300)];
        assert_eq!(members, all);
        assert!(packed.packed().score(b"").unwrap().is_sign_positive(), "-0 is stored as 0");
        assert_eq!((packed.packed().len(), packed.packed().rank(b"a")), (5, Some((3, 1.0))));
        assert_eq!((packed.packed().score(b"x"), packed.packed().rank(b"x")), (None, None));
        for name in [&b"nosuch"[..], b"a", b"", b"b", b"c", b"d"] {
            packed.remove(name);
        }
        assert_eq!(packed.packed().bytes(), [0, 0]);
    }
}

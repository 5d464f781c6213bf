//! A small set as one run of bytes (packed), in one of two forms.
//!
//! ```text
//! 0    u8    bytes of an integer: 2, 4 or 8 (OBJECT ENCODING: `intset`); 0: texts (`listpack`)
//! 1    u16   number of members, little-endian
//! ..         integers: in ascending order, little-endian
//! ..         texts: of each its length (u8), and its bytes, in the order in which they were added
//! ```
//!
//! The run is stored in the key's entry, so that a small set is one allocation with its key. An integer is found by
//! bisection, and a text by reading the run from its start. A change copies the run, which is bounded by the upper
//! bounds of [`PackedLimits`].
//!
//! # Invariant
//! The run was made by [`of_integers`] or [`of_texts`]: its lengths add up, integers ascend and are as wide as the
//! widest needs, and each member occurs once.

use super::member::SetMember;
use crate::keyspace::{NewValue, Packed, PackedLimits, TypeNumber};

/// The number of the type in digests and in the headers of entries. Frozen.
pub const NUMBER: TypeNumber = TypeNumber(3);

const HEAD: usize = 3;
/// The width that says that members are texts.
const TEXTS: u8 = 0;

/// The forms of a set, from the most compact to the one that takes everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetForm {
    /// Packed integers.
    Ints,
    /// Packed texts.
    Texts,
    /// A table outside of the entry.
    Table,
}

impl SetForm {
    /// The most compact form that can hold this member.
    #[must_use]
    pub fn of_member(member: SetMember<'_>, limits: PackedLimits) -> SetForm {
        match member {
            member if member.integer().is_some() => SetForm::Ints,
            SetMember::Text(text) if text.len() as u64 > limits.set_text => SetForm::Table,
            _ => SetForm::Texts,
        }
    }

    /// This form, if it can hold so many members; else a table.
    #[must_use]
    pub fn for_len(self, len: usize, limits: PackedLimits) -> SetForm {
        let len_max = match self {
            SetForm::Ints => limits.set_ints,
            SetForm::Texts => limits.set_texts,
            SetForm::Table => u64::MAX,
        };
        if len as u64 > len_max { SetForm::Table } else { self }
    }

    /// The most compact form of a set of these distinct members that is not below `least`.
    pub fn of_members<'a>(
        least: SetForm,
        members: impl Iterator<Item = SetMember<'a>>,
        limits: PackedLimits,
    ) -> SetForm {
        let (mut form, mut len) = (least, 0);
        for member in members {
            len += 1;
            form = form.max(SetForm::of_member(member, limits)).for_len(len, limits);
            if form == SetForm::Table {
                break;
            }
        }
        form
    }
}

/// A packed set, for reading.
#[derive(Debug, Clone, Copy)]
pub struct PackedSet<'a> {
    bytes: &'a [u8],
}

impl<'a> PackedSet<'a> {
    /// The value of a key, if it is a packed set.
    #[must_use]
    pub fn of(packed: Packed<'a>) -> Option<PackedSet<'a>> {
        (packed.of == NUMBER).then(|| PackedSet::new(packed.bytes))
    }

    /// Reads bytes that [`of_integers`] or [`of_texts`] made.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> PackedSet<'a> {
        PackedSet { bytes }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Its form.
    #[must_use]
    pub fn form(self) -> SetForm {
        if self.bytes[0] == TEXTS { SetForm::Texts } else { SetForm::Ints }
    }

    /// Number of members.
    #[must_use]
    pub fn len(self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[1], self.bytes[2]]))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The integer at this index of a set of integers.
    fn integer(self, at: usize) -> i64 {
        let width = usize::from(self.bytes[0]);
        let bytes = &self.bytes[HEAD + at * width..][..width];
        let sign = if bytes[width - 1] & 0x80 == 0 { 0 } else { 0xff };
        let mut wide = [sign; 8];
        wide[..width].copy_from_slice(bytes);
        i64::from_le_bytes(wide)
    }

    /// Whether a set of integers has this one.
    fn has_integer(self, number: i64) -> bool {
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = usize::midpoint(from, to);
            match self.integer(middle).cmp(&number) {
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        false
    }

    /// The members of a set of texts.
    fn texts(self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = &self.bytes[HEAD..];
        std::iter::from_fn(move || {
            let (&len, from) = rest.split_first()?;
            let (text, after) = from.split_at(usize::from(len));
            rest = after;
            Some(text)
        })
    }

    /// Whether it has this member.
    #[must_use]
    pub fn has(self, member: SetMember<'_>) -> bool {
        match self.form() {
            SetForm::Ints => member.integer().is_some_and(|number| self.has_integer(number)),
            _ => {
                let mut buffer = itoa::Buffer::new();
                let wanted = member.text(&mut buffer);
                self.texts().any(|text| text == wanted)
            }
        }
    }

    /// The member at this index, below [`PackedSet::len`].
    #[must_use]
    pub fn nth(self, at: usize) -> Option<SetMember<'a>> {
        match self.form() {
            SetForm::Ints => (at < self.len()).then(|| SetMember::Int(self.integer(at))),
            _ => self.texts().nth(at).map(SetMember::Text),
        }
    }

    /// Every member: integers in ascending order, texts in the order in which they were added.
    pub fn iter(self) -> impl Iterator<Item = SetMember<'a>> + use<'a> {
        let (integers, texts) = match self.form() {
            SetForm::Ints => (self.len(), None),
            _ => (0, Some(self.texts())),
        };
        (0..integers)
            .map(move |at| SetMember::Int(self.integer(at)))
            .chain(texts.into_iter().flatten().map(SetMember::Text))
    }
}

/// The value to store in an entry, from bytes that [`of_integers`] or [`of_texts`] made.
#[must_use]
pub fn value(bytes: &[u8]) -> NewValue<'_> {
    NewValue::Packed(Packed { of: NUMBER, bytes })
}

/// The packed set of these integers, at most [`PackedLimits::PARTS_MAX`], which are in ascending order.
#[must_use]
pub fn of_integers(integers: &[i64]) -> Vec<u8> {
    debug_assert!(integers.len() as u64 <= PackedLimits::PARTS_MAX && integers.is_sorted_by(|a, b| a < b));
    let extremes = integers.first().into_iter().chain(integers.last());
    let width = extremes.map(|number| width_of(*number)).max().unwrap_or(2);
    let mut bytes = Vec::with_capacity(HEAD + integers.len() * width);
    bytes.push(width as u8);
    bytes.extend_from_slice(&(integers.len() as u16).to_le_bytes());
    integers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()[..width]));
    bytes
}

/// Bytes of an integer.
fn width_of(number: i64) -> usize {
    match number {
        -0x8000..=0x7fff => 2,
        -0x8000_0000..=0x7fff_ffff => 4,
        _ => 8,
    }
}

/// The packed set of these distinct texts, within the upper bounds of [`PackedLimits`].
#[must_use]
pub fn of_texts(texts: &[&[u8]]) -> Vec<u8> {
    debug_assert!(texts.len() as u64 <= PackedLimits::PARTS_MAX);
    debug_assert!(texts.iter().all(|text| text.len() as u64 <= PackedLimits::TEXT_MAX));
    let mut bytes = Vec::with_capacity(HEAD + texts.iter().map(|text| 1 + text.len()).sum::<usize>());
    bytes.push(TEXTS);
    bytes.extend_from_slice(&(texts.len() as u16).to_le_bytes());
    for text in texts {
        bytes.push(text.len() as u8);
        bytes.extend_from_slice(text);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT_MAX: usize = 64;

    #[test]
    fn integers_are_as_wide_as_the_widest() {
        let cases: [(&[i64], usize); 6] = [
            (&[], 2),
            (&[-0x8000, -1, 0, 1, 0x7fff], 2),
            (&[-0x8001, 5], 4),
            (&[0, 0x7fff_ffff], 4),
            (&[-0x8000_0001, 0], 8),
            (&[i64::MIN, -7, i64::MAX], 8),
        ];
        for (integers, width) in cases {
            let bytes = of_integers(integers);
            assert_eq!(bytes.len(), HEAD + width * integers.len());
            let packed = PackedSet::new(&bytes);
            assert_eq!((packed.len(), packed.is_empty()), (integers.len(), integers.is_empty()));
            assert!(packed.iter().eq(integers.iter().map(|number| SetMember::Int(*number))));
            for (at, number) in integers.iter().enumerate() {
                assert!(packed.has(SetMember::Int(*number)));
                assert!(packed.has(SetMember::Text(number.to_string().as_bytes())));
                assert_eq!(packed.nth(at), Some(SetMember::Int(*number)));
            }
            assert!(!packed.has(SetMember::Int(42)) && !packed.has(SetMember::Text(b"+5")));
            assert_eq!((packed.form(), packed.nth(integers.len())), (SetForm::Ints, None));
        }
    }

    #[test]
    fn texts_keep_their_order() {
        let texts: [&[u8]; 4] = [b"b", b"", b"12", &[b'x'; TEXT_MAX]];
        let bytes = of_texts(&texts);
        let packed = PackedSet::new(&bytes);
        assert!(packed.iter().eq(texts.map(SetMember::Text)));
        assert_eq!((packed.len(), packed.form(), packed.nth(2)), (4, SetForm::Texts, Some(SetMember::Text(b"12"))));
        assert!(packed.has(SetMember::Int(12)) && packed.has(SetMember::Text(b"")) && !packed.has(SetMember::Int(1)));
    }

    #[test]
    fn the_form_follows_from_members_and_their_number() {
        let limits = PackedLimits::default();
        let form = |members: &[&[u8]]| {
            SetForm::of_members(SetForm::Ints, members.iter().copied().map(SetMember::Text), limits)
        };
        assert_eq!(form(&[]), SetForm::Ints);
        assert_eq!(form(&[b"1", b"-5"]), SetForm::Ints);
        assert_eq!(form(&[b"1", b"01"]), SetForm::Texts);
        assert_eq!(form(&[&[b'x'; TEXT_MAX]]), SetForm::Texts);
        assert_eq!(form(&[b"1", &[b'x'; TEXT_MAX + 1]]), SetForm::Table);
        let integers = |count: i64, least| SetForm::of_members(least, (0..count).map(SetMember::Int), limits);
        assert_eq!(integers(512, SetForm::Ints), SetForm::Ints);
        assert_eq!(integers(513, SetForm::Ints), SetForm::Table);
        assert_eq!(integers(128, SetForm::Texts), SetForm::Texts);
        assert_eq!(integers(129, SetForm::Texts), SetForm::Table);
    }
}

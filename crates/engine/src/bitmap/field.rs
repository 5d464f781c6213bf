//! The integers of BITFIELD: signed or not, of 1 to 64 bits, at any bit of a string.
//!
//! The most significant bit is first, so an integer at a whole byte whose width is whole bytes is in big-endian order.

use super::offset::field_offset;
use crate::error::CommandError;
use fastness_resp::number::parse_int;

/// Bytes that the widest integer can touch.
const SPAN_MAX: usize = 9;

/// What becomes of a number that an integer cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overflow {
    /// Its low bits are stored.
    Wrap,
    /// The limit that it exceeds is stored.
    Saturate,
    /// Nothing is stored.
    Fail,
}

impl Overflow {
    /// The behaviour of this name.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn parse(name: &[u8]) -> Result<Overflow, CommandError> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("wrap") {
            Ok(Overflow::Wrap)
        } else if is("sat") {
            Ok(Overflow::Saturate)
        } else if is("fail") {
            Ok(Overflow::Fail)
        } else {
            Err(CommandError::Fixed("ERR Invalid OVERFLOW type specified"))
        }
    }
}

/// A type of integers: `i8`, `u63`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FieldType {
    signed: bool,
    /// 1 to 64, to 63 if it is unsigned: every integer is an `i64`, as replies are.
    bits: u32,
}

impl FieldType {
    fn parse(text: &[u8]) -> Option<FieldType> {
        let (signed, bits_max) = match text.first()? {
            b'i' => (true, 64),
            b'u' => (false, 63),
            _ => return None,
        };
        let bits = parse_int(&text[1..]).and_then(|bits| u32::try_from(bits).ok());
        bits.filter(|bits| (1..=bits_max).contains(bits)).map(|bits| FieldType { signed, bits })
    }

    fn max(self) -> i64 {
        let value_bits = self.bits - u32::from(self.signed);
        (u64::MAX.checked_shr(64 - value_bits).unwrap_or(0)) as i64
    }

    fn min(self) -> i64 {
        if self.signed { !self.max() } else { 0 }
    }

    /// The integer that these low bits stand for; higher ones do not count.
    fn of_bits(self, bits: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.signed { (bits << unused) as i64 >> unused } else { (bits << unused >> unused) as i64 }
    }

    /// The integer that is stored for a number; `None`: none is.
    fn fit(self, number: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = (i128::from(self.min()), i128::from(self.max()));
        match overflow {
            _ if (min..=max).contains(&number) => Some(number as i64),
            Overflow::Wrap => Some(self.of_bits(number as u64)),
            Overflow::Saturate => Some(number.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }
}

/// An integer in a string: its type and place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BitField {
    of: FieldType,
    /// Its first bit.
    offset: usize,
}

impl BitField {
    /// Reads type and offset.
    ///
    /// # Errors
    /// One of them is invalid; the type is checked first.
    pub(super) fn parse(of: &[u8], offset: &[u8]) -> Result<BitField, CommandError> {
        const TYPE: CommandError = CommandError::Fixed(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        );
        let of = FieldType::parse(of).ok_or(TYPE)?;
        Ok(BitField { of, offset: field_offset(offset, of.bits)? })
    }

    /// The first byte that it touches.
    pub(super) fn start(self) -> usize {
        self.offset / 8
    }

    /// The end of the last byte that it touches.
    pub(super) fn end(self) -> usize {
        self.start() + self.len()
    }

    /// Number of bytes that it touches.
    fn len(self) -> usize {
        (self.offset % 8 + self.of.bits as usize).div_ceil(8)
    }

    /// Its bytes in a text, and zeroes, as a number whose highest bit is the first of the first byte.
    fn window(self, text: &[u8]) -> u128 {
        let mut bytes = [0; size_of::<u128>()];
        let text = text.get(self.start()..).unwrap_or_default();
        let len = text.len().min(SPAN_MAX);
        bytes[..len].copy_from_slice(&text[..len]);
        u128::from_be_bytes(bytes)
    }

    /// Number of bits after it in its window.
    fn shift(self) -> u32 {
        u128::BITS - (self.offset % 8) as u32 - self.of.bits
    }

    /// The integer; bits after the end of the text are 0.
    pub(super) fn read(self, text: &[u8]) -> i64 {
        self.of.of_bits((self.window(text) >> self.shift()) as u64)
    }

    /// The bytes from [`BitField::start`] to [`BitField::end`] with another integer in them.
    pub(super) fn written(self, text: &[u8], integer: i64) -> FieldBytes {
        let mask = u128::from(u64::MAX >> (64 - self.of.bits)) << self.shift();
        let new = u128::from(integer as u64) << self.shift() & mask;
        FieldBytes { bytes: (self.window(text) & !mask | new).to_be_bytes(), len: self.len() }
    }

    /// What is stored for a number; `None`: nothing is.
    ///
    /// As in Valkey, a negative number is too large for an unsigned integer; and if a signed one saturates at a number
    /// so far below its limits that the distance to its maximum is no 64-bit integer, then it becomes the maximum.
    pub(super) fn set(self, number: i64, overflow: Overflow) -> Option<i64> {
        let max = self.of.max();
        if !self.of.signed {
            return self.of.fit(i128::from(number as u64), overflow);
        }
        if overflow == Overflow::Saturate && self.of.bits < 64 && max.checked_sub(number).is_none() {
            return Some(max);
        }
        self.of.fit(i128::from(number), overflow)
    }

    /// What is stored for the sum of its present integer and a number; `None`: nothing is.
    pub(super) fn add(self, present: i64, number: i64, overflow: Overflow) -> Option<i64> {
        self.of.fit(i128::from(present) + i128::from(number), overflow)
    }
}

/// The bytes that an integer touches.
pub(super) struct FieldBytes {
    bytes: [u8; size_of::<u128>()],
    len: usize,
}

impl FieldBytes {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(of: &str, offset: &str) -> BitField {
        BitField::parse(of.as_bytes(), offset.as_bytes()).unwrap()
    }

    #[test]
    fn types() {
        for of in ["i1", "i64", "u1", "u63"] {
            assert!(FieldType::parse(of.as_bytes()).is_some(), "{of}");
        }
        for of in ["", "i", "u", "i0", "u0", "i65", "u64", "I8", "U8", "8", "i-1", "i08", "i+8", "u8 ", "x8"] {
            assert_eq!(FieldType::parse(of.as_bytes()), None, "{of}");
        }
    }

    #[test]
    fn limits() {
        for (of, min, max) in [
            ("i1", -1, 0),
            ("u1", 0, 1),
            ("i8", -128, 127),
            ("u8", 0, 255),
            ("u63", 0, i64::MAX),
            ("i64", i64::MIN, i64::MAX),
        ] {
            let of = FieldType::parse(of.as_bytes()).unwrap();
            assert_eq!((of.min(), of.max()), (min, max), "{of:?}");
        }
    }

    #[test]
    fn integers_are_at_any_bit() {
        let written = field("u5", "7").written(&[], 23);
        assert_eq!(written.as_slice(), [0b0000_0001, 0b0111_0000]);
        let written = field("i64", "4").written(&[0xff; 9], 0);
        assert_eq!(written.as_slice(), [0xf0, 0, 0, 0, 0, 0, 0, 0, 0x0f]);
        assert_eq!(field("i8", "0").written(&[], -2).as_slice(), [0xfe]);
        assert_eq!(field("i8", "0").read(&[0xfe]), -2);
        assert_eq!(field("u8", "4").read(&[0xfe]), 0xe0);
        assert_eq!(field("u8", "#2").read(&[0xfe]), 0);
        assert_eq!((field("u8", "4").start(), field("u8", "4").end(), field("u8", "8").end()), (0, 2, 2));
    }

    #[test]
    fn what_does_not_fit() {
        let all = [Overflow::Wrap, Overflow::Saturate, Overflow::Fail];
        for (of, number, expected) in [
            ("u8", 255, [Some(255); 3]),
            ("u8", 257, [Some(1), Some(255), None]),
            ("u8", -1, [Some(255), Some(255), None]),
            ("i8", 128, [Some(-128), Some(127), None]),
            ("i8", -129, [Some(127), Some(-128), None]),
            ("i8", i64::MIN, [Some(0), Some(127), None]),
            ("i63", i64::MIN, [Some(0), Some(i64::MAX >> 1), None]),
            ("i64", i64::MIN, [Some(i64::MIN); 3]),
        ] {
            assert_eq!(all.map(|overflow| field(of, "0").set(number, overflow)), expected, "{of} {number}");
        }
        for (of, present, number, expected) in [
            ("u8", 250, 10, [Some(4), Some(255), None]),
            ("u8", 5, -10, [Some(251), Some(0), None]),
            ("u63", i64::MAX, i64::MAX, [Some(i64::MAX - 1), Some(i64::MAX), None]),
            ("i8", -100, -100, [Some(56), Some(-128), None]),
            ("i64", i64::MAX, 1, [Some(i64::MIN), Some(i64::MAX), None]),
            ("i64", i64::MIN, -1, [Some(i64::MAX), Some(i64::MIN), None]),
        ] {
            let sums = all.map(|overflow| field(of, "0").add(present, number, overflow));
            assert_eq!(sums, expected, "{of} {present} {number}");
        }
    }
}

//! Random arguments of bitmaps, HyperLogLogs and streams.

use super::{Generator, INTEGERS, OFFSETS, STREAM_KEYS, TAG};

/// Number of further keys that are mostly those of bitmaps.
const BITMAP_KEYS: usize = 4;
/// Offsets of bits that no string has.
const NO_BITS: &[&str] = &["-1", "4294967296", "9223372036854775807", "#1", "01", "+1", " 1", "", "x"];
/// Types of integers in bitmaps, at the limits of what there is, and others.
const FIELD_TYPES: &[&str] = &[
    "u1", "i1", "u8", "i8", "u32", "i32", "u63", "i63", "i64", "u64", "i65", "u0", "i08", "U8", "i-1", "u8 ", "i", "",
    "8",
];
/// Offsets of integers in bitmaps that are none. The product of a number after `#` and a width stays in 64 bits: that
/// of Valkey wraps around, so that it may write at the start.
const NO_FIELDS: &[&str] = &["-1", "4294967296", "#", "#-1", "##1", "#4294967296", "#01", "#+1", "", "x", "1#"];
/// Texts that are ids of streams, or nearly.
const IDS: &[&str] = &[
    "0",
    "0-0",
    "0-1",
    "5-",
    "-5",
    "5-1-1",
    "x",
    "",
    "+",
    "-",
    "(5",
    "(5-1",
    "(",
    "05-+1",
    "18446744073709551615",
    "18446744073709551615-18446744073709551615",
    "18446744073709551616-0",
];

impl Generator {
    /// A key, often one of those that only commands of bitmaps use.
    pub(super) fn bitmap_key(&mut self) -> Vec<u8> {
        if self.rng.one_in(3) {
            return self.key();
        }
        format!("{TAG}b{}", self.rng.below(BITMAP_KEYS)).into_bytes()
    }

    pub(super) fn bit_offset(&mut self) -> Vec<u8> {
        let bits_max = match self.rng.below(16) {
            0 => return self.one_of(NO_BITS),
            1 => 100_000,
            2..=5 => 3_000,
            _ => 100,
        };
        self.rng.below(bits_max).to_string().into_bytes()
    }

    pub(super) fn bitmap_position(&mut self) -> Vec<u8> {
        match self.rng.below(8) {
            0 => self.one_of(OFFSETS),
            1 | 2 => (self.rng.below(6_000) as i64 - 3_000).to_string().into_bytes(),
            _ => (self.rng.below(80) as i64 - 40).to_string().into_bytes(),
        }
    }

    pub(super) fn field_type(&mut self) -> Vec<u8> {
        if self.rng.one_in(8) {
            return self.one_of(FIELD_TYPES);
        }
        let sign = self.rng.pick(&["i", "u"]);
        format!("{sign}{}", 1 + self.rng.below(63)).into_bytes()
    }

    pub(super) fn field_offset(&mut self) -> Vec<u8> {
        match self.rng.below(16) {
            0 => self.one_of(NO_FIELDS),
            1..=5 => format!("#{}", self.rng.below(20)).into_bytes(),
            6 => self.rng.below(50_000).to_string().into_bytes(),
            _ => self.rng.below(130).to_string().into_bytes(),
        }
    }

    /// An integer of any width.
    pub(super) fn field_value(&mut self) -> Vec<u8> {
        match self.rng.below(8) {
            0 => self.one_of(INTEGERS),
            1..=3 => (self.rng.below(20) as i64 - 10).to_string().into_bytes(),
            _ => (self.rng.bits() as i64 >> self.rng.below(64)).to_string().into_bytes(),
        }
    }

    /// One of a few elements, or one of many.
    pub(super) fn hll_element(&mut self) -> Vec<u8> {
        match self.rng.below(12) {
            0 => self.value(),
            1..5 => self.rng.below(12).to_string().into_bytes(),
            _ => self.rng.below(5_000).to_string().into_bytes(),
        }
    }

    /// Bytes of a header, or runs of registers.
    pub(super) fn hll_damage(&mut self) -> Vec<u8> {
        let bytes: &[&[u8]] =
            &[b"\x00", b"\x3f", b"\x40", b"\x7f\xff", b"\x80", b"\x84\x84", b"\xff", b"x", b"HYLL\x01"];
        self.rng.pick(bytes).to_vec()
    }

    pub(super) fn stream_key(&mut self) -> Vec<u8> {
        match self.rng.below(24) {
            0 => self.key(),
            _ => format!("{TAG}x{}", self.rng.below(STREAM_KEYS)).into_bytes(),
        }
    }

    /// An id for a new entry, mostly larger than all before.
    pub(super) fn new_stream_id(&mut self) -> Vec<u8> {
        if self.rng.one_in(30) {
            return self.one_of(IDS);
        }
        self.stream_ms += self.rng.below(2) as u64;
        let (ms, seq) = (self.stream_ms, self.rng.below(3));
        let id = match self.rng.below(4) {
            0 => ms.to_string(),
            1 => format!("{ms}-{seq}"),
            _ => format!("{ms}-*"),
        };
        id.into_bytes()
    }

    /// An id that an entry may have.
    pub(super) fn stream_id(&mut self) -> Vec<u8> {
        if self.rng.one_in(12) {
            return self.one_of(IDS);
        }
        let ms = self.stream_ms.saturating_sub(self.rng.below(400) as u64) + self.rng.below(3) as u64;
        let id = if self.rng.one_in(2) { ms.to_string() } else { format!("{ms}-{}", self.rng.below(3)) };
        id.into_bytes()
    }

    /// A limit of a range of ids.
    pub(super) fn stream_bound(&mut self, all: &str) -> Vec<u8> {
        match self.rng.below(3) {
            0 => all.as_bytes().to_vec(),
            1 => [b"(".to_vec(), self.stream_id()].concat(),
            _ => self.stream_id(),
        }
    }
}

//! Values as they stand in Valkey's RDB files and in DUMP's payloads; hashes in [`super::rdb_hash`].
//!
//! A payload is `type, value, version (2 bytes), CRC-64 (8 bytes)`, numbers little-endian. A string is a length and its
//! bytes; or one of three integers; or bytes that LZF has compressed, which is read here and never written.
//!
//! What Valkey refuses is refused: a checksum that is not that of the payload, versions that it does not read, and everything within that
//! contradicts itself. Nothing is allocated for what a payload only claims to hold, and what it expands to is bounded
//! ([`RESTORED_BYTES_MAX`]). One thing more is refused: Valkey reads a value that claims to be longer than it is into the footer.

use super::rdb_hash::{self, Field};
use fastness_types::WallMs;
use fastness_types::limits::{RESTORED_BYTES_MAX, VALUE_BYTES_MAX};

/// The RDB version of Valkey 9.
const VERSION: u16 = 80;
/// The versions that are read: those of Redis up to where the ways parted, and Valkey's own.
const READ: [std::ops::RangeInclusive<u16>; 2] = [1..=11, 80..=VERSION];
const TYPE_STRING: u8 = 0;
/// Version and checksum.
const FOOTER_BYTES: usize = 10;

/// Why a payload is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadError {
    /// From a version that cannot be read, not whole, or damaged.
    Footer,
    /// The checksum is right, and what it covers cannot be read.
    Format,
    /// It expands to more than [`RESTORED_BYTES_MAX`].
    TooLarge,
}

pub(crate) fn dump_integer(number: i64) -> Vec<u8> {
    let mut out = vec![TYPE_STRING];
    if let Ok(small) = i8::try_from(number) {
        out.push(0xc0);
        out.extend_from_slice(&small.to_le_bytes());
    } else if let Ok(small) = i16::try_from(number) {
        out.push(0xc1);
        out.extend_from_slice(&small.to_le_bytes());
    } else if let Ok(small) = i32::try_from(number) {
        out.push(0xc2);
        out.extend_from_slice(&small.to_le_bytes());
    } else {
        write_text(itoa::Buffer::new().format(number).as_bytes(), &mut out);
    }
    seal(out)
}

pub(crate) fn dump_text(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    out.push(TYPE_STRING);
    write_text(text, &mut out);
    seal(out)
}

pub(super) fn write_text(text: &[u8], out: &mut Vec<u8>) {
    write_len(text.len(), out);
    out.extend_from_slice(text);
}

pub(super) fn write_len(len: usize, out: &mut Vec<u8>) {
    match len {
        len @ 0..=0x3f => out.push(len as u8),
        len @ 0x40..=0x3fff => out.extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
        len => {
            out.push(0x80);
            out.extend_from_slice(&u32::try_from(len).expect("values are at most 512 MB").to_be_bytes());
        }
    }
}

pub(super) fn seal(mut out: Vec<u8>) -> Vec<u8> {
    out.extend_from_slice(&VERSION.to_le_bytes());
    let crc = crc64(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// What a payload holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Restored {
    Text(Vec<u8>),
    /// At least one field, each once.
    Hash(Vec<Field>),
}

/// The value in a payload, as of `now`, which decides which fields of a hash have expired. Bytes behind the value are ignored, as
/// Valkey does.
pub(crate) fn restore(payload: &[u8], now: WallMs) -> Result<Restored, PayloadError> {
    restore_within(payload, now, RESTORED_BYTES_MAX)
}

fn restore_within(payload: &[u8], now: WallMs, bytes_max: usize) -> Result<Restored, PayloadError> {
    let body = payload.len().checked_sub(FOOTER_BYTES).map(|at| payload.split_at(at));
    let Some((body, footer)) = body else { return Err(PayloadError::Footer) };
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    let crc = u64::from_le_bytes(footer[2..].try_into().expect("ten bytes less two"));
    if !READ.iter().any(|versions| versions.contains(&version)) || crc != crc64(&payload[..body.len() + 2]) {
        return Err(PayloadError::Footer);
    }
    let Some((&kind, rest)) = body.split_first() else { return Err(PayloadError::Format) };
    let mut input = Input { rest, left: bytes_max };
    match kind {
        TYPE_STRING => input.text().map(Restored::Text),
        rdb_hash::TYPE_HASH | rdb_hash::TYPE_HASH_LISTPACK | rdb_hash::TYPE_HASH_2 => {
            rdb_hash::restore_hash(kind, &mut input, now).map(Restored::Hash)
        }
        _ => Err(PayloadError::Format),
    }
}

/// What is left of a payload, and of the bytes that it may expand to.
pub(super) struct Input<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Input<'a> {
    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], PayloadError> {
        take(&mut self.rest, len).ok_or(PayloadError::Format)
    }

    /// A number, as before a string or a list.
    pub(super) fn len(&mut self) -> Result<usize, PayloadError> {
        let first = self.take(1)?[0];
        let len = match first >> 6 {
            0 => u64::from(first),
            1 => u64::from(first & 0x3f) << 8 | u64::from(self.take(1)?[0]),
            2 if first == 0x80 => u64::from(u32::from_be_bytes(self.array()?)),
            2 if first == 0x81 => u64::from_be_bytes(self.array()?),
            // The mark of another form of a string; where there is none, Valkey reads it as a length.
            3 => u64::from(first & 0x3f),
            _ => return Err(PayloadError::Format),
        };
        usize::try_from(len).ok().filter(|len| *len <= VALUE_BYTES_MAX).ok_or(PayloadError::Format)
    }

    /// The next bytes, as many as the array has.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], PayloadError> {
        self.take(N)?.try_into().map_err(|_| PayloadError::Format)
    }

    /// A string in any of its forms.
    pub(super) fn text(&mut self) -> Result<Vec<u8>, PayloadError> {
        let text = match self.rest.first() {
            Some(0xc0) => decimal(i64::from(self.array::<2>()?[1] as i8)),
            Some(0xc1) => {
                let [_, number @ ..] = self.array::<3>()?;
                decimal(i64::from(i16::from_le_bytes(number)))
            }
            Some(0xc2) => {
                let [_, number @ ..] = self.array::<5>()?;
                decimal(i64::from(i32::from_le_bytes(number)))
            }
            Some(0xc3) => {
                self.take(1)?;
                let (compressed, len) = (self.len()?, self.len()?);
                let compressed = self.take(compressed)?;
                self.spend(len)?;
                return lzf(compressed, len).ok_or(PayloadError::Format);
            }
            Some(0xc4..) => return Err(PayloadError::Format),
            _ => {
                let len = self.len()?;
                let text = self.take(len)?;
                self.spend(len)?;
                return Ok(text.to_vec());
            }
        };
        self.spend(text.len())?;
        Ok(text)
    }

    /// Of the bytes that it may expand to.
    fn spend(&mut self, bytes: usize) -> Result<(), PayloadError> {
        self.left = self.left.checked_sub(bytes).ok_or(PayloadError::TooLarge)?;
        Ok(())
    }
}

pub(super) fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

pub(super) fn decimal(number: i64) -> Vec<u8> {
    itoa::Buffer::new().format(number).as_bytes().to_vec()
}

/// LZF: a control byte below 32 is followed by that many bytes plus one; another says to repeat what stands further
/// ahead: three bits of length (7: a byte follows), 13 bits of distance.
fn lzf(mut input: &[u8], len: usize) -> Option<Vec<u8>> {
    if len == 0 {
        // Whatever is compressed: Valkey's decompressor says 0 for an error, which is the length that is asked for.
        return Some(Vec::new());
    }
    // No more room than was received can need: a repeat makes at most 264 bytes of three.
    let mut out = Vec::with_capacity(len.min(input.len().saturating_mul(88)));
    while let Some((&control, rest)) = input.split_first() {
        input = rest;
        if control < 32 {
            out.extend_from_slice(take(&mut input, usize::from(control) + 1)?);
        } else {
            let mut repeat = usize::from(control >> 5);
            if repeat == 7 {
                repeat += usize::from(take(&mut input, 1)?[0]);
            }
            let distance = (usize::from(control & 0x1f) << 8 | usize::from(take(&mut input, 1)?[0])) + 1;
            let from = out.len().checked_sub(distance)?;
            repeat_from(&mut out, from, repeat + 2);
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// Appends `count` bytes that stand from `from` on, which may go on into what is appended.
fn repeat_from(out: &mut Vec<u8>, from: usize, count: usize) {
    let end = out.len() + count;
    if from + 1 == out.len() {
        return out.resize(end, out[from]);
    }
    while out.len() < end {
        let there = (out.len() - from).min(end - out.len());
        out.extend_from_within(from..from + there);
    }
}

/// The checksum of Valkey's files, over sixteen bytes at a time: a value of 512 MB is one step of the shard.
static CRC: crc::Crc<u64, crc::Table<16>> = crc::Crc::<u64, crc::Table<16>>::new(&crc::CRC_64_REDIS);

fn crc64(bytes: &[u8]) -> u64 {
    CRC.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restore_text(payload: &[u8]) -> Result<Vec<u8>, PayloadError> {
        match restore(payload, WallMs(0))? {
            Restored::Text(text) => Ok(text),
            Restored::Hash(_) => panic!("a string"),
        }
    }

    #[test]
    fn what_is_repeated_may_overlap_itself() {
        for distance in 1..40 {
            for count in 2..70 {
                let (mut out, from) = ((0..40).collect::<Vec<u8>>(), 40 - distance);
                let mut expected = out.clone();
                (from..from + count).for_each(|at| expected.push(expected[at]));
                repeat_from(&mut out, from, count);
                assert_eq!(out, expected, "{distance} back, {count} bytes");
            }
        }
    }

    #[test]
    fn the_check_value_of_the_checksum() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn what_was_dumped_is_restored() {
        for len in [0, 1, 63, 64, 16_383, 16_384, 100_000] {
            let text = vec![b'x'; len];
            assert_eq!(restore_text(&dump_text(&text)), Ok(text), "{len}");
        }
        for number in [0, 127, -128, 128, 32_767, -32_769, i64::from(i32::MIN), i64::MAX, i64::MIN] {
            assert_eq!(restore_text(&dump_integer(number)), Ok(number.to_string().into_bytes()));
        }
    }

    /// A reply of a Valkey server, which compresses.
    #[test]
    fn compressed_text_is_restored() {
        let payload = b"\x00\xc3\t7\x01bb\xe0*\x00\x01bbP\x00\x8c\x00\x97h\xe5\x07\x9cs";
        assert_eq!(restore_text(payload), Ok(vec![b'b'; 55]));
    }

    #[test]
    fn damage_is_refused() {
        let payload = dump_text(b"some text");
        for at in 0..payload.len() {
            let mut damaged = payload.clone();
            damaged[at] ^= 1;
            assert!(restore_text(&damaged).is_err(), "byte {at}");
            assert!(restore_text(&payload[..at]).is_err(), "cut at {at}");
        }
    }

    /// Found: a checksum of 0 was taken for none, and so was a version of 0 for an old one.
    #[test]
    fn the_footer_is_checked() {
        let sealed = |version: u16| {
            let mut payload = b"\x00\x01a".to_vec();
            payload.extend_from_slice(&version.to_le_bytes());
            let crc = crc64(&payload);
            payload.extend_from_slice(&crc.to_le_bytes());
            restore_text(&payload)
        };
        for version in [1, 9, 11, 80] {
            assert_eq!(sealed(version), Ok(b"a".to_vec()), "{version}");
        }
        for version in [0, 12, 79, 81, 255, u16::MAX] {
            assert_eq!(sealed(version), Err(PayloadError::Footer), "{version}");
        }
        let mut unchecked = dump_text(b"a");
        let at = unchecked.len() - 8;
        unchecked[at..].fill(0);
        assert_eq!(restore_text(&unchecked), Err(PayloadError::Footer));
    }

    #[test]
    fn what_a_payload_expands_to_is_bounded() {
        let text = b"\xc3\t7\x01bb\xe0*\x00\x01bb";
        let string = seal([&b"\x00"[..], text].concat());
        let hash = seal([&b"\x04\x02\x01a"[..], text, b"\x01b", text].concat());
        for (payload, bytes) in [(string, 55), (hash, 112)] {
            assert!(restore_within(&payload, WallMs(0), bytes).is_ok(), "{bytes}");
            assert_eq!(restore_within(&payload, WallMs(0), bytes - 1), Err(PayloadError::TooLarge), "{bytes}");
        }
    }

    #[test]
    fn a_payload_that_lies_about_lengths_is_refused() {
        for body in [
            &b"\x00\x05ab"[..],
            b"\x00\x80\xff\xff\xff\xff",
            b"\x00\xc3\x02\x05\x00a",
            b"\x00\xc3\x02\x20\xe0",
            b"\x05",
            b"",
        ] {
            assert_eq!(restore_text(&seal(body.to_vec())), Err(PayloadError::Format), "{}", body.escape_ascii());
        }
    }
}

//! Values as they stand in Valkey's RDB files and in DUMP's payloads; hashes in [`super::rdb_hash`].
//!
//! A payload is `type, value, version (2 bytes), CRC-64 (8 bytes)`, numbers little-endian. A string is a length and its
//! bytes; or one of three integers; or bytes that LZF has compressed, which is read here and never written.

use super::rdb_hash::{self, Field};
use fastness_types::limits::VALUE_BYTES_MAX;

/// The RDB version of Valkey 9.
const VERSION: u16 = 80;
/// Versions that Redis has taken since the ways parted; Valkey refuses them.
const FOREIGN: std::ops::RangeInclusive<u16> = 12..=79;
const TYPE_STRING: u8 = 0;
/// Version and checksum.
const FOOTER_BYTES: usize = 10;

/// Why a payload is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadError {
    /// From a version that cannot be read, or not whole.
    Footer,
    /// The checksum is right, and what it covers cannot be read.
    Format,
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

/// The value in a payload. Bytes behind it are ignored, as Valkey does.
pub(crate) fn restore(payload: &[u8]) -> Result<Restored, PayloadError> {
    let body = payload.len().checked_sub(FOOTER_BYTES).map(|at| payload.split_at(at));
    let Some((body, footer)) = body else { return Err(PayloadError::Footer) };
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    let crc = u64::from_le_bytes(footer[2..].try_into().expect("ten bytes less two"));
    if version > VERSION || FOREIGN.contains(&version) || (crc != 0 && crc != crc64(&payload[..body.len() + 2])) {
        return Err(PayloadError::Footer);
    }
    match body.split_first() {
        Some((&TYPE_STRING, mut rest)) => read_text(&mut rest).map(Restored::Text).ok_or(PayloadError::Format),
        Some((&kind @ (rdb_hash::TYPE_HASH | rdb_hash::TYPE_HASH_LISTPACK | rdb_hash::TYPE_HASH_2), rest)) => {
            rdb_hash::restore_hash(kind, rest).map(Restored::Hash)
        }
        _ => Err(PayloadError::Format),
    }
}

pub(super) fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

pub(super) fn read_text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let first = *rest.first()?;
    match first {
        0xc0 => take(rest, 2).map(|bytes| decimal(i64::from(bytes[1] as i8))),
        0xc1 => take(rest, 3).map(|bytes| decimal(i64::from(i16::from_le_bytes([bytes[1], bytes[2]])))),
        0xc2 => {
            take(rest, 5).and_then(|bytes| Some(decimal(i64::from(i32::from_le_bytes(bytes[1..].try_into().ok()?)))))
        }
        0xc3 => {
            take(rest, 1)?;
            let (compressed, len) = (read_len(rest)?, read_len(rest)?);
            lzf(take(rest, compressed)?, len)
        }
        _ => {
            let len = read_len(rest)?;
            take(rest, len).map(<[u8]>::to_vec)
        }
    }
}

pub(super) fn decimal(number: i64) -> Vec<u8> {
    itoa::Buffer::new().format(number).as_bytes().to_vec()
}

pub(super) fn read_len(rest: &mut &[u8]) -> Option<usize> {
    let first = take(rest, 1)?[0];
    let len = match first >> 6 {
        0 => u64::from(first),
        1 => u64::from(first & 0x3f) << 8 | u64::from(take(rest, 1)?[0]),
        2 if first == 0x80 => u64::from(u32::from_be_bytes(take(rest, 4)?.try_into().ok()?)),
        2 if first == 0x81 => u64::from_be_bytes(take(rest, 8)?.try_into().ok()?),
        _ => return None,
    };
    usize::try_from(len).ok().filter(|len| *len <= VALUE_BYTES_MAX)
}

/// LZF: a control byte below 32 is followed by that many bytes plus one; another says to repeat what stands further
/// ahead: three bits of length (7: a byte follows), 13 bits of distance.
fn lzf(mut input: &[u8], len: usize) -> Option<Vec<u8>> {
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
            (from..from + repeat + 2).for_each(|at| out.push(out[at]));
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// CRC-64 "Jones": polynomial 0xad93d23594c935a9, reflected, start 0.
fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

const TABLE: [u64; 256] = {
    const POLYNOMIAL: u64 = 0xad93_d235_94c9_35a9_u64.reverse_bits();
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn restore_text(payload: &[u8]) -> Result<Vec<u8>, PayloadError> {
        match restore(payload)? {
            Restored::Text(text) => Ok(text),
            Restored::Hash(_) => panic!("a string"),
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

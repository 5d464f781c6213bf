//! Strings in DUMP's payloads.

use crate::codec::rdb::{Input, PayloadError, seal, write_text};
use crate::command::typed::{DumpForm, Put};
use crate::keyspace::{Entry, TypeNumber, ValueRef};
use fastness_types::WallMs;

const TYPE_STRING: u8 = 0;

/// See [`DumpForm`].
pub(crate) const FORM: DumpForm = DumpForm { of: TypeNumber::STRING, dump, kinds: &[TYPE_STRING], restore };

fn dump(entry: &Entry, _: WallMs) -> Option<Vec<u8>> {
    match entry.value() {
        ValueRef::Int(number) => Some(dump_integer(number)),
        value => value.bytes().map(dump_text),
    }
}

fn restore(_: u8, input: &mut Input<'_>, _: WallMs) -> Result<Put, PayloadError> {
    let text = input.text()?;
    Ok(Box::new(move |engine, key, expiry, env| engine.set_owned(key, text, expiry, env)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::rdb::{crc64, open_within, repeat_from};

    fn restore_text(payload: &[u8]) -> Result<Vec<u8>, PayloadError> {
        let (kind, mut input) = open_within(payload, usize::MAX)?;
        if kind == TYPE_STRING { input.text() } else { Err(PayloadError::Format) }
    }

    #[test]
    fn a_repeat_may_overlap_itself() {
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
    fn a_payload_with_wrong_lengths_is_refused() {
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

//! Hashes as they stand in DUMP's payloads.
//!
//! | type | | read | written |
//! |---|---|---|---|
//! | 4 | a number, then that many fields with values | yes | yes |
//! | 16 | a listpack of fields and values, as one string: what Valkey makes of a small hash | yes | no |
//! | 22 | as 4, and behind each value its deadline: 8 bytes of milliseconds, -1 for none | yes | if a field has one |
//! | 9, 13 | a zipmap, a ziplist: from Redis before 7 | no | no |
//!
//! A listpack is `bytes (u32), elements (u16), element*, 0xff`; an element is a head with a number or a length, a string's
//! bytes, and the length of both in up to five bytes, which are for reading backwards.

use super::rdb::{PayloadError, decimal, read_len, read_text, seal, take, write_len, write_text};
use crate::value::hash::Hash;
use fastness_types::WallMs;
use std::collections::BTreeSet;

pub(super) const TYPE_HASH: u8 = 4;
pub(super) const TYPE_HASH_LISTPACK: u8 = 16;
pub(super) const TYPE_HASH_2: u8 = 22;

/// A field with its value and its deadline.
pub(crate) type Field = (Vec<u8>, Vec<u8>, Option<WallMs>);

pub(crate) fn dump_hash(hash: Hash<'_>) -> Vec<u8> {
    let has_deadlines = hash.has_deadlines();
    let mut out = vec![if has_deadlines { TYPE_HASH_2 } else { TYPE_HASH }];
    write_len(hash.len(), &mut out);
    for ((field, value), deadline) in hash.iter_with_deadlines() {
        write_text(field, &mut out);
        write_text(value, &mut out);
        if has_deadlines {
            let ms = deadline.and_then(|at| i64::try_from(at.0).ok()).unwrap_or(-1);
            out.extend_from_slice(&ms.to_le_bytes());
        }
    }
    seal(out)
}

/// The fields in a payload of this type, each once, at least one.
pub(super) fn restore_hash(kind: u8, mut rest: &[u8]) -> Result<Vec<Field>, PayloadError> {
    let fields = match kind {
        TYPE_HASH => read_fields(&mut rest, |_| Some(None)),
        TYPE_HASH_2 => read_fields(&mut rest, read_deadline),
        _ => read_text(&mut rest).and_then(|listpack| read_listpack(&listpack)),
    };
    let fields = fields.filter(|fields| !fields.is_empty()).ok_or(PayloadError::Format)?;
    let names: BTreeSet<&[u8]> = fields.iter().map(|(field, ..)| &field[..]).collect();
    if names.len() == fields.len() { Ok(fields) } else { Err(PayloadError::Format) }
}

fn read_fields(rest: &mut &[u8], deadline: impl Fn(&mut &[u8]) -> Option<Option<WallMs>>) -> Option<Vec<Field>> {
    let count = read_len(rest)?;
    // No room ahead for what the payload only claims to hold.
    let mut fields = Vec::new();
    for _ in 0..count {
        fields.push((read_text(rest)?, read_text(rest)?, deadline(rest)?));
    }
    Some(fields)
}

fn read_deadline(rest: &mut &[u8]) -> Option<Option<WallMs>> {
    let ms = i64::from_le_bytes(take(rest, 8)?.try_into().ok()?);
    Some(u64::try_from(ms).ok().map(WallMs))
}

fn read_listpack(bytes: &[u8]) -> Option<Vec<Field>> {
    let mut rest = bytes;
    let size = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
    take(&mut rest, 2)?;
    let (end, mut rest) = rest.split_last()?;
    if *end != 0xff || size as usize != bytes.len() {
        return None;
    }
    let mut fields = Vec::new();
    while !rest.is_empty() {
        fields.push((read_element(&mut rest)?, read_element(&mut rest)?, None));
    }
    Some(fields)
}

fn read_element(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let before = rest.len();
    let head = take(rest, 1)?[0];
    let text = match head {
        0x00..=0x7f => decimal(i64::from(head)),
        0x80..=0xbf => take(rest, usize::from(head & 0x3f))?.to_vec(),
        0xc0..=0xdf => {
            let number = i64::from(head & 0x1f) << 8 | i64::from(take(rest, 1)?[0]);
            decimal(if number < 1 << 12 { number } else { number - (1 << 13) })
        }
        0xe0..=0xef => {
            let len = usize::from(head & 0x0f) << 8 | usize::from(take(rest, 1)?[0]);
            take(rest, len)?.to_vec()
        }
        0xf0 => {
            let len = u32::from_le_bytes(take(rest, 4)?.try_into().ok()?);
            take(rest, len as usize)?.to_vec()
        }
        0xf1..=0xf4 => {
            let size = [2, 3, 4, 8][usize::from(head - 0xf1)];
            let bytes = take(rest, size)?;
            let sign = if bytes[size - 1] & 0x80 == 0 { 0 } else { 0xff };
            let mut wide = [sign; 8];
            wide[..size].copy_from_slice(bytes);
            decimal(i64::from_le_bytes(wide))
        }
        _ => return None,
    };
    let back = match before - rest.len() {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    take(rest, back)?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generic::rdb::{Restored, restore};
    use crate::testing::Bench;

    fn field(field: &str, value: &str) -> Field {
        (field.as_bytes().to_vec(), value.as_bytes().to_vec(), None)
    }

    fn hash(fields: &[&[u8]], bench: &mut Bench) -> Vec<u8> {
        bench.run(&[&[&b"HSET"[..], b"h"], fields].concat());
        let key = bench.engine.key(b"h");
        dump_hash(bench.engine.keyspace().find(&key).unwrap().value().hash(bench.now).unwrap())
    }

    #[test]
    fn what_was_dumped_is_restored() {
        let long = "v".repeat(70_000);
        let payload = hash(&[b"a", b"1", b"b", long.as_bytes()], &mut Bench::new());
        let Ok(Restored::Hash(mut fields)) = restore(&payload) else { panic!("a hash") };
        fields.sort();
        assert_eq!(fields, [field("a", "1"), field("b", &long)]);
    }

    #[test]
    fn every_form_of_an_element_is_read() {
        let long = [&[0xe1, 0x00][..], &[b'x'; 256], &[0x01, 0x82]].concat();
        let elements: [(&[u8], String); 9] = [
            (&[5, 1], "5".to_owned()),
            (&[0x82, b'a', b'b', 3], "ab".to_owned()),
            (&[0xc1, 0x00, 2], "256".to_owned()),
            (&[0xdf, 0xff, 2], "-1".to_owned()),
            (&[0xf1, 0x00, 0x80, 3], "-32768".to_owned()),
            (&[0xf2, 0xff, 0xff, 0x7f, 4], "8388607".to_owned()),
            (&[0xf3, 0, 0, 0, 0x80, 5], "-2147483648".to_owned()),
            (&[0xf4, 0, 0, 0, 0, 1, 0, 0, 0, 9], "4294967296".to_owned()),
            (&long, "x".repeat(256)),
        ];
        for (element, text) in elements {
            let mut rest = element;
            assert_eq!(read_element(&mut rest), Some(text.into_bytes()));
            assert!(rest.is_empty());
            for end in 0..element.len() {
                assert_eq!(read_element(&mut &element[..end]), None, "cut at {end}");
            }
        }
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let bodies: [&[u8]; 7] = [
            b"\x04\x00",
            b"\x04\x01\x01a",
            b"\x04\x02\x01a\x011\x01a\x012",
            b"\x16\x01\x01a\x011\x00\x00",
            b"\x10\x07\x07\x00\x00\x00\x00\x00\xff",
            b"\x10\x0b\x0b\x00\x00\x00\x02\x00\x01\x01\x02\x01\xfe",
            b"\x04\x80\xff\xff\xff\xff",
        ];
        for body in bodies {
            assert!(matches!(restore(&seal(body.to_vec())), Err(PayloadError::Format)), "{}", body.escape_ascii());
        }
    }
}

//! Sets in DUMP's payloads.
//!
//! | type | | read | written |
//! |---|---|---|---|
//! | 2 | a number, then that many members | yes | of a large set |
//! | 11 | one string: width (u32), number (u32), integers that ascend | yes | of a packed set of integers |
//! | 20 | a listpack of members, as one string | yes | of a packed set of texts |
//!
//! Numbers are little-endian; a width is 2, 4 or 8 bytes. Everything is checked: the lengths, the order of integers,
//! and that no member is repeated. As in Valkey, a set of integers or texts that has more members than a packed one may
//! have becomes a table, and members of type 2 have the form that they would have if they were added one by one.

use super::Set;
use super::member::SetMember;
use super::packed::{NUMBER, SetForm};
use crate::codec::listpack::{self, Packable};
use crate::codec::rdb::{Input, PayloadError, decimal, seal, take, write_len, write_text};
use crate::command::typed::{DumpForm, Put};
use crate::keyspace::{Entry, ExpiryChange};
use fastness_resp::Args;
use fastness_types::WallMs;
use std::collections::BTreeSet;

const TYPE_SET: u8 = 2;
const TYPE_SET_INTSET: u8 = 11;
const TYPE_SET_LISTPACK: u8 = 20;

/// See [`DumpForm`].
pub(crate) const FORM: DumpForm =
    DumpForm { of: NUMBER, dump, kinds: &[TYPE_SET, TYPE_SET_INTSET, TYPE_SET_LISTPACK], restore };

fn dump(entry: &Entry, _: WallMs) -> Option<Vec<u8>> {
    Set::of(entry.value()).map(dump_set)
}

fn dump_set(set: Set<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match set.form() {
        SetForm::Ints => {
            out.push(TYPE_SET_INTSET);
            write_text(&intset(set), &mut out);
        }
        SetForm::Texts => {
            out.push(TYPE_SET_LISTPACK);
            let (mut elements, mut whole) = (Vec::new(), Vec::new());
            set.iter().for_each(|member| listpack::push(member.text(&mut itoa::Buffer::new()), &mut elements));
            listpack::frame(&elements, set.len(), &mut whole);
            write_text(&whole, &mut out);
        }
        SetForm::Table => {
            out.push(TYPE_SET);
            write_len(set.len(), &mut out);
            set.iter().for_each(|member| write_text(member.text(&mut itoa::Buffer::new()), &mut out));
        }
    }
    seal(out)
}

/// The integers of a packed set, as Valkey's intset has them.
fn intset(set: Set<'_>) -> Vec<u8> {
    let integers: Vec<i64> = set.iter().filter_map(SetMember::integer).collect();
    let width = if integers.iter().all(|number| i16::try_from(*number).is_ok()) {
        2
    } else if integers.iter().all(|number| i32::try_from(*number).is_ok()) {
        4
    } else {
        8
    };
    let mut out = Vec::with_capacity(8 + integers.len() * width);
    out.extend_from_slice(&(width as u32).to_le_bytes());
    out.extend_from_slice(&(integers.len() as u32).to_le_bytes());
    integers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()[..width]));
    out
}

fn restore(kind: u8, input: &mut Input<'_>, _: WallMs) -> Result<Put, PayloadError> {
    let (members, least) = restored(kind, input)?;
    Ok(Box::new(move |engine, key, expiry, env| {
        engine.put_members(key, Args::owned(&members), least, env);
        if let ExpiryChange::At(at) = expiry {
            engine.expire_at(key, at, env);
        }
    }))
}

/// The distinct members of a payload of this type, at least one, and the least form of their set.
fn restored(kind: u8, input: &mut Input<'_>) -> Result<(Vec<Vec<u8>>, SetForm), PayloadError> {
    let (members, least) = match kind {
        TYPE_SET => (read_members(input)?, SetForm::Ints),
        TYPE_SET_INTSET => (read_intset(&input.text()?).ok_or(PayloadError::Format)?, SetForm::Ints),
        _ => (read_listpack(&input.text()?).ok_or(PayloadError::Format)?, SetForm::Texts),
    };
    let distinct: BTreeSet<&[u8]> = members.iter().map(Vec::as_slice).collect();
    let is_right = !members.is_empty() && distinct.len() == members.len();
    if is_right { Ok((members, least)) } else { Err(PayloadError::Format) }
}

fn read_members(input: &mut Input<'_>) -> Result<Vec<Vec<u8>>, PayloadError> {
    // No capacity is reserved for the count, which the payload only claims.
    let mut members = Vec::new();
    for _ in 0..input.len()? {
        members.push(input.text()?);
    }
    Ok(members)
}

fn read_listpack(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (elements, _) = listpack::open(bytes)?;
    Some(listpack::elements(elements).map(Packable::to_vec).collect())
}

fn read_intset(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = bytes;
    let mut number = || Some(u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?) as usize);
    let (width, count) = (number()?, number()?);
    if !matches!(width, 2 | 4 | 8) || count.checked_mul(width) != Some(rest.len()) {
        return None;
    }
    let integers: Vec<i64> = rest.chunks_exact(width).map(sign_extended).collect();
    let ascend = integers.is_sorted_by(|before, after| before < after);
    ascend.then(|| integers.into_iter().map(decimal).collect())
}

/// An integer of 1 to 8 bytes, little-endian.
fn sign_extended(bytes: &[u8]) -> i64 {
    let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [sign; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(wide)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::rdb::open_within;
    use crate::testing::{Bench, damage};

    fn read(body: &[u8]) -> Result<(Vec<Vec<u8>>, SetForm), PayloadError> {
        let payload = seal(body.to_vec());
        let (kind, mut input) = open_within(&payload, usize::MAX)?;
        if FORM.kinds.contains(&kind) { restored(kind, &mut input) } else { Err(PayloadError::Format) }
    }

    /// The payload of DUMP, without version and checksum.
    fn dumped(members: &[&[u8]]) -> Vec<u8> {
        let mut bench = Bench::new();
        bench.run(&[&[&b"SADD"[..], b"s"], members].concat());
        let key = bench.engine.key(b"s");
        let payload = dump(bench.engine.keyspace().find(&key).unwrap(), bench.now).unwrap();
        payload[..payload.len() - 10].to_vec()
    }

    #[test]
    fn sets_are_written_as_valkey_writes_them() {
        assert_eq!(dumped(&[b"2", b"-1"]), b"\x0b\x0c\x02\0\0\0\x02\0\0\0\xff\xff\x02\0");
        assert_eq!(dumped(&[b"40000"]), b"\x0b\x0c\x04\0\0\0\x01\0\0\0\x40\x9c\0\0");
        assert_eq!(dumped(&[b"a", b"7"]), b"\x14\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff");
        let long = [b'v'; 65];
        assert_eq!(dumped(&[&long]), [&b"\x02\x01\x40\x41"[..], &long].concat());
    }

    #[test]
    fn what_was_dumped_is_restored() {
        let (long, longer) = ("v".repeat(64), "v".repeat(70_000));
        let many: Vec<String> = (0..513).map(|i| i.to_string()).collect();
        let texts: Vec<String> = (0..129).map(|i| format!("m{i}")).collect();
        let slices = |members: &[String]| members.iter().map(|member| member.clone().into_bytes()).collect::<Vec<_>>();
        let cases = [
            slices(&many[..1]),
            slices(&many[..512]),
            slices(&many),
            slices(&texts[..128]),
            slices(&texts),
            vec![b"-1".to_vec(), b"70000".to_vec(), b"5000000000".to_vec(), i64::MIN.to_string().into_bytes()],
            vec![b"a".to_vec(), b"".to_vec(), b"-32768".to_vec(), long.into_bytes()],
            vec![longer.into_bytes(), b"1".to_vec()],
        ];
        for members in cases {
            let mut bench = Bench::new();
            let words: Vec<&[u8]> = members.iter().map(Vec::as_slice).collect();
            bench.run(&[&[&b"SADD"[..], b"s"], &words[..]].concat());
            let dump = bench.run(&[b"DUMP", b"s"]);
            let start = dump.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            let payload = dump[start..dump.len() - 2].to_vec();
            assert_eq!(bench.run(&[b"RESTORE", b"back", b"5000", &payload]), b"+OK\r\n");
            bench.script(&format!("SCARD back => :{} | PTTL back => :5000 | SDIFF s back => *0", members.len()));
            assert_eq!(bench.run(&[b"OBJECT", b"ENCODING", b"back"]), bench.run(&[b"OBJECT", b"ENCODING", b"s"]));
        }
    }

    #[test]
    fn the_form_follows_from_the_payload() {
        let form = |body: &[u8]| read(body).map(|(_, least)| least);
        assert_eq!(form(b"\x02\x02\x011\x012"), Ok(SetForm::Ints));
        assert_eq!(form(b"\x02\x01\xc0\x05"), Ok(SetForm::Ints));
        assert_eq!(form(b"\x14\x0a\x0a\0\0\0\x01\0\x07\x01\xff"), Err(PayloadError::Format));
        assert_eq!(form(b"\x14\x09\x09\0\0\0\x01\0\x07\x01\xff"), Ok(SetForm::Texts));
        assert_eq!(form(b"\x0b\x0a\x02\0\0\0\x01\0\0\0\x05\0"), Ok(SetForm::Ints));
    }

    #[test]
    fn payloads_that_contradict_themselves_are_refused() {
        let bodies: [&[u8]; 13] = [
            b"\x02\x00",
            b"\x02\x01",
            b"\x02\x02\x01a\x01a",
            b"\x02\x02\x015\xc0\x05",
            b"\x02\x80\xff\xff\xff\xff",
            b"\x0b\x08\x02\0\0\0\0\0\0\0",
            b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x05\0\x05\0",
            b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x05\0\x04\0",
            b"\x0b\x0c\x03\0\0\0\x02\0\0\0\x05\0\x06\0",
            b"\x0b\x0c\x02\0\0\0\x03\0\0\0\x05\0\x06\0",
            b"\x0b\x07\x02\0\0\0\x01\0\0",
            b"\x14\x07\x07\0\0\0\0\0\xff",
            b"\x14\x0b\x0b\0\0\0\x02\0\x07\x01\x07\x01\xff",
        ];
        for body in bodies {
            assert_eq!(read(body), Err(PayloadError::Format), "{}", body.escape_ascii());
        }
    }

    /// Whatever the bytes: an answer, never a panic.
    #[test]
    fn damaged_payloads_are_read_or_refused() {
        let long = [b'v'; 300];
        let bodies = [dumped(&[b"1", b"-70000", b"5"]), dumped(&[b"a", b"12", b""]), dumped(&[&long, b"1", b"b"])];
        damage(&bodies, 0, 100_000, |body| {
            let _ = read(&body);
        });
    }
}

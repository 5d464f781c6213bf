//! Sorted sets in DUMP's payloads.
//!
//! | type | | read | written |
//! |---|---|---|---|
//! | 3 | a number, then that many members, each with its score as a text: from Redis before 3.2 | yes | no |
//! | 5 | a number, then that many members, each with the eight bytes of its score | yes | yes |
//! | 12 | a ziplist of members and scores, as one string: from Redis before 7 | yes | no |
//! | 17 | a listpack of members and scores, as one string, which Valkey writes for a small sorted set | yes | no |
//!
//! Members may be in any order. A score as a text is one byte with its length and the text; the lengths 253 to 255
//! stand for NaN, `inf` and `-inf`.

use super::packed::NUMBER;
use super::score::{bytes_of, from_bytes, parse};
use super::view::SortedSet;
use crate::codec::listpack::{self, Packable};
use crate::codec::rdb::{Input, PayloadError, seal, write_len, write_text};
use crate::codec::ziplist;
use crate::command::typed::{DumpForm, Put};
use crate::keyspace::{Entry, ExpiryChange};
use fastness_types::WallMs;

const TYPE_ZSET: u8 = 3;
const TYPE_ZSET_2: u8 = 5;
const TYPE_ZSET_ZIPLIST: u8 = 12;
const TYPE_ZSET_LISTPACK: u8 = 17;

/// See [`DumpForm`].
pub(crate) const FORM: DumpForm =
    DumpForm { of: NUMBER, dump, kinds: &[TYPE_ZSET, TYPE_ZSET_2, TYPE_ZSET_ZIPLIST, TYPE_ZSET_LISTPACK], restore };

fn dump(entry: &Entry, _: WallMs) -> Option<Vec<u8>> {
    let set = SortedSet::of(entry.value())?;
    let mut out = vec![TYPE_ZSET_2];
    write_len(set.len(), &mut out);
    for (name, score) in set.iter() {
        write_text(name, &mut out);
        out.extend_from_slice(&bytes_of(score));
    }
    Some(seal(out))
}

fn restore(kind: u8, input: &mut Input<'_>, _: WallMs) -> Result<Put, PayloadError> {
    let members = read(kind, input)?;
    Ok(Box::new(move |engine, key, expiry, env| {
        engine.put_scores(key, &members, env);
        if let ExpiryChange::At(at) = expiry {
            engine.expire_at(key, at, env);
        }
    }))
}

/// A member and its score.
type RestoredMember = (Vec<u8>, f64);

/// Reads the members of a payload of this type, at least one, in the order of their names. A repeated member is
/// refused.
fn read(kind: u8, input: &mut Input<'_>) -> Result<Vec<RestoredMember>, PayloadError> {
    let mut members = match kind {
        TYPE_ZSET => read_members(input, read_text_score)?,
        TYPE_ZSET_2 => read_members(input, |input| from_bytes(&input.array::<8>()?).ok_or(PayloadError::Format))?,
        TYPE_ZSET_ZIPLIST => read_ziplist(&input.text()?).ok_or(PayloadError::Format)?,
        _ => read_listpack(&input.text()?).ok_or(PayloadError::Format)?,
    };
    members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let is_repeated = members.windows(2).any(|pair| pair[0].0 == pair[1].0);
    if members.is_empty() || is_repeated { Err(PayloadError::Format) } else { Ok(members) }
}

fn read_members(
    input: &mut Input<'_>,
    score: impl Fn(&mut Input<'_>) -> Result<f64, PayloadError>,
) -> Result<Vec<RestoredMember>, PayloadError> {
    let count = input.len()?;
    // No capacity is reserved for the count, which the payload only claims.
    let mut members = Vec::new();
    for _ in 0..count {
        members.push((input.text()?, score(input)?));
    }
    Ok(members)
}

fn read_text_score(input: &mut Input<'_>) -> Result<f64, PayloadError> {
    match input.take(1)?[0] {
        255 => Ok(f64::NEG_INFINITY),
        254 => Ok(f64::INFINITY),
        253 => Err(PayloadError::Format),
        len => parse(input.take(usize::from(len))?).ok_or(PayloadError::Format),
    }
}

fn read_ziplist(bytes: &[u8]) -> Option<Vec<RestoredMember>> {
    paired(ziplist::open(bytes)?.into_iter())
}

fn read_listpack(bytes: &[u8]) -> Option<Vec<RestoredMember>> {
    let (elements, _) = listpack::open(bytes)?;
    paired(listpack::elements(elements))
}

/// Members and scores by turns.
fn paired<'a>(elements: impl Iterator<Item = Packable<'a>>) -> Option<Vec<RestoredMember>> {
    let mut elements = elements.map(Packable::to_vec);
    let mut members = Vec::new();
    while let Some(name) = elements.next() {
        members.push((name, parse(&elements.next()?)?));
    }
    Some(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::rdb::open_within;
    use crate::testing::{Bench, damage};

    fn restored(payload: &[u8]) -> Result<Vec<RestoredMember>, PayloadError> {
        let (kind, mut input) = open_within(payload, usize::MAX)?;
        if FORM.kinds.contains(&kind) { read(kind, &mut input) } else { Err(PayloadError::Format) }
    }

    fn member(name: &str, score: f64) -> RestoredMember {
        (name.as_bytes().to_vec(), score)
    }

    #[test]
    fn every_type_is_read() {
        let two = [member("a", 1.5), member("b", f64::NEG_INFINITY)];
        let bodies: [&[u8]; 4] = [
            b"\x03\x02\x01a\x031.5\x01b\xff",
            b"\x05\x02\x01b\x00\x00\x00\x00\x00\x00\xf0\xff\x01a\x00\x00\x00\x00\x00\x00\xf8\x3f",
            b"\x0c\x1c\x1c\x00\x00\x00\x16\x00\x00\x00\x04\x00\x00\x01b\x03\x04-inf\x06\x01a\x03\x031.5\xff",
            b"\x11\x18\x18\x00\x00\x00\x04\x00\x81b\x02\x84-inf\x05\x81a\x02\x831.5\x04\xff",
        ];
        for body in bodies {
            assert_eq!(restored(&seal(body.to_vec())).as_deref(), Ok(&two[..]), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn wrong_contents_are_refused() {
        let bodies: [&[u8]; 9] = [
            b"\x05\x00",
            b"\x05\x01\x01a",
            b"\x05\x02\x01a\x00\x00\x00\x00\x00\x00\xf8\x3f\x01a\x00\x00\x00\x00\x00\x00\xf8\x3f",
            b"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x7f",
            b"\x03\x01\x01a\xfd",
            b"\x03\x01\x01a\x01x",
            b"\x11\x07\x07\x00\x00\x00\x00\x00\xff",
            b"\x11\x0a\x0a\x00\x00\x00\x01\x00\x81a\x02\xff",
            b"\x11\x0d\x0d\x00\x00\x00\x02\x00\x81a\x02\x81x\x02\xff",
        ];
        for body in bodies {
            assert_eq!(restored(&seal(body.to_vec())), Err(PayloadError::Format), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn what_was_dumped_is_restored() {
        let mut bench = Bench::new();
        for count in [1, 128, 129, 1_000] {
            bench.run(&[b"DEL", b"z"]);
            for i in 0..count {
                let (name, score) = (format!("m{i}"), format!("{}", i % 7));
                bench.run(&[b"ZADD", b"z", score.as_bytes(), name.as_bytes()]);
            }
            let key = bench.engine.key(b"z");
            let payload = dump(bench.engine.keyspace().find(&key).unwrap(), bench.now).unwrap();
            assert_eq!(bench.run(&[b"RESTORE", b"back", b"5000", &payload, b"REPLACE"]), b"+OK\r\n");
            bench.script("PTTL back => :5000");
            let [held, back] =
                [b"z" as &[u8], b"back"].map(|key| bench.run(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]));
            assert_eq!(held, back);
            let [held, back] = [b"z" as &[u8], b"back"].map(|key| bench.run(&[b"OBJECT", b"ENCODING", key]));
            assert_eq!(held, back);
        }
    }

    /// Whatever the bytes: an answer, never a panic.
    #[test]
    fn damaged_payloads_are_read_or_refused() {
        let bodies = [
            b"\x03\x02\x01a\x031.5\x01b\xff".to_vec(),
            b"\x05\x02\x01b\x00\x00\x00\x00\x00\x00\xf0\xff\x01a\x00\x00\x00\x00\x00\x00\xf8\x3f".to_vec(),
            b"\x0c\x1c\x1c\x00\x00\x00\x16\x00\x00\x00\x04\x00\x00\x01b\x03\x04-inf\x06\x01a\x03\x031.5\xff".to_vec(),
            b"\x11\x18\x18\x00\x00\x00\x04\x00\x81b\x02\x84-inf\x05\x81a\x02\x831.5\x04\xff".to_vec(),
        ];
        damage(&bodies, 0, 100_000, |body| {
            let _ = restored(&seal(body));
        });
    }
}

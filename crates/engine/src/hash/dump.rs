//! Hashes in DUMP's payloads.
//!
//! | type | | read | written |
//! |---|---|---|---|
//! | 4 | a number, then that many fields with values | yes | yes |
//! | 16 | a listpack of fields and values, as one string, which Valkey writes for a small hash | yes | no |
//! | 22 | as 4, and after each value its deadline: 8 bytes of milliseconds, -1 for none | yes | if a field has one |
//! | 9, 13 | a zipmap, a ziplist: from Redis before 7 | no | no |

use super::Hash;
use super::packed::NUMBER;
use crate::codec::listpack::{self, Packable};
use crate::codec::rdb::{Input, PayloadError, seal, write_len, write_text};
use crate::command::typed::{DumpForm, Put};
use crate::engine::Engine;
use crate::env::Env;
use crate::keyspace::{Entry, ExpiryChange, Key};
use fastness_resp::Args;
use fastness_types::WallMs;
use std::collections::BTreeMap;

const TYPE_HASH: u8 = 4;
const TYPE_HASH_LISTPACK: u8 = 16;
const TYPE_HASH_2: u8 = 22;

/// See [`DumpForm`].
pub(crate) const FORM: DumpForm =
    DumpForm { of: NUMBER, dump, kinds: &[TYPE_HASH, TYPE_HASH_LISTPACK, TYPE_HASH_2], restore };

fn dump(entry: &Entry, now: WallMs) -> Option<Vec<u8>> {
    Hash::of(entry.value(), now).map(dump_hash)
}

/// The payload of a hash for readers that do not know deadlines of fields: without them.
pub(crate) fn dump_without_deadlines(entry: &Entry) -> Option<Vec<u8>> {
    Hash::of(entry.value(), WallMs(0)).map(|hash| write_hash(hash, false))
}

fn restore(kind: u8, input: &mut Input<'_>, now: WallMs) -> Result<Put, PayloadError> {
    let fields = restore_hash(kind, input, now)?;
    Ok(Box::new(move |engine, key, expiry, env| put(engine, key, &fields, expiry, env)))
}

fn put(engine: &mut Engine, key: &Key<'_>, fields: &[Field], expiry: ExpiryChange, env: &mut Env<'_>) {
    let now = env.now;
    // Fields are grouped by deadline, so that there is one effect for each deadline and not for each field.
    let mut by_deadline: BTreeMap<Option<WallMs>, Vec<&[u8]>> = BTreeMap::new();
    for (field, value, deadline) in fields.iter().filter(|(.., deadline)| deadline.is_none_or(|at| at >= now)) {
        by_deadline.entry(*deadline).or_default().extend([&field[..], &value[..]]);
    }
    engine.unlink(key, env);
    for (deadline, pairs) in &by_deadline {
        let expiry = deadline.map_or(ExpiryChange::Drop, ExpiryChange::At);
        engine.set_fields(key, Args::slices(pairs), expiry, env);
    }
    if let (ExpiryChange::At(at), false) = (expiry, by_deadline.is_empty()) {
        engine.expire_at(key, at, env);
    }
}

/// A field with its value and its deadline.
type Field = (Vec<u8>, Vec<u8>, Option<WallMs>);

fn dump_hash(hash: Hash<'_>) -> Vec<u8> {
    write_hash(hash, hash.has_deadlines())
}

fn write_hash(hash: Hash<'_>, has_deadlines: bool) -> Vec<u8> {
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

/// Reads the fields of a payload of this type, at least one. A repeated field is refused unless the earlier one had
/// expired by `now`, as in Valkey.
fn restore_hash(kind: u8, input: &mut Input<'_>, now: WallMs) -> Result<Vec<Field>, PayloadError> {
    let fields = match kind {
        TYPE_HASH => read_fields(input, |_| Ok(None))?,
        TYPE_HASH_2 => read_fields(input, read_deadline)?,
        _ => read_listpack(&input.text()?).ok_or(PayloadError::Format)?,
    };
    if fields.is_empty() {
        return Err(PayloadError::Format);
    }
    without_repeated(fields, now).ok_or(PayloadError::Format)
}

type Deadline = Option<WallMs>;

fn read_fields(
    input: &mut Input<'_>,
    deadline: impl Fn(&mut Input<'_>) -> Result<Deadline, PayloadError>,
) -> Result<Vec<Field>, PayloadError> {
    let count = input.len()?;
    // No capacity is reserved for the count, which the payload only claims.
    let mut fields = Vec::new();
    for _ in 0..count {
        fields.push((input.text()?, input.text()?, deadline(input)?));
    }
    Ok(fields)
}

fn read_deadline(input: &mut Input<'_>) -> Result<Deadline, PayloadError> {
    match i64::from_le_bytes(input.array()?) {
        -1 => Ok(None),
        ms => u64::try_from(ms).map(|ms| Some(WallMs(ms))).map_err(|_| PayloadError::Format),
    }
}

/// Keeps the last field of each name; `None` if an earlier one has not expired.
fn without_repeated(fields: Vec<Field>, now: WallMs) -> Option<Vec<Field>> {
    let mut by_name: Vec<usize> = (0..fields.len()).collect();
    by_name.sort_unstable_by(|a, b| fields[*a].0.cmp(&fields[*b].0).then(a.cmp(b)));
    let mut replaced = vec![false; fields.len()];
    for pair in by_name.windows(2).filter(|pair| fields[pair[0]].0 == fields[pair[1]].0) {
        if fields[pair[0]].2.is_none_or(|at| at >= now) {
            return None;
        }
        replaced[pair[0]] = true;
    }
    let kept = fields.into_iter().zip(replaced).filter(|(_, replaced)| !replaced);
    Some(kept.map(|(field, _)| field).collect())
}

fn read_listpack(bytes: &[u8]) -> Option<Vec<Field>> {
    let (elements, count) = listpack::open(bytes)?;
    let mut texts = listpack::elements(elements).map(Packable::to_vec);
    let fields = std::iter::from_fn(|| Some((texts.next()?, texts.next()?, None))).collect();
    count.is_multiple_of(2).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::rdb::open_within;
    use crate::testing::{Bench, damage};

    fn restored(payload: &[u8], now: WallMs) -> Result<Vec<Field>, PayloadError> {
        let (kind, mut input) = open_within(payload, usize::MAX)?;
        if FORM.kinds.contains(&kind) { restore_hash(kind, &mut input, now) } else { Err(PayloadError::Format) }
    }

    fn field(field: &str, value: &str) -> Field {
        (field.as_bytes().to_vec(), value.as_bytes().to_vec(), None)
    }

    fn hash(fields: &[&[u8]], bench: &mut Bench) -> Vec<u8> {
        bench.run(&[&[&b"HSET"[..], b"h"], fields].concat());
        let key = bench.engine.key(b"h");
        dump_hash(Hash::of(bench.engine.keyspace().find(&key).unwrap().value(), bench.now).unwrap())
    }

    #[test]
    fn what_was_dumped_is_restored() {
        let long = "v".repeat(70_000);
        let payload = hash(&[b"a", b"1", b"b", long.as_bytes()], &mut Bench::new());
        let mut fields = restored(&payload, WallMs(0)).unwrap();
        fields.sort();
        assert_eq!(fields, [field("a", "1"), field("b", &long)]);
    }

    #[test]
    fn a_listpack_has_pairs() {
        let listpack = |count: usize, elements: &[u8]| {
            let mut listpack = Vec::new();
            listpack::frame(elements, count, &mut listpack);
            listpack
        };
        let whole = &[0x81, b'a', 2, 0x81, b'1', 2][..];
        assert_eq!(read_listpack(&listpack(2, whole)), Some(vec![field("a", "1")]));
        assert_eq!(read_listpack(&listpack(1, &whole[..3])), None, "a field without a value");
        assert_eq!(read_listpack(&listpack(3, whole)), None, "a wrong number");
    }

    /// Found: any negative deadline counted as no deadline.
    #[test]
    fn deadlines_of_fields_are_checked() {
        let hash = |fields: &[(&str, i64)]| {
            let mut body = vec![TYPE_HASH_2, fields.len() as u8];
            for (name, deadline) in fields {
                write_text(name.as_bytes(), &mut body);
                write_text(b"v", &mut body);
                body.extend_from_slice(&deadline.to_le_bytes());
            }
            let fields = restored(&seal(body), WallMs(1_000)).ok()?;
            Some(fields.into_iter().map(|(.., at)| at.map(|at| at.0)).collect::<Vec<_>>())
        };
        assert_eq!(hash(&[("a", -1), ("b", i64::MAX)]), Some(vec![None, Some(i64::MAX as u64)]));
        for deadline in [-2, -1_000, i64::MIN] {
            assert_eq!(hash(&[("a", deadline)]), None);
        }
        // A field may be repeated only if the first one has expired.
        assert_eq!(hash(&[("a", 1), ("a", 2), ("a", -1)]), Some(vec![None]));
        assert_eq!(hash(&[("a", -1), ("a", 1)]), None);
        assert_eq!(hash(&[("a", 1_000), ("a", -1)]), None);
    }

    /// Whatever the bytes: an answer, never a panic.
    #[test]
    fn damaged_payloads_are_read_or_refused() {
        let long = "v".repeat(300);
        let bodies = [
            seal(hash(&[b"a", b"1", b"b", long.as_bytes()], &mut Bench::new())),
            b"\x10\xc3\x17+\x0f+\x00\x00\x00\x04\x00\x81a\x02\x01\x01\x81b\x02\x9a2\xe0\x10\x00\x01\x1b\xff".to_vec(),
            b"\x16\x02\x01a\xc0\x01Q\xf4g!\xa2\x01\x00\x00\x01b\xc3\t\x1a\x0122\xe0\r\x00\x0122\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            b"\x00\xc3\t7\x01bb\xe0*\x00\x01bb".to_vec(),
        ];
        damage(&bodies, 0, 200_000, |body| {
            let _ = restored(&seal(body), WallMs(0));
        });
    }

    #[test]
    fn other_types_than_hashes_are_refused() {
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
            assert!(
                matches!(restored(&seal(body.to_vec()), WallMs(0)), Err(PayloadError::Format)),
                "{}",
                body.escape_ascii()
            );
        }
    }
}

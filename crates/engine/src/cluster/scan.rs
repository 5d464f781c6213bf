//! CLUSTERSCAN: iterates over the keys of the whole cluster, each shard over its own slots.
//!
//! A cursor is `fingerprint-{tag}-place`. Clients hash it like a key, so the tag, whose slot is the next one to scan,
//! routes the request to the right shard; if the slot has moved, a redirect follows. The place is used only if the
//! fingerprint matches; otherwise the slot is scanned from its start. All replicas of a cluster have the same
//! fingerprint, because their cursors are interchangeable: after a failover a scan continues where it was.
//!
//! Any text may be the tag: the slot is that of the text between the dashes.

use std::sync::LazyLock;

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::generic::scan::{Filter, Scans, pattern_slot, read_unsigned, write};
use fastness_resp::Args;
use fastness_types::{SLOTS, Slot, slot_of};

/// CLUSTERSCAN cursor \[MATCH pattern] \[COUNT count] \[TYPE type] \[SLOT slot]
pub const CLUSTERSCAN: Command = Command::data(
    "clusterscan",
    "<cursor> [MATCH <pattern>] [COUNT <count>] [TYPE <type>] [SLOT <slot>]",
    "Iterates over the keys of the whole cluster.",
    run,
);

const LAST: Slot = Slot(SLOTS as u16 - 1);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let filter = Filter::parse(args.skip(2), Scans::Slots)?;
    let cursor = Cursor::parse(args.get(1)).ok_or(CommandError::Fixed("ERR Invalid cursor"))?;
    // The slot of all matching keys, if the pattern determines it.
    let matching = filter.pattern.and_then(pattern_slot);
    let disjoint = matching.is_some_and(|slot| filter.slot.is_some_and(|wanted| wanted != slot));
    let Cursor::At { fingerprint, slot, place } = cursor else {
        let first = filter.slot.or(matching).unwrap_or(Slot(0));
        let next = if disjoint { Next::End } else { Next::Slot(first) };
        write(&next.text(engine), &[], env.reply);
        return Ok(());
    };
    if filter.slot.is_some_and(|wanted| wanted != slot) {
        return Err(CommandError::Fixed("ERR Cursor slot mismatch with SLOT argument"));
    }
    if let Some(elsewhere) = matching.filter(|matching| *matching != slot) {
        let next = if disjoint || elsewhere < slot { Next::End } else { Next::Slot(elsewhere) };
        write(&next.text(engine), &[], env.reply);
        return Ok(());
    }
    let one_slot = filter.slot.is_some() || matching.is_some();
    let last = if one_slot { slot } else { engine.last_of_run(slot) };
    let place = if fingerprint == fingerprint_of(engine).as_bytes() { place } else { 0 };
    let mut found = Vec::new();
    let from = engine.keyspace().cursor(slot, place);
    let rest = engine.keyspace().scan_to(last, from, filter.count, |entry| {
        if !entry.is_expired(env.now) && filter.lets_through(entry) {
            found.push(entry.key().to_vec());
        }
    });
    let next = match rest {
        0 if one_slot || last == LAST => Next::End,
        0 => Next::Slot(Slot(last.0 + 1)),
        cursor => Next::Place(cursor),
    };
    write(&next.text(engine), &found, env.reply);
    Ok(())
}

/// Where the scan continues.
enum Next {
    End,
    /// At the start of a slot, which may belong to another shard.
    Slot(Slot),
    /// At a cursor of this shard's tables.
    Place(u64),
}

impl Next {
    fn text(&self, engine: &Engine) -> Vec<u8> {
        match *self {
            Next::End => b"0".to_vec(),
            Next::Slot(slot) => format!("0-{{{}}}-0", tag_of(slot)).into_bytes(),
            Next::Place(cursor) => {
                let (slot, place) = engine.keyspace().slot_and_place(cursor);
                format!("{}-{{{}}}-{place}", fingerprint_of(engine), tag_of(slot)).into_bytes()
            }
        }
    }
}

/// The fingerprint of a cluster's cursors, which depends only on its seed.
fn fingerprint_of(engine: &Engine) -> String {
    format!("{:x}", engine.hash_key(b"the cursors of CLUSTERSCAN") >> 32 | 1)
}

/// A cursor from a request.
enum Cursor<'a> {
    Start,
    At { fingerprint: &'a [u8], slot: Slot, place: u64 },
}

impl Cursor<'_> {
    fn parse(text: &[u8]) -> Option<Cursor<'_>> {
        if text == b"0" {
            return Some(Cursor::Start);
        }
        let mut parts = text.split(|byte| *byte == b'-');
        let (fingerprint, tag, place) = (parts.next()?, parts.next()?, parts.next()?);
        let place = read_unsigned(place).filter(|_| parts.next().is_none())?;
        Some(Cursor::At { fingerprint, slot: slot_of(tag), place })
    }
}

/// A short tag for each slot, computed once: the first one in the order of its digits.
static TAGS: LazyLock<Box<[[u8; 3]]>> = LazyLock::new(|| {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut tags = vec![[0; 3]; SLOTS].into_boxed_slice();
    for number in (0..62 * 62 * 62).rev() {
        let tag = [DIGITS[number / 62 / 62], DIGITS[number / 62 % 62], DIGITS[number % 62]];
        tags[usize::from(slot_of(&tag).0)] = tag;
    }
    tags
});

fn tag_of(slot: Slot) -> &'static str {
    std::str::from_utf8(&TAGS[usize::from(slot.0)]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, check};
    use fastness_resp::{Value, value};
    use std::collections::BTreeSet;

    fn page(bench: &mut Bench, words: &[&[u8]]) -> (String, Vec<Vec<u8>>) {
        let reply = bench.run(words);
        let Ok(Some((Value::Array(reply), _))) = value::parse(&reply) else { panic!("{}", reply.escape_ascii()) };
        let Value::Array(keys) = &reply[1] else { panic!("with an array of keys") };
        let cursor = String::from_utf8_lossy(reply[0].as_bytes().expect("a cursor")).into_owned();
        (cursor, keys.iter().map(|key| key.as_bytes().expect("a key").to_vec()).collect())
    }

    #[test]
    fn every_slot_has_a_tag() {
        for slot in 0..SLOTS as u16 {
            assert_eq!(slot_of(format!("0-{{{}}}-0", tag_of(Slot(slot))).as_bytes()), Slot(slot));
        }
    }

    #[test]
    fn starts_at_a_slot() {
        let first = |slot| format!("*2 $9 0-{{{}}}-0 *0", tag_of(Slot(slot)));
        check(&format!("CLUSTERSCAN 0 => {} | CLUSTERSCAN 0 SLOT 77 => {}", first(0), first(77)));
        check(&format!("CLUSTERSCAN 0 MATCH {{foo}}* => {}", first(12182)));
        check("CLUSTERSCAN 0 MATCH {foo}* SLOT 1 => *2 $1 0 *0");
    }

    #[test]
    fn refusals() {
        for cursor in ["x", "5", "00", "0-{a}", "{a}-0", "0-{a}-x", "0-{a}-0-0", "0-{a}-", "0-{a}--1", "0-{a}0"] {
            check(&format!("CLUSTERSCAN {cursor} => -ERR Invalid cursor"));
        }
        check("SET foo 1 => +OK | CLUSTERSCAN 0-foo-0 SLOT 12182 COUNT 9 => *2 $1 0 *1 $3 foo");
        check("CLUSTERSCAN 0-{foo}-0 SLOT 1 => -ERR Cursor slot mismatch with SLOT argument");
        check("CLUSTERSCAN x SLOT 16384 => -ERR Invalid or out of range slot | CLUSTERSCAN x FOO => -ERR syntax error");
        check("CLUSTERSCAN x SLOT 1 SLOT 2 => -ERR SLOT option can only be specified once");
        check("CLUSTERSCAN 0 SLOT => -ERR syntax error | SCAN 0 SLOT 1 => -ERR syntax error");
    }

    #[test]
    fn patterns_that_imply_a_slot_lead_there() {
        let at = |slot| format!("*2 $9 0-{{{}}}-0 *0", tag_of(Slot(slot)));
        check(&format!("CLUSTERSCAN 0-{{bar}}-0 MATCH {{foo}}* => {}", at(12182)));
        check("CLUSTERSCAN 0-{foo}-0 MATCH {bar}* => *2 $1 0 *0");
        check("SET {foo}1 1 => +OK | SET {foo}2 1 => +OK | CLUSTERSCAN 0-{foo}-0 MATCH foo => *2 $1 0 *0");
        check("SET {foo}1 1 => +OK | CLUSTERSCAN 0-{foo}-0 MATCH {foo}* COUNT 99 => *2 $1 0 *1 $6 {foo}1");
    }

    #[test]
    fn stays_within_the_slots_of_the_shard() {
        let mut bench = Bench::new();
        bench.engine.set_slots(vec![0..=99, 12000..=12999]);
        bench.script("SET {foo}1 1 => +OK");
        let next = tag_of(Slot(13000));
        bench.script(&format!("CLUSTERSCAN 0-{{foo}}-0 COUNT 99 => *2 $9 0-{{{next}}}-0 *1 $6 {{foo}}1"));
        let (first, next) = (tag_of(Slot(0)), tag_of(Slot(100)));
        bench.script(&format!("CLUSTERSCAN 0-{{{first}}}-0 => *2 $9 0-{{{next}}}-0 *0"));
        bench.script("CLUSTERSCAN 0-{foo}-0 SLOT 12182 COUNT 99 => *2 $1 0 *1 $6 {foo}1");
    }

    #[test]
    fn returns_every_key_by_the_end_of_the_scan() {
        let mut bench = Bench::new();
        let keys: BTreeSet<Vec<u8>> = (0..500).map(|i| format!("key{i}").into_bytes()).collect();
        let tagged = (0..500).map(|i| format!("{{t}}{i}").into_bytes());
        let keys: BTreeSet<Vec<u8>> = keys.into_iter().chain(tagged).collect();
        keys.iter().for_each(|key| drop(bench.run(&[b"SET", key, b"1"])));
        let (mut cursor, mut found, mut pages) = ("0".to_owned(), BTreeSet::new(), 0);
        loop {
            let (next, keys) = page(&mut bench, &[b"CLUSTERSCAN", cursor.as_bytes(), b"COUNT", b"7"]);
            found.extend(keys);
            (cursor, pages) = (next, pages + 1);
            if cursor == "0" {
                break;
            }
            assert!(pages < 1_000, "ends");
        }
        assert_eq!(found, keys);
        assert!(pages > 50, "{pages}");
    }

    #[test]
    fn a_place_is_used_only_with_its_fingerprint() {
        let mut bench = Bench::new();
        (0..200).for_each(|i| drop(bench.run(&[b"SET", format!("{{t}}{i}").as_bytes(), b"1"])));
        let (first, keys) = page(&mut bench, &[b"CLUSTERSCAN", b"0-{t}-0", b"COUNT", b"50"]);
        let (_, other) = page(&mut bench, &[b"CLUSTERSCAN", first.as_bytes(), b"COUNT", b"50"]);
        assert!(keys.iter().all(|key| !other.contains(key)));
        let foreign = format!("abc-{}", first.split_once('-').expect("a fingerprint").1);
        assert_eq!(page(&mut bench, &[b"CLUSTERSCAN", foreign.as_bytes(), b"COUNT", b"50"]).1, keys);
    }
}

//! SCAN: iterates over the keys of this shard; and the options that SCAN, HSCAN, SSCAN, ZSCAN and CLUSTERSCAN share.
//!
//! A cursor has a slot and a position in its table, which stays valid while the table grows and shrinks, and is valid
//! on every replica. A key that exists from the first call to the last is returned at least once.

use crate::codec::glob;
use crate::command::{Command, parse};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::Entry;
use crate::types::Type;
use fastness_resp::number::parse_int;
use fastness_resp::{Args, ReplyBuf};
use fastness_types::{SLOTS, Slot, slot_of};

/// SCAN cursor \[MATCH pattern] \[COUNT count] \[TYPE type]
pub const SCAN: Command = Command::data(
    "scan",
    "<cursor> [MATCH <pattern>] [COUNT <count>] [TYPE <type>]",
    "Iterates over the keys of this shard.",
    run,
);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.get(1)).ok_or(CommandError::Fixed("ERR invalid cursor"))?;
    let filter = Filter::parse(args.skip(2), Scans::Keys)?;
    let mut found = Vec::new();
    let next = scan(engine, cursor, &filter, |entry| {
        if !entry.is_expired(env.now) && filter.lets_through(entry) {
            found.push(entry.key().to_vec());
        }
    });
    write(itoa::Buffer::new().format(next).as_bytes(), &found, env.reply);
    Ok(())
}

/// Scans the slots that can match: one, if the pattern determines it.
fn scan(engine: &Engine, cursor: u64, filter: &Filter<'_>, visit: impl FnMut(&Entry)) -> u64 {
    let keyspace = engine.keyspace();
    let Some(slot) = filter.pattern.and_then(pattern_slot) else {
        return keyspace.scan(cursor, filter.count, visit);
    };
    let (at, _) = keyspace.slot_and_place(cursor);
    let from = if at < slot { keyspace.cursor(slot, 0) } else { cursor };
    if at > slot { 0 } else { keyspace.scan_to(slot, from, filter.count, visit) }
}

/// The slot of all keys that a pattern can match, if the pattern determines it: it has no wildcard before the end of
/// its hash tag.
pub(crate) fn pattern_slot(pattern: &[u8]) -> Option<Slot> {
    let is_wildcard = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
    let wildcard = pattern.iter().position(is_wildcard).unwrap_or(pattern.len());
    let open = pattern.iter().position(|byte| *byte == b'{');
    let close = open.and_then(|open| Some(open + 1 + pattern[open + 1..].iter().position(|byte| *byte == b'}')?));
    let has_tag = matches!((open, close), (Some(open), Some(close)) if open + 1 < close && close < wildcard);
    (has_tag || wildcard == pattern.len()).then(|| slot_of(pattern))
}

/// Writes the reply: the next cursor, and what was found.
pub(crate) fn write(cursor: &[u8], keys: &[Vec<u8>], reply: &mut ReplyBuf) {
    reply.array(2);
    reply.bulk(cursor);
    reply.array(keys.len());
    keys.iter().for_each(|key| reply.bulk(key));
}

/// Replies to HSCAN, SSCAN and ZSCAN. `scan` visits parts of the value, collects those that match, and returns the next
/// cursor.
pub(crate) fn reply_parts<V>(
    value: Option<V>,
    (options, scans): (Args<'_>, Scans),
    reply: &mut ReplyBuf,
    scan: impl FnOnce(V, &Filter<'_>, &mut Vec<Vec<u8>>) -> u64,
) -> Result<(), CommandError> {
    let (mut next, mut found) = (0, Vec::new());
    if let Some(value) = value {
        next = scan(value, &Filter::parse(options, scans)?, &mut found);
    }
    write(itoa::Buffer::new().format(next).as_bytes(), &found, reply);
    Ok(())
}

/// Parses a cursor as Valkey does: a non-negative integer, or else a text that C's `strtoull` accepts, which skips
/// blanks and accepts a sign, even a minus.
pub(crate) fn parse_cursor(text: &[u8]) -> Option<u64> {
    if let Some(number) = parse_int(text) {
        return u64::try_from(number).ok();
    }
    read_unsigned(text)
}

/// Parses a text as C's `strtoull` does, up to its end.
pub(crate) fn read_unsigned(text: &[u8]) -> Option<u64> {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = text.iter().position(|byte| !is_blank(byte))?;
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if negative { number.wrapping_neg() } else { number })
}

/// Which command's options are parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scans {
    /// SCAN's.
    Keys,
    /// CLUSTERSCAN's, which also has SLOT.
    Slots,
    /// HSCAN's, which has NOVALUES but not TYPE.
    Fields,
    /// SSCAN's, which has neither.
    Members,
    /// ZSCAN's, which has NOSCORES but not TYPE.
    ScoredMembers,
}

/// The parsed options.
pub(crate) struct Filter<'a> {
    pub(crate) count: usize,
    pub(crate) pattern: Option<&'a [u8]>,
    type_name: Option<&'static str>,
    /// Only of CLUSTERSCAN.
    pub(crate) slot: Option<Slot>,
    /// Only of HSCAN and ZSCAN: fields without their values, members without their scores.
    pub(crate) no_values: bool,
}

/// Valkey's types, by the names that TYPE takes; some of them are not implemented.
const TYPE_NAMES: [&str; 6] = ["string", "list", "set", "zset", "hash", "stream"];

/// Entries visited per call without COUNT.
const COUNT_DEFAULT: usize = 10;

impl<'a> Filter<'a> {
    pub(crate) fn parse(options: Args<'a>, scans: Scans) -> Result<Filter<'a>, CommandError> {
        let takes_slot = scans == Scans::Slots;
        let mut filter = Filter { count: COUNT_DEFAULT, pattern: None, type_name: None, slot: None, no_values: false };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let name = option.to_ascii_lowercase();
            match name.as_slice() {
                b"novalues" if scans == Scans::Fields => {
                    filter.no_values = true;
                    continue;
                }
                b"noscores" if scans == Scans::ScoredMembers => {
                    filter.no_values = true;
                    continue;
                }
                b"novalues" => {
                    return Err(CommandError::Fixed("ERR NOVALUES option can only be used in HSCAN"));
                }
                b"noscores" => {
                    return Err(CommandError::Fixed("ERR NOSCORES option can only be used in ZSCAN"));
                }
                _ => {}
            }
            let value = options.next().ok_or(CommandError::Syntax)?;
            match name.as_slice() {
                b"count" => filter.count = parse_count(value)?,
                b"match" => filter.pattern = Some(value).filter(|pattern| *pattern != b"*"),
                b"type" if matches!(scans, Scans::Keys | Scans::Slots) => filter.type_name = Some(parse_type(value)?),
                b"slot" if takes_slot && filter.slot.is_some() => {
                    return Err(CommandError::Fixed("ERR SLOT option can only be specified once"));
                }
                b"slot" if takes_slot => filter.slot = Some(parse_slot(value)?),
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(filter)
    }

    pub(crate) fn lets_through(&self, entry: &Entry) -> bool {
        self.type_name.is_none_or(|name| name == Type::of(entry.value()).name) && self.matches(entry.key())
    }

    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

fn parse_count(text: &[u8]) -> Result<usize, CommandError> {
    match usize::try_from(parse::integer(text)?) {
        Ok(0) | Err(_) => Err(CommandError::Syntax),
        Ok(count) => Ok(count),
    }
}

fn parse_type(text: &[u8]) -> Result<&'static str, CommandError> {
    let known = TYPE_NAMES.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(text));
    known.copied().ok_or_else(|| CommandError::quoting("ERR unknown type name '", text, "'"))
}

/// Parses the argument of SLOT.
pub(crate) fn parse_slot(text: &[u8]) -> Result<Slot, CommandError> {
    let number = parse_int(text).and_then(|number| usize::try_from(number).ok()).filter(|number| *number < SLOTS);
    number.map(|number| Slot(number as u16)).ok_or(CommandError::Fixed("ERR Invalid or out of range slot"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, check};
    use fastness_resp::{Value, value};
    use std::collections::BTreeSet;

    #[test]
    fn options() {
        check("SET ab 1 => +OK | SET b 1 => +OK | SCAN 0 MATCH a* COUNT 100000 => *2 $1 0 *1 $2 ab");
        check("SET a 1 => +OK | SCAN 0 TYPE hash COUNT 9 => *2 $1 0 *0 | SCAN 0 TYPE STRING => *2 $1 0 *1 $1 a");
        check("SCAN 0 COUNT 0 => -ERR syntax error | SCAN 0 COUNT x => -ERR value is not an integer or out of range");
        check("SCAN 0 COUNT => -ERR syntax error | SCAN 0 TYPE foo => -ERR unknown type name 'foo'");
        check("SCAN 0 SLOT 1 => -ERR syntax error | SCAN x FOO => -ERR invalid cursor");
    }

    #[test]
    fn patterns_that_determine_a_slot() {
        for (pattern, tag) in [("{foo}*", "foo"), ("a{foo}*[x]", "foo"), ("foo", "foo"), ("{}a", "{}a"), ("{}}x*", "")]
        {
            let expected = (!tag.is_empty()).then(|| slot_of(tag.as_bytes()));
            assert_eq!(pattern_slot(pattern.as_bytes()), expected, "{pattern}");
        }
        for pattern in ["*", "*{foo}", "{fo?}*", "{}*", "[a]{foo}", "\\{foo}", "foo*"] {
            assert_eq!(pattern_slot(pattern.as_bytes()), None, "{pattern}");
        }
        check("SET {a}1 1 => +OK | SET {b}1 1 => +OK | SCAN 0 MATCH {a}* COUNT 99 => *2 $1 0 *1 $4 {a}1");
        // The slots of a and b are 15495 and 3300.
        check(
            "SET {b}1 1 => +OK | SCAN 3301 MATCH {b}* COUNT 99 => *2 $1 0 *0 | SCAN 3300 MATCH {b}* COUNT 9 => *2 $1 0 *1 $4 {b}1",
        );
    }

    #[test]
    fn cursors_are_read_as_strtoull_reads_them() {
        assert_eq!(parse_cursor(b"+5"), Some(5));
        assert_eq!(parse_cursor(b" 5"), Some(5));
        assert_eq!(parse_cursor(b"-0"), Some(0));
        assert_eq!(parse_cursor(b"-9223372036854775809"), Some(9_223_372_036_854_775_807));
        assert_eq!(parse_cursor(b"18446744073709551615"), Some(u64::MAX));
        for wrong in [&b""[..], b"x", b"5 ", b"-1", b"18446744073709551616", b"++5", b"+-5"] {
            assert_eq!(parse_cursor(wrong), None, "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn returns_every_key_that_stays() {
        let mut bench = Bench::new();
        let keys: BTreeSet<Vec<u8>> = (0..2_000).map(|i| format!("key{i}").into_bytes()).collect();
        for key in &keys {
            bench.run(&[b"SET", key, b"1"]);
        }
        let mut found = BTreeSet::new();
        let mut cursor = b"0".to_vec();
        for round in 0.. {
            let (Value::Array(reply), _) =
                value::parse(&bench.run(&[b"SCAN", &cursor, b"COUNT", b"7"])).unwrap().unwrap()
            else {
                panic!("SCAN replies with an array");
            };
            let Value::Array(names) = &reply[1] else { panic!("with an array of keys") };
            found.extend(names.iter().map(|name| name.as_bytes().expect("a key").to_vec()));
            cursor = reply[0].as_bytes().expect("a cursor").to_vec();
            if cursor == b"0" {
                break;
            }
            // Tables grow and shrink meanwhile.
            bench.run(&[b"SET", format!("other{round}").as_bytes(), b"1"]);
            bench.run(&[b"DEL", format!("other{}", round / 2).as_bytes()]);
            assert!(round < 4_000, "ends");
        }
        assert!(keys.is_subset(&found));
    }
}

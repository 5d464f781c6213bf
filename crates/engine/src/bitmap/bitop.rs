//! BITOP.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::{ExpiryChange, ValueRef};
use crate::notify::NotifyClasses;
use crate::string::look_up::check_string;
use fastness_resp::Args;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// BITOP
pub const BITOP: Command = Command::data(
    "bitop",
    "AND|OR|XOR|NOT <destination> <key> [<key> ...]",
    "Combines string values bit by bit and stores the result; shorter strings count as followed by zeroes.",
    bitop,
);

/// Bytes of the result that are made at once. They stay in the processor's cache while the sources are combined.
const BLOCK: usize = 16 * 1024;

/// What becomes of the bits at the same place of all strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BitOperation {
    And,
    Or,
    Xor,
    Not,
}

impl BitOperation {
    fn named(name: &[u8]) -> Option<BitOperation> {
        let all = [
            ("and", BitOperation::And),
            ("or", BitOperation::Or),
            ("xor", BitOperation::Xor),
            ("not", BitOperation::Not),
        ];
        all.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(_, operation)| *operation)
    }

    /// The result, which is as long as the longest of the strings.
    fn combine(self, strings: &[Cow<'_, [u8]>]) -> Vec<u8> {
        let len = strings.iter().map(|string| string.len()).max().unwrap_or(0);
        let mut result = Vec::with_capacity(len);
        while result.len() < len {
            let start = result.len();
            let end = len.min(start + BLOCK);
            let mut parts = strings.iter().map(|string| &string[start.min(string.len())..end.min(string.len())]);
            result.extend_from_slice(parts.next().unwrap_or_default());
            result.resize(end, 0);
            self.combine_block(&mut result[start..], parts);
        }
        result
    }

    /// Combines a block with the same part of other strings, which may be shorter.
    fn combine_block<'s>(self, block: &mut [u8], others: impl Iterator<Item = &'s [u8]>) {
        match self {
            BitOperation::And => others.for_each(|other| {
                block[other.len()..].fill(0);
                zip(block, other, |a, b| a & b);
            }),
            BitOperation::Or => others.for_each(|other| zip(block, other, |a, b| a | b)),
            BitOperation::Xor => others.for_each(|other| zip(block, other, |a, b| a ^ b)),
            BitOperation::Not => block.iter_mut().for_each(|byte| *byte = !*byte),
        }
    }
}

/// Combines the start of a block with another string, in words.
#[inline]
fn zip(block: &mut [u8], other: &[u8], with: impl Fn(u64, u64) -> u64) {
    let (words, rest) = block[..other.len()].as_chunks_mut();
    let (other_words, other_rest) = other.as_chunks();
    for (word, other) in words.iter_mut().zip(other_words) {
        *word = with(u64::from_ne_bytes(*word), u64::from_ne_bytes(*other)).to_ne_bytes();
    }
    for (byte, other) in rest.iter_mut().zip(other_rest) {
        *byte = with(u64::from(*byte), u64::from(*other)) as u8;
    }
}

fn bitop(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let operation = BitOperation::named(args.get(1)).ok_or(CommandError::Syntax)?;
    let sources = args.skip(3);
    if operation == BitOperation::Not && sources.len() != 1 {
        return Err(CommandError::Fixed("ERR BITOP NOT must be called with a single source key."));
    }
    for source in sources.iter() {
        let source = engine.key(source);
        engine.read(&source, env).map_or(Ok(()), check_string)?;
    }
    // A key that is named often is combined no more often than the result needs: XOR cancels pairs.
    let mut named: BTreeMap<&[u8], usize> = BTreeMap::new();
    sources.iter().for_each(|source| *named.entry(source).or_default() += 1);
    // The sources were looked up above, which removed expired ones.
    let mut strings: Vec<Cow<'_, [u8]>> = Vec::with_capacity(named.len());
    for (source, times) in named {
        let needed = if operation == BitOperation::Xor { 2 - times % 2 } else { 1 };
        (0..needed).for_each(|_| strings.push(string(engine, source)));
    }
    let result = operation.combine(&strings);
    let (destination, len) = (engine.key(args.get(2)), result.len());
    if result.is_empty() {
        if engine.unlink(&destination, env) {
            engine.notify(NotifyClasses::GENERIC, "del", &destination);
        }
    } else {
        engine.expire_replaced(&destination, env);
        engine.set_owned(&destination, result, ExpiryChange::Drop, env);
        engine.notify(NotifyClasses::STRING, "set", &destination);
    }
    env.reply.integer(len as i64);
    Ok(())
}

/// The bytes of a string; none if the key is missing. Those of a long one are not copied.
fn string<'e>(engine: &'e Engine, key: &[u8]) -> Cow<'e, [u8]> {
    match engine.keyspace().find(&engine.key(key)).map(|entry| entry.value()) {
        Some(ValueRef::Int(number)) => Cow::Owned(itoa::Buffer::new().format(number).as_bytes().to_vec()),
        value => Cow::Borrowed(value.and_then(ValueRef::bytes).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn combines() {
        check("MSET {}a abc {}b ABCD => +OK | BITOP AND {}d {}a {}b => :4 | GETRANGE {}d 0 2 => $3 ABC");
        check("MSET {}a abc {}b ABCD => +OK | BITOP OR {}d {}a {}b => :4 | GET {}d => $4 abcD");
        check("MSET {}a abcde {}b ABCDE => +OK | BITOP XOR {}d {}a {}b {}a => :5 | GET {}d => $5 ABCDE");
        check("SET {}a abc => +OK | BITOP not {}d {}a => :3 | BITOP Not {}d {}d => :3 | GET {}d => $3 abc");
        check("MSET {}a 12 {}b 5 => +OK | BITOP OR {}d {}a {}b => :2 | GET {}d => $2 52 | BITOP OR {}d {}b => :1");
    }

    #[test]
    fn blocks_are_combined_one_by_one() {
        let mut bench = Bench::new();
        let (long, short) = (vec![b'a'; 40_001], vec![b'B'; 20_003]);
        bench.run(&[b"mset", b"{}a", &long, b"{}b", &short]);
        bench.script("BITOP OR {}d {}a {}b {}none => :40001 | BITCOUNT {}d => :140006 | BITCOUNT {}d 20003 => :59994");
        bench.script("BITOP AND {}d {}a {}b => :40001 | BITCOUNT {}d => :20003 | BITPOS {}d 1 20003 => :-1");
        bench.script("BITOP NOT {}d {}a => :40001 | BITOP XOR {}d {}a {}d => :40001 | BITCOUNT {}d => :320008");
    }

    #[test]
    fn an_empty_result_removes_the_destination() {
        check("RPUSH {}d a => :1 | BITOP AND {}d {}a {}b => :0 | EXISTS {}d => :0 | BITOP OR {}d {}a => :0");
        check("SET {}a a PX 1 => +OK | SET {}d a => +OK | wait 2 | BITOP AND {}d {}a => :0 | EXISTS {}d => :0");
    }

    #[test]
    fn replaces_the_destination() {
        check("RPUSH {}d a => :1 | SET {}a b => +OK | BITOP OR {}d {}a => :1 | GET {}d => $1 b");
        check("SET {}d a EX 9 => +OK | BITOP NOT {}d {}d => :1 | TTL {}d => :-1");
    }

    #[test]
    fn refusals() {
        check("BITOP DIFF {}d {}a => -ERR syntax error | BITOP NAND {}d {}a => -ERR syntax error");
        check("BITOP NOT {}d {}a {}b => -ERR BITOP NOT must be called with a single source key.");
        check(
            "RPUSH {}l a => :1 | MSET {}d x {}a a => +OK | \
             BITOP AND {}d {}a {}l => -WRONGTYPE Operation against a key holding the wrong kind of value | \
             GET {}d => $1 x",
        );
    }
}

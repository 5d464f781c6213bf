//! HRANDFIELD: one random field, or several; distinct, or drawn independently of each other.

use super::look_up::read;
use super::{Hash, Pair};
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::random::Random;
use fastness_resp::{Args, ReplyBuf};
use fastness_types::limits::ENTRY_BYTES_MAX;
use std::collections::BTreeSet;

/// HRANDFIELD key \[count \[WITHVALUES]]
pub const HRANDFIELD: Command = Command::data(
    "hrandfield",
    "<key> [<count> [WITHVALUES]]",
    "Returns one or more random fields of a hash.",
    hrandfield,
);

/// Longest reply of independently drawn fields, bytes; their count has no other bound.
const REPLY_BYTES_MAX: usize = ENTRY_BYTES_MAX;
/// Drawing is faster than a walk through the whole hash while less than one field in this many is requested.
const DRAW_MAX: usize = 3;

fn hrandfield(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let options = args.try_get(2).map(|count| parse(count, args.skip(3))).transpose()?;
    let key = engine.first_key(args, env);
    let hash = read(engine, &key, env)?;
    let Some((count, with_values)) = options else {
        match hash.and_then(|hash| hash.random(env.random)) {
            Some((field, _)) => env.reply.bulk(field),
            None => env.reply.null(),
        }
        return Ok(());
    };
    let Some(hash) = hash else {
        env.reply.array(0);
        return Ok(());
    };
    match usize::try_from(count) {
        Ok(count) => {
            let pairs = different(hash, count, env.random);
            write_head(pairs.len(), with_values, env.reply);
            pairs.into_iter().for_each(|pair| write(pair, with_values, env.reply));
            Ok(())
        }
        Err(_) => any(hash, count.unsigned_abs(), with_values, env),
    }
}

/// The count, and whether values are requested.
fn parse(count: &[u8], options: Args<'_>) -> Result<(i64, bool), CommandError> {
    const RANGE: &str = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
    let count = integer(count)?;
    if count == i64::MIN {
        return Err(CommandError::Fixed(RANGE));
    }
    let Some(option) = options.try_get(0) else { return Ok((count, false)) };
    if options.len() > 1 || !option.eq_ignore_ascii_case(b"withvalues") {
        return Err(CommandError::Syntax);
    }
    if count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::Fixed("ERR value is out of range"));
    }
    Ok((count, true))
}

fn write_head(count: usize, with_values: bool, reply: &mut ReplyBuf) {
    let is_interleaved = with_values && reply.protocol == fastness_resp::Protocol::Resp2;
    reply.array(if is_interleaved { 2 * count } else { count });
}

fn write((field, value): Pair<'_>, with_values: bool, reply: &mut ReplyBuf) {
    if with_values && reply.protocol == fastness_resp::Protocol::Resp3 {
        reply.array(2);
    }
    reply.bulk(field);
    if with_values {
        reply.bulk(value);
    }
}

/// Replies with independently drawn fields.
fn any(hash: Hash<'_>, count: u64, with_values: bool, env: &mut Env<'_>) -> Result<(), CommandError> {
    let start = env.reply.len();
    let is_huge = CommandError::Fixed("ERR the reply would be too large");
    let count = usize::try_from(count).map_err(|_| is_huge.clone())?;
    write_head(count, with_values, env.reply);
    for _ in 0..count {
        let Some(pair) = hash.random(env.random) else { break };
        write(pair, with_values, env.reply);
        if env.reply.len() - start > REPLY_BYTES_MAX {
            return Err(is_huge);
        }
    }
    Ok(())
}

/// Up to `count` distinct fields.
fn different<'h>(hash: Hash<'h>, count: usize, random: &mut dyn Random) -> Vec<Pair<'h>> {
    let len = hash.len();
    if count >= len {
        return hash.iter().collect();
    }
    if count < len / DRAW_MAX {
        return drawn(hash, count, random);
    }
    // One walk: each field is taken with the probability `wanted / left`, so that every sample is equally likely.
    let (mut wanted, mut left) = (count as u64, len as u64);
    let is_taken = |_: &Pair<'h>| {
        let taken = random.below(left) < wanted;
        left -= 1;
        wanted -= u64::from(taken);
        taken
    };
    hash.iter().take(len).filter(is_taken).collect()
}

fn drawn<'h>(hash: Hash<'h>, count: usize, random: &mut dyn Random) -> Vec<Pair<'h>> {
    let mut seen = BTreeSet::new();
    let mut pairs = Vec::new();
    while pairs.len() < count {
        let Some(pair) = hash.random(random) else { break };
        if seen.insert(pair.0) {
            pairs.push(pair);
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::{Protocol, Value, value};
    use std::collections::BTreeSet;

    fn fields(reply: &[u8]) -> Vec<Vec<u8>> {
        let (Value::Array(fields), _) = value::parse(reply).unwrap().unwrap() else { panic!("an array") };
        fields.iter().map(|field| field.as_bytes().unwrap().to_vec()).collect()
    }

    #[test]
    fn returns_the_requested_count() {
        let mut bench = Bench::new();
        for i in 0..700 {
            bench.run(&[b"HSET", b"h", format!("f{i}").as_bytes(), b"v"]);
        }
        for count in [0usize, 1, 5, 200, 300, 699, 700, 9_999] {
            let drawn = fields(&bench.run(&[b"HRANDFIELD", b"h", count.to_string().as_bytes()]));
            assert_eq!(drawn.len(), count.min(700));
            assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len(), "all different");
        }
        let anew = fields(&bench.run(&[b"HRANDFIELD", b"h", b"-2000"]));
        assert_eq!(anew.len(), 2_000);
        assert!((600..700).contains(&anew.iter().collect::<BTreeSet<_>>().len()), "about 660 of 700");
        let with_values = fields(&bench.run(&[b"HRANDFIELD", b"h", b"-3", b"WITHVALUES"]));
        assert_eq!((with_values.len(), &with_values[1][..]), (6, &b"v"[..]));
    }

    #[test]
    fn shapes() {
        check("HRANDFIELD h => $-1 | HRANDFIELD h 2 => *0 | HSET h a 1 => :1 | HRANDFIELD h => $1 a");
        check("HSET h a 1 => :1 | HRANDFIELD h 2 WITHVALUES => *2 $1 a $1 1 | HRANDFIELD h 0 => *0");
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script("HSET h a 1 => :1 | HRANDFIELD h -2 WITHVALUES => *2 *2 $1 a $1 1 *2 $1 a $1 1");
    }

    #[test]
    fn refusals() {
        check(
            "HRANDFIELD h x => -ERR value is not an integer or out of range | HRANDFIELD h 1 FOO => -ERR syntax error",
        );
        check("HRANDFIELD h 9223372036854775807 WITHVALUES => -ERR value is out of range");
        check(
            "HRANDFIELD h -9223372036854775808 => -ERR value is out of range, \
             value must between -9223372036854775807 and 9223372036854775807",
        );
        check("HSET h a 1 => :1 | HRANDFIELD h -9223372036854775807 => -ERR the reply would be too large");
    }
}

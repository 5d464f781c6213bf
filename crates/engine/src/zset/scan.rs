//! ZSCAN: iterates over the members of a sorted set; a small sorted set is returned at once.

use super::look_up::read;
use super::score::scanned;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::generic::scan::{Scans, parse_cursor, reply_parts};
use fastness_resp::{Args, double};

/// ZSCAN key cursor \[MATCH pattern] \[COUNT count] \[NOSCORES]
pub const ZSCAN: Command = Command::data(
    "zscan",
    "<key> <cursor> [MATCH <pattern>] [COUNT <count>] [NOSCORES]",
    "Iterates over the members and scores of a sorted set.",
    zscan,
);

fn zscan(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.get(2)).ok_or(CommandError::Fixed("ERR invalid cursor"))?;
    let key = engine.first_key(args, env);
    let set = read(engine, &key, env)?;
    reply_parts(set, (args.skip(3), Scans::ScoredMembers), env.reply, |set, filter, found| {
        let is_packed = set.is_packed();
        set.scan(cursor, filter.count, |(name, score)| {
            if !filter.matches(name) {
                return;
            }
            found.push(name.to_vec());
            if filter.no_values {
                return;
            }
            // As in Valkey, which writes the scores of both forms in different ways.
            if is_packed {
                let mut text = Vec::new();
                double::write(score, &mut text);
                found.push(text);
            } else {
                found.push(scanned(score));
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::{Value, value};
    use std::collections::BTreeSet;

    #[test]
    fn options() {
        check("ZSCAN z 0 => *2 $1 0 *0 | ZADD z 1.5 ab 2 b => :2 | ZSCAN z 0 MATCH a* => *2 $1 0 *2 $2 ab $3 1.5");
        check("ZADD z 1 ab 2 b => :2 | ZSCAN z 7 COUNT 1 NOSCORES => *2 $1 0 *2 $2 ab $1 b");
        check(
            "ZSCAN z x => -ERR invalid cursor | ZSCAN z 0 FOO => *2 $1 0 *0 | ZADD z 1 a => :1 | ZSCAN z 0 FOO => -ERR syntax error",
        );
        check(
            "ZADD z 1 a => :1 | ZSCAN z 0 TYPE zset => -ERR syntax error | ZSCAN z 0 NOVALUES => -ERR NOVALUES option can only be used in HSCAN",
        );
        let long = "x".repeat(65);
        check(&format!("ZADD z 0.1 {long} => :1 | ZSCAN z 0 => *2 $1 0 *2 $65 {long} $19 0.10000000000000001"));
    }

    #[test]
    fn returns_every_member_that_stays() {
        let mut bench = Bench::new();
        let names: BTreeSet<Vec<u8>> = (0..1_000).map(|i| format!("m{i}").into_bytes()).collect();
        for name in &names {
            bench.run(&[b"ZADD", b"z", b"1", name]);
        }
        let mut found = BTreeSet::new();
        let mut cursor = b"0".to_vec();
        for round in 0..2_000 {
            let reply = bench.run(&[b"ZSCAN", b"z", &cursor, b"COUNT", b"7", b"NOSCORES"]);
            let (Value::Array(reply), _) = value::parse(&reply).unwrap().unwrap() else { panic!("an array") };
            let Value::Array(some) = &reply[1] else { panic!("with an array of members") };
            assert!(some.len() < 60, "some at a time");
            found.extend(some.iter().map(|name| name.as_bytes().unwrap().to_vec()));
            cursor = reply[0].as_bytes().unwrap().to_vec();
            if cursor == b"0" {
                break;
            }
            // The table grows and shrinks meanwhile.
            bench.run(&[b"ZADD", b"z", b"2", format!("other{round}").as_bytes()]);
            bench.run(&[b"ZREM", b"z", format!("other{}", round / 2).as_bytes()]);
        }
        assert!(cursor == b"0" && names.is_subset(&found));
    }
}

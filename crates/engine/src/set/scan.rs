//! SSCAN: iterates over the members of a set; a small set is returned at once.

use super::look_up::read;
use super::member::SetMember;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::generic::scan::{Scans, parse_cursor, reply_parts};
use fastness_resp::Args;

/// SSCAN key cursor \[MATCH pattern] \[COUNT count]
pub const SSCAN: Command = Command::data(
    "sscan",
    "<key> <cursor> [MATCH <pattern>] [COUNT <count>]",
    "Iterates over the members of a set.",
    sscan,
);

fn sscan(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.get(2)).ok_or(CommandError::Fixed("ERR invalid cursor"))?;
    let key = engine.first_key(args, env);
    let set = read(engine, &key, env)?;
    reply_parts(set, (args.skip(3), Scans::Members), env.reply, |set, filter, found| {
        let mut buffer = itoa::Buffer::new();
        set.scan(cursor, filter.count, |member: SetMember<'_>| {
            let text = member.text(&mut buffer);
            if filter.matches(text) {
                found.push(text.to_vec());
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
        check("SSCAN s 0 => *2 $1 0 *0 | SADD s ab b => :2 | SSCAN s 0 MATCH a* => *2 $1 0 *1 $2 ab");
        check(
            "SADD s 12 2 => :2 | SSCAN s 7 COUNT 1 => *2 $1 0 *2 $1 2 $2 12 | SSCAN s 0 MATCH 1? => *2 $1 0 *1 $2 12",
        );
        check(
            "SSCAN s x => -ERR invalid cursor | SSCAN s 0 FOO => *2 $1 0 *0 | SADD s a => :1 | SSCAN s 0 FOO => -ERR syntax error",
        );
        check("SADD s a => :1 | SSCAN s 0 TYPE set => -ERR syntax error | SSCAN s 0 COUNT 0 => -ERR syntax error");
        check("SADD s a => :1 | SSCAN s 0 NOVALUES => -ERR NOVALUES option can only be used in HSCAN");
        check("SADD s a => :1 | SSCAN s 0 NOSCORES => -ERR NOSCORES option can only be used in ZSCAN");
        check("SET t 1 => +OK | SSCAN t 0 => -WRONGTYPE Operation against a key holding the wrong kind of value");
    }

    #[test]
    fn returns_every_member_that_stays() {
        let mut bench = Bench::new();
        let members: BTreeSet<Vec<u8>> = (0..1_000).map(|i| format!("m{i}").into_bytes()).collect();
        for member in &members {
            bench.run(&[b"SADD", b"s", member]);
        }
        let mut found = BTreeSet::new();
        let mut cursor = b"0".to_vec();
        for round in 0..2_000 {
            let reply = bench.run(&[b"SSCAN", b"s", &cursor, b"COUNT", b"7"]);
            let (Value::Array(reply), _) = value::parse(&reply).unwrap().unwrap() else { panic!("an array") };
            let Value::Array(names) = &reply[1] else { panic!("with an array of members") };
            assert!(names.len() < 60, "some at a time");
            found.extend(names.iter().map(|name| name.as_bytes().unwrap().to_vec()));
            cursor = reply[0].as_bytes().unwrap().to_vec();
            if cursor == b"0" {
                break;
            }
            // The table grows and shrinks meanwhile.
            bench.run(&[b"SADD", b"s", format!("other{round}").as_bytes()]);
            bench.run(&[b"SREM", b"s", format!("other{}", round / 2).as_bytes()]);
        }
        assert!(cursor == b"0" && members.is_subset(&found));
    }
}

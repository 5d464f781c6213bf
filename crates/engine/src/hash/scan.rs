//! HSCAN: iterates over the fields of a hash; a small hash is returned at once.

use super::look_up::read;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::generic::scan::{Scans, parse_cursor, reply_parts};
use fastness_resp::Args;

/// HSCAN key cursor \[MATCH pattern] \[COUNT count] \[NOVALUES]
pub const HSCAN: Command = Command::data(
    "hscan",
    "<key> <cursor> [MATCH <pattern>] [COUNT <count>] [NOVALUES]",
    "Iterates over the fields and values of a hash.",
    hscan,
);

fn hscan(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let cursor = parse_cursor(args.get(2)).ok_or(CommandError::Fixed("ERR invalid cursor"))?;
    let key = engine.first_key(args, env);
    let hash = read(engine, &key, env)?;
    reply_parts(hash, (args.skip(3), Scans::Fields), env.reply, |hash, filter, found| {
        hash.scan(cursor, filter.count, |(field, value)| {
            if filter.matches(field) {
                found.push(field.to_vec());
                if !filter.no_values {
                    found.push(value.to_vec());
                }
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
        check("HSCAN h 0 => *2 $1 0 *0 | HSET h ab 1 b 2 => :2 | HSCAN h 0 MATCH a* => *2 $1 0 *2 $2 ab $1 1");
        check("HSET h ab 1 b 2 => :2 | HSCAN h 7 COUNT 1 NOVALUES => *2 $1 0 *2 $2 ab $1 b");
        check(
            "HSCAN h x => -ERR invalid cursor | HSCAN h 0 FOO => *2 $1 0 *0 | HSET h a 1 => :1 | HSCAN h 0 FOO => -ERR syntax error",
        );
        check("HSET h a 1 => :1 | HSCAN h 0 TYPE hash => -ERR syntax error | HSCAN h 0 COUNT 0 => -ERR syntax error");
        check("HSET h a 1 => :1 | HSCAN h 0 NOSCORES => -ERR NOSCORES option can only be used in ZSCAN");
        check("SCAN 0 NOVALUES => -ERR NOVALUES option can only be used in HSCAN");
    }

    #[test]
    fn returns_every_field_that_stays() {
        let mut bench = Bench::new();
        let fields: BTreeSet<Vec<u8>> = (0..1_000).map(|i| format!("f{i}").into_bytes()).collect();
        for field in &fields {
            bench.run(&[b"HSET", b"h", field, b"1"]);
        }
        let mut found = BTreeSet::new();
        let mut cursor = b"0".to_vec();
        for round in 0..2_000 {
            let reply = bench.run(&[b"HSCAN", b"h", &cursor, b"COUNT", b"7", b"NOVALUES"]);
            let (Value::Array(reply), _) = value::parse(&reply).unwrap().unwrap() else { panic!("an array") };
            let Value::Array(names) = &reply[1] else { panic!("with an array of fields") };
            assert!(names.len() < 60, "some at a time");
            found.extend(names.iter().map(|name| name.as_bytes().unwrap().to_vec()));
            cursor = reply[0].as_bytes().unwrap().to_vec();
            if cursor == b"0" {
                break;
            }
            // The table grows and shrinks meanwhile.
            bench.run(&[b"HSET", b"h", format!("other{round}").as_bytes(), b"1"]);
            bench.run(&[b"HDEL", b"h", format!("other{}", round / 2).as_bytes()]);
        }
        assert!(cursor == b"0" && fields.is_subset(&found));
    }
}

//! ZRANDMEMBER: one random member, or several; distinct, or drawn independently of each other.

use super::look_up::{read, reply_member};
use super::members::Member;
use super::view::SortedSet;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::pairs;
use crate::random::Random;
use crate::sampling::{self, Sampled};
use fastness_resp::{Args, ReplyBuf};

/// ZRANDMEMBER key \[count \[WITHSCORES]]
pub const ZRANDMEMBER: Command = Command::data(
    "zrandmember",
    "<key> [<count> [WITHSCORES]]",
    "Returns one or more random members of a sorted set.",
    zrandmember,
);

fn zrandmember(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let requested = sampling::requested(args.skip(2), Some("withscores"))?;
    let key = engine.first_key(args, env);
    sampling::reply(read(engine, &key, env)?, requested, env)
}

impl<'a> Sampled for SortedSet<'a> {
    type Part = Member<'a>;
    type Name = &'a [u8];

    fn count(self) -> usize {
        self.len()
    }

    fn parts(self) -> impl Iterator<Item = Member<'a>> {
        self.unordered()
    }

    fn draw(self, random: &mut dyn Random) -> Option<Member<'a>> {
        self.random(random)
    }

    fn name((name, _): Member<'a>) -> &'a [u8] {
        name
    }

    fn reply_head(count: usize, in_full: bool, reply: &mut ReplyBuf) {
        pairs::reply_head(count, in_full, reply);
    }

    fn reply_part(member: Member<'a>, in_full: bool, reply: &mut ReplyBuf) {
        reply_member(member, in_full, reply);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::{Protocol, Value, value};
    use std::collections::BTreeSet;

    fn names(reply: &[u8]) -> Vec<Vec<u8>> {
        let (Value::Array(names), _) = value::parse(reply).unwrap().unwrap() else { panic!("an array") };
        names.iter().map(|name| name.as_bytes().unwrap().to_vec()).collect()
    }

    #[test]
    fn returns_the_requested_count() {
        for size in [100usize, 700] {
            let mut bench = Bench::new();
            for i in 0..size {
                bench.run(&[b"ZADD", b"z", b"1", format!("m{i}").as_bytes()]);
            }
            for count in [0, 1, 5, 30, 60, size - 1, size, 9_999] {
                let drawn = names(&bench.run(&[b"ZRANDMEMBER", b"z", count.to_string().as_bytes()]));
                assert_eq!(drawn.len(), count.min(size));
                assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len(), "all different");
            }
            let anew = names(&bench.run(&[b"ZRANDMEMBER", b"z", b"-2000"]));
            assert_eq!(anew.len(), 2_000);
            assert!(anew.iter().collect::<BTreeSet<_>>().len() > size * 8 / 10, "most of them");
        }
    }

    #[test]
    fn shapes() {
        check("ZRANDMEMBER z => $-1 | ZRANDMEMBER z 2 => *0 | ZADD z 1 a => :1 | ZRANDMEMBER z => $1 a");
        check("ZADD z 1 a => :1 | ZRANDMEMBER z 2 WITHSCORES => *2 $1 a $1 1 | ZRANDMEMBER z 0 => *0");
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script("ZADD z 1 a => :1 | ZRANDMEMBER z -2 WITHSCORES => *2 *2 $1 a ,1 *2 $1 a ,1");
    }

    #[test]
    fn refusals() {
        check(
            "ZRANDMEMBER z x => -ERR value is not an integer or out of range | ZRANDMEMBER z 1 FOO => -ERR syntax error",
        );
        check("ZRANDMEMBER z 9223372036854775807 WITHSCORES => -ERR value is out of range");
        check(
            "ZRANDMEMBER z -9223372036854775808 => -ERR value is out of range, \
             value must between -9223372036854775807 and 9223372036854775807",
        );
        check("ZADD z 1 a => :1 | ZRANDMEMBER z -9223372036854775807 => -ERR the reply would be too large");
    }
}

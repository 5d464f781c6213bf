//! HRANDFIELD: one random field, or several; distinct, or drawn independently of each other.

use super::look_up::read;
use super::{Hash, Pair};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::pairs;
use crate::random::Random;
use crate::sampling::{self, Sampled};
use fastness_resp::{Args, ReplyBuf};

/// HRANDFIELD key \[count \[WITHVALUES]]
pub const HRANDFIELD: Command = Command::data(
    "hrandfield",
    "<key> [<count> [WITHVALUES]]",
    "Returns one or more random fields of a hash.",
    hrandfield,
);

fn hrandfield(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let requested = sampling::requested(args.skip(2), Some("withvalues"))?;
    let key = engine.first_key(args, env);
    sampling::reply(read(engine, &key, env)?, requested, env)
}

impl<'a> Sampled for Hash<'a> {
    type Part = Pair<'a>;
    type Name = &'a [u8];

    fn count(self) -> usize {
        self.len()
    }

    fn parts(self) -> impl Iterator<Item = Pair<'a>> {
        self.iter()
    }

    fn draw(self, random: &mut dyn Random) -> Option<Pair<'a>> {
        self.random(random)
    }

    fn name((field, _): Pair<'a>) -> &'a [u8] {
        field
    }

    fn reply_head(count: usize, in_full: bool, reply: &mut ReplyBuf) {
        pairs::reply_head(count, in_full, reply);
    }

    fn reply_part((field, value): Pair<'a>, in_full: bool, reply: &mut ReplyBuf) {
        pairs::reply_pair(field, in_full.then_some(|reply: &mut ReplyBuf| reply.bulk(value)), reply);
    }
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

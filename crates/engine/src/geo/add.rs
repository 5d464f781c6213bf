//! GEOADD.

use super::arguments::position;
use super::geohash::score_of;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::zset::Member;
use crate::zset::add::{AddOptions, add};
use fastness_resp::Args;
use smallvec::SmallVec;

/// Arguments of one member: longitude, latitude and name.
const MEMBER_ARGS: usize = 3;

/// GEOADD key \[NX|XX] \[CH] longitude latitude member \[longitude latitude member ...]
pub const GEOADD: Command = Command::data(
    "geoadd",
    "<key> [NX|XX] [CH] <longitude> <latitude> <member> [<longitude> <latitude> <member> ...]",
    "Adds members with their positions to a geo set, or updates their positions.",
    geoadd,
);

fn geoadd(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (options, given) = parsed(args.skip(2));
    if given.is_empty() || given.len() % MEMBER_ARGS != 0 || (options.only_new && options.only_existing) {
        return Err(CommandError::Syntax);
    }
    let mut members: SmallVec<[Member<'_>; 4]> = SmallVec::with_capacity(given.len() / MEMBER_ARGS);
    for at in (0..given.len()).step_by(MEMBER_ARGS) {
        members.push((given.get(at + 2), score_of(position(given.skip(at))?)));
    }
    add(engine, args, &members, options, env)
}

/// The options, and the arguments after them.
fn parsed(args: Args<'_>) -> (AddOptions, Args<'_>) {
    let mut options = AddOptions::default();
    let mut at = 0;
    while let Some(option) = args.try_get(at) {
        match option.to_ascii_lowercase().as_slice() {
            b"nx" => options.only_new = true,
            b"xx" => options.only_existing = true,
            b"ch" => options.counts_changed = true,
            _ => break,
        }
        at += 1;
    }
    (options, args.skip(at))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn positions_become_scores() {
        check(
            "GEOADD g 13.361389 38.115556 palermo 15.087269 37.502669 catania => :2 | ZSCORE g palermo => $16 \
             3479099956230698 | TYPE g => +zset | OBJECT ENCODING g => $8 listpack",
        );
        check(
            "GEOADD w 180 85.05112878 ne -180 -85.05112878 sw 180 -85.05112878 se -180 85.05112878 nw => :4 | ZRANGE w \
             0 -1 WITHSCORES => *8 $2 sw $1 0 $2 nw $16 4503599627370496 $2 se $16 9007199254740992 $2 ne $17 \
             13510798882111488",
        );
    }

    #[test]
    fn options() {
        check("GEOADD g NX 1 1 a => :1 | GEOADD g nx ch 2 2 a 3 3 b => :1 | GEOADD g XX CH 2 2 a 4 4 c => :1");
        check("GEOADD g 1 1 a => :1 | GEOADD g 2 2 a => :0 | GEOADD g CH 2 2 a => :0 | GEOADD g CH CH 3 3 a => :1");
        let long = "m".repeat(65);
        check(&format!("GEOADD g 1 1 {long} => :1 | OBJECT ENCODING g => $8 skiplist"));
    }

    #[test]
    fn refusals() {
        for wrong in ["g NX XX 1 1 a", "g NX NX CH", "g 1 1 a 2", "g CH 1 1 a 2 2"] {
            check(&format!("GEOADD {wrong} => -ERR syntax error"));
        }
        for (pair, shown) in [
            ("181 0", "181.000000,0.000000"),
            ("-0.0 -85.06", "-0.000000,-85.060000"),
            ("inf -inf", "inf,-inf"),
            ("1e9 1", "1000000000.000000,1.000000"),
        ] {
            check(&format!("GEOADD g 1 1 a {pair} b => -ERR invalid longitude,latitude pair {shown} | EXISTS g => :0"));
        }
        check(
            "GEOADD g x 99 a => -ERR value is not a valid float | GEOADD g 1 nan a => -ERR value is not a valid float",
        );
        check(
            "SET s 1 => +OK | GEOADD s 1 99 a => -ERR invalid longitude,latitude pair 1.000000,99.000000 | GEOADD s 1 \
             1 a => -WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }

    #[test]
    fn nothing_is_staged_for_the_same_position() {
        let mut bench = Bench::new();
        bench.script("GEOADD g 1 1 a => :1");
        bench.effects.clear();
        bench.script("GEOADD g CH 1 1 a => :0 | GEOADD g XX 1 1 b => :0");
        assert!(bench.effects.is_empty());
    }
}

//! GEODIST, GEOHASH, GEOPOS.

use super::arguments::unit;
use super::distance::{Unit, between};
use super::geohash::{position_of, text_of};
use super::reply::{reply_distance, reply_position};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::zset::look_up::read;
use fastness_resp::{Args, ReplyBuf};

/// GEODIST key member1 member2 \[unit]
pub const GEODIST: Command = Command::data(
    "geodist",
    "<key> <member1> <member2> [M|KM|FT|MI]",
    "Returns the distance between two members of a geo set.",
    geodist,
);
/// GEOHASH key \[member ...]
pub const GEOHASH: Command = Command::data(
    "geohash",
    "<key> [<member> ...]",
    "Returns the positions of members of a geo set as geohash texts.",
    |engine, args, env| {
        each_score(engine, args, env, |score, reply| match score {
            Some(score) => reply.bulk(text_of(position_of(score))),
            None => reply.null(),
        })
    },
);
/// GEOPOS key \[member ...]
pub const GEOPOS: Command = Command::data(
    "geopos",
    "<key> [<member> ...]",
    "Returns the longitudes and latitudes of members of a geo set.",
    |engine, args, env| {
        each_score(engine, args, env, |score, reply| match score {
            Some(score) => reply_position(position_of(score), reply),
            None => reply.null_array(),
        })
    },
);

fn geodist(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let unit = match args.len() {
        4 => Unit::METRE,
        5 => unit(args.get(4))?,
        _ => return Err(CommandError::Syntax),
    };
    let key = engine.first_key(args, env);
    let set = read(engine, &key, env)?;
    let position = |name| set.and_then(|set| set.score(name)).map(position_of);
    match (position(args.get(2)), position(args.get(3))) {
        (Some(one), Some(other)) => reply_distance(between(one, other) / unit.metres, env.reply),
        _ => env.reply.null(),
    }
    Ok(())
}

/// Replies for each named member with what is made of its score.
fn each_score(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    write: impl Fn(Option<f64>, &mut ReplyBuf),
) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let set = read(engine, &key, env)?;
    let names = args.skip(2);
    env.reply.array(names.len());
    names.iter().for_each(|name| write(set.and_then(|set| set.score(name)), env.reply));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};
    use fastness_resp::Protocol;

    const SICILY: &str = "GEOADD g 13.361389 38.115556 palermo 15.087269 37.502669 catania => :2";

    #[test]
    fn distances() {
        check(&format!(
            "{SICILY} | GEODIST g palermo catania => $11 166274.1516 | GEODIST g palermo catania km => $8 166.2742 | \
             GEODIST g palermo catania Mi => $8 103.3182 | GEODIST g palermo catania ft => $11 545518.8700"
        ));
        check(&format!("{SICILY} | GEODIST g palermo palermo => $6 0.0000 | GEODIST g palermo nosuch => $-1"));
        check("GEODIST none a b => $-1 | GEODIST none a b km m => -ERR syntax error");
        check(
            "SET s 1 => +OK | GEODIST s a b x => -ERR unsupported unit provided. please use M, KM, FT, MI | GEODIST s \
             a b => -WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }

    #[test]
    fn texts() {
        check(&format!("{SICILY} | GEOHASH g palermo nosuch catania => *3 $11 sqc8b49rny0 $-1 $11 sqdtr74hyu0"));
        check("GEOHASH none a => *1 $-1 | GEOHASH none => *0");
        check(
            "GEOADD w 180 85.05112878 ne -180 -85.05112878 sw => :2 | GEOHASH w ne sw => *2 $11 bp05b5048p0 $11 \
             00bh0hbj200",
        );
    }

    #[test]
    fn positions() {
        check(&format!(
            "{SICILY} | GEOPOS g palermo nosuch catania => *3 *2 $20 13.36138933897018433 $20 38.11555639549629859 *-1 \
             *2 $20 15.08726745843887329 $20 37.50266842333162032"
        ));
        check("GEOADD w 180 85.05112878 ne => :1 | GEOPOS w ne => *1 *2 $3 180 $19 85.0511287799999991");
        check("GEOPOS none a => *1 *-1 | GEOPOS none => *0");
        check("ZADD z -5 a inf b => :2 | GEOPOS z a => *1 *2 $3 180 $19 85.0511287799999991");
        let mut bench = Bench::new();
        bench.protocol = Protocol::Resp3;
        bench.script(&format!(
            "{SICILY} | GEOPOS g palermo nosuch => *2 *2 ,13.36138933897018433 ,38.11555639549629859 _ | GEODIST g \
             palermo catania => $11 166274.1516 | GEODIST g palermo nosuch => _"
        ));
    }

    #[test]
    fn other_types_are_refused() {
        for command in ["GEOHASH s", "GEOPOS s a"] {
            check(&format!(
                "SET s 1 => +OK | {command} => -WRONGTYPE Operation against a key holding the wrong kind of value"
            ));
        }
    }
}

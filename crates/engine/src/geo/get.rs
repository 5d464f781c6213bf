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

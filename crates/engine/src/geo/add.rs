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

//! MSETEX.

use super::options::{Allowed, Condition, Options};
use super::set::store;
use crate::command::Command;
use crate::engine::Engine;
use crate::error::CommandError;
use crate::execute::Env;
use crate::value::number;
use fastness_resp::Args;

/// MSETEX
pub const MSETEX: Command = Command::data(
    "msetex",
    "<numkeys> <key> <value> [<key> <value> ...] [NX|XX] \
     [EX <seconds>|PX <milliseconds>|EXAT <unix-time-seconds>|PXAT <unix-time-milliseconds>|KEEPTTL]",
    "Atomically sets the string values of one or more keys, with one expiration time for all.",
    msetex,
);

/// The pairs, and the options behind them.
fn split<'a>(args: Args<'a>) -> Result<(Args<'a>, Args<'a>), CommandError> {
    let count = number::parse_int(args.get(1)).and_then(|count| i32::try_from(count).ok()).filter(|count| *count > 0);
    let count = count.ok_or(CommandError::Fixed("ERR invalid numkeys value or out of range"))? as usize;
    let rest = args.skip(2);
    if count > rest.len() / 2 {
        return Err(CommandError::Syntax);
    }
    Ok((rest.take(2 * count), rest.skip(2 * count)))
}

fn msetex(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (pairs, options) = split(args)?;
    let options = Options::parse(options, Allowed::Msetex)?;
    let expiry = options.expiry.resolve(env.now, "msetex")?;
    let mut keys = (0..pairs.len()).step_by(2).map(|i| pairs.get(i));
    let mut is_there = |key| {
        let key = engine.key(key);
        engine.look_up(&key, env).is_some()
    };
    let holds = match options.condition {
        Some(Condition::IfMissing) => !keys.any(&mut is_there),
        Some(Condition::IfThere) => keys.all(&mut is_there),
        Some(Condition::IfEqual(_)) | None => true,
    };
    if holds {
        for i in (0..pairs.len()).step_by(2) {
            let key = engine.key(pairs.get(i));
            store(engine, &key, pairs.get(i + 1), expiry, env);
        }
    }
    env.reply.integer(i64::from(holds));
    Ok(())
}

//! PFCOUNT.

use super::estimate::Histogram;
use super::layout::CACHE;
use super::look_up;
use super::registers::Registers;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// PFCOUNT
pub const PFCOUNT: Command = Command::data(
    "pfcount",
    "<key> [<key> ...]",
    "Returns the estimated number of different elements in one or several HyperLogLogs.",
    |engine, args, env| if args.len() == 2 { of_one(engine, args, env) } else { of_union(engine, args.skip(1), env) },
);

fn of_one(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.first_key(args, env);
    let Some(hll) = look_up::read(engine, &key, env)? else {
        env.reply.integer(0);
        return Ok(());
    };
    let cardinality = match hll.cached() {
        Some(cached) => cached,
        None => {
            let computed = Histogram::of(hll)?.cardinality();
            // An estimate that is out of range looks like a stale cache, and is not written again.
            if env.may_write && hll.bytes[CACHE] != computed.to_le_bytes() {
                engine.set_range(&key, CACHE.start as u64, &computed.to_le_bytes(), env);
            }
            computed
        }
    };
    env.reply.integer(cardinality as i64);
    Ok(())
}

fn of_union(engine: &mut Engine, keys: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let mut union = Registers::default();
    for key in keys.iter() {
        let key = engine.key(key);
        if let Some(hll) = look_up::read(engine, &key, env)? {
            union.merge(hll)?;
        }
    }
    env.reply.integer(union.histogram().cardinality() as i64);
    Ok(())
}

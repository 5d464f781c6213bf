//! PFMERGE.

use super::change::Change;
use super::hash::Hashed;
use super::look_up;
use super::registers::Registers;
use super::value::HllBuf;
use super::view::Encoding;
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// PFMERGE
pub const PFMERGE: Command = Command::data(
    "pfmerge",
    "<destkey> [<sourcekey> [<sourcekey> ...]]",
    "Adds the elements of HyperLogLogs to another one, which is created if its key does not exist.",
    pfmerge,
);

fn pfmerge(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let mut union = Registers::default();
    let mut is_dense = false;
    for key in args.skip(1).iter() {
        let key = engine.key(key);
        if let Some(hll) = look_up::read(engine, &key, env)? {
            is_dense |= hll.encoding == Encoding::Dense;
            union.merge(hll)?;
        }
    }
    let (key, limits) = (engine.first_key(args, env), engine.keyspace().packed_limits());
    let (old, mut merged) = match look_up::look_up(engine, &key, env)? {
        Some(hll) => (hll.bytes, HllBuf::copy_of(hll, limits)?),
        None => (&[][..], HllBuf::empty(limits)),
    };
    if is_dense {
        merged.set_dense(&union);
    } else {
        // One after the other, as Valkey does, because the runs that this leaves are not the shortest ones.
        for (register, count) in union.counts().enumerate().filter(|(_, count)| *count > 0) {
            merged.raise(Hashed { register, count })?;
        }
    }
    merged.make_stale();
    Change::between(old, merged.into_bytes()).make(engine, &key, env);
    engine.notify(NotifyClasses::STRING, "pfadd", &key);
    env.reply.ok();
    Ok(())
}

//! PFDEBUG.

use super::change::Change;
use super::layout::{CORRUPTED, REGISTERS};
use super::registers::Registers;
use super::value::HllBuf;
use super::view::{Encoding, Hll};
use super::{look_up, sparse};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::PackedLimits;
use fastness_resp::Args;
use std::fmt::Write;

/// PFDEBUG
pub const PFDEBUG: Command = Command::data(
    "pfdebug",
    "<subcommand> <key>",
    "Shows how a HyperLogLog is stored (DECODE, ENCODING, GETREG), or makes it dense (TODENSE, GETREG).",
    pfdebug,
);

fn pfdebug(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (subcommand, key) = (args.get(1), args.get(2));
    let is = |name: &str| subcommand.eq_ignore_ascii_case(name.as_bytes());
    if is("simd") {
        return simd(key, env);
    }
    let key = engine.key(key);
    let Some(hll) = look_up::look_up(engine, &key, env)? else {
        return Err(CommandError::Fixed("ERR The specified key does not exist"));
    };
    if is("getreg") {
        let mut registers = Registers::default();
        registers.merge(hll)?;
        env.reply.array(REGISTERS);
        registers.counts().for_each(|count| env.reply.integer(count.into()));
        if let Some(change) = make_dense(hll)? {
            change.make(engine, &key, env);
        }
    } else if is("decode") {
        env.reply.bulk(decoded(hll)?);
    } else if is("encoding") {
        env.reply.simple(hll.encoding.name());
    } else if is("todense") {
        let change = make_dense(hll)?;
        env.reply.integer(change.is_some().into());
        if let Some(change) = change {
            change.make(engine, &key, env);
        }
    } else {
        return Err(CommandError::quoting("ERR Unknown PFDEBUG subcommand '", subcommand, "'"));
    }
    Ok(())
}

/// In Valkey, switches code for one kind of processor on or off, and reports whether it is on. No such code exists
/// here, so it is off, as in a Valkey on other processors. (Valkey 9.1 replies twice to an argument that is neither,
/// which leaves its client out of step; here the error is the only reply.)
fn simd(switch: &[u8], env: &mut Env<'_>) -> Result<(), CommandError> {
    if !switch.eq_ignore_ascii_case(b"on") && !switch.eq_ignore_ascii_case(b"off") {
        return Err(CommandError::Fixed("ERR Argument must be ON or OFF"));
    }
    env.reply.simple("disabled");
    Ok(())
}

/// The change that makes a sparse value dense; `None` for a dense one.
fn make_dense(hll: Hll<'_>) -> Result<Option<Change>, CommandError> {
    if hll.encoding == Encoding::Dense {
        return Ok(None);
    }
    let mut dense = HllBuf::copy_of(hll, PackedLimits::default())?;
    dense.make_dense()?;
    Ok(Some(Change::between(hll.bytes, dense.into_bytes())))
}

/// The runs of a sparse value as words, whether or not they add up.
fn decoded(hll: Hll<'_>) -> Result<String, CommandError> {
    if hll.encoding != Encoding::Sparse {
        return Err(CommandError::Fixed("ERR HLL encoding is not sparse"));
    }
    if hll.body().len() > sparse::BYTES_MAX {
        return Err(CORRUPTED);
    }
    let mut words = String::new();
    for (_, run) in sparse::runs(hll.body(), 0) {
        let separator = if words.is_empty() { "" } else { " " };
        let written = match (run.count, run.bytes) {
            (0, 1) => write!(words, "{separator}z:{}", run.registers),
            (0, _) => write!(words, "{separator}Z:{}", run.registers),
            (count, _) => write!(words, "{separator}v:{count},{}", run.registers),
        };
        debug_assert!(written.is_ok(), "a string takes every word");
    }
    Ok(words)
}

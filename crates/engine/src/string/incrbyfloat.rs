//! INCRBYFLOAT.

use super::long_double::LongDouble;
use super::text_of;
use crate::command::Command;
use crate::engine::Engine;
use crate::error::CommandError;
use crate::execute::Env;
use crate::keyspace::ExpiryChange;
use fastness_resp::Args;

/// INCRBYFLOAT
pub const INCRBYFLOAT: Command = Command::data(
    "incrbyfloat",
    "<key> <increment>",
    "Increment the floating point value of a key by a number. Uses 0 as initial value if the key doesn't exist.",
    incrbyfloat,
);

fn incrbyfloat(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let key = engine.key(args.get(1));
    let parse = |text: &[u8]| LongDouble::parse(text).ok_or(CommandError::NotAFloat);
    let old = match engine.look_up(&key, env) {
        Some(entry) => parse(text_of(entry, &mut itoa::Buffer::new())?)?,
        None => LongDouble::ZERO,
    };
    let sum = old.add(parse(args.get(2))?).ok_or(CommandError::NanOrInfinity)?;
    let text = sum.to_text();
    engine.set(&key, text.as_bytes(), ExpiryChange::Keep, env);
    env.reply.bulk(&text);
    Ok(())
}

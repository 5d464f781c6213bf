//! HINCRBY, HINCRBYFLOAT. The effect is the sum; the field keeps its deadline.

use super::look_up::{look_up, note_expired};
use crate::codec::long_double::LongDouble;
use crate::command::Command;
use crate::command::parse::integer;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::ExpiryChange;
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use fastness_resp::number;

/// HINCRBY key field increment
pub const HINCRBY: Command = Command::data(
    "hincrby",
    "<key> <field> <increment>",
    "Increments the integer value of a hash field; a missing field counts as 0.",
    hincrby,
);
/// HINCRBYFLOAT key field increment
pub const HINCRBYFLOAT: Command = Command::data(
    "hincrbyfloat",
    "<key> <field> <increment>",
    "Increments the floating point value of a hash field; a missing field counts as 0.",
    hincrbyfloat,
);

/// An existing field keeps its deadline; one past its deadline counts as missing.
fn expiry(old: Option<&[u8]>) -> ExpiryChange {
    if old.is_some() { ExpiryChange::Keep } else { ExpiryChange::Drop }
}

fn hincrby(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let by = integer(args.get(3))?;
    let (key, field) = (engine.first_key(args, env), args.get(2));
    let old = look_up(engine, &key, env)?.and_then(|hash| hash.get(field));
    let number =
        old.map_or(Some(0), number::parse_int).ok_or(CommandError::Fixed("ERR hash value is not an integer"))?;
    let sum = number.checked_add(by).ok_or(CommandError::Overflow)?;
    let expiry = expiry(old);
    note_expired(engine, &key, [field].into_iter(), env);
    engine.set_field(&key, field, itoa::Buffer::new().format(sum).as_bytes(), expiry, env);
    engine.notify(NotifyClasses::HASH, "hincrby", &key);
    env.reply.integer(sum);
    Ok(())
}

fn hincrbyfloat(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let by = LongDouble::parse(args.get(3)).ok_or(CommandError::NotAFloat)?;
    if by.is_infinite() {
        return Err(CommandError::Fixed("ERR value is NaN or Infinity"));
    }
    let (key, field) = (engine.first_key(args, env), args.get(2));
    let old = look_up(engine, &key, env)?.and_then(|hash| hash.get(field));
    let number = old.map_or(Some(LongDouble::ZERO), LongDouble::parse);
    let number = number.ok_or(CommandError::Fixed("ERR hash value is not a float"))?;
    let sum = number.add(by).ok_or(CommandError::NanOrInfinity)?.to_text();
    let expiry = expiry(old);
    note_expired(engine, &key, [field].into_iter(), env);
    engine.set_field(&key, field, sum.as_bytes(), expiry, env);
    engine.notify(NotifyClasses::HASH, "hincrbyfloat", &key);
    env.reply.bulk(&sum);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn adds() {
        check(
            "HINCRBY h a 5 => :5 | HINCRBY h a -7 => :-2 | HGET h a => $2 -2 | HSET h b 1 => :1 | HINCRBY h b 1 => :2",
        );
        check("HINCRBYFLOAT h a 0.1 => $3 0.1 | HINCRBYFLOAT h a 0.2 => $3 0.3 | HINCRBYFLOAT h a -0.3 => $1 0");
    }

    #[test]
    fn refusals() {
        check("HINCRBY h a x => -ERR value is not an integer or out of range | EXISTS h => :0");
        check("HSET h a x => :1 | HINCRBY h a 1 => -ERR hash value is not an integer");
        check("HSET h a 1 => :1 | HINCRBY h a 9223372036854775807 => -ERR increment or decrement would overflow");
        check("HSET h a x => :1 | HINCRBYFLOAT h a 1 => -ERR hash value is not a float");
        check(
            "HINCRBYFLOAT h a inf => -ERR value is NaN or Infinity | HINCRBYFLOAT h a x => -ERR value is not a valid float",
        );
        check("HSET h a inf => :1 | HINCRBYFLOAT h a 1 => -ERR increment would produce NaN or Infinity");
    }
}

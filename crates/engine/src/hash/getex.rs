//! HGETEX.

use super::look_up::{distinct, read, reply_removed, reply_values};
use super::options::{LEAST_TIME, counted, numfields, split};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::expiry::{Beside, Expiry, ExpiryOption};
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// HGETEX key \[EX|PX|EXAT|PXAT time|PERSIST] FIELDS numfields field \[field ...]
pub const HGETEX: Command = Command::data(
    "hgetex",
    "<key> [EX <seconds>|PX <milliseconds>|EXAT <unix-time-seconds>|PXAT <unix-time-milliseconds>|PERSIST] \
     FIELDS <numfields> <field> [<field> ...]",
    "Returns the values of hash fields, and sets or removes their expiration time.",
    hgetex,
);

fn parse(options: Args<'_>) -> Result<ExpiryOption<'_>, CommandError> {
    let mut expiry = ExpiryOption::None;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        expiry.read(option, &mut options, Beside::Persist)?;
    }
    Ok(expiry)
}

fn hgetex(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (options, rest) = split(args, 0, 2)?;
    let expiry = parse(options)?;
    let fields = counted(rest, 1, numfields())?;
    let key = engine.first_key(args, env);
    let hash = read(engine, &key, env)?;
    let expiry = expiry.resolve(LEAST_TIME, env.now, "hgetex")?;
    if matches!(expiry, Expiry::At(at) if at <= env.now) {
        let removed = reply_removed(hash, fields, env.reply);
        if !removed.is_empty() {
            engine.remove_fields(&key, Args::slices(&removed), env);
            engine.notify_removal(NotifyClasses::HASH, "hexpired", &key);
        }
        return Ok(());
    }
    reply_values(hash, fields, env.reply);
    let deadline_of = |field: &[u8]| hash.and_then(|hash| hash.deadline(field));
    match expiry {
        Expiry::At(at) => {
            let found = distinct(fields.iter(), |field| deadline_of(field).is_some());
            if !found.is_empty() {
                engine.expire_fields_at(&key, at, Args::slices(&found), env);
                engine.notify(NotifyClasses::HASH, "hexpire", &key);
            }
        }
        Expiry::Persist => {
            let found = distinct(fields.iter(), |field| deadline_of(field).flatten().is_some());
            if !found.is_empty() {
                engine.persist_fields(&key, Args::slices(&found), env);
                engine.notify(NotifyClasses::HASH, "hpersist", &key);
            }
        }
        Expiry::None | Expiry::Keep => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn changes_deadlines() {
        check(
            "HSET h a 1 b 2 => :2 | HGETEX h EX 9 FIELDS 2 a c => *2 $1 1 $-1 | HTTL h FIELDS 2 a b => *2 :9 :-1 | \
               HGETEX h FIELDS 1 a => *1 $1 1 | HTTL h FIELDS 1 a => *1 :9 | HGETEX h PERSIST FIELDS 1 a => *1 $1 1 | \
               HTTL h FIELDS 1 a => *1 :-1",
        );
        check("HSET h a 1 => :1 | HGETEX h PXAT 1 FIELDS 2 a a => *2 $1 1 $-1 | EXISTS h => :0");
        check("HGETEX h EX 9 FIELDS 1 a => *1 $-1");
    }

    #[test]
    fn refusals() {
        check(
            "HGETEX h EX 9 PERSIST FIELDS 1 a => -ERR syntax error | HGETEX h KEEPTTL FIELDS 1 a => -ERR syntax error",
        );
        check("HGETEX h EX -1 FIELDS 1 a => -ERR invalid expire time in 'hgetex' command");
        let numfields = "-ERR numfields should be greater than 0 and match the provided number of fields";
        check(&format!("HGETEX h FOO 1 a => {numfields} | HGETEX h FIELDS 2 a => {numfields}"));
    }
}

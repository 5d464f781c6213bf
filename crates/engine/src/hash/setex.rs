//! HSETEX.

use super::look_up::{distinct, fields_of, look_up, note_expired};
use super::options::{LEAST_TIME, counted, numfields, split};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::expiry::{Beside, Expiry, ExpiryOption};
use crate::keyspace::{ExpiryChange, Key};
use crate::notify::NotifyClasses;
use fastness_resp::Args;

/// HSETEX key \[NX|XX] \[FNX|FXX] \[EX|PX|EXAT|PXAT time|KEEPTTL] FIELDS numfields field value \[field value ...]
pub const HSETEX: Command = Command::data(
    "hsetex",
    "<key> [NX|XX] [FNX|FXX] \
     [EX <seconds>|PX <milliseconds>|EXAT <unix-time-seconds>|PXAT <unix-time-milliseconds>|KEEPTTL] \
     FIELDS <numfields> <field> <value> [<field> <value> ...]",
    "Sets hash fields, with one expiration time for all of them.",
    hsetex,
);

/// Whether a key or field must exist for the command to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Missing,
    Existing,
}

impl Wanted {
    fn holds(self, exists: bool) -> bool {
        exists == (self == Wanted::Existing)
    }
}

struct HsetexOptions<'a> {
    key: Option<Wanted>,
    fields: Option<Wanted>,
    expiry: ExpiryOption<'a>,
}

impl<'a> HsetexOptions<'a> {
    fn parse(options: Args<'a>) -> Result<HsetexOptions<'a>, CommandError> {
        let mut parsed = HsetexOptions { key: None, fields: None, expiry: ExpiryOption::None };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            match option.to_ascii_lowercase().as_slice() {
                b"nx" => set(&mut parsed.key, Wanted::Missing)?,
                b"xx" => set(&mut parsed.key, Wanted::Existing)?,
                b"fnx" => set(&mut parsed.fields, Wanted::Missing)?,
                b"fxx" => set(&mut parsed.fields, Wanted::Existing)?,
                _ => parsed.expiry.read(option, &mut options, Beside::KeepTtl)?,
            }
        }
        Ok(parsed)
    }
}

fn set(wanted: &mut Option<Wanted>, new: Wanted) -> Result<(), CommandError> {
    match wanted.replace(new) {
        Some(old) if old != new => Err(CommandError::Syntax),
        _ => Ok(()),
    }
}

fn hsetex(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (options, rest) = split(args, 0, 2)?;
    let options = HsetexOptions::parse(options)?;
    let pairs = counted(rest, 2, numfields())?;
    let key = engine.first_key(args, env);
    let hash = look_up(engine, &key, env)?;
    if options.key.is_some_and(|wanted| !wanted.holds(hash.is_some())) {
        env.reply.integer(0);
        return Ok(());
    }
    let expiry = match options.expiry.resolve(LEAST_TIME, env.now, "hsetex")? {
        Expiry::At(at) => ExpiryChange::At(at),
        Expiry::Keep => ExpiryChange::Keep,
        Expiry::None | Expiry::Persist => ExpiryChange::Drop,
    };
    let exists = |field: &[u8]| hash.is_some_and(|hash| hash.get(field).is_some());
    if options.fields.is_some_and(|wanted| !fields_of(pairs).all(|field| wanted.holds(exists(field)))) {
        env.reply.integer(0);
        return Ok(());
    }
    let is_new = hash.is_none();
    match expiry {
        ExpiryChange::At(at) if at <= env.now => {
            let found = distinct(fields_of(pairs), exists);
            engine.remove_fields(&key, Args::slices(&found), env);
            note_set_and_expired(engine, &key, is_new);
        }
        ExpiryChange::Keep => {
            // A deadline that has passed is not kept: that field counts as missing.
            let is_past = |at: &usize| hash.is_some_and(|hash| hash.is_past(pairs.get(*at)));
            let (past, others): (Vec<usize>, Vec<usize>) = (0..pairs.len()).step_by(2).partition(is_past);
            note_expired(engine, &key, fields_of(pairs), env);
            for (places, expiry) in [(past, ExpiryChange::Drop), (others, ExpiryChange::Keep)] {
                let pairs: Vec<&[u8]> = places.iter().flat_map(|at| [pairs.get(*at), pairs.get(at + 1)]).collect();
                engine.set_fields(&key, Args::slices(&pairs), expiry, env);
            }
            engine.notify(NotifyClasses::HASH, "hset", &key);
        }
        ExpiryChange::At(_) | ExpiryChange::Drop => {
            note_expired(engine, &key, fields_of(pairs), env);
            engine.set_fields(&key, pairs, expiry, env);
            engine.notify(NotifyClasses::HASH, "hset", &key);
            if expiry != ExpiryChange::Drop {
                engine.notify(NotifyClasses::HASH, "hexpire", &key);
            }
        }
    }
    env.reply.integer(1);
    Ok(())
}

/// Notes what Valkey does with a deadline that has passed: it sets the fields, and removes them as expired.
fn note_set_and_expired(engine: &mut Engine, key: &Key<'_>, is_new: bool) {
    if is_new {
        engine.notify(NotifyClasses::NEW, "new", key);
    }
    engine.notify(NotifyClasses::HASH, "hset", key);
    engine.notify(NotifyClasses::HASH, "hexpire", key);
    engine.notify_removal(NotifyClasses::HASH, "hexpired", key);
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn sets_with_a_deadline() {
        check(
            "HSETEX h EX 9 FIELDS 2 a 1 b 2 => :1 | HTTL h FIELDS 2 a b => *2 :9 :9 | HGETALL h => *4 $1 a $1 1 $1 b $1 2",
        );
        check(
            "HSETEX h EX 9 FIELDS 1 a 1 => :1 | HSETEX h KEEPTTL FIELDS 2 a 2 b 3 => :1 | HTTL h FIELDS 2 a b => *2 :9 :-1",
        );
        check("HSETEX h EX 9 FIELDS 1 a 1 => :1 | HSETEX h XX FIELDS 1 a 2 => :1 | HTTL h FIELDS 1 a => *1 :-1");
        check(
            "HSETEX h PX 9 FIELDS 1 a 1 => :1 | HSET h b 1 => :1 | wait 10 | HSETEX h KEEPTTL FIELDS 1 a 2 => :1 | HTTL h FIELDS 1 a => *1 :-1",
        );
    }

    #[test]
    fn conditions() {
        check(
            "HSETEX h XX FIELDS 1 a 1 => :0 | HSETEX h NX FIELDS 1 a 1 => :1 | HSETEX h NX FIELDS 1 a 2 => :0 | HGET h a => $1 1",
        );
        check(
            "HSETEX h FXX FIELDS 1 a 1 => :0 | HSETEX h FNX FIELDS 1 a 1 => :1 | HSETEX h FNX FIELDS 2 b 1 a 2 => :0 | HLEN h => :1",
        );
        check(
            "HSET h a 1 => :1 | HSETEX h FXX FIELDS 2 a 2 b 2 => :0 | HSETEX h FXX FIELDS 1 a 2 => :1 | HGET h a => $1 2",
        );
    }

    #[test]
    fn a_point_that_has_passed_removes() {
        check("HSET h a 1 b 2 => :2 | HSETEX h EX 0 FIELDS 2 a 2 c 3 => :1 | HGETALL h => *2 $1 b $1 2");
        check("HSETEX h PXAT 1 FIELDS 1 a 2 => :1 | EXISTS h => :0");
    }

    #[test]
    fn refusals() {
        check(
            "HSETEX h EX 9 KEEPTTL FIELDS 1 a 1 => -ERR syntax error | HSETEX h FNX FXX FIELDS 1 a 1 => -ERR syntax error",
        );
        check("HSETEX h PERSIST FIELDS 1 a 1 => -ERR syntax error | HSETEX h NX XX FIELDS 1 a 1 => -ERR syntax error");
        check("HSETEX h EX -1 FIELDS 1 a 1 => -ERR invalid expire time in 'hsetex' command");
        check("HSETEX fields FIELDS 1 a 1 => -ERR value is not an integer or out of range");
        let numfields = "-ERR numfields should be greater than 0 and match the provided number of fields";
        check(&format!("HSETEX h FIELDS 2 a 1 b => {numfields} | HSETEX h EX 9 a 1 b => {numfields}"));
    }
}

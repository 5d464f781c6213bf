//! HEXPIRE, HPEXPIRE, HEXPIREAT, HPEXPIREAT set the deadline of fields; HPERSIST removes it.
//!
//! A deadline that has passed removes the fields at once; the effect is then their removal. The reply has one integer
//! for each field.

use super::look_up::look_up;
use super::options::{LEAST_TIME, counted, fields_after_key, numfields, split};
use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::expiry::unit::{MISSING, NO_DEADLINE};
use crate::expiry::{Decision, ExpiryCondition, ExpiryRequest, TimeUnit};
use crate::notify::NotifyClasses;
use fastness_resp::Args;
use std::collections::BTreeSet;

const SYNTAX_S: &str = "<key> <seconds> [NX|XX|GT|LT] FIELDS <numfields> <field> [<field> ...]";
const SYNTAX_MS: &str = "<key> <milliseconds> [NX|XX|GT|LT] FIELDS <numfields> <field> [<field> ...]";
const SYNTAX_AT_S: &str = "<key> <unix-time-seconds> [NX|XX|GT|LT] FIELDS <numfields> <field> [<field> ...]";
const SYNTAX_AT_MS: &str = "<key> <unix-time-milliseconds> [NX|XX|GT|LT] FIELDS <numfields> <field> [<field> ...]";

/// HEXPIRE key seconds \[NX|XX|GT|LT] FIELDS numfields field \[field ...]
pub const HEXPIRE: Command = Command::data(
    "hexpire",
    SYNTAX_S,
    "Sets the expiration time of hash fields in seconds from now.",
    |engine, args, env| run(engine, args, env, TimeUnit::Seconds, "hexpire"),
);
/// HPEXPIRE key milliseconds \[NX|XX|GT|LT] FIELDS numfields field \[field ...]
pub const HPEXPIRE: Command = Command::data(
    "hpexpire",
    SYNTAX_MS,
    "Sets the expiration time of hash fields in milliseconds from now.",
    |engine, args, env| run(engine, args, env, TimeUnit::Milliseconds, "hpexpire"),
);
/// HEXPIREAT key unix-time-seconds \[NX|XX|GT|LT] FIELDS numfields field \[field ...]
pub const HEXPIREAT: Command = Command::data(
    "hexpireat",
    SYNTAX_AT_S,
    "Sets the expiration time of hash fields to a Unix time in seconds.",
    |engine, args, env| run(engine, args, env, TimeUnit::AtSeconds, "hexpireat"),
);
/// HPEXPIREAT key unix-time-milliseconds \[NX|XX|GT|LT] FIELDS numfields field \[field ...]
pub const HPEXPIREAT: Command = Command::data(
    "hpexpireat",
    SYNTAX_AT_MS,
    "Sets the expiration time of hash fields to a Unix time in milliseconds.",
    |engine, args, env| run(engine, args, env, TimeUnit::AtMilliseconds, "hpexpireat"),
);
/// HPERSIST key FIELDS numfields field \[field ...]
pub const HPERSIST: Command = Command::data(
    "hpersist",
    "<key> FIELDS <numfields> <field> [<field> ...]",
    "Removes the expiration time of hash fields.",
    hpersist,
);

/// The reply for one field that exists.
const UNCHANGED: i64 = 0;
const CHANGED: i64 = 1;
const REMOVED: i64 = 2;

fn run(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    unit: TimeUnit,
    name: &'static str,
) -> Result<(), CommandError> {
    let (options, rest) = split(args, 3, 3)?;
    let condition = ExpiryCondition::parse(options)?;
    let fields = counted(rest, 1, numfields())?;
    let at = unit.deadline(args.get(2), LEAST_TIME, env.now, name)?;
    let request = ExpiryRequest { at_ms: i64::try_from(at.0).unwrap_or(i64::MAX), condition, now: env.now };
    let key = engine.first_key(args, env);
    let hash = look_up(engine, &key, env)?;
    let mut changed = BTreeSet::new();
    env.reply.array(fields.len());
    for field in fields.iter() {
        // A field that is named twice is found the second time as the first has left it.
        let current = match hash.and_then(|hash| hash.deadline(field)) {
            Some(_) if changed.contains(field) => request.deadline().map(Some),
            current => current,
        };
        let answer = match request.decide(current) {
            Decision::Missing => MISSING,
            Decision::Unchanged => UNCHANGED,
            Decision::Expires(_) => CHANGED,
            Decision::Removed => REMOVED,
        };
        if matches!(answer, CHANGED | REMOVED) {
            changed.insert(field);
        }
        env.reply.integer(answer);
    }
    let changed: Vec<&[u8]> = changed.into_iter().collect();
    match request.deadline() {
        _ if changed.is_empty() => {}
        Some(at) => {
            engine.expire_fields_at(&key, at, Args::slices(&changed), env);
            engine.notify(NotifyClasses::HASH, "hexpire", &key);
        }
        None => {
            engine.remove_fields(&key, Args::slices(&changed), env);
            engine.notify_removal(NotifyClasses::HASH, "hexpired", &key);
        }
    }
    Ok(())
}

fn hpersist(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let fields = fields_after_key(args, numfields())?;
    let key = engine.first_key(args, env);
    let hash = look_up(engine, &key, env)?;
    let mut changed = BTreeSet::new();
    env.reply.array(fields.len());
    for field in fields.iter() {
        let answer = match hash.and_then(|hash| hash.deadline(field)) {
            None => MISSING,
            Some(Some(_)) if changed.insert(field) => CHANGED,
            Some(_) => NO_DEADLINE,
        };
        env.reply.integer(answer);
    }
    let changed: Vec<&[u8]> = changed.into_iter().collect();
    if !changed.is_empty() {
        engine.persist_fields(&key, Args::slices(&changed), env);
        engine.notify(NotifyClasses::HASH, "hpersist", &key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn a_deadline_belongs_to_the_life() {
        check(
            "HSET h a 1 b 2 => :2 | HPEXPIRE h 100 FIELDS 2 a c => *2 :1 :-2 | OBJECT ENCODING h => $9 hashtable | \
               wait 100 | HGET h a => $1 1 | wait 1 | HGET h a => $-1 | HGETALL h => *2 $1 b $1 2 | HLEN h => :1",
        );
        check("HSET h a 1 => :1 | HEXPIRE h 1 FIELDS 1 a => *1 :1 | wait 1001 | EXISTS h => :0 | TYPE h => +none");
    }

    #[test]
    fn a_point_that_has_passed_removes() {
        check("HSET h a 1 b 2 => :2 | HEXPIRE h 0 FIELDS 2 a a => *2 :2 :-2 | OBJECT ENCODING h => $8 listpack");
        check("HSET h a 1 => :1 | HPEXPIREAT h 5 FIELDS 1 a => *1 :2 | EXISTS h => :0");
    }

    #[test]
    fn conditions() {
        check(
            "HSET h a 1 => :1 | HEXPIRE h 9 XX FIELDS 1 a => *1 :0 | HEXPIRE h 9 GT FIELDS 1 a => *1 :0 | \
               HEXPIRE h 9 NX FIELDS 2 a a => *2 :1 :0 | HEXPIRE h 9 GT FIELDS 1 a => *1 :0 | \
               HEXPIRE h 8 LT FIELDS 1 a => *1 :1 | HTTL h FIELDS 1 a => *1 :8",
        );
        check("HEXPIRE h 1 NX XX FIELDS 1 a => -ERR NX and XX, GT or LT options at the same time are not compatible");
        check("HEXPIRE h 1 FOO FIELDS 1 a => -ERR Unsupported option FOO");
    }

    #[test]
    fn setting_drops_and_adding_keeps() {
        check(
            "HSET h a 1 => :1 | HEXPIRE h 9 FIELDS 1 a => *1 :1 | HINCRBY h a 1 => :2 | HTTL h FIELDS 1 a => *1 :9 | \
               HINCRBYFLOAT h a 0.5 => $3 2.5 | HTTL h FIELDS 1 a => *1 :9 | HSET h a 3 => :0 | HTTL h FIELDS 1 a => *1 :-1",
        );
        check(
            "HSET h a 1 b 1 => :2 | HPEXPIRE h 9 FIELDS 1 a => *1 :1 | wait 10 | HINCRBY h a 5 => :5 | \
               HTTL h FIELDS 1 a => *1 :-1 | HPEXPIRE h 9 FIELDS 1 a => *1 :1 | wait 10 | HSETNX h a 7 => :1",
        );
        check("HSET h a 1 b 1 => :2 | HPEXPIRE h 9 FIELDS 1 a => *1 :1 | wait 10 | HSET h a 5 => :1 | HDEL h a => :1");
    }

    #[test]
    fn persists() {
        check(
            "HSET h a 1 b 1 => :2 | HEXPIRE h 9 FIELDS 1 a => *1 :1 | HPERSIST h FIELDS 4 a a b c => *4 :1 :-1 :-1 :-2 | \
               wait 9001 | HLEN h => :2 | HPERSIST i FIELDS 1 a => *1 :-2",
        );
        check("HPERSIST h FOO 1 a => -ERR syntax error");
    }

    #[test]
    fn refusals() {
        let numfields = "-ERR numfields should be greater than 0 and match the provided number of fields";
        check(&format!("HEXPIRE h x FIELDS 2 a => {numfields} | HEXPIRE h x FOO 1 a => {numfields}"));
        check("HEXPIRE h x FIELDS 1 a => -ERR value is not an integer or out of range");
        check("HEXPIRE h -1 FIELDS 1 a => -ERR invalid expire time in 'hexpire' command");
        check("HPEXPIRE h 9223372036854775807 FIELDS 1 a => -ERR invalid expire time in 'hpexpire' command");
        check(
            "SET s 1 => +OK | HEXPIRE s 1 FIELDS 1 a => -WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }

    #[test]
    fn fields_that_are_due_are_removed_within_the_budget() {
        let mut bench = Bench::new();
        for i in 0..100u64 {
            bench.run(&[b"HSET", format!("h{}", i % 3).as_bytes(), format!("f{i}").as_bytes(), b"v"]);
            let (key, at) = (format!("h{}", i % 3), format!("{}", 1_700_000_000_001 + i));
            bench.run(&[b"HPEXPIREAT", key.as_bytes(), at.as_bytes(), b"FIELDS", b"1", format!("f{i}").as_bytes()]);
        }
        bench.script("SET k v PX 50 => +OK");
        assert_eq!(bench.engine.keyspace_stats().with_field_deadlines, 3);
        assert_eq!(bench.engine.first_deadline().map(|at| at.0), Some(1_700_000_000_001));
        bench.now.0 += 51;
        bench.effects.clear();
        let (engine, now) = (&mut bench.engine, bench.now);
        assert_eq!(engine.expire_due(now, 10, &mut bench.effects), 10);
        assert!(bench.effects.count() <= 4, "one for each hash, and one for the key");
        assert_eq!(engine.expire_due(now, 1_000, &mut bench.effects), 41);
        assert_eq!(engine.stats().expired_fields, 50);
        bench.now.0 += 100;
        let (engine, now) = (&mut bench.engine, bench.now);
        assert_eq!(engine.expire_due(now, 1_000, &mut bench.effects), 50);
        assert_eq!((engine.keyspace().len(), engine.first_deadline()), (0, None));
    }

    #[test]
    fn a_renamed_or_copied_hash_keeps_its_deadlines() {
        check(
            "HSET h a 1 b 1 => :2 | HPEXPIRE h 50 FIELDS 1 a => *1 :1 | RENAME h i => +OK | COPY i j => :1 | \
               HPTTL i FIELDS 2 a b => *2 :50 :-1 | HPTTL j FIELDS 1 a => *1 :50 | wait 51 | HLEN i => :1 | HLEN j => :1",
        );
        let mut bench = Bench::new();
        bench.script(
            "HSET h a 1 => :1 | HPEXPIRE h 50 FIELDS 1 a => *1 :1 | COPY h i => :1 | SET h v => +OK | DEL i => :1",
        );
        assert_eq!((bench.engine.first_deadline(), bench.engine.keyspace_stats().with_field_deadlines), (None, 0));
    }

    /// Found by fuzzing images: the deadlines of a hash were in no index if it took the place of a short value.
    #[test]
    fn deadlines_of_a_hash_that_replaces_a_short_value_are_in_the_index() {
        let mut bench = Bench::new();
        bench.script(
            "HSET h a 1 b 2 => :2 | HPEXPIRE h 50 FIELDS 1 a => *1 :1 | SET s v => +OK | COPY h s REPLACE => :1",
        );
        assert_eq!(bench.engine.keyspace_stats().with_field_deadlines, 2);
    }
}

//! OBJECT's subcommands: how a value is stored.

use crate::command::Command;
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::Entry;
use crate::types;
use fastness_resp::Args;

/// OBJECT ENCODING key
pub const ENCODING: Command =
    Command::data("object|encoding", "<key>", "Returns the internal encoding of the value of a key.", encoding);
/// OBJECT FREQ key
pub const FREQ: Command =
    Command::data("object|freq", "<key>", "Returns how often a key is accessed, if an LFU policy counts it.", freq);
/// OBJECT IDLETIME key
pub const IDLETIME: Command =
    Command::data("object|idletime", "<key>", "Returns the time since a key was last accessed, in seconds.", idletime);
/// OBJECT REFCOUNT key
pub const REFCOUNT: Command = Command::data(
    "object|refcount",
    "<key>",
    "Returns the reference count of the value of a key, which is always 1.",
    refcount,
);

/// Replies with `answer` for an existing key, and with null for a missing one.
fn about(
    engine: &mut Engine,
    args: Args<'_>,
    env: &mut Env<'_>,
    answer: impl Fn(&Entry, &mut Env<'_>) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let key = engine.key(args.get(2));
    match engine.peek_quietly(&key, env) {
        Some(entry) => answer(entry, env),
        None => {
            env.reply.null();
            Ok(())
        }
    }
}

fn encoding(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    about(engine, args, env, |entry, env| {
        env.reply.bulk(types::encoding(entry));
        Ok(())
    })
}

fn freq(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let clock = *engine.keyspace().access_clock();
    about(engine, args, env, |entry, env| match clock.frequency(entry.access(), env.now) {
        Some(frequency) => {
            env.reply.integer(frequency.into());
            Ok(())
        }
        None => Err(CommandError::Fixed(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when \
             switching between policies at runtime LRU and LFU data will take some time to adjust.",
        )),
    })
}

fn idletime(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let clock = *engine.keyspace().access_clock();
    about(engine, args, env, |entry, env| match clock.idle_seconds(entry.access(), env.now) {
        Some(seconds) => {
            env.reply.integer(seconds.into());
            Ok(())
        }
        None => Err(CommandError::Fixed(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
             policies at runtime LRU and LFU data will take some time to adjust.",
        )),
    })
}

fn refcount(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    about(engine, args, env, |_, env| {
        env.reply.integer(1);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use crate::eviction::policy::{EvictionOptions, EvictionPolicy};
    use crate::testing::{Bench, check};

    #[test]
    fn encodings() {
        check("SET a 12 => +OK | OBJECT ENCODING a => $3 int | SET a ab => +OK | OBJECT ENCODING a => $6 embstr");
        check("SET a 12 => +OK | APPEND a 3 => :3 | OBJECT ENCODING a => $3 raw");
        let long = "v".repeat(200);
        check(&format!("SET a {long} => +OK | OBJECT ENCODING a => $3 raw"));
    }

    #[test]
    fn a_missing_key_is_null() {
        check("OBJECT ENCODING a => $-1 | OBJECT FREQ a => $-1 | OBJECT IDLETIME a => $-1 | OBJECT REFCOUNT a => $-1");
    }

    #[test]
    fn the_policy_decides_what_is_recorded() {
        let mut bench = Bench::new();
        let with = |policy| EvictionOptions { policy, lfu_log_factor: 0, ..EvictionOptions::default() };
        bench.engine.set_eviction(with(EvictionPolicy::VolatileLfu));
        bench.script("SET a 1 => +OK | OBJECT FREQ a => :5 | GET a => $1 1 | GET a => $1 1 | OBJECT FREQ a => :7");
        bench.script("INCR a => :2 | OBJECT FREQ a => :8 | SET a 1 => +OK | OBJECT FREQ a => :9");
        bench.script("RENAME a b => +OK | OBJECT FREQ b => :10 | COPY b a => :1 | OBJECT FREQ a => :5");
        bench.script("OBJECT FREQ b => :11 | wait 180000 | OBJECT FREQ b => :8 | OBJECT FREQ c => $-1 | OBJECT IDLETIME c => $-1");
        let refused = |bench: &mut Bench, what: &str| String::from_utf8(bench.run(&[b"OBJECT", what.as_bytes(), b"b"]));
        let idle = refused(&mut bench, "IDLETIME").unwrap();
        assert!(idle.starts_with("-ERR An LFU maxmemory policy is selected, idle time not tracked."), "{idle}");
        bench.engine.set_eviction(with(EvictionPolicy::AllKeysLru));
        let frequency = refused(&mut bench, "FREQ").unwrap();
        assert!(frequency.starts_with("-ERR An LFU maxmemory policy is not selected"), "{frequency}");
        bench.script("GET b => $1 1 | wait 3000 | OBJECT IDLETIME b => :3");
    }

    #[test]
    fn idle_time_runs() {
        check("SET a 1 => +OK | wait 2500 | OBJECT IDLETIME a => :2 | OBJECT IDLETIME a => :2 | GET a => $1 1");
        check("SET a 1 => +OK | wait 2500 | GET a => $1 1 | OBJECT IDLETIME a => :0 | OBJECT REFCOUNT a => :1");
    }
}

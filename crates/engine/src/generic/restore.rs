//! RESTORE: creates a key from the payload of a DUMP, of this server or of a Valkey or Redis server whose versions
//! Valkey reads. Every data type that exists here is supported.

use crate::codec::rdb::{self, PayloadError};
use crate::command::typed::Put;
use crate::command::types::dump_forms;
use crate::command::{Command, parse};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use crate::keyspace::{ExpiryChange, Key};
use fastness_resp::Args;
use fastness_types::WallMs;
use fastness_types::limits::RESTORED_BYTES_MAX;

/// RESTORE key ttl serialized-value \[REPLACE] \[ABSTTL] \[IDLETIME seconds] \[FREQ frequency]
pub const RESTORE: Command = Command::data(
    "restore",
    "<key> <ttl> <serialized-value> [REPLACE] [ABSTTL] [IDLETIME <seconds>] [FREQ <frequency>]",
    "Creates a key from a serialized value that DUMP returned.",
    run,
);

fn run(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let options = RestoreOptions::parse(args.skip(4))?;
    let key = engine.first_key(args, env);
    if !options.replace && engine.peek(&key, env).is_some() {
        return Err(CommandError::Fixed("BUSYKEY Target key name already exists."));
    }
    let ttl = u64::try_from(parse::integer(args.get(2))?)
        .map_err(|_| CommandError::Fixed("ERR Invalid TTL value, must be >= 0"))?;
    let put = restored(args.get(3), env.now).map_err(|error| match error {
        PayloadError::Footer => CommandError::Fixed("ERR DUMP payload version or checksum are wrong"),
        PayloadError::Format => CommandError::Fixed("ERR Bad data format"),
        PayloadError::TooLarge => CommandError::Fixed("ERR the payload expands to more than a key may hold"),
    })?;
    let expiry = match ttl {
        0 => ExpiryChange::Drop,
        at if options.absolute => ExpiryChange::At(WallMs(at)),
        span => ExpiryChange::At(WallMs(env.now.0.saturating_add(span))),
    };
    match expiry {
        ExpiryChange::At(at) if at <= env.now => {
            engine.unlink(&key, env);
        }
        expiry => {
            put(engine, &key, expiry, env);
            options.note_accesses(engine, &key, env.now);
        }
    }
    env.reply.ok();
    Ok(())
}

/// Decodes a payload as of `now`; the result sets the value.
fn restored(payload: &[u8], now: WallMs) -> Result<Put, PayloadError> {
    restored_within(payload, now, RESTORED_BYTES_MAX)
}

fn restored_within(payload: &[u8], now: WallMs, bytes_max: usize) -> Result<Put, PayloadError> {
    let (kind, mut input) = rdb::open_within(payload, bytes_max)?;
    let form = dump_forms().find(|form| form.kinds.contains(&kind)).ok_or(PayloadError::Format)?;
    (form.restore)(kind, &mut input, now)
}

/// The options. Of IDLETIME and FREQ the one has effect that the eviction policy reads. Neither is replicated, because
/// each replica keeps records of accesses of its own.
#[derive(Default)]
struct RestoreOptions {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

impl RestoreOptions {
    fn parse(options: Args<'_>) -> Result<RestoreOptions, CommandError> {
        let mut parsed = RestoreOptions::default();
        let mut at = 0;
        while let Some(option) = options.try_get(at) {
            let value = options.try_get(at + 1);
            match (option.to_ascii_lowercase().as_slice(), value) {
                (b"replace", _) => parsed.replace = true,
                (b"absttl", _) => parsed.absolute = true,
                (b"idletime", Some(value)) if parsed.frequency.is_none() => {
                    let seconds = u64::try_from(parse::integer(value)?);
                    let seconds =
                        seconds.map_err(|_| CommandError::Fixed("ERR Invalid IDLETIME value, must be >= 0"))?;
                    parsed.idle_seconds = Some(seconds);
                    at += 1;
                }
                (b"freq", Some(value)) if parsed.idle_seconds.is_none() => {
                    const RANGE: &str = "ERR Invalid FREQ value, must be >= 0 and <= 255";
                    let frequency = u8::try_from(parse::integer(value)?);
                    parsed.frequency = Some(frequency.map_err(|_| CommandError::Fixed(RANGE))?);
                    at += 1;
                }
                _ => return Err(CommandError::Syntax),
            }
            at += 1;
        }
        Ok(parsed)
    }

    /// Records what the options say of the key's accesses.
    fn note_accesses(&self, engine: &mut Engine, key: &Key<'_>, now: WallMs) {
        let clock = engine.keyspace.access_clock();
        let of_frequency = self.frequency.and_then(|frequency| clock.with_frequency(frequency, now));
        let of_idle_time = self.idle_seconds.and_then(|seconds| clock.with_idle_seconds(seconds, now));
        let access = of_frequency.or(of_idle_time).unwrap_or_else(|| clock.fresh(now));
        engine.keyspace.set_access(key, access);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::rdb::seal;
    use crate::eviction::policy::{EvictionOptions, EvictionPolicy};
    use crate::string::dump::dump_text;
    use crate::testing::{Bench, check};

    #[test]
    fn text_and_deadline() {
        let mut bench = Bench::new();
        let payload = dump_text(b"hello");
        assert_eq!(bench.run(&[b"RESTORE", b"a", b"5000", &payload]), b"+OK\r\n");
        bench.script("GET a => $5 hello | PTTL a => :5000");
        assert_eq!(bench.run(&[b"RESTORE", b"a", b"0", &payload]), b"-BUSYKEY Target key name already exists.\r\n");
        assert_eq!(bench.run(&[b"RESTORE", b"a", b"0", &payload, b"replace"]), b"+OK\r\n");
        bench.script("PTTL a => :-1");
        assert_eq!(bench.run(&[b"RESTORE", b"a", b"5", &payload, b"ABSTTL", b"REPLACE"]), b"+OK\r\n");
        bench.script("EXISTS a => :0");
    }

    #[test]
    fn the_record_of_accesses_is_restored_as_the_policy_reads_it() {
        let mut bench = Bench::new();
        let payload = dump_text(b"hello");
        let restored: [&[u8]; 7] = [b"RESTORE", b"a", b"0", &payload, b"REPLACE", b"IDLETIME", b"1000"];
        bench.run(&restored);
        bench.script("OBJECT IDLETIME a => :1000");
        let mut of_frequency = restored;
        (of_frequency[5], of_frequency[6]) = (b"FREQ", b"100");
        bench.run(&of_frequency);
        bench.script("OBJECT IDLETIME a => :0");
        let policy = EvictionPolicy::AllKeysLfu;
        bench.engine.set_eviction(EvictionOptions { policy, ..EvictionOptions::default() });
        bench.run(&of_frequency);
        bench.script("OBJECT FREQ a => :100");
        bench.run(&restored);
        bench.script("OBJECT FREQ a => :5");
    }

    #[test]
    fn refusals() {
        check(
            "RESTORE a 0 xx => -ERR DUMP payload version or checksum are wrong | RESTORE a 0 xx FOO => -ERR syntax error",
        );
        check("RESTORE a -1 xx => -ERR Invalid TTL value, must be >= 0");
        check("RESTORE a 0 xx IDLETIME 1 FREQ 1 => -ERR syntax error | RESTORE a 0 xx FREQ => -ERR syntax error");
        check("RESTORE a 0 xx FREQ 256 => -ERR Invalid FREQ value, must be >= 0 and <= 255");
    }

    #[test]
    fn what_a_payload_expands_to_is_bounded() {
        let text = b"\xc3\t7\x01bb\xe0*\x00\x01bb";
        let string = seal([&b"\x00"[..], text].concat());
        let hash = seal([&b"\x04\x02\x01a"[..], text, b"\x01b", text].concat());
        for (payload, bytes) in [(string, 55), (hash, 112)] {
            assert!(restored_within(&payload, WallMs(0), bytes).is_ok(), "{bytes}");
            let refused = restored_within(&payload, WallMs(0), bytes - 1).err();
            assert_eq!(refused, Some(PayloadError::TooLarge), "{bytes}");
        }
    }
}

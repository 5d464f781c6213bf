//! MEMORY's subcommands.

use crate::command::{Command, parse};
use crate::engine::Engine;
use crate::env::Env;
use crate::error::CommandError;
use fastness_resp::Args;

/// MEMORY USAGE key \[SAMPLES count]
pub const USAGE: Command = Command::data(
    "memory|usage",
    "<key> [SAMPLES <count>]",
    "Tells how many bytes a key takes with its value and its place in the table.",
    usage,
);
/// MEMORY DOCTOR
pub const DOCTOR: Command =
    Command::data("memory|doctor", "", "Says whether the memory in use is cause for concern.", doctor);

/// A key's part of its bucket: a cache line for seven.
const PLACE_BYTES: usize = 10;

fn usage(engine: &mut Engine, args: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let mut options = args.skip(3).iter();
    while let Some(option) = options.next() {
        let samples = options.next().filter(|_| option.eq_ignore_ascii_case(b"samples")).ok_or(CommandError::Syntax)?;
        // Values are measured whole, so the number of samples changes nothing.
        if parse::integer(samples)? < 0 {
            return Err(CommandError::Syntax);
        }
    }
    let key = engine.key(args.get(2));
    match engine.peek(&key, env) {
        Some(entry) => env.reply.integer((entry.heap_bytes() + PLACE_BYTES) as i64),
        None => env.reply.null(),
    }
    Ok(())
}

fn doctor(engine: &mut Engine, _: Args<'_>, env: &mut Env<'_>) -> Result<(), CommandError> {
    let (used, bound, keys) = (engine.memory_used(), engine.maxmemory(), engine.keyspace().len());
    let judgement = match bound {
        0 => "No bound is set (maxmemory 0): the machine's memory is the bound, and the kernel enforces it.".to_owned(),
        _ if used > bound => "Over the bound: commands that need memory are refused.".to_owned(),
        _ if used > bound / 10 * 9 => "More than nine tenths of the bound are in use.".to_owned(),
        _ => "Nothing to worry about.".to_owned(),
    };
    let data = engine.memory_of_data();
    let text = format!("{keys} keys take {data} of {used} bytes in use; maxmemory is {bound}. {judgement}\n");
    env.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn a_longer_value_takes_more() {
        let mut bench = Bench::new();
        let mut bytes = |value: &str| -> i64 {
            bench.run(&[b"SET", b"a", value.as_bytes()]);
            let reply = bench.run(&[b"MEMORY", b"USAGE", b"a", b"SAMPLES", b"0"]);
            std::str::from_utf8(&reply[1..]).unwrap().trim_end().parse().unwrap()
        };
        let (short, long) = (bytes("v"), bytes(&"v".repeat(1_000)));
        assert!((16..100).contains(&short), "{short}");
        assert!((1_000..1_400).contains(&long), "{long}");
    }

    #[test]
    fn refusals() {
        check(
            "MEMORY USAGE a => $-1 | MEMORY USAGE a SAMPLES -1 => -ERR syntax error | MEMORY USAGE a FOO 1 => -ERR syntax error",
        );
        check(
            "MEMORY USAGE a SAMPLES => -ERR syntax error | MEMORY USAGE a SAMPLES x => -ERR value is not an integer or out of range",
        );
    }

    #[test]
    fn the_doctor_sees_a_bound() {
        let mut bench = Bench::new();
        bench.run(&[b"SET", b"a", b"1"]);
        for (bound, judgement) in [(0, "No bound"), (u64::MAX, "Nothing to worry about"), (1, "Over the bound")] {
            bench.engine.set_maxmemory(bound);
            let report = String::from_utf8(bench.run(&[b"MEMORY", b"DOCTOR"])).unwrap();
            assert!(report.contains(judgement), "{report}");
        }
    }
}

//! The longest step of an image, in bytes and in time, for a hash with 5 million fields and for a string of 512 MB; and
//! the cost of a change that makes the image write ahead. `cargo bench -p fastness-engine --bench image`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench reads the clock; the engine does not")]

use fastness_engine::{EffectBuf, Engine, EngineOptions, Env, Random, command};
use fastness_resp::{Args, Protocol, ReplyBuf};
use fastness_types::limits::{IMAGE_RECORD_BYTES_MAX, VALUE_BYTES_MAX};
use fastness_types::{HashSeed, WallMs};
use std::time::{Duration, Instant};

const FIELDS: usize = 5_000_000;
/// The budget of the shard's loop.
const SLICE_BYTES: usize = 32 * 1024;
const NOW: WallMs = WallMs(1_700_000_000_000);

struct No;

impl Random for No {
    fn next_u64(&mut self) -> u64 {
        0
    }
}

fn engine() -> Engine {
    Engine::new(EngineOptions { seed: HashSeed([7; 16]), maxmemory: 0 })
}

fn run(engine: &mut Engine, words: &[&[u8]]) -> Duration {
    let args = Args::slices(words);
    let spec = command::table().look_up(args).unwrap_or_else(|_| panic!("{args:?} is known"));
    let (mut reply, mut effects) = (ReplyBuf::new(Protocol::Resp2), EffectBuf::new());
    let mut env = Env {
        now: NOW,
        may_write: true,
        random: &mut No,
        reply: &mut reply,
        effects: &mut effects,
        first: None,
        blocking: None,
    };
    let began = Instant::now();
    engine.execute(spec, args, &mut env);
    began.elapsed()
}

/// Writes and loads an image, and prints the longest steps.
fn measure(name: &str, engine: &mut Engine, change: &[&[u8]]) {
    engine.begin_image(IMAGE_RECORD_BYTES_MAX);
    let changed = run(engine, change);
    let mut loaded = self::engine();
    let (mut bytes, mut longest, mut slowest, mut slowest_load) = (0, 0, Duration::ZERO, Duration::ZERO);
    let began = Instant::now();
    let sum = loop {
        let mut chunk = Vec::with_capacity(2 * SLICE_BYTES);
        let step = Instant::now();
        let stepped = engine.image_step(SLICE_BYTES, &mut chunk);
        slowest = slowest.max(step.elapsed());
        (bytes, longest) = (bytes + chunk.len(), longest.max(chunk.len()));
        let load = Instant::now();
        if let Err(error) = loaded.load_image(NOW, &chunk) {
            panic!("what was written is read: {error}");
        }
        slowest_load = slowest_load.max(load.elapsed());
        match stepped {
            Ok(Some(sum)) => break sum,
            Ok(None) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let took = began.elapsed();
    assert_eq!(loaded.digest(), sum.digest);
    println!(
        "{name}: {bytes} bytes, written and read in {took:?}; longest step {longest} bytes, {slowest:?}; longest chunk's read {slowest_load:?}; the change {changed:?}"
    );
}

fn main() {
    let mut hash = engine();
    for i in 0..FIELDS {
        run(&mut hash, &[b"HSET", b"hash", format!("field:{i}").as_bytes(), b"value"]);
    }
    measure("a hash of 5 M fields, then HSET of one", &mut hash, &[b"HSET", b"hash", b"field:7", b"other"]);
    measure("a hash of 5 M fields, then DEL", &mut hash, &[b"DEL", b"hash"]);
    drop(hash);
    let mut text = engine();
    let offset = (VALUE_BYTES_MAX - 1).to_string();
    run(&mut text, &[b"SETRANGE", b"text", offset.as_bytes(), b"x"]);
    measure("a string of 512 MB, then SETRANGE of 5 bytes", &mut text, &[b"SETRANGE", b"text", b"100000000", b"bytes"]);
    measure("a string of 512 MB, then SET", &mut text, &[b"SET", b"text", b"short"]);
}

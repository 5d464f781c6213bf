//! Nanoseconds of the engine's hot path, without sockets and log: GET and SET of 100-byte values on a million 16-byte
//! keys, one at a time and with the pipeline's prefetching. `cargo bench -p fastness-engine`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench reads the clock; the engine does not")]

use fastness_engine::{EffectBuf, Engine, EngineOptions, Env, Key, Random, command};
use fastness_resp::{Args, Protocol, ReplyBuf};
use fastness_types::{HashSeed, Seq, WallMs, slot_of};
use std::hint::black_box;
use std::time::Instant;

const KEYS: u64 = 1_000_000;
const RUNS: usize = 2_000_000;
const PIPELINE: usize = 16;
const NOW: WallMs = WallMs(1_700_000_000_000);

struct Draw(u64);

impl Random for Draw {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }
}

struct Bench {
    engine: Engine,
    effects: EffectBuf,
    reply: ReplyBuf,
    draw: Draw,
}

impl Bench {
    fn run(&mut self, args: Args<'_>) {
        self.run_placed(args, None);
    }

    fn run_placed(&mut self, args: Args<'_>, first: Option<Key<'_>>) {
        let spec = command::table().look_up(args).unwrap_or_else(|_| panic!("{args:?} is known"));
        let mut env = Env {
            now: NOW,
            may_write: true,
            random: &mut self.draw,
            reply: &mut self.reply,
            effects: &mut self.effects,
            first,
            blocking: None,
        };
        self.engine.execute(spec, args, &mut env);
    }

    fn forget(&mut self) {
        if self.effects.len() > 256 * 1024 {
            self.effects.clear();
        }
        self.effects.clear_touched();
        self.reply.truncate(0);
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("key:{number:012}").into_bytes()
}

fn report(label: &str, started: Instant, runs: usize) {
    println!("{label:<28} {:>7.1} ns", started.elapsed().as_nanos() as f64 / runs as f64);
}

fn main() {
    let options = EngineOptions { seed: HashSeed([7; 16]), maxmemory: 0 };
    let (engine, effects, reply) = (Engine::new(options), EffectBuf::new(), ReplyBuf::new(Protocol::Resp2));
    let mut bench = Bench { engine, effects, reply, draw: Draw(1) };
    let value = vec![b'x'; 100];
    let started = Instant::now();
    for number in 0..KEYS {
        bench.run(Args::slices(&[b"SET", &key(number), &value]));
        bench.forget();
    }
    report("SET of a new key", started, KEYS as usize);

    let keys: Vec<Vec<u8>> = (0..RUNS).map(|_| key(bench.draw.below(KEYS))).collect();
    let requests: [(&str, Vec<&[u8]>); 2] = [("GET", vec![]), ("SET", vec![&value])];
    for (name, rest) in &requests {
        let words = |key| [&[name.as_bytes(), key], &rest[..]].concat();
        let started = Instant::now();
        for key in &keys {
            bench.run(Args::slices(&words(key)));
            bench.forget();
        }
        report(name, started, RUNS);
        let started = Instant::now();
        for chunk in keys.chunks(PIPELINE) {
            let places: Vec<_> = chunk.iter().map(|key| bench.engine.key(key)).collect();
            bench.engine.prefetch(places.iter());
            for (key, place) in chunk.iter().zip(places) {
                bench.run_placed(Args::slices(&words(key)), Some(place));
            }
            bench.forget();
        }
        report(&format!("{name}, prefetched"), started, RUNS);
    }
    kept(&mut bench, &keys, &value);
    apply(&mut bench, &keys, &value);
    parts(&bench, &keys);
}

/// SET as a primary runs it, with undo records that are dropped a few batches later; and undoing the same number.
fn kept(bench: &mut Bench, keys: &[Vec<u8>], value: &[u8]) {
    const BATCH: usize = 1_000;
    const OPEN: u64 = 4;
    bench.engine.keep_undo(usize::MAX);
    let mut seq = Seq(1);
    let started = Instant::now();
    for batch in keys.chunks(BATCH) {
        for chunk in batch.chunks(PIPELINE) {
            let places: Vec<_> = chunk.iter().map(|key| bench.engine.key(key)).collect();
            bench.engine.prefetch(places.iter());
            for (key, place) in chunk.iter().zip(places) {
                bench.run_placed(Args::slices(&[b"SET", key, value]), Some(place));
                bench.engine.end_unit(seq);
            }
            bench.forget();
        }
        bench.engine.forget_undo(Seq(seq.0.saturating_sub(OPEN)));
        seq = seq.next();
    }
    report("SET, prefetched, undo kept", started, RUNS);
    bench.engine.keep_undo(usize::MAX);
    for key in &keys[..RUNS / 4] {
        bench.run(Args::slices(&[b"SET", key, value]));
        bench.engine.end_unit(Seq(1));
        bench.forget();
    }
    let held = bench.engine.undo_bytes() as usize / (RUNS / 4);
    let started = Instant::now();
    assert!(bench.engine.undo());
    report("SET, undone", started, RUNS / 4);
    println!("{:<28} {held:>7} bytes", "SET, a record");
}

/// Applying a batch of SETs, as a follower does.
fn apply(bench: &mut Bench, keys: &[Vec<u8>], value: &[u8]) {
    const BATCH: usize = 1_000;
    let batches: Vec<Vec<u8>> = keys
        .chunks(BATCH)
        .map(|chunk| {
            chunk.iter().for_each(|key| bench.run(Args::slices(&[b"SET", key, value])));
            bench.reply.truncate(0);
            bench.effects.take().to_vec()
        })
        .collect();
    let started = Instant::now();
    for batch in &batches {
        bench.engine.apply(NOW, batch).expect("effects of this version");
    }
    report("SET, applied", started, RUNS);
}

/// Cost of the parts of a look-up.
fn parts(bench: &Bench, keys: &[Vec<u8>]) {
    let started = Instant::now();
    keys.iter().for_each(|key| _ = black_box(slot_of(key)));
    report("slot", started, RUNS);
    let started = Instant::now();
    keys.iter().for_each(|key| _ = black_box(bench.engine.hash_key(key)));
    report("hash", started, RUNS);
    let started = Instant::now();
    keys.iter().for_each(|key| _ = black_box(command::table().look_up(Args::slices(&[b"GET", key])).is_ok()));
    report("command", started, RUNS);
}

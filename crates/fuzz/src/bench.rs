//! Engines for targets.
//!
//! An engine is kept from one execution to the next, because a new one takes longer than most inputs. It is emptied in
//! between, and replaced now and then.

use std::cell::RefCell;

use fastness_engine::command::{self, Run};
use fastness_engine::{EffectBuf, Engine, EngineOptions, Env, Random};
use fastness_resp::{Args, Protocol, ReplyBuf};
use fastness_types::{HashSeed, WallMs};

/// The time at which everything happens.
pub(crate) const NOW: WallMs = WallMs(1_700_000_000_000);
/// Executions after which an engine is replaced.
const USES_MAX: u32 = 1_000;
/// Memory that engines may request, whatever the input, bytes.
pub(crate) const ENGINES_BYTES: usize = 16 << 20;

/// A deterministic generator in the place of randomness.
struct Counter(u64);

impl Random for Counter {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }
}

/// A new engine; its places in tables depend on the seed.
pub(crate) fn engine(seed: u8) -> Engine {
    Engine::new(EngineOptions { seed: HashSeed([seed; 16]), maxmemory: 0 })
}

/// Removes all keys.
fn empty(engine: &mut Engine) {
    if engine.keyspace_stats().keys > 0 {
        let keys: Vec<Vec<u8>> = engine.keyspace().iter().map(|entry| entry.key().to_vec()).collect();
        let mut effects = EffectBuf::new();
        for key in &keys {
            run(engine, &[b"UNLINK", key], &mut effects);
        }
        assert_eq!(engine.keyspace_stats().keys, 0, "all keys were removed");
    }
    while engine.release_some() {}
}

/// Calls `with` with empty engines, each with its own places in tables.
pub(crate) fn with_engines<T>(with: impl FnOnce(&mut [Engine; 3]) -> T) -> T {
    thread_local! {
        static ENGINES: RefCell<Option<([Engine; 3], u32)>> = const { RefCell::new(None) };
    }
    ENGINES.with(|kept| {
        // They are put back only if nothing has panicked.
        let (mut engines, uses) =
            kept.take().filter(|(_, uses)| *uses < USES_MAX).unwrap_or_else(|| ([engine(1), engine(2), engine(3)], 0));
        let result = with(&mut engines);
        engines.iter_mut().for_each(empty);
        kept.replace(Some((engines, uses + 1)));
        result
    })
}

/// The engine whose hashes keys get before they are applied.
pub(crate) fn with_hashes<T>(with: impl FnOnce(&Engine) -> T) -> T {
    thread_local! {
        static HASHES: Engine = engine(1);
    }
    HASHES.with(with)
}

/// Runs one command on a primary; returns its reply. A command that the engine does not run has no reply.
pub(crate) fn run(engine: &mut Engine, words: &[&[u8]], effects: &mut EffectBuf) -> Vec<u8> {
    run_args(engine, Args::slices(words), Protocol::Resp2, effects)
}

/// As [`run`], with the arguments of a request.
pub(crate) fn run_args(engine: &mut Engine, args: Args<'_>, protocol: Protocol, effects: &mut EffectBuf) -> Vec<u8> {
    let Ok(spec) = command::table().look_up(args) else { return Vec::new() };
    if !matches!(spec.run, Run::Data(_)) {
        return Vec::new();
    }
    let mut reply = ReplyBuf::new(protocol);
    let mut random = Counter(1);
    let mut env =
        Env { now: NOW, may_write: true, random: &mut random, reply: &mut reply, effects, first: None, blocking: None };
    engine.execute(spec, args, &mut env);
    reply.to_vec()
}

/// An image of the data, with records of at most this length.
pub(crate) fn image(engine: &mut Engine, record_bytes_max: usize) -> Vec<u8> {
    let mut image = Vec::new();
    engine.begin_image(record_bytes_max);
    loop {
        match engine.image_step(64 << 10, &mut image) {
            Ok(None) => {}
            Ok(Some(sum)) => {
                assert_eq!((sum.keys, sum.digest), (engine.keyspace_stats().keys, engine.digest()), "the image's sum");
                return image;
            }
            Err(lost) => panic!("an image is lost: {lost:?}"),
        }
    }
}

/// Loads an image of `from` into the empty `to`, and compares them.
pub(crate) fn copy_by_image(from: &mut Engine, to: &mut Engine, record_bytes_max: usize) {
    let written = image(from, record_bytes_max);
    to.load_image(NOW, &written).unwrap_or_else(|error| panic!("an image that was written: {error}"));
    to.end_image_load().unwrap_or_else(|error| panic!("an image that was written: {error}"));
    assert_eq!(to.digest(), from.digest(), "an image holds all data");
    assert_eq!(to.keyspace_stats(), from.keyspace_stats(), "an image holds all keys and deadlines");
}

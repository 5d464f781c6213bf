//! The product's side without a server: an engine in this process, and a replica that applies its effects.

use fastness_engine::command::{self, Run, Scope};
use fastness_engine::{Blocking, EffectBuf, Engine, EngineOptions, Env, Key, KeyWait, Random, TypeNumber};
use fastness_resp::{Args, Protocol, ReplyBuf};
use fastness_types::{HashSeed, WallMs};

use super::generator::{Request, spelled};
use super::rng::Rng;

/// What the engine chooses at random.
struct Choices(Rng);

impl Random for Choices {
    fn next_u64(&mut self) -> u64 {
        self.0.bits()
    }
}

/// An engine that runs commands, and one that applies the effects.
#[allow(missing_debug_implementations)]
pub struct Ours {
    primary: Engine,
    replica: Engine,
    effects: EffectBuf,
    choices: Choices,
}

impl Ours {
    /// Both without any data. The seed is that of what the engine chooses at random.
    #[must_use]
    pub fn new(seed: u64) -> Ours {
        let options = EngineOptions { seed: HashSeed([9; 16]), maxmemory: 0 };
        Ours {
            primary: Engine::new(options),
            replica: Engine::new(options),
            effects: EffectBuf::new(),
            choices: Choices(Rng::new(seed)),
        }
    }

    /// Runs one command and returns the bytes of its reply; its effects become one batch of the replica.
    ///
    /// # Panics
    /// If the command is not the engine's, or the replica refuses the effects.
    pub fn call(&mut self, request: &Request, protocol: Protocol, now: WallMs) -> Vec<u8> {
        let args = Args::owned(request);
        let mut reply = ReplyBuf::new(protocol);
        match command::table().look_up(args) {
            Err(error) => reply.error(&error),
            Ok(spec) if let Run::Table(run) = spec.run => {
                if let Err(error) = run(command::table(), args, &mut reply) {
                    reply.error(error.line());
                }
            }
            Ok(spec) => {
                assert!(matches!(spec.run, Run::Data(_)), "{} is not the engine's", spelled(request));
                let mut over = TimeIsOver::default();
                let mut env = Env {
                    now,
                    may_write: true,
                    random: &mut self.choices,
                    reply: &mut reply,
                    effects: &mut self.effects,
                    first: None,
                    blocking: Some(&mut over),
                };
                self.primary.execute(spec, args, &mut env);
                // A shard would run it without the right to write, and a router would not know where.
                let is_routed = spec.keys(args).next().is_some() || spec.scope == Scope::Keyspace;
                assert!(is_routed || self.effects.is_empty(), "{} has effects, and no keys", spelled(request));
                if over.waits {
                    reply.null_array();
                }
            }
        }
        let applied = self.replica.apply(now, &self.effects.take().to_vec());
        applied.expect("a replica takes every effect");
        reply.to_vec()
    }

    /// Whether the replica has the same data, and uses as much memory for it.
    ///
    /// # Panics
    /// If it has not.
    pub fn compare_replica(&mut self) {
        assert_eq!(self.primary.digest(), self.replica.digest(), "the replica differs");
        let kept = |engine: &mut Engine| {
            // Flushed data is freed piece by piece.
            while engine.release_some() {}
            (engine.keyspace_stats(), engine.memory_used())
        };
        let [ours, replicas] = [&mut self.primary, &mut self.replica].map(kept);
        assert_eq!(ours, replicas, "the replica differs");
    }
}

/// A command that waits is answered as if its time were over: nobody else changes a key.
#[derive(Default)]
struct TimeIsOver {
    waits: bool,
}

impl Blocking for TimeIsOver {
    fn is_behind(&self, _: &Key<'_>, _: TypeNumber) -> bool {
        false
    }

    fn note(&self) -> Option<&[u8]> {
        None
    }

    fn wait(&mut self, _: KeyWait) {
        self.waits = true;
    }
}

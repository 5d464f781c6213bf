//! Scripts of commands with their replies, for the tests of this crate.

use crate::blocking::{Blocking, KeyWait};
use crate::command::{self, Run};
use crate::effect::EffectBuf;
use crate::engine::{Engine, EngineOptions};
use crate::env::Env;
use crate::image::ImageSum;
use crate::keyspace::{Key, TypeNumber};
use crate::random::Random;
use fastness_resp::{Args, Protocol, ReplyBuf};
use fastness_types::{HashSeed, WallMs};

/// A deterministic generator in the place of randomness.
pub(crate) struct Counter(pub(crate) u64);

impl Random for Counter {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0
    }
}

/// Lets a command wait.
struct Waiting {
    behind: bool,
    note: Option<Box<[u8]>>,
    wait: Option<KeyWait>,
}

impl Blocking for Waiting {
    fn is_behind(&self, _: &Key<'_>, _: TypeNumber) -> bool {
        self.behind
    }

    fn note(&self) -> Option<&[u8]> {
        self.note.as_deref()
    }

    fn wait(&mut self, wait: KeyWait) {
        self.wait = Some(wait);
    }
}

/// An engine with a clock that only a script advances.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) now: WallMs,
    pub(crate) effects: EffectBuf,
    pub(crate) protocol: Protocol,
    random: Counter,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench {
            engine: Engine::new(EngineOptions { seed: HashSeed([7; 16]), maxmemory: 0 }),
            now: WallMs(1_700_000_000_000),
            effects: EffectBuf::default(),
            protocol: Protocol::Resp2,
            random: Counter(1),
        }
    }

    /// Runs a command and returns the bytes of its reply.
    pub(crate) fn run(&mut self, words: &[&[u8]]) -> Vec<u8> {
        self.reply(words).to_vec()
    }

    pub(crate) fn reply(&mut self, words: &[&[u8]]) -> ReplyBuf {
        let args = Args::slices(words);
        match command::table().look_up(args) {
            Err(error) => {
                let mut reply = ReplyBuf::new(self.protocol);
                reply.error(&error);
                reply
            }
            Ok(spec) => {
                assert!(matches!(spec.run, Run::Data(_)), "{} is not run by the engine", spec.name);
                self.with_env(|engine, env| engine.execute(spec, args, env))
            }
        }
    }

    /// Runs a command that may wait; returns its reply and what it waits for. `behind`: others wait at every key.
    pub(crate) fn run_waiting(&mut self, words: &[&[u8]], behind: bool) -> (Vec<u8>, Option<KeyWait>) {
        self.run_with(words, Waiting { behind, note: None, wait: None })
    }

    /// Runs a command again that waits, with the note of its first run.
    pub(crate) fn run_again(&mut self, words: &[&[u8]], wait: &KeyWait) -> (Vec<u8>, Option<KeyWait>) {
        self.run_with(words, Waiting { behind: false, note: Some(wait.note.clone()), wait: None })
    }

    fn run_with(&mut self, words: &[&[u8]], mut waiting: Waiting) -> (Vec<u8>, Option<KeyWait>) {
        let args = Args::slices(words);
        let spec = command::table().look_up(args).unwrap();
        let mut reply = ReplyBuf::new(self.protocol);
        let mut env = Env {
            now: self.now,
            may_write: true,
            random: &mut self.random,
            reply: &mut reply,
            effects: &mut self.effects,
            first: None,
            blocking: Some(&mut waiting),
        };
        self.engine.execute(spec, args, &mut env);
        (reply.to_vec(), waiting.wait)
    }

    /// Makes an image in pieces, while `meanwhile` changes the data after each of the first three, and loads it into
    /// another engine.
    pub(crate) fn imaged(&mut self, record_max: usize, mut meanwhile: impl FnMut(&mut Bench)) -> (ImageSum, Bench) {
        self.engine.begin_image(record_max);
        let mut restored = Bench::new();
        let mut changes = 3;
        loop {
            let mut chunk = Vec::new();
            let sum = self.engine.image_step(1_500, &mut chunk).unwrap();
            restored.engine.load_image(WallMs(1), &chunk).unwrap();
            if changes > 0 {
                changes -= 1;
                meanwhile(self);
            }
            if let Some(sum) = sum {
                restored.engine.end_image_load().unwrap();
                return (sum, restored);
            }
        }
    }

    fn with_env(&mut self, run: impl FnOnce(&mut Engine, &mut Env<'_>)) -> ReplyBuf {
        let mut reply = ReplyBuf::new(self.protocol);
        let mut env = Env {
            now: self.now,
            may_write: true,
            random: &mut self.random,
            reply: &mut reply,
            effects: &mut self.effects,
            first: None,
            blocking: None,
        };
        run(&mut self.engine, &mut env);
        reply
    }

    /// Runs `COMMAND arg ... => reply | ...`, or `wait ms`. Words are separated by blanks, and so are the lines of a
    /// reply.
    pub(crate) fn script(&mut self, script: &str) {
        for line in script.split(" | ") {
            let Some((request, expected)) = line.split_once(" => ") else {
                let ms = line.trim().strip_prefix("wait ").and_then(|ms| ms.parse::<u64>().ok());
                self.now.0 += ms.unwrap_or_else(|| panic!("neither a reply nor a wait: {line}"));
                continue;
            };
            let words: Vec<&[u8]> = request.split_whitespace().map(str::as_bytes).collect();
            let reply = String::from_utf8_lossy(&self.run(&words)).trim_end().replace("\r\n", " ");
            assert_eq!(reply, expected.trim(), "{request} (in: {script})");
        }
    }
}

/// Damages `rounds` copies of these payloads at random, apart from their first `kept` bytes, and passes them to `read`:
/// whatever the bytes, it answers and does not panic.
pub(crate) fn damage(bodies: &[Vec<u8>], kept: usize, rounds: usize, mut read: impl FnMut(Vec<u8>)) {
    let mut random = Counter(1);
    let mut below = |bound: usize| random.below(bound as u64) as usize;
    for _ in 0..rounds {
        let mut body = bodies[below(bodies.len())].clone();
        for _ in 0..=below(4) {
            let at = kept + below(body.len() - kept);
            match below(4) {
                0 => body[at] = below(256) as u8,
                1 => body[at] ^= 1 << below(8),
                2 => body.truncate(at + 1),
                _ => body.insert(at, below(256) as u8),
            }
        }
        read(body);
    }
}

/// Runs a script on an empty engine.
pub(crate) fn check(script: &str) {
    Bench::new().script(script);
}

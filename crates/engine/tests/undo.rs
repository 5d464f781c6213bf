//! Undoing returns memory to what is committed: random commands, some of which commit, against a twin that applies only
//! the committed ones. Then both continue. `PROPTEST_CASES=n` sets the number of cases.

#![allow(clippy::unwrap_used)]

mod support;

use fastness_engine::{Digest, EffectBuf, Engine};
use fastness_types::{Seq, WallMs};
use proptest::prelude::*;
use std::collections::VecDeque;
use support::{Step, Words, command, engine, read_all, run, step, words};

#[derive(Debug, Clone)]
enum Do {
    Step(Step),
    Multi(Vec<Words>),
    /// A transaction with a bound of its effects: most are rolled back.
    Bounded(Vec<Words>, usize),
    /// DUMP of a key, and RESTORE to another.
    Restore(String, String),
    Seal,
    /// This many of the sealed batches commit, and the open one too if there are not so many.
    Commit(usize),
    Image,
    ImageStep,
}

fn action() -> impl Strategy<Value = Do> {
    let key = || (0u8..12).prop_map(|key| format!("{{{}}}k{key}", key % 3));
    prop_oneof![
        24 => step().prop_map(Do::Step),
        2 => prop::collection::vec(command(), 1..6).prop_map(Do::Multi),
        4 => (prop::collection::vec(command(), 1..9), 0usize..900).prop_map(|(commands, max)| Do::Bounded(commands, max)),
        1 => (0usize..900).prop_map(|max| {
            let lines = ["SET {0}k0 1", "FLUSHALL", "SET {0}k0 2", "HSET {0}h2 a 1", "FLUSHALL", "SET {1}k1 3"];
            Do::Bounded(lines.map(|line| words(line.to_owned())).to_vec(), max)
        }),
        1 => (key(), key()).prop_map(|(from, to)| Do::Restore(from, to)),
        4 => Just(Do::Seal),
        2 => (0usize..4).prop_map(Do::Commit),
        1 => Just(Do::Image),
        2 => Just(Do::ImageStep),
    ]
}

/// A tenure: the bound of records, what happens, and the commands that both engines run after it was undone.
#[derive(Debug, Clone)]
struct Tenure {
    bytes_max: usize,
    actions: Vec<Do>,
    then: Vec<Words>,
}

fn tenure() -> impl Strategy<Value = Tenure> {
    let bytes_max = prop_oneof![4 => Just(usize::MAX), 1 => 0usize..6_000];
    let (actions, then) = (prop::collection::vec(action(), 0..60), prop::collection::vec(command(), 0..20));
    (bytes_max, actions, then).prop_map(|(bytes_max, actions, then)| Tenure { bytes_max, actions, then })
}

/// The units of one batch: timestamps and effects.
type Batch = Vec<(WallMs, Vec<u8>)>;

struct World {
    ahead: Engine,
    twin: Engine,
    now: WallMs,
    open: Batch,
    sealed: VecDeque<Batch>,
    /// The open batch's sequence number.
    seq: u64,
    log: Batch,
    flushes: usize,
    /// Tenures that were undone by records.
    undone: usize,
    /// Digest of the data when the image in progress was started.
    image_of: Digest,
}

impl World {
    fn new() -> World {
        let (open, sealed, log) = Default::default();
        let (ahead, twin) = (engine(1), engine(1));
        World {
            ahead,
            twin,
            now: WallMs(1_000_000),
            open,
            sealed,
            seq: 1,
            log,
            flushes: 0,
            undone: 0,
            image_of: Digest::default(),
        }
    }

    fn unit(&mut self, commands: &[Words]) {
        let mut effects = EffectBuf::new();
        commands.iter().for_each(|words| _ = run(&mut self.ahead, words, self.now, true, &mut effects));
        self.stage(effects);
    }

    /// A unit that is rolled back if it is too long: then everything is as before, including a watching session.
    fn bounded_unit(&mut self, commands: &[Words], bytes_max: usize) {
        let observe = |engine: &mut Engine, now| {
            let shown = (engine.digest(), engine.keyspace_stats(), engine.first_deadline(), read_all(engine, now));
            let removed = (engine.stats().expired, engine.stats().expired_fields);
            (shown, removed, engine.undo_bytes(), engine.is_touched(9, now))
        };
        (0..12).for_each(|key| _ = self.ahead.watch(9, format!("{{{}}}k{key}", key % 3).as_bytes(), self.now));
        let before = observe(&mut self.ahead, self.now);
        let mut effects = EffectBuf::new();
        let savepoint = self.ahead.begin_unit(&mut effects, bytes_max);
        commands.iter().for_each(|words| _ = run(&mut self.ahead, words, self.now, true, &mut effects));
        assert!(effects.len() <= bytes_max);
        if effects.has_overflowed() {
            self.ahead.roll_back(savepoint, &mut effects);
            assert!(effects.is_empty() && effects.touched().is_empty() && !effects.touches_all());
            assert!(!effects.has_overflowed());
            assert_eq!(observe(&mut self.ahead, self.now), before, "{commands:?}");
        } else {
            let flushes = commands.iter().filter(|words| words[0] == b"FLUSHALL").count();
            self.flushes += flushes;
            self.stage(effects);
        }
        self.ahead.unwatch(9);
    }

    fn stage(&mut self, mut effects: EffectBuf) {
        if !effects.is_empty() {
            self.ahead.advance_timestamp(self.now);
            self.ahead.end_unit(Seq(self.seq));
            self.open.push((self.now, effects.take().to_vec()));
        }
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.sealed.push_back(std::mem::take(&mut self.open));
            self.seq += 1;
        }
    }

    fn commit(&mut self, count: usize) {
        if count > self.sealed.len() {
            self.seal();
        }
        for _ in 0..count {
            let Some(batch) = self.sealed.pop_front() else { return };
            self.ahead.forget_undo(Seq(self.seq - 1 - self.sealed.len() as u64));
            for (timestamp, effects) in &batch {
                self.twin.apply(*timestamp, effects).unwrap();
            }
            self.log.extend(batch);
        }
    }

    fn act(&mut self, action: Do) {
        match action {
            Do::Step(Step::Run(words)) => self.unit(&[words]),
            Do::Step(Step::Flush) => {
                self.flushes += 1;
                self.unit(&[words("FLUSHALL".to_owned())]);
            }
            Do::Step(Step::NextBatch(ms)) => {
                self.now.0 += ms;
                let mut effects = EffectBuf::new();
                self.ahead.expire_due(self.now, 3, &mut effects);
                self.stage(effects);
            }
            Do::Multi(commands) => self.unit(&commands),
            Do::Bounded(commands, bytes_max) => self.bounded_unit(&commands, bytes_max),
            Do::Restore(from, to) => {
                let dump = dump(&mut self.ahead, from.as_bytes(), self.now);
                if let Some(dump) = dump {
                    self.unit(&[restore(to.as_bytes(), dump)]);
                }
            }
            Do::Seal => self.seal(),
            Do::Commit(count) => self.commit(count),
            Do::Image => {
                self.image_of = self.ahead.digest();
                // Nearly every value is large in every other one.
                self.ahead.begin_image(if self.seq.is_multiple_of(2) { 24 } else { usize::MAX });
            }
            Do::ImageStep => {
                if self.ahead.has_image()
                    && let Some(sum) = self.ahead.image_step(200, &mut Vec::new()).unwrap()
                {
                    assert_eq!(sum.digest, self.image_of, "an image is of its point");
                }
            }
        }
    }

    fn tenure(&mut self, tenure: Tenure) {
        self.ahead.keep_undo(tenure.bytes_max);
        (self.seq, self.flushes) = (1, 0);
        let bounded = tenure.bytes_max < usize::MAX;
        tenure.actions.into_iter().for_each(|action| self.act(action));
        if self.ahead.undo() {
            self.undone += 1;
            assert!(!self.ahead.has_image());
        } else {
            assert!(bounded || self.flushes > 1, "records are lost");
            self.ahead = engine(1);
            self.log.iter().for_each(|(timestamp, effects)| self.ahead.apply(*timestamp, effects).unwrap());
        }
        (self.open, self.sealed) = Default::default();
        self.same();
        for words in &tenure.then {
            self.on_both(words);
        }
        self.same();
    }

    fn on_both(&mut self, words: &Words) {
        if words[0] == b"SPOP" {
            // Tables may have other shapes, by which each would draw other members.
            return;
        }
        let run = |engine: &mut Engine| {
            let mut effects = EffectBuf::new();
            let reply = run(engine, words, self.now, true, &mut effects);
            engine.advance_timestamp(self.now);
            (reply, effects.take().to_vec())
        };
        let (ahead, twin) = (run(&mut self.ahead), run(&mut self.twin));
        let name = String::from_utf8_lossy(&words[0]).into_owned();
        // Tables may have other shapes, which these show.
        let shows = ["SCAN", "KEYS", "RANDOMKEY", "HRANDFIELD", "HGETALL", "SMEMBERS", "SRANDMEMBER"];
        let names = ["SUNIONSTORE", "SINTERSTORE", "SDIFFSTORE"];
        if !shows.iter().chain(&names).any(|other| *other == name) {
            assert_eq!(ahead, twin, "{words:?}");
        }
        self.log.push((self.now, ahead.1));
    }

    fn same(&mut self) {
        assert_eq!(self.ahead.digest(), self.twin.digest());
        assert_eq!(self.ahead.keyspace_stats(), self.twin.keyspace_stats());
        assert_eq!(self.ahead.newest_timestamp(), self.twin.newest_timestamp());
        assert_eq!(self.ahead.first_deadline(), self.twin.first_deadline());
        assert_eq!(self.ahead.undo_bytes(), 0);
        let now = self.ahead.newest_timestamp();
        assert_eq!(read_all(&mut self.ahead, now), read_all(&mut self.twin, now));
        let dumped = [&mut self.ahead, &mut self.twin].map(|engine| dumped(engine, now).digest());
        assert_eq!(dumped[0], dumped[1]);
    }
}

/// The payload that DUMP returns for a key.
fn dump(engine: &mut Engine, key: &[u8], now: WallMs) -> Option<Vec<u8>> {
    let reply = run(engine, &vec![b"DUMP".to_vec(), key.to_vec()], now, false, &mut EffectBuf::new());
    let head = reply.iter().position(|byte| *byte == b'\n')? + 1;
    (reply[..head] != *b"$-1\r\n").then(|| reply[head..reply.len() - 2].to_vec())
}

fn restore(key: &[u8], dump: Vec<u8>) -> Words {
    vec![b"RESTORE".to_vec(), key.to_vec(), b"0".to_vec(), dump, b"REPLACE".to_vec()]
}

/// Another engine, restored from the DUMP payloads of all keys.
fn dumped(of: &mut Engine, now: WallMs) -> Engine {
    let mut other = engine(3);
    let keys: Vec<Vec<u8>> = of.keyspace().iter().map(|entry| entry.key().to_vec()).collect();
    for key in keys {
        if let Some(dump) = dump(of, &key, now) {
            let reply = run(&mut other, &restore(&key, dump), now, true, &mut EffectBuf::new());
            assert_eq!(reply, b"+OK\r\n");
        }
    }
    other
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn undoing_leads_to_what_committed(tenures in prop::collection::vec(tenure(), 1..5)) {
        let mut world = World::new();
        for tenure in tenures {
            world.tenure(tenure);
        }
        // Nothing is lost from the account, and nothing stays in it.
        let empty = engine(1).memory_used();
        for engine in [&mut world.ahead, &mut world.twin] {
            run(engine, &words("FLUSHALL".to_owned()), world.now, true, &mut EffectBuf::new());
            while engine.release_some() {}
            prop_assert_eq!(engine.memory_used(), empty);
        }
    }
}

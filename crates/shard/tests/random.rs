//! Random commands, commits, lost leaderships and restores against a naive model.
//!
//! The model knows what each command must answer on this primary's memory, which writes a reply depends on, and how
//! many writes of each epoch the log holds. Checked on every reply:
//! - the text is the model's
//! - it leaves only when what it depends on is in the log (`sync`, and for a client of `async` with an override), and
//!   does leave then
//! - it is unknown only if what it depends on can no longer be in the log
//!
//! And at the end of every tenure: memory, a follower that applied the same log, and a fresh replay have one digest.
//!
//! `SHARD_SEED=n` runs one seed; `SHARD_SEEDS=n` runs that many.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use fastness_shard::{DurabilityOverride, Outcome, Release};
use fastness_types::{Clock, Durability, Epoch, FormatLevel, limits};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::{Client, MemorySnapshots, OTHER, Reply, Setup, World, script};

const KEYS: [&str; 6] = ["{t}a", "{t}b", "{t}c", "{t}d", "{t}e", "{t}f"];

/// So small that a longer unit costs little.
const UNIT_BYTES_MAX: usize = 2_000;

type Data = BTreeMap<&'static str, String>;

/// What the primary's memory must be, and what it owes to writes that may be undone.
#[derive(Default)]
struct Model {
    data: Data,
    /// Data after each write of this tenure, by its ordinal (from 1); `[0]` is what the tenure started with.
    history: Vec<Data>,
    /// The last write of this tenure that changed a key.
    changed: BTreeMap<&'static str, usize>,
    /// The last write of this tenure that changed all keys.
    all_changed: usize,
    /// How many did.
    flushes: usize,
}

/// A reply that was held when it was given.
struct Held {
    client: usize,
    reply: Reply,
    epoch: Epoch,
    /// The write of its epoch that it depends on.
    depends_on: usize,
    /// Its mode is `sync`, or its client overrides the mode.
    durable: bool,
    line: String,
}

struct Run {
    seed: u64,
    mode: Durability,
    rng: SmallRng,
    store: Rc<MemorySnapshots>,
    world: World,
    clients: Vec<Client>,
    model: Model,
    held: Vec<Held>,
    term: u64,
    leads: bool,
    /// Whether undo records may hold but a few bytes.
    bounded: bool,
}

impl Model {
    fn begin(&mut self, data: Data) {
        self.history = vec![data.clone()];
        self.data = data;
        self.changed.clear();
        self.all_changed = 0;
        self.flushes = 0;
    }

    fn writes(&self) -> usize {
        self.history.len() - 1
    }

    fn last_change(&self, key: &str) -> usize {
        self.changed.get(key).copied().unwrap_or(0).max(self.all_changed)
    }

    fn bulk(&self, key: &str) -> String {
        match self.data.get(key) {
            Some(value) => format!("${}\r\n{value}\r\n", value.len()),
            None => "$-1\r\n".into(),
        }
    }

    /// One command without effects on the model's clock; gives the reply, the keys changed and the keys read.
    fn apply(&mut self, words: &[&'static str], value: &str) -> (String, Vec<&'static str>) {
        let key = *words.get(1).unwrap_or(&"");
        match words[0] {
            "SET" => {
                self.data.insert(key, value.into());
                ("+OK\r\n".into(), vec![key])
            }
            "GET" => (self.bulk(key), vec![]),
            "DEL" => match self.data.remove(key) {
                Some(_) => (":1\r\n".into(), vec![key]),
                None => (":0\r\n".into(), vec![]),
            },
            "INCR" => match self.data.get(key).map_or(Ok(0), |text| text.parse::<i64>()) {
                Ok(number) => {
                    self.data.insert(key, (number + 1).to_string());
                    (format!(":{}\r\n", number + 1), vec![key])
                }
                Err(_) => ("-ERR value is not an integer or out of range\r\n".into(), vec![]),
            },
            "SETNX" => {
                if self.data.contains_key(key) {
                    return (":0\r\n".into(), vec![]);
                }
                self.data.insert(key, value.into());
                (":1\r\n".into(), vec![key])
            }
            other => unreachable!("{other}"),
        }
    }
}

impl Run {
    async fn new(seed: u64) -> Run {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mode = if rng.random_bool(0.75) { Durability::Sync } else { Durability::Async };
        let store = Rc::new(MemorySnapshots::default());
        let bounded = rng.random_bool(0.3);
        let undo_bytes = if bounded { rng.random_range(0..300) } else { limits::UNDO_BYTES_MAX };
        let mut setup = Setup { snapshots: Some(store.clone()), ..Setup::ungated(mode).undo_bytes(undo_bytes) };
        setup.batching.unit_bytes_max = UNIT_BYTES_MAX;
        // In half of the runs most batches are cut, down to one byte of effects per entry.
        let cuts = rng.random_bool(0.5);
        if cuts {
            setup.batching.fragment_bytes_max = rng.random_range(20..200);
            setup.batching.in_flight_max = rng.random_range(1..6);
        }
        let world = World::primary(setup).await;
        if cuts {
            world.driver.set_format(FormatLevel::BOUNDS);
            world.resolve().await;
        } else {
            world.driver.set_format(FormatLevel::BASE);
        }
        let mut clients: Vec<Client> = (0..4).map(|_| world.client()).collect();
        clients[0].session.set_durability_override(DurabilityOverride::Sync);
        let mut model = Model::default();
        model.begin(Data::new());
        Run { seed, mode, rng, store, world, clients, model, held: Vec::new(), term: 1, leads: true, bounded }
    }

    fn key(&mut self) -> &'static str {
        KEYS[self.rng.random_range(0..KEYS.len())]
    }

    fn value(&mut self) -> String {
        if self.rng.random_bool(0.5) { self.rng.random_range(0..99).to_string() } else { "text".into() }
    }

    fn simple(&mut self) -> [&'static str; 2] {
        [["SET", "GET", "DEL", "INCR", "SETNX", "GET"][self.rng.random_range(0..6)], self.key()]
    }

    /// Runs one command or transaction and checks it against the model.
    fn command(&mut self) {
        let client = self.rng.random_range(0..self.clients.len());
        match self.rng.random_range(0..20) {
            0 => self.flush(client),
            1 => self.size(client),
            2..=4 => self.transaction(client),
            5 => self.too_large(client),
            _ => {
                let (words, value) = (self.simple(), self.value());
                let line = line_of(words, &value);
                let depends = self.model.last_change(words[1]);
                let (text, changed) = self.model.apply(&words, &value);
                self.finish(client, line, text, changed, depends);
            }
        }
    }

    fn flush(&mut self, client: usize) {
        self.model.data.clear();
        let (reply, durable) = self.durability_override(client, "FLUSHALL");
        self.model.history.push(self.model.data.clone());
        self.model.all_changed = self.model.writes();
        self.model.flushes += 1;
        let depends = self.model.writes();
        self.check(client, "FLUSHALL".into(), (reply, durable), ("+OK\r\n".into(), true), depends);
    }

    fn size(&mut self, client: usize) {
        let text = format!(":{}\r\n", self.model.data.len());
        let reply = self.durability_override(client, "DBSIZE");
        let depends = self.model.writes();
        self.check(client, "DBSIZE".into(), reply, (text, false), depends);
    }

    fn transaction(&mut self, client: usize) {
        assert_eq!(self.clients[client].run("MULTI").text, "+OK\r\n");
        let count = self.rng.random_range(0..4);
        let (mut text, mut changed, mut depends) = (format!("*{count}\r\n"), Vec::new(), 0);
        for _ in 0..count {
            let (words, value) = (self.simple(), self.value());
            assert_eq!(self.clients[client].run(&line_of(words, &value)).text, "+QUEUED\r\n");
            depends = depends.max(self.model.last_change(words[1]));
            let (reply, keys) = self.model.apply(&words, &value);
            text += &reply;
            changed.extend(keys);
        }
        self.finish(client, "EXEC".into(), text, changed, depends);
    }

    /// A transaction that is taken back whole: its reply depends on what it saw, and nothing depends on it.
    fn too_large(&mut self, client: usize) {
        assert_eq!(self.clients[client].run("MULTI").text, "+OK\r\n");
        let mut depends = 0;
        for _ in 0..self.rng.random_range(0..4) {
            let (words, value) = (self.simple(), self.value());
            assert_eq!(self.clients[client].run(&line_of(words, &value)).text, "+QUEUED\r\n");
            depends = depends.max(self.model.last_change(words[1]));
        }
        if self.rng.random_bool(0.3) {
            assert_eq!(self.clients[client].run("FLUSHALL").text, "+QUEUED\r\n");
            depends = self.model.writes();
        }
        let key = self.key();
        depends = depends.max(self.model.last_change(key));
        let line = format!("SET {key} {}", "x".repeat(UNIT_BYTES_MAX));
        assert_eq!(self.clients[client].run(&line).text, "+QUEUED\r\n");
        let reply = self.durability_override(client, "EXEC");
        let text = format!("-ERR the command's effects exceed {UNIT_BYTES_MAX} bytes; no data was changed\r\n");
        self.check(client, "EXEC, too large".into(), reply, (text, false), depends);
    }

    fn finish(&mut self, client: usize, line: String, text: String, changed: Vec<&'static str>, depends: usize) {
        let reply = self.durability_override(client, &line);
        let wrote = !changed.is_empty();
        if wrote {
            self.model.history.push(self.model.data.clone());
            let ordinal = self.model.writes();
            self.model.changed.extend(changed.into_iter().map(|key| (key, ordinal)));
        }
        let depends = if wrote { self.model.writes() } else { depends };
        self.check(client, line, reply, (text, wrote), depends);
    }

    /// Runs a command, which may have an override; returns whether its reply has to wait for its commit.
    fn durability_override(&mut self, client: usize, line: &str) -> (Reply, bool) {
        let durability_override = match self.rng.random_range(0..6) {
            0 => Some(DurabilityOverride::Sync),
            1 => Some(DurabilityOverride::Default),
            _ => None,
        };
        let client = &mut self.clients[client];
        let reply = match durability_override {
            Some(durability_override) => client.run_with_override(durability_override, line),
            None => client.run(line),
        };
        let is_sync = durability_override.unwrap_or(client.session.durability_override()) == DurabilityOverride::Sync;
        (reply, is_sync || self.mode == Durability::Sync)
    }

    fn check(
        &mut self,
        client: usize,
        line: String,
        (reply, durable): (Reply, bool),
        (text, wrote): (String, bool),
        depends_on: usize,
    ) {
        assert_eq!(reply.text, text, "seed {}: {line}", self.seed);
        assert_eq!(reply.wrote(), wrote, "seed {}: {line}", self.seed);
        let depends_on = if durable || wrote { depends_on } else { 0 };
        self.held.push(Held { client, reply, epoch: *self.world.epoch.borrow(), depends_on, durable, line });
    }

    /// Looks at every held reply.
    fn flush_replies(&mut self) {
        let epoch = *self.world.epoch.borrow();
        let lease_holds = self.world.lease.borrow().holds(self.world.clock.boot());
        let held = std::mem::take(&mut self.held);
        for held in held {
            let in_log = self.world.units_in_log(held.epoch) >= held.depends_on;
            let of_now = self.leads && held.epoch == epoch;
            let told = self.clients[held.client].leave(&held.reply);
            let about = format!("seed {}: {} of {} needs {}", self.seed, held.line, held.epoch, held.depends_on);
            match told {
                Release::Now if held.durable => assert!(in_log, "left early: {about}"),
                Release::Now => assert!(in_log || (of_now && lease_holds), "left early: {about}"),
                Release::Unknown => assert!(!in_log && !of_now, "unknown too soon: {about}"),
                Release::Wait => assert!(!in_log, "held although committed: {about}"),
            }
            if told == Release::Wait {
                self.held.push(held);
            }
        }
    }

    /// The leadership is lost after `commits` more batches; another node may write; then this one wins again.
    async fn lose_and_win(&mut self) {
        self.world.resolve().await;
        for _ in 0..self.rng.random_range(0..3) {
            self.world.commit().await;
        }
        self.world.take();
        self.world.pending.borrow_mut().clear();
        let uncached = self.rng.random_bool(0.5);
        self.world.log.uncached.store(uncached, std::sync::atomic::Ordering::Relaxed);
        let committed = self.world.units_in_log(*self.world.epoch.borrow());
        let restores = self.world.shard.info().restores;
        self.leads = false;
        if self.rng.random_bool(0.6) {
            self.term += 1;
            self.world.depose(self.rng.random_bool(0.5).then_some(OTHER)).await;
            self.world.foreign_blank(self.term).await;
            self.restored().await;
            self.flush_replies();
        }
        self.term += 1;
        self.world.lead(self.term).await;
        self.restored().await;
        let suffice = !self.bounded && self.model.flushes < 2;
        assert!(!suffice || self.world.shard.info().restores == restores, "seed {}: restored", self.seed);
        self.leads = true;
        let data = self.model.history[committed].clone();
        self.model.begin(data);
        self.flush_replies();
        assert!(self.held.is_empty(), "seed {}: every reply of an ended tenure is decided", self.seed);
    }

    async fn restored(&self) {
        for _ in 0..1000 {
            if !self.world.shard.info().restoring {
                break;
            }
            self.world.resolve().await;
        }
        self.world.resolve().await;
        assert!(!self.world.shard.info().restoring, "seed {}", self.seed);
    }

    /// Everything commits; then all who hold the same log have the same data.
    async fn compare(&mut self) {
        for _ in 0..100 {
            self.world.advance(Duration::from_millis(5)).await;
            self.world.commit_all().await;
            if self.world.shard.info().open_batches == 0 {
                break;
            }
        }
        self.flush_replies();
        assert!(self.held.is_empty(), "seed {}: nothing is held when nothing is open", self.seed);
        let own = self.world.shard.digest().unwrap();
        let memory = self.world.shard.info().memory;
        assert_eq!((memory.open_effects, memory.clients), (0, 0), "seed {}: nothing is open", self.seed);
        // One that replays the whole log, and one that starts with the newest snapshot.
        for snapshots in [None, Some(self.store.clone())] {
            let setup = Setup { snapshots, ..Setup::ungated(self.mode) };
            let replay = World::start_on(setup, self.world.log.clone(), self.world.clock.clone());
            for _ in 0..1000 {
                replay.resolve().await;
                if replay.shard.info().applied == own.0 {
                    break;
                }
            }
            assert_eq!(replay.shard.digest().unwrap(), own, "seed {}", self.seed);
            let checksum = self.world.shard.info().log_checksum;
            assert_eq!(replay.shard.info().log_checksum, checksum, "seed {}", self.seed);
            assert_eq!(replay.shard.info().memory.open_effects, 0, "seed {}: a replica has none", self.seed);
            let mut reader = replay.client().readonly();
            for key in KEYS {
                assert_eq!(reader.run(&format!("GET {key}")).text, self.model.bulk(key), "seed {}", self.seed);
            }
            replay.driver.set_role(fastness_consensus::handle::Role::Stopped { reason: "done".into() });
            replay.resolve().await;
        }
    }

    /// Undos by records, and by a restore.
    fn undos(&self) -> (u64, u64) {
        let info = self.world.shard.info();
        (info.undone_by_records, info.undone - info.undone_by_records)
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..42) {
            0..=24 => self.command(),
            25..=28 => self.world.resolve().await,
            29..=32 => drop(self.world.commit().await),
            33..=35 => self.flush_replies(),
            36 => self.world.advance(Duration::from_micros(self.rng.random_range(0..5000))).await,
            37 => self.lose_lease().await,
            38 => self.lose_and_win().await,
            39..=40 => drop(self.world.shard.snapshot()),
            _ => self.compare().await,
        }
    }

    /// The lease runs out and is held again in the same term: nothing is served meanwhile, and nothing is lost.
    async fn lose_lease(&mut self) {
        self.world.pause_process(Duration::from_secs(4000));
        let reply = self.clients[0].run("GET {t}a");
        assert_eq!(reply.text, "-CLUSTERDOWN The cluster is down\r\n");
        assert_eq!(reply.outcome, Outcome::REPLY);
        self.flush_replies();
        self.world.resolve().await;
        self.world.lease.borrow().extend(self.world.clock.boot().plus(Duration::from_secs(3600)));
        self.world.driver.wake_owner();
    }
}

fn line_of(words: [&'static str; 2], value: &str) -> String {
    match words[0] {
        "SET" | "SETNX" => format!("{} {} {value}", words[0], words[1]),
        _ => format!("{} {}", words[0], words[1]),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_runs() {
    let seeds = match number("SHARD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SHARD_SEEDS").unwrap_or(60),
    };
    let undos = Rc::new(Cell::new((0, 0)));
    let many = seeds.end - seeds.start >= 60;
    for seed in seeds {
        let undos = undos.clone();
        script(async move {
            let mut run = Run::new(seed).await;
            for _ in 0..300 {
                run.step().await;
            }
            run.compare().await;
            let ((records, restores), (more_records, more_restores)) = (undos.get(), run.undos());
            undos.set((records + more_records, restores + more_restores));
        });
    }
    let (by_records, by_restores) = undos.get();
    assert!(!many || (by_records > 60 && by_restores > 10), "{by_records} undos by records, {by_restores} by restores");
}

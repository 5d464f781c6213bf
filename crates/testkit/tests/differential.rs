//! The engine against a real Valkey server: the same random commands, in both protocol versions. Replies must be equal
//! byte for byte, and the keys afterwards, too, except for the differences in `differential-exclusions.txt`. A second
//! engine applies the effects of the first and must end with the same digest.
//!
//! A failure names the seed: `FASTNESS_SEED=7 cargo test -p fastness-testkit --test differential` generates the same
//! commands again, `FASTNESS_COMMANDS=100000` more of them.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fastness_engine::command::{self, CommandSpec, Run};
use fastness_engine::{Blocking, EffectBuf, Engine, EngineOptions, Env, Key, KeyWait, Random, TypeNumber};
use fastness_resp::{Args, Protocol, ReplyBuf, Value};
use fastness_testkit::differential::compare::{decode, difference};
use fastness_testkit::differential::exclusions::{Comparison, Exclusions};
use fastness_testkit::differential::generator::{Generator, Request, spelled};
use fastness_testkit::differential::reference::{Reference, ReferenceConnection, words};
use fastness_testkit::differential::rng::Rng;
use fastness_types::{Clock, HashSeed, SystemClock, WallMs};

/// Seeds of a run without FASTNESS_SEED.
const SEEDS: &[u64] = &[1, 2, 3, 4, 77];
/// Commands per seed.
const COMMANDS: usize = 4_000;
/// Number of commands in the message of a failure.
const HISTORY: usize = 25;

fn exclusions() -> Exclusions {
    Exclusions::parse(include_str!("differential-exclusions.txt"))
}

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

fn seeds() -> Vec<u64> {
    number_from("FASTNESS_SEED").map_or_else(|| SEEDS.to_vec(), |seed| vec![seed])
}

struct Choices(Rng);

impl Random for Choices {
    fn next_u64(&mut self) -> u64 {
        self.0.bits()
    }
}

/// The product's side: an engine, and a replica that applies its effects.
struct Ours {
    primary: Engine,
    replica: Engine,
    effects: EffectBuf,
    choices: Choices,
}

impl Ours {
    fn new(seed: u64) -> Ours {
        let options = EngineOptions { seed: HashSeed([9; 16]), maxmemory: 0 };
        Ours {
            primary: Engine::new(options),
            replica: Engine::new(options),
            effects: EffectBuf::new(),
            choices: Choices(Rng::new(seed)),
        }
    }

    /// Runs one command; its effects become one batch of the replica.
    fn call(&mut self, request: &Request, protocol: Protocol, now: WallMs) -> Vec<u8> {
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
                if over.waits {
                    reply.null_array();
                }
            }
        }
        self.replica.apply(now, &self.effects.take().to_vec()).unwrap();
        reply.to_vec()
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

/// Both sides, and the commands that they have run.
struct Pair {
    seed: u64,
    ours: Ours,
    theirs: [ReferenceConnection; 2],
    exclusions: Exclusions,
    history: VecDeque<String>,
    seen: BTreeSet<&'static str>,
}

fn protocol_of(index: usize) -> Protocol {
    [Protocol::Resp2, Protocol::Resp3][index]
}

impl Pair {
    fn new(seed: u64, reference: &Reference) -> Pair {
        let mut theirs = [0, 1].map(|index| reference.connect(protocol_of(index)).unwrap());
        theirs[0].call(&words(&["FLUSHALL", "SYNC"])).unwrap();
        Pair {
            seed,
            ours: Ours::new(seed),
            theirs,
            exclusions: exclusions(),
            history: VecDeque::new(),
            seen: BTreeSet::new(),
        }
    }

    /// Runs a command on both sides and compares the replies, then the keys that it names.
    fn step(&mut self, request: &Request, version: usize) {
        self.history.push_back(spelled(request));
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        let spec = command::table().look_up(Args::owned(request)).ok();
        let comparison = spec.map_or(Comparison::Exact, |spec| self.exclusions.comparison(spec.name));
        if comparison == Comparison::Skip {
            return;
        }
        let before = SystemClock.wall();
        let ours_before = match comparison {
            Comparison::Between => Some(self.ours.call(request, protocol_of(version), before)),
            _ => None,
        };
        let theirs = self.theirs[version].call(request).unwrap();
        let after = SystemClock.wall();
        if theirs.starts_with(b"-CROSSSLOT ") {
            // The slots of the keys are checked before the engine.
            return;
        }
        let ours = self.ours.call(request, protocol_of(version), after);
        let ours_before = ours_before.as_deref().unwrap_or(&ours);
        if let Some(difference) = difference(comparison, [ours_before, &ours], &theirs) {
            self.fail(&format!("RESP{} replies differ\n{difference}", version + 2));
        }
        if let Some(spec) = spec {
            self.seen.insert(spec.name);
            match comparison {
                _ if matches!(spec.name, "lset" | "linsert" | "sort" | "sort_ro") => self.pack_theirs(&request[1]),
                Comparison::Recoded if !theirs.starts_with(b"-") => {
                    self.write_anew(&request[spec.first_key_at().unwrap_or(1)]);
                }
                Comparison::Drawn if !theirs.starts_with(b"-") => self.fill_anew(&request[1]),
                _ => {}
            }
            self.compare_keys(spec, request, after.0 - before.0);
        }
    }

    /// Sets a string, unless it is missing, to the value that the reference has.
    fn write_anew(&mut self, key: &[u8]) {
        let get = decode(&self.theirs[0].call(&[b"GET".to_vec(), key.to_vec()]).unwrap());
        let Some(value) = get.as_bytes().map(<[u8]>::to_vec) else { return };
        let set = vec![b"SET".to_vec(), key.to_vec(), value, b"KEEPTTL".to_vec()];
        assert_eq!(self.call_both(&set), [b"+OK\r\n".to_vec(), b"+OK\r\n".to_vec()]);
    }

    /// Gives both sides the reference's set of this key, which has the same number of members on both. A set that was
    /// left with few members may have another encoding for each, as the members have, so it is added anew.
    fn fill_anew(&mut self, key: &[u8]) {
        let [ours, theirs] = self.call_both(&vec![b"SCARD".to_vec(), key.to_vec()]);
        assert_eq!(ours, theirs, "seed {}: the same number of members is left", self.seed);
        let [ours, members] = self.call_both(&vec![b"SMEMBERS".to_vec(), key.to_vec()]).map(|all| names(&decode(&all)));
        if ours == members {
            return;
        }
        let deadline = self.theirs[0].call(&[b"PEXPIRETIME".to_vec(), key.to_vec()]).unwrap();
        self.call_both(&vec![b"DEL".to_vec(), key.to_vec()]);
        let add: Request = [b"SADD".to_vec(), key.to_vec()].into_iter().chain(members).collect();
        self.call_both(&add);
        if let Value::Integer(at @ 0..) = decode(&deadline) {
            self.call_both(&vec![b"PEXPIREAT".to_vec(), key.to_vec(), at.to_string().into_bytes()]);
        }
    }

    /// A list that only the reference has converted, for an element that it then did not add, is packed there again.
    fn pack_theirs(&mut self, key: &[u8]) {
        let encoding = vec![b"OBJECT".to_vec(), b"ENCODING".to_vec(), key.to_vec()];
        let [ours, theirs] = self.call_both(&encoding);
        let is_unpacked = [&b"$9\r\nquicklist\r\n"[..], b"$8\r\nskiplist\r\n"].contains(&&theirs[..]);
        if ours != b"$8\r\nlistpack\r\n" || !is_unpacked {
            return;
        }
        let [dump, at] = ["DUMP", "PEXPIRETIME"].map(|name| {
            let reply = self.theirs[0].call(&[name.as_bytes().to_vec(), key.to_vec()]).unwrap();
            decode(&reply)
        });
        let Value::Integer(at) = at else { panic!("PEXPIRETIME replies with an integer") };
        let mut restore = words(&["RESTORE", "", &at.max(0).to_string(), "", "REPLACE", "ABSTTL"]);
        (restore[1], restore[3]) = (key.to_vec(), dump.as_bytes().unwrap().to_vec());
        assert_eq!(self.theirs[0].call(&restore).unwrap(), b"+OK\r\n");
    }

    fn compare_keys(&mut self, spec: &CommandSpec, request: &Request, took_ms: u64) {
        let keys: BTreeSet<&[u8]> = spec.keys(Args::owned(request)).collect();
        for key in keys {
            self.compare_key(key, took_ms);
        }
    }

    /// Value, encoding and deadline. A deadline that was given as a span may differ by the time that the command took.
    fn compare_key(&mut self, key: &[u8], took_ms: u64) {
        for question in [&[&b"GET"[..]][..], &[b"OBJECT", b"ENCODING"]] {
            let request: Request = question.iter().copied().chain([key]).map(<[u8]>::to_vec).collect();
            let [ours, theirs] = self.call_both(&request);
            if ours != theirs {
                self.fail(&format!(
                    "{} differs\n  ours:   {}\n  theirs: {}",
                    spelled(&request),
                    ours.escape_ascii(),
                    theirs.escape_ascii()
                ));
            }
        }
        self.compare_elements(key);
        self.compare_fields(key, took_ms);
        self.compare_members(key);
        self.compare_scores(key);
        let request = vec![b"PEXPIRETIME".to_vec(), key.to_vec()];
        let [ours, theirs] = self.call_both(&request);
        let [Value::Integer(our_ms), Value::Integer(their_ms)] = [&ours, &theirs].map(|reply| decode(reply)) else {
            panic!("PEXPIRETIME replies with integers");
        };
        if our_ms == their_ms {
            return;
        }
        self.check_deadlines(our_ms, their_ms, took_ms);
        let align = vec![b"PEXPIREAT".to_vec(), key.to_vec(), their_ms.to_string().into_bytes()];
        self.ours.call(&align, Protocol::Resp2, SystemClock.wall());
    }

    fn check_deadlines(&self, our_ms: i64, their_ms: i64, took_ms: u64) {
        if our_ms < 0 || their_ms < 0 || !(0..=took_ms as i64).contains(&(our_ms - their_ms)) {
            self.fail(&format!("deadlines differ: ours {our_ms}, theirs {their_ms}, the command took {took_ms} ms"));
        }
    }

    /// The members of a set, if it is one.
    fn compare_members(&mut self, key: &[u8]) {
        let request = vec![b"SMEMBERS".to_vec(), key.to_vec()];
        let [ours, theirs] = self.call_both(&request);
        if let Some(difference) = difference(Comparison::Unordered, [&ours, &ours], &theirs) {
            self.fail(&format!("{} differs\n{difference}", spelled(&request)));
        }
    }

    /// The fields of a hash with their values and deadlines, if it is one.
    fn compare_fields(&mut self, key: &[u8], took_ms: u64) {
        let request = vec![b"HGETALL".to_vec(), key.to_vec()];
        let [ours, theirs] = self.call_both(&request);
        if let Some(difference) = difference(Comparison::Unordered, [&ours, &ours], &theirs) {
            self.fail(&format!("{} differs\n{difference}", spelled(&request)));
        }
        let Value::Array(pairs) = decode(&theirs) else { return };
        for field in pairs.chunks(2).map(|pair| pair[0].as_bytes().unwrap().to_vec()) {
            self.compare_field_deadline(key, field, took_ms);
        }
    }

    /// The elements of a list, if it is one.
    fn compare_elements(&mut self, key: &[u8]) {
        let request: Request = [&b"LRANGE"[..], key, b"0", b"-1"].map(<[u8]>::to_vec).to_vec();
        let [ours, theirs] = self.call_both(&request);
        if let Some(difference) = difference(Comparison::Exact, [&ours, &ours], &theirs) {
            self.fail(&format!("{} differs\n{difference}", spelled(&request)));
        }
    }

    /// The members of a sorted set with their scores, if it is one.
    fn compare_scores(&mut self, key: &[u8]) {
        let request = [&b"ZRANGE"[..], key, b"0", b"-1", b"WITHSCORES"].map(<[u8]>::to_vec).to_vec();
        let [ours, theirs] = self.call_both(&request);
        if let Some(difference) = difference(Comparison::Exact, [&ours, &ours], &theirs) {
            self.fail(&format!("{} differs\n{difference}", spelled(&request)));
        }
    }

    fn compare_field_deadline(&mut self, key: &[u8], field: Vec<u8>, took_ms: u64) {
        let of_field = |command: &[&str]| {
            let mut request = words(command);
            request.insert(1, key.to_vec());
            request.extend(words(&["FIELDS", "1"]).into_iter().chain([field.clone()]));
            request
        };
        let [our_ms, their_ms] = self.call_both(&of_field(&["HPEXPIRETIME"])).map(|reply| match &decode(&reply) {
            Value::Array(deadlines) => match deadlines[..] {
                [Value::Integer(ms)] => ms,
                _ => panic!("HPEXPIRETIME returns one deadline"),
            },
            other => panic!("HPEXPIRETIME replies with an array: {other:?}"),
        });
        if our_ms != their_ms {
            self.check_deadlines(our_ms, their_ms, took_ms);
            let align = of_field(&["HPEXPIREAT", &their_ms.to_string()]);
            self.ours.call(&align, Protocol::Resp2, SystemClock.wall());
        }
    }

    fn call_both(&mut self, request: &Request) -> [Vec<u8>; 2] {
        let theirs = self.theirs[0].call(request).unwrap();
        [self.ours.call(request, Protocol::Resp2, SystemClock.wall()), theirs]
    }

    /// The same keys on both sides, and the same data on our replica.
    fn compare_everything(&mut self) {
        let [ours, theirs] = self.call_both(&words(&["KEYS", "*"])).map(|reply| names(&decode(&reply)));
        if ours != theirs {
            self.fail(&format!("other keys\n  ours:   {ours:?}\n  theirs: {theirs:?}"));
        }
        for key in ours {
            self.compare_key(&key, 0);
        }
        assert_eq!(self.ours.primary.digest(), self.ours.replica.digest(), "seed {}: the replica differs", self.seed);
        let kept = |engine: &mut Engine| {
            // Flushed data is freed piece by piece.
            while engine.release_some() {}
            (engine.keyspace_stats(), engine.memory_used())
        };
        let [ours, replicas] = [&mut self.ours.primary, &mut self.ours.replica].map(kept);
        assert_eq!(ours, replicas, "seed {}: the replica differs", self.seed);
    }

    fn fail(&self, what: &str) -> ! {
        let history: Vec<&str> = self.history.iter().map(String::as_str).collect();
        panic!(
            "{what}\nafter the last of these commands:\n  {}\nagain: FASTNESS_SEED={}",
            history.join("\n  "),
            self.seed
        );
    }
}

fn names(keys: &Value) -> BTreeSet<Vec<u8>> {
    let Value::Array(keys) = keys else { panic!("an array of keys: {keys:?}") };
    keys.iter().map(|key| key.as_bytes().unwrap().to_vec()).collect()
}

/// The commands that the engine runs.
fn engine_commands() -> BTreeSet<&'static str> {
    command::table()
        .implemented()
        .filter(|spec| matches!(spec.run, Run::Data(_) | Run::Table(_)))
        .map(|spec| spec.name)
        .collect()
}

#[test]
fn random_commands_have_equal_replies_and_effects() {
    let reference = Reference::start().unwrap();
    let commands = number_from("FASTNESS_COMMANDS").map_or(COMMANDS, |number| number as usize);
    let mut seen = BTreeSet::new();
    for seed in seeds() {
        let mut pair = Pair::new(seed, &reference);
        let mut generator = Generator::new(seed, |_| true);
        for number in 1..=commands {
            let request = generator.command();
            let version = generator.rng().below(2);
            pair.step(&request, version);
            if number % 500 == 0 || number == commands {
                pair.compare_everything();
            }
        }
        // Drawn so rarely that a seed may have none.
        for shape in ["FLUSHDB ?ASYNC ?SYNC", "FLUSHALL ?ASYNC ?SYNC"] {
            let request = generator.fill(shape);
            pair.step(&request, 0);
            pair.compare_everything();
        }
        seen.append(&mut pair.seen);
    }
    if number_from("FASTNESS_SEED").is_none() {
        // HELP of any container is the same code as OBJECT HELP.
        let is_free = |name: &str| name.ends_with("|help") || exclusions().comparison(name) == Comparison::Skip;
        let missed: Vec<_> =
            engine_commands().into_iter().filter(|name| !seen.contains(name) && !is_free(name)).collect();
        assert!(missed.is_empty(), "no shape draws these: {missed:?}");
    }
}

#[test]
fn expired_keys_are_gone() {
    let reference = Reference::start().unwrap();
    for seed in seeds() {
        let mut pair = Pair::new(seed, &reference);
        // MEMORY USAGE measures an expired key that Valkey has not removed yet; here it is removed.
        let names_a_key = |shape: &str| shape.split(' ').any(|word| word == "k" || word == "*k");
        let mut generator = Generator::new(seed, |shape| names_a_key(shape) && !shape.starts_with("MEMORY"));
        for _ in 0..300 {
            let deadline = SystemClock.wall().0 + 2;
            let key = format!("{{t}}{}", 2 + generator.rng().below(8));
            for key in [key.as_str(), "{t}2", "{t}3"] {
                let [ours, theirs] = pair.call_both(&words(&["SET", key, "5", "PXAT", &deadline.to_string()]));
                assert_eq!(ours, theirs);
            }
            while SystemClock.wall().0 <= deadline + 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let request = generator.command();
            pair.step(&request, 1);
        }
        pair.compare_everything();
    }
}

#[test]
fn expired_fields_are_gone() {
    let reference = Reference::start().unwrap();
    for seed in seeds() {
        let mut pair = Pair::new(seed, &reference);
        // HLEN counts fields that Valkey has not removed yet; so does its hash with only such fields, which is why one
        // field stays.
        let names_a_hash = |shape: &str| shape.split(' ').nth(1) == Some("h") && !shape.starts_with("HLEN");
        let mut generator = Generator::new(seed, names_a_hash);
        for _ in 0..200 {
            let mut last = 0;
            for key in ["{t}h0", "{t}h1", "{t}h2", "{t}h3"] {
                let field = ["f1", "f2", "f3"][generator.rng().below(3)];
                // Repeat if the deadline passes between the two sides.
                loop {
                    pair.call_both(&words(&["DEL", key]));
                    pair.call_both(&words(&["HSET", key, "f1", "1", "f2", "2", "f3", "3", "f4", "4", "stays", "5"]));
                    last = SystemClock.wall().0 + 3;
                    let expire = words(&["HPEXPIREAT", key, &last.to_string(), "FIELDS", "2", field, "f4"]);
                    let [ours, theirs] = pair.call_both(&expire);
                    if ours == theirs {
                        break;
                    }
                }
            }
            while SystemClock.wall().0 <= last + 1 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let request = generator.command();
            pair.step(&request, 1);
        }
        pair.compare_everything();
    }
}

#[test]
fn scans_find_the_same_keys() {
    let reference = Reference::start().unwrap();
    let mut pair = Pair::new(1, &reference);
    for number in 0..3_000 {
        let key = if number % 3 == 0 { format!("{{t}}{number}") } else { format!("key{number}") };
        pair.step(&words(&["SET", &key, "v"]), 0);
    }
    for options in [&[][..], &["COUNT", "7"], &["COUNT", "1"], &["MATCH", "*1?", "COUNT", "500"], &["TYPE", "hash"]] {
        for command in ["SCAN", "CLUSTERSCAN"] {
            let [ours, theirs] = [true, false].map(|ours| whole_scan(&mut pair, ours, command, options));
            assert_eq!(ours, theirs, "{command} {options:?}");
        }
    }
    // Commands on a single slot, and patterns that select one.
    for options in [&["SLOT", "15891", "COUNT", "10"][..], &["MATCH", "{t}*1"], &["MATCH", "{foo}*"]] {
        let [ours, theirs] = [true, false].map(|ours| whole_scan(&mut pair, ours, "CLUSTERSCAN", options));
        assert_eq!(ours, theirs, "CLUSTERSCAN {options:?}");
    }
    let [ours, theirs] = [true, false].map(|ours| whole_scan(&mut pair, ours, "SCAN", &["MATCH", "{t}*7"]));
    assert_eq!(ours, theirs, "SCAN MATCH {{t}}*7");
}

#[test]
fn scans_find_the_same_fields() {
    let reference = Reference::start().unwrap();
    let mut pair = Pair::new(1, &reference);
    for number in 0..2_000 {
        let [ours, theirs] = pair.call_both(&words(&["HSET", "h", &format!("f{number}"), &number.to_string()]));
        assert_eq!(ours, theirs);
    }
    for options in [&[][..], &["COUNT", "7"], &["MATCH", "*1?", "COUNT", "50"], &["NOVALUES", "MATCH", "f*"]] {
        let [ours, theirs] = [true, false].map(|ours| whole_scan(&mut pair, ours, "HSCAN h", options));
        assert_eq!(ours, theirs, "HSCAN {options:?}");
    }
}

#[test]
fn scans_find_the_same_members() {
    let reference = Reference::start().unwrap();
    let mut pair = Pair::new(1, &reference);
    for (key, count) in [("few", 100), ("many", 2_000)] {
        for number in 0..count {
            let [ours, theirs] = pair.call_both(&words(&["SADD", key, &format!("m{number}"), &number.to_string()]));
            assert_eq!(ours, theirs);
        }
        for options in [&[][..], &["COUNT", "7"], &["MATCH", "*1?", "COUNT", "50"], &["MATCH", "m*"]] {
            let command = format!("SSCAN {key}");
            let [ours, theirs] = [true, false].map(|ours| whole_scan(&mut pair, ours, &command, options));
            assert_eq!(ours, theirs, "{command} {options:?}");
        }
    }
    for number in 0..2_000 {
        let score = format!("{}", f64::from(number) / 7.0);
        let [ours, theirs] = pair.call_both(&words(&["ZADD", "z", &score, &format!("m{number}")]));
        assert_eq!(ours, theirs);
    }
    for options in [&[][..], &["COUNT", "7"], &["MATCH", "*1?", "COUNT", "50"], &["NOSCORES", "MATCH", "m*"]] {
        let [ours, theirs] = [true, false].map(|ours| whole_scan(&mut pair, ours, "ZSCAN z", options));
        assert_eq!(ours, theirs, "ZSCAN {options:?}");
    }
}

/// Sorted sets of equal scores at every size around those at which nodes of the tree are split and joined.
#[test]
fn sorted_sets_of_every_size() {
    let reference = Reference::start().unwrap();
    let mut pair = Pair::new(1, &reference);
    let name = |number: usize| format!("m{}", number * 1_000 % 2_503);
    let mut same = |line: &[&str]| {
        let [ours, theirs] = pair.call_both(&words(line));
        assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string(), "{line:?}");
    };
    for number in 0..700 {
        same(&["ZADD", "z", "1", &name(number)]);
        let (rank, at) = ((number / 2).to_string(), name(number * 7 % (number + 1)));
        same(&["ZRANK", "z", &at, "WITHSCORE"]);
        same(&["ZRANGE", "z", &rank, &rank]);
        same(&["ZLEXCOUNT", "z", &format!("[{at}"), "+"]);
    }
    same(&["ZRANGE", "z", "0", "-1", "WITHSCORES"]);
    for number in 0..690 {
        same(&["ZREM", "z", &name(number * 13 % 700)]);
        same(&["ZRANGE", "z", "-3", "-1", "REV", "WITHSCORES"]);
    }
    pair.compare_everything();
}

fn whole_scan(pair: &mut Pair, ours: bool, command: &str, options: &[&str]) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_owned();
    for _ in 0..100_000 {
        let command: Vec<&str> = command.split(' ').chain([&cursor[..]]).collect();
        let request = words(&[&command[..], options].concat());
        let reply = if ours {
            pair.ours.call(&request, Protocol::Resp2, SystemClock.wall())
        } else {
            pair.theirs[0].call(&request).unwrap()
        };
        let Value::Array(reply) = decode(&reply) else { panic!("{command:?} replies with an array") };
        found.append(&mut names(&reply[1]));
        cursor = String::from_utf8(reply[0].as_bytes().unwrap().to_vec()).unwrap();
        if cursor == "0" {
            return found;
        }
    }
    panic!("the scan does not end");
}

#[test]
fn dumps_are_restored_by_the_other() {
    let reference = Reference::start().unwrap();
    let mut pair = Pair::new(1, &reference);
    let texts = ["", "1", "-129", "70000", "5000000000", "hello", &"ab".repeat(40), &"x".repeat(20_000), "0x1"];
    for text in texts {
        pair.step(&words(&["SET", "a", text]), 0);
        exchange_dumps(&mut pair, "a");
    }
    let long = "x".repeat(20_000);
    let numbers = ["1", "-1", "127", "128", "-4096", "4096", "-32768", "70000", "-8388608", "5000000000", "0x1", ""];
    let many: Vec<String> = (0..1_300).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for fields in [&["f", "v"][..], &numbers, &["f", &long, "g", "1"], &many, &[&"f".repeat(64), &"v".repeat(64)]] {
        pair.step(&words(&["DEL", "h"]), 0);
        pair.step(&words(&[&["HSET", "h"], fields].concat()), 0);
        exchange_dumps(&mut pair, "h");
        pair.step(&words(&["HPEXPIREAT", "h", "9000000000123", "FIELDS", "2", fields[0], "nosuch"]), 0);
        exchange_dumps(&mut pair, "h");
    }
    let texts: Vec<String> = (0..129).map(|number| format!("m{number}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let sets = [&numbers[..], &numbers[..10], &["5"], &many[..512], &many[..513], &texts[..128], &texts, &["f", &long]];
    for members in sets {
        pair.step(&words(&["DEL", "s"]), 0);
        pair.step(&words(&[&["SADD", "s"], members].concat()), 0);
        exchange_dumps(&mut pair, "s");
    }
    // Integers that are texts in one encoding and not in the other.
    for command in [&["SADD", "s", "x"][..], &["SREM", "s", "f", &long], &["SADD", "s", "1", "2"]] {
        pair.step(&words(command), 0);
        exchange_dumps(&mut pair, "s");
    }
}

#[test]
fn dumps_of_lists_are_restored_by_the_other() {
    let reference = Reference::start().unwrap();
    let mut pair = Pair::new(1, &reference);
    let (long, many) = ("x".repeat(20_000), (0..3_000).map(|number| number.to_string()).collect::<Vec<_>>());
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let numbers = ["1", "-1", "127", "128", "-4096", "4096", "-32768", "70000", "-8388608", "5000000000", "0x1", ""];
    for elements in [&["a"][..], &numbers, &["a", &long, "b"], &[&long], &many, &["ab"; 3_000]] {
        pair.step(&words(&["DEL", "l"]), 0);
        pair.step(&words(&[&["RPUSH", "l"], elements].concat()), 0);
        exchange_dumps(&mut pair, "l");
        pair.step(&words(&["LINSERT", "l", "AFTER", elements[elements.len() / 2], &long[..5_000]]), 0);
        pair.step(&words(&["LSET", "l", "0", &long[..9_000]]), 0);
        exchange_dumps(&mut pair, "l");
        // The nodes are the reference's: it is packed again at the same moment.
        while pair.call_both(&words(&["EXISTS", "l"]))[0] == b":1\r\n" {
            pair.step(&words(&["LPOP", "l", "40"]), 0);
        }
    }
}

#[test]
fn dumps_of_sorted_sets_are_restored_by_the_other() {
    let reference = Reference::start().unwrap();
    let mut pair = Pair::new(1, &reference);
    let (long, many) = ("m".repeat(70), (0..1_300).map(|number| number.to_string()).collect::<Vec<_>>());
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for members in [&["1", "a"][..], &["-0.5", "1", "inf", "b", "-inf", "-70000", "1e300", ""], &["1", &long], &many] {
        pair.step(&words(&["DEL", "z"]), 0);
        pair.step(&words(&[&["ZADD", "z"], members].concat()), 0);
        exchange_dumps(&mut pair, "z");
    }
}

/// Each side restores what each dumps.
fn exchange_dumps(pair: &mut Pair, key: &str) {
    let dumps = pair.call_both(&words(&["DUMP", key])).map(|dump| decode(&dump).as_bytes().unwrap().to_vec());
    for payload in dumps {
        let mut request = words(&["RESTORE", key, "0", "", "REPLACE"]);
        request[3] = payload;
        pair.step(&request, 0);
    }
}

/// Every row of the table, also of commands that are not implemented yet, as the reference's COMMAND and COMMAND DOCS
/// return it.
#[test]
fn facts_are_the_references() {
    let reference = Reference::start().unwrap();
    let mut connection = reference.connect(Protocol::Resp2).unwrap();
    let mut theirs = BTreeMap::new();
    let Value::Array(commands) = decode(&connection.call(&words(&["COMMAND"])).unwrap()) else { panic!("an array") };
    commands.into_iter().for_each(|command| collect(command, &mut theirs));
    let valkeys: Vec<_> = command::table().all().iter().filter(|spec| !spec.is_own).collect();
    assert_eq!(theirs.len(), valkeys.len());
    for spec in valkeys {
        let mut reply = ReplyBuf::new(Protocol::Resp2);
        command::table().write_info(spec, &mut reply);
        let Value::Array(mut ours) = decode(&reply.to_vec()) else { panic!("an array") };
        ours.pop();
        assert_eq!(Some(&ours), theirs.get(spec.name.as_bytes()), "{}", spec.name);

        let docs = decode(&connection.call(&words(&["COMMAND", "DOCS", spec.name])).unwrap());
        let docs = format!("{docs:?}");
        for fact in [spec.since, spec.group.name()] {
            let fact = format!("{:?}", Value::Bulk(fact.as_bytes().to_vec()));
            assert!(docs.contains(&fact), "{}: {fact} is not in {docs}", spec.name);
        }
    }
}

/// The arguments of every implemented command in COMMAND DOCS.
#[test]
fn arguments_are_the_references() {
    let reference = Reference::start().unwrap();
    let mut pair = Pair::new(1, &reference);
    let mut described = 0;
    for spec in command::table().implemented().filter(|spec| !spec.is_own) {
        let [ours, theirs] = pair.call_both(&words(&["COMMAND", "DOCS", spec.name])).map(|docs| {
            let Value::Array(docs) = decode(&docs) else { panic!("an array") };
            let [_, Value::Array(docs)] = &docs[..] else { panic!("the documents of one command") };
            field(docs, b"arguments").map(without_summaries)
        });
        assert_eq!(ours, theirs, "{}", spec.name);
        described += usize::from(ours.is_some());
    }
    assert!(described > 80, "{described} commands have arguments");
}

/// A field of a map as RESP2 has it.
fn field(map: &[Value], name: &[u8]) -> Option<Value> {
    map.chunks(2).find(|pair| pair[0].as_bytes() == Some(name)).map(|pair| pair[1].clone())
}

/// Arguments without the remarks on some of them, which are prose.
fn without_summaries(arguments: Value) -> Value {
    let Value::Array(mut arguments) = arguments else { panic!("arguments are an array") };
    for argument in &mut arguments {
        let Value::Array(fields) = argument else { panic!("an argument is a map") };
        if let Some(at) = fields.chunks(2).position(|pair| pair[0].as_bytes() == Some(b"summary")) {
            fields.drain(2 * at..2 * at + 2);
        }
        if let Some(at) = fields.chunks(2).position(|pair| pair[0].as_bytes() == Some(b"arguments")) {
            fields[2 * at + 1] = without_summaries(fields[2 * at + 1].clone());
        }
    }
    Value::Array(arguments)
}

/// Fields by name, also of a container's subcommands; without the subcommands themselves and the remarks on keys.
fn collect(command: Value, all: &mut BTreeMap<Vec<u8>, Vec<Value>>) {
    let Value::Array(mut fields) = command else { panic!("an array: {command:?}") };
    let Some(Value::Array(subcommands)) = fields.pop() else { panic!("subcommands are an array") };
    if let Some(Value::Array(specs)) = fields.last_mut() {
        for spec in specs {
            let Value::Array(spec) = spec else { panic!("a key specification is an array") };
            if spec[0].as_bytes() == Some(b"notes") {
                spec.drain(..2);
            }
        }
    }
    all.insert(fields[0].as_bytes().unwrap().to_vec(), fields);
    subcommands.into_iter().for_each(|sub| collect(sub, all));
}

#[test]
fn every_exclusion_is_of_a_command_that_is_there() {
    for name in exclusions().commands() {
        assert!(command::table().named(name.as_bytes()).is_some_and(|spec| spec.is_implemented), "{name}");
    }
}

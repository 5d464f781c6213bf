//! Both sides of a differential test, and how they are compared.

use std::collections::{BTreeSet, VecDeque};

use fastness_engine::command::{self, CommandSpec, Run};
use fastness_resp::{Args, Protocol, Value};
use fastness_types::{Clock, SystemClock};

use super::compare::{decode, difference};
use super::exclusions::{Comparison, Exclusions};
use super::generator::{Generator, Request, spelled};
use super::ours::Ours;
use super::reference::{Reference, ReferenceConnection, words};

/// Number of commands in the message of a failure.
const HISTORY: usize = 25;
/// Number of commands after which all keys are compared.
const WHOLE_EVERY: usize = 500;
/// The key that payloads of DUMP are restored to.
const RESTORED: &str = "{t}~restored";
const ANSWERS: &str = "the reference answers";

/// What is asked about a key: how the replies are compared, and the words before and after the key.
const QUESTIONS: &[(Comparison, &[&str], &[&str])] = &[
    (Comparison::Exact, &["GET"], &[]),
    (Comparison::Exact, &["OBJECT", "ENCODING"], &[]),
    (Comparison::Exact, &["LRANGE"], &["0", "-1"]),
    (Comparison::Exact, &["ZRANGE"], &["0", "-1", "WITHSCORES"]),
    (Comparison::Exact, &["XRANGE"], &["-", "+"]),
    (Comparison::Unordered, &["SMEMBERS"], &[]),
    (Comparison::Unordered, &["HGETALL"], &[]),
];
/// The place of the question about fields.
const FIELDS: usize = 6;

/// The allowed differences.
#[must_use]
pub fn exclusions() -> Exclusions {
    Exclusions::parse(include_str!("../../tests/differential-exclusions.txt"))
}

/// Both sides, and the commands that they have run. A difference is a panic that names the seed and the last commands.
#[allow(missing_debug_implementations)]
pub struct BothSides {
    seed: u64,
    /// The product's side.
    pub ours: Ours,
    /// The reference, with RESP2 and with RESP3.
    pub theirs: [ReferenceConnection; 2],
    exclusions: Exclusions,
    history: VecDeque<String>,
    /// The commands whose replies were compared.
    pub seen: BTreeSet<&'static str>,
    /// Number of commands whose replies were compared.
    pub compared: u64,
}

fn protocol_of(index: usize) -> Protocol {
    [Protocol::Resp2, Protocol::Resp3][index]
}

impl BothSides {
    /// Both sides without keys.
    ///
    /// # Panics
    /// If the reference does not answer.
    #[must_use]
    pub fn new(seed: u64, reference: &Reference) -> BothSides {
        let mut theirs = [0, 1].map(|index| reference.connect(protocol_of(index)).expect(ANSWERS));
        theirs[0].call(&words(&["FLUSHALL", "SYNC"])).expect(ANSWERS);
        BothSides {
            seed,
            ours: Ours::new(seed),
            theirs,
            exclusions: exclusions(),
            history: VecDeque::new(),
            seen: BTreeSet::new(),
            compared: 0,
        }
    }

    /// Runs so many of the generator's commands, and compares all keys every now and then and at the end.
    ///
    /// # Panics
    /// At a difference.
    pub fn run(&mut self, generator: &mut Generator, commands: usize) {
        for number in 1..=commands {
            let request = generator.command();
            let version = generator.rng().below(2);
            self.step(&request, version);
            if number % WHOLE_EVERY == 0 || number == commands {
                self.compare_everything();
            }
        }
        // Drawn so rarely that a seed may have none.
        for shape in ["FLUSHDB ?ASYNC ?SYNC", "FLUSHALL ?ASYNC ?SYNC"] {
            let request = generator.fill(shape);
            self.step(&request, 0);
            self.compare_everything();
        }
    }

    /// Runs a command on both sides and compares the replies, then the keys that it names.
    ///
    /// # Panics
    /// At a difference.
    pub fn step(&mut self, request: &Request, version: usize) {
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
        let theirs = self.theirs[version].call(request).expect(ANSWERS);
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
        self.compared += 1;
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
        let get = decode(&self.theirs[0].call(&[b"GET".to_vec(), key.to_vec()]).expect(ANSWERS));
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
        let deadline = self.theirs[0].call(&[b"PEXPIRETIME".to_vec(), key.to_vec()]).expect(ANSWERS);
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
            let reply = self.theirs[0].call(&[name.as_bytes().to_vec(), key.to_vec()]).expect(ANSWERS);
            decode(&reply)
        });
        let Value::Integer(at) = at else { panic!("PEXPIRETIME replies with an integer") };
        let mut restore = words(&["RESTORE", "", &at.max(0).to_string(), "", "REPLACE", "ABSTTL"]);
        (restore[1], restore[3]) = (key.to_vec(), dump.as_bytes().expect("a payload").to_vec());
        assert_eq!(self.theirs[0].call(&restore).expect(ANSWERS), b"+OK\r\n");
    }

    fn compare_keys(&mut self, spec: &CommandSpec, request: &Request, took_ms: u64) {
        let keys: BTreeSet<&[u8]> = spec.keys(Args::owned(request)).collect();
        for key in keys {
            self.compare_key(key, took_ms);
        }
    }

    /// Value, encoding and deadline. A deadline that was given as a span may differ by the time that the command took.
    fn compare_key(&mut self, key: &[u8], took_ms: u64) {
        let question = |(comparison, before, after): &(Comparison, &[&str], &[&str])| {
            let mut request = words(before);
            request.push(key.to_vec());
            request.extend(words(after));
            (*comparison, request)
        };
        let (comparisons, questions): (Vec<Comparison>, Vec<Request>) = QUESTIONS.iter().map(question).unzip();
        let theirs = self.theirs[0].call_all(&questions).expect(ANSWERS);
        for ((comparison, request), theirs) in comparisons.into_iter().zip(&questions).zip(&theirs) {
            let ours = self.ours.call(request, Protocol::Resp2, SystemClock.wall());
            if let Some(difference) = difference(comparison, [&ours, &ours], theirs) {
                self.fail(&format!("{} differs\n{difference}", spelled(request)));
            }
        }
        if let Value::Array(pairs) = decode(&theirs[FIELDS]) {
            let fields: Vec<&[u8]> = pairs.chunks(2).filter_map(|pair| pair[0].as_bytes()).collect();
            self.compare_field_deadlines(key, &fields, took_ms);
        }
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

    /// The payload of each side is restored by the other, and has the value that the reference has.
    fn compare_payloads(&mut self, key: &[u8]) {
        let dump = vec![b"DUMP".to_vec(), key.to_vec()];
        let [ours, theirs] = self.call_both(&dump).map(|reply| decode(&reply).as_bytes().map(<[u8]>::to_vec));
        let [Some(ours), Some(theirs)] = [ours, theirs] else { return };
        // The digest of a value says whether it has a deadline.
        let deadline = self.theirs[0].call(&[b"PEXPIRETIME".to_vec(), key.to_vec()]).expect(ANSWERS);
        let at = if matches!(decode(&deadline), Value::Integer(1..)) { "9000000000123" } else { "0" };
        let restored = |payload: Vec<u8>| {
            let mut request = words(&["RESTORE", RESTORED, at, "", "REPLACE", "ABSTTL"]);
            request[3] = payload;
            request
        };
        self.expect_payload(key, &restored(ours), "ours");
        let reply = self.ours.call(&restored(theirs), Protocol::Resp2, SystemClock.wall());
        if reply != b"+OK\r\n" {
            self.fail(&format!("the reference's payload of {}: {}", key.escape_ascii(), reply.escape_ascii()));
        }
        let again = self.ours.call(&words(&["DUMP", RESTORED]), Protocol::Resp2, SystemClock.wall());
        let again = decode(&again).as_bytes().expect("a payload").to_vec();
        self.expect_payload(key, &restored(again), "theirs by way of ours");
        self.call_both(&words(&["DEL", RESTORED]));
    }

    /// The reference restores this payload, to the value of this key.
    fn expect_payload(&mut self, key: &[u8], restore: &Request, whose: &str) {
        let reply = self.theirs[0].call(restore).expect(ANSWERS);
        let mut ask = words(&["DEBUG", "DIGEST-VALUE", "", RESTORED]);
        ask[2] = key.to_vec();
        let digests = decode(&self.theirs[0].call(&ask).expect(ANSWERS));
        let is_same = matches!(&digests, Value::Array(both) if both.len() == 2 && both[0] == both[1]);
        if reply != b"+OK\r\n" || !is_same {
            let (key, payload) = (key.escape_ascii(), restore[3].escape_ascii());
            self.fail(&format!("payload of {key}, {whose}: {}, {digests:?}\n{payload}", reply.escape_ascii()));
        }
    }

    fn compare_field_deadlines(&mut self, key: &[u8], fields: &[&[u8]], took_ms: u64) {
        if fields.is_empty() {
            return;
        }
        let of_fields = |command: &[&str], fields: &[&[u8]]| {
            let mut request = words(command);
            request.insert(1, key.to_vec());
            request.extend([b"FIELDS".to_vec(), fields.len().to_string().into_bytes()]);
            request.extend(fields.iter().map(|field| field.to_vec()));
            request
        };
        let [ours, theirs] =
            self.call_both(&of_fields(&["HPEXPIRETIME"], fields)).map(|reply| integers(&decode(&reply)));
        for (field, (our_ms, their_ms)) in fields.iter().zip(ours.into_iter().zip(theirs)) {
            if our_ms != their_ms {
                self.check_deadlines(our_ms, their_ms, took_ms);
                let align = of_fields(&["HPEXPIREAT", &their_ms.to_string()], &[field]);
                self.ours.call(&align, Protocol::Resp2, SystemClock.wall());
            }
        }
    }

    /// Runs a command on both sides without comparing anything, and returns our reply and theirs.
    ///
    /// # Panics
    /// If the reference does not answer.
    pub fn call_both(&mut self, request: &Request) -> [Vec<u8>; 2] {
        let theirs = self.theirs[0].call(request).expect(ANSWERS);
        [self.ours.call(request, Protocol::Resp2, SystemClock.wall()), theirs]
    }

    /// The same keys on both sides, also after an exchange of their payloads, and the same data on our replica.
    ///
    /// # Panics
    /// At a difference.
    pub fn compare_everything(&mut self) {
        let [ours, theirs] = self.call_both(&words(&["KEYS", "*"])).map(|reply| names(&decode(&reply)));
        if ours != theirs {
            self.fail(&format!("other keys\n  ours:   {ours:?}\n  theirs: {theirs:?}"));
        }
        for key in ours {
            self.compare_key(&key, 0);
            self.compare_payloads(&key);
        }
        self.ours.compare_replica();
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

/// The elements of an array of integers.
fn integers(reply: &Value) -> Vec<i64> {
    let Value::Array(elements) = reply else { panic!("an array of integers: {reply:?}") };
    let integer = |element: &Value| match element {
        Value::Integer(number) => *number,
        other => panic!("an integer: {other:?}"),
    };
    elements.iter().map(integer).collect()
}

/// The members of an array of bulk strings.
///
/// # Panics
/// If it is something else.
#[must_use]
pub fn names(keys: &Value) -> BTreeSet<Vec<u8>> {
    let Value::Array(keys) = keys else { panic!("an array of keys: {keys:?}") };
    keys.iter().map(|key| key.as_bytes().expect("a key").to_vec()).collect()
}

/// The commands of the engine that are not among these and should be: those that are compared at all.
#[must_use]
pub fn missed(seen: &BTreeSet<&'static str>) -> Vec<&'static str> {
    let exclusions = exclusions();
    // HELP of any container is the same code as OBJECT HELP.
    let is_free = |name: &str| name.ends_with("|help") || exclusions.comparison(name) == Comparison::Skip;
    let of_the_engine = |run: &Run| matches!(run, Run::Data(_) | Run::Table(_));
    let all = command::table().implemented().filter(|spec| of_the_engine(&spec.run)).map(|spec| spec.name);
    all.filter(|name| !seen.contains(name) && !is_free(name)).collect()
}

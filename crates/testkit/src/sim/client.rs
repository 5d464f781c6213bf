//! The clients of a simulation: each writes rising numbers to its own keys of all types (`form.rs`), raises its own
//! counters and reads anybody's keys, several commands at a time on one connection; what comes of it goes into the
//! ledger.
//!
//! A client follows redirections and tries another node after any refusal, but never repeats a command. A reply that
//! does not come in time is an unknown outcome, and its connection is given up. In front of every reply stands where it
//! comes from.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use fastness_load::outcome::{Outcome, classify};
use fastness_resp::request;
use fastness_resp::value::Value;
use fastness_types::{NodeId, SLOTS, ShardId, slot_of};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng};

use crate::sim::connection::{Connection, connect, connect_readonly};
use crate::sim::form::{FORMS, RegisterForm, newest};
use crate::sim::keyed::{KeyedAnswer, KeyedRaise, KeyedRaises};
use crate::sim::ledger::{Ledger, ReadStart};
use crate::sim::net::host;
use crate::sim::origin::ReplyOrigin;
use crate::sim::plan::Plan;
use crate::sim::trace::Trace;

/// Registers of one client: one of each form.
const KEYS_EACH: usize = FORMS;
/// Commands that a client sends at once, at most.
const PIPELINE_MAX: usize = 4;
/// A register's time to live, if it has one: longer than a run, shorter than most jumps of a wall clock.
const LIVES_MS: &[u8] = b"240000";
/// One write of a register in so many has one.
const LIVES_ODDS: u32 = 3;
/// One round of a writer in so many is a FLUSHALL, in runs that have it.
const FLUSH_ODDS: u32 = 12;
/// One client in so many only reads.
const READER_ODDS: u32 = 3;
/// After a round in which something was refused or unknown.
const BACK_OFF: Duration = Duration::from_millis(15);
/// One value in so many is long enough to be cut on its way between nodes.
const LONG_VALUE_ODDS: u32 = 400;
const LONG_VALUE_BYTES: usize = 300 * 1024;

/// Keeps the choices of how connections are used apart from those of what is sent.
const MANNERS_SEED: u64 = 0x6d61_6e6e_6572_7300;
/// Does the same for writes with idempotency keys.
const KEYED_SEED: u64 = 0x6b65_7965_6400;

/// Cuts of a pipeline that is sent in pieces, at most: a long value cut everywhere would keep its client silent for
/// seconds.
const CUTS_MAX: usize = 16;

/// How a client uses its connection for one pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Plain,
    /// Closes its side after the last command, and reads every reply.
    HalfCloses,
    /// Reads nothing for a while.
    ReadsSlowly,
    /// Sends its bytes in several pieces, cut anywhere.
    SendsInPieces,
    /// Wants no reply to the first command: CLIENT REPLY SKIP.
    SkipsOne,
    /// Wants no replies to the first half of the commands: CLIENT REPLY OFF, then ON.
    SkipsHalf,
}

/// What the clients do now; changed by the simulation's driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Write and read.
    Load,
    /// Be silent for a while.
    Rest,
    /// The first one sends FLUSHALL, the others read.
    Flush,
    /// Come to an end.
    Stop,
}

/// What a client is made of.
#[derive(Clone)]
pub struct ClientOptions {
    /// Which one.
    pub id: usize,
    /// How many there are.
    pub clients: usize,
    /// Of its choices.
    pub seed: u64,
    /// Who serves shards.
    pub plan: Rc<RefCell<Plan>>,
    /// How many shards.
    pub shards: u32,
    /// Whether there is FLUSHALL; then there are no counters.
    pub flushes: bool,
    /// Whether it raises counters with idempotency keys: the last sequence number of all clients.
    pub keyed: Option<Rc<Cell<u64>>>,
    /// The ledger of all clients.
    pub ledger: Rc<RefCell<Ledger>>,
    /// See [`Phase`].
    pub phase: Rc<Cell<Phase>>,
    /// Notes every outcome.
    pub trace: Trace,
}

/// The name of a client's host.
#[must_use]
pub fn client_host(id: usize) -> String {
    format!("client-{id}")
}

/// One client.
pub struct Client {
    options: ClientOptions,
    rng: SmallRng,
    /// Of how it uses its connections, apart from what it sends.
    manners: SmallRng,
    /// Writes with idempotency keys.
    keyed: Option<KeyedRaises>,
    /// The first one writes, in any case.
    only_reads: bool,
    /// Whether it was in [`Phase::Flush`] when it last looked.
    flushing: bool,
    /// Whom it believes to be a shard's primary.
    believed: BTreeMap<ShardId, NodeId>,
    connections: BTreeMap<(ShardId, NodeId), Connection>,
    replica_connections: BTreeMap<(ShardId, NodeId), Connection>,
}

/// What came back for a command.
type Answer = Result<(Value, ReplyOrigin), Outcome>;

enum Command {
    Set {
        key: String,
        number: u64,
        value: Vec<u8>,
        /// With a time to live (strings only) that no run outlasts: it must not be gone, wherever clocks jump to.
        lives: bool,
    },
    Incr {
        key: String,
    },
    /// The same with an idempotency key.
    Raise(KeyedRaise),
    Get {
        key: String,
        start: ReadStart,
    },
    /// FLUSHALL of a shard, in runs that have it.
    Flush {
        shard: ShardId,
        which: usize,
    },
    /// Something that expires; not in the ledger, but in the digests.
    Expiring {
        key: String,
    },
}

impl Command {
    fn key(&self) -> &str {
        match self {
            Command::Set { key, .. } | Command::Incr { key } | Command::Get { key, .. } | Command::Expiring { key } => {
                key
            }
            Command::Raise(raise) => &raise.key,
            Command::Flush { .. } => "FLUSHALL",
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Command::Set { key, value, lives: true, .. } => {
                request::encode(&[b"SET", key.as_bytes(), value, b"PX", LIVES_MS], out);
            }
            Command::Set { key, number, value, .. } => RegisterForm::of(key).write(key, *number, value, out),
            Command::Incr { key } => RegisterForm::of(key).raise(key, out),
            Command::Raise(KeyedRaise { key, sequence }) => {
                request::encode_attribute(&[("idempotency-key", &*format!("{key}:{sequence}"))], out);
                request::encode(&["INCR", key], out);
            }
            Command::Get { key, .. } => RegisterForm::of(key).read(key, out),
            Command::Flush { .. } => request::encode(&["FLUSHALL"], out),
            Command::Expiring { key } => request::encode(&["SET", key, "x", "PX", "150"], out),
        }
    }
}

impl Client {
    /// Before its first command.
    #[must_use]
    pub fn new(options: ClientOptions) -> Client {
        let mut rng = SmallRng::seed_from_u64(options.seed);
        Client {
            only_reads: options.id > 0 && rng.random_ratio(1, READER_ODDS),
            keyed: options.keyed.clone().map(|last| KeyedRaises::new(options.id, options.seed ^ KEYED_SEED, last)),
            flushing: false,
            rng,
            manners: SmallRng::seed_from_u64(options.seed ^ MANNERS_SEED),
            believed: BTreeMap::new(),
            connections: BTreeMap::new(),
            replica_connections: BTreeMap::new(),
            options,
        }
    }

    /// Loads the cluster until it is told to stop.
    ///
    /// # Errors
    /// Never; the signature is the simulation's.
    pub async fn run(mut self) -> turmoil::Result {
        while self.options.phase.get() != Phase::Stop {
            let flushing = self.options.phase.get() == Phase::Flush;
            let flushed = std::mem::replace(&mut self.flushing, flushing);
            if self.options.phase.get() == Phase::Rest || (flushed && self.options.id == 0) {
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
            let fine = if flushing && self.options.id == 0 {
                self.flush().await
            } else if self.is_keyed_next() {
                self.raise().await
            } else if self.rng.random_ratio(1, 12) {
                self.read_from_replica().await
            } else {
                self.round().await
            };
            let pause = if fine { Duration::from_millis(self.rng.random_range(0..4)) } else { BACK_OFF };
            tokio::time::sleep(pause).await;
        }
        if let Some(raise) = self.keyed.as_mut().and_then(KeyedRaises::take_pending) {
            self.options.ledger.borrow_mut().raised(&raise.key, Outcome::Unknown, None, None);
        }
        Ok(())
    }

    /// Reads every key of the ledger back from its primary; the keys that could not be read in time.
    pub async fn read_everything_back(mut self, patience: Duration) -> Vec<String> {
        let until = tokio::time::Instant::now() + patience;
        let ledger = self.options.ledger.clone();
        let mut unread = Vec::new();
        let keys = ledger.borrow().register_keys();
        for key in keys {
            let start = ledger.borrow_mut().before_read(&key);
            match self.read_back(&key, until).await {
                Some((value, origin)) => ledger.borrow_mut().read(&key, start, newest(&value), origin),
                None => unread.push(key),
            }
        }
        let keys = ledger.borrow().counter_keys();
        for key in keys {
            match self.read_back(&key, until).await {
                Some((value, _)) => ledger.borrow_mut().read_counter(&key, newest(&value).and_then(number)),
                None => unread.push(key),
            }
        }
        unread
    }

    async fn read_back(&mut self, key: &str, until: tokio::time::Instant) -> Option<(Value, ReplyOrigin)> {
        while tokio::time::Instant::now() < until {
            let command = self.get(key.to_owned());
            let shard = shard_of(key, self.options.shards);
            match self.call(shard, &[command]).await.pop() {
                Some(Ok((value, origin))) if classify(&value) == Outcome::Acknowledged => return Some((value, origin)),
                _ => tokio::time::sleep(BACK_OFF).await,
            }
        }
        None
    }

    fn is_keyed_next(&mut self) -> bool {
        self.options.phase.get() == Phase::Load && self.keyed.as_mut().is_some_and(KeyedRaises::is_next)
    }

    /// Sends one write with an idempotency key, for the first time or again. True if it was answered well.
    async fn raise(&mut self) -> bool {
        let Some((raise, is_new)) = self.keyed.as_mut().map(KeyedRaises::next) else { return true };
        let key = raise.key.clone();
        if is_new {
            self.options.ledger.borrow_mut().raise_started(&key);
        }
        let command = Command::Raise(raise);
        let answer = self.call(shard_of(&key, self.options.shards), std::slice::from_ref(&command)).await.pop();
        let answer = answer.and_then(Result::ok);
        let value = answer.as_ref().map(|(value, _)| value);
        let Some(meaning) = self.keyed.as_mut().map(|keyed| keyed.answered(value)) else { return true };
        self.options.trace.note(|| format!("{} {key} {meaning:?} {:?}", self.options.id, value.map(short)));
        let mut ledger = self.options.ledger.borrow_mut();
        match (meaning, &answer) {
            (KeyedAnswer::Happened, Some((value, origin))) => {
                ledger.check_mode(*origin, self.options.plan.borrow().mode_of(origin.version));
                let raised = if let Value::Integer(number) = value { Some(*number) } else { None };
                ledger.raised(&key, Outcome::Acknowledged, raised, Some(*origin));
            }
            (KeyedAnswer::Mistaken, _) => ledger.mistaken(&key),
            (KeyedAnswer::Forgotten, _) => ledger.raised(&key, Outcome::Unknown, None, None),
            (KeyedAnswer::Again | KeyedAnswer::Happened, _) => {}
        }
        meaning == KeyedAnswer::Happened
    }

    /// FLUSHALL of one shard. True if that was answered well.
    async fn flush(&mut self) -> bool {
        let shard = ShardId(self.rng.random_range(1..=self.options.shards));
        let which = self.options.ledger.borrow_mut().flush_started(shard);
        let command = Command::Flush { shard, which };
        let answer = self.call(shard, std::slice::from_ref(&command)).await.pop();
        self.note(&command, answer.unwrap_or(Err(Outcome::Unknown))) == Outcome::Acknowledged
    }

    /// A few commands to one shard. True if all were answered well.
    async fn round(&mut self) -> bool {
        if self.options.flushes && !self.only_reads && !self.flushing && self.rng.random_ratio(1, FLUSH_ODDS) {
            return self.flush().await;
        }
        let first = self.any_command(None);
        let shard = shard_of(first.key(), self.options.shards);
        let mut commands = vec![first];
        for _ in 1..self.rng.random_range(1..=PIPELINE_MAX) {
            commands.push(self.any_command(Some((shard, &commands))));
        }
        let answers = self.call(shard, &commands).await;
        let (mut fine, mut refused, mut read) = (true, false, false);
        for (command, answer) in commands.iter().zip(answers) {
            let is_read = matches!(command, Command::Get { .. });
            let outcome = self.note(command, answer);
            fine &= outcome == Outcome::Acknowledged;
            refused |= outcome == Outcome::Refused && !is_read;
            read |= outcome == Outcome::Acknowledged && is_read;
        }
        if refused && read {
            self.options.ledger.borrow_mut().read_beside_a_refusal();
        }
        fine
    }

    fn get(&self, key: String) -> Command {
        Command::Get { start: self.options.ledger.borrow_mut().before_read(&key), key }
    }

    /// A command; to `shard` if one is given, and no second INCR beside `others`: whose value belongs to which is
    /// unclear when the first one's outcome is unknown.
    fn any_command(&mut self, beside: Option<(ShardId, &[Command])>) -> Command {
        loop {
            let kinds = if self.only_reads || self.flushing { 13..20 } else { 0..20 };
            let (kind, number) = (self.rng.random_range(kinds), self.rng.random_range(0..KEYS_EACH));
            let own = self.options.id;
            // No counter may be flushed: of its values nothing could be said any more.
            let kind = if self.options.flushes && (9..12).contains(&kind) { kind - 9 } else { kind };
            let key = match kind {
                0..9 => register(own, number),
                9..12 => format!("c{own}:n{}", number % 2),
                12 => format!("c{own}:e{number}"),
                _ => register(self.rng.random_range(0..self.options.clients), number),
            };
            if let Some((shard, others)) = beside {
                let again = (9..12).contains(&kind) && others.iter().any(|other| other.key() == key);
                if again || shard_of(&key, self.options.shards) != shard {
                    // A read of the first command's key always fits.
                    if self.rng.random_ratio(1, 4) {
                        let key = others[0].key().to_owned();
                        if key.contains(":k") {
                            return self.get(key);
                        }
                    }
                    continue;
                }
            }
            return match kind {
                0..9 => self.write(key),
                9..12 => {
                    self.options.ledger.borrow_mut().raise_started(&key);
                    Command::Incr { key }
                }
                12 => Command::Expiring { key },
                _ => self.get(key),
            };
        }
    }

    fn write(&mut self, key: String) -> Command {
        let shard = shard_of(&key, self.options.shards);
        let number = self.options.ledger.borrow_mut().next_number(shard, &key);
        let long = self.rng.random_ratio(1, LONG_VALUE_ODDS);
        let pad = if long { LONG_VALUE_BYTES } else { self.rng.random_range(0..60) };
        let lives = self.rng.random_ratio(1, LIVES_ODDS) && RegisterForm::of(&key) == RegisterForm::Text;
        Command::Set { key, number, value: format!("{number}:{}", "x".repeat(pad)).into_bytes(), lives }
    }

    /// Enters an answer into the ledger.
    fn note(&self, command: &Command, answer: Answer) -> Outcome {
        let outcome = answer.as_ref().map_or_else(|outcome| *outcome, |(value, _)| classify(value));
        let good = answer.ok().filter(|_| outcome == Outcome::Acknowledged);
        let (value, origin) = (good.as_ref().map(|(value, _)| value), good.as_ref().map(|(_, origin)| *origin));
        let mut ledger = self.options.ledger.borrow_mut();
        if let Some(origin) = origin {
            ledger.check_mode(origin, self.options.plan.borrow().mode_of(origin.version));
        }
        self.options.trace.note(|| format!("{} {} {outcome:?} {:?}", self.options.id, command.key(), value.map(short)));
        match command {
            Command::Set { key, number, .. } => ledger.wrote(key, *number, outcome, origin),
            Command::Incr { key } => {
                let raised = value.and_then(|value| if let Value::Integer(n) = value { Some(*n) } else { None });
                ledger.raised(key, outcome, raised, origin);
            }
            Command::Get { key, start } => {
                if let Some((value, origin)) = &good {
                    ledger.read(key, *start, newest(value), *origin);
                }
            }
            Command::Flush { shard, which } => ledger.flushed(*shard, *which, outcome),
            // Noted where it is sent.
            Command::Expiring { .. } | Command::Raise(_) => {}
        }
        outcome
    }

    /// Sends commands to a shard's primary; one answer for each.
    async fn call(&mut self, shard: ShardId, commands: &[Command]) -> Vec<Answer> {
        let refused = || commands.iter().map(|_| Err(Outcome::Refused)).collect();
        let node = self.primary(shard);
        let mut connection = match self.connections.remove(&(shard, node)) {
            Some(connection) => connection,
            None => match connect(shard, node).await {
                Some(connection) => connection,
                None => {
                    self.believed.remove(&shard);
                    return refused();
                }
            },
        };
        let manner = self.manner();
        let (bytes, skipped) = encode(commands, manner);
        let mut answers: Vec<Answer> = (0..skipped).map(|_| Err(Outcome::Unknown)).collect();
        if self.send(&mut connection, &bytes, manner).await {
            // CLIENT REPLY ON is replied to.
            let mut replies_on = manner == Manner::SkipsHalf;
            while answers.len() < commands.len() || replies_on {
                let Some(answer) = connection.receive().await else { break };
                if std::mem::take(&mut replies_on) {
                    assert_eq!(answer.0, Value::Simple(b"OK".to_vec()), "a reply that was not wanted");
                    continue;
                }
                self.learn(shard, &answer.0);
                answers.push(Ok(answer));
            }
            if answers.len() == commands.len() && !replies_on {
                if manner != Manner::HalfCloses {
                    self.connections.insert((shard, node), connection);
                }
                return answers;
            }
            self.believed.remove(&shard);
            answers.resize_with(commands.len(), || Err(Outcome::Unknown));
            return answers;
        }
        self.believed.remove(&shard);
        commands.iter().map(|_| Err(Outcome::Unknown)).collect()
    }

    fn manner(&mut self) -> Manner {
        match self.manners.random_range(0..32) {
            0 => Manner::HalfCloses,
            1 => Manner::ReadsSlowly,
            2 => Manner::SendsInPieces,
            3 => Manner::SkipsOne,
            4 => Manner::SkipsHalf,
            _ => Manner::Plain,
        }
    }

    /// Sends commands; false if that does not work in time.
    async fn send(&mut self, connection: &mut Connection, bytes: &[u8], manner: Manner) -> bool {
        let mut rest = bytes;
        let cuts = if manner == Manner::SendsInPieces { CUTS_MAX } else { 0 };
        for _ in 0..cuts {
            if rest.len() < 2 {
                break;
            }
            let (piece, others) = rest.split_at(self.manners.random_range(1..rest.len().min(200)));
            rest = others;
            if !connection.send(piece).await {
                return false;
            }
            tokio::time::sleep(Duration::from_micros(self.manners.random_range(0..3000))).await;
        }
        let sent = connection.send(rest).await;
        match manner {
            Manner::HalfCloses => connection.close_half().await,
            Manner::ReadsSlowly => {
                tokio::time::sleep(Duration::from_millis(self.manners.random_range(5..200))).await;
            }
            Manner::Plain | Manner::SendsInPieces | Manner::SkipsOne | Manner::SkipsHalf => {}
        }
        sent
    }

    fn primary(&mut self, shard: ShardId) -> NodeId {
        let any = self.any_node();
        *self.believed.entry(shard).or_insert(any)
    }

    fn any_node(&mut self) -> NodeId {
        let plan = self.options.plan.borrow();
        plan.voters.choose(&mut self.rng).expect("a cluster has nodes").node
    }

    fn learn(&mut self, shard: ShardId, answer: &Value) {
        let Some(error) = answer.as_error() else { return };
        self.believed.remove(&shard);
        let text = String::from_utf8_lossy(error).into_owned();
        if let Some(node) = node_named_in(&text, &self.options.plan.borrow()) {
            self.believed.insert(shard, node);
        }
    }

    /// Reads from any replica: it may be old, but it must have been written, and not refused.
    async fn read_from_replica(&mut self) -> bool {
        let node = self.any_node();
        let key = register(self.rng.random_range(0..self.options.clients), self.rng.random_range(0..KEYS_EACH));
        let shard = shard_of(&key, self.options.shards);
        let mut connection = match self.replica_connections.remove(&(shard, node)) {
            Some(connection) => connection,
            None => match connect_readonly(shard, node).await {
                Some(connection) => connection,
                None => return false,
            },
        };
        let mut bytes = Vec::new();
        RegisterForm::of(&key).read(&key, &mut bytes);
        let start = self.options.ledger.borrow_mut().before_read(&key);
        let answer = if connection.send(&bytes).await { connection.receive().await } else { None };
        let Some((value, origin)) = answer else { return false };
        self.options.trace.note(|| format!("{} {node} {key} {:?}", self.options.id, short(&value)));
        if classify(&value) == Outcome::Acknowledged {
            self.options.ledger.borrow_mut().replica_read(&key, start, newest(&value), origin);
        }
        self.replica_connections.insert((shard, node), connection);
        true
    }
}

/// The bytes of commands that are sent in this manner, and how many of the first are not replied to.
fn encode(commands: &[Command], manner: Manner) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let skipped = match manner {
        Manner::SkipsOne => 1,
        Manner::SkipsHalf => commands.len().div_ceil(2),
        _ => 0,
    };
    match manner {
        Manner::SkipsOne => request::encode(&["CLIENT", "REPLY", "SKIP"], &mut bytes),
        Manner::SkipsHalf => request::encode(&["CLIENT", "REPLY", "OFF"], &mut bytes),
        _ => {}
    }
    commands[..skipped].iter().for_each(|command| command.encode(&mut bytes));
    if manner == Manner::SkipsHalf {
        request::encode(&["CLIENT", "REPLY", "ON"], &mut bytes);
    }
    commands[skipped..].iter().for_each(|command| command.encode(&mut bytes));
    (bytes, skipped)
}

fn register(client: usize, number: usize) -> String {
    format!("c{client}:k{number}")
}

/// Whom a redirection names.
#[must_use]
pub fn node_named_in(error: &str, plan: &Plan) -> Option<NodeId> {
    let address = error.strip_prefix("MOVED ")?.split(' ').nth(1)?;
    plan.known.iter().copied().find(|node| address.starts_with(&format!("{}:", host(*node))))
}

/// The shard of a key.
#[must_use]
pub fn shard_of(key: &str, shards: u32) -> ShardId {
    let slot = u32::from(slot_of(key.as_bytes()).0);
    let shard = (1..=shards).find(|shard| slot < SLOTS as u32 * shard / shards);
    ShardId(shard.expect("every slot belongs to a shard"))
}

fn number(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Integer(number) => return number.to_string(),
        Value::Simple(text) | Value::Error(text) | Value::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        other => format!("{other:?}"),
    };
    text.chars().take(40).collect()
}

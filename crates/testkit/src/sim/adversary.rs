//! A hostile client: it sends the largest, the most and the strangest requests that a client may send, and leaves
//! nothing behind.
//!
//! An attack is one client with its own keys, all in one shard. It attacks, keeps what it wrote until its time is over,
//! and then removes it. It is *removed* once the removal was acknowledged, so an attack on a shard that accepts no
//! writes never ends. Limits are scaled down in such runs ([`Scale`]), so that a simulation reaches them with little
//! data.
//!
//! | attack | what it sends |
//! |---|---|
//! | [`SimFault::MassExpiry`] | many keys, some of them with long names, that expire in the same millisecond |
//! | [`SimFault::LargeValues`] | values up to a unit's maximum, by SET, APPEND, SETRANGE and HSET |
//! | [`SimFault::UnitAtLimit`] | transactions just below and far above a unit's maximum |
//! | [`SimFault::RestoreBomb`] | RESTORE of payloads that expand some eighty times, below and above the maximum |
//! | [`SimFault::GrowingUnit`] | transactions whose effects are forty times as long as their arguments |
//! | [`SimFault::FreedAtOnce`] | many keys and a large hash, removed at once |
//! | [`SimFault::NeverReads`] | connections that request large values and read nothing |
//!
//! Requests are not retried: a missing reply is an unknown outcome. Only the removal is repeated.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use fastness_load::outcome::{Outcome, classify, classify_exec};
use fastness_resp::request;
use fastness_resp::value::Value;
use fastness_types::{NodeId, ShardId};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::payload;
use crate::sim::client::{node_named_in, shard_of};
use crate::sim::connection::{Connection, connect};
use crate::sim::fault::SimFault;
use crate::sim::ledger::Ledger;
use crate::sim::origin::ReplyOrigin;
use crate::sim::plan::Plan;
use crate::sim::profile::Scale;
use crate::sim::trace::Trace;

/// Pause after a failed request.
const BACK_OFF: Duration = Duration::from_millis(20);
/// Pause between two attacks of the same client.
const PAUSE: Duration = Duration::from_millis(60);
/// Keys of a transaction at the limit: all hold the same number at any time, or the unit was torn.
pub const UNIT_KEYS: usize = 8;
/// Number of keys that one pipeline sets or removes.
const PIPELINE: usize = 32;
/// Length of the text of one INCRBYFLOAT by 1e4900.
const GROWN_BYTES: usize = 4_901;
/// Number of connections that read nothing, and of commands that each of them sends.
const DEAF_CONNECTIONS: usize = 6;
const DEAF_COMMANDS: usize = 80;

/// State that an attack shares with the fault that started it.
#[derive(Debug, Default)]
pub struct AttackState {
    /// Set by the fault: the attack is to end.
    pub over: Cell<bool>,
    /// Set by the attack: it had the effect that it is meant to have.
    pub took_effect: Cell<bool>,
    /// Set by the attack: nothing of it is left.
    pub removed: Cell<bool>,
    /// Replies that the server must not give.
    pub violations: RefCell<Vec<String>>,
}

/// One attack.
pub struct Adversary {
    /// Kind of the attack.
    pub attack: SimFault,
    /// Number of the attack in this run, part of the names of its keys.
    pub number: u64,
    /// The attacked shard.
    pub shard: ShardId,
    /// Number of shards.
    pub shards: u32,
    /// Seed of its choices.
    pub seed: u64,
    /// The limits of the run.
    pub scale: Scale,
    /// The decisions of the control plane: who serves which shard.
    pub plan: Rc<RefCell<Plan>>,
    /// The ledger of all clients: a transaction's first key is a register like others.
    pub ledger: Rc<RefCell<Ledger>>,
    /// Records outcomes.
    pub trace: Trace,
    /// See [`AttackState`].
    pub state: Rc<AttackState>,
}

type Words = Vec<Vec<u8>>;

fn command(words: &[&[u8]]) -> Words {
    words.iter().map(|word| word.to_vec()).collect()
}

/// A hash tag whose slot belongs to the shard.
fn tag(shard: ShardId, shards: u32, number: u64) -> String {
    let tags = (0u32..).map(|n| format!("{{a{number}.{n}}}"));
    tags.into_iter().find(|tag| shard_of(tag, shards) == shard).unwrap_or_default()
}

/// The keys of the transactions of [`SimFault::UnitAtLimit`].
#[must_use]
pub fn unit_keys(shard: ShardId, shards: u32, number: u64) -> Vec<String> {
    let tag = tag(shard, shards, number);
    (0..UNIT_KEYS).map(|key| format!("unit{tag}{key}")).collect()
}

impl Adversary {
    /// Attacks until the fault ends it, then removes what it wrote.
    ///
    /// # Errors
    /// Never; the simulation requires this signature.
    pub async fn run(self) -> turmoil::Result {
        let tag = tag(self.shard, self.shards, self.number);
        let rng = SmallRng::seed_from_u64(self.seed);
        let mut attack = Attack { of: self, tag, rng, believed: None, connection: None, deaf: Vec::new(), grown: 0 };
        while !attack.of.state.over.get() {
            attack.go().await;
            tokio::time::sleep(PAUSE).await;
        }
        attack.deaf.clear();
        while !attack.remove().await {
            tokio::time::sleep(BACK_OFF).await;
        }
        attack.of.state.removed.set(true);
        Ok(())
    }
}

struct Attack {
    of: Adversary,
    tag: String,
    rng: SmallRng,
    believed: Option<NodeId>,
    connection: Option<(NodeId, Connection)>,
    /// Connections that are never read.
    deaf: Vec<Connection>,
    /// Transactions of [`SimFault::GrowingUnit`] so far.
    grown: u64,
}

impl Attack {
    async fn go(&mut self) {
        let took_effect = match self.of.attack {
            SimFault::MassExpiry => self.expire_many().await,
            SimFault::LargeValues => self.write_large().await,
            SimFault::UnitAtLimit => self.write_unit().await,
            SimFault::RestoreBomb => self.restore().await,
            SimFault::GrowingUnit => self.grow().await,
            SimFault::FreedAtOnce => self.free_at_once().await,
            _ => self.read_nothing().await,
        };
        if took_effect == Some(true) {
            self.of.state.took_effect.set(true);
        }
    }

    fn key(&self, name: impl std::fmt::Display) -> Vec<u8> {
        format!("{}{name}", self.tag).into_bytes()
    }

    /// Sets keys that expire in the same millisecond, a few of them with long names. True once all have expired.
    async fn expire_many(&mut self) -> Option<bool> {
        let now = self.time().await?;
        let at = (now + self.rng.random_range(200..900)).to_string();
        let (short, long) = (self.rng.random_range(100..400), self.rng.random_range(4..12));
        let mut keys: Vec<Vec<u8>> = (0..short).map(|n| self.key(n)).collect();
        let name_bytes = self.of.scale.unit_bytes / 8;
        keys.extend((0..long).map(|n| self.key(format!("{n}{}", "n".repeat(name_bytes)))));
        let set = |key: &Vec<u8>| command(&[b"SET", key, b"v", b"PXAT", at.as_bytes()]);
        for chunk in keys.chunks(PIPELINE) {
            self.all_succeed(&chunk.iter().map(set).collect::<Vec<_>>()).await.then_some(())?;
        }
        let exists = |key: &Vec<u8>| command(&[b"EXISTS", key]);
        loop {
            let answers = self.call(&keys[..PIPELINE].iter().map(exists).collect::<Vec<_>>()).await?;
            if answers.iter().all(|(value, _)| *value == Value::Integer(0)) {
                return Some(true);
            }
            if self.of.state.over.get() {
                return None;
            }
            tokio::time::sleep(BACK_OFF).await;
        }
    }

    /// The primary's wall clock, ms.
    async fn time(&mut self) -> Option<u64> {
        let (value, _) = self.call(&[command(&[b"TIME"])]).await?.pop()?;
        let Value::Array(parts) = value else { return None };
        let mut numbers = parts.iter().map(|part| std::str::from_utf8(part.as_bytes()?).ok()?.parse::<u64>().ok());
        Some(numbers.next()?? * 1_000 + numbers.next()?? / 1_000)
    }

    /// Writes a value that spans several log entries, in one of several ways.
    async fn write_large(&mut self) -> Option<bool> {
        let bytes = self.rng.random_range(self.of.scale.entry_bytes..self.of.scale.unit_bytes * 3 / 4);
        let which = self.rng.random_range(0..3);
        let key = self.key(format!("large{which}"));
        let value = vec![b'v'; bytes];
        let written = match self.rng.random_range(0..4) {
            0 => command(&[b"SET", &key, &value]),
            1 => command(&[b"APPEND", &key, &value[..bytes / 4]]),
            2 => command(&[b"SETRANGE", &key, bytes.to_string().as_bytes(), b"x"]),
            _ => {
                let fields = (0..bytes / 100).flat_map(|n| [format!("field{n}").into_bytes(), vec![b'v'; 80]]);
                let key = self.key(format!("hash{which}"));
                [b"HSET".to_vec(), key].into_iter().chain(fields).collect()
            }
        };
        let (value, _) = self.call(&[written]).await?.pop()?;
        Some(classify(&value) == Outcome::Acknowledged)
    }

    /// Runs a transaction that writes the same number to all of its keys, just below or far above the limit. True if it
    /// had to be refused and was.
    async fn write_unit(&mut self) -> Option<bool> {
        let limit = self.of.scale.unit_bytes;
        let (bytes, over) = match self.rng.random_range(0..4) {
            0 => (limit / 10, false),
            1 => (limit * 8 / 10, false),
            2 => (limit * 11 / 10, true),
            _ => (limit * 2, true),
        };
        let outcome = self.unit_of(bytes).await;
        if over && outcome == Outcome::Acknowledged {
            let what = format!("a transaction of {bytes} bytes was accepted, the limit is {limit}");
            self.of.state.violations.borrow_mut().push(what);
        }
        Some(over && outcome == Outcome::Refused)
    }

    async fn unit_of(&mut self, bytes: usize) -> Outcome {
        let keys = unit_keys(self.of.shard, self.of.shards, self.of.number);
        let number = self.of.ledger.borrow_mut().next_number(self.of.shard, &keys[0]);
        let value = format!("{number}:{}", "x".repeat(bytes / UNIT_KEYS)).into_bytes();
        let mut commands = vec![command(&[b"MULTI"])];
        commands.extend(keys.iter().map(|key| command(&[b"SET", key.as_bytes(), &value])));
        commands.push(command(&[b"EXEC"]));
        let answer = match self.call(&commands).await {
            Some(mut answers) => answers.pop(),
            None => None,
        };
        let outcome = answer.as_ref().map_or(Outcome::Unknown, |(value, _)| classify_exec(value));
        let origin = answer.map(|(_, origin)| origin).filter(|_| outcome == Outcome::Acknowledged);
        let mut ledger = self.of.ledger.borrow_mut();
        if let Some(origin) = origin {
            ledger.check_mode(origin, self.of.plan.borrow().mode_of(origin.version));
        }
        ledger.wrote(&keys[0], number, outcome, origin);
        outcome
    }

    /// Restores a payload that expands. True if it had to be refused and was.
    async fn restore(&mut self) -> Option<bool> {
        let limit = self.of.scale.unit_bytes;
        let (len, over) = match self.rng.random_range(0..4) {
            0 => (self.of.scale.entry_bytes / 2, false),
            1 => (limit * 8 / 10, false),
            2 => (limit * 11 / 10, true),
            _ => (limit * 4, true),
        };
        let key = self.key("bomb");
        let restore = command(&[b"RESTORE", &key, b"0", &payload::bomb(len), b"REPLACE"]);
        let (value, _) = self.call(&[restore]).await?.pop()?;
        let outcome = classify(&value);
        if over && outcome == Outcome::Acknowledged {
            let what = format!("a value of {len} bytes was restored, the limit of a unit is {limit}");
            self.of.state.violations.borrow_mut().push(what);
        }
        Some(over && outcome == Outcome::Refused)
    }

    /// Runs a transaction whose effects are far longer than its arguments. True if it had to be refused and was.
    async fn grow(&mut self) -> Option<bool> {
        let limit = self.of.scale.unit_bytes;
        let over = self.rng.random();
        let times = if over { limit * 3 / 2 } else { limit / 2 } / GROWN_BYTES;
        let (key, marker) = (self.key("grown"), self.key("marker"));
        self.grown += 1;
        let mark = self.grown.to_string().into_bytes();
        let mut commands = vec![command(&[b"MULTI"]), command(&[b"SET", &marker, &mark])];
        commands.extend((0..times).map(|_| command(&[b"INCRBYFLOAT", &key, b"1e4900"])));
        commands.push(command(&[b"EXEC"]));
        let (value, _) = self.call(&commands).await?.pop()?;
        let outcome = classify_exec(&value);
        if over && outcome == Outcome::Acknowledged {
            let what = format!("a transaction of {times} times {GROWN_BYTES} bytes was accepted, the limit is {limit}");
            self.of.state.violations.borrow_mut().push(what);
        }
        if outcome != Outcome::Refused {
            return Some(false);
        }
        let (shown, _) = self.call(&[command(&[b"GET", &marker])]).await?.pop()?;
        if shown.as_bytes() == Some(&mark) {
            let what = "a transaction was refused, and a read shows what it wrote".to_owned();
            self.of.state.violations.borrow_mut().push(what);
        }
        Some(over)
    }

    /// Writes much data and removes it at once.
    async fn free_at_once(&mut self) -> Option<bool> {
        let count = self.rng.random_range(200..600usize);
        let keys: Vec<Vec<u8>> = (0..count).map(|n| self.key(format!("many{n}"))).collect();
        let set: Vec<Words> = keys.iter().map(|key| command(&[b"SET", key, &[b'v'; 200]])).collect();
        for chunk in set.chunks(PIPELINE) {
            self.all_succeed(chunk).await.then_some(())?;
        }
        let hash = self.key("hash");
        let fields = (0..2_000).flat_map(|n| [format!("field{n}").into_bytes(), vec![b'v'; 30]]);
        let hset = [b"HSET".to_vec(), hash.clone()].into_iter().chain(fields).collect();
        self.all_succeed(&[hset]).await.then_some(())?;
        let unlink = [b"UNLINK".to_vec(), hash].into_iter().chain(keys).collect();
        Some(self.all_succeed(&[unlink]).await)
    }

    /// Opens connections that send and never read.
    async fn read_nothing(&mut self) -> Option<bool> {
        if !self.deaf.is_empty() {
            return None;
        }
        let key = self.key("read");
        let set = command(&[b"SET", &key, &vec![b'v'; self.of.scale.entry_bytes]]);
        self.all_succeed(&[set]).await.then_some(())?;
        let node = self.believed?;
        let mut bytes = Vec::new();
        (0..DEAF_COMMANDS).for_each(|_| encode(&command(&[b"GET", &key]), &mut bytes));
        while self.deaf.len() < DEAF_CONNECTIONS {
            let mut connection = connect(self.of.shard, node).await?;
            // The server may stop reading from the connection.
            let _ = connection.send(&bytes).await;
            self.deaf.push(connection);
        }
        Some(true)
    }

    /// Removes every key of the attack. True if that was acknowledged and nothing is left.
    async fn remove(&mut self) -> bool {
        if self.of.attack == SimFault::UnitAtLimit {
            // These are registers, which must not be lost: they are overwritten with small values instead.
            return self.unit_of(0).await == Outcome::Acknowledged;
        }
        let pattern = self.key("*");
        let found = self.call(&[command(&[b"KEYS", &pattern])]).await.and_then(|mut answers| answers.pop());
        let Some((Value::Array(keys), _)) = found else { return false };
        let keys: Vec<Vec<u8>> = keys.iter().filter_map(|key| Some(key.as_bytes()?.to_vec())).collect();
        for some in keys.chunks(PIPELINE) {
            let unlink = [b"UNLINK".to_vec()].into_iter().chain(some.iter().cloned()).collect();
            if !self.all_succeed(&[unlink]).await {
                return false;
            }
        }
        // Repeat until nothing is found: a write of unknown outcome may have taken effect after the search.
        keys.is_empty()
    }

    async fn all_succeed(&mut self, commands: &[Words]) -> bool {
        let answers = self.call(commands).await.unwrap_or_default();
        answers.len() == commands.len() && answers.iter().all(|(value, _)| classify(value) == Outcome::Acknowledged)
    }

    /// Sends commands to the primary; `None` if some were not answered.
    async fn call(&mut self, commands: &[Words]) -> Option<Vec<(Value, ReplyOrigin)>> {
        let node = match self.believed {
            Some(node) => node,
            None => self.of.plan.borrow().voters.choose(&mut self.rng)?.node,
        };
        self.believed = None;
        let mut connection = match self.connection.take() {
            Some((at, connection)) if at == node => connection,
            _ => match connect(self.of.shard, node).await {
                Some(connection) => connection,
                None => {
                    tokio::time::sleep(BACK_OFF).await;
                    return None;
                }
            },
        };
        let mut bytes = Vec::new();
        commands.iter().for_each(|command| encode(command, &mut bytes));
        if !connection.send(&bytes).await {
            return None;
        }
        let mut answers = Vec::new();
        while answers.len() < commands.len() {
            answers.push(connection.receive().await?);
        }
        let error = answers.iter().find_map(|(value, _)| value.as_error());
        let outcome = error.map(|text| String::from_utf8_lossy(text).into_owned());
        self.of.trace.note(|| format!("adversary {} {:?} {outcome:?}", self.of.number, self.of.attack));
        let elsewhere = |text: &String| text.starts_with("MOVED ") || text.starts_with("CLUSTERDOWN ");
        self.believed = match outcome.as_ref().filter(|text| elsewhere(text)) {
            Some(text) => node_named_in(text, &self.of.plan.borrow()),
            None => Some(node),
        };
        if self.believed == Some(node) {
            self.connection = Some((node, connection));
        } else {
            tokio::time::sleep(BACK_OFF).await;
        }
        Some(answers)
    }
}

fn encode(command: &Words, out: &mut Vec<u8>) {
    request::encode(command, out);
}

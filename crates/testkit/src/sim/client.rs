//! The clients of a simulation: each writes rising numbers to its own keys, raises its own counter and reads anybody's
//! keys, several commands at a time on one connection; what comes of it goes into the ledger.
//!
//! A client follows redirections and tries another node after any refusal, but never repeats a command. A reply that does
//! not come in time is an unknown outcome, and its connection is given up.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_load::ledger::{Book, ReadStart};
use fastness_load::outcome::{Outcome, classify};
use fastness_resp::request;
use fastness_resp::value::{self, Value};
use fastness_types::{NodeId, SLOTS, ShardId, slot_of};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use turmoil::net::TcpStream;

use crate::sim::door;
use crate::sim::net::host;
use crate::sim::trace::Trace;

/// Registers of one client.
const KEYS_EACH: usize = 6;
/// Commands that a client sends at once, at most.
const PIPELINE_MAX: usize = 4;
const CONNECT_TIME_MAX: Duration = Duration::from_millis(300);
const REPLY_TIME_MAX: Duration = Duration::from_millis(1_500);
/// After a round in which something was refused or unknown.
const BACK_OFF: Duration = Duration::from_millis(15);
/// One value in so many is long enough to be cut on its way between nodes.
const LONG_VALUE_ODDS: u32 = 400;
const LONG_VALUE_BYTES: usize = 300 * 1024;

/// What the clients do now; changed by the simulation's driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Write and read.
    Load,
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
    /// Where shards are served.
    pub nodes: Vec<NodeId>,
    /// How many shards.
    pub shards: u32,
    /// The ledger of all clients.
    pub book: Arc<Book>,
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

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

/// One client.
pub struct Client {
    options: ClientOptions,
    rng: SmallRng,
    /// Whom it believes to be a shard's primary.
    believed: BTreeMap<ShardId, NodeId>,
    connections: HashMap<(ShardId, NodeId), Connection>,
    replica_connections: HashMap<(ShardId, NodeId), Connection>,
    /// What a reader may see at least who asks replicas: nothing.
    from_the_start: HashMap<String, ReadStart>,
}

enum Command {
    Set {
        key: String,
        number: u64,
        value: Vec<u8>,
    },
    Incr {
        key: String,
    },
    Get {
        key: String,
        start: ReadStart,
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
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Command::Set { key, value, .. } => request::encode(&[b"SET", key.as_bytes(), value], out),
            Command::Incr { key } => request::encode(&["INCR", key], out),
            Command::Get { key, .. } => request::encode(&["GET", key], out),
            Command::Expiring { key } => request::encode(&["SET", key, "x", "PX", "150"], out),
        }
    }
}

impl Client {
    /// Before its first command.
    #[must_use]
    pub fn new(options: ClientOptions) -> Client {
        let rng = SmallRng::seed_from_u64(options.seed);
        let keys = (0..options.clients).flat_map(|client| (0..KEYS_EACH).map(move |number| register(client, number)));
        let from_the_start = keys.map(|key| (key.clone(), options.book.before_read(&key))).collect();
        Client {
            rng,
            believed: BTreeMap::new(),
            connections: HashMap::new(),
            replica_connections: HashMap::new(),
            from_the_start,
            options,
        }
    }

    /// Loads the cluster until it is told to stop.
    ///
    /// # Errors
    /// Never; the signature is the simulation's.
    pub async fn run(mut self) -> turmoil::Result {
        while self.options.phase.get() == Phase::Load {
            let fine = if self.rng.random_ratio(1, 12) { self.ask_replica().await } else { self.round().await };
            let pause = if fine { Duration::from_millis(self.rng.random_range(0..4)) } else { BACK_OFF };
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Reads every key of the ledger back from its primary; the keys that could not be read in time.
    pub async fn read_everything_back(mut self, patience: Duration) -> Vec<String> {
        let until = tokio::time::Instant::now() + patience;
        let book = self.options.book.clone();
        let mut unread = Vec::new();
        for key in book.register_keys() {
            let start = book.before_read(&key);
            match self.read_back(&key, until).await {
                Some(value) => book.read(&key, start, value.as_bytes()),
                None => unread.push(key),
            }
        }
        for key in book.counter_keys() {
            match self.read_back(&key, until).await {
                Some(value) => book.read_counter(&key, value.as_bytes().and_then(number)),
                None => unread.push(key),
            }
        }
        unread
    }

    async fn read_back(&mut self, key: &str, until: tokio::time::Instant) -> Option<Value> {
        while tokio::time::Instant::now() < until {
            let command = Command::Get { key: key.to_owned(), start: self.options.book.before_read(key) };
            let shard = shard_of(key, self.options.shards);
            match self.call(shard, &[command]).await.pop() {
                Some(Ok(value)) if classify(&value) == Outcome::Acknowledged => return Some(value),
                _ => tokio::time::sleep(BACK_OFF).await,
            }
        }
        None
    }

    /// A few commands to one shard. True if all were answered well.
    async fn round(&mut self) -> bool {
        let first = self.any_command(None);
        let shard = shard_of(first.key(), self.options.shards);
        let mut commands = vec![first];
        for _ in 1..self.rng.random_range(1..=PIPELINE_MAX) {
            commands.push(self.any_command(Some((shard, &commands))));
        }
        let answers = self.call(shard, &commands).await;
        let mut fine = true;
        for (command, answer) in commands.iter().zip(answers) {
            fine &= self.note(command, answer);
        }
        fine
    }

    /// A command; to `shard` if one is given, and no second INCR beside `others`: whose value belongs to which is unclear
    /// when the first one's outcome is unknown.
    fn any_command(&mut self, beside: Option<(ShardId, &[Command])>) -> Command {
        loop {
            let (kind, number) = (self.rng.random_range(0..20), self.rng.random_range(0..KEYS_EACH));
            let own = self.options.id;
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
                        if self.from_the_start.contains_key(&key) {
                            return Command::Get { start: self.options.book.before_read(&key), key };
                        }
                    }
                    continue;
                }
            }
            return match kind {
                0..9 => self.write(key),
                9..12 => Command::Incr { key },
                12 => Command::Expiring { key },
                _ => Command::Get { start: self.options.book.before_read(&key), key },
            };
        }
    }

    fn write(&mut self, key: String) -> Command {
        let number = self.options.book.next_number(&key);
        let long = self.rng.random_ratio(1, LONG_VALUE_ODDS);
        let pad = if long { LONG_VALUE_BYTES } else { self.rng.random_range(0..60) };
        Command::Set { key, number, value: format!("{number}:{}", "x".repeat(pad)).into_bytes() }
    }

    /// Enters an answer into the ledger. True if it is one that was hoped for.
    fn note(&self, command: &Command, answer: Result<Value, Outcome>) -> bool {
        let outcome = answer.as_ref().map_or_else(|outcome| *outcome, classify);
        let value = answer.as_ref().ok().filter(|_| outcome == Outcome::Acknowledged);
        let book = &self.options.book;
        self.options.trace.note(|| format!("{} {} {outcome:?} {:?}", self.options.id, command.key(), value.map(short)));
        match command {
            Command::Set { key, number, .. } => book.wrote(key, *number, outcome),
            Command::Incr { key } => {
                let raised = value.and_then(|value| if let Value::Integer(n) = value { Some(*n) } else { None });
                book.raised(key, outcome, raised);
            }
            Command::Get { key, start } => {
                if let Some(value) = value {
                    book.read(key, *start, value.as_bytes());
                }
            }
            Command::Expiring { .. } => {}
        }
        outcome == Outcome::Acknowledged
    }

    /// Sends commands to a shard's primary; one answer for each.
    async fn call(&mut self, shard: ShardId, commands: &[Command]) -> Vec<Result<Value, Outcome>> {
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
        let mut bytes = Vec::new();
        commands.iter().for_each(|command| command.encode(&mut bytes));
        if timeout(REPLY_TIME_MAX, connection.stream.write_all(&bytes)).await.is_ok_and(|sent| sent.is_ok()) {
            let mut answers = Vec::new();
            while answers.len() < commands.len() {
                let Some(answer) = connection.receive().await else { break };
                self.learn(shard, &answer);
                answers.push(Ok(answer));
            }
            if answers.len() == commands.len() {
                self.connections.insert((shard, node), connection);
                return answers;
            }
            self.believed.remove(&shard);
            answers.resize_with(commands.len(), || Err(Outcome::Unknown));
            return answers;
        }
        self.believed.remove(&shard);
        commands.iter().map(|_| Err(Outcome::Unknown)).collect()
    }

    fn primary(&mut self, shard: ShardId) -> NodeId {
        let any = *self.options.nodes.choose(&mut self.rng).expect("a cluster has nodes");
        *self.believed.entry(shard).or_insert(any)
    }

    fn learn(&mut self, shard: ShardId, answer: &Value) {
        let Some(error) = answer.as_error() else { return };
        self.believed.remove(&shard);
        let text = String::from_utf8_lossy(error).into_owned();
        let moved = text.strip_prefix("MOVED ").and_then(|rest| rest.split(' ').nth(1));
        let node = moved
            .and_then(|address| self.options.nodes.iter().find(|n| address.starts_with(&format!("{}:", host(**n)))));
        if let Some(node) = node {
            self.believed.insert(shard, *node);
        }
    }

    /// Reads from any replica: it may be old, but it must have been written, and not refused.
    async fn ask_replica(&mut self) -> bool {
        let node = *self.options.nodes.choose(&mut self.rng).expect("a cluster has nodes");
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
        request::encode(&["GET", &key], &mut bytes);
        let sent = timeout(REPLY_TIME_MAX, connection.stream.write_all(&bytes)).await.is_ok_and(|sent| sent.is_ok());
        let Some(value) = (if sent { connection.receive().await } else { None }) else { return false };
        self.options.trace.note(|| format!("{} {node} {key} {:?}", self.options.id, short(&value)));
        if classify(&value) == Outcome::Acknowledged {
            self.options.book.read(&key, self.from_the_start[&key], value.as_bytes());
        }
        self.replica_connections.insert((shard, node), connection);
        true
    }
}

fn register(client: usize, number: usize) -> String {
    format!("c{client}:k{number}")
}

fn shard_of(key: &str, shards: u32) -> ShardId {
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

async fn connect(shard: ShardId, node: NodeId) -> Option<Connection> {
    let opened = timeout(CONNECT_TIME_MAX, TcpStream::connect((host(node), door::port(shard)))).await;
    let stream = opened.ok()?.ok()?;
    Some(Connection { stream, input: Vec::new() })
}

async fn connect_readonly(shard: ShardId, node: NodeId) -> Option<Connection> {
    let mut connection = connect(shard, node).await?;
    let mut bytes = Vec::new();
    request::encode(&["READONLY"], &mut bytes);
    timeout(REPLY_TIME_MAX, connection.stream.write_all(&bytes)).await.ok()?.ok()?;
    (connection.receive().await? == Value::Simple(b"OK".to_vec())).then_some(connection)
}

impl Connection {
    /// The next reply, if it comes in time.
    async fn receive(&mut self) -> Option<Value> {
        let wait = async {
            loop {
                if let Some((value, len)) = value::parse(&self.input).ok()? {
                    self.input.drain(..len);
                    return Some(value);
                }
                if self.stream.read_buf(&mut self.input).await.ok()? == 0 {
                    return None;
                }
            }
        };
        timeout(REPLY_TIME_MAX, wait).await.ok().flatten()
    }
}

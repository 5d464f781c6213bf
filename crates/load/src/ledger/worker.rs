//! The workers that fill the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastness_resp::Protocol;
use fastness_resp::value::Value;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;

use crate::client::{Access, Caller, Client, SharedTopology};
use crate::connection::{Endpoint, Tls};
use crate::ledger::book::{Book, Violation};
use crate::outcome::{Outcome, classify};

/// Options of the load.
#[derive(Clone)]
pub struct LedgerOptions {
    /// Endpoints from which the topology is read.
    pub seeds: Vec<Endpoint>,
    /// TLS, if used.
    pub tls: Option<Tls>,
    /// Number of workers, each with its own keys and one connection to each primary.
    pub workers: usize,
    /// Number of registers of each worker.
    pub keys_each: usize,
    /// Without a reply within this time, the outcome is unknown and the connection is closed.
    pub timeout: Duration,
    /// Pause of a worker between two commands; zero sends as fast as replies arrive.
    pub pause: Duration,
    /// Padding of each value, in bytes.
    pub pad_bytes: usize,
    /// Seed of all choices.
    pub seed: u64,
    /// Prefix of every key, so that runs do not share keys.
    pub prefix: String,
    /// Whether acknowledged writes may be lost, see [`Book::lossy`].
    pub lossy: bool,
}

impl Default for LedgerOptions {
    /// A light load of small values, without servers to send it to.
    fn default() -> LedgerOptions {
        LedgerOptions {
            seeds: Vec::new(),
            tls: None,
            workers: 4,
            keys_each: 20,
            timeout: Duration::from_secs(2),
            pause: Duration::from_millis(1),
            pad_bytes: 100,
            seed: 1,
            prefix: "ledger:".to_owned(),
            lossy: false,
        }
    }
}

impl LedgerOptions {
    fn access(&self) -> Access {
        let (seeds, tls) = (self.seeds.clone(), self.tls.clone());
        Access { seeds, tls, protocol: Protocol::Resp2, timeout: self.timeout }
    }
}

/// A load in progress.
pub struct LedgerRun {
    /// The ledger, readable at any time.
    pub book: Arc<Book>,
    options: LedgerOptions,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

/// Starts the workers on the current runtime; all of them speak RESP.
#[must_use]
pub fn start(options: LedgerOptions) -> LedgerRun {
    let topology = SharedTopology::default();
    let access = options.access();
    start_with(options, |_| Box::new(Client::new(access.clone(), topology.clone())))
}

/// As [`start`], with a client for each worker, from its number.
#[must_use]
pub fn start_with(options: LedgerOptions, client: impl Fn(usize) -> Box<dyn Caller>) -> LedgerRun {
    let book = Arc::new(if options.lossy { Book::lossy() } else { Book::default() });
    let stop = Arc::new(AtomicBool::new(false));
    let workers = (0..options.workers)
        .map(|id| {
            let client = client(id);
            let worker = LedgerWorker { id, options: options.clone(), client, book: book.clone(), stop: stop.clone() };
            tokio::spawn(worker.run())
        })
        .collect();
    LedgerRun { book, options, stop, workers }
}

impl LedgerRun {
    /// Stops the workers; commands in progress are finished first.
    pub async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.await.expect("a ledger worker does not panic");
        }
    }

    /// Stops the load, reads every key back and checks it. Returns all violations of the run.
    ///
    /// # Errors
    /// If a key could not be read within `patience`: then nothing is proven.
    pub async fn stop_and_check(&mut self, patience: Duration) -> Result<Vec<Violation>, String> {
        self.stop().await;
        let mut client = Client::new(self.options.access(), Arc::default());
        let until = tokio::time::Instant::now() + patience;
        for key in self.book.register_keys() {
            let start = self.book.before_read(&key);
            match read_back(&mut client, &key, until).await? {
                Value::Bulk(value) => self.book.read(&key, start, Some(&value)),
                Value::Null => self.book.read(&key, start, None),
                other => return Err(format!("unexpected reply to GET {key}: {other:?}")),
            }
        }
        for key in self.book.counter_keys() {
            let value = match read_back(&mut client, &key, until).await? {
                Value::Bulk(value) => std::str::from_utf8(&value).ok().and_then(|v| v.parse().ok()),
                Value::Null => None,
                other => return Err(format!("unexpected reply to GET {key}: {other:?}")),
            };
            self.book.read_counter(&key, value);
        }
        Ok(self.book.violations())
    }
}

/// Reads a key back, and retries until the read succeeds or time is up.
async fn read_back(client: &mut Client, key: &str, until: tokio::time::Instant) -> Result<Value, String> {
    loop {
        let answer = client.call(&[b"GET", key.as_bytes()]).await;
        match answer {
            Ok(reply) if classify(&reply) == Outcome::Acknowledged => return Ok(reply),
            other if tokio::time::Instant::now() >= until => return Err(format!("GET {key}: {other:?}")),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

struct LedgerWorker {
    id: usize,
    options: LedgerOptions,
    client: Box<dyn Caller>,
    book: Arc<Book>,
    stop: Arc<AtomicBool>,
}

impl LedgerWorker {
    async fn run(mut self) {
        let mut rng = SmallRng::seed_from_u64(self.options.seed.wrapping_add(self.id as u64));
        while !self.stop.load(Ordering::Relaxed) {
            let done = match rng.random_range(0..10) {
                0..6 => self.write(&mut rng).await,
                6..8 => self.raise().await,
                _ => self.read(&mut rng).await,
            };
            if !done {
                // Not acknowledged: pause, as a client's back-off does.
                tokio::time::sleep(Duration::from_millis(10)).await;
            } else if !self.options.pause.is_zero() {
                tokio::time::sleep(self.options.pause).await;
            }
        }
    }

    fn key(&self, worker: usize, number: usize) -> String {
        format!("{}w{worker}:k{number}", self.options.prefix)
    }

    async fn write(&mut self, rng: &mut SmallRng) -> bool {
        let key = self.key(self.id, rng.random_range(0..self.options.keys_each));
        let number = self.book.next_number(&key);
        let value = format!("{number}:{}", "x".repeat(self.options.pad_bytes));
        let outcome = match self.client.call(&[b"SET", key.as_bytes(), value.as_bytes()]).await {
            Ok(reply) => classify(&reply),
            Err(outcome) => outcome,
        };
        self.book.wrote(&key, number, outcome);
        outcome == Outcome::Acknowledged
    }

    async fn raise(&mut self) -> bool {
        let key = format!("{}w{}:c", self.options.prefix, self.id);
        let (outcome, value) = match self.client.call(&[b"INCR", key.as_bytes()]).await {
            Ok(Value::Integer(value)) => (Outcome::Acknowledged, Some(value)),
            Ok(reply) => (classify(&reply), None),
            Err(outcome) => (outcome, None),
        };
        self.book.raised(&key, outcome, value);
        outcome == Outcome::Acknowledged
    }

    /// Reads any worker's key, so that a stale primary is found on connections that do not write to it.
    async fn read(&mut self, rng: &mut SmallRng) -> bool {
        let worker = rng.random_range(0..self.options.workers);
        let key = self.key(worker, rng.random_range(0..self.options.keys_each));
        let start = self.book.before_read(&key);
        match self.client.call(&[b"GET", key.as_bytes()]).await {
            Ok(Value::Bulk(value)) => self.book.read(&key, start, Some(&value)),
            Ok(Value::Null) => self.book.read(&key, start, None),
            _ => return false,
        }
        true
    }
}

//! Measures, to a few milliseconds, how long after a fault the next write is acknowledged and the next linearizable
//! read answered.
//!
//! One client per listener alternates between writes and reads almost without a pause, each on a key of its own. It
//! follows no redirects and soon stops waiting for an answer, so that the first node that answers is noticed at once,
//! however long other clients wait for a silent node. Only an answer to a request that was **sent** after the fault
//! counts: a request in flight before may still be answered by a former primary.
//!
//! The writes and reads are recorded in the ledger like all others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastness_load::ledger::Book;
use fastness_load::outcome::classify;
use fastness_load::{Connection, Endpoint, Outcome};
use fastness_resp::value::Value;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::keys::key_in_shard;

/// Pause between two writes of one client.
const PAUSE: Duration = Duration::from_millis(5);
/// Longest wait for an answer; then the connection is dropped.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// The same where nodes are busy but not silent.
const BUSY_ANSWER_MAX: Duration = Duration::from_secs(5);

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// An acknowledged write.
    Write,
    /// A write refused because `maxmemory` is reached: the shard is available.
    Full,
    /// A read answered by a primary.
    Read,
}

#[derive(Debug, Clone, Copy)]
struct ProbeAnswer {
    what: Answered,
    node: u64,
    sent: Instant,
    at: Instant,
}

/// The probe's clients.
pub struct Probe {
    answers: Arc<Mutex<Vec<ProbeAnswer>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Probe {
    /// Starts a client at the plaintext listener of each replica of `shard`.
    ///
    /// # Errors
    /// If the cluster's file cannot be read.
    pub fn start(cluster: &Cluster, shard: u32, prefix: &str, book: Arc<Book>) -> Result<Probe> {
        Probe::with(cluster, shard, prefix, book, ANSWER_MAX)
    }

    /// As [`Probe::start`], with clients that wait for the answers of busy nodes.
    ///
    /// # Errors
    /// If the cluster's file cannot be read.
    pub fn patient(cluster: &Cluster, shard: u32, prefix: &str, book: Arc<Book>) -> Result<Probe> {
        Probe::with(cluster, shard, prefix, book, BUSY_ANSWER_MAX)
    }

    fn with(cluster: &Cluster, shard: u32, prefix: &str, book: Arc<Book>, answer_max: Duration) -> Result<Probe> {
        let file = cluster.file()?;
        let mut probe = Probe { answers: Arc::default(), stop: Arc::default(), clients: Vec::new() };
        for node in &file.nodes {
            for front_end in node.resp.iter().filter(|front_end| front_end.shard == shard) {
                let client = ProbeClient {
                    node: node.id,
                    front_end: Endpoint::new(&front_end.host, front_end.port),
                    answer_max,
                    key: key_in_shard(shard, file.shards, &format!("{prefix}probe{}:", node.id)),
                    book: book.clone(),
                    answers: probe.answers.clone(),
                    stop: probe.stop.clone(),
                };
                probe.clients.push(tokio::spawn(client.run()));
            }
        }
        Ok(probe)
    }

    /// Waits for the first such answer to a request that was sent at or after `sent_from`, by a node outside of
    /// `outside`, and returns its time.
    ///
    /// # Errors
    /// If there is no answer within `patience`.
    pub async fn next_after(
        &self,
        what: Answered,
        sent_from: Instant,
        outside: &[u64],
        patience: Duration,
    ) -> Result<Instant> {
        let until = Instant::now() + patience;
        loop {
            if let Some(first) = self.first(what, sent_from, outside) {
                return Ok(first);
            }
            ensure!(Instant::now() < until, "no {what:?} was answered within {patience:?} after the fault");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Time of the first acknowledgement of a write that was sent at or after `sent_from`, if there is one.
    #[must_use]
    pub fn first_write_since(&self, sent_from: Instant) -> Option<Instant> {
        self.first(Answered::Write, sent_from, &[])
    }

    /// The spans of at least this length without an answered write, from the first one until now.
    #[must_use]
    pub fn silences(&self, least: Duration) -> Vec<(Instant, Instant)> {
        let answers = self.answers.lock();
        let writes = answers.iter().filter(|answer| answer.what != Answered::Read).map(|answer| answer.at);
        let ends: Vec<Instant> = writes.chain([Instant::now()]).collect();
        let spans = ends.windows(2).map(|pair| (pair[0], pair[1]));
        spans.filter(|(from, to)| to.saturating_duration_since(*from) >= least).collect()
    }

    fn first(&self, what: Answered, sent_from: Instant, outside: &[u64]) -> Option<Instant> {
        let answers = self.answers.lock();
        let later = answers.iter().rev().take_while(|answer| answer.at >= sent_from);
        let fitting = |a: &&ProbeAnswer| a.what == what && a.sent >= sent_from && !outside.contains(&a.node);
        later.filter(fitting).map(|answer| answer.at).min()
    }

    /// Stops the clients.
    pub async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            // The panic of a client has been printed.
            let _ = client.await;
        }
    }
}

struct ProbeClient {
    node: u64,
    front_end: Endpoint,
    answer_max: Duration,
    key: String,
    book: Arc<Book>,
    answers: Arc<Mutex<Vec<ProbeAnswer>>>,
    stop: Arc<AtomicBool>,
}

impl ProbeClient {
    async fn run(self) {
        let mut connection = None;
        while !self.stop.load(Ordering::Relaxed) {
            connection = match connection {
                Some(open) => self.write_and_read(open).await,
                None => Connection::open(&self.front_end, None, self.answer_max).await.ok(),
            };
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns the connection if it can still be used.
    async fn write_and_read(&self, mut connection: Connection) -> Option<Connection> {
        self.write(&mut connection).await?;
        self.read(&mut connection).await?;
        Some(connection)
    }

    /// Writes the next number.
    async fn write(&self, connection: &mut Connection) -> Option<()> {
        let number = self.book.next_number(&self.key);
        let sent = Instant::now();
        let reply = connection.call(&[b"SET", self.key.as_bytes(), number.to_string().as_bytes()]).await;
        let outcome = reply.as_ref().map_or(Outcome::Unknown, classify);
        self.book.wrote(&self.key, number, outcome);
        if outcome == Outcome::Acknowledged {
            self.note(Answered::Write, sent);
        } else if reply.as_ref().is_ok_and(is_full) {
            self.note(Answered::Full, sent);
        }
        reply.ok().map(drop)
    }

    /// Reads the number: a node that is not the primary refuses.
    async fn read(&self, connection: &mut Connection) -> Option<()> {
        let start = self.book.before_read(&self.key);
        let sent = Instant::now();
        let found = match connection.call(&[b"GET", self.key.as_bytes()]).await.ok()? {
            Value::Bulk(found) => Some(found),
            Value::Null => None,
            _ => return Some(()),
        };
        self.book.read(&self.key, start, found.as_deref());
        self.note(Answered::Read, sent);
        Some(())
    }

    fn note(&self, what: Answered, sent: Instant) {
        self.answers.lock().push(ProbeAnswer { what, node: self.node, sent, at: Instant::now() });
    }
}

fn is_full(reply: &Value) -> bool {
    reply.as_error().is_some_and(|text| text.starts_with(b"OOM "))
}

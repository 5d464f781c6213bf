//! How long after a fault the next write is acknowledged, and the next linearizable read answered, to a few
//! milliseconds.
//!
//! One client per front end writes and reads in turn without a pause worth naming, each a key of its own, never follows
//! a redirect and gives up on an answer soon: so whichever node answers first is noticed at once, however long other
//! clients wait for a node that is silent. What counts is the first answer to what was **sent** after the fault; what
//! was under way before may still be answered by a primary that is already gone.
//!
//! Its writes and reads stand in the ledger like all others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastness_load::ledger::Book;
use fastness_load::outcome::classify;
use fastness_load::{Connection, Endpoint, Outcome};
use fastness_resp::value::Value;
use fastness_types::{SLOTS, slot_of};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;

/// Between two writes of one client.
const PAUSE: Duration = Duration::from_millis(5);
/// A later answer is not waited for; the connection is given up.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// The same where nodes are busy, and not silent.
const BUSY_ANSWER_MAX: Duration = Duration::from_secs(5);

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// A write, acknowledged.
    Write,
    /// A write, refused because `maxmemory` is reached: the shard is there.
    Full,
    /// A read, by a primary.
    Read,
}

#[derive(Debug, Clone, Copy)]
struct ProbeAnswer {
    what: Answered,
    node: u64,
    sent: Instant,
    at: Instant,
}

/// The clients.
pub struct Probe {
    answers: Arc<Mutex<Vec<ProbeAnswer>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Probe {
    /// Starts a client at the plaintext front end of each replica of `shard`.
    ///
    /// # Errors
    /// If the cluster's file cannot be read.
    pub fn start(cluster: &Cluster, shard: u32, prefix: &str, book: Arc<Book>) -> Result<Probe> {
        Probe::with(cluster, shard, prefix, book, ANSWER_MAX)
    }

    /// The same, with clients that wait for an answer of a busy node.
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
                    key: key_of(shard, file.shards, &format!("{prefix}probe{}:", node.id)),
                    book: book.clone(),
                    answers: probe.answers.clone(),
                    stop: probe.stop.clone(),
                };
                probe.clients.push(tokio::spawn(client.run()));
            }
        }
        Ok(probe)
    }

    /// When the first of these was answered that was sent at or after `sent_from`, by a node that is not among
    /// `outside`; waits for it.
    ///
    /// # Errors
    /// If there is none within `patience`.
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

    /// When the first write was acknowledged that was sent at or after `sent_from`, if one was by now.
    #[must_use]
    pub fn first_write_since(&self, sent_from: Instant) -> Option<Instant> {
        self.first(Answered::Write, sent_from, &[])
    }

    /// The spans of at least this length in which no write was answered, from the first one on until now.
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

    /// Ends the clients.
    pub async fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            // One that panicked has said so.
            let _ = client.await;
        }
    }
}

/// A key of the shard: slots are divided evenly, in order.
pub(super) fn key_of(shard: u32, shards: u32, prefix: &str) -> String {
    let (slots, shard, shards) = (SLOTS as u32, shard - 1, shards.max(1));
    let range = slots * shard / shards..slots * (shard + 1) / shards;
    // The edges of a range are left out, whichever way they were rounded.
    let inner = range.start + 1..range.end.saturating_sub(1).max(range.start + 2);
    let keys = (0u32..).map(|n| format!("{prefix}{n}"));
    keys.into_iter().find(|key| inner.contains(&u32::from(slot_of(key.as_bytes()).0))).unwrap_or_default()
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

    /// Gives the connection back if it can be used further.
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

    /// Reads it: a node that is no primary refuses.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lie_in_their_shard() {
        for (shard, range) in [(1, 0..5462), (2, 5460..10_924), (3, 10_922..16_384)] {
            let slot = slot_of(key_of(shard, 3, "p:").as_bytes()).0;
            assert!(range.contains(&slot), "shard {shard}: slot {slot}");
        }
    }
}

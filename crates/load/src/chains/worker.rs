//! One worker: its keys, which lie in one slot, and what it has found out about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastness_resp::value::Value;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::chain::{Chain, CounterChain, Entry, Found};
use super::meter::Meter;
use super::modes::Modes;
use super::reigns::Reigns;
use super::route::{Attempt, Route};
use crate::connection::Endpoint;
use crate::outcome::{Outcome, classify};

/// Pause after a command that was not answered with success, as a client's back-off has.
const BACK_OFF: Duration = Duration::from_millis(20);
/// A worker that is this far behind its schedule starts a new one, instead of catching up.
const BEHIND_MAX: Duration = Duration::from_millis(500);

/// Bound on the lost writes that wait to be judged. At the bound they are judged by what is known then.
const LOST_MAX: usize = 1 << 16;

/// What all workers share.
pub struct Shared {
    /// The figures.
    pub meter: Mutex<Meter>,
    /// Of each shard.
    pub reigns: Vec<Mutex<Reigns>>,
    /// Of each shard.
    pub modes: Vec<Mutex<Modes>>,
    /// `durability-max-lag` as it was last seen.
    pub bound: Mutex<Option<Duration>>,
    /// What is wrong.
    pub wrong: Mutex<Wrong>,
    /// Whether the workers end.
    pub stop: AtomicBool,
    /// Whether they have ended, so that nothing is written any more.
    pub ended: AtomicBool,
}

/// What is wrong with the data that was found.
#[derive(Debug, Default)]
pub struct Wrong {
    /// Lost writes of which it is not judged yet in which mode they were made, each with its shard. Which mode was in
    /// force when a write was acknowledged is known once the next question is answered; a loss may be found before.
    lost: Vec<(usize, Entry)>,
    /// Lost although they were made in `sync`.
    pub lost_in_sync: u64,
    /// Lost for other reasons.
    pub lost_otherwise: u64,
    /// Longest time from a lost write to the newest acknowledged one of the same reign.
    pub loss_longest: Duration,
    /// Lost writes that are not remembered.
    pub lost_before: u64,
    /// Increments that took effect more than once.
    pub doubled: u64,
    /// Refused writes that took effect.
    pub phantoms: u64,
}

impl Wrong {
    /// All acknowledged writes that are lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_in_sync + self.lost_otherwise + self.lost.len() as u64
    }
}

impl Shared {
    /// Records what was found in a key of this shard.
    fn record(&self, shard: usize, found: Found) {
        if found == Found::default() {
            return;
        }
        let mut wrong = self.wrong.lock();
        wrong.doubled += found.doubled;
        wrong.phantoms += u64::from(found.phantom);
        wrong.lost_before += found.lost_before;
        wrong.lost_otherwise += found.lost_before;
        wrong.lost.extend(found.lost.into_iter().map(|entry| (shard, entry)));
        if wrong.lost.len() >= LOST_MAX {
            self.judge(&mut wrong);
        }
    }

    /// Judges the lost writes by the mode that was in force.
    pub fn judge(&self, wrong: &mut Wrong) {
        for (shard, entry) in std::mem::take(&mut wrong.lost) {
            if self.modes[shard].lock().was_sync(entry.sent, entry.at) {
                wrong.lost_in_sync += 1;
                continue;
            }
            wrong.lost_otherwise += 1;
            let newest = entry.by.as_ref().and_then(|by| self.reigns[shard].lock().newest(by, entry.at));
            let span = newest.map_or(Duration::ZERO, |newest| newest.saturating_duration_since(entry.at));
            wrong.loss_longest = wrong.loss_longest.max(span);
        }
    }
}

/// A worker; see the module.
pub struct ChainWorker {
    /// The shard of its slot.
    pub shard: usize,
    /// The hash tag that all of its keys have.
    pub tag: String,
    /// Its way to the primary.
    pub route: Route,
    /// Time between two commands; zero sends as fast as replies arrive.
    pub interval: Duration,
    /// Padding of each value.
    pub padding: String,
    /// Seed of its choices.
    pub seed: u64,
    chains: Vec<Chain>,
    counter: CounterChain,
    /// What all workers share.
    pub shared: Arc<Shared>,
}

impl ChainWorker {
    /// A worker that has written nothing yet.
    #[must_use]
    pub fn new(
        shard: usize,
        tag: String,
        route: Route,
        keys: usize,
        history: usize,
        shared: Arc<Shared>,
    ) -> ChainWorker {
        ChainWorker {
            shard,
            tag,
            route,
            interval: Duration::ZERO,
            padding: String::new(),
            seed: 0,
            chains: (0..keys).map(|_| Chain::new(history)).collect(),
            counter: CounterChain::new(history),
            shared,
        }
    }

    /// Works until the run ends, and returns itself for the check.
    pub async fn run(mut self) -> ChainWorker {
        let mut rng = SmallRng::seed_from_u64(self.seed);
        let mut next = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let key = rng.random_range(0..self.chains.len());
            let done = match rng.random_range(0..10) {
                0..6 if !self.chains[key].is_retired() => self.write(key).await,
                6..8 => self.increment().await,
                _ => self.read(key).await,
            };
            if !done {
                tokio::time::sleep(BACK_OFF).await;
            }
            let now = Instant::now();
            next = if now.saturating_duration_since(next) > BEHIND_MAX { now } else { next + self.interval };
            if next > now {
                tokio::time::sleep_until(next.into()).await;
            }
        }
        self
    }

    fn key(&self, number: usize) -> String {
        format!("{}k{number}", self.tag)
    }

    fn counter_key(&self) -> String {
        format!("{}c", self.tag)
    }

    /// Sends a write. Returns the reply, the times, and the outcome.
    async fn send(&mut self, command: &[&[u8]]) -> (Outcome, Value, Entry) {
        let sent = Instant::now();
        let attempt = self.route.call(command).await;
        let at = Instant::now();
        let (outcome, reply, by, broke) = match attempt {
            Attempt::Reply(by, reply) => (classify(&reply), reply, Some(by), false),
            Attempt::NotSent(by) => (Outcome::Refused, Value::Null, by, true),
            Attempt::NoReply(by) => (Outcome::Unknown, Value::Null, Some(by), true),
        };
        if let Some(by) = by.as_ref().filter(|_| broke || matches!(&reply, Value::Error(text) if is_moved(text))) {
            self.broke(by);
        }
        let mut meter = self.shared.meter.lock();
        meter.wrote(self.shard, outcome, sent, at);
        if matches!(&reply, Value::Error(text) if text.starts_with(b"CLUSTERDOWN")) {
            meter.cluster_down();
        }
        drop(meter);
        if let (Outcome::Acknowledged, Some(by)) = (outcome, &by) {
            self.shared.reigns[self.shard].lock().acknowledged(by, at);
        }
        (outcome, reply, Entry { number: 0, sent, at, by })
    }

    /// A broken connection ends the reigns of its node: that of this shard here, those of others by their own workers.
    fn broke(&self, by: &Endpoint) {
        self.shared.reigns[self.shard].lock().broke(by);
    }

    async fn write(&mut self, key: usize) -> bool {
        let number = self.chains[key].attempt();
        let value = format!("{number}:{}", self.padding);
        let name = self.key(key);
        let (outcome, reply, entry) = self.send(&[b"SET", name.as_bytes(), value.as_bytes(), b"GET"]).await;
        match outcome {
            Outcome::Acknowledged => {
                let found = match number_in(&reply) {
                    Some(before) => self.chains[key].acknowledged(Entry { number, ..entry }, before),
                    None => Found { phantom: true, ..Found::default() },
                };
                self.shared.record(self.shard, found);
            }
            Outcome::Unknown => self.chains[key].unknown(number),
            Outcome::Refused => {}
        }
        outcome == Outcome::Acknowledged
    }

    async fn increment(&mut self) -> bool {
        let name = self.counter_key();
        let (outcome, reply, entry) = self.send(&[b"INCR", name.as_bytes()]).await;
        match (outcome, reply) {
            (Outcome::Acknowledged, Value::Integer(value)) => {
                let number = u64::try_from(value).unwrap_or(0);
                let found = self.counter.acknowledged(Entry { number, ..entry });
                self.shared.record(self.shard, found);
            }
            (Outcome::Refused, _) => {}
            _ => self.counter.unknown(),
        }
        outcome == Outcome::Acknowledged
    }

    async fn read(&mut self, key: usize) -> bool {
        let sent = Instant::now();
        let answer = self.get(&self.key(key)).await;
        let at = Instant::now();
        self.shared.meter.lock().read(answer.is_some(), sent, at);
        if let Some(number) = answer {
            let found = self.chains[key].found(number, at);
            self.shared.record(self.shard, found);
        }
        answer.is_some()
    }

    /// The number in a key; 0 if it is missing, `None` without an answer.
    async fn get(&mut self, name: &str) -> Option<u64> {
        match self.route.call(&[b"GET", name.as_bytes()]).await {
            Attempt::Reply(_, reply) if classify(&reply) == Outcome::Acknowledged => number_in(&reply),
            _ => None,
        }
    }

    /// Reads every key back and judges it, then removes them. Returns how many could not be read in time.
    pub async fn check(mut self, until: Instant) -> u64 {
        let mut unread = 0;
        for key in 0..self.chains.len() {
            match self.read_back(&self.key(key), until).await {
                Some(number) => {
                    let found = self.chains[key].found(number, Instant::now());
                    self.shared.record(self.shard, found);
                }
                None => unread += 1,
            }
        }
        match self.read_back(&self.counter_key(), until).await {
            Some(value) => {
                let found = self.counter.found(value);
                self.shared.record(self.shard, found);
            }
            None => unread += 1,
        }
        let names: Vec<String> = (0..self.chains.len()).map(|key| self.key(key)).chain([self.counter_key()]).collect();
        let command: Vec<&[u8]> = [&b"DEL"[..]].into_iter().chain(names.iter().map(|name| name.as_bytes())).collect();
        // The verdict does not depend on it.
        let _ = self.route.call(&command).await;
        unread
    }

    async fn read_back(&mut self, name: &str, until: Instant) -> Option<u64> {
        loop {
            let found = self.get(name).await;
            if found.is_some() || Instant::now() >= until {
                return found;
            }
            tokio::time::sleep(BACK_OFF).await;
        }
    }
}

fn is_moved(text: &[u8]) -> bool {
    text.starts_with(b"MOVED")
}

/// The number in a value; 0 for a missing key. `None`: the value was not written by this load.
fn number_in(reply: &Value) -> Option<u64> {
    match reply {
        Value::Null => Some(0),
        Value::Bulk(value) => {
            let digits = value.split(|byte| *byte == b':').next()?;
            std::str::from_utf8(digits).ok()?.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_in_front_of_the_padding() {
        assert_eq!(number_in(&Value::Bulk(b"12:xxx".to_vec())), Some(12));
        assert_eq!(number_in(&Value::Bulk(b"7".to_vec())), Some(7));
        assert_eq!(number_in(&Value::Null), Some(0));
        assert_eq!(number_in(&Value::Bulk(b"x".to_vec())), None);
    }
}

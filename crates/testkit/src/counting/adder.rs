//! What all adders do: they add one, again and again, to the counters of their shard in turn.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use fastness_load::Outcome;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::check::SharedCounter;
use crate::clients::{ClientKind, Tally};

/// Pause after an increment that was not acknowledged: the client's back-off.
const BACK_OFF: Duration = Duration::from_millis(20);

/// The work of one client.
pub(super) struct Adding {
    pub(super) counters: Vec<Arc<SharedCounter>>,
    pub(super) tally: Arc<Tally>,
    /// What no cluster may answer: violations.
    pub(super) odd: Arc<Mutex<Vec<String>>>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) pause: Duration,
    pub(super) patience: Duration,
}

impl Adding {
    /// Whether no further increments are to be made.
    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The counter of the increment with this number.
    pub(super) fn counter(&self, number: usize) -> &Arc<SharedCounter> {
        &self.counters[number % self.counters.len()]
    }

    pub(super) fn note(&self, counter: &SharedCounter, outcome: Outcome) {
        counter.tally.wrote(outcome);
        self.tally.wrote(outcome);
    }

    /// Waits before the next increment.
    pub(super) async fn pause_after(&self, outcome: Outcome) {
        let pause = if outcome == Outcome::Acknowledged { self.pause } else { self.pause.max(BACK_OFF) };
        tokio::time::sleep(pause).await;
    }
}

/// What one attempt of a write with a key has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempted {
    /// It was answered: it has happened, by this attempt or an earlier one.
    Done,
    /// This attempt has certainly not happened.
    Not,
    /// It may have happened.
    Perhaps,
    /// The cluster does not know the key any more: this attempt has not happened, and nothing is known of earlier ones.
    Forgotten,
    /// The cluster knows the key from another write, which is wrong.
    Reused,
}

/// A client that adds one.
#[async_trait]
pub(super) trait Adder: Send {
    /// Adds one to a counter; the outcome is final.
    async fn add(&mut self, key: &str, adding: &Adding) -> Outcome;
}

/// A client whose writes have idempotency keys, and are sent until they are answered.
#[async_trait]
pub(super) trait Repeating: Send {
    /// Prepares the next write: each attempt of it has the same key.
    fn next_write(&mut self);

    /// Sends it once.
    async fn attempt(&mut self, key: &str) -> Attempted;
}

#[async_trait]
impl<R: Repeating> Adder for R {
    async fn add(&mut self, key: &str, adding: &Adding) -> Outcome {
        self.next_write();
        let (mut may_have_happened, mut ends) = (false, None);
        loop {
            match self.attempt(key).await {
                Attempted::Done => return Outcome::Acknowledged,
                Attempted::Forgotten if may_have_happened => return Outcome::Unknown,
                Attempted::Forgotten => return Outcome::Refused,
                Attempted::Reused => {
                    adding.odd.lock().push(format!("{key}: the cluster takes a write for another one"));
                    return Outcome::Unknown;
                }
                Attempted::Not => {}
                Attempted::Perhaps => may_have_happened = true,
            }
            if adding.is_over() {
                let ends = *ends.get_or_insert_with(|| Instant::now() + adding.patience);
                if Instant::now() >= ends {
                    return if may_have_happened { Outcome::Unknown } else { Outcome::Refused };
                }
            }
            tokio::time::sleep(BACK_OFF).await;
        }
    }
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A client that is ready to start.
pub(super) struct ReadyAdder {
    pub(super) name: &'static str,
    pub(super) kind: ClientKind,
    start: Box<dyn FnOnce(Adding) -> Work + Send>,
}

impl ReadyAdder {
    /// One that adds one after the other.
    pub(super) fn new(name: &'static str, kind: ClientKind, adder: impl Adder + 'static) -> ReadyAdder {
        ReadyAdder::with(name, kind, move |adding| one_by_one(adder, adding))
    }

    /// One that has its own way.
    pub(super) fn with<W: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        kind: ClientKind,
        work: impl FnOnce(Adding) -> W + Send + 'static,
    ) -> ReadyAdder {
        ReadyAdder { name, kind, start: Box::new(move |adding| Box::pin(work(adding))) }
    }

    pub(super) fn start(self, adding: Adding) -> JoinHandle<()> {
        tokio::spawn((self.start)(adding))
    }
}

async fn one_by_one(mut adder: impl Adder, adding: Adding) {
    for number in 0.. {
        if adding.is_over() {
            break;
        }
        let counter = adding.counter(number);
        let outcome = adder.add(&counter.key, &adding).await;
        adding.note(counter, outcome);
        adding.pause_after(outcome).await;
    }
}

/// Makes sequence numbers of idempotency keys: the time in microseconds, or the next number after the last one.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    last: u64,
}

impl Sequence {
    pub(super) fn next(&mut self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
        self.last = now.max(self.last + 1);
        self.last
    }

    /// The number after the last one, which a connection gives to its next write.
    pub(super) fn following(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }
}

/// A name that no other client has: of the kind, and a random part.
pub(super) fn client_name(kind: &str) -> String {
    format!("{kind}-{:016x}", rand::random::<u64>())
}

//! Payments between accounts, with the Rust SDK: each is sent until it is answered, with a key by which the cluster
//! recognises it.
//!
//! A bank is a set of accounts in one slot. A payment is a transaction of three increments: it takes from one account,
//! gives to another one, and counts itself for the client that makes it. So money is neither made nor destroyed, and
//! every client knows how many payments must have been counted: more are doubled, fewer are lost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_client::{Client, ClientError, Operation, RetryOptions, Txn};
use fastness_load::Outcome;
use fastness_load::chains::Phase;
use fastness_load::chains::meter::{Interruption, Meter};
use fastness_types::{SLOTS, slot_of};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::plan::LoadPlan;

/// Number of banks.
const BANKS: usize = 6;
/// Accounts of one bank.
const ACCOUNTS: usize = 10;
/// What an account holds at first.
const OPENING: i64 = 1_000_000;
/// Number of hash tags that are tried for each bank; about one of [`BANKS`] lies in the part of the slots it is for.
const TAGS_TRIED: u32 = 10_000;
/// How long one payment is tried.
const DEADLINE: Duration = Duration::from_secs(60);
/// Pause after a payment that has failed, and between two tries to read.
const BACK_OFF: Duration = Duration::from_millis(50);

/// What a load of payments has proven.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PaymentVerdict {
    /// Length of the run in seconds.
    pub seconds: f64,
    /// Payments that were confirmed.
    pub acknowledged: u64,
    /// Payments of unknown outcome: not confirmed before their deadline.
    pub unknown: u64,
    /// Payments that were refused.
    pub refused: u64,
    /// Confirmed payments that are not counted.
    pub lost: u64,
    /// Payments that were counted more than once.
    pub doubled: u64,
    /// The sum of all accounts, as it must be.
    pub sum_expected: i64,
    /// The sum of all accounts, as it is.
    pub sum_found: i64,
    /// The longest time without a confirmed payment of one bank, in milliseconds.
    pub interruption_longest_ms: u64,
}

impl PaymentVerdict {
    /// The promises that are broken, each as a sentence.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.acknowledged == 0 {
            broken.push("no payment was confirmed: nothing is proven".to_owned());
        }
        if self.lost > 0 {
            broken.push(format!("{} confirmed payments are lost", self.lost));
        }
        if self.doubled > 0 {
            broken.push(format!("{} payments happened twice", self.doubled));
        }
        if self.sum_found != self.sum_expected {
            broken.push(format!("the accounts hold {} instead of {}", self.sum_found, self.sum_expected));
        }
        broken
    }

    /// The figures for display.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("seconds", format!("{:.1}", self.seconds)),
            ("confirmed payments", self.acknowledged.to_string()),
            ("lost", self.lost.to_string()),
            ("doubled", self.doubled.to_string()),
            ("unknown outcome", self.unknown.to_string()),
            ("refused", self.refused.to_string()),
            ("sum of all accounts", format!("{}, expected {}", self.sum_found, self.sum_expected)),
            ("longest interruption", format!("{:.2} s", self.interruption_longest_ms as f64 / 1e3)),
        ]
    }
}

/// What one client knows about its payments in one bank.
#[derive(Debug, Clone, Copy, Default)]
struct Made {
    acknowledged: u64,
    unknown: u64,
}

/// Payments in progress.
pub struct PaymentRun {
    began: Instant,
    client: Client,
    /// The hash tag of each bank.
    tags: Arc<Vec<String>>,
    meter: Arc<Mutex<Meter>>,
    total: Phase,
    longest: Duration,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Vec<Made>>>,
}

fn account(tag: &str, account: usize) -> String {
    format!("{tag}account{account}")
}

fn made(tag: &str, worker: usize) -> String {
    format!("{tag}made{worker}")
}

/// The hash tag of each bank. The slots of the banks lie in as many equal parts of all slots, so that every shard of a
/// cluster of one, two, three or six shards has banks.
fn tags(prefix: &str) -> Vec<String> {
    let tag = |bank: usize| {
        let lies_there = |tag: &String| usize::from(slot_of(tag.as_bytes()).0) * BANKS / SLOTS == bank;
        let mut tried = (0..TAGS_TRIED).map(|suffix| format!("{{{prefix}bank{bank}.{suffix}}}"));
        tried.find(lies_there).unwrap_or_else(|| format!("{{{prefix}bank{bank}}}"))
    };
    (0..BANKS).map(tag).collect()
}

/// Opens the accounts and starts the clients.
pub async fn start(cluster_file: &Path, plan: &LoadPlan, prefix: &str) -> Result<PaymentRun> {
    let retries = RetryOptions { budget: 100_000, backoff_max: Duration::from_millis(500), ..RetryOptions::default() };
    let client = Client::builder().cluster_file(cluster_file).deadline(DEADLINE).retries(retries).build()?;
    let tags = Arc::new(tags(prefix));
    for (tag, number) in tags.iter().flat_map(|tag| (0..ACCOUNTS).map(move |number| (tag, number))) {
        let opened = client.set(account(tag, number), OPENING.to_string()).await;
        opened.context("the accounts cannot be opened")?;
    }
    let per_bank = f64::from(plan.rate) / BANKS as f64;
    let meter = Arc::new(Mutex::new(Meter::new(BANKS, per_bank)));
    let (stop, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let interval =
        Duration::from_secs_f64(if plan.rate == 0 { 0.0 } else { plan.clients as f64 / f64::from(plan.rate) });
    let worker = |id| {
        let (client, tags, meter, stop) = (client.clone(), tags.clone(), meter.clone(), stop.clone());
        tokio::spawn(PaymentWorker { id, client, tags, interval, meter, stop }.run())
    };
    let workers = (0..plan.clients).map(worker).collect();
    let (total, longest) = (Phase::beginning(began), Duration::ZERO);
    Ok(PaymentRun { began, client, tags, meter, total, longest, stop, workers })
}

struct PaymentWorker {
    id: usize,
    client: Client,
    tags: Arc<Vec<String>>,
    interval: Duration,
    meter: Arc<Mutex<Meter>>,
    stop: Arc<AtomicBool>,
}

impl PaymentWorker {
    async fn run(self) -> Vec<Made> {
        let (mut made, mut rng) = (vec![Made::default(); BANKS], SmallRng::seed_from_u64(self.id as u64));
        let mut next = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let (bank, from) = (rng.random_range(0..BANKS), rng.random_range(0..ACCOUNTS));
            let to = (from + rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
            let sent = Instant::now();
            let paid = self.pay(bank, from, to, rng.random_range(1..=100)).await;
            let outcome = match paid {
                Ok(()) => Outcome::Acknowledged,
                Err(error) if error.may_have_happened() => Outcome::Unknown,
                Err(_) => Outcome::Refused,
            };
            match outcome {
                Outcome::Acknowledged => made[bank].acknowledged += 1,
                Outcome::Unknown => made[bank].unknown += 1,
                Outcome::Refused => {}
            }
            self.meter.lock().wrote(bank, outcome, sent, Instant::now());
            if outcome != Outcome::Acknowledged {
                tokio::time::sleep(BACK_OFF).await;
            }
            next = (next + self.interval).max(Instant::now() - self.interval);
            tokio::time::sleep_until(next.into()).await;
        }
        made
    }

    async fn pay(&self, bank: usize, from: usize, to: usize, amount: i64) -> Result<(), ClientError> {
        let tag = &self.tags[bank];
        let txn = Txn::new()
            .then(Operation::increment(account(tag, from), -amount))
            .then(Operation::increment(account(tag, to), amount))
            .then(Operation::increment(made(tag, self.id), 1));
        self.client.txn(txn).await?.into_results().map(drop)
    }
}

impl PaymentRun {
    /// Ends the current phase and returns what has happened in it.
    pub fn next_phase(&mut self) -> Phase {
        let phase = self.meter.lock().next_phase();
        self.total.add(&phase);
        let now = Instant::now();
        let gaps = self.interruptions(phase.began);
        self.longest = gaps.iter().map(|gap| gap.length(now)).fold(self.longest, Duration::max);
        phase
    }

    /// What has happened in all phases that were taken.
    pub fn total(&self) -> &Phase {
        &self.total
    }

    /// Interruptions that ended after `since` or last, oldest first.
    pub fn interruptions(&self, since: Instant) -> Vec<Interruption> {
        self.meter.lock().interruptions(since)
    }

    /// The figures; each bank counts as a shard.
    pub fn meter(&self) -> &Mutex<Meter> {
        &self.meter
    }

    /// Stops the clients, reads all accounts and judges the run.
    pub async fn stop_and_check(mut self, patience: Duration) -> Result<PaymentVerdict> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for worker in self.workers.drain(..) {
            all.push(worker.await.context("a client of the load has panicked")?);
        }
        let seconds = self.began.elapsed().as_secs_f64();
        self.next_phase();
        let (mut verdict, until) = (PaymentVerdict { seconds, ..PaymentVerdict::default() }, Instant::now() + patience);
        verdict.sum_expected = OPENING * (BANKS * ACCOUNTS) as i64;
        for (tag, number) in self.tags.iter().flat_map(|tag| (0..ACCOUNTS).map(move |number| (tag, number))) {
            verdict.sum_found += self.read(account(tag, number), until).await?;
        }
        for (worker, banks) in all.iter().enumerate() {
            for (tag, Made { acknowledged, unknown }) in self.tags.iter().zip(banks) {
                let counted = self.read(made(tag, worker), until).await?;
                let counted = u64::try_from(counted).unwrap_or(0);
                verdict.lost += acknowledged.saturating_sub(counted);
                verdict.doubled += counted.saturating_sub(acknowledged + unknown);
            }
        }
        verdict.acknowledged = self.total.acknowledged;
        (verdict.unknown, verdict.refused) = (self.total.unknown, self.total.refused);
        verdict.interruption_longest_ms = self.longest.as_millis() as u64;
        self.remove(all.len()).await;
        Ok(verdict)
    }

    async fn read(&self, key: String, until: Instant) -> Result<i64> {
        loop {
            match self.client.get(&key).await {
                Ok(None) => return Ok(0),
                Ok(Some(value)) => {
                    let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
                    return number.with_context(|| format!("{key} is not a number"));
                }
                Err(error) => {
                    ensure!(Instant::now() < until, "{key} cannot be read: nothing is proven ({error})");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    async fn remove(&self, workers: usize) {
        for tag in self.tags.iter() {
            let accounts = (0..ACCOUNTS).map(|number| account(tag, number));
            let all: Vec<String> = accounts.chain((0..workers).map(|id| made(tag, id))).collect();
            // The verdict does not depend on it.
            let _ = self.client.delete_many(&all).await;
        }
    }
}

impl Drop for PaymentRun {
    /// Ends a run that is not judged.
    fn drop(&mut self) {
        self.workers.iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_shard_has_banks() {
        for shards in [1, 2, 3, 6] {
            let of_bank = |tag: &String| usize::from(slot_of(tag.as_bytes()).0) * shards / SLOTS;
            let found: BTreeSet<usize> = tags("t:").iter().map(of_bank).collect();
            assert_eq!(found.len(), shards);
        }
    }

    #[test]
    fn money_that_is_made_or_destroyed_breaks_the_promise() {
        let kept = PaymentVerdict { acknowledged: 5, sum_expected: 10, sum_found: 10, ..PaymentVerdict::default() };
        assert!(kept.broken().is_empty());
        for broken in [
            PaymentVerdict { sum_found: 11, ..kept.clone() },
            PaymentVerdict { lost: 1, ..kept.clone() },
            PaymentVerdict { doubled: 1, ..kept.clone() },
            PaymentVerdict { acknowledged: 0, ..kept.clone() },
        ] {
            assert_eq!(broken.broken().len(), 1, "{broken:?}");
        }
    }
}

//! Measures at the client what failovers lose under `async`. The promise: between the oldest acknowledged write that a
//! failover has lost and the newest write acknowledged by the same primary in the same tenure, at most
//! `durability-max-lag` has passed.
//!
//! Every worker writes keys that are never written again. So each acknowledged write either exists at the end or is
//! lost, and its primary and time are known. A client does not see tenures. It takes as one tenure the acknowledgements
//! of a primary without a break between them. A break is a connection that broke or could not be opened, a command that
//! was redirected, or an acknowledgement by another node in between. A superfluous break never increases a measured
//! loss; it can only reduce it, by the acknowledgements that arrive around the break.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastness_resp::value::Value;
use fastness_types::{SLOTS, slot_of};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::client::{Access, Client};
use crate::connection::Endpoint;
use crate::outcome::{Outcome, classify};

/// Pause after a write that was not acknowledged.
const BACK_OFF: Duration = Duration::from_millis(10);
/// Number of keys that are read back with one command.
const READ_BACK: usize = 200;
/// Earliest time after which a primary that another one has replaced leads again: an election takes longer.
const RELIEVED_MIN: Duration = Duration::from_millis(300);

/// Options of the load.
#[derive(Clone)]
pub struct LossOptions {
    /// The cluster.
    pub access: Access,
    /// Number of workers, each with its own slot.
    pub workers: usize,
    /// Number of shards; the slots are divided evenly between them, in order.
    pub shards: u32,
    /// Pause between two writes of a worker.
    pub pause: Duration,
    /// Prefix of every key, so that runs do not share keys.
    pub prefix: String,
}

impl LossOptions {
    fn tag(&self, worker: usize) -> String {
        format!("{{{}l{worker}}}", self.prefix)
    }

    fn key(&self, worker: usize, number: u64) -> String {
        format!("{}{number}", self.tag(worker))
    }

    fn shard(&self, worker: usize) -> u32 {
        let slot = u32::from(slot_of(self.tag(worker).as_bytes()).0);
        slot * self.shards.max(1) / SLOTS as u32
    }
}

/// The measured losses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Acknowledged writes that do not exist at the end.
    pub lost: u64,
    /// Number of tenures that lost writes.
    pub tenures: u64,
    /// Longest time from the oldest lost to the newest acknowledged write of one tenure.
    pub longest: Duration,
}

/// An acknowledged write.
#[derive(Debug, Clone)]
struct Acknowledged {
    by: Endpoint,
    at: Instant,
    number: u64,
}

/// What one worker observed.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: Vec<Acknowledged>,
    breaks: Vec<(Endpoint, Instant)>,
}

/// A load in progress.
pub struct LossRun {
    options: LossOptions,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    seen: Vec<Arc<Mutex<Seen>>>,
    workers: Vec<JoinHandle<()>>,
}

/// Starts the workers on the current runtime.
#[must_use]
pub fn start(options: LossOptions) -> LossRun {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let topology = Arc::default();
    let (mut seen, mut workers) = (Vec::new(), Vec::new());
    for id in 0..options.workers {
        let of_worker = Arc::new(Mutex::new(Seen::default()));
        let client = Client::new(options.access.clone(), Arc::clone(&topology));
        let (stop, count) = (stop.clone(), count.clone());
        let worker = LossWorker { id, options: options.clone(), client, seen: of_worker.clone(), stop, count };
        workers.push(tokio::spawn(worker.run()));
        seen.push(of_worker);
    }
    LossRun { options, stop, count, seen, workers }
}

impl LossRun {
    /// Writes acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Stops the load, reads every acknowledged write back, and returns the losses.
    ///
    /// # Errors
    /// If a key could not be read within `patience`: then the losses are not known.
    pub async fn stop_and_check(mut self, patience: Duration) -> Result<Losses, String> {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.await.map_err(|error| error.to_string())?;
        }
        let mut client = Client::new(self.options.access.clone(), Arc::default());
        let until = Instant::now() + patience;
        let mut shards: BTreeMap<u32, Shard> = BTreeMap::new();
        for (id, seen) in self.seen.iter().enumerate() {
            let Seen { acknowledged, breaks } = std::mem::take(&mut *seen.lock());
            // A broken connection ends the tenures of all shards that its node leads.
            (0..self.options.shards.max(1)).for_each(|shard| {
                shards.entry(shard).or_default().breaks.extend(breaks.iter().cloned());
            });
            let shard = shards.entry(self.options.shard(id)).or_default();
            for part in acknowledged.chunks(READ_BACK) {
                let keys: Vec<String> = part.iter().map(|write| self.options.key(id, write.number)).collect();
                let there = read_back(&mut client, &keys, until).await?;
                shard.writes.extend(part.iter().zip(there).map(|(write, there)| Write {
                    by: write.by.clone(),
                    at: write.at,
                    lost: !there,
                }));
            }
        }
        Ok(shards.into_values().map(Shard::losses).fold(Losses::default(), Losses::and))
    }
}

impl Losses {
    fn and(self, other: Losses) -> Losses {
        Losses {
            acknowledged: self.acknowledged + other.acknowledged,
            lost: self.lost + other.lost,
            tenures: self.tenures + other.tenures,
            longest: self.longest.max(other.longest),
        }
    }
}

/// For each of these keys, all in one slot, whether it exists.
async fn read_back(client: &mut Client, keys: &[String], until: Instant) -> Result<Vec<bool>, String> {
    let mut command: Vec<&[u8]> = vec![b"MGET"];
    command.extend(keys.iter().map(|key| key.as_bytes()));
    loop {
        match client.call(&command).await {
            Ok(Value::Array(values)) if values.len() == keys.len() => {
                return Ok(values.into_iter().map(|value| value != Value::Null).collect());
            }
            other if Instant::now() >= until => return Err(format!("MGET {} …: {other:?}", keys[0])),
            _ => tokio::time::sleep(BACK_OFF).await,
        }
    }
}

struct LossWorker {
    id: usize,
    options: LossOptions,
    client: Client,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl LossWorker {
    async fn run(mut self) {
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            let acknowledged = self.write(number).await;
            let pause = if acknowledged { self.options.pause } else { BACK_OFF };
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn write(&mut self, number: u64) -> bool {
        let key = self.options.key(self.id, number);
        let Some(by) = self.client.primary(key.as_bytes()).await else { return false };
        let replies = self.client.pipeline(&by, &[&[b"SET", key.as_bytes(), b"1"]]).await;
        let at = Instant::now();
        let outcome = replies.as_ref().map_or(Outcome::Unknown, |replies| classify(&replies[0]));
        let mut seen = self.seen.lock();
        if outcome == Outcome::Acknowledged {
            seen.acknowledged.push(Acknowledged { by, at, number });
            self.count.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        // Only a node that is still the primary replies that it temporarily accepts no writes.
        let is_break = replies.map_or(true, |replies| !is_pause(&replies[0]));
        if is_break {
            seen.breaks.push((by, at));
        }
        false
    }
}

fn is_pause(reply: &Value) -> bool {
    matches!(reply, Value::Error(text) if text.starts_with(b"CLUSTERDOWN"))
}

#[derive(Debug, Clone)]
struct Write {
    by: Endpoint,
    at: Instant,
    lost: bool,
}

/// What clients observed of one shard.
#[derive(Debug, Default)]
struct Shard {
    writes: Vec<Write>,
    breaks: Vec<(Endpoint, Instant)>,
}

impl Shard {
    fn losses(mut self) -> Losses {
        self.writes.sort_by_key(|write| write.at);
        let mut losses = Losses { acknowledged: self.writes.len() as u64, ..Losses::default() };
        let mut by_primary: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
        for (by, at) in &self.breaks {
            by_primary.entry(by.to_string()).or_default().push(*at);
        }
        by_primary.values_mut().for_each(|breaks| breaks.sort_unstable());
        let mut open: BTreeMap<String, Tenure> = BTreeMap::new();
        let mut newest: Option<(String, Instant)> = None;
        for write in &self.writes {
            let by = write.by.to_string();
            let relieved = newest.as_ref().is_some_and(|(other, _)| *other != by);
            let breaks = by_primary.get(&by).map_or(&[][..], Vec::as_slice);
            let tenure = open.entry(by.clone()).or_insert_with(|| Tenure::starting(write.at));
            let broke =
                breaks.partition_point(|at| *at <= tenure.newest) < breaks.partition_point(|at| *at <= write.at);
            if broke || (relieved && write.at - tenure.newest >= RELIEVED_MIN) {
                std::mem::replace(tenure, Tenure::starting(write.at)).add_to(&mut losses);
            }
            tenure.newest = write.at;
            if write.lost {
                tenure.lost += 1;
                tenure.oldest_lost.get_or_insert(write.at);
            }
            newest = Some((by, write.at));
        }
        open.into_values().for_each(|tenure| tenure.add_to(&mut losses));
        losses
    }
}

#[derive(Debug)]
struct Tenure {
    newest: Instant,
    oldest_lost: Option<Instant>,
    lost: u64,
}

impl Tenure {
    fn starting(at: Instant) -> Tenure {
        Tenure { newest: at, oldest_lost: None, lost: 0 }
    }

    fn add_to(self, losses: &mut Losses) {
        let Some(oldest) = self.oldest_lost else { return };
        losses.lost += self.lost;
        losses.tenures += 1;
        losses.longest = losses.longest.max(self.newest - oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Observed {
        began: Instant,
        shard: Shard,
    }

    impl Observed {
        fn new() -> Observed {
            Observed { began: Instant::now(), shard: Shard::default() }
        }

        fn ms(&self, ms: u64) -> Instant {
            self.began + Duration::from_millis(ms)
        }

        fn write(mut self, by: u16, ms: u64, lost: bool) -> Observed {
            let write = Write { by: Endpoint::new("h", by), at: self.ms(ms), lost };
            self.shard.writes.push(write);
            self
        }

        fn breaks(mut self, by: u16, ms: u64) -> Observed {
            let at = self.ms(ms);
            self.shard.breaks.push((Endpoint::new("h", by), at));
            self
        }

        /// Number of lost writes, number of tenures, longest loss in milliseconds.
        fn losses(self) -> (u64, u64, u128) {
            let losses = self.shard.losses();
            (losses.lost, losses.tenures, losses.longest.as_millis())
        }
    }

    #[test]
    fn a_loss_lasts_from_its_oldest_lost_write_to_the_newest_acknowledged_one() {
        let observed = Observed::new().write(1, 0, false).write(1, 100, true).write(1, 130, false).write(1, 180, true);
        assert_eq!(observed.losses(), (2, 1, 80));
        assert_eq!(Observed::new().write(1, 0, false).losses(), (0, 0, 0));
    }

    #[test]
    fn a_tenure_ends_when_a_connection_breaks_or_another_node_leads() {
        let observed = Observed::new().write(1, 100, true).breaks(1, 150).write(1, 1_000, false);
        assert_eq!(observed.losses(), (1, 1, 0));
        let observed = Observed::new().write(1, 100, true).write(2, 800, false).write(1, 2_000, false);
        assert_eq!(observed.losses(), (1, 1, 0));
        let observed = Observed::new().write(1, 100, true).breaks(2, 150).write(1, 1_000, false);
        assert_eq!(observed.losses(), (1, 1, 900), "a break of another node");
    }

    #[test]
    fn a_late_acknowledgement_belongs_to_the_tenure_before() {
        let observed = Observed::new().write(1, 100, true).write(2, 110, false).write(1, 120, false);
        assert_eq!(observed.losses(), (1, 1, 20));
    }

    #[test]
    fn a_pause_of_the_gate_is_no_break() {
        assert!(is_pause(&Value::Error(b"CLUSTERDOWN Durability lag is over its bound".to_vec())));
        assert!(!is_pause(&Value::Error(b"MOVED 1 h:2".to_vec())));
    }
}

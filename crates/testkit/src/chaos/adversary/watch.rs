//! Observes processes and their memory from outside, and the bytes that their logs take in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastness_load::connection::encode;
use fastness_resp::value::Value;
use fastness_types::limits;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::target::Target;
use crate::cluster::{Cluster, NodeFile};
use crate::observe::Figures;

/// Memory that a process may use besides its replicas' `maxmemory`, bytes.
pub const OVERHEAD: u64 = 1 << 30;
/// Poll interval.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Length of the values by which the log's pace is measured, bytes. They are so many that deferred work of the log
/// (RocksDB's flushes, the disk's cache) is included.
const PACE_VALUE_BYTES: usize = 4 << 20;
/// Metric of the bytes that each node's log has taken in.
const LOGGED: &str = "fastness_log_payload_bytes_total";

/// A log is at work while it takes in at least this fraction of its pace: far more than the load besides an attack
/// writes, and less than a disk manages in its slowest moments when it is written to for a while.
const WORKS_PART: u64 = 8;

/// The longest gap that counts as work, however slow the disk: shorter than a shard may be unavailable.
const GAP_MAX: Duration = Duration::from_secs(4);

/// Bytes that a log takes in as one piece before the next one: the part of a unit larger than an entry that is in
/// flight.
const PIECE_BYTES: usize = limits::BATCHES_IN_FLIGHT_MAX * limits::FRAGMENT_BYTES_MAX;

/// How fast a shard's log commits while it has little to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) bytes_per_second: u64,
    /// How long a log at work may take for one piece: a shorter gap between two pieces is work.
    gap_max: Duration,
}

impl Pace {
    /// Writes some values and waits until they have committed.
    pub(super) async fn measure(target: &Target) -> Result<Pace> {
        let mut client = target.connect().await?;
        let (key, value) = (target.key("pace"), vec![b'p'; PACE_VALUE_BYTES]);
        let values = target.size.pick(8, 50);
        let begun = Instant::now();
        let mut bytes = Vec::new();
        (0..values).for_each(|_| encode(&[b"SET", &key, &value], &mut bytes));
        client.send_raw(&bytes).await?;
        let errors = client.skip_replies(values).await?;
        ensure!(errors == 0, "{errors} of {values} writes were refused");
        // In every mode this waits for the commit.
        let copies = client.call(&[b"WAIT", b"1", b"60000"]).await?;
        ensure!(matches!(copies, Value::Integer(1..)), "WAIT answered {copies:?}");
        let bytes_per_second = (values * PACE_VALUE_BYTES) as f64 / begun.elapsed().as_secs_f64();
        client.call(&[b"UNLINK", &key]).await?;
        Ok(Pace::new(bytes_per_second as u64))
    }

    fn new(bytes_per_second: u64) -> Pace {
        let slowest = (bytes_per_second / WORKS_PART).max(1);
        let gap_max = Duration::from_secs_f64(PIECE_BYTES as f64 / slowest as f64).min(GAP_MAX);
        Pace { bytes_per_second, gap_max }
    }

    /// Whether a log that took in that many bytes within a span was at work.
    fn is_work(self, bytes: u64, span: Duration) -> bool {
        bytes as f64 >= (self.bytes_per_second / WORKS_PART) as f64 * span.as_secs_f64()
    }
}

/// Observations of all processes.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// Largest resident size of each node, and its bound, bytes.
    pub resident: BTreeMap<u64, (u64, u64)>,
    /// Nodes whose process has ended or was replaced.
    pub exited: Vec<u64>,
}

impl Watched {
    /// All violations.
    pub(super) fn violations(&self) -> Vec<String> {
        let exited = self.exited.iter().map(|node| format!("node {node} has exited"));
        let large = self.resident.iter().filter(|(_, (most, bound))| most > bound);
        let large = large.map(|(node, (most, bound))| {
            format!("node {node} had {} MiB of resident memory, at most {} are allowed", most >> 20, bound >> 20)
        });
        exited.chain(large).collect()
    }
}

/// Time of a poll, and the bytes that each node's log had taken in by then.
type Poll = (Instant, BTreeMap<u64, u64>);

#[derive(Default)]
struct WatchState {
    watched: Watched,
    logged: Vec<Poll>,
}

/// The time between two moments in which some node's log was [at work](Pace::is_work): between two polls, or between
/// two such pairs of polls with a short gap, if the log was at work over all of that time. (A log takes in a large unit
/// piece by piece, and on a slow disk one piece takes longer than the poll interval.)
fn worked(polls: &[Poll], from: Instant, to: Instant, pace: Pace) -> Duration {
    let is_work = |first: usize, last: usize| {
        let ((begun, before), (ended, after)) = (&polls[first], &polls[last]);
        let of = |node: &u64| after[node].saturating_sub(before.get(node).copied().unwrap_or(after[node]));
        pace.is_work(after.keys().map(of).max().unwrap_or(0), ended.duration_since(*begun))
    };
    let within = |first: usize, last: usize| {
        let (begun, ended) = (polls[first].0, polls[last].0);
        ended.min(to).saturating_duration_since(begun.max(from))
    };
    let (mut sum, mut newest) = (Duration::ZERO, None);
    for at in (1..polls.len()).filter(|at| is_work(at - 1, *at)) {
        if let Some(before) = newest.replace(at) {
            let gap = polls[at - 1].0.duration_since(polls[before].0);
            if gap <= pace.gap_max && is_work(before - 1, at) {
                sum += within(before, at - 1);
            }
        }
        sum += within(at - 1, at);
    }
    sum
}

/// Observes until it is stopped.
pub(super) struct Watch {
    state: Arc<Mutex<WatchState>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start(cluster: &Cluster, shards: u32, maxmemory: u64) -> Result<Watch> {
        let (state, stop): (Arc<Mutex<WatchState>>, Arc<AtomicBool>) = Default::default();
        let file = cluster.file()?;
        let mut pids = BTreeMap::new();
        for node in &file.nodes {
            let pid = node.pid.with_context(|| format!("node {} does not run", node.id))?;
            let before = resident(pid).with_context(|| format!("the memory of process {pid}"))?;
            let bound = before + u64::from(shards) * (maxmemory + maxmemory / 4) + OVERHEAD;
            state.lock().watched.resident.insert(node.id, (before, bound));
            pids.insert(node.id, pid);
        }
        let memory = tokio::spawn(watch_memory(pids, state.clone(), stop.clone()));
        let logs = tokio::spawn(watch_logs(file.nodes, state.clone(), stop.clone()));
        Ok(Watch { state, stop, tasks: vec![memory, logs] })
    }

    /// How long some node's log was at work on accepted writes between two moments.
    pub(super) fn worked_between(&self, from: Instant, to: Instant, pace: Pace) -> Duration {
        worked(&self.state.lock().logged, from, to, pace)
    }

    pub(super) async fn stop(self) -> Result<Watched> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.context("an observer must not panic")?;
        }
        Ok(self.state.lock().watched.clone())
    }
}

async fn watch_memory(pids: BTreeMap<u64, i32>, state: Arc<Mutex<WatchState>>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        for (node, pid) in &pids {
            let now = resident(*pid);
            let mut state = state.lock();
            match now {
                Some(bytes) => {
                    if let Some((most, _)) = state.watched.resident.get_mut(node) {
                        *most = bytes.max(*most);
                    }
                }
                None if !state.watched.exited.contains(node) => state.watched.exited.push(*node),
                None => {}
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn watch_logs(nodes: Vec<NodeFile>, state: Arc<Mutex<WatchState>>, stop: Arc<AtomicBool>) {
    let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        for node in &nodes {
            // A busy node is polled again.
            if let Ok(logged) = Figures::of(node).await.and_then(|figures| figures.node(LOGGED)) {
                newest.insert(node.id, logged);
            }
        }
        state.lock().logged.push((Instant::now(), newest.clone()));
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The resident size of a process, bytes; `None`: there is no such process, or only its exit status is left.
fn resident(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_resident_size_while_it_runs() {
        assert!(resident(std::process::id() as i32).is_some_and(|bytes| bytes > 1 << 20));
        assert_eq!(resident(i32::MAX), None);
    }

    #[test]
    fn only_moments_in_which_a_log_takes_in_much_are_work() {
        let (begun, pace) = (Instant::now(), Pace { bytes_per_second: 8_000, gap_max: Duration::from_secs(2) });
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let poll = |ms: u64, one: u64, other: u64| (at(ms), BTreeMap::from([(1, one), (2, other)]));
        // In the second second node 2 is at work; a trickle, or nothing, is not work.
        let polls = [poll(0, 0, 0), poll(1_000, 500, 0), poll(2_000, 900, 1_500), poll(3_000, 900, 1_500)];
        assert_eq!(worked(&polls, at(0), at(3_000), pace), Duration::from_secs(1));
        assert_eq!(worked(&polls, at(1_500), at(3_000), pace), Duration::from_millis(500));
        assert_eq!(worked(&polls, at(0), at(1_200), pace), Duration::from_millis(200));
        assert_eq!(worked(&polls, at(2_000), at(3_000), pace), Duration::ZERO);
        assert_eq!(worked(&[], at(0), at(1), pace), Duration::ZERO);
    }

    #[test]
    fn a_gap_between_two_pieces_of_a_large_unit_is_work() {
        let (begun, pace) = (Instant::now(), Pace { bytes_per_second: 8_000, gap_max: Duration::from_secs(2) });
        let at = |ms: u64| begun + Duration::from_millis(ms);
        let poll = |ms: u64, bytes: u64| (at(ms), BTreeMap::from([(1, bytes)]));
        let second = Duration::from_secs(1);
        // Pieces of 2,000 bytes, two seconds apart: at least 1,000 a second.
        let polls = [poll(0, 0), poll(1_000, 2_000), poll(2_000, 2_000), poll(3_000, 4_000), poll(4_000, 4_000)];
        assert_eq!(worked(&polls, at(0), at(4_000), pace), 3 * second);
        assert_eq!(worked(&polls, at(1_500), at(4_000), pace), 3 * second / 2);
        // Nothing follows the last piece; the next piece is too late; the pieces are too small for the gap.
        assert_eq!(worked(&polls[1..], at(1_000), at(4_000), pace), second);
        let late = [poll(0, 0), poll(1_000, 9_000), poll(4_500, 9_000), poll(5_500, 18_000)];
        assert_eq!(worked(&late, at(0), at(5_500), pace), 2 * second);
        let small = [poll(0, 0), poll(1_000, 1_100), poll(3_000, 1_100), poll(4_000, 2_200)];
        assert_eq!(worked(&small, at(0), at(4_000), pace), 2 * second);
        assert_eq!(Pace::new(104_000_000).gap_max, Duration::from_secs_f64(PIECE_BYTES as f64 / 13_000_000.0));
        assert_eq!(Pace::new(1_000).gap_max, GAP_MAX);
    }

    #[test]
    fn too_much_memory_and_an_exit_are_violations() {
        let resident = BTreeMap::from([(1, (10 << 20, 20 << 20)), (2, (30 << 20, 20 << 20))]);
        let watched = Watched { resident, exited: vec![3] };
        assert_eq!(
            watched.violations(),
            ["node 3 has exited", "node 2 had 30 MiB of resident memory, at most 20 are allowed"]
        );
    }
}

//! Workloads that record every operation, with the moments of its call and its answer. Afterwards checkers compare the
//! records with what a single copy of the data could have answered.
//!
//! ```text
//! workload/*.rs  clients in groups of four on the same keys, of all kinds that the run has (RESP2, RESP3, gRPC, SDK)
//!    actor.rs    one client: sends requests and classifies outcomes as acknowledged, refused or unknown
//!    voice.rs    what it speaks
//!    record.rs   histories: the operations on one key, which is retired before it exceeds a limit of its checker
//! check/*.rs     pure functions from a history to its violations
//! ```
//!
//! Rules of the record:
//! - An acknowledged operation took effect between its call and its answer. One of unknown outcome took effect at any
//!   time since its call, or never. One that was **refused never did**: it is left out, so that a trace of it in any
//!   answer is a violation. So every run also tests the classification of errors (`fastness_load::outcome`,
//!   `clients/outcome.rs`, and that of the SDK).
//! - An attempt is never repeated: a retry after an unknown outcome is an operation of its own. The SDK repeats writes
//!   with idempotency keys by itself: all of that is one operation, which takes effect once or not at all.
//! - Every written value is unique in the run, or (for sums and counters) every answer contains the resulting state.
//!
//! After a run all keys are read back, and these reads are part of their histories, so that the loss of a write is
//! found even if no client read it before. A history is *undecided* if its checker does not reach a verdict, and a
//! workload is undecided if it has fewer than [`HistoryOptions::least_ops`] operations: a run with anything undecided
//! proves nothing.
//!
//! The whole history is in memory until the end, about 100 bytes for each operation. Only for `sync` clusters: `async`
//! may lose acknowledged writes within its bound, which these checkers report as losses.

mod actor;
pub mod check;
mod record;
mod run;
mod voice;
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastness_load::SharedTopology;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

pub use check::{Findings, Kind, Violation};
pub use record::{History, Op, Span};
pub use run::{HistoryOptions, TIMEOUT};

pub use crate::clients::Counts;
use crate::clients::{ClientKind, Tally};
use actor::Actor;
use record::Clock;
use run::{READER, Run};
use workload::Workload;

/// The verdict on the histories of a run.
#[derive(Debug, Clone)]
pub struct HistoryVerdict {
    /// All violations; a good run has none.
    pub violations: Vec<Violation>,
    /// Why the run proves nothing; a valid run has none.
    pub undecided: Vec<String>,
    /// Number of operations that a checker has judged.
    pub ops_checked: u64,
    /// Number of violations that report a lost acknowledged write.
    pub lost: u64,
    /// Number of violations that report a stale read.
    pub stale: u64,
    /// Operations of each workload.
    pub by_workload: BTreeMap<&'static str, Counts>,
    /// Operations of each kind of client.
    pub by_client: BTreeMap<ClientKind, Counts>,
}

impl HistoryVerdict {
    /// Whether the run is valid and has no violations.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_empty()
    }
}

/// One group of clients on one workload's keys.
struct Group {
    workload: Arc<dyn Workload>,
    /// For each kind of client.
    tallies: BTreeMap<ClientKind, Arc<Tally>>,
}

impl Group {
    fn counts(&self) -> Counts {
        self.tallies.values().fold(Counts::default(), |sum, tally| sum + tally.counts())
    }
}

/// The running workloads.
pub struct RunningWorkloads {
    run: Arc<Run>,
    groups: Vec<Group>,
    clients: Vec<JoinHandle<()>>,
}

/// Starts all workloads on the current runtime.
#[must_use]
pub fn start(options: HistoryOptions) -> RunningWorkloads {
    let run = Arc::new(Run {
        options,
        clock: Clock::start(),
        topology: SharedTopology::default(),
        stop: AtomicBool::new(false),
        odd: Mutex::default(),
    });
    let groups: Vec<Group> = (0..run.options.groups)
        .flat_map(|group| workload::all::all(&run.options, group))
        .map(|workload| Group { workload, tallies: BTreeMap::new() })
        .collect();
    let mut running = RunningWorkloads { run, groups, clients: Vec::new() };
    running.start_clients();
    running
}

/// Pause after an operation that was not acknowledged: the client's back-off.
const BACK_OFF: Duration = Duration::from_millis(10);

impl RunningWorkloads {
    fn start_clients(&mut self) {
        let mut id = READER;
        // Another first kind for each group and each seed: the only writer of a workload is not always of one kind.
        let first = self.run.options.seed as usize % 8;
        for (at, group) in self.groups.iter_mut().enumerate() {
            for place in 0..group.workload.clients() {
                id += 1;
                let client = self.run.options.access.client(first + at + place as usize, &self.run.topology);
                let tally = group.tallies.entry(client.kind()).or_default().clone();
                let actor = Actor::new(id, self.run.clone(), client, tally);
                self.clients.push(tokio::spawn(live(group.workload.clone(), place, actor)));
            }
        }
    }

    /// Counts of all workloads so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.groups.iter().fold(Counts::default(), |sum, group| sum + group.counts())
    }

    /// Counts of each workload so far.
    #[must_use]
    pub fn by_workload(&self) -> BTreeMap<&'static str, Counts> {
        let mut by_workload = BTreeMap::new();
        for group in &self.groups {
            let sum: &mut Counts = by_workload.entry(group.workload.name()).or_default();
            *sum = *sum + group.counts();
        }
        by_workload
    }

    /// Counts of each kind of client so far.
    #[must_use]
    pub fn by_client(&self) -> BTreeMap<ClientKind, Counts> {
        let mut by_client = BTreeMap::new();
        for (kind, tally) in self.groups.iter().flat_map(|group| &group.tallies) {
            let sum: &mut Counts = by_client.entry(*kind).or_default();
            *sum = *sum + tally.counts();
        }
        by_client
    }

    /// Stops the clients, reads every key back and checks all histories.
    ///
    /// # Errors
    /// If a key could not be read within `patience`: then nothing is proven.
    pub async fn stop_and_check(mut self, patience: Duration) -> Result<HistoryVerdict, String> {
        self.stop().await;
        let (by_workload, by_client) = (self.by_workload(), self.by_client());
        let until = Instant::now() + patience;
        for group in &self.groups {
            // Its reads are not part of the load.
            let client = self.run.options.access.client(0, &self.run.topology);
            let mut reader = Actor::new(READER, self.run.clone(), client, Arc::default());
            reader.insist_until(until);
            group.workload.read_back(&mut reader).await?;
        }
        let workloads: Vec<_> = self.groups.iter().map(|group| group.workload.clone()).collect();
        let run = self.run.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let mut findings = Findings::default();
            workloads.iter().for_each(|workload| workload.check(&run, &mut findings));
            findings
        });
        let findings = checked.await.map_err(|error| format!("a checker panicked: {error}"))?;
        Ok(self.verdict(findings, by_workload, by_client))
    }

    /// Stops the clients; running operations are finished first.
    async fn stop(&mut self) {
        self.run.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.await.expect("a client does not panic");
        }
    }

    fn verdict(
        &self,
        findings: Findings,
        by_workload: BTreeMap<&'static str, Counts>,
        by_client: BTreeMap<ClientKind, Counts>,
    ) -> HistoryVerdict {
        let Findings { violations, mut undecided, ops_checked } = findings;
        undecided.append(&mut self.run.odd.lock());
        let least = self.run.options.least_ops;
        let by_kind = by_client.iter().map(|(kind, counts)| (kind.name(), counts));
        let all = by_workload.iter().map(|(name, counts)| (*name, counts)).chain(by_kind);
        undecided.extend(all.filter_map(|(name, counts)| too_low(name, *counts, least)));
        let of_kind = |kind| violations.iter().filter(|violation| violation.kind == kind).count() as u64;
        let (lost, stale) = (of_kind(Kind::Lost), of_kind(Kind::Stale));
        HistoryVerdict { violations, undecided, ops_checked, lost, stale, by_workload, by_client }
    }
}

/// Why a workload's load was too low to prove anything, if it was.
fn too_low(name: &str, counts: Counts, least: u64) -> Option<String> {
    let Counts { acknowledged, reads, .. } = counts;
    let done = acknowledged + reads;
    (done < least).then(|| format!("{name}: the load was too low, {done} operations, at least {least}"))
}

async fn live(workload: Arc<dyn Workload>, place: u32, mut actor: Actor) {
    while !actor.run.is_over() {
        let done = workload.step(place, &mut actor).await;
        let pause = actor.run.options.pause;
        tokio::time::sleep(if done { pause } else { BACK_OFF.max(pause) }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_with_too_little_load_proves_nothing() {
        let counts = Counts { acknowledged: 60, reads: 39, refused: 500, unknown: 500 };
        assert!(too_low("bank", counts, 100).is_some_and(|why| why.contains("bank") && why.contains("99")));
        assert_eq!(too_low("bank", Counts { reads: 40, ..counts }, 100), None);
    }
}

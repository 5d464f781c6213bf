//! The invariants that must hold at every step of a simulation, checked from outside the nodes: one file per invariant.
//!
//! | file | invariant |
//! |---|---|
//! | `election_safety.rs` | a term has one leader |
//! | `lease_holder.rs` | one node holds a group's lease |
//! | `log_matching.rs` | logs that share an entry share all earlier ones; a committed entry stays |
//! | `leader_completeness.rs` | a leader has all entries that committed before |
//! | `two_azs.rs` | a committed entry is on stable storage in two AZs, and what a reply promises is committed |
//! | `digests.rs` | equal logs give equal data, in memory and in snapshots |
//! | `async_loss.rs` | the loss of a failover under `async` is within the bound |
//! | `whole_units.rs` | a transaction is in memory as a whole or not at all |
//! | `caught_up.rs` | a new voter holds what the other members hold |
//! | `bounds.rs` | entries and memory are within their limits, whatever clients send |
//! | `accepts.rs` | while nothing is broken, every shard accepts writes, whatever clients send |
//! | `overdue.rs` | while nothing is broken, keys are removed soon after their deadline, whatever their names |
//! | `../ledger.rs` | no reply shows undone, lost or refused data |
//!
//! And no node stops by itself, except for a fault that must stop it, and then with the reason that belongs to that
//! fault.

pub mod accepts;
pub mod async_loss;
pub mod bounds;
pub mod caught_up;
pub mod digests;
pub mod election_safety;
pub mod leader_completeness;
pub mod lease_holder;
pub mod log_matching;
pub mod logs;
pub mod overdue;
pub mod two_azs;
pub mod whole_units;

use std::collections::BTreeMap;
use std::rc::Rc;

use fastness_consensus::handle::Role;
use fastness_consensus::snapshot::SnapshotPart;
use fastness_shard::{GateState, ShardInfo};
use fastness_types::{Clock as _, Epoch, LogIndex, NodeId, ShardId};

use crate::sim::coverage::{Coverage, CoverageEvent};
use crate::sim::ledger::Ledger;
use crate::sim::node::{Replica, SimNode};
use crate::sim::profile::Scale;
use crate::sim::stable_log::epoch_of;
use crate::sim::trace::Trace;

use accepts::Accepts;
use bounds::ScaleBounds;
use caught_up::CaughtUp;
use digests::{Claim, EqualData};
use election_safety::ElectionSafety;
use leader_completeness::LeaderCompleteness;
use lease_holder::LeaseHolders;
use log_matching::LogMatching;
use logs::{Logs, each_replica};
use overdue::Overdue;
use two_azs::TwoAzs;
use whole_units::WholeUnits;

/// Interval, in steps, at which whole logs are compared and stopped nodes are searched.
const LOGS_EVERY: u64 = 10;
/// Interval, in steps, of the expensive checks, which read every key of every replica.
const DIGESTS_EVERY: u64 = 40;

/// Checks all nodes of a simulation.
pub struct Invariants {
    trace: Trace,
    elections: ElectionSafety,
    completeness: LeaderCompleteness,
    matching: LogMatching,
    two_azs: TwoAzs,
    digests: EqualData,
    whole_units: WholeUnits,
    accepts: Accepts,
    overdue: Overdue,
    caught_up: CaughtUp,
    /// Only in runs whose limits are scaled down.
    bounds: Option<ScaleBounds>,
    logs: Logs,
    /// The groups that each running node leads.
    leads: BTreeMap<(NodeId, ShardId), Epoch>,
    /// Snapshots that were checked.
    snapshots: BTreeMap<(NodeId, ShardId), LogIndex>,
    /// The newest counters of each running replica.
    counts: BTreeMap<(NodeId, ShardId), ReplicaCounts>,
    coverage: Coverage,
    violations: Vec<String>,
}

/// Counters of a replica since its process started.
#[derive(Debug, Clone, Copy, Default)]
struct ReplicaCounts {
    undone_by_records: u64,
    undone_by_restore: u64,
    restores: u64,
    snapshots_made: u64,
    snapshots_installed: u64,
    lag_gate_closed: u64,
    window_full: bool,
}

impl Invariants {
    /// State before the first check.
    #[must_use]
    pub fn new(trace: Trace, scale: Option<Scale>) -> Invariants {
        Invariants {
            trace,
            elections: ElectionSafety::default(),
            completeness: LeaderCompleteness::default(),
            matching: LogMatching::default(),
            two_azs: TwoAzs::default(),
            digests: EqualData::default(),
            whole_units: WholeUnits::default(),
            accepts: Accepts::default(),
            overdue: Overdue::default(),
            caught_up: CaughtUp::default(),
            bounds: scale.map(ScaleBounds::new),
            logs: Logs::default(),
            leads: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            counts: BTreeMap::new(),
            coverage: Coverage::default(),
            violations: Vec::new(),
        }
    }

    /// All violations so far.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Adds a violation.
    pub fn violate(&mut self, what: String) {
        self.trace.note(|| format!("BROKEN {what}"));
        self.violations.push(what);
    }

    fn check<T>(&mut self, found: Result<T, String>) -> Option<T> {
        found.map_err(|what| self.violate(what)).ok()
    }

    /// Number of tenures, of all shards.
    #[must_use]
    pub fn tenures(&self) -> usize {
        self.completeness.led()
    }

    /// Number of committed entries, of all shards.
    #[must_use]
    pub fn committed(&self) -> usize {
        self.matching.committed()
    }

    /// Number of digests that were compared between two replicas.
    #[must_use]
    pub fn digests_compared(&self) -> u64 {
        self.digests.compared()
    }

    /// Of these, digests from snapshots.
    #[must_use]
    pub fn snapshots_compared(&self) -> u64 {
        self.digests.snapshots_compared()
    }

    /// Transactions that must be in memory as a whole.
    pub fn whole_units(&mut self) -> &mut WholeUnits {
        &mut self.whole_units
    }

    /// Checks what a shard must do while nothing is broken. `loaded`: clients write. `disturbed`: something is broken
    /// now.
    pub fn check_calm(&mut self, nodes: &[Rc<SimNode>], ledger: &Ledger, loaded: bool, disturbed: bool) {
        let now = self.trace.now();
        // A closed lag gate refuses writes until the log has caught up, as it should.
        let mut is_closed = false;
        each_replica(nodes, |_, _, replica| is_closed |= replica.shard.info().gate.state == GateState::Closed);
        if disturbed || !loaded || is_closed {
            self.accepts.disturbed(now);
        }
        if disturbed {
            self.overdue.disturbed(now);
        }
        for shard in (1..=nodes[0].shards).map(ShardId) {
            let found = self.accepts.check(shard, ledger.acknowledged_of(shard), now);
            self.check(found);
        }
        each_replica(nodes, |node, shard, replica| {
            let found = self.overdue.check(node, shard, replica, now);
            self.check(found);
        });
    }

    /// Events and faults so far.
    pub fn coverage(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    /// Records that a node stops, and the content of its disk.
    pub fn note_stop(&mut self, node: &SimNode) {
        self.logs.note_stop(node);
        let live = node.live.borrow();
        for (at, replica) in live.iter().flat_map(|live| &live.replicas).enumerate() {
            self.count(node, ShardId(at as u32 + 1), &replica.shard.info());
        }
        self.leads.retain(|(of, _), _| *of != node.id);
        self.counts.retain(|(of, _), _| *of != node.id);
    }

    /// Records that a node is about to start.
    pub fn note_start(&mut self, node: &SimNode) {
        self.logs.note_start(node);
    }

    /// Runs all checks that are due at this step.
    pub fn check_step(&mut self, nodes: &[Rc<SimNode>], ledger: &mut Ledger, step: u64) {
        self.check_roles(nodes);
        let all = step.is_multiple_of(LOGS_EVERY);
        self.check_logs(nodes, all);
        self.check_memory(nodes);
        for promised in ledger.take_promised() {
            let found = self.two_azs.promised(promised);
            self.check(found);
        }
        for violation in ledger.take_violations() {
            self.violate(violation);
        }
        if all {
            self.check_voters(nodes);
            self.check_stopped(nodes);
        }
        if step.is_multiple_of(DIGESTS_EVERY) {
            self.check_data(nodes);
        }
    }

    /// Runs all checks.
    pub fn check_all(&mut self, nodes: &[Rc<SimNode>], ledger: &mut Ledger) {
        self.check_step(nodes, ledger, 0);
    }

    fn check_roles(&mut self, nodes: &[Rc<SimNode>]) {
        let mut holders = LeaseHolders::default();
        each_replica(nodes, |node, shard, replica| {
            let role = replica.handle.role();
            let Role::Leader { lease, .. } = &**role else {
                if let Some(epoch) = self.leads.remove(&(node.id, shard)) {
                    self.trace.note(|| format!("{shard}: node {} leads {epoch} no more", node.id));
                    self.coverage.count(CoverageEvent::StepDown);
                }
                return;
            };
            let epoch = lease.epoch();
            let led = self.elections.see(shard, epoch);
            self.check(led);
            let news = self.completeness.see(shard, epoch, &replica.log, &self.matching);
            if self.check(news) == Some(true) {
                self.trace.note(|| format!("{shard}: node {} leads {epoch}", node.id));
            }
            if self.leads.insert((node.id, shard), epoch).is_some_and(|before| before != epoch) {
                self.coverage.count(CoverageEvent::StepDown);
            }
            if lease.holds(node.clock.boot()) {
                let alone = holders.holds(shard, node.id, epoch);
                self.check(alone);
            }
        });
    }

    /// Checks the voters in the membership that each leader uses.
    fn check_voters(&mut self, nodes: &[Rc<SimNode>]) {
        let now = self.trace.now();
        each_replica(nodes, |node, shard, replica| {
            let purged = replica.log.state().purged.map_or(0, |purged| purged.index);
            self.caught_up.note_purged(shard, node.id, purged, now);
            if matches!(&**replica.handle.role(), Role::Leader { .. }) {
                let found = self.caught_up.check(nodes, shard, node.id, replica, now);
                self.check(found);
            }
        });
    }

    /// Checks entries that committed since the last step, or whole logs.
    pub fn check_logs(&mut self, nodes: &[Rc<SimNode>], all: bool) {
        each_replica(nodes, |node, shard, replica| {
            if all || self.logs.has_committed(node.id, shard, replica) {
                let found = self.check_log(nodes, node, shard, replica);
                self.check(found);
            }
        });
    }

    fn check_log(
        &mut self,
        nodes: &[Rc<SimNode>],
        node: &SimNode,
        shard: ShardId,
        replica: &Replica,
    ) -> Result<(), String> {
        let news = self.logs.news(node.id, shard, replica)?;
        let mut before = news.before;
        for entry in news.committed.iter().chain(&news.open) {
            let epoch = epoch_of(entry);
            self.elections.see(shard, epoch)?;
            self.matching.see(shard, node.id, entry, before)?;
            self.bounds.map_or(Ok(()), |bounds| bounds.entry(shard, node.id, entry))?;
            before = Some(epoch);
        }
        for entry in &news.committed {
            let epoch = epoch_of(entry);
            if self.matching.commit(shard, node.id, entry.index, epoch)? {
                self.trace.note(|| format!("{shard}: {} of {epoch} is committed", entry.index));
                let voters = node.plan.borrow().voters.len();
                self.two_azs.commit((nodes, voters), &self.logs, shard, entry, epoch)?;
            }
        }
        Ok(())
    }

    /// Checks the effects of hostile clients on memory.
    fn check_memory(&mut self, nodes: &[Rc<SimNode>]) {
        if self.whole_units.is_empty() && self.bounds.is_none() {
            return;
        }
        each_replica(nodes, |node, shard, replica| {
            let is_whole = self.whole_units.check(node.id, shard, replica, &replica.shard.info());
            self.check(is_whole);
            let is_small = self.bounds.map_or(Ok(()), |bounds| bounds.memory(shard, node.id, replica));
            self.check(is_small);
        });
    }

    fn check_stopped(&mut self, nodes: &[Rc<SimNode>]) {
        for node in nodes {
            if let Some(reason) = node.stop_reason()
                && !node.expects(&reason)
            {
                self.violate(format!("node {} has stopped: {reason}", node.id));
            }
        }
        each_replica(nodes, |node, shard, replica| {
            let info = replica.shard.info();
            if let Some(reason) = info.stopped.as_ref().filter(|reason| !node.expects(reason)) {
                self.violate(format!("shard {shard}: the replica on node {} has stopped: {reason}", node.id));
            }
            self.count(node, shard, &info);
        });
    }

    /// Adds the events in a replica since its last check.
    fn count(&mut self, node: &SimNode, shard: ShardId, info: &ShardInfo) {
        let now = ReplicaCounts {
            undone_by_records: info.undone_by_records,
            undone_by_restore: info.undone - info.undone_by_records,
            restores: info.restores,
            snapshots_made: info.snapshot.written,
            snapshots_installed: info.snapshot.received,
            lag_gate_closed: info.gate.closures,
            window_full: info.open_batches > node.batching.in_flight_max,
        };
        let before = self.counts.insert((node.id, shard), now).unwrap_or_default();
        let undone =
            now.undone_by_records + now.undone_by_restore - before.undone_by_records - before.undone_by_restore;
        let over_open = undone.min(now.snapshots_installed - before.snapshots_installed);
        for (event, now, before) in [
            (CoverageEvent::UndoByRecords, now.undone_by_records, before.undone_by_records),
            (CoverageEvent::UndoByRestore, now.undone_by_restore, before.undone_by_restore),
            (CoverageEvent::Restore, now.restores, before.restores),
            (CoverageEvent::SnapshotMade, now.snapshots_made, before.snapshots_made),
            (CoverageEvent::SnapshotInstalled, now.snapshots_installed, before.snapshots_installed),
            (CoverageEvent::InstalledOverOpen, over_open, 0),
            (CoverageEvent::LagGateClosed, now.lag_gate_closed, before.lag_gate_closed),
            (CoverageEvent::WindowFull, u64::from(now.window_full && !before.window_full), 0),
        ] {
            self.coverage.add(event, now - before);
        }
    }

    fn check_data(&mut self, nodes: &[Rc<SimNode>]) {
        each_replica(nodes, |node, shard, replica| {
            let Ok((index, digest)) = replica.shard.digest() else { return };
            let log_checksum = format!("{:016x}", replica.shard.info().log_checksum);
            let claim = Claim { node: node.id, shard, index, digest: Some(digest.to_string()), log_checksum };
            let found = self.digests.see(&claim, false);
            self.check(found);
        });
        for node in nodes {
            for (at, files) in node.snapshots.iter().enumerate() {
                let shard = ShardId(at as u32 + 1);
                let checked = self.snapshots.entry((node.id, shard)).or_default();
                let Some(newest) = files.list().into_iter().next().filter(|newest| *newest > *checked) else {
                    continue;
                };
                *checked = newest;
                let claim = files.get(newest).and_then(|parts| claim_of(node.id, shard, &parts));
                let found =
                    claim.ok_or_else(|| format!("shard {shard}: node {} has a snapshot without a tail", node.id));
                let found = found.and_then(|claim| self.digests.see(&claim, true));
                self.check(found);
            }
        }
    }
}

/// The claim in the tail of a snapshot, whose field names are frozen.
fn claim_of(node: NodeId, shard: ShardId, parts: &[SnapshotPart]) -> Option<Claim> {
    let SnapshotPart::Tail(tail) = parts.last()? else { return None };
    let tail: serde_json::Value = serde_json::from_slice(tail).ok()?;
    Some(Claim {
        node,
        shard,
        index: LogIndex(tail["index"].as_u64()?),
        digest: Some(tail["digest"].as_str()?.to_owned()),
        log_checksum: tail["log_checksum"].as_str()?.to_owned(),
    })
}

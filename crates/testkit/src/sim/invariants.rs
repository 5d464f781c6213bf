//! What must hold at every step of a simulation, looked at from outside of the nodes: one file per invariant.
//!
//! | file | what must hold |
//! |---|---|
//! | `election_safety.rs` | a term has one leader |
//! | `lease_holder.rs` | one node holds a group's lease |
//! | `log_matching.rs` | logs that share an entry share all before it; what is committed stays |
//! | `leader_completeness.rs` | a leader has all that was committed before |
//! | `two_azs.rs` | what is committed, and what is acknowledged under `sync`, is on stable storage in two AZs |
//! | `digests.rs` | equal logs give equal data, in memory and in snapshots |
//! | `async_loss.rs` | what a failover loses under `async` is within the bound |
//! | `whole_units.rs` | a transaction is in memory as a whole or not at all |
//! | `caught_up.rs` | who becomes a voter holds what the others do |
//! | `bounds.rs` | entries and memory are within their limits, whatever clients send |
//! | `accepts.rs` | where nothing is broken, every shard accepts writes, whatever clients send |
//! | `overdue.rs` | where nothing is broken, keys are removed soon after their deadline, whatever their names |
//! | `../ledger.rs` | no reply shows what is undone, lost or refused |
//!
//! And no node stops by itself, unless a fault was to make it, and with the reason that the fault gives.

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

/// Whole logs are compared, and stopped nodes looked for, every so many steps.
const LOGS_EVERY: u64 = 10;
/// The dear part, which reads every key of every replica.
const DIGESTS_EVERY: u64 = 40;

/// Looks at all nodes of a simulation.
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
    /// In runs whose limits are scaled down.
    bounds: Option<ScaleBounds>,
    logs: Logs,
    /// What each running node leads.
    leads: BTreeMap<(NodeId, ShardId), Epoch>,
    /// Snapshots that were looked at.
    snapshots: BTreeMap<(NodeId, ShardId), LogIndex>,
    /// The newest counts of each running replica.
    counts: BTreeMap<(NodeId, ShardId), ReplicaCounts>,
    coverage: Coverage,
    violations: Vec<String>,
}

/// A replica's counts since its process has started.
#[derive(Debug, Clone, Copy, Default)]
struct ReplicaCounts {
    undone_by_records: u64,
    undone_by_restore: u64,
    restores: u64,
    snapshots_made: u64,
    snapshots_installed: u64,
    gate_shut: u64,
    window_full: bool,
}

impl Invariants {
    /// Nothing looked at yet.
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

    /// What was found broken.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Adds a finding.
    pub fn violate(&mut self, what: String) {
        self.trace.note(|| format!("BROKEN {what}"));
        self.violations.push(what);
    }

    fn check<T>(&mut self, found: Result<T, String>) -> Option<T> {
        found.map_err(|what| self.violate(what)).ok()
    }

    /// Tenures as primary that were seen, of all shards.
    #[must_use]
    pub fn tenures(&self) -> usize {
        self.completeness.led()
    }

    /// Committed entries, of all shards.
    #[must_use]
    pub fn committed(&self) -> usize {
        self.matching.committed()
    }

    /// Digests of two replicas that were compared.
    #[must_use]
    pub fn digests_compared(&self) -> u64 {
        self.digests.compared()
    }

    /// Of these, digests that stood in snapshots.
    #[must_use]
    pub fn snapshots_compared(&self) -> u64 {
        self.digests.snapshots_compared()
    }

    /// What transactions write together.
    pub fn whole_units(&mut self) -> &mut WholeUnits {
        &mut self.whole_units
    }

    /// Looks at what a shard does where nothing is broken. `loaded`: clients write. `disturbed`: something is broken
    /// now.
    pub fn look_at_calm(&mut self, nodes: &[Rc<SimNode>], ledger: &Ledger, loaded: bool, disturbed: bool) {
        let now = self.trace.now();
        // A shut lag gate refuses writes until the log has caught up, which is what it is for.
        let mut is_shut = false;
        each_replica(nodes, |_, _, replica| is_shut |= replica.shard.info().gate.state == GateState::Shut);
        if disturbed || !loaded || is_shut {
            self.accepts.disturbed(now);
        }
        if disturbed {
            self.overdue.disturbed(now);
        }
        for shard in (1..=nodes[0].shards).map(ShardId) {
            let found = self.accepts.look(shard, ledger.acknowledged_of(shard), now);
            self.check(found);
        }
        each_replica(nodes, |node, shard, replica| {
            let found = self.overdue.look(node, shard, replica, now);
            self.check(found);
        });
    }

    /// What has happened so far.
    pub fn coverage(&mut self) -> &mut Coverage {
        &mut self.coverage
    }

    /// The node goes down; what its disk holds is kept in mind.
    pub fn goes_down(&mut self, node: &SimNode) {
        self.logs.goes_down(node);
        let live = node.live.borrow();
        for (at, replica) in live.iter().flat_map(|live| &live.replicas).enumerate() {
            self.count(node, ShardId(at as u32 + 1), &replica.shard.info());
        }
        self.leads.retain(|(of, _), _| *of != node.id);
        self.counts.retain(|(of, _), _| *of != node.id);
    }

    /// The node is about to start.
    pub fn comes_up(&mut self, node: &SimNode) {
        self.logs.comes_up(node);
    }

    /// Looks at everything that is due at this step.
    pub fn look(&mut self, nodes: &[Rc<SimNode>], ledger: &mut Ledger, step: u64) {
        self.look_at_roles(nodes);
        let all = step.is_multiple_of(LOGS_EVERY);
        self.look_at_logs(nodes, all);
        self.look_at_memory(nodes);
        for promised in ledger.take_promised() {
            let found = self.two_azs.acknowledged(&promised);
            self.check(found);
        }
        for violation in ledger.take_violations() {
            self.violate(violation);
        }
        if all {
            self.look_at_voters(nodes);
            self.look_for_stopped(nodes);
        }
        if step.is_multiple_of(DIGESTS_EVERY) {
            self.look_at_data(nodes);
        }
    }

    /// Looks at everything, whether it is due or not.
    pub fn look_at_all(&mut self, nodes: &[Rc<SimNode>], ledger: &mut Ledger) {
        self.look(nodes, ledger, 0);
    }

    fn look_at_roles(&mut self, nodes: &[Rc<SimNode>]) {
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

    /// Looks at who votes by the membership that each leader goes by.
    fn look_at_voters(&mut self, nodes: &[Rc<SimNode>]) {
        let now = self.trace.now();
        each_replica(nodes, |node, shard, replica| {
            let purged = replica.log.state().purged.map_or(0, |purged| purged.index);
            self.caught_up.note_purged(shard, node.id, purged, now);
            if matches!(&**replica.handle.role(), Role::Leader { .. }) {
                let found = self.caught_up.look(nodes, shard, node.id, replica, now);
                self.check(found);
            }
        });
    }

    /// Looks at what was committed since the last step, or at whole logs.
    pub fn look_at_logs(&mut self, nodes: &[Rc<SimNode>], all: bool) {
        each_replica(nodes, |node, shard, replica| {
            if all || self.logs.has_committed(node.id, shard, replica) {
                let found = self.look_at_log(nodes, node, shard, replica);
                self.check(found);
            }
        });
    }

    fn look_at_log(
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

    /// Looks at what hostile clients can make of memory.
    fn look_at_memory(&mut self, nodes: &[Rc<SimNode>]) {
        if self.whole_units.is_empty() && self.bounds.is_none() {
            return;
        }
        each_replica(nodes, |node, shard, replica| {
            let is_whole = self.whole_units.look(node.id, shard, replica, &replica.shard.info());
            self.check(is_whole);
            let is_small = self.bounds.map_or(Ok(()), |bounds| bounds.memory(shard, node.id, replica));
            self.check(is_small);
        });
    }

    fn look_for_stopped(&mut self, nodes: &[Rc<SimNode>]) {
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

    /// Adds what has happened in a replica since it was looked at last.
    fn count(&mut self, node: &SimNode, shard: ShardId, info: &ShardInfo) {
        let now = ReplicaCounts {
            undone_by_records: info.undone_by_records,
            undone_by_restore: info.undone - info.undone_by_records,
            restores: info.restores,
            snapshots_made: info.snapshot.written,
            snapshots_installed: info.snapshot.received,
            gate_shut: info.gate.shut,
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
            (CoverageEvent::GateShut, now.gate_shut, before.gate_shut),
            (CoverageEvent::WindowFull, u64::from(now.window_full && !before.window_full), 0),
        ] {
            self.coverage.add(event, now - before);
        }
    }

    fn look_at_data(&mut self, nodes: &[Rc<SimNode>]) {
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
                let looked = self.snapshots.entry((node.id, shard)).or_default();
                let Some(newest) = files.list().into_iter().next().filter(|newest| *newest > *looked) else { continue };
                *looked = newest;
                let claim = files.get(newest).and_then(|parts| claim_of(node.id, shard, &parts));
                let found =
                    claim.ok_or_else(|| format!("shard {shard}: node {} has a snapshot without a tail", node.id));
                let found = found.and_then(|claim| self.digests.see(&claim, true));
                self.check(found);
            }
        }
    }
}

/// What the tail of a snapshot says; its names are frozen.
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

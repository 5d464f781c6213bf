//! Disks that are slow, stall, fail or are full; and disks that a node must refuse.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use fastness_log::memory::MemoryDisk;
use fastness_types::Durability;
use rand::Rng as _;

use super::SimFault;
use super::machine::{self, is_whole};
use super::stage::{RunningFault, Stage, ms};
use crate::sim::coverage::CoverageEvent;
use crate::sim::net::host;
use crate::sim::node::{Machine, Replica, SimNode, find_replica, is_primary};

/// Delay before a process that stopped because of its disk is restarted.
const RESTARTS_AFTER: Range<Duration> = ms(20)..ms(500);
/// A node that must refuse its disk has heard from its peers within this time, if no fault holds one of its links.
const REFUSES_WITHIN: Duration = ms(8_000);
/// All nodes have exchanged messages within this time, if no link is cut.
const CALM: Duration = ms(1_200);
/// Longest wait of an old copy for that.
const CALM_WITHIN: Duration = ms(15_000);
/// Uncommitted entries that a disk may hold, in all groups: a copy lacks an entry only once more than this have
/// committed.
const UNDER_WAY_MAX: u64 = 64;
/// All other nodes know within this time what a node has acknowledged.
const KNOWN_WITHIN: Duration = ms(1_500);
/// Largest lag bound for which a stall is made.
const STALL_FOR_BOUND_MAX: Duration = ms(2_000);

struct Slow {
    node: Rc<SimNode>,
    slowed_before: u64,
}

/// Makes one disk slow.
pub fn slow_down(stage: &mut Stage<'_, '_>, fault: SimFault) -> Option<Box<dyn RunningFault>> {
    let node = stage.some_machine()?;
    node.disk.slow_down(if fault == SimFault::SlowDisk { ms(5)..ms(80) } else { ms(300)..ms(1_500) });
    Some(Box::new(Slow { slowed_before: node.disk.slowed(), node }))
}

impl RunningFault for Slow {
    fn step(&mut self, _: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        if over {
            self.node.disk.recover();
        }
        over.then(|| self.node.disk.slowed() > self.slowed_before)
    }
}

struct StalledFollowers {
    primary: (Rc<SimNode>, Replica),
    followers: Vec<Rc<SimNode>>,
    until: Duration,
    lag_gate_closed: bool,
}

/// Stalls the disks of all nodes except a shard's primary until the lag gate has closed.
pub fn stall_followers(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let shard = stage.some_shard();
    let primary = find_replica(stage.nodes, shard, is_primary)?;
    let bound = primary.0.max_lag;
    if primary.1.shard.mode().0 != Durability::Async || bound > STALL_FOR_BOUND_MAX {
        return None;
    }
    let followers: Vec<_> = stage.nodes.iter().filter(|node| node.id != primary.0.id).cloned().collect();
    followers.iter().for_each(|node| node.disk.slow_down(bound..bound + ms(200)));
    let until = stage.now() + bound + ms(800);
    Some(Box::new(StalledFollowers { primary, followers, until, lag_gate_closed: false }))
}

impl RunningFault for StalledFollowers {
    fn step(&mut self, stage: &mut Stage<'_, '_>, _: bool) -> Option<bool> {
        let info = self.primary.1.shard.info();
        self.lag_gate_closed |= info.gate.state == fastness_shard::GateState::Closed;
        if stage.now() < self.until {
            return None;
        }
        self.followers.iter().for_each(|node| node.disk.recover());
        Some(self.lag_gate_closed)
    }
}

struct Failed {
    node: Rc<SimNode>,
    restart_at: Option<Duration>,
}

/// Makes a disk fail: the node must acknowledge nothing more and stop; it restarts once the disk is healthy.
pub fn fail(stage: &mut Stage<'_, '_>, fault: SimFault) -> Option<Box<dyn RunningFault>> {
    let node = stage.some_machine().filter(|node| node.expected.get().is_none() && node.live.borrow().is_some())?;
    node.expected.set(Some("the log has failed"));
    match fault {
        SimFault::FullDisk => node.disk.fill(),
        _ => node.disk.fail_sync(),
    }
    Some(Box::new(Failed { node, restart_at: None }))
}

impl RunningFault for Failed {
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        if let Some(at) = self.restart_at {
            if stage.now() < at {
                return None;
            }
            self.node.expected.set(None);
            machine::start(stage, &self.node);
            return Some(true);
        }
        if !over {
            return None;
        }
        self.node.disk.recover();
        let has_failed = self.node.live.borrow().as_ref().is_some_and(|live| live.log.failure().is_some());
        if !has_failed {
            // There was no write, or the node crashed in the meantime.
            self.node.expected.set(None);
            return Some(false);
        }
        machine::take_down(stage, &self.node);
        self.restart_at = Some(stage.now() + stage.rng.random_range(RESTARTS_AFTER));
        None
    }
}

struct Damaged {
    fault: SimFault,
    node: Rc<SimNode>,
    start_at: Duration,
    started: bool,
    /// The node has exchanged messages with the others by then.
    refuses_by: Duration,
    /// The committed index that the node knew when it had started.
    first_seen: Option<u64>,
}

/// An old copy is detected if some running node has heard from the newer start. A copy that returns next to nodes that
/// were all down is a lost disk that nobody can detect, and no other node may fail next to it. So a copy is put back
/// only after all nodes have exchanged messages.
///
/// Half of the copies are made during the node's newest start, which the start counter cannot show: such a copy is put
/// back once the node has acknowledged entries that the copy lacks, and the others have had time to learn of them.
struct RolledBack {
    give_up_at: Duration,
    calm_since: Option<Duration>,
    made_while_running: bool,
    copied: Option<Copied>,
    damaged: Option<Box<dyn RunningFault>>,
}

/// A copy of the disk of a running node.
struct Copied {
    node: Rc<SimNode>,
    copy: MemoryDisk,
    /// The committed index that the node knew at that time.
    committed: u64,
    /// When more had committed.
    more_since: Option<Duration>,
}

/// Puts an old copy of a disk back, once all nodes have run together for a while.
pub fn roll_back(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let give_up_at = stage.now() + CALM_WITHIN;
    let made_while_running = stage.rng.random_bool(0.5);
    Some(Box::new(RolledBack { give_up_at, calm_since: None, made_while_running, copied: None, damaged: None }))
}

impl RunningFault for RolledBack {
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        if let Some(damaged) = &mut self.damaged {
            return damaged.step(stage, over);
        }
        let now = stage.now();
        let is_there = |node: &Rc<SimNode>| {
            node.machine.get() == Machine::Lost || (node.live.borrow().is_some() && !node.stalls.get())
        };
        let calm = is_whole(stage) && stage.links.is_empty() && stage.nodes.iter().all(is_there);
        self.calm_since = if calm { self.calm_since.or(Some(now)) } else { None };
        if !calm {
            self.copied = None;
        }
        if self.calm_since.is_some_and(|since| now >= since + CALM) {
            if !self.made_while_running {
                self.damaged = damage(stage, SimFault::OldDisk);
            } else if let Some(copied) = &mut self.copied {
                if copied.node.committed() > copied.committed + UNDER_WAY_MAX {
                    copied.more_since.get_or_insert(now);
                }
                if copied.more_since.is_some_and(|since| now >= since + KNOWN_WITHIN) {
                    let (node, copy) = (copied.node.clone(), copied.copy.clone());
                    self.damaged = damage_one(stage, node, SimFault::OldDisk, Some(&copy));
                }
            } else if let Some(node) = stage.some_machine() {
                let (copy, committed) = (node.disk.synced(), node.committed());
                self.copied = Some(Copied { node, copy, committed, more_since: None });
            }
        }
        (self.damaged.is_none() && now > self.give_up_at).then_some(false)
    }
}

/// Gives a node a disk that it must refuse. The node is replaced afterwards.
pub fn damage(stage: &mut Stage<'_, '_>, fault: SimFault) -> Option<Box<dyn RunningFault>> {
    let node = stage.some_machine().filter(|_| is_whole(stage))?;
    damage_one(stage, node, fault, None)
}

/// `copy`: the old disk, if it is not the copy of the node's last start.
fn damage_one(
    stage: &mut Stage<'_, '_>,
    node: Rc<SimNode>,
    fault: SimFault,
    copy: Option<&MemoryDisk>,
) -> Option<Box<dyn RunningFault>> {
    let purges = |replica: &Replica| replica.log.state().purged.is_some();
    let purged = node.live.borrow().as_ref()?.replicas.iter().any(purges);
    machine::take_down(stage, &node);
    let expected = match fault {
        SimFault::CorruptDisk => node.disk.corrupt_middle().then_some("do not delete parts of it"),
        SimFault::CorruptSnapshots => {
            // Without a purge the log alone restores everything.
            let damaged = node.snapshots.iter().filter(|files| files.damage()).count();
            (damaged > 0 && purged).then_some("can be used: this replica's data cannot be restored here")
        }
        SimFault::WipedDisk => {
            node.disk.wipe();
            node.snapshots.iter().for_each(fastness_consensus::testing::MemorySnapshots::clear);
            Some("is not this node's disk")
        }
        _ => {
            match copy {
                Some(copy) => node.disk.put_back(copy),
                None => node.disk.roll_back(),
            }
            Some("is an old copy of this node's disk")
        }
    };
    node.expected.set(expected);
    let start_at = stage.now() + stage.rng.random_range(RESTARTS_AFTER);
    let refuses_by = start_at + REFUSES_WITHIN;
    Some(Box::new(Damaged { fault, node, start_at, started: false, refuses_by, first_seen: None }))
}

impl RunningFault for Damaged {
    fn step(&mut self, stage: &mut Stage<'_, '_>, _: bool) -> Option<bool> {
        let now = stage.now();
        if !self.started {
            if now >= self.start_at {
                machine::start(stage, &self.node);
                self.started = true;
            }
            return None;
        }
        if self.first_seen.is_none() && self.node.live.borrow().is_some() {
            self.first_seen = Some(self.node.committed());
        }
        let name = host(self.node.id);
        if stage.links.iter().any(|(a, b)| [a, b].contains(&&name)) {
            self.refuses_by = now + REFUSES_WITHIN;
        }
        let expected = self.node.expected.get();
        let refused = self.node.stop_reasons().iter().any(|reason| self.node.expects(reason));
        if !refused && expected.is_some() && now < self.refuses_by {
            return None;
        }
        if refused {
            stage.invariants.coverage().count(CoverageEvent::DiskRefused);
            machine::take_down(stage, &self.node);
            machine::replace(stage, &self.node);
        }
        self.node.expected.set(None);
        let (before, after) = (self.first_seen.unwrap_or_default(), self.node.committed());
        if !refused && matches!(self.fault, SimFault::WipedDisk | SimFault::OldDisk) && after > before {
            let (node, fault) = (self.node.id, self.fault);
            stage.invariants.violate(format!("{fault:?}: node {node} participates with a disk that it must refuse"));
        }
        if !refused {
            // The disk is good: it was too short to be damaged, or no node has heard from the newer start.
            stage.invariants.note_start(&self.node);
        }
        Some(refused)
    }
}

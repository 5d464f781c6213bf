//! Several events at the worst moment. Chance alone would bring each combination about in very few seeds.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use fastness_types::ShardId;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::machine;
use super::network::{Links, between, is_free};
use super::stage::{RunningFault, Stage, ms};
use crate::sim::client::Phase;
use crate::sim::net::host;
use crate::sim::node::{Machine, Order, SimNode, find_replica, is_primary};

/// How long a process is paused.
const PAUSED: Range<Duration> = ms(300)..ms(1_500);
/// Time after the pause in which its replies leave and it hears from the others.
const REPLIES_LEAVE: Duration = ms(3);
/// How long a primary that has handed over receives nothing.
const UNHEARD: Range<Duration> = ms(200)..ms(800);
/// Time in which followers receive what the clients wrote before they fell silent.
const CALM: Duration = ms(200);
/// A follower that receives nothing stands for election several times within this time.
const DEAF: Duration = ms(3_000);
/// Pause between two restarts.
const RESTARTS: Range<Duration> = ms(150)..ms(500);
/// How long a restart takes.
const DOWN: Range<Duration> = ms(5)..ms(30);

/// How long clients read while a FLUSHALL is unresolved: less than a lease.
const FLUSHING: Duration = ms(150);
/// Time until another node has taken over.
const TAKEN_OVER_WITHIN: Duration = ms(2_500);

fn some_primary(stage: &mut Stage<'_, '_>) -> Option<Rc<SimNode>> {
    let shard = stage.some_shard();
    find_replica(stage.nodes, shard, is_primary).map(|(node, _)| node)
}

fn others(stage: &Stage<'_, '_>, node: &SimNode) -> Vec<Rc<SimNode>> {
    let there = |other: &&Rc<SimNode>| other.id != node.id && other.machine.get() != Machine::Lost;
    stage.nodes.iter().filter(there).cloned().collect()
}

struct Paused {
    node: Rc<SimNode>,
    links: Links,
    stalled_before: u64,
    replies_at: Duration,
}

/// Pauses a primary.
pub fn pause(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let node = some_primary(stage).filter(|node| !node.stalls.get())?;
    let names = others(stage, &node).iter().map(|other| host(other.id)).collect::<Vec<_>>();
    let links = between(&[host(node.id)], &names);
    if !is_free(stage, &links) {
        return None;
    }
    links.take(stage);
    links.each(|from, to| stage.sim.hold(from, to));
    node.stalls.set(true);
    let replies_at = stage.now() + stage.rng.random_range(PAUSED);
    Some(Box::new(Paused { stalled_before: node.stalled.get(), node, links, replies_at }))
}

impl RunningFault for Paused {
    fn step(&mut self, stage: &mut Stage<'_, '_>, _: bool) -> Option<bool> {
        let now = stage.now();
        if now >= self.replies_at {
            self.node.stalls.set(false);
        }
        if now < self.replies_at + REPLIES_LEAVE {
            return None;
        }
        self.links.each(|from, to| stage.sim.release(from, to));
        self.links.give_back(stage);
        Some(self.node.stalled.get() > self.stalled_before)
    }
}

struct CutAfterTransfer {
    node: Rc<SimNode>,
    links: Links,
    done: Rc<Cell<Option<bool>>>,
    transferred_before: u64,
    mend_at: Option<Duration>,
}

/// Orders a primary to hand over, and cuts it off once it has.
pub fn cut_after_transfer(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let shard = stage.some_shard();
    let (node, _) = find_replica(stage.nodes, shard, is_primary)?;
    let names = others(stage, &node).iter().map(|other| host(other.id)).collect::<Vec<_>>();
    let links = between(&names, &[host(node.id)]);
    if !is_free(stage, &links) {
        return None;
    }
    let done = Rc::new(Cell::new(None));
    let sent = node.live.borrow().as_ref()?.orders.try_send(Order::HandOver(shard, done.clone()));
    sent.ok()?;
    links.take(stage);
    let transferred_before = stage.builder.traffic.transferred(node.id);
    Some(Box::new(CutAfterTransfer { node, links, done, transferred_before, mend_at: None }))
}

impl RunningFault for CutAfterTransfer {
    fn step(&mut self, stage: &mut Stage<'_, '_>, over: bool) -> Option<bool> {
        match self.mend_at {
            None if stage.builder.traffic.transferred(self.node.id) > self.transferred_before => {
                self.links.each(|from, to| stage.sim.partition_oneway(from, to));
                self.mend_at = Some(stage.now() + stage.rng.random_range(UNHEARD));
                None
            }
            None if over || self.done.get().is_some() => {
                self.links.give_back(stage);
                Some(false)
            }
            Some(at) if stage.now() >= at => {
                self.links.each(|from, to| stage.sim.repair_oneway(from, to));
                self.links.give_back(stage);
                Some(true)
            }
            _ => None,
        }
    }
}

struct RestartBesideDeaf {
    primary: Rc<SimNode>,
    deaf: Rc<SimNode>,
    links: Links,
    cut_at: Duration,
    is_cut: bool,
    until: Duration,
    next: Duration,
    down: Option<(Rc<SimNode>, Duration)>,
    restarts: u64,
}

/// Silences the clients, isolates one follower and restarts the others.
pub fn restart_beside_deaf(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let primary = some_primary(stage)?;
    let up: Vec<_> = others(stage, &primary).into_iter().filter(|node| node.machine.get() == Machine::Up).collect();
    let deaf = up.choose(stage.rng)?.clone();
    let links = between(&[host(primary.id)], &[host(deaf.id)]);
    if up.len() < 2 || !is_free(stage, &links) || stage.phase.get() != Phase::Load {
        return None;
    }
    links.take(stage);
    stage.phase.set(Phase::Rest);
    let cut_at = stage.now() + CALM;
    let (until, next) = (cut_at + DEAF, cut_at + stage.rng.random_range(RESTARTS));
    let (is_cut, down, restarts) = (false, None, 0);
    Some(Box::new(RestartBesideDeaf { primary, deaf, links, cut_at, is_cut, until, next, down, restarts }))
}

impl RunningFault for RestartBesideDeaf {
    fn step(&mut self, stage: &mut Stage<'_, '_>, _: bool) -> Option<bool> {
        let now = stage.now();
        if !self.is_cut && now >= self.cut_at {
            self.links.each(|from, to| stage.sim.partition_oneway(from, to));
            self.is_cut = true;
        }
        if let Some((node, _)) = self.down.take_if(|(_, until)| *until <= now) {
            machine::start(stage, &node);
            self.next = now + stage.rng.random_range(RESTARTS);
        }
        if self.down.is_some() {
            return None;
        }
        if now >= self.until {
            self.links.each(|from, to| stage.sim.repair_oneway(from, to));
            self.links.give_back(stage);
            stage.phase.set(Phase::Load);
            return Some(self.restarts > 0);
        }
        if now >= self.next {
            let mut victims = machine::victims(stage);
            victims.retain(|node| node.id != self.primary.id && node.id != self.deaf.id);
            if let Some(node) = victims.choose(stage.rng).cloned() {
                machine::take_down(stage, &node);
                self.restarts += 1;
                self.down = Some((node, now + stage.rng.random_range(DOWN)));
            }
            self.next = now + stage.rng.random_range(RESTARTS);
        }
        None
    }
}

struct FlushCutOff {
    primary: Rc<SimNode>,
    shard: ShardId,
    links: Links,
    began: Duration,
}

/// Cuts a primary off from its followers, and makes one client send FLUSHALL and the others read while its lease holds.
pub fn flush_cut_off(stage: &mut Stage<'_, '_>) -> Option<Box<dyn RunningFault>> {
    let shard = stage.some_shard();
    let (primary, _) = find_replica(stage.nodes, shard, is_primary)?;
    let names = others(stage, &primary).iter().map(|other| host(other.id)).collect::<Vec<_>>();
    let links = between(&[host(primary.id)], &names);
    if !stage.builder.flushes || !is_free(stage, &links) || stage.phase.get() != Phase::Load {
        return None;
    }
    links.take(stage);
    links.each(|from, to| stage.sim.partition(from, to));
    stage.phase.set(Phase::Flush);
    Some(Box::new(FlushCutOff { primary, shard, links, began: stage.now() }))
}

impl RunningFault for FlushCutOff {
    fn step(&mut self, stage: &mut Stage<'_, '_>, _: bool) -> Option<bool> {
        let lasts = stage.now() - self.began;
        if lasts >= FLUSHING && stage.phase.get() == Phase::Flush {
            stage.phase.set(Phase::Load);
        }
        let new = find_replica(stage.nodes, self.shard, is_primary).filter(|(node, _)| node.id != self.primary.id);
        if (new.is_none() || lasts < FLUSHING) && lasts < TAKEN_OVER_WITHIN {
            return None;
        }
        self.links.each(|from, to| stage.sim.repair(from, to));
        self.links.give_back(stage);
        Some(new.is_some())
    }
}

//! Closes the lease of a replica whose loop is stuck.
//!
//! Heartbeats, and with them the lease, run on another thread than the loop. Without the watchdog a primary whose loop
//! is stuck in one command would keep its lease, answer no client, and never be replaced.
//!
//! - The owner reports each iteration of its loop (`group/handle.rs`). An idle loop does not iterate by itself, so the
//!   watchdog wakes it after a while: the next iteration proves that the loop can answer.
//! - Only time in which the watchdog itself ran counts. Each check adds the span since the last one, at most [`TICK`].
//!   So a process that was stopped, or got no CPU, has not stalled its loop.
//! - From a third of `loop-stall-max` on the replica counts as not ready: it neither campaigns nor is a target of a
//!   hand-over.
//! - At `loop-stall-max` a leader's lease is closed for the rest of its epoch, its voters are released from their
//!   promises, and openraft's heartbeats stop (`group/driver.rs`), so that an election follows. Leadership is **not**
//!   handed over: that requires a loop that drains, and without draining it would lose what is staged and not proposed.
//! - If no other replica could take over, the lease stays open: closing it would help nobody, and the loop may recover.
//!
//! A loop that recovers does what any former primary does: it finds the lease closed for each command that it still
//! runs, and undoes what it had staged if that did not commit.

use std::sync::Arc;
use std::time::Duration;

use fastness_events::{Event, StallOutcome};
use fastness_types::{BootNs, Epoch, Plant};

use crate::group::handover;
use crate::group::history::ms;
use crate::group::state::Group;
use crate::peer::links::Links;

/// Interval between two checks, and the most that one check adds to a stall.
const TICK: Duration = Duration::from_millis(100);
/// An idle loop is woken after this part of the bound.
const PING_PART: u32 = 6;
/// The replica is not ready after this part of the bound.
const STUCK_PART: u32 = 3;

/// How long one loop has not iterated.
#[derive(Debug)]
struct LoopWatch {
    turns: u64,
    checked: BootNs,
    stalled: Duration,
}

impl LoopWatch {
    fn new(now: BootNs) -> LoopWatch {
        LoopWatch { turns: 0, checked: now, stalled: Duration::ZERO }
    }

    /// The length of the stall at `now`. `turns`: the iterations so far; 0 if the owner does not report them, which
    /// counts as no stall.
    fn check(&mut self, turns: u64, now: BootNs) -> Duration {
        let ran = now.since(self.checked).min(TICK);
        self.checked = now;
        let turned = turns != self.turns || turns == 0;
        self.turns = turns;
        self.stalled = if turned { Duration::ZERO } else { self.stalled + ran };
        self.stalled
    }
}

/// Watches one group's owner until the group stops.
pub(crate) async fn run(links: Arc<Links>, group: Arc<Group>) {
    let node = links.node();
    let bound = node.options.loop_stall_max;
    // Whether the stall in progress was recorded.
    let mut recorded = false;
    let mut watch = LoopWatch::new(node.now());
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = group.until_stopped() => return,
            _ = tick.tick() => {}
        }
        let before = watch.stalled;
        let stalled = watch.check(group.driver.turns(), node.now());
        if stalled.is_zero() && !before.is_zero() && before >= bound / STUCK_PART {
            group.events().record(Event::LoopRecovered { shard: group.id, stalled_ms: ms(before) });
        }
        recorded &= !stalled.is_zero();
        group.driver.set_stall(stalled, stalled >= bound / STUCK_PART);
        if stalled >= bound / PING_PART {
            group.driver.wake_owner();
        }
        if stalled >= bound
            && !Plant::StuckKeepsLease.is_on()
            && let Some(epoch) = group.leads().filter(|_| !group.has_closed_lease())
        {
            let outcome = fence(&links, &group, epoch);
            if outcome == StallOutcome::LeaseClosed || !std::mem::replace(&mut recorded, true) {
                let running = group.driver.running().unwrap_or("no command");
                let (shard, term, stalled_ms) = (group.id, epoch.term, ms(stalled));
                group.events().record(Event::LoopStalled { shard, term, stalled_ms, running, outcome });
            }
        }
    }
}

/// Closes the lease of `epoch`, unless no other replica could take over.
fn fence(links: &Arc<Links>, group: &Arc<Group>, epoch: Epoch) -> StallOutcome {
    let since = group.fresh_since();
    let voters = group.with_lead(|lead| {
        let stays_open = lead.epoch() != epoch || lead.could_take_over(since).is_empty();
        if stays_open {
            return None;
        }
        lead.close();
        Some(lead.voters().clone())
    });
    let Some(voters) = voters.flatten() else { return StallOutcome::NoOtherReplica };
    group.driver.count_fenced();
    if let Some(raft) = group.raft() {
        raft.runtime_config().heartbeat(false);
    }
    // Not awaited: the watchdog continues.
    let (links, group) = (links.clone(), group.clone());
    tokio::spawn(async move { handover::release(&links, &group, epoch, None, &voters).await });
    StallOutcome::LeaseClosed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> BootNs {
        BootNs(1_000_000_000 + ms * 1_000_000)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_turn_ends_a_stall() {
        let mut watch = LoopWatch::new(at(0));
        assert_eq!(watch.check(1, at(100)), ms(0));
        assert_eq!(watch.check(1, at(200)), ms(100));
        assert_eq!(watch.check(1, at(250)), ms(150));
        assert_eq!(watch.check(2, at(350)), ms(0));
        assert_eq!(watch.check(2, at(450)), ms(100));
    }

    #[test]
    fn time_in_which_the_watchdog_did_not_run_is_no_stall() {
        let mut watch = LoopWatch::new(at(0));
        watch.check(1, at(100));
        assert_eq!(watch.check(1, at(60_000)), TICK, "a process that was stopped for a minute");
        assert_eq!(watch.check(1, at(60_100)), 2 * TICK);
    }

    #[test]
    fn an_owner_that_reports_no_turns_is_not_watched() {
        let mut watch = LoopWatch::new(at(0));
        for tick in 1..100 {
            assert_eq!(watch.check(0, at(tick * 100)), ms(0));
        }
    }
}

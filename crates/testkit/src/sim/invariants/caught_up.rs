//! **Caught up.** A node that becomes a voter holds in its own memory what the others hold, except for the end of the
//! log: it lacks no snapshot, and no more entries than a new member may lack.
//!
//! A membership is checked when a leader first uses it, so the new voter holds what it held at the start of the change,
//! or more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use fastness_types::{NodeId, ShardId, limits};

use crate::sim::node::{Replica, SimNode};

/// A log that has been purged for this long was already purged when the change started.
const PURGED_FOR: Duration = Duration::from_secs(1);
/// Entries that reach the log between the decision and the membership's own entry.
const UNDER_WAY_MAX: u64 = 64;

/// The voters, and the start of logs.
#[derive(Debug, Default)]
pub struct CaughtUp {
    voters: BTreeSet<(ShardId, NodeId)>,
    /// Up to where each replica's log was purged, and when, the newest last; of what is older than [`PURGED_FOR`] only
    /// the newest.
    purged: BTreeMap<(ShardId, NodeId), VecDeque<(Duration, u64)>>,
}

impl CaughtUp {
    /// Records where a running replica's log starts.
    pub fn note_purged(&mut self, shard: ShardId, node: NodeId, purged: u64, now: Duration) {
        let noted = self.purged.entry((shard, node)).or_default();
        if noted.back().is_none_or(|(_, before)| *before != purged) {
            noted.push_back((now, purged));
        }
        while noted.get(1).is_some_and(|(at, _)| now > *at + PURGED_FOR) {
            noted.pop_front();
        }
    }

    /// Checks the membership that a leader uses.
    ///
    /// # Errors
    /// A voter lacks data that it must hold.
    pub fn check(
        &mut self,
        nodes: &[Rc<SimNode>],
        shard: ShardId,
        leader: NodeId,
        replica: &Replica,
        now: Duration,
    ) -> Result<(), String> {
        let status = replica.control.status();
        let is_first = !self.voters.iter().any(|(of, _)| *of == shard);
        for voter in status.halves.into_iter().flatten() {
            if self.voters.insert((shard, voter)) && !is_first {
                let begins = self.purged_for_a_while(shard, leader, now);
                let node = nodes.iter().find(|node| node.id == voter);
                node.map_or(Ok(()), |node| holds_enough(node, shard, begins, status.members_since.0))?;
            }
        }
        Ok(())
    }

    fn purged_for_a_while(&self, shard: ShardId, node: NodeId, now: Duration) -> u64 {
        let noted = self.purged.get(&(shard, node)).and_then(|noted| noted.front());
        noted.filter(|(at, _)| now > *at + PURGED_FOR).map_or(0, |(_, purged)| *purged)
    }
}

/// `begins`: up to where the leader's log was purged; `since`: the entry that makes the node a voter. A restarted node
/// may still be restoring what it held.
fn holds_enough(node: &SimNode, shard: ShardId, begins: u64, since: u64) -> Result<(), String> {
    let live = node.live.borrow();
    let replica =
        live.as_ref().filter(|_| node.lives.get() == 1).and_then(|live| live.replicas.get(shard.0 as usize - 1));
    let Some(info) = replica.map(|replica| replica.shard.info()).filter(|info| !info.restoring) else { return Ok(()) };
    let (node, holds) = (node.id, info.applied.0);
    if holds < begins {
        return Err(format!(
            "caught up: shard {shard}: node {node} votes from entry {since} on and holds the data up to entry {holds}, and no log reaches back that far: it lacks a \
             snapshot"
        ));
    }
    if holds + limits::CAUGHT_UP_ENTRIES_MAX + UNDER_WAY_MAX < since {
        return Err(format!(
            "caught up: shard {shard}: node {node} votes from entry {since} on and holds the data only up to entry {holds}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_counts_as_purged_only_after_a_while() {
        let (mut caught_up, at) = (CaughtUp::default(), Duration::from_millis);
        let (shard, node) = (ShardId(1), NodeId(2));
        let purged = |caught_up: &CaughtUp, ms| caught_up.purged_for_a_while(shard, node, at(ms));
        caught_up.note_purged(shard, node, 0, at(100));
        caught_up.note_purged(shard, node, 40, at(500));
        assert_eq!(purged(&caught_up, 1_500), 0);
        caught_up.note_purged(shard, node, 90, at(1_400));
        caught_up.note_purged(shard, node, 90, at(1_510));
        assert_eq!(purged(&caught_up, 1_510), 40);
        caught_up.note_purged(shard, node, 90, at(2_410));
        assert_eq!((purged(&caught_up, 2_410), caught_up.purged.len()), (90, 1));
        assert_eq!(caught_up.purged[&(shard, node)].len(), 1);
    }
}

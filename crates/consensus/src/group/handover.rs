//! Hands over leadership without losing an acknowledged write and without two primaries at any moment.
//!
//! The steps, and what happens if one fails:
//!
//! 1. Choose a target: a voter that answered the newest heartbeats, is ready, and has almost the whole log. If there is
//!    none, the hand-over is refused.
//! 2. Have the owner drain: commands wait at its front end, and everything staged commits. If that takes too long, the
//!    owner serves on.
//! 3. Wait until the target has the whole log. If that takes too long, the owner serves on.
//! 4. Close the lease for the rest of the epoch. **From here on the hand-over cannot be undone**: this epoch serves
//!    nothing more.
//! 5. Release the voters from their promises, at least a quorum and the target. Voters that cannot be reached are free
//!    once their promise has ended, after one lease, because no heartbeat binds any more.
//! 6. Transfer leadership. If the target does not win, an election follows by itself, because a leader whose lease is
//!    closed sends no more heartbeats (`group/driver.rs`). Whoever wins serves in a new epoch, with a new lease.
//!
//! The steps run as a task of the node (`GroupControl::hand_over`). The caller may be dropped between two of them, and
//! a leader whose lease is closed must not remain.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fail::fail_point;
use fastness_events::{Event, HandOverReason};
use fastness_types::{Epoch, LogIndex, NodeId, Plant};
use fastness_wire::peer::v1::ReleaseRequest;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::{Instant, timeout, timeout_at};

use crate::group::state::{Group, Raft};
use crate::group::status::HandOverError;
use crate::lease::leader::Voters;
use crate::peer::codec;
use crate::peer::frame::Kind;
use crate::peer::links::Links;
use crate::peer::transport::Class;
use crate::raft::types::epoch_of;

/// Entries that a target may lack when it is chosen. It receives them while the owner drains.
const BEHIND_MAX: u64 = 1000;

/// Allows the next hand-over, and ends the drain, however this one ends.
struct HandOverGuard<'a> {
    group: &'a Group,
    draining: bool,
}

impl Drop for HandOverGuard<'_> {
    fn drop(&mut self) {
        if self.draining {
            self.group.driver.set_drain(false);
        }
        self.group.handing_over.store(false, Ordering::Release);
    }
}

pub(crate) async fn run(
    links: &Links,
    group: &Group,
    to: Option<NodeId>,
    patience: Duration,
    reason: HandOverReason,
) -> Result<NodeId, HandOverError> {
    if group.handing_over.swap(true, Ordering::AcqRel) {
        return Err(HandOverError::UnderWay);
    }
    let mut under_way = HandOverGuard { group, draining: false };
    if let Some(reason) = group.stopped() {
        return Err(HandOverError::Stopped(reason.to_string()));
    }
    let epoch = group.leads().ok_or_else(|| HandOverError::NotLeader(group.leader()))?;
    let raft = group.raft().cloned().ok_or_else(|| HandOverError::Stopped("not running".to_owned()))?;
    let target = choose(group, &raft, to)?;
    under_way.draining = true;
    drain(group, epoch, &raft, target, patience).await?;

    let voters = group.with_lead(|lead| {
        if !Plant::LeaseKeptInHandOver.is_on() {
            lead.close();
        }
        lead.voters().clone()
    });
    let voters = voters.ok_or(HandOverError::Lost)?;
    group.driver.wake_owner();
    fail_point!("consensus::closed");
    release(links, group, epoch, Some(target), &voters).await;

    fail_point!("consensus::released");
    raft.trigger().transfer_leader(target.0).await.map_err(|error| HandOverError::Stopped(error.to_string()))?;
    let new = succession(group, epoch).await;
    if new != Some(target) {
        return Err(HandOverError::NotTaken);
    }
    group.events().record(Event::HandedOver { shard: group.id, term: epoch.term, reason, peer: target });
    Ok(target)
}

fn matched(raft: &Raft, node: NodeId) -> LogIndex {
    let metrics = raft.data_metrics();
    let metrics = metrics.borrow_watched();
    let matched = metrics.replication.as_ref().and_then(|all| all.get(&node.0).copied().flatten());
    LogIndex(matched.map_or(0, |id| id.index))
}

fn choose(group: &Group, raft: &Raft, to: Option<NodeId>) -> Result<NodeId, HandOverError> {
    let since = group.fresh_since();
    let could = group.with_lead(|lead| lead.could_take_over(since)).ok_or(HandOverError::Lost)?;
    if let Some(to) = to {
        return if could.contains(&to.0) { Ok(to) } else { Err(HandOverError::BadTarget(to)) };
    }
    let enough = group.last_log().0.saturating_sub(BEHIND_MAX);
    could
        .into_iter()
        .map(NodeId)
        .filter(|node| matched(raft, *node).0 >= enough)
        // A target whose memory is up to date serves at once. Others first apply what they lack.
        .max_by_key(|node| {
            let holding = group.with_lead(|lead| lead.holding(node.0)).flatten();
            let holds = holding.is_some_and(|holding| holding.index.0 >= enough);
            (holds, matched(raft, *node))
        })
        .ok_or(HandOverError::NoTarget)
}

/// Waits until everything staged is committed and the target has the whole log.
async fn drain(
    group: &Group,
    epoch: Epoch,
    raft: &Raft,
    target: NodeId,
    patience: Duration,
) -> Result<(), HandOverError> {
    let mut reported = group.owner.subscribe();
    let mut progress = raft.data_metrics();
    group.driver.set_drain(true);
    let drained = async {
        let is_drained = || group.driver.drained() && matched(raft, target) >= group.last_log();
        while !(is_drained() || Plant::HandOverWithoutDrain.is_on()) {
            if group.leads() != Some(epoch) {
                return Err(HandOverError::Lost);
            }
            tokio::select! {
                biased;
                () = group.until_stopped() => return Err(HandOverError::Lost),
                // Cannot fail: both senders outlive this.
                _ = reported.changed() => {}
                _ = progress.changed() => {}
            }
        }
        Ok(())
    };
    timeout(patience, drained).await.unwrap_or(Err(HandOverError::NotDrained))
}

/// Frees the voters from their promises to the leader of `epoch`, which has closed its lease. Returns once a quorum,
/// and the target if there is one, are free, at the latest when their promises have ended.
pub(crate) async fn release(links: &Links, group: &Group, epoch: Epoch, target: Option<NodeId>, voters: &Voters) {
    let deadline = Instant::now() + group.timers.lease + group.timers.heartbeat;
    group.release(epoch);
    let mut free = BTreeSet::from([group.own.0]);
    let payload = codec::encode(&ReleaseRequest { term: epoch.term });
    let others = voters.members.iter().copied().filter(|node| *node != group.own.0);
    let mut requests: FuturesUnordered<_> = others
        .map(|node| {
            let link = links.to(NodeId(node), Class::Heartbeat, None);
            let payload = payload.clone();
            async move { (node, link.call(group.id, Kind::Release, payload, group.timers.lease).await) }
        })
        .collect();
    let target_is_free = |free: &BTreeSet<u64>| target.is_none_or(|target| free.contains(&target.0));
    while !(target_is_free(&free) && voters.has_quorum(&free)) {
        match timeout_at(deadline, requests.next()).await {
            Ok(Some((node, Ok(_)))) => {
                free.insert(node);
            }
            Ok(Some((node, Err(error)))) => tracing::debug!(%node, %error, "not released"),
            // All were asked. The others are free once their promises have ended.
            Ok(None) => return tokio::time::sleep_until(deadline).await,
            Err(_) => return,
        }
    }
}

/// The leader of the next epoch; `None` if there is none in time.
async fn succession(group: &Group, epoch: Epoch) -> Option<NodeId> {
    let mut changed = group.owner.subscribe();
    // Time for the target's election, and for one by time-out if the target does not win.
    let deadline = Instant::now() + 4 * group.timers.election_max;
    loop {
        let vote = group.vote();
        if vote.committed && epoch_of(&vote).term > epoch.term {
            return Some(epoch_of(&vote).node);
        }
        timeout_at(deadline, changed.changed()).await.ok()?.ok()?;
    }
}

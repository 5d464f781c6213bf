//! Looks after one group: passes on what the owner reports, decides whether this node may campaign, hands over what it
//! should not lead (its owner is not ready, its wall clock is off, its log's disk stands still), lets an election
//! follow where a lease was closed, and notices when the Raft core has died.

use std::time::Duration;

use fastness_log::GroupLog;
use fastness_types::{LogIndex, NodeId};
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::Instant;

use crate::group::control::GroupControl;
use crate::group::handle::OwnSnapshot;
use crate::group::state::{Group, Raft};
use crate::group::status::HandOverError;
use crate::node::NodeCore;

/// How long an owner that leads may be not ready before leadership is handed over; also between two attempts.
const UNREADY_MAX: Duration = Duration::from_secs(1);
/// openraft is told again of a snapshot, or of what is to be purged, after this.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// For the owner to drain then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs until the group stops.
pub(crate) async fn run(control: GroupControl, log: GroupLog) {
    let group = control.core().clone();
    let Some(raft) = group.raft().cloned() else { return };
    let metrics = raft.metrics();
    // Changes seldom, and ends with the core.
    let mut alive = raft.server_metrics();
    let mut look = tokio::time::interval(group.timers.heartbeat);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next_attempt: Option<Instant> = None;
    let mut told = None;
    loop {
        tokio::select! {
            // What is rare stands in front of what is frequent. Whatever ends the wait, all that follows is looked at.
            biased;
            () = group.until_stopped() => return,
            changed = alive.changed() => if changed.is_err() {
                group.stop("the Raft core has died");
                return;
            },
            _ = look.tick() => {
                group.look_at_leader();
                publish_format(&group, &raft, control.node());
            }
            () = group.driver.reported() => {
                group.owner.send_replace(());
                if group.driver.take_round() {
                    group.heartbeat_now();
                }
                if group.driver.take_served() {
                    log.write_committed();
                }
            }
        }
        if let Err(fatal) = &metrics.borrow_watched().running_state {
            group.stop(&fatal.to_string());
            return;
        }
        tell_of_snapshots(&group, &raft, &mut told).await;
        let stalls = control.node().log_stalls();
        raft.runtime_config().elect(group.driver.ready() && !stalls && !group.silent());
        // Followers must be able to elect somebody who serves, whatever has become of whoever closed the lease.
        raft.runtime_config().heartbeat(!group.has_closed_lease());
        // A loop that is stuck cannot drain, so there is nothing to hand over (`lease/watchdog.rs`).
        if group.driver.fit() && !stalls || group.leads().is_none() || group.driver.is_stuck() {
            next_attempt = None;
            continue;
        }
        // A primary whose clock is off serves nothing from the moment that it is; it need not be given time. A disk
        // that stands still has been given it.
        let patience = if group.driver.wall_off() || stalls { Duration::ZERO } else { UNREADY_MAX };
        let now = Instant::now();
        if *next_attempt.get_or_insert(now + patience) <= now {
            next_attempt = Some(now + UNREADY_MAX);
            tokio::spawn(give_up(control.clone()));
        }
    }
}

/// Publishes the level of forms that every member of the effective membership, learners among them, has announced.
fn publish_format(group: &Group, raft: &Raft, node: &NodeCore) {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let members = metrics.membership_config.membership().nodes().map(|(member, _)| NodeId(*member));
    group.driver.set_format(node.identities.lowest_format(members));
}

/// Makes the owner's newest snapshot openraft's, and has the log purged in front of the one before it. `told` is what
/// openraft was last told, and when: a purge waits while entries are being sent, and may be passed over.
async fn tell_of_snapshots(group: &Group, raft: &Raft, told: &mut Option<(OwnSnapshot, Instant)>) {
    let Some(own) = group.driver.own_snapshot() else { return };
    let (snapshot, purged) = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        (metrics.snapshot.map_or(0, |id| id.index), metrics.purged.map_or(0, |id| id.index))
    };
    let is_known = snapshot >= own.index.0;
    if is_known && purged >= own.purge_upto.0 {
        return;
    }
    let step = OwnSnapshot { purge_upto: if is_known { own.purge_upto } else { LogIndex(0) }, ..own };
    if told.is_some_and(|(last, at)| last == step && at.elapsed() < TELL_AGAIN) {
        return;
    }
    *told = Some((step, Instant::now()));
    let trigger = raft.trigger();
    let told = if is_known { trigger.purge_log(own.purge_upto.0).await } else { trigger.snapshot().await };
    if let Err(error) = told {
        tracing::debug!(group = %group.id, %error, "not told of a snapshot: the group ends");
    }
}

/// Hands over what this node leads and cannot serve.
async fn give_up(control: GroupControl) {
    let why = match &control.core().driver {
        driver if driver.wall_off() => "its wall clock is off",
        driver if control.node().log_stalls() || driver.fit() => "its log's disk stands still",
        driver if driver.ready() => "no other node's wall clock is known",
        _ => "it is not ready",
    };
    match control.hand_over(None, PATIENCE).await {
        Ok(to) => tracing::info!(group = %control.group(), why, %to, "this node cannot serve: handed over"),
        Err(HandOverError::UnderWay) => {}
        Err(error) => tracing::warn!(group = %control.group(), why, %error, "leads, cannot serve and cannot hand over"),
    }
}

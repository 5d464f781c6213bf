//! Supervises one group. It acts on what the owner reports, decides whether this node may campaign, hands over
//! leadership that this node should not have (its owner is not ready, its wall clock is off, its log disk is stalled),
//! lets an election follow where a lease was closed, and notices when the Raft core has died.

use std::time::Duration;

use fastness_events::HandOverReason;
use fastness_log::GroupLog;
use fastness_types::{LogIndex, NodeId};
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::Instant;

use crate::group::control::GroupControl;
use crate::group::handle::OwnSnapshot;
use crate::group::state::{Group, Raft};
use crate::node::NodeCore;

/// How long a leader's owner may be not ready before leadership is handed over. Also the time between two attempts.
const UNREADY_MAX: Duration = Duration::from_secs(1);
/// After this time openraft is informed again of a snapshot, or of what has to be purged.
const INFORM_AGAIN: Duration = Duration::from_secs(1);
/// How often the part of the log that is kept for watchers is determined again.
const LIMIT_EVERY: Duration = Duration::from_secs(5);
/// How long the owner may take to drain for such a hand-over.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs until the group stops.
pub(crate) async fn run(control: GroupControl, log: GroupLog) {
    let group = control.core().clone();
    let Some(raft) = group.raft().cloned() else { return };
    let metrics = raft.metrics();
    // Changes seldom, and ends with the core.
    let mut alive = raft.server_metrics();
    let mut check = tokio::time::interval(group.timers.heartbeat);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next_attempt: Option<Instant> = None;
    let (mut informed, mut limit) = (None, PurgeLimit::default());
    loop {
        tokio::select! {
            // Rare events come before frequent ones. After any of them everything below is checked.
            biased;
            () = group.until_stopped() => return,
            changed = alive.changed() => if changed.is_err() {
                group.stop("the Raft core has died");
                return;
            },
            _ = check.tick() => {
                group.check_leader();
                group.check_lease();
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
        let own = group.driver.own_snapshot().map(|own| limit.apply(own, &group, &log));
        inform_of_snapshots(&group, &raft, own, &mut informed).await;
        let stalls = control.node().log_stalls();
        raft.runtime_config().elect(group.driver.ready() && !stalls && !group.silent());
        // Followers must be able to elect a leader that serves, whatever the node that closed its lease does.
        raft.runtime_config().heartbeat(!group.has_closed_lease());
        // A stuck loop cannot drain, so leadership cannot be handed over (`lease/watchdog.rs`).
        if group.driver.fit() && !stalls || group.leads().is_none() || group.driver.is_stuck() {
            next_attempt = None;
            continue;
        }
        // A primary whose clock is off serves nothing from then on, so waiting is useless. A stalled disk has been
        // waited for already.
        let patience = if group.driver.wall_off() || stalls { Duration::ZERO } else { UNREADY_MAX };
        let now = Instant::now();
        if *next_attempt.get_or_insert(now + patience) <= now {
            next_attempt = Some(now + UNREADY_MAX);
            tokio::spawn(give_up_leadership(control.clone()));
        }
    }
}

/// Publishes the format level that every member of the effective membership, including learners, has announced.
fn publish_format(group: &Group, raft: &Raft, node: &NodeCore) {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let members = metrics.membership_config.membership().nodes().map(|(member, _)| NodeId(*member));
    group.driver.set_format(node.identities.lowest_format(members));
}

/// Up to where the log is purged, if some of it is kept for watchers.
#[derive(Default)]
struct PurgeLimit {
    /// For this snapshot, when it was computed.
    computed: Option<(OwnSnapshot, u64, Instant)>,
    upto: LogIndex,
}

impl PurgeLimit {
    /// The snapshot, with the lower limit. It rises as the log grows, but not with every entry: each purge costs a
    /// write.
    fn apply(&mut self, own: OwnSnapshot, group: &Group, log: &GroupLog) -> OwnSnapshot {
        let bytes = group.driver.kept_bytes(own.purge_upto);
        let is_current = |(of, for_bytes, at): &(OwnSnapshot, u64, Instant)| {
            (*of, *for_bytes) == (own, bytes) && at.elapsed() < LIMIT_EVERY
        };
        if bytes == 0 {
            (self.computed, self.upto) = (None, own.purge_upto);
        } else if !self.computed.as_ref().is_some_and(is_current) {
            self.computed = Some((own, bytes, Instant::now()));
            self.upto = LogIndex(log.index_before(bytes).unwrap_or(0)).min(own.purge_upto);
        }
        OwnSnapshot { purge_upto: self.upto, ..own }
    }
}

/// Informs openraft of the owner's newest snapshot, and has the log purged up to the one before it. `informed`: what
/// openraft was last informed of, and when. A purge may be skipped, because it waits while entries are being sent.
async fn inform_of_snapshots(
    group: &Group,
    raft: &Raft,
    own: Option<OwnSnapshot>,
    informed: &mut Option<(OwnSnapshot, Instant)>,
) {
    let Some(own) = own else { return };
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
    if informed.is_some_and(|(last, at)| last == step && at.elapsed() < INFORM_AGAIN) {
        return;
    }
    *informed = Some((step, Instant::now()));
    let trigger = raft.trigger();
    let outcome = if is_known { trigger.purge_log(own.purge_upto.0).await } else { trigger.snapshot().await };
    if let Err(error) = outcome {
        tracing::debug!(group = %group.id, %error, "openraft was not informed of a snapshot: the group stops");
    }
}

/// Hands over leadership of a group that this node cannot serve.
async fn give_up_leadership(control: GroupControl) {
    let reason = match &control.core().driver {
        driver if driver.wall_off() => HandOverReason::ClockOff,
        driver if control.node().log_stalls() || driver.fit() => HandOverReason::DiskStalled,
        driver if driver.ready() => HandOverReason::ClockUnknown,
        _ => HandOverReason::NotReady,
    };
    // The outcome is recorded as an event, and after a failure there is another attempt.
    let _ = control.hand_over(None, PATIENCE, reason).await;
}

//! The node's beat: one frame per peer and interval that asks about the lease of every group this node leads.
//!
//! Nothing here waits for a log, a disk or a peer: a question that cannot be sent now is dropped, the next beat brings a new
//! one. The stamp is taken before the frame is handed to the link, so it is never later than the send time.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastness_types::{BootNs, Epoch, NodeId};
use fastness_wire::peer::v1::{LeaseAsk, LeaseAskGroup};

use crate::codec;
use crate::group::Group;
use crate::node::NodeCore;
use crate::transport::Class;

/// Beats until the node stops.
pub(crate) async fn run(node: Arc<NodeCore>) {
    let mut beat = tokio::time::interval(node.options.timers.heartbeat);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stalled = false;
    loop {
        tokio::select! {
            // Each branch but the last leads to the same turn, so none can starve another.
            biased;
            () = node.until_stopped() => return,
            _ = beat.tick() => {}
            // A new leader, or one that may bind its voters from now on, does not wait for the next interval.
            () = node.beat.notified() => {}
        }
        if let Some(gap) = node.pulse.beat(node.now()) {
            tracing::warn!(
                gap_ms = gap.as_millis() as u64,
                "consensus did not run for a while: the process was stopped, or the machine is overloaded"
            );
        }
        node.judge_clock();
        if node.log_stalls() != stalled {
            stalled = !stalled;
            match stalled {
                true => tracing::warn!("the log's disk stands still: this node leads nothing until it goes on"),
                false => tracing::info!("the log's disk goes on"),
            }
        }
        ask_all(&node);
    }
}

fn ask_all(node: &Arc<NodeCore>) {
    let stamp = node.now();
    let mut asks: BTreeMap<u64, Vec<LeaseAskGroup>> = BTreeMap::new();
    for group in node.groups() {
        let Some((epoch, bind, members)) = group.question(stamp) else { continue };
        for member in members.into_iter().filter(|member| *member != node.own().0) {
            asks.entry(member).or_default().push(LeaseAskGroup { group: group.id.0, term: epoch.term, bind });
        }
        ask_own(node, &group, epoch, stamp, bind);
    }
    for (member, groups) in asks {
        let payload = codec::encode(&LeaseAsk { stamp: stamp.0, groups });
        node.link(NodeId(member), Class::Heartbeat, None).send_lease_ask(payload);
    }
}

/// The leader's own node is asked, and bound, like any other.
fn ask_own(node: &Arc<NodeCore>, group: &Arc<Group>, epoch: Epoch, stamp: BootNs, bind: bool) {
    let (node, leader) = (node.clone(), group.clone());
    group.asked(epoch, bind, move || {
        let ready = leader.driver.fit() && !node.log_stalls();
        leader.answered(leader.own, epoch, stamp, bind, ready);
    });
}

//! The node's heartbeat: per interval, one frame to each peer requests the lease of every group that this node leads.
//!
//! Nothing here waits for a log, a disk or a peer. A request that cannot be sent now is dropped; the next heartbeat
//! carries a new one. The timestamp is taken before the frame is given to the link, so it is never later than the send
//! time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastness_events::Event;
use fastness_types::{BootNs, Epoch, NodeId};
use fastness_wire::peer::v1::{LeaseRequest, LeaseRequestGroup};

use crate::group::history::ms;
use crate::group::state::Group;
use crate::lease::leader::MemberReport;
use crate::node::NodeCore;
use crate::peer::codec;
use crate::peer::links::Links;
use crate::peer::transport::Class;

/// How often heartbeats carry what members have acknowledged.
const ACKNOWLEDGED_EVERY: Duration = Duration::from_secs(1);
/// How often the acknowledged positions of peers are stored, if they have changed.
const SAVE_EVERY: Duration = Duration::from_secs(5);

/// Sends heartbeats until the node stops.
pub(crate) async fn run(links: Arc<Links>) {
    let node = links.node().clone();
    let mut heartbeat = tokio::time::interval(node.options.timers.heartbeat);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let events = node.options.events.clone();
    // Since when the log disk was known to be stalled, and for how long it had been stalled by then.
    let mut stalled: Option<(BootNs, Duration)> = None;
    let (mut reported, mut saved) = (node.now(), node.now());
    loop {
        tokio::select! {
            // All branches but the first lead to the same code below, so none can starve another.
            biased;
            () = node.until_stopped() => return,
            _ = heartbeat.tick() => {}
            // A new leader, or one that may bind its voters from now on, does not wait for the next interval.
            () = node.heartbeat.notified() => {}
        }
        if let Some(gap) = node.pulse.heartbeat(node.now()) {
            events.record(Event::ConsensusStalled { stalled_ms: ms(gap) });
        }
        node.judge_clock();
        match (node.log_stalls(), stalled) {
            (true, None) => {
                let so_far = node.log.write_under_way().unwrap_or_default();
                events.record(Event::DiskStalled { stalled_ms: ms(so_far) });
                stalled = Some((node.now(), so_far));
            }
            (false, Some((noticed, before))) => {
                events.record(Event::DiskRecovered { stalled_ms: ms(before + node.now().since(noticed)) });
                stalled = None;
            }
            _ => {}
        }
        let with_acknowledged = reported.plus(ACKNOWLEDGED_EVERY) <= node.now();
        if with_acknowledged {
            reported = node.now();
            node.note_acknowledged();
        }
        if saved.plus(SAVE_EVERY) <= node.now() {
            saved = node.now();
            node.identities.save_acknowledged();
        }
        request_all(&links, with_acknowledged);
    }
}

/// Sends one heartbeat for all groups that this node leads. `with_acknowledged`: the requests carry what members have
/// acknowledged.
fn request_all(links: &Links, with_acknowledged: bool) {
    let node = links.node();
    let timestamp = node.now();
    let mut requests: BTreeMap<u64, Vec<LeaseRequestGroup>> = BTreeMap::new();
    for group in node.groups() {
        let Some((epoch, bind, members)) = group.next_request(timestamp) else { continue };
        let acknowledged = if with_acknowledged { codec::acknowledged_out(&group.acknowledged()) } else { Vec::new() };
        for member in members.into_iter().filter(|member| *member != node.own().0) {
            let acknowledged = acknowledged.clone();
            requests.entry(member).or_default().push(LeaseRequestGroup {
                group: group.id.0,
                term: epoch.term,
                bind,
                acknowledged,
            });
        }
        request_own(node, &group, epoch, timestamp, bind);
    }
    for (member, groups) in requests {
        let payload = codec::encode(&LeaseRequest { timestamp: timestamp.0, groups });
        links.to(NodeId(member), Class::Heartbeat, None).send_lease_request(payload);
    }
}

/// Requests the answer and the promise of the leader's own node, as of any other voter.
fn request_own(node: &Arc<NodeCore>, group: &Arc<Group>, epoch: Epoch, timestamp: BootNs, bind: bool) {
    let (node, leader) = (node.clone(), group.clone());
    group.lease_requested(epoch, bind, move || {
        let ready = leader.driver.fit() && !node.log_stalls();
        let report = MemberReport { ready, holding: Some(leader.driver.holding()) };
        leader.lease_answered(leader.own, epoch, timestamp, bind, report);
    });
}

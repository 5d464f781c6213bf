//! What a group remembers of its leaders, so that an election can be explained: who led before, when that leader was
//! last heard, and whether it has asked this node to take over.

use std::time::Duration;

use fastness_events::{ElectionReason, Event, HandOverReason};
use fastness_types::{BootNs, Epoch, GroupId, NodeId};

/// See the module. It takes no part in any decision.
#[derive(Debug)]
pub(crate) struct LeaderHistory {
    own: NodeId,
    /// The newest leader that this node knows of.
    leader: Option<NodeId>,
    /// When it was last heard; `None`: not since this process started, or it was this node.
    heard: Option<BootNs>,
    /// Whether this process has led the group.
    has_led: bool,
    /// Whether the leader has asked this node to take over.
    asked: bool,
    /// The newest failure of a hand-over, which is recorded once.
    failure: Option<(HandOverReason, String)>,
}

impl LeaderHistory {
    /// At the start of the process. `leader`: the one that the stored vote names, if any.
    pub(crate) fn new(own: NodeId, leader: Option<NodeId>) -> LeaderHistory {
        LeaderHistory { own, leader, heard: None, has_led: false, asked: false, failure: None }
    }

    /// Records that a leader's term has ended. `heard`: when it was last heard; `BootNs(0)`: never.
    pub(crate) fn end_term(&mut self, leader: NodeId, heard: BootNs) {
        self.leader = Some(leader);
        self.heard = (leader != self.own && heard > BootNs(0)).then_some(heard);
    }

    /// Records that the leader has asked this node to take over.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    /// Records that another node leads.
    pub(crate) fn follow(&mut self) {
        self.asked = false;
    }

    /// Records that this node leads `epoch`; returns the event.
    pub(crate) fn lead(&mut self, shard: GroupId, epoch: Epoch, now: BootNs) -> Event {
        let reason = match (self.leader, self.heard) {
            _ if self.asked => ElectionReason::HandOver,
            (Some(leader), _) if leader == self.own && self.has_led => ElectionReason::ReElected,
            (None, _) => ElectionReason::First,
            (Some(_), Some(_)) => ElectionReason::LeaderSilent,
            (Some(_), None) => ElectionReason::NoLeaderHeard,
        };
        (self.asked, self.has_led, self.failure) = (false, true, None);
        Event::Elected {
            shard,
            term: epoch.term,
            reason,
            leader_before: self.leader,
            silent_ms: self.heard.map(|heard| now.since(heard).as_millis() as u64),
        }
    }

    /// Records a failed hand-over; returns the event, unless the same failure was the last one.
    pub(crate) fn hand_over_failed(
        &mut self,
        shard: GroupId,
        reason: HandOverReason,
        error: &dyn std::error::Error,
    ) -> Option<Event> {
        let failure = Some((reason, error.to_string()));
        if self.failure == failure {
            return None;
        }
        self.failure.clone_from(&failure);
        failure.map(|(reason, error)| Event::HandOverFailed { shard, reason, error })
    }
}

/// A span of time in whole ms, as events have it.
pub(crate) fn ms(span: Duration) -> u64 {
    span.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeId = NodeId(1);

    fn elected(history: &mut LeaderHistory, term: u64) -> (ElectionReason, Option<NodeId>, Option<u64>) {
        let now = BootNs(5_000_000_000);
        match history.lead(GroupId(3), Epoch { term, node: OWN }, now) {
            Event::Elected { shard: GroupId(3), term: led, reason, leader_before, silent_ms } if led == term => {
                (reason, leader_before, silent_ms)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn elections_are_explained_by_the_leader_before() {
        let mut history = LeaderHistory::new(OWN, None);
        assert_eq!(elected(&mut history, 1), (ElectionReason::First, None, None));
        history.end_term(OWN, BootNs(1));
        assert_eq!(elected(&mut history, 2), (ElectionReason::ReElected, Some(OWN), None));
        history.end_term(NodeId(2), BootNs(4_300_000_000));
        assert_eq!(elected(&mut history, 4), (ElectionReason::LeaderSilent, Some(NodeId(2)), Some(700)));
        history.end_term(NodeId(3), BootNs(4_900_000_000));
        history.ask();
        assert_eq!(elected(&mut history, 5), (ElectionReason::HandOver, Some(NodeId(3)), Some(100)));
        history.end_term(NodeId(3), BootNs(4_000_000_000));
        assert_eq!(elected(&mut history, 6).0, ElectionReason::LeaderSilent, "a request counts once");
    }

    #[test]
    fn a_request_to_take_over_ends_when_another_node_leads() {
        let mut history = LeaderHistory::new(OWN, Some(NodeId(2)));
        history.ask();
        history.follow();
        assert_eq!(elected(&mut history, 9), (ElectionReason::NoLeaderHeard, Some(NodeId(2)), None));
    }

    #[test]
    fn an_earlier_process_does_not_count() {
        let mut history = LeaderHistory::new(OWN, Some(OWN));
        assert_eq!(elected(&mut history, 9), (ElectionReason::NoLeaderHeard, Some(OWN), None));
    }

    #[test]
    fn the_same_failure_is_recorded_once() {
        let mut history = LeaderHistory::new(OWN, None);
        let error = crate::group::status::HandOverError::NoTarget;
        let mut fail = |reason| history.hand_over_failed(GroupId(1), reason, &error).is_some();
        assert!(fail(HandOverReason::DiskStalled));
        assert!(!fail(HandOverReason::DiskStalled));
        assert!(fail(HandOverReason::ClockOff));
    }
}

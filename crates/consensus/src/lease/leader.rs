//! The leader's side of the lease: what it concludes from the answers to its heartbeats.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastness_types::{BootNs, Epoch, Plant};

use crate::group::handle::Holding;
use crate::lease::deadline::Lease;

/// The part of a membership that the lease depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Voters {
    /// The voters of each half; one half outside of a joint configuration.
    pub(crate) halves: Vec<BTreeSet<u64>>,
    /// All members, including learners. Learners are asked and bound too, so that a learner that becomes a voter is
    /// bound already.
    pub(crate) members: BTreeSet<u64>,
}

impl Voters {
    /// Whether `nodes` hold a majority of each half.
    pub(crate) fn has_quorum(&self, nodes: &BTreeSet<u64>) -> bool {
        !self.halves.is_empty() && self.halves.iter().all(|half| half.intersection(nodes).count() > half.len() / 2)
    }

    /// The newest time that a quorum of each half has reached.
    fn quorum_point(&self, points: &BTreeMap<u64, BootNs>) -> Option<BootNs> {
        let mut earliest = None;
        for half in &self.halves {
            let mut reached: Vec<BootNs> = half.iter().filter_map(|node| points.get(node).copied()).collect();
            reached.sort_unstable_by(|a, b| b.cmp(a));
            let point = *reached.get(half.len() / 2)?;
            earliest = Some(earliest.map_or(point, |earliest: BootNs| earliest.min(point)));
        }
        earliest
    }
}

/// What a member's answer says about its replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MemberReport {
    /// Whether its owner could serve as primary.
    pub(crate) ready: bool,
    /// What its memory holds; `None` if its version does not report that.
    pub(crate) holding: Option<Holding>,
}

/// What a leader knows about the answers to its heartbeats in its epoch.
#[derive(Debug)]
pub(crate) struct LeaderLease {
    own: u64,
    lease: Arc<Lease>,
    /// How long a quorum's promises are valid, from the send time on.
    length: Duration,
    voters: Voters,
    /// Per member, the send time of the newest heartbeat that it answered.
    heard: BTreeMap<u64, BootNs>,
    /// Per member, the end of its newest promise as far as the leader may rely on it: send time plus the validity of
    /// the promise.
    bound: BTreeMap<u64, BootNs>,
    /// How long a member's promise is valid from the send time on, if its answers have said so; never more than
    /// `length`.
    worth: BTreeMap<u64, Duration>,
    /// Per member, what its newest answer said about its replica.
    reports: BTreeMap<u64, MemberReport>,
    released: bool,
    /// Whether the lease was ever held.
    was_held: bool,
    /// Whether the lapse in progress was reported.
    lapse_reported: bool,
    /// The lapse that the newest answer has ended.
    lapse: Option<Lapse>,
}

/// A time in which a leader's lease was not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lapse {
    /// Whether [`LeaderLease::begin_lapse`] has reported it.
    pub(crate) reported: bool,
    pub(crate) lasted: Duration,
}

impl LeaderLease {
    pub(crate) fn new(own: u64, lease: Arc<Lease>, length: Duration) -> LeaderLease {
        let (heard, bound, worth, reports) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        LeaderLease {
            own,
            lease,
            length,
            voters: Voters::default(),
            heard,
            bound,
            worth,
            reports,
            released: false,
            was_held: false,
            lapse_reported: false,
            lapse: None,
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.lease.epoch()
    }

    pub(crate) fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    pub(crate) fn voters(&self) -> &Voters {
        &self.voters
    }

    /// Sets the effective membership, and cuts the lease to what it is worth under the new voters.
    pub(crate) fn set_voters(&mut self, voters: Voters) {
        if self.voters != voters {
            self.voters = voters;
            self.lease.restrict(self.deadline());
        }
    }

    /// Whether the next heartbeat binds its receivers. A leader may bind only if a quorum and its own Raft core have
    /// answered lately. Otherwise a leader whose answers are lost, or whose core is dead, would bind voters for ever
    /// although it may not act.
    pub(crate) fn may_bind(&self, now: BootNs) -> bool {
        let lately = |timestamp: BootNs| timestamp.plus(self.length) > now;
        let own = self.heard.get(&self.own).copied();
        if Plant::UnheardBinds.is_on() {
            return !self.released;
        }
        !self.released && own.is_some_and(lately) && self.voters.quorum_point(&self.heard).is_some_and(lately)
    }

    /// Records that a member answered yes to the heartbeat sent at `timestamp`. Returns what that changed.
    pub(crate) fn answered(&mut self, node: u64, timestamp: BootNs, bind: bool, now: BootNs) -> Answered {
        let could_bind = self.may_bind(now);
        let (held, deadline) = (self.lease.holds(now), self.lease.deadline());
        advance(&mut self.heard, node, timestamp);
        let confirmed = self.quorum_heard().is_some_and(|sent| self.lease.confirm(sent));
        if bind {
            let worth = self.worth.get(&node).copied().unwrap_or(self.length);
            advance(&mut self.bound, node, timestamp.plus(worth));
            if !self.released {
                self.lease.extend(self.deadline());
            }
        }
        let started = !held && self.lease.holds(now);
        if started {
            let reported = std::mem::take(&mut self.lapse_reported);
            let has_lapsed = std::mem::replace(&mut self.was_held, true);
            self.lapse = has_lapsed.then(|| Lapse { reported, lasted: now.since(deadline) });
        }
        Answered { request_again: !could_bind && self.may_bind(now), started, confirmed }
    }

    /// The lapse that the newest answer has ended, once.
    pub(crate) fn take_lapse(&mut self) -> Option<Lapse> {
        self.lapse.take()
    }

    /// Whether the lease has lapsed, once per lapse. A closed lease does not lapse.
    pub(crate) fn begin_lapse(&mut self, now: BootNs) -> bool {
        let lapsed = self.was_held && !self.released && !self.lease.holds(now);
        lapsed && !std::mem::replace(&mut self.lapse_reported, true)
    }

    /// Sets how long a member's promises are valid, from the send time of the heartbeat on.
    pub(crate) fn set_worth(&mut self, node: u64, worth: Duration) {
        self.worth.insert(node, worth.min(self.length));
    }

    /// Records what a member's answer said about its replica.
    pub(crate) fn set_report(&mut self, node: u64, report: MemberReport) {
        self.reports.insert(node, report);
    }

    /// What a member has last reported about its memory, however long ago; `None` if nothing.
    pub(crate) fn holding(&self, node: u64) -> Option<Holding> {
        self.reports.get(&node).and_then(|report| report.holding)
    }

    /// What each member has last reported about its memory.
    pub(crate) fn holdings(&self) -> BTreeMap<u64, Holding> {
        self.reports.iter().filter_map(|(node, report)| Some((*node, report.holding?))).collect()
    }

    /// Members, voters or not, that answered a heartbeat sent at `since` or later.
    pub(crate) fn answering(&self, since: BootNs) -> BTreeSet<u64> {
        let fresh = |node: &u64| self.heard.get(node).is_some_and(|timestamp| *timestamp >= since);
        self.voters.members.iter().copied().filter(fresh).collect()
    }

    /// Those of the answering members that could serve.
    pub(crate) fn fit(&self, since: BootNs) -> BTreeSet<u64> {
        self.answering(since)
            .into_iter()
            .filter(|node| self.reports.get(node).is_some_and(|report| report.ready))
            .collect()
    }

    /// Voters other than this node that answered a heartbeat sent at `since` or later, and could serve.
    pub(crate) fn could_take_over(&self, since: BootNs) -> BTreeSet<u64> {
        let votes = |node: &u64| self.voters.halves.iter().any(|half| half.contains(node));
        self.fit(since).into_iter().filter(|node| *node != self.own && votes(node)).collect()
    }

    /// Whether the lease was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.released
    }

    /// Closes the lease for the rest of the epoch.
    pub(crate) fn close(&mut self) {
        self.released = true;
        self.lease.close();
    }

    /// The newest send time of a heartbeat that a quorum has answered, including this node's own core.
    fn quorum_heard(&self) -> Option<BootNs> {
        Some(self.voters.quorum_point(&self.heard)?.min(*self.heard.get(&self.own)?))
    }

    fn deadline(&self) -> BootNs {
        let own = self.bound.get(&self.own).copied();
        match (self.voters.quorum_point(&self.bound), own) {
            (Some(quorum), Some(own)) => quorum.min(own),
            _ => BootNs(0),
        }
    }
}

/// What an answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered {
    /// A quorum answers: a binding heartbeat may be sent, at once instead of at the next interval.
    pub(crate) request_again: bool,
    /// The lease is held now and was not before.
    pub(crate) started: bool,
    /// A quorum has confirmed the send time that the owner waits for.
    pub(crate) confirmed: bool,
}

fn advance(points: &mut BTreeMap<u64, BootNs>, node: u64, timestamp: BootNs) {
    let point = points.entry(node).or_default();
    *point = (*point).max(timestamp);
}

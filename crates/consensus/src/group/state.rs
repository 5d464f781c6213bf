//! The state of one group on this node, which the log storage, the state machine, the transport and the lease share.
//!
//! The log storage sees every change of vote and every entry before anything else does, on the Raft core's own task and
//! in its order. So roles are published from there: this node leads an epoch from the moment its blank entry enters the
//! log under its committed vote, and no longer than until another vote is about to be stored.
//!
//! Locks here are held for a few lines, never across an await, and never two at a time. The exception is the lock of
//! the vote while a role is published for it (`publish_unless_newer`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fastness_events::{Event, Events, HandOverReason, LossReason};
use fastness_types::{BootNs, Clock, Epoch, GroupId, LogIndex, NodeId, Plant, Seq};
use openraft::EntryPayload;
use openraft::async_runtime::watch::WatchReceiver as _;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::group::handle::{GroupDriver, Lease, Role};
use crate::group::history::{LeaderHistory, ms};
use crate::group::status::HandOverError;
use crate::lease::leader::{Answered, Lapse, LeaderLease, MemberReport, Voters};
use crate::lease::promises::{Promises, Ticket};
use crate::options::Timers;
use crate::peer::identity::{Identities, disks};
use crate::raft::machine::Machine;
use crate::raft::observer::RaftObserver;
use crate::raft::types::{Entry, LeaderId, LogId, Membership, Types, Vote, epoch_of};
use crate::raft::watch;
use crate::snapshot::files::SnapshotFiles;

pub(crate) type Raft = openraft::Raft<Types, Machine>;

/// Accepted proposals whose index is remembered, so that a sequence number can be found in the log.
const ACCEPTED_KEPT: usize = 1024;

/// A leader that was not heard for this many election time-outs is not named any more, so that clients are not
/// redirected there.
const SILENCE_ELECTIONS: u32 = 4;

/// A member is reachable if it has answered a heartbeat of this many intervals ago, or a later one.
const FRESH_HEARTBEATS: u32 = 5;

/// The newest proposal that the log has taken.
pub(crate) type Accepted = Option<(Epoch, Seq)>;

pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) own: NodeId,
    pub(crate) timers: Timers,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) driver: GroupDriver,
    /// Wakes the node's heartbeat before its next interval.
    heartbeat: Arc<Notify>,
    identities: Arc<Identities>,
    raft: OnceLock<Raft>,
    /// The newest vote, stored or about to be stored.
    vote: Mutex<Vote>,
    lead: Mutex<Option<LeaderLease>>,
    /// When the leader of that vote was last heard.
    heard: Mutex<LeaderHeard>,
    /// The leaders before, for events.
    history: Mutex<LeaderHistory>,
    promises: Mutex<Promises>,
    accepted: watch::Sender<Accepted>,
    placed: Mutex<VecDeque<(Epoch, Seq, LogIndex)>>,
    last_log: AtomicU64,
    flushed: AtomicU64,
    /// Changes whenever the owner has reported something or the role has changed.
    pub(crate) owner: watch::Sender<()>,
    stopped: watch::Sender<Option<Arc<str>>>,
    /// Whether a hand-over is in progress.
    pub(crate) handing_over: AtomicBool,
    /// `None`: the group has no snapshots.
    pub(crate) snapshots: Option<Arc<dyn SnapshotFiles>>,
}

/// When a leader was last heard.
struct LeaderHeard {
    at: BootNs,
    /// The leader was not heard for too long, so it is not named any more.
    silent: bool,
}

/// Everything that a group is made of.
pub(crate) struct GroupParts {
    pub(crate) id: GroupId,
    pub(crate) own: NodeId,
    pub(crate) timers: Timers,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) driver: GroupDriver,
    pub(crate) heartbeat: Arc<Notify>,
    pub(crate) identities: Arc<Identities>,
    /// The stored vote.
    pub(crate) vote: Option<Vote>,
    /// Index of the last entry.
    pub(crate) last_log: u64,
    /// End of the silence after a restart.
    pub(crate) silent_until: BootNs,
    pub(crate) snapshots: Option<Arc<dyn SnapshotFiles>>,
}

impl Group {
    pub(crate) fn new(parts: GroupParts) -> Group {
        let vote =
            parts.vote.unwrap_or(Vote { leader_id: LeaderId(Epoch { term: 0, node: parts.own }), committed: false });
        let group = Group {
            id: parts.id,
            own: parts.own,
            timers: parts.timers,
            clock: parts.clock,
            driver: parts.driver,
            heartbeat: parts.heartbeat,
            identities: parts.identities,
            raft: OnceLock::new(),
            vote: Mutex::new(vote),
            lead: Mutex::new(None),
            heard: Mutex::new(LeaderHeard { at: BootNs(0), silent: false }),
            history: Mutex::new(LeaderHistory::new(
                parts.own,
                (epoch_of(&vote).term > 0).then(|| epoch_of(&vote).node),
            )),
            promises: Mutex::new(Promises::new(parts.timers.lease, parts.silent_until)),
            accepted: watch::Sender::new(None),
            placed: Mutex::new(VecDeque::new()),
            last_log: AtomicU64::new(parts.last_log),
            flushed: AtomicU64::new(parts.last_log),
            owner: watch::Sender::new(()),
            stopped: watch::Sender::new(None),
            handing_over: AtomicBool::new(false),
            snapshots: parts.snapshots,
        };
        group.publish_follower(vote);
        group
    }

    /// The running Raft instance; `None` while it is being built.
    pub(crate) fn raft(&self) -> Option<&Raft> {
        self.raft.get()
    }

    pub(crate) fn set_raft(&self, raft: Raft) {
        let _ = self.raft.set(raft);
    }

    pub(crate) fn vote(&self) -> Vote {
        *self.vote.lock()
    }

    /// The epoch that this node leads, if it leads.
    pub(crate) fn leads(&self) -> Option<Epoch> {
        self.lead.lock().as_ref().map(LeaderLease::epoch)
    }

    /// The leader, as far as this node knows.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        match self.leads() {
            Some(epoch) => Some(epoch.node),
            None => self.follows(&self.vote()),
        }
    }

    /// The leader that a vote names, if it is another node and not silent. After a restart the stored vote may name
    /// this node, which does not lead any more.
    fn follows(&self, vote: &Vote) -> Option<NodeId> {
        let Epoch { term, node } = epoch_of(vote);
        let known = vote.committed && term > 0 && node != self.own;
        (known && !self.heard.lock().silent).then_some(node)
    }

    pub(crate) fn last_log(&self) -> LogIndex {
        LogIndex(self.last_log.load(Ordering::Acquire))
    }

    pub(crate) fn flushed(&self) -> LogIndex {
        LogIndex(self.flushed.load(Ordering::Acquire))
    }

    fn observe_blank(&self, epoch: Epoch, index: LogIndex) {
        let vote = self.vote();
        if !(epoch.node == self.own && epoch.term > 0 && vote.committed && epoch_of(&vote) == epoch) {
            return;
        }
        let lease = Arc::new(Lease::new(epoch));
        *self.lead.lock() = Some(LeaderLease::new(self.own.0, lease.clone(), self.timers.lease_of_leader()));
        let elected = self.history.lock().lead(self.id, epoch, self.clock.boot());
        self.events().record(elected);
        self.publish(Role::Leader { lease, first: index });
        self.heartbeat.notify_one();
    }

    fn observe_accepted(&self, epoch: Epoch, seq: Seq, index: LogIndex) {
        let mut placed = self.placed.lock();
        if placed.len() >= ACCEPTED_KEPT {
            placed.pop_front();
        }
        placed.push_back((epoch, seq, index));
        drop(placed);
        self.accepted.send_replace(Some((epoch, seq)));
    }

    // ---- proposals -------------------------------------------------------------------------------------------------

    pub(crate) fn accepted(&self) -> watch::Receiver<Accepted> {
        self.accepted.subscribe()
    }

    /// The index of the batch in the log. For an old batch, whose index is forgotten, some index at or after it.
    pub(crate) fn index_of(&self, epoch: Epoch, seq: Seq) -> Option<LogIndex> {
        let placed = self.placed.lock();
        let at = placed.partition_point(|(e, s, _)| (*e, *s) < (epoch, seq));
        placed.get(at).filter(|(e, ..)| *e == epoch).map(|(.., index)| *index)
    }

    // ---- the lease -------------------------------------------------------------------------------------------------

    fn set_voters(&self, membership: &Membership) {
        let halves = membership.get_joint_config().clone();
        let members = membership.nodes().map(|(node, _)| *node).collect();
        let voters = Voters { halves, members };
        if let Some(lead) = self.lead.lock().as_mut()
            && *lead.voters() != voters
        {
            lead.set_voters(voters);
            // New members are lease_requested at once. In a new epoch these are all members.
            self.heartbeat.notify_one();
        }
    }

    /// A member that has answered a heartbeat sent at this time or later counts as reachable.
    pub(crate) fn fresh_since(&self) -> BootNs {
        let fresh = self.timers.heartbeat * FRESH_HEARTBEATS;
        BootNs(self.clock.boot().0.saturating_sub(fresh.as_nanos() as u64))
    }

    /// Sends the next heartbeat now.
    pub(crate) fn heartbeat_now(&self) {
        self.heartbeat.notify_one();
    }

    /// What the next heartbeat has to carry: the epoch, whether it binds, and the members to ask.
    pub(crate) fn next_request(&self, now: BootNs) -> Option<(Epoch, bool, Vec<u64>)> {
        let lead = self.lead.lock();
        let lead = lead.as_ref()?;
        Some((lead.epoch(), lead.may_bind(now), lead.voters().members.iter().copied().collect()))
    }

    /// Handles a lease request of a leader, which may be this node. `answer` is called if the answer is yes.
    pub(crate) fn lease_requested(self: &Arc<Self>, epoch: Epoch, bind: bool, answer: impl FnOnce() + Send + 'static) {
        use futures::FutureExt as _;
        let Some(raft) = self.raft() else { return };
        self.hear(epoch, bind);
        let ticket = if bind {
            let Some(ticket) = self.promises.lock().promise(epoch, self.clock.boot()) else { return };
            Some(ticket)
        } else {
            None
        };
        let group = self.clone();
        let question = raft.external_request(move |state| {
            if epoch.node == group.own {
                // In the core's order, so that an older membership never replaces a newer one.
                group.set_voters(state.membership_state.effective().membership());
            }
            if group.resolve(epoch, ticket, epoch_of(state.vote_ref()) == epoch) {
                answer();
            }
        });
        // Sending completes at once unless the core's queue is full. Then the core would not answer in time anyway.
        let sent = tokio::task::unconstrained(question).now_or_never();
        if !matches!(sent, Some(Ok(()))) {
            self.resolve(epoch, ticket, false);
        }
    }

    fn resolve(&self, epoch: Epoch, ticket: Option<Ticket>, holds_vote: bool) -> bool {
        match ticket {
            Some(ticket) => self.promises.lock().resolve(epoch, ticket, holds_vote),
            None => holds_vote,
        }
    }

    /// Sets how long a member's promises bind it, as its answers say.
    pub(crate) fn promises_for(&self, node: NodeId, promise: Duration) {
        if let Some(lead) = self.lead.lock().as_mut() {
            lead.set_worth(node.0, promise.saturating_sub(self.timers.drift_margin));
        }
    }

    /// Handles a member's yes.
    pub(crate) fn lease_answered(
        &self,
        node: NodeId,
        epoch: Epoch,
        timestamp: BootNs,
        bind: bool,
        report: MemberReport,
    ) {
        let now = self.clock.boot();
        let mut lead = self.lead.lock();
        let Some(lead) = lead.as_mut().filter(|lead| lead.epoch() == epoch) else { return };
        // A timestamp from the future was not sent by this node.
        if timestamp > now {
            return;
        }
        let timestamp = if Plant::LeaseFromAnswers.is_on() { now } else { timestamp };
        lead.set_report(node.0, report);
        let Answered { request_again, started, confirmed } = lead.answered(node.0, timestamp, bind, now);
        let lapse = lead.take_lapse();
        if request_again {
            self.heartbeat.notify_one();
        }
        if started || confirmed {
            self.driver.wake_owner();
        }
        if let Some(Lapse { reported, lasted }) = lapse {
            let (shard, term) = (self.id, epoch.term);
            if !reported {
                self.events().record(Event::LeaseLost { shard, term });
            }
            self.events().record(Event::LeaseRegained { shard, term, lapsed_ms: ms(lasted) });
        }
    }

    /// Records that the lease has lapsed. Called regularly; a lapse between two calls is recorded when it ends.
    pub(crate) fn check_lease(&self) {
        let now = self.clock.boot();
        let lapsed = self.with_lead(|lead| lead.begin_lapse(now).then(|| lead.epoch())).flatten();
        if let Some(epoch) = lapsed {
            self.events().record(Event::LeaseLost { shard: self.id, term: epoch.term });
        }
    }

    /// Where to record what happens to the group.
    pub(crate) fn events(&self) -> &Events {
        self.driver.events()
    }

    /// Records that the leader has asked this node to take over.
    pub(crate) fn record_transfer(&self) {
        self.history.lock().ask();
    }

    /// Records a failed hand-over. A refusal because this node does not lead, or because another hand-over is in
    /// progress, is of no interest.
    pub(crate) fn record_failed_hand_over(&self, reason: HandOverReason, error: &HandOverError) {
        if matches!(error, HandOverError::NotLeader(_) | HandOverError::UnderWay) {
            return;
        }
        let failed = self.history.lock().hand_over_failed(self.id, reason, error);
        failed.into_iter().for_each(|event| self.events().record(event));
    }

    /// Whether this node must neither grant nor send a vote or pre-vote for the candidate of `vote` now.
    pub(crate) fn bars(&self, vote: &Vote) -> bool {
        self.promises.lock().bars(epoch_of(vote), self.clock.boot())
    }

    pub(crate) fn silent(&self) -> bool {
        self.promises.lock().silent(self.clock.boot())
    }

    /// Frees this node from its promise to the leader of `epoch`.
    pub(crate) fn release(&self, epoch: Epoch) {
        self.promises.lock().release(epoch);
    }

    /// Whether this node leads and has closed its lease. It serves nobody in this epoch any more, and an election has
    /// to follow.
    pub(crate) fn has_closed_lease(&self) -> bool {
        self.lead.lock().as_ref().is_some_and(LeaderLease::is_closed)
    }

    /// Per member, the newest committed entry that it has acknowledged. Empty unless this node leads.
    pub(crate) fn acknowledged(&self) -> BTreeMap<u64, LogId> {
        let (Some(_), Some(raft)) = (self.leads(), self.raft()) else { return BTreeMap::new() };
        let metrics = raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(committed) = metrics.last_applied else { return BTreeMap::new() };
        let matched = metrics.replication.iter().flatten();
        // Both are in this leader's log, so the earlier one is acknowledged and committed.
        let mut acknowledged: BTreeMap<u64, LogId> =
            matched.filter_map(|(node, matched)| Some((*node, (*matched)?.min(committed)))).collect();
        // This node's own disk counts for its commits as well.
        if self.flushed().0 >= committed.index {
            acknowledged.insert(self.own.0, committed);
        }
        acknowledged
    }

    /// Runs `f` on the leader's state, if this node leads.
    pub(crate) fn with_lead<T>(&self, f: impl FnOnce(&mut LeaderLease) -> T) -> Option<T> {
        self.lead.lock().as_mut().map(f)
    }

    // ---- roles -----------------------------------------------------------------------------------------------------

    fn publish_follower(&self, vote: Vote) {
        self.publish(Role::Follower { leader: self.follows(&vote) });
    }

    /// Records a request from the leader of `epoch`. If it binds, a quorum answers that leader.
    fn hear(&self, epoch: Epoch, binds: bool) {
        let vote = self.vote();
        if epoch_of(&vote) != epoch || epoch.node == self.own {
            return;
        }
        if binds {
            self.driver.set_heard_until(self.clock.boot().plus(self.timers.lease));
        }
        let was_silent = {
            let mut heard = self.heard.lock();
            heard.at = self.clock.boot();
            std::mem::take(&mut heard.silent)
        };
        if was_silent {
            self.publish_unless_newer(vote, Some(epoch.node));
        }
    }

    /// Publishes that the leader is unknown once it was silent for too long. Called regularly.
    pub(crate) fn check_leader(&self) {
        let vote = self.vote();
        if self.leads().is_some() || self.follows(&vote).is_none() {
            return;
        }
        let silent = {
            let (mut heard, now) = (self.heard.lock(), self.clock.boot());
            heard.silent = heard.at.plus(SILENCE_ELECTIONS * self.timers.election_max) < now;
            if !heard.silent {
                return;
            }
            // After a start the leader was never heard.
            if heard.at == BootNs(0) { Duration::ZERO } else { now.since(heard.at) }
        };
        let Epoch { term, node } = epoch_of(&vote);
        self.events().record(Event::LeaderSilent { shard: self.id, term, peer: node, silent_ms: ms(silent) });
        self.publish_unless_newer(vote, None);
    }

    /// Publishes a role that was derived outside of the Raft core's order, unless the core has changed the vote since.
    fn publish_unless_newer(&self, seen: Vote, leader: Option<NodeId>) {
        let newest = self.vote.lock();
        if *newest == seen {
            self.publish(Role::Follower { leader });
        }
    }

    fn publish(&self, role: Role) {
        if self.stopped.borrow().is_none() {
            self.driver.set_role(role);
        }
        self.owner.send_replace(());
    }

    /// Stops the group. Nothing is served any more.
    pub(crate) fn stop(&self, reason: &str) {
        let reason: Arc<str> = reason.into();
        let first = self.stopped.send_if_modified(|stopped| {
            let first = stopped.is_none();
            stopped.get_or_insert_with(|| reason.clone());
            first
        });
        if first {
            if let Some(mut lead) = self.lead.lock().take() {
                lead.close();
            }
            self.driver.set_role(Role::Stopped { reason });
            self.owner.send_replace(());
        }
    }

    pub(crate) fn stopped(&self) -> Option<Arc<str>> {
        self.stopped.borrow().clone()
    }

    pub(crate) async fn until_stopped(&self) {
        let mut stopped = self.stopped.subscribe();
        // Cannot fail: `self` owns the sender.
        let _ = stopped.wait_for(Option::is_some).await;
    }
}

/// What events tell of changes of the vote.
impl Group {
    /// Remembers the leader of the vote before. `heard`: when that leader was last heard.
    fn record_vote(&self, before: &Vote, vote: &Vote, heard: BootNs) {
        let mut history = self.history.lock();
        if before.committed && epoch_of(before) != epoch_of(vote) {
            history.end_term(epoch_of(before).node, heard);
        }
        if vote.committed && epoch_of(vote).node != self.own {
            history.follow();
        }
    }

    /// Why leadership is lost, whose lease is `lost`.
    fn loss_reason(&self, lost: &LeaderLease, now: BootNs) -> LossReason {
        match lost.is_closed() {
            true if self.handing_over.load(Ordering::Acquire) => LossReason::HandOver,
            true => LossReason::LoopStalled,
            false if lost.lease().holds(now) => LossReason::NewerTerm,
            false => LossReason::LeaseLapsed,
        }
    }
}

/// Reports of the log storage and the state machine.
impl RaftObserver for Group {
    fn observe_vote(&self, vote: Vote) {
        let before = std::mem::replace(&mut *self.vote.lock(), vote);
        let now = self.clock.boot();
        let heard = std::mem::replace(&mut *self.heard.lock(), LeaderHeard { at: now, silent: false });
        self.record_vote(&before, &vote, heard.at);
        let mut lead = self.lead.lock();
        if lead.as_ref().is_some_and(|lead| vote.committed && lead.epoch() == epoch_of(&vote)) {
            return;
        }
        // The lease is closed before anybody can see that this node does not lead.
        let lost = lead.take().map(|mut lost| {
            let reason = self.loss_reason(&lost, now);
            lost.close();
            (lost.epoch().term, reason)
        });
        drop(lead);
        if let Some((lost, reason)) = lost {
            let Epoch { term, node: peer } = epoch_of(&vote);
            self.events().record(Event::LeadershipLost { shard: self.id, term: lost, reason, term_after: term, peer });
        }
        self.publish_follower(vote);
    }

    fn observe_entry(&self, entry: &Entry) {
        let (epoch, index) = (entry.log_id.leader_id, LogIndex(entry.log_id.index));
        self.last_log.store(index.0, Ordering::Release);
        match &entry.payload {
            EntryPayload::Blank => self.observe_blank(epoch, index),
            EntryPayload::Normal(batch) if batch.seq != Seq(0) => self.observe_accepted(epoch, batch.seq, index),
            EntryPayload::Normal(_) => {}
            EntryPayload::Membership(membership) => {
                self.identities.expect(disks(membership));
                self.set_voters(membership);
            }
        }
    }

    fn observe_truncated(&self, last: Option<u64>) {
        let last = last.unwrap_or(0);
        self.last_log.store(last, Ordering::Release);
        self.flushed.fetch_min(last, Ordering::AcqRel);
    }

    fn observe_flushed(&self, index: u64) {
        self.flushed.fetch_max(index, Ordering::AcqRel);
    }

    fn observe_installed(&self, index: u64, membership: &Membership) {
        self.identities.expect(disks(membership));
        self.last_log.fetch_max(index, Ordering::AcqRel);
        self.flushed.fetch_max(index, Ordering::AcqRel);
        tracing::info!(group = %self.id, index, "a snapshot is installed");
        self.driver.set_installed(LogIndex(index));
    }

    fn observe_committed(&self, index: u64) {
        self.driver.advance_committed(LogIndex(index));
    }
}

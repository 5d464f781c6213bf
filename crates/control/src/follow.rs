//! The task that owns group 0's data on this node, and the node's handle of it.
//!
//! Ordering rules:
//! - The map returned by [`Control::map`] is the result of a committed prefix of group 0's log, and only moves forward.
//! - The state is restored from the newest usable snapshot, then from the log after it; while the node runs, from a
//!   snapshot that another node has sent, once consensus has installed it.
//! - A command is proposed only by a leader under a valid lease, after the epoch's first entry is applied. Its proposer
//!   gets the result when the command is applied here, or learns that the outcome is unknown once an entry of another
//!   leader is applied.
//!
//! Limit: [`REQUESTS_MAX`] commands may wait or be in flight; a further one fails with [`ProposeError::Busy`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use fastness_consensus::handle::{Committed, Drain, EntryPayload, GroupHandle, Proposal, ReadError, Role};
use fastness_types::{Clock, Epoch, LogIndex, NodeId, Seq};
use tokio::sync::{mpsc, oneshot, watch};

use crate::command::{self, Command, Envelope};
use crate::group::RaftGroup;
use crate::map::ClusterMap;
use crate::map_events;
use crate::snapshots::{SnapshotStore, Snapshots};
use crate::state::{Applied, ApplyError, ControlState};

/// Largest number of commands that wait or are in flight.
pub const REQUESTS_MAX: usize = 16;
/// Bytes read from the log at a time.
const READ_BYTES_MAX: usize = 1024 * 1024;
/// How often a command that waits for the lease checks again.
const LEASE_POLL: Duration = Duration::from_millis(20);

/// What the control plane of a node needs.
pub struct ControlOptions {
    /// Id of this node.
    pub node: NodeId,
    /// The handle of group 0.
    pub handle: GroupHandle,
    /// The membership of group 0.
    pub group: Arc<dyn RaftGroup>,
    /// The clock that the lease is checked with.
    pub clock: Arc<dyn Clock>,
    /// Where snapshots are kept; `None`: there are none, and the log is never purged.
    pub snapshots: Option<Arc<dyn SnapshotStore>>,
}

/// This node's role in group 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlRole {
    /// This node leads.
    Leader {
        /// Its epoch.
        epoch: Epoch,
    },
    /// This node follows.
    Follower {
        /// The leader, if known.
        leader: Option<NodeId>,
    },
    /// Group 0 has stopped on this node.
    Stopped,
}

/// Status of this node's control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlStatus {
    /// Role in group 0.
    pub role: ControlRole,
    /// Index up to which group 0's log is applied.
    pub applied: LogIndex,
    /// Why the control plane has stopped permanently, if it has. The node must not continue with a map that is no
    /// longer updated.
    pub failure: Option<Arc<str>>,
}

/// Why a command did not change the map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was done, because this node does not lead group 0; another one may.
    #[error("this node does not lead the control plane")]
    NotLeader(Option<NodeId>),
    /// Nothing was done, because too many commands are in progress.
    #[error("too many changes of the cluster map are in progress: repeat the request later")]
    Busy,
    /// The command was proposed, and leadership was lost before it committed: the outcome is unknown.
    #[error(
        "the control plane lost its leader before the change committed, so the outcome is unknown: check the cluster's state, then repeat the request if necessary"
    )]
    OutcomeUnknown,
    /// The control plane of this node has stopped.
    #[error("the control plane has stopped: {0}")]
    Stopped(Arc<str>),
}

struct Request {
    command: Command,
    answer: oneshot::Sender<Result<bool, ProposeError>>,
}

/// Handle of this node's control plane. Cheap to clone; the task stops when the last clone is dropped.
#[derive(Clone)]
pub struct Control {
    node: NodeId,
    map: Arc<ArcSwapOption<ClusterMap>>,
    changes: watch::Receiver<Option<Arc<ClusterMap>>>,
    status: watch::Receiver<ControlStatus>,
    requests: mpsc::Sender<Request>,
    group: Arc<dyn RaftGroup>,
}

impl Control {
    /// Spawns the task on the current runtime. It restores the newest snapshot of group 0 and replays the log after it.
    #[must_use]
    pub fn start(options: ControlOptions) -> Control {
        let status =
            ControlStatus { role: ControlRole::Follower { leader: None }, applied: LogIndex(0), failure: None };
        let (status_out, status) = watch::channel(status);
        let (changes_out, changes) = watch::channel(None);
        let (requests, requests_in) = mpsc::channel(REQUESTS_MAX);
        let map = Arc::new(ArcSwapOption::empty());
        let follower = Follower {
            handle: options.handle,
            clock: options.clock,
            map: map.clone(),
            changes: changes_out,
            status: status_out,
            requests: requests_in,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            proposed: (Epoch::default(), Seq(0)),
            state: ControlState::default(),
            snapshots: Snapshots::new(options.snapshots),
        };
        tokio::spawn(follower.run());
        Control { node: options.node, map, changes, status, requests, group: options.group }
    }

    /// Id of this node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The newest map known here; `None` until the cluster is created.
    #[must_use]
    pub fn map(&self) -> Option<Arc<ClusterMap>> {
        self.map.load_full()
    }

    /// Watches the map. If several maps arrive at once, only the newest is seen.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<Option<Arc<ClusterMap>>> {
        self.changes.clone()
    }

    /// Watches this node's role in group 0, and a fatal failure.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<ControlStatus> {
        self.status.clone()
    }

    /// Whether this node leads group 0, as far as it knows.
    #[must_use]
    pub fn leads(&self) -> bool {
        matches!(self.status.borrow().role, ControlRole::Leader { .. })
    }

    /// The leader of group 0, as far as this node knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match self.status.borrow().role {
            ControlRole::Leader { .. } => Some(self.node),
            ControlRole::Follower { leader } => leader,
            ControlRole::Stopped => None,
        }
    }

    pub(crate) fn group(&self) -> &dyn RaftGroup {
        self.group.as_ref()
    }

    /// Proposes a command and waits until it is applied here; returns whether it has had an effect. Cancelling the call
    /// does not withdraw the command.
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose(&self, command: Command) -> Result<bool, ProposeError> {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(Request { command, answer }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => ProposeError::Busy,
            mpsc::error::TrySendError::Closed(_) => self.stopped(),
        })?;
        answered.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    fn stopped(&self) -> ProposeError {
        let failure = self.status.borrow().failure.clone();
        ProposeError::Stopped(failure.unwrap_or_else(|| "the node is shutting down".into()))
    }
}

/// Why the task has stopped permanently.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("group 0's log: {0}")]
    Log(#[from] ReadError),
    #[error(
        "group 0's log is needed from {} on and purged up to {}, and no snapshot of that position or a later one can be \
         used: the cluster map cannot be restored on this node; replace it: fastness cluster replace-replica",
        from.0, upto.0
    )]
    NoSnapshot { from: LogIndex, upto: LogIndex },
    #[error("group 0 has stopped: {0}")]
    Stopped(Arc<str>),
}

/// A proposed command that is not applied yet.
struct InFlight {
    epoch: Epoch,
    seq: Seq,
    answer: oneshot::Sender<Result<bool, ProposeError>>,
}

struct Follower {
    handle: GroupHandle,
    clock: Arc<dyn Clock>,
    map: Arc<ArcSwapOption<ClusterMap>>,
    changes: watch::Sender<Option<Arc<ClusterMap>>>,
    status: watch::Sender<ControlStatus>,
    requests: mpsc::Receiver<Request>,
    /// Commands not proposed yet.
    waiting: VecDeque<Request>,
    /// Commands proposed and not applied, in order.
    in_flight: VecDeque<InFlight>,
    /// The newest sequence proposed here, with its epoch.
    proposed: (Epoch, Seq),
    /// The state up to the newest applied entry.
    state: ControlState,
    snapshots: Snapshots,
}

impl Follower {
    async fn run(mut self) {
        self.restore().await;
        loop {
            if let Err(fatal) = self.turn().await {
                return self.fail(&fatal);
            }
            let room = self.waiting.len() + self.in_flight.len() < REQUESTS_MAX;
            tokio::select! {
                () = self.handle.changed() => {}
                request = self.requests.recv(), if room => match request {
                    Some(request) => self.waiting.push_back(request),
                    None => return,
                },
                () = self.snapshots.written(&self.handle, self.clock.as_ref()) => {}
                () = tokio::time::sleep(LEASE_POLL), if !self.waiting.is_empty() => {}
            }
        }
    }

    /// Takes over the newest usable snapshot after the applied position, if there is one.
    async fn restore(&mut self) {
        let Some(state) = self.snapshots.restore(self.state.index, &self.handle).await else { return };
        self.state = state;
        self.give_up_in_flight(None);
        self.publish_map();
        self.handle.report_applied(self.state.index);
    }

    fn publish_map(&self) {
        self.map.store(self.state.map.clone());
        self.changes.send_replace(self.state.map.clone());
    }

    /// Does everything that is possible now: applies, proposes, reports.
    async fn turn(&mut self) -> Result<(), Fatal> {
        self.apply_committed().await?;
        self.snapshots.make_if_due(&self.state, &self.handle, self.clock.boot());
        let role = Arc::clone(&self.handle.role());
        match &*role {
            Role::Leader { lease, first } => {
                let draining = self.handle.drain() == Drain::Requested;
                if draining {
                    self.refuse_waiting(&ProposeError::NotLeader(None));
                } else if self.state.index >= *first && lease.holds(self.clock.boot()) {
                    self.propose_waiting(lease.epoch());
                }
                self.handle.report_drained(draining && self.in_flight.is_empty());
            }
            Role::Follower { leader } => self.refuse_waiting(&ProposeError::NotLeader(*leader)),
            Role::Stopped { reason } => return Err(Fatal::Stopped(reason.clone())),
        }
        self.publish_status(&role);
        self.handle.report_ready(true);
        self.handle.report_serves_reads(true);
        Ok(())
    }

    async fn apply_committed(&mut self) -> Result<(), Fatal> {
        loop {
            let to = self.handle.committed();
            if self.state.index >= to {
                return Ok(());
            }
            let from = LogIndex(self.state.index.0 + 1);
            let installed = self.handle.installed();
            if installed >= from {
                self.jump(from, installed).await?;
                continue;
            }
            let entries = match self.handle.read_cached(from, to, READ_BYTES_MAX) {
                Some(entries) => entries,
                None => match self.handle.read(from, to, READ_BYTES_MAX).await {
                    Ok(entries) => entries,
                    // A snapshot is being installed: its file exists, but it is not reported as installed yet.
                    Err(ReadError::Purged(upto)) => {
                        self.jump(from, upto).await?;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            for entry in entries {
                self.apply(&entry)?;
            }
            self.handle.report_applied(self.state.index);
        }
    }

    /// Restores the state from a snapshot, because the log is purged up to `upto`.
    async fn jump(&mut self, from: LogIndex, upto: LogIndex) -> Result<(), Fatal> {
        self.restore().await;
        if self.state.index < upto { Err(Fatal::NoSnapshot { from, upto }) } else { Ok(()) }
    }

    fn apply(&mut self, entry: &Committed) -> Result<(), Fatal> {
        if entry.epoch != self.state.epoch {
            self.give_up_in_flight(Some(entry.epoch));
        }
        let before = self.state.map.clone();
        let applied = self.state.apply(entry)?;
        self.snapshots.count(match &entry.payload {
            EntryPayload::Batch(command) => command.len(),
            EntryPayload::Blank | EntryPayload::Membership => 0,
        });
        if let Applied::Command { seq, has_changed } = applied {
            if has_changed {
                self.record_change(entry.index, before.as_deref());
                self.publish_map();
            }
            self.answer(entry.epoch, seq, has_changed);
        }
        Ok(())
    }

    /// Records what this entry has changed in the map, unless it was in the log when the process started.
    fn record_change(&self, index: LogIndex, before: Option<&ClusterMap>) {
        if self.handle.is_replayed(index) {
            return;
        }
        let Some(after) = &self.state.map else { return };
        for event in map_events::between(before, after) {
            self.handle.events().record(event);
        }
    }

    /// Answers the proposer of a command that is applied, if it was proposed here.
    fn answer(&mut self, epoch: Epoch, seq: Seq, has_changed: bool) {
        let ours = |f: &InFlight| f.epoch == epoch && f.seq == seq;
        if self.in_flight.front().is_some_and(ours)
            && let Some(done) = self.in_flight.pop_front()
        {
            // The caller may have been cancelled.
            let _ = done.answer.send(Ok(has_changed));
        }
    }

    /// Called when an entry of another leader is applied: commands of an older epoch that have not committed may never
    /// commit. `None`: all commands, because a snapshot hides which of them have committed.
    fn give_up_in_flight(&mut self, epoch: Option<Epoch>) {
        while self.in_flight.front().is_some_and(|f| Some(f.epoch) != epoch) {
            if let Some(lost) = self.in_flight.pop_front() {
                let _ = lost.answer.send(Err(ProposeError::OutcomeUnknown));
            }
        }
    }

    fn propose_waiting(&mut self, epoch: Epoch) {
        if self.proposed.0 != epoch {
            self.proposed = (epoch, Seq(0));
        }
        while let Some(request) = self.waiting.pop_front() {
            let seq = self.proposed.1.next();
            self.proposed.1 = seq;
            let payload = Bytes::from(command::encode(&Envelope { seq, command: request.command }));
            self.in_flight.push_back(InFlight { epoch, seq, answer: request.answer });
            self.handle.propose(Proposal { epoch, seq, payload });
        }
    }

    fn refuse_waiting(&mut self, why: &ProposeError) {
        for request in self.waiting.drain(..) {
            let _ = request.answer.send(Err(why.clone()));
        }
    }

    fn publish_status(&self, role: &Role) {
        let role = match role {
            Role::Leader { lease, .. } => ControlRole::Leader { epoch: lease.epoch() },
            Role::Follower { leader } => ControlRole::Follower { leader: *leader },
            Role::Stopped { .. } => ControlRole::Stopped,
        };
        let applied = self.state.index;
        self.status.send_if_modified(|status| {
            let new = ControlStatus { role, applied, failure: None };
            let changed = *status != new;
            *status = new;
            changed
        });
    }

    fn fail(mut self, fatal: &Fatal) {
        tracing::error!(error = %fatal, "the control plane of this node has stopped; the node must stop too");
        self.handle.report_ready(false);
        let failure: Arc<str> = fatal.to_string().into();
        self.refuse_waiting(&ProposeError::Stopped(failure.clone()));
        for lost in self.in_flight.drain(..) {
            let _ = lost.answer.send(Err(ProposeError::OutcomeUnknown));
        }
        let applied = self.state.index;
        self.status.send_replace(ControlStatus { role: ControlRole::Stopped, applied, failure: Some(failure) });
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;

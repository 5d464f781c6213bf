//! What one Raft group and the task that owns its data (a shard's loop, or the control plane) see of each other.
//!
//! The owner never awaits consensus: it proposes into a queue, and is told of commits and roles by atomics and one
//! wake-up. Consensus never awaits the owner: "applied" is the owner's own position, which it reports.
//!
//! Ordering rules:
//! - `committed` never runs back, and an entry at or below it never changes.
//! - A [`Lease`] belongs to one epoch. A closed lease is never opened again; a new epoch has a new one.
//! - The owner proposes batches of one epoch in the order of their sequence; they enter the log in that order and
//!   without holes, or not at all from some batch on (the driver proposes one at a time until it is accepted).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use fastness_types::{BootNs, Epoch, FormatLevel, GroupId, LogIndex, NodeId, Plant, Seq, WallMs};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use crate::group::committed::{Committed, CommittedLog, EntryPayload, ReadError};
use crate::lease::clocks::{ClockCheck, TrustedWall, WallState};
pub use crate::lease::deadline::Lease;

/// What this node is in the group.
#[derive(Debug, Clone)]
pub enum Role {
    /// Leader of `lease.epoch()`. May act once its first entry is applied and while the lease holds.
    Leader {
        /// The epoch's lease.
        lease: Arc<Lease>,
        /// Index of the epoch's first entry (its blank).
        first: LogIndex,
    },
    /// Follower, learner or candidate; `leader` is the one it follows, if known.
    Follower {
        /// Whom clients are sent to.
        leader: Option<NodeId>,
    },
    /// The group was shut down or met a fatal error; nothing is served any more.
    Stopped {
        /// For the log and `INFO`.
        reason: Arc<str>,
    },
}

/// Effects of one turn of the loop, to become one log entry.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The epoch it was staged under; refused under any other.
    pub epoch: Epoch,
    /// Its place among the epoch's batches; also inside `payload`, which consensus does not read.
    pub seq: Seq,
    /// The encoded batch.
    pub payload: Bytes,
}

/// Hand-over as the driver asks it of the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Serve as usual.
    None,
    /// Hold commands at the front end, close and propose what is staged, report when all of it is committed.
    Requested,
}

/// A snapshot of the owner's own, on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnSnapshot {
    /// Its position: the newest entry that it covers.
    pub index: LogIndex,
    /// The epoch of the entry there.
    pub epoch: Epoch,
    /// Up to here the log is no longer needed: the position of an older snapshot; 0: all of it still is.
    pub purge_upto: LogIndex,
}

/// What the memory of a replica holds, as its owner reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holding {
    /// Snapshot and log up to here.
    pub index: LogIndex,
    /// Keys.
    pub keys: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// The position of the replica's newest snapshot; 0: none.
    pub snapshot: LogIndex,
}

/// How far a snapshot that comes from another node has come, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingBytes {
    /// Received.
    pub received: u64,
    /// About how many there will be.
    pub total: u64,
}

/// What a number that was given to [`GroupHandle::report_running`] stands for.
pub type NameWork = fn(usize) -> &'static str;

/// The owner's loop as the watchdog sees it. On a cache line of its own: the owner writes it at each command.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Turns {
    /// Turns since the start; 0: the owner reports none.
    count: AtomicU64,
    /// What the owner's thread runs, plus one; 0: nothing that it has told of.
    running: AtomicUsize,
    name: OnceLock<NameWork>,
    // Set by the watchdog.
    stuck: AtomicBool,
    fenced: AtomicU64,
    longest_ms: AtomicU64,
}

/// Stalls of an owner's loop since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoopStalls {
    /// How often a lease was closed because the loop did not turn.
    pub fenced: u64,
    /// The longest time without a turn, as far as the watchdog itself ran.
    pub longest: Duration,
    /// Whether the loop is stuck now.
    pub stuck: bool,
}

/// Everything that owner and driver share about one group.
#[derive(Debug)]
struct GroupShared {
    group: GroupId,
    committed: AtomicU64,
    role: ArcSwap<Role>,
    owner_wake: Notify,
    // Set by the owner.
    applied: AtomicU64,
    held_keys: AtomicU64,
    held_bytes: AtomicU64,
    ready: AtomicBool,
    serves_reads: AtomicBool,
    drained: AtomicBool,
    // The way from owner to driver.
    proposals: Mutex<VecDeque<Proposal>>,
    /// Wakes the proposer.
    proposed: Notify,
    /// Wakes the task that acts on what the owner reports.
    reported: Notify,
    draining: AtomicBool,
    /// `None` while no other clock is known.
    wall: ArcSwapOption<TrustedWall>,
    wall_state: AtomicU8,
    /// See [`GroupHandle::format`].
    format: AtomicU32,
    // Snapshots.
    own_snapshot: Mutex<Option<OwnSnapshot>>,
    installed: AtomicU64,
    incoming: Mutex<Option<IncomingBytes>>,
    turns: Turns,
    // What a follower has heard of its leader.
    heard_until: AtomicU64,
    leader_committed: AtomicU64,
    /// The owner has shown clients what is committed.
    served: AtomicBool,
    /// The owner wants a round of heartbeats now.
    round: AtomicBool,
}

/// The owner's side.
#[derive(Clone)]
pub struct GroupHandle {
    shared: Arc<GroupShared>,
    log: Arc<dyn CommittedLog>,
}

/// The driver's side: consensus itself, or a test that stands in for it.
#[derive(Clone, Debug)]
pub struct GroupDriver {
    shared: Arc<GroupShared>,
}

/// Makes both sides of one group. Indexes are Raft's; `LogIndex(0)` committed means that nothing is.
#[must_use]
pub fn group_pair(group: GroupId, log: Arc<dyn CommittedLog>) -> (GroupHandle, GroupDriver) {
    let shared = Arc::new(GroupShared {
        group,
        committed: AtomicU64::new(0),
        role: ArcSwap::from_pointee(Role::Follower { leader: None }),
        owner_wake: Notify::new(),
        applied: AtomicU64::new(0),
        held_keys: AtomicU64::new(0),
        held_bytes: AtomicU64::new(0),
        ready: AtomicBool::new(false),
        serves_reads: AtomicBool::new(false),
        drained: AtomicBool::new(false),
        proposals: Mutex::new(VecDeque::new()),
        proposed: Notify::new(),
        reported: Notify::new(),
        draining: AtomicBool::new(false),
        wall: ArcSwapOption::empty(),
        wall_state: AtomicU8::new(WallState::Fine as u8),
        format: AtomicU32::new(FormatLevel::CURRENT.0),
        own_snapshot: Mutex::new(None),
        installed: AtomicU64::new(0),
        incoming: Mutex::new(None),
        turns: Turns::default(),
        heard_until: AtomicU64::new(0),
        leader_committed: AtomicU64::new(0),
        served: AtomicBool::new(false),
        round: AtomicBool::new(false),
    });
    (GroupHandle { shared: shared.clone(), log }, GroupDriver { shared })
}

impl GroupHandle {
    /// The group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.shared.group
    }

    /// The newest committed index known here. Raft's first entry has an index of at least 1, 0 is "none": the
    /// driver shifts nothing, it initialises groups so that real entries start at 1 or later.
    #[must_use]
    pub fn committed(&self) -> LogIndex {
        LogIndex(self.shared.committed.load(Ordering::Acquire))
    }

    /// What this node is now.
    #[must_use]
    pub fn role(&self) -> arc_swap::Guard<Arc<Role>> {
        self.shared.role.load()
    }

    /// The level of forms that every member of the group understands, as far as this node has heard of them: what a
    /// higher level has introduced must not be written into the group's log or snapshots.
    #[must_use]
    pub fn format(&self) -> FormatLevel {
        FormatLevel(self.shared.format.load(Ordering::Acquire))
    }

    /// Resolves after `committed`, the role or the drain request has changed since the last call. One waiter.
    pub async fn changed(&self) {
        self.shared.owner_wake.notified().await;
    }

    /// Proposes a batch. Never waits; the owner bounds how many are open (`limits::BATCHES_IN_FLIGHT_MAX`).
    pub fn propose(&self, proposal: Proposal) {
        self.shared.proposals.lock().push_back(proposal);
        self.shared.proposed.notify_one();
    }

    /// Committed entries from memory; `None` if they must be read from disk with [`GroupHandle::read`].
    #[must_use]
    pub fn read_cached(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Option<Vec<Committed>> {
        self.log.read_cached(from, to, bytes_max)
    }

    /// Committed entries, from disk if need be.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Result<Vec<Committed>, ReadError> {
        self.log.read(from, to, bytes_max).await
    }

    /// Reports how far the owner has applied; purging and readiness go by it.
    pub fn report_applied(&self, index: LogIndex) {
        self.shared.applied.store(index.0, Ordering::Release);
    }

    /// How far the owner has reported that it has applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.shared.applied.load(Ordering::Acquire))
    }

    /// Whether the owner has reported that it could serve.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.shared.ready.load(Ordering::Acquire)
    }

    /// Whether the owner has reported that it serves clients that read from replicas.
    #[must_use]
    pub fn serves_reads(&self) -> bool {
        self.ready() && self.shared.serves_reads.load(Ordering::Acquire)
    }

    /// Reports how much memory holds, for whoever asks what this replica has. To be called before
    /// [`GroupHandle::report_applied`] of the position that it belongs to.
    pub fn report_held(&self, keys: u64, bytes: u64) {
        self.shared.held_keys.store(keys, Ordering::Relaxed);
        self.shared.held_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Reports whether the owner could serve as primary soon (restored and close to the committed index). A
    /// replica that is not ready does not campaign, and hands over if it leads.
    pub fn report_ready(&self, ready: bool) {
        if self.shared.ready.swap(ready, Ordering::AcqRel) != ready {
            self.shared.reported.notify_one();
        }
    }

    /// Reports whether clients that read from replicas are served: other nodes name this replica to clients only then.
    pub fn report_serves_reads(&self, serves: bool) {
        self.shared.serves_reads.store(serves, Ordering::Release);
    }

    /// Reports a new snapshot: it is what replicas that need it are sent from now on, and the log is purged as far as
    /// it says.
    pub fn report_snapshot(&self, snapshot: OwnSnapshot) {
        *self.shared.own_snapshot.lock() = Some(snapshot);
        self.shared.reported.notify_one();
    }

    /// Reports that the newest snapshot, if it is the one of `index`, was read back whole: the log up to it is no
    /// longer needed.
    pub fn release_log(&self, index: LogIndex) {
        let released = {
            let mut own = self.shared.own_snapshot.lock();
            match own.as_mut().filter(|own| own.index == index && own.purge_upto < index) {
                Some(own) => {
                    own.purge_upto = index;
                    true
                }
                None => false,
            }
        };
        if released {
            self.shared.reported.notify_one();
        }
    }

    /// The position of the newest snapshot that was installed from another node; 0: none was. An owner that has not
    /// applied as much must go on from that snapshot: what its log holds before is no longer to be read. To be asked
    /// **after** [`GroupHandle::committed`].
    #[must_use]
    pub fn installed(&self) -> LogIndex {
        LogIndex(self.shared.installed.load(Ordering::Acquire))
    }

    /// A snapshot that is being received.
    #[must_use]
    pub fn incoming(&self) -> Option<IncomingBytes> {
        *self.shared.incoming.lock()
    }

    /// Whether the driver wants the owner to drain for a hand-over.
    #[must_use]
    pub fn drain(&self) -> Drain {
        if self.shared.draining.load(Ordering::Acquire) { Drain::Requested } else { Drain::None }
    }

    /// Whether a reading of both clocks is near enough to the other nodes' clocks. Nothing may be staged with one that
    /// is not, and nothing that depends on the time be answered.
    #[must_use]
    pub fn check_wall(&self, wall: WallMs, boot: BootNs) -> ClockCheck {
        if Plant::ClockJumpTrusted.is_on() {
            return ClockCheck { offset_ms: 0, trusted: true };
        }
        let trusted = self.shared.wall.load();
        let is_fine = self.shared.wall_state.load(Ordering::Acquire) == WallState::Fine as u8;
        let unknown = ClockCheck { offset_ms: 0, trusted: is_fine };
        trusted.as_ref().map_or(unknown, |trusted| trusted.check(wall, boot))
    }

    /// Reports a turn of the owner's loop. From the first one on the watchdog expects more: a leader whose loop does
    /// not turn loses its lease. To be called at least once after each wake-up.
    #[inline]
    pub fn report_turn(&self) {
        self.shared.turns.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports what the owner's thread is about to run, by a number that `name` of [`GroupHandle::name_work`] knows;
    /// `None`: it has ended.
    #[inline]
    pub fn report_running(&self, work: Option<usize>) {
        self.shared.turns.running.store(work.map_or(0, |work| work + 1), Ordering::Relaxed);
    }

    /// How the watchdog's log names what is running.
    pub fn name_work(&self, name: NameWork) {
        // There is one owner.
        let _ = self.shared.turns.name.set(name);
    }

    /// For figures.
    #[must_use]
    pub fn stalls(&self) -> LoopStalls {
        let turns = &self.shared.turns;
        LoopStalls {
            fenced: turns.fenced.load(Ordering::Relaxed),
            longest: Duration::from_millis(turns.longest_ms.load(Ordering::Relaxed)),
            stuck: turns.stuck.load(Ordering::Relaxed),
        }
    }

    /// Whether this follower has heard, less than a lease ago, from a leader that a quorum hears. One that has not may
    /// be cut off: entries may have committed that it does not know of.
    #[must_use]
    pub fn hears_leader(&self, now: BootNs) -> bool {
        now.0 < self.shared.heard_until.load(Ordering::Acquire)
    }

    /// The newest position that a leader has reported as committed since this node started, itself under its own
    /// leadership: all that was acknowledged before it was asked lies up to there. `None`: none has yet.
    #[must_use]
    pub fn leader_committed(&self) -> Option<LogIndex> {
        let index = self.shared.leader_committed.load(Ordering::Acquire);
        (index > 0).then_some(LogIndex(index))
    }

    /// Asks for heartbeats out of turn: their answers move [`Lease::confirmed`].
    pub fn ask_quorum(&self) {
        self.shared.round.store(true, Ordering::Release);
        self.shared.reported.notify_one();
    }

    /// Reports that clients were shown what is committed here: after a restart this node goes on from there at least.
    pub fn report_served(&self) {
        self.shared.served.store(true, Ordering::Release);
        self.shared.reported.notify_one();
    }

    /// Reports that nothing staged is uncommitted any more and nothing new will be staged while draining.
    pub fn report_drained(&self, drained: bool) {
        if self.shared.drained.swap(drained, Ordering::AcqRel) != drained {
            self.shared.reported.notify_one();
        }
    }
}

impl std::fmt::Debug for GroupHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupHandle").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl GroupDriver {
    /// Publishes that everything up to `index` is committed.
    pub fn advance_committed(&self, index: LogIndex) {
        if self.shared.committed.fetch_max(index.0, Ordering::AcqRel) < index.0 {
            self.shared.owner_wake.notify_one();
        }
    }

    /// Publishes a change of role.
    pub fn set_role(&self, role: Role) {
        self.shared.role.store(Arc::new(role));
        self.shared.owner_wake.notify_one();
    }

    /// Wakes the owner without a change (for example after its lease was extended again).
    pub fn wake_owner(&self) {
        self.shared.owner_wake.notify_one();
    }

    /// Takes the oldest proposal that was not taken yet.
    #[must_use]
    pub fn next_proposal(&self) -> Option<Proposal> {
        self.shared.proposals.lock().pop_front()
    }

    /// Resolves after the owner has proposed something since the last call. One waiter.
    pub async fn proposed(&self) {
        self.shared.proposed.notified().await;
    }

    /// Resolves after the owner has reported something since the last call. One waiter. A proposal is no report.
    pub async fn reported(&self) {
        self.shared.reported.notified().await;
    }

    /// What was published as committed.
    #[must_use]
    pub fn committed(&self) -> LogIndex {
        LogIndex(self.shared.committed.load(Ordering::Acquire))
    }

    /// Publishes that a snapshot of `index` was installed: in that order the owner never takes what stood in its log
    /// before for committed.
    pub fn set_installed(&self, index: LogIndex) {
        self.shared.installed.fetch_max(index.0, Ordering::AcqRel);
        self.advance_committed(index);
    }

    /// What the owner has reported last.
    #[must_use]
    pub fn own_snapshot(&self) -> Option<OwnSnapshot> {
        *self.shared.own_snapshot.lock()
    }

    /// Publishes how far a snapshot has come that is being received.
    pub fn set_incoming(&self, incoming: Option<IncomingBytes>) {
        *self.shared.incoming.lock() = incoming;
    }

    /// Whether this node leads under a lease at `now`, and its owner has applied what earlier leaders committed: what
    /// it knows is the newest that was ever acknowledged.
    #[must_use]
    pub fn is_authority(&self, now: BootNs) -> bool {
        match &**self.shared.role.load() {
            Role::Leader { lease, first } => lease.holds(now) && self.applied() >= *first,
            Role::Follower { .. } | Role::Stopped { .. } => false,
        }
    }

    /// Publishes that a leader that a quorum hears was heard: see [`GroupHandle::hears_leader`].
    pub fn set_heard_until(&self, until: BootNs) {
        self.shared.heard_until.fetch_max(until.0, Ordering::AcqRel);
    }

    /// Publishes what a leader reports as committed: see [`GroupHandle::leader_committed`].
    pub fn set_leader_committed(&self, index: LogIndex) {
        if self.shared.leader_committed.fetch_max(index.0, Ordering::AcqRel) == 0 {
            self.shared.owner_wake.notify_one();
        }
    }

    /// Whether the owner has asked for heartbeats out of turn since the last call.
    #[must_use]
    pub fn take_round(&self) -> bool {
        self.shared.round.swap(false, Ordering::AcqRel)
    }

    /// Whether the owner has shown clients anything since the last call.
    #[must_use]
    pub fn take_served(&self) -> bool {
        self.shared.served.swap(false, Ordering::AcqRel)
    }

    /// The owner's applied position.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.shared.applied.load(Ordering::Acquire))
    }

    /// What the owner has reported of its memory.
    #[must_use]
    pub fn holding(&self) -> Holding {
        Holding {
            index: self.applied(),
            keys: self.shared.held_keys.load(Ordering::Relaxed),
            bytes: self.shared.held_bytes.load(Ordering::Relaxed),
            snapshot: self.own_snapshot().map_or(LogIndex(0), |snapshot| snapshot.index),
        }
    }

    /// Whether the owner could serve: it says so, and its loop turns.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.shared.ready.load(Ordering::Acquire) && !self.is_stuck()
    }

    /// Whether clients that read from this replica are served.
    #[must_use]
    pub fn serves_reads(&self) -> bool {
        self.ready() && self.shared.serves_reads.load(Ordering::Acquire)
    }

    /// Turns of the owner's loop since its start; 0: it reports none.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.shared.turns.count.load(Ordering::Relaxed)
    }

    /// What the owner's thread runs, as far as it has told.
    #[must_use]
    pub fn running(&self) -> Option<&'static str> {
        let turns = &self.shared.turns;
        let work = turns.running.load(Ordering::Relaxed).checked_sub(1)?;
        turns.name.get().map(|name| name(work))
    }

    /// Publishes for how long the owner's loop has not turned, and whether it counts as stuck.
    pub fn set_stall(&self, stalled: Duration, stuck: bool) {
        let turns = &self.shared.turns;
        turns.longest_ms.fetch_max(stalled.as_millis() as u64, Ordering::Relaxed);
        if turns.stuck.swap(stuck, Ordering::AcqRel) != stuck {
            self.shared.reported.notify_one();
        }
    }

    /// Counts a lease that was closed because the loop did not turn.
    pub fn count_fenced(&self) {
        self.shared.turns.fenced.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the owner's loop does not turn.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.shared.turns.stuck.load(Ordering::Acquire)
    }

    /// Publishes what the owner's readings of the wall clock are checked against, and what is known of this node's
    /// clock.
    pub fn set_wall(&self, trusted: Option<TrustedWall>, state: WallState) {
        if self.shared.wall.load().as_deref().copied() != trusted {
            self.shared.wall.store(trusted.map(Arc::new));
        }
        if self.shared.wall_state.swap(state as u8, Ordering::AcqRel) != state as u8 {
            self.shared.owner_wake.notify_one();
        }
    }

    /// What [`GroupHandle::format`] says.
    #[must_use]
    pub fn format(&self) -> FormatLevel {
        FormatLevel(self.shared.format.load(Ordering::Acquire))
    }

    /// Publishes the level that every member understands.
    pub fn set_format(&self, format: FormatLevel) {
        if self.shared.format.swap(format.0, Ordering::AcqRel) != format.0 {
            self.shared.owner_wake.notify_one();
        }
    }

    /// Whether this node's wall clock is too far off for it to serve as primary.
    #[must_use]
    pub fn wall_off(&self) -> bool {
        self.shared.wall_state.load(Ordering::Acquire) == WallState::Off as u8
    }

    /// Whether leadership may be handed to this node.
    #[must_use]
    pub fn fit(&self) -> bool {
        self.ready() && self.shared.wall_state.load(Ordering::Acquire) == WallState::Fine as u8
    }

    /// Asks the owner to drain, or to go on serving.
    pub fn set_drain(&self, requested: bool) {
        self.shared.drained.store(false, Ordering::Release);
        self.shared.draining.store(requested, Ordering::Release);
        self.shared.owner_wake.notify_one();
    }

    /// Whether the owner has drained.
    #[must_use]
    pub fn drained(&self) -> bool {
        self.shared.drained.load(Ordering::Acquire)
    }
}

#[cfg(test)]
#[path = "handle_tests.rs"]
mod tests;

//! The interface between one Raft group and the owner of its data: a shard's loop or the control plane.
//!
//! The owner never awaits consensus. It proposes into a queue, and gets commits and roles from atomics and one
//! notification. Consensus never awaits the owner: "applied" is the owner's own position, which it reports. Each
//! notification has one waiter, so nobody is woken for what concerns another task: a proposal wakes the proposer, a
//! report the supervising task (`group/driver.rs`), a commit or a role the owner.
//!
//! Ordering rules:
//! - `committed` never decreases, and an entry at or below it never changes.
//! - A [`Lease`] belongs to one epoch. A closed lease is never opened again; a new epoch has a new one.
//! - The owner proposes the batches of one epoch in the order of their sequence. They enter the log in that order and
//!   without holes; from some batch on they may all be dropped (`group/proposer.rs` proposes one at a time until it is
//!   accepted).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use fastness_events::Events;
use fastness_types::{BootNs, Epoch, FormatLevel, GroupId, LogIndex, NodeId, Plant, Seq, WallMs};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::group::freshness::{Freshness, Proof};

pub use crate::group::committed::{Committed, CommittedLog, EntryPayload, ReadError};
use crate::lease::clocks::{ClockCheck, TrustedWall, WallState};
pub use crate::lease::deadline::Lease;

/// What this node is in the group.
#[derive(Debug, Clone)]
pub enum Role {
    /// Leader of `lease.epoch()`. It may act once its first entry is applied and while the lease is held.
    Leader {
        /// The epoch's lease.
        lease: Arc<Lease>,
        /// Index of the epoch's first entry (its blank).
        first: LogIndex,
    },
    /// Follower, learner or candidate.
    Follower {
        /// The leader that it follows, if known. Clients are redirected there.
        leader: Option<NodeId>,
    },
    /// The group was shut down or met a fatal error. Nothing is served any more.
    Stopped {
        /// Why it stopped, for the log and `INFO`.
        reason: Arc<str>,
    },
}

/// The effects of one iteration of the loop, which become one log entry.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The epoch in which the batch was staged. Refused in any other.
    pub epoch: Epoch,
    /// Its sequence number in the epoch. Also part of `payload`, which consensus does not read.
    pub seq: Seq,
    /// The encoded batch.
    pub payload: Bytes,
}

/// What consensus requests of the owner before a hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Serve as usual.
    None,
    /// Hold commands back at the front end, propose what is staged, and report when all of it is committed.
    Requested,
}

/// A snapshot of the owner, on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnSnapshot {
    /// Its position: the newest entry that it covers.
    pub index: LogIndex,
    /// The epoch of the entry there.
    pub epoch: Epoch,
    /// The log is no longer needed up to here: the position of an older snapshot, or 0.
    pub purge_upto: LogIndex,
}

/// What a replica has in memory, as its owner reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holding {
    /// Position up to which snapshot and log are in memory.
    pub index: LogIndex,
    /// Number of keys.
    pub keys: u64,
    /// Bytes of the keys' data.
    pub bytes: u64,
    /// The position of the replica's newest snapshot; 0 if none.
    pub snapshot: LogIndex,
}

/// Progress of a snapshot that is received from another node, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncomingBytes {
    /// Bytes received.
    pub received: u64,
    /// Approximate size of the snapshot.
    pub total: u64,
}

/// The owner's loop, as the watchdog sees it. On a cache line of its own, because the owner writes it for each command.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Turns {
    /// Iterations since the start; 0 if the owner does not report them.
    count: AtomicU64,
    /// What the owner's thread runs, plus one; 0 if it has reported nothing.
    running: AtomicUsize,
    names: OnceLock<Box<[&'static str]>>,
    // Set by the watchdog.
    stuck: AtomicBool,
    fenced: AtomicU64,
    longest_ms: AtomicU64,
}

/// Stalls of an owner's loop since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoopStalls {
    /// How often a lease was closed because the loop was stuck.
    pub fenced: u64,
    /// The longest time without an iteration, not counting time in which the watchdog itself did not run.
    pub longest: Duration,
    /// Whether the loop is stuck now.
    pub stuck: bool,
}

/// Notifies of changes of the applied position. Any number of followers; the owner never waits for them.
#[derive(Debug)]
pub struct AppliedMoves(watch::Receiver<()>);

impl AppliedMoves {
    /// Resolves after the applied position has changed since the last call. A change at the moment of the first call
    /// may be missed, so callers check the position from time to time as well.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The group is gone: nothing changes any more.
            std::future::pending::<()>().await;
        }
    }
}

/// The state of one group that owner and consensus share.
#[derive(Debug)]
struct GroupShared {
    group: GroupId,
    events: Events,
    /// The last log position when the process started.
    stored_at_start: AtomicU64,
    committed: AtomicU64,
    role: ArcSwap<Role>,
    owner_wake: Notify,
    // Set by the owner.
    applied: AtomicU64,
    /// Notifies whoever follows the applied position.
    applied_moved: watch::Sender<()>,
    held_keys: AtomicU64,
    held_bytes: AtomicU64,
    ready: AtomicBool,
    serves_reads: AtomicBool,
    drained: AtomicBool,
    // From the owner to consensus.
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
    /// Bytes of log that are kept beyond what a restore needs, and up to where they need not be.
    kept_bytes: AtomicU64,
    released: AtomicU64,
    installed: AtomicU64,
    incoming: Mutex<Option<IncomingBytes>>,
    turns: Turns,
    // What a follower has learned from its leader.
    heard_until: AtomicU64,
    leader_committed: AtomicU64,
    freshness: Mutex<Freshness>,
    /// The owner has shown the committed state to clients.
    served: AtomicBool,
    /// The owner has requested a heartbeat before the next interval.
    round: AtomicBool,
}

/// The owner's side of a group.
#[derive(Clone)]
pub struct GroupHandle {
    shared: Arc<GroupShared>,
    log: Arc<dyn CommittedLog>,
}

/// Consensus' side of a group, or that of a test that replaces consensus.
#[derive(Clone, Debug)]
pub struct GroupDriver {
    shared: Arc<GroupShared>,
}

/// Creates both sides of one group.
#[must_use]
pub fn group_pair(group: GroupId, log: Arc<dyn CommittedLog>, events: Events) -> (GroupHandle, GroupDriver) {
    let shared = Arc::new(GroupShared {
        group,
        events,
        stored_at_start: AtomicU64::new(0),
        committed: AtomicU64::new(0),
        role: ArcSwap::from_pointee(Role::Follower { leader: None }),
        owner_wake: Notify::new(),
        applied: AtomicU64::new(0),
        applied_moved: watch::Sender::new(()),
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
        kept_bytes: AtomicU64::new(0),
        released: AtomicU64::new(0),
        installed: AtomicU64::new(0),
        incoming: Mutex::new(None),
        turns: Turns::default(),
        heard_until: AtomicU64::new(0),
        leader_committed: AtomicU64::new(0),
        freshness: Mutex::default(),
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

    /// Where to record what happens to the group.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// Whether an entry was in this node's log when the process started: applying it repeats what happened before.
    #[must_use]
    pub fn is_replayed(&self, index: LogIndex) -> bool {
        index.0 <= self.shared.stored_at_start.load(Ordering::Acquire)
    }

    /// The newest committed index known here; 0 if none. Groups are initialised such that real entries have an index of
    /// at least 1.
    #[must_use]
    pub fn committed(&self) -> LogIndex {
        LogIndex(self.shared.committed.load(Ordering::Acquire))
    }

    /// The current role of this node.
    #[must_use]
    pub fn role(&self) -> arc_swap::Guard<Arc<Role>> {
        self.shared.role.load()
    }

    /// The format level that every member of the group understands, as far as this node knows. What a higher level has
    /// introduced must not be written to the group's log or snapshots.
    #[must_use]
    pub fn format(&self) -> FormatLevel {
        FormatLevel(self.shared.format.load(Ordering::Acquire))
    }

    /// Resolves after a change of `committed`, the role or the drain request since the last call. One waiter.
    pub async fn changed(&self) {
        self.shared.owner_wake.notified().await;
    }

    /// Proposes a batch. Never waits. The owner bounds the number of uncommitted batches
    /// (`limits::BATCHES_IN_FLIGHT_MAX`).
    pub fn propose(&self, proposal: Proposal) {
        self.shared.proposals.lock().push_back(proposal);
        self.shared.proposed.notify_one();
    }

    /// Committed entries from memory; `None` if they have to be read from disk with [`GroupHandle::read`].
    #[must_use]
    pub fn read_cached(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Option<Vec<Committed>> {
        self.log.read_cached(from, to, bytes_max)
    }

    /// Committed entries, from disk if necessary.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&self, from: LogIndex, to: LogIndex, bytes_max: usize) -> Result<Vec<Committed>, ReadError> {
        self.log.read(from, to, bytes_max).await
    }

    /// Reports the owner's applied position. Purging and readiness depend on it.
    pub fn report_applied(&self, index: LogIndex) {
        let moved = self.shared.applied.swap(index.0, Ordering::AcqRel) != index.0;
        // Usually nobody follows.
        if moved && self.shared.applied_moved.receiver_count() > 0 {
            self.shared.applied_moved.send_replace(());
        }
    }

    /// Follows the applied position.
    #[must_use]
    pub fn follow_applied(&self) -> AppliedMoves {
        AppliedMoves(self.shared.applied_moved.subscribe())
    }

    /// The applied position that the owner has reported.
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

    /// Reports how much data is in memory. Must be called before the [`GroupHandle::report_applied`] of the
    /// corresponding position.
    pub fn report_held(&self, keys: u64, bytes: u64) {
        self.shared.held_keys.store(keys, Ordering::Relaxed);
        self.shared.held_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Reports whether the owner could soon serve as primary: it has restored and is close to the committed index. A
    /// replica that is not ready does not campaign, and hands over leadership if it has it.
    pub fn report_ready(&self, ready: bool) {
        if self.shared.ready.swap(ready, Ordering::AcqRel) != ready {
            self.shared.reported.notify_one();
        }
    }

    /// Reports whether the owner serves clients that read from replicas. Only then do other nodes direct clients to
    /// this replica.
    pub fn report_serves_reads(&self, serves: bool) {
        self.shared.serves_reads.store(serves, Ordering::Release);
    }

    /// Reports a new snapshot. From now on replicas that need a snapshot get this one, and the log is purged as far as
    /// it allows.
    pub fn report_snapshot(&self, snapshot: OwnSnapshot) {
        *self.shared.own_snapshot.lock() = Some(snapshot);
        self.shared.reported.notify_one();
    }

    /// Sets how many bytes of log are kept in any case, for watchers. 0: no more than a restore needs.
    pub fn keep_log(&self, bytes: u64) {
        self.shared.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Reports that the newest snapshot, if it is the one of `index`, was read back completely: the log up to it is no
    /// longer needed, and must give way whatever [`GroupHandle::keep_log`] says.
    pub fn release_log(&self, index: LogIndex) {
        self.shared.released.fetch_max(index.0, Ordering::AcqRel);
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

    /// The position of the newest snapshot that was installed from another node; 0 if none. An owner that has not
    /// applied that position must restore from that snapshot, and must not read the log before it. Must be read
    /// **after** [`GroupHandle::committed`].
    #[must_use]
    pub fn installed(&self) -> LogIndex {
        LogIndex(self.shared.installed.load(Ordering::Acquire))
    }

    /// Progress of a snapshot that is being received.
    #[must_use]
    pub fn incoming(&self) -> Option<IncomingBytes> {
        *self.shared.incoming.lock()
    }

    /// Whether the owner has to drain for a hand-over.
    #[must_use]
    pub fn drain(&self) -> Drain {
        if self.shared.draining.load(Ordering::Acquire) { Drain::Requested } else { Drain::None }
    }

    /// Whether a reading of both clocks is close enough to the other nodes' clocks. With one that is not, nothing may
    /// be staged, and nothing that depends on the time may be answered.
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

    /// Reports an iteration of the owner's loop, at least once after each wake-up. From the first report on the
    /// watchdog expects more: a leader whose loop stops iterating loses its lease.
    #[inline]
    pub fn report_turn(&self) {
        self.shared.turns.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Reports what the owner's thread is about to run, as an index of the list that [`GroupHandle::name_work`] was
    /// given. `None` when it has ended.
    #[inline]
    pub fn report_running(&self, work: Option<usize>) {
        self.shared.turns.running.store(work.map_or(0, |work| work + 1), Ordering::Relaxed);
    }

    /// Sets the names by which the watchdog logs what is running.
    pub fn name_work(&self, names: impl IntoIterator<Item = &'static str>) {
        // Set once: there is one owner.
        let _ = self.shared.turns.names.set(names.into_iter().collect());
    }

    /// Stalls of the owner's loop, for metrics.
    #[must_use]
    pub fn stalls(&self) -> LoopStalls {
        let turns = &self.shared.turns;
        LoopStalls {
            fenced: turns.fenced.load(Ordering::Relaxed),
            longest: Duration::from_millis(turns.longest_ms.load(Ordering::Relaxed)),
            stuck: turns.stuck.load(Ordering::Relaxed),
        }
    }

    /// Whether this follower was in contact, less than a lease ago, with a leader that a quorum answers. If not, it may
    /// be cut off, and entries may have committed that it does not know.
    #[must_use]
    pub fn hears_leader(&self, now: BootNs) -> bool {
        now.0 < self.shared.heard_until.load(Ordering::Acquire)
    }

    /// The newest committed position that a leader has reported since this node started, or its own under its own
    /// leadership. Everything that was acknowledged before that report is at or before it. `None` if no leader has
    /// reported yet.
    #[must_use]
    pub fn leader_committed(&self) -> Option<LogIndex> {
        let index = self.shared.leader_committed.load(Ordering::Acquire);
        (index > 0).then_some(LogIndex(index))
    }

    /// The newest moment for which it is known that a replica at `applied` has everything that was acknowledged before
    /// it; 0: none.
    #[must_use]
    pub fn fresh_as_of(&self, applied: LogIndex) -> BootNs {
        self.shared.freshness.lock().as_of(applied)
    }

    /// Requests a heartbeat before the next interval. The answers advance [`Lease::confirmed`].
    pub fn request_confirmation(&self) {
        self.shared.round.store(true, Ordering::Release);
        self.shared.reported.notify_one();
    }

    /// Reports that clients have seen the committed state. After a restart this node resumes at this position or later.
    pub fn report_served(&self) {
        self.shared.served.store(true, Ordering::Release);
        self.shared.reported.notify_one();
    }

    /// Reports whether the owner has drained: nothing staged is uncommitted, and nothing is staged until the drain
    /// ends.
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
    /// Where to record what happens to the group.
    #[must_use]
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// Sets the last log position when the process started.
    pub fn set_stored_at_start(&self, index: LogIndex) {
        self.shared.stored_at_start.store(index.0, Ordering::Release);
    }

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

    /// Wakes the owner without a change, for example after its lease was extended again.
    pub fn wake_owner(&self) {
        self.shared.owner_wake.notify_one();
    }

    /// Removes and returns the oldest proposal.
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

    /// The published committed index.
    #[must_use]
    pub fn committed(&self) -> LogIndex {
        LogIndex(self.shared.committed.load(Ordering::Acquire))
    }

    /// Publishes that a snapshot of `index` was installed. It is published before the commit, so that the owner never
    /// takes earlier entries of its log for committed ones.
    pub fn set_installed(&self, index: LogIndex) {
        self.shared.installed.fetch_max(index.0, Ordering::AcqRel);
        self.advance_committed(index);
    }

    /// The newest snapshot that the owner has reported.
    #[must_use]
    pub fn own_snapshot(&self) -> Option<OwnSnapshot> {
        *self.shared.own_snapshot.lock()
    }

    /// Bytes of log that must stay when it is purged up to `upto`; 0: none.
    #[must_use]
    pub fn kept_bytes(&self, upto: LogIndex) -> u64 {
        let released = self.shared.released.load(Ordering::Acquire) >= upto.0;
        if released { 0 } else { self.shared.kept_bytes.load(Ordering::Relaxed) }
    }

    /// Publishes the progress of a snapshot that is being received.
    pub fn set_incoming(&self, incoming: Option<IncomingBytes>) {
        *self.shared.incoming.lock() = incoming;
    }

    /// Whether this node leads under a lease at `now` and its owner has applied what earlier leaders committed. Then
    /// its state includes everything that was ever acknowledged.
    #[must_use]
    pub fn is_authority(&self, now: BootNs) -> bool {
        match &**self.shared.role.load() {
            Role::Leader { lease, first } => lease.holds(now) && self.applied() >= *first,
            Role::Follower { .. } | Role::Stopped { .. } => false,
        }
    }

    /// The committed position of an authority (see [`GroupDriver::is_authority`]): it covers everything that was
    /// acknowledged by any node before `now`.
    #[must_use]
    pub fn authoritative(&self, now: BootNs) -> Option<LogIndex> {
        // In this order: what is committed meanwhile only makes the position newer.
        self.is_authority(now).then(|| self.committed())
    }

    /// Publishes that everything which was acknowledged before `at`, on this node's boot clock, is at or before
    /// `committed`.
    pub fn prove(&self, committed: LogIndex, at: BootNs) {
        self.shared.freshness.lock().add(Proof { committed, at }, self.applied());
    }

    /// Publishes contact with a leader that a quorum answers: see [`GroupHandle::hears_leader`].
    pub fn set_heard_until(&self, until: BootNs) {
        self.shared.heard_until.fetch_max(until.0, Ordering::AcqRel);
    }

    /// Publishes the committed position that a leader reports: see [`GroupHandle::leader_committed`].
    pub fn set_leader_committed(&self, index: LogIndex) {
        if self.shared.leader_committed.fetch_max(index.0, Ordering::AcqRel) == 0 {
            self.shared.owner_wake.notify_one();
        }
    }

    /// Whether the owner has requested a heartbeat since the last call.
    #[must_use]
    pub fn take_round(&self) -> bool {
        self.shared.round.swap(false, Ordering::AcqRel)
    }

    /// Whether the owner has shown the committed state to clients since the last call.
    #[must_use]
    pub fn take_served(&self) -> bool {
        self.shared.served.swap(false, Ordering::AcqRel)
    }

    /// The owner's applied position.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        LogIndex(self.shared.applied.load(Ordering::Acquire))
    }

    /// What the owner has reported about its memory.
    #[must_use]
    pub fn holding(&self) -> Holding {
        Holding {
            index: self.applied(),
            keys: self.shared.held_keys.load(Ordering::Relaxed),
            bytes: self.shared.held_bytes.load(Ordering::Relaxed),
            snapshot: self.own_snapshot().map_or(LogIndex(0), |snapshot| snapshot.index),
        }
    }

    /// Whether the owner could serve: it reports so, and its loop is not stuck.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.shared.ready.load(Ordering::Acquire) && !self.is_stuck()
    }

    /// Whether clients that read from this replica are served.
    #[must_use]
    pub fn serves_reads(&self) -> bool {
        self.ready() && self.shared.serves_reads.load(Ordering::Acquire)
    }

    /// Iterations of the owner's loop since its start; 0 if it does not report them.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.shared.turns.count.load(Ordering::Relaxed)
    }

    /// What the owner's thread runs, if it reports that.
    #[must_use]
    pub fn running(&self) -> Option<&'static str> {
        let turns = &self.shared.turns;
        let work = turns.running.load(Ordering::Relaxed).checked_sub(1)?;
        turns.names.get()?.get(work).copied()
    }

    /// Publishes the length of the loop's stall, and whether the loop counts as stuck.
    pub fn set_stall(&self, stalled: Duration, stuck: bool) {
        let turns = &self.shared.turns;
        turns.longest_ms.fetch_max(stalled.as_millis() as u64, Ordering::Relaxed);
        if turns.stuck.swap(stuck, Ordering::AcqRel) != stuck {
            self.shared.reported.notify_one();
        }
    }

    /// Counts a lease that was closed because the loop was stuck.
    pub fn count_fenced(&self) {
        self.shared.turns.fenced.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the owner's loop is stuck.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.shared.turns.stuck.load(Ordering::Acquire)
    }

    /// Publishes what the owner's readings of the wall clock are checked against, and the state of this node's wall
    /// clock.
    pub fn set_wall(&self, trusted: Option<TrustedWall>, state: WallState) {
        if self.shared.wall.load().as_deref().copied() != trusted {
            self.shared.wall.store(trusted.map(Arc::new));
        }
        if self.shared.wall_state.swap(state as u8, Ordering::AcqRel) != state as u8 {
            self.shared.owner_wake.notify_one();
        }
    }

    /// See [`GroupHandle::format`].
    #[must_use]
    pub fn format(&self) -> FormatLevel {
        FormatLevel(self.shared.format.load(Ordering::Acquire))
    }

    /// Publishes the format level that every member understands.
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

    /// Whether this node may become leader by a hand-over.
    #[must_use]
    pub fn fit(&self) -> bool {
        self.ready() && self.shared.wall_state.load(Ordering::Acquire) == WallState::Fine as u8
    }

    /// Requests the owner to drain, or to resume serving.
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

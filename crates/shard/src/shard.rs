//! The handle that front ends hold: cheap to clone, bound to the loop's thread.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_engine::Digest;
use fastness_resp::{Args, ReplyBuf};
use fastness_types::{BootNs, Clock, Durability, LogIndex, WallMs};
use tokio::sync::{Notify, oneshot};

use crate::client_override::{DurabilityOverride, ReadConfirmation};
use crate::digest::DigestResult;
use crate::front_end::{Call, FrontEnd};
use crate::info::ShardInfo;
use crate::lag_bound::DesiredLagBound;
use crate::memory::{ClientShare, MemoryUse};
use crate::mode::DesiredMode;
use crate::options::{Pause, ShardOptions, StableCopies};
use crate::outcome::{Outcome, PendingReply, Release, WaitAnswer, WaitRequest};
use crate::release::{Released, Waiter};
use crate::session::{Session, WaitsFor};
use crate::state::{Now, State};

/// How long a reading of the wall clock serves: the clock counts whole milliseconds.
const WALL_FRESH: Duration = Duration::from_micros(500);
/// How often a command that was answered [`Outcome::Busy`] looks again when nobody wakes it.
const BUSY_LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the shard's handles and its loop share.
pub(crate) struct Inner {
    pub(crate) state: RefCell<State>,
    pub(crate) handle: GroupHandle,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pause: Rc<dyn Pause>,
    pub(crate) copies: Rc<dyn StableCopies>,
    /// Wakes the loop: something was staged.
    pub(crate) work: Notify,
    /// Wakes those who were told that the shard is busy.
    pub(crate) unblocked: Notify,
    /// Wakes those who wait for a primary.
    pub(crate) primary_found: Notify,
    /// The newest reading of the wall clock: when, what, and whether it is near the other nodes'.
    wall: Cell<(BootNs, WallMs, bool)>,
}

impl Inner {
    /// Both clocks; the boot clock is read anew each time, since leases are compared with it.
    #[inline]
    pub(crate) fn now(&self) -> Now {
        let boot = self.clock.boot();
        let (read, wall, trusted) = self.wall.get();
        if boot.since(read) < WALL_FRESH && read <= boot && read != BootNs(0) {
            return Now { boot, wall, trusted };
        }
        let wall = self.clock.wall();
        let trusted = self.handle.check_wall(wall, boot).trusted;
        self.wall.set((boot, wall, trusted));
        Now { boot, wall, trusted }
    }
}

/// One shard replica. Not `Send`: everything happens on the loop's thread.
#[derive(Clone)]
pub struct Shard {
    pub(crate) inner: Rc<Inner>,
}

/// Why there is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Memory holds effects that have not committed.
    #[error("effects are staged that have not committed")]
    Open,
    /// Memory is being restored, or the replica has stopped.
    #[error("the data is not there")]
    NotServing,
}

impl Shard {
    /// Makes a shard replica and its loop, to be spawned on the same thread (a `LocalSet`). The loop ends when the
    /// group has stopped or a fatal error was met; [`ShardInfo::stopped`] then says why.
    pub fn start(options: ShardOptions, handle: GroupHandle) -> (Shard, impl Future<Output = ()> + 'static) {
        let inner = Rc::new(Inner {
            state: RefCell::new(State::new(&options)),
            handle,
            clock: options.clock,
            pause: options.pause,
            copies: options.copies,
            work: Notify::new(),
            unblocked: Notify::new(),
            primary_found: Notify::new(),
            wall: Cell::new((BootNs(0), WallMs(0), true)),
        });
        (Shard { inner: inner.clone() }, crate::turn::run(inner))
    }

    /// A new connection's state.
    #[must_use]
    pub fn session(&self) -> Session {
        let mut state = self.inner.state.borrow_mut();
        state.tokens += 1;
        Session {
            data: fastness_engine::TransactionState::new(state.tokens),
            queued: Default::default(),
            watched_in: 0,
            written: None,
            waits_for: WaitsFor::Shard,
            slowed_until: None,
            tried_at: None,
            kept_gate: None,
            no_touch: false,
            durability_override: DurabilityOverride::Default,
            reads: ReadConfirmation::Default,
            waiter: Rc::new(Waiter::default()),
            shard: Rc::downgrade(&self.inner),
        }
    }

    /// Reads both clocks, for [`Shard::call`].
    #[must_use]
    pub fn now(&self) -> Now {
        self.inner.now()
    }

    /// A parsed command. `at` is what the lease is compared with and must have been read **after** the command's bytes
    /// were: a command that has arrived before the lease was seen to hold is ordered at that point. Commands that
    /// arrived together may share it, if nothing is awaited between them.
    #[must_use]
    pub fn call<'a>(&self, args: Args<'a>, at: Now) -> Call<'a> {
        Call { args, at, first: None, durability_override: None, reads: None }
    }

    /// Runs one command of one session. The reply is appended to `out`. Never waits.
    pub fn run(
        &self,
        session: &mut Session,
        call: Call<'_>,
        out: &mut ReplyBuf,
        front_end: &mut dyn FrontEnd,
    ) -> Outcome {
        let outcome = crate::dispatch::run(&self.inner, session, call, out, front_end);
        self.inner.handle.report_running(None);
        outcome
    }

    /// Whether a held reply may leave now. To be asked when the reply is about to be flushed. After
    /// [`Release::Unknown`] the caller sends [`PendingReply::unknown_text`] as an error in the reply's place (or
    /// closes).
    #[must_use]
    pub fn release(&self, pending: PendingReply) -> Release {
        let now = self.inner.clock.boot();
        let leave = self.inner.state.borrow().release(pending, now);
        if leave == Release::Unknown {
            self.inner.state.borrow_mut().counters.unknown_replies += 1;
        }
        leave
    }

    /// Resolves when [`Shard::release`] no longer says [`Release::Wait`] for `hold`. One waiter per session; to be
    /// awaited for the session's oldest held reply.
    #[must_use]
    pub fn wait_released(&self, session: &Session, pending: PendingReply) -> Released {
        Released { inner: self.inner.clone(), waiter: session.waiter.clone(), pending }
    }

    /// The session's commands meet the lag gate as it is now, until [`Session::release_gate`]: what has arrived
    /// together gets one answer though turns of the loop lie between. To be called in the turn in which the first of
    /// them ran.
    ///
    /// An open gate is not kept beyond the byte bound of open effects (`limits::OPEN_EFFECT_BYTES_MAX`).
    pub fn keep_gate(&self, session: &mut Session) {
        session.kept_gate.get_or_insert_with(|| self.inner.state.borrow().gate.is_shut());
    }

    /// Whether so many effects are open that front ends should stop reading from connections that write.
    #[must_use]
    pub fn write_pressure(&self) -> bool {
        self.inner.state.borrow().is_pressed()
    }

    /// Resolves when a command that was answered [`Outcome::Busy`] may be tried again.
    pub async fn unblocked(&self) {
        loop {
            let woken = self.inner.unblocked.notified();
            if !self.is_busy() {
                return;
            }
            // Looks again by itself: a lease that runs out ends the wait too, and nobody tells.
            tokio::select! {
                biased;
                () = woken => {}
                () = self.inner.pause.pause(BUSY_LOOK_EVERY) => {}
            }
        }
    }

    /// Resolves when a command that waits for [`WaitsFor::Primary`] may be tried again: a primary is known, here or
    /// elsewhere, or the time is over.
    pub async fn primary_found(&self, until: BootNs) {
        let left = until.since(self.inner.clock.boot());
        if left.is_zero() {
            return;
        }
        let mut over = self.inner.pause.pause(left);
        loop {
            let woken = self.inner.primary_found.notified();
            if !self.inner.state.borrow().lacks_primary(self.inner.clock.boot()) {
                return;
            }
            tokio::select! {
                biased;
                () = woken => {}
                () = &mut over => return,
            }
        }
    }

    /// How long commands wait for a primary while none is known; zero: they are refused at once.
    pub fn set_lease_wait_max(&self, span: Duration) {
        self.inner.state.borrow_mut().lease_wait_max = span;
    }

    /// Resolves when a write that the lag gate has slowed may be tried again: less than 250 ms from then.
    pub async fn slowed(&self, until: BootNs) {
        let left = until.since(self.inner.clock.boot());
        if !left.is_zero() {
            self.inner.pause.pause(left).await;
        }
    }

    /// The mode that the operator desired states, by the cluster's map: staged by this replica if it leads and the log
    /// has an older desired state. [`ShardInfo::mode_version`] tells what has committed.
    pub fn set_desired_mode(&self, desired: DesiredMode) {
        if self.inner.state.borrow_mut().mode.desired(desired) {
            self.inner.work.notify_one();
        }
    }

    /// Cuts a snapshot as soon as can be; one that is being written is finished before. False if this replica has no
    /// place for snapshots. [`crate::SnapshotInfo`] tells how far it is.
    pub fn snapshot(&self) -> bool {
        let mut state = self.inner.state.borrow_mut();
        state.snapshots.want();
        self.inner.work.notify_one();
        state.snapshots.are_there()
    }

    /// After how many bytes of log a snapshot is cut; 0: only when asked for.
    pub fn set_snapshot_log_bytes(&self, bytes: u64) {
        if self.inner.state.borrow_mut().snapshots.set_every(bytes) {
            self.inner.work.notify_one();
        }
    }

    /// After how many bytes of log a snapshot is cut whatever else is said: this shard's share of the node's disk.
    pub fn set_log_share(&self, bytes: u64) {
        if self.inner.state.borrow_mut().snapshots.set_share(bytes) {
            self.inner.work.notify_one();
        }
    }

    /// The mode in force, and the version of the newest desired state that has committed here (0: none).
    #[must_use]
    pub fn mode(&self) -> (Durability, u64) {
        let state = self.inner.state.borrow();
        (state.mode.in_force(), state.mode.version())
    }

    /// The durability lag at which `async` refuses writes, as this node's config has it: it counts until the log says
    /// something ([`Shard::set_desired_lag_bound`]).
    pub fn set_max_lag(&self, bound: Duration) {
        self.set_desired_lag_bound(DesiredLagBound { bound, version: 0 });
    }

    /// The bound that the operator desired states, by the cluster's map: staged by this replica if it leads and the log
    /// has an older desired state. [`Shard::max_lag`] tells what has committed.
    pub fn set_desired_lag_bound(&self, desired: DesiredLagBound) {
        let mut state = self.inner.state.borrow_mut();
        if state.lag_bound.desired(desired) {
            let bound = state.lag_bound.in_force();
            state.gate.set_bound(bound);
            self.inner.work.notify_one();
        }
    }

    /// The bound in force, and the version of the newest desired state that has committed here (0: none).
    #[must_use]
    pub fn max_lag(&self) -> (Duration, u64) {
        let state = self.inner.state.borrow();
        (state.lag_bound.in_force(), state.lag_bound.version())
    }

    fn is_busy(&self) -> bool {
        let now = self.inner.clock.boot();
        let state = self.inner.state.borrow();
        let may_act = state.leader.as_ref().is_some_and(|leader| leader.may_act(now));
        state.is_holding(now) || (may_act && state.is_pressed())
    }

    /// Waits as WAIT and WAITAOF ask for.
    pub async fn wait(&self, request: WaitRequest) -> WaitAnswer {
        crate::wait::wait(&self.inner, request).await
    }

    /// Figures for INFO and metrics.
    #[must_use]
    pub fn info(&self) -> ShardInfo {
        let clock = self.inner.handle.check_wall(self.inner.clock.wall(), self.inner.clock.boot());
        let mut info = self.inner.state.borrow().info(self.inner.now(), clock, self.inner.handle.stalls());
        info.snapshot.incoming = self.inner.handle.incoming();
        info
    }

    /// The data, for figures and options (`maxmemory`); data itself is changed by commands alone. Not to be called from
    /// a [`FrontEnd`].
    pub fn with_engine<T>(&self, look: impl FnOnce(&mut fastness_engine::Engine) -> T) -> T {
        look(&mut self.inner.state.borrow_mut().engine)
    }

    /// A connection's share of the memory that counts against `maxmemory`; nothing yet.
    #[must_use]
    pub fn client_share(&self) -> ClientShare {
        ClientShare::new(self.inner.state.borrow().clients.clone())
    }

    /// What is in use and counts against `maxmemory`.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        self.inner.state.borrow().memory()
    }

    /// The digest of the committed data and the log position that it belongs to, computed in slices beside the
    /// commands. While effects are open, or nothing is served, the answer is an error. Whoever drops the receiver asks
    /// no more.
    pub fn ask_digest(&self, answer: oneshot::Sender<DigestResult>) {
        self.inner.state.borrow_mut().digests.durability_override(answer);
        self.inner.work.notify_one();
    }

    /// The same at once: reads every key in one step, while nobody is served. For tests.
    ///
    /// # Errors
    /// While effects are open, or nothing is served.
    pub fn digest(&self) -> Result<(LogIndex, Digest), DigestError> {
        let state = self.inner.state.borrow();
        if state.phase != crate::state::Phase::Serving {
            return Err(DigestError::NotServing);
        }
        if !state.is_clean() {
            return Err(DigestError::Open);
        }
        Ok((state.applied, state.engine.digest()))
    }
}

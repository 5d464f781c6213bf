//! The handle that front ends hold: cheap to clone, bound to the loop's thread.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_engine::command::{CommandSpec, CommandTable};
use fastness_engine::{Digest, EvictionOptions};
use fastness_resp::{Args, ReplyBuf};
use fastness_types::{BootNs, Durability, LogIndex};
use tokio::sync::oneshot;

use crate::client_override::{DurabilityOverride, ReadConfirmation};
use crate::client_pause::PauseKind;
use crate::committed_value::CommittedValue;
use crate::counters::Peaks;
use crate::digest::{DigestError, DigestResult};
use crate::edges::Edges;
use crate::front_end::{Call, FrontEnd};
use crate::info::ShardInfo;
use crate::inner::Inner;
use crate::key_waiter::{KeyWaiter, WaitEnd};
use crate::lag_bound::DesiredLagBound;
use crate::leader::Leader;
use crate::memory::{ClientShare, MemoryUse};
use crate::mode::DesiredMode;
use crate::now::Now;
use crate::options::ShardOptions;
use crate::outcome::{Outcome, PendingReply, Release, WaitAnswer, WaitRequest};
use crate::probe::{CommitProbe, StageMark};
use crate::release::Released;
use crate::reply_queue::Waiter;
use crate::scripts::scripting::ScriptCounts;
use crate::session::{Session, WaitsFor};
use crate::state::{Replica, State};
use crate::tracking::KeyTracker;

/// How often a command with the outcome [`Outcome::Busy`] is tried again without a notification.
const BUSY_LOOK_EVERY: Duration = Duration::from_millis(50);

/// One shard replica. Not `Send`: everything happens on the loop's thread.
#[derive(Clone)]
pub struct Shard {
    pub(crate) inner: Rc<Inner>,
}

impl Shard {
    /// Creates a shard replica and its loop, which must be spawned on the same thread (in a `LocalSet`). The loop ends
    /// when the group has stopped or after a fatal error; [`ShardInfo::stopped`] then has the reason.
    pub fn start(options: ShardOptions, handle: GroupHandle) -> (Shard, impl Future<Output = ()> + 'static) {
        let inner = Rc::new(Inner {
            state: RefCell::new(State::new(&options, handle.clone())),
            edges: Edges::new(handle, &options),
        });
        (Shard { inner: inner.clone() }, crate::turn::run(inner))
    }

    /// The commands of its front ends.
    #[inline]
    #[must_use]
    pub fn commands(&self) -> &'static CommandTable {
        self.inner.edges.commands
    }

    /// A new connection's state.
    #[must_use]
    pub fn session(&self) -> Session {
        let mut state = self.inner.state.borrow_mut();
        state.replica.sessions += 1;
        Session {
            data: fastness_engine::TransactionState::new(state.replica.sessions),
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
            idempotency: None,
            waiter: Rc::new(Waiter::default()),
            key_wait: None,
            script: None,
            run_time: None,
            shard: Rc::downgrade(&self.inner),
        }
    }

    /// The time since the machine started.
    #[must_use]
    pub fn boot_now(&self) -> BootNs {
        self.inner.edges.clock.boot()
    }

    /// Reads both clocks, for [`Shard::call`].
    #[must_use]
    pub fn now(&self) -> Now {
        self.inner.edges.now()
    }

    /// Creates a call of a parsed command. The lease is compared with `at`, which must be a clock reading taken
    /// **after** the command's bytes were read. Then the command takes effect at a moment between its arrival and its
    /// reply at which the lease was valid. Commands of one pipeline may share a reading, if nothing is awaited between
    /// them.
    #[must_use]
    pub fn call<'a>(&self, spec: &'static CommandSpec, args: Args<'a>, at: Now) -> Call<'a> {
        Call {
            spec,
            args,
            at,
            first: None,
            durability_override: None,
            reads: None,
            idempotency: None,
            staleness_max: None,
            deadline: None,
        }
    }

    /// Runs one command of one session, and appends the reply to `out`. Never blocks.
    pub fn run(
        &self,
        session: &mut Session,
        call: Call<'_>,
        out: &mut ReplyBuf,
        front_end: &mut dyn FrontEnd,
    ) -> Outcome {
        let outcome = crate::dispatch::run(&self.inner, session, call, out, front_end);
        self.inner.edges.handle.report_running(None);
        outcome
    }

    /// Whether a pending reply may be sent now. Must be called immediately before the reply is flushed. After
    /// [`Release::Unknown`] the caller must replace the reply by the error [`PendingReply::unknown_text`], or close the
    /// connection.
    #[must_use]
    pub fn release(&self, pending: PendingReply) -> Release {
        let now = self.inner.edges.clock.boot();
        let release = self.inner.state.borrow().release(pending, now);
        if release == Release::Unknown {
            self.inner.state.borrow_mut().replica.counters.unknown_replies += 1;
        }
        release
    }

    /// Whether what a reply depends on has committed ([`Release::Now`]), may still commit, or was undone. For what
    /// leaves beside a reply, such as a message of a transaction; `pending` is [`PendingReply::until_commit`].
    #[must_use]
    pub fn commit_of(&self, pending: PendingReply) -> Release {
        self.inner.state.borrow().release(pending, self.inner.edges.clock.boot())
    }

    /// Resolves when [`Shard::release`] no longer returns [`Release::Wait`] for `pending`, which must be the oldest
    /// pending reply of the session. At most one waiter per session.
    #[must_use]
    pub fn wait_released(&self, session: &Session, pending: PendingReply) -> Released {
        Released { inner: self.inner.clone(), waiter: session.waiter.clone(), pending }
    }

    /// Keeps the current state of the lag gate for the session until [`Session::release_gate`], so that all commands of
    /// a pipeline get the same answer even if it takes several turns of the loop. Must be called in the turn in which
    /// the first command ran.
    ///
    /// An open gate is not kept if the uncommitted effects reach their bound in bytes
    /// (`limits::OPEN_EFFECT_BYTES_MAX`).
    pub fn keep_gate(&self, session: &mut Session) {
        session.kept_gate.get_or_insert_with(|| self.inner.state.borrow().replica.flow.gate.is_closed());
    }

    /// Whether so many effects are uncommitted that front ends should stop reading from connections that write.
    #[must_use]
    pub fn write_pressure(&self) -> bool {
        self.inner.state.borrow().is_pressed()
    }

    /// Resolves when a command with the outcome [`Outcome::Busy`] may be tried again.
    pub async fn unblocked(&self) {
        loop {
            let woken = self.inner.edges.unblocked.notified();
            if !self.is_busy() {
                return;
            }
            // Polls as well, because an expired lease ends the wait without a notification.
            tokio::select! {
                biased;
                () = woken => {}
                () = self.inner.edges.pause.pause(BUSY_LOOK_EVERY) => {}
            }
        }
    }

    /// Resolves when a command that waits for [`WaitsFor::Room`] may be tried again.
    pub async fn room_made(&self) {
        loop {
            let woken = self.inner.edges.room.notified();
            if !self.inner.state.borrow().awaits_room(self.inner.edges.clock.boot()) {
                return;
            }
            // Polls as well, because an expired lease ends the wait without a notification.
            tokio::select! {
                biased;
                () = woken => {}
                () = self.inner.edges.pause.pause(BUSY_LOOK_EVERY) => {}
            }
        }
    }

    /// Sets `maxmemory` and the options of eviction, which starts at once if memory is over the bound.
    pub fn set_memory_bound(&self, maxmemory: u64, eviction: EvictionOptions) {
        let mut state = self.inner.state.borrow_mut();
        let engine = &mut state.replica.data.engine;
        engine.set_maxmemory(maxmemory);
        engine.set_eviction(eviction);
        if engine.eviction_excess() > 0 {
            self.inner.edges.work.notify_one();
        }
    }

    /// Resolves when a command that waits for [`WaitsFor::Primary`] may be tried again: a primary is known, here or
    /// elsewhere, or the time is over.
    pub async fn primary_found(&self, until: BootNs) {
        let left = until.since(self.inner.edges.clock.boot());
        if left.is_zero() {
            return;
        }
        let mut over = self.inner.edges.pause.pause(left);
        loop {
            let woken = self.inner.edges.primary_found.notified();
            if !self.inner.state.borrow().lacks_primary(self.inner.edges.clock.boot()) {
                return;
            }
            tokio::select! {
                biased;
                () = woken => {}
                () = &mut over => return,
            }
        }
    }

    /// Resolves when no script is suspended, or at `until`: a command that waits for [`WaitsFor::Script`] may be tried
    /// again.
    pub async fn script_ended(&self, until: Option<BootNs>) {
        loop {
            let ended = self.inner.state.borrow().replica.scripts.ended();
            let woken = ended.notified();
            let now = self.inner.edges.clock.boot();
            if !self.inner.state.borrow().replica.scripts.is_suspended() || until.is_some_and(|until| until <= now) {
                return;
            }
            match until {
                None => woken.await,
                Some(until) => tokio::select! {
                    biased;
                    () = woken => {}
                    () = self.inner.edges.pause.pause(until.since(now).min(TIMER_MAX)) => {}
                },
            }
        }
    }

    /// Sets from which time of a script on other commands are answered BUSY (zero: never), and how long one may run.
    pub fn set_script_times(&self, busy_after: Duration, time_max: Duration) {
        self.inner.state.borrow_mut().replica.scripts.set_times(busy_after, time_max);
        self.inner.edges.work.notify_one();
    }

    /// Figures of scripts and functions.
    #[must_use]
    pub fn script_counts(&self) -> ScriptCounts {
        self.inner.state.borrow().replica.scripts.counts()
    }

    /// How long commands wait for a primary while none is known; zero: they are refused at once.
    pub fn set_lease_wait_max(&self, span: Duration) {
        self.inner.state.borrow_mut().replica.flow.lease_wait_max = span;
    }

    /// Resolves when a write that the lag gate has slowed may be tried again: less than 250 ms from then.
    pub async fn slowed(&self, until: BootNs) {
        let left = until.since(self.inner.edges.clock.boot());
        if !left.is_zero() {
            self.inner.edges.pause.pause(left).await;
        }
    }

    /// Sets the desired mode of the cluster's map. The replica stages it if it leads and the log has an older one.
    /// [`ShardInfo::mode_version`] is the version that has committed.
    pub fn set_desired_mode(&self, desired: DesiredMode) {
        if self.inner.state.borrow_mut().replica.settings.mode.desired(desired) {
            self.inner.edges.work.notify_one();
        }
    }

    /// Requests a snapshot as soon as possible; one in progress is finished before. False if this replica stores no
    /// snapshots. [`crate::SnapshotInfo`] reports the progress.
    pub fn snapshot(&self) -> bool {
        let mut state = self.inner.state.borrow_mut();
        state.replica.snapshots.want();
        self.inner.edges.work.notify_one();
        state.replica.snapshots.have_store()
    }

    /// Sets after how many bytes of log a snapshot is cut; 0: only on request.
    pub fn set_snapshot_log_bytes(&self, bytes: u64) {
        if self.inner.state.borrow_mut().replica.snapshots.set_every(bytes) {
            self.inner.edges.work.notify_one();
        }
    }

    /// Sets after how many bytes of log a snapshot is cut in any case: this shard's share of the node's disk.
    pub fn set_log_share(&self, bytes: u64) {
        if self.inner.state.borrow_mut().replica.snapshots.set_share(bytes) {
            self.inner.edges.work.notify_one();
        }
    }

    /// The mode in force, and the version of the newest desired mode that has committed here (0: none).
    #[must_use]
    pub fn mode(&self) -> (Durability, u64) {
        let mode = self.inner.state.borrow().replica.settings.mode;
        (mode.in_force(), mode.version())
    }

    /// Sets the configured durability lag at which `async` refuses writes. It applies until the log has a bound
    /// ([`Shard::set_desired_lag_bound`]).
    pub fn set_max_lag(&self, bound: Duration) {
        self.set_desired_lag_bound(DesiredLagBound { bound, version: 0 });
    }

    /// Sets the desired lag bound of the cluster's map. The replica stages it if it leads and the log has an older one.
    /// [`Shard::max_lag`] returns the committed one.
    pub fn set_desired_lag_bound(&self, desired: DesiredLagBound) {
        if self.inner.state.borrow_mut().replica.settings.lag_bound.desired(desired) {
            self.inner.edges.work.notify_one();
        }
    }

    /// The bound in force, and the version of the newest desired bound that has committed here (0: none).
    #[must_use]
    pub fn max_lag(&self) -> (Duration, u64) {
        let bound = self.inner.state.borrow().replica.settings.lag_bound;
        (bound.in_force(), bound.version())
    }

    fn is_busy(&self) -> bool {
        let now = self.inner.edges.clock.boot();
        let state = self.inner.state.borrow();
        let may_act = state.leader.as_ref().is_some_and(|leader| leader.may_act(now));
        state.replica.flow.is_holding(now) || (may_act && state.is_pressed())
    }

    /// Waits for what WAIT or WAITAOF requires.
    pub async fn wait(&self, request: WaitRequest) -> WaitAnswer {
        crate::wait::wait(&self.inner, request).await
    }

    /// Ends the wait of a command for keys: CLIENT UNBLOCK, or its client is gone. The command must run again, and
    /// replies accordingly without taking anything.
    pub fn end_key_wait(&self, waiter: &KeyWaiter, end: WaitEnd) {
        self.inner.state.borrow_mut().replica.key_waits.end(waiter, end);
    }

    /// Figures for INFO and metrics.
    #[must_use]
    pub fn info(&self) -> ShardInfo {
        let clock = self.inner.edges.handle.check_wall(self.inner.edges.clock.wall(), self.inner.edges.clock.boot());
        let state = self.inner.state.borrow();
        let (now, stalls) = (self.inner.edges.now(), self.inner.edges.handle.stalls());
        let mut info = ShardInfo::of(state.leader.as_ref(), &state.replica, now, clock, stalls);
        info.snapshot.incoming = self.inner.edges.handle.incoming();
        info
    }

    /// How much is staged now; `None`: this replica is not the primary. For [`Shard::probe_since`].
    #[must_use]
    pub fn stage_mark(&self) -> Option<StageMark> {
        self.inner.state.borrow().leader.as_ref().map(Leader::stage_mark)
    }

    /// Follows what was staged since `mark`, in the turn of the command that may have staged it. `false`: nothing was,
    /// or as many units are followed as may be.
    pub fn probe_since(&self, mark: StageMark, probe: Rc<dyn CommitProbe>) -> bool {
        let mut state = self.inner.state.borrow_mut();
        let Some(leader) = &mut state.leader else { return false };
        let now = leader.stage_mark();
        now != mark && now.tenure == mark.tenure && leader.probes.attach(now.seq, probe)
    }

    /// The longest spans since the last call.
    pub fn take_peaks(&self) -> Peaks {
        std::mem::take(&mut self.inner.state.borrow_mut().replica.peaks)
    }

    /// The data, for figures and options (`maxmemory`). The data itself is changed only by commands. Must not be called
    /// from a [`FrontEnd`].
    pub fn with_engine<T>(&self, look: impl FnOnce(&mut fastness_engine::Engine) -> T) -> T {
        look(&mut self.inner.state.borrow_mut().replica.data.engine)
    }

    /// Copies what is committed at keys, each if it has at most `bytes_max` bytes, with the log position at which
    /// exactly that is stored; `None`: the replica is not serving. See [`CommittedValue`]. Stops once so many bytes are
    /// copied: the keys after that are to be read later.
    #[must_use]
    pub fn committed_values<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        bytes_max: usize,
    ) -> Option<(LogIndex, Vec<CommittedValue>)> {
        let state = self.inner.state.borrow();
        let position = state.committed_position()?;
        let (mut values, mut bytes) = (Vec::new(), 0);
        for key in keys {
            let value = state.committed_value(key.as_ref(), bytes_max);
            bytes += value.bytes();
            values.push(value);
            if bytes > bytes_max {
                break;
            }
        }
        Some((position, values))
    }

    /// Returns the share of a new connection in the memory that counts against `maxmemory`, initially 0.
    #[must_use]
    pub fn client_share(&self) -> ClientShare {
        self.inner.state.borrow().replica.clients.share()
    }

    /// Sets who is informed of changed keys while the engine notes them (`Engine::note_changes`).
    pub fn set_key_tracker(&self, tracker: Rc<dyn KeyTracker>) {
        self.inner.state.borrow_mut().replica.tracking.set_tracker(tracker);
    }

    /// Has the loop check whether the lease has lapsed, for those that track. Called about once a second while any
    /// connection does: an idle loop would not check by itself.
    pub fn check_tracking(&self) {
        self.inner.edges.work.notify_one();
    }

    /// The tracker's share in the memory that counts against `maxmemory`, initially 0.
    #[must_use]
    pub fn tracker_share(&self) -> ClientShare {
        self.inner.state.borrow().replica.tracking.memory.share()
    }

    /// The sum of all connections' shares, bytes.
    #[must_use]
    pub fn client_bytes(&self) -> u64 {
        self.inner.state.borrow().replica.clients.bytes()
    }

    /// The memory in use that counts against `maxmemory`.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        self.inner.state.borrow().memory()
    }

    /// Requests the digest of the committed data and its log position, computed in slices between commands. The answer
    /// is an error while effects are uncommitted or nothing is served. Dropping the receiver cancels the request.
    pub fn request_digest(&self, answer: oneshot::Sender<DigestResult>) {
        self.inner.state.borrow_mut().replica.digests.request(answer);
        self.inner.edges.work.notify_one();
    }

    /// Computes the digest at once: reads every key in one step, which blocks all clients. For tests.
    ///
    /// # Errors
    /// While effects are uncommitted, or nothing is served.
    pub fn digest(&self) -> Result<(LogIndex, Digest), DigestError> {
        let state = self.inner.state.borrow();
        let position = state.digest_position()?;
        let Replica { data, records, .. } = &state.replica;
        Ok((position, Digest(data.engine.digest().0.wrapping_add(records.digest()))))
    }

    /// CLIENT PAUSE, as [`crate::ShardView::pause_clients`].
    pub fn pause_clients(&self, span: Duration, kind: PauseKind) {
        let now = self.inner.edges.clock.boot();
        self.inner.state.borrow_mut().replica.flow.client_pause.begin(now, span, kind);
    }

    /// Resolves when no pause is in effect: a command that waits for [`WaitsFor::Pause`] may be tried again.
    pub fn unpaused(&self) -> impl Future<Output = ()> + 'static {
        unpaused(self.inner.clone())
    }
}

async fn unpaused(inner: Rc<Inner>) {
    loop {
        let rest = inner.state.borrow().replica.flow.client_pause.rest(inner.edges.clock.boot());
        let Some((left, ended)) = rest else { return };
        tokio::select! {
            biased;
            () = ended.notified() => {}
            () = inner.edges.pause.pause(left.min(TIMER_MAX)) => {}
        }
    }
}

/// Longest single wait of a timer, because CLIENT PAUSE accepts durations that exceed the range of timers.
const TIMER_MAX: Duration = Duration::from_secs(60);

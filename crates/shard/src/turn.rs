//! The loop: what is done once per turn, in this order.
//!
//! 1. the role as consensus gives it now
//! 2. the log: entries committed since the last turn, in slices (commits are checked off and replies released on a
//!    primary, entries applied on a replica, memory restored)
//! 3. a tenure begins, if it can, and the desired mode is staged, if the log has another
//! 4. keys past their time are removed, or time alone is staged (primary)
//! 5. the open batch is closed and proposed, if it is time
//! 6. the lag gate is moved
//! 7. a snapshot is cut, or a slice of one written
//! 8. what consensus wants to know: applied position, readiness, drained
//! 9. memory is freed for a moment, if there is any to free; another turn follows after a rest while there is more
//! 10. clients in WAIT are answered
//!
//! Then it waits for consensus, for staged work, or for a point in time. A connection that stages into an empty batch
//! wakes it; it then runs after the connections that were woken before it, so that their writes share the batch.
//!
//! Each turn is reported to the watchdog (`consensus/src/lease/watchdog.rs`), and so is each slice of a restore: a
//! primary whose loop does not turn loses its lease.
//!
//! It never waits for consensus to accept or commit anything. Reading old entries from disk is awaited with nothing
//! borrowed: commands run meanwhile (and are told LOADING while memory is being restored).

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::{Drain, ReadError};
use fastness_engine::command;
use fastness_types::{BootNs, Durability, LogIndex, Plant, limits};

use crate::batch::UnitKind;
use crate::options::FollowCopies;
use crate::restore::{Fatal, Step};
use crate::shard::Inner;
use crate::snapshot;
use crate::stage::Close;
use crate::state::{Now, Phase, SeenRole, State};

/// Committed entries taken per slice, bytes.
const SLICE_BYTES: usize = 1024 * 1024;
/// A replica this close to the committed index could serve as primary soon, entries.
const READY_BEHIND_MAX: u64 = 1024;
/// While keys have deadlines, the longest wait without looking at the wall clock.
const EXPIRE_LOOK_MAX: Duration = Duration::from_secs(1);
/// How often a leader whose wall clock is not trusted looks whether it is by now.
const CLOCK_LOOK_EVERY: Duration = Duration::from_millis(10);

/// Names what runs, for the watchdog's log.
fn command_name(index: usize) -> &'static str {
    command::all().get(index).map_or("?", |spec| spec.name)
}

/// The loop of one shard replica; see the module. Ends when nothing can be served any more.
pub(crate) async fn run(inner: Rc<Inner>) {
    // The gate's is seconds away while all is well: kept apart, it is not replaced by each batch's.
    inner.handle.name_work(command_name);
    let (mut alarm, mut gate_alarm) = (Alarm::default(), Alarm::default());
    // Only while somebody waits for acknowledgements.
    let mut copies: Option<Box<dyn FollowCopies>> = None;
    loop {
        inner.handle.report_turn();
        let stopped = inner.state.borrow_mut().see_role(&inner.handle);
        if let Some(reason) = stopped {
            return stop(&inner, reason);
        }
        snapshot::restore(&inner).await;
        let behind = match follow_log(&inner).await {
            Ok(behind) => behind,
            Err(fatal) => return stop(&inner, fatal.to_string().into()),
        };
        let wait = inner.state.borrow_mut().finish_turn(&inner, behind);
        if behind || wait.work == Some(Duration::ZERO) {
            tokio::task::yield_now().await;
            continue;
        }
        if !wait.follows_copies {
            copies = None;
        } else if copies.is_none() {
            copies = Some(inner.copies.follow());
            // What was acknowledged before is looked at once more.
            continue;
        }
        alarm.set(&inner, wait.work);
        gate_alarm.set(&inner, wait.gate);
        tokio::select! {
            // Every branch leads to the same turn, which looks at everything.
            biased;
            () = inner.handle.changed() => {}
            () = inner.work.notified() => {}
            () = alarm.rings() => {}
            () = acknowledged(&mut copies) => {}
            () = gate_alarm.rings() => {}
        }
    }
}

/// How long to wait if nobody wakes the loop; `None`: until somebody does.
struct Waits {
    /// For keys to remove, the open batch, memory to be freed and the next slice of a snapshot; none: not at all.
    work: Option<Duration>,
    /// For the lag gate.
    gate: Option<Duration>,
    /// Acknowledgements of replicas wake the loop.
    follows_copies: bool,
}

/// Resolves after an acknowledgement, if these are followed.
async fn acknowledged(copies: &mut Option<Box<dyn FollowCopies>>) {
    match copies {
        Some(copies) => copies.changed().await,
        None => std::future::pending().await,
    }
}

/// The next point in time at which the loop has something to do. A pause costs system calls, so one that rings early
/// enough is kept over turns: most turns are ended by consensus or by work.
#[derive(Default)]
struct Alarm(Option<(BootNs, Pause)>);

/// Resolves at the point that it was made for.
type Pause = Pin<Box<dyn Future<Output = ()>>>;

impl Alarm {
    /// Rings after `wait`, or earlier; never without one.
    fn set(&mut self, inner: &Inner, wait: Option<Duration>) {
        let Some(wait) = wait else { return };
        let at = inner.clock.boot().plus(wait);
        if self.0.as_ref().is_none_or(|(set, _)| *set > at) {
            self.0 = Some((at, inner.pause.pause(wait)));
        }
    }

    async fn rings(&mut self) {
        match &mut self.0 {
            Some((_, pause)) => {
                pause.await;
                self.0 = None;
            }
            None => std::future::pending().await,
        }
    }
}

/// Nothing is served any more; whoever waits is told.
fn stop(inner: &Inner, reason: Arc<str>) {
    let mut state = inner.state.borrow_mut();
    tracing::error!(shard = state.shard.0, %reason, "the replica stops");
    state.stop(reason);
    inner.handle.report_ready(false);
    inner.unblocked.notify_waiters();
    inner.primary_found.notify_waiters();
}

/// Takes one slice of the committed entries that memory does not hold yet. True if there are more.
async fn follow_log(inner: &Inner) -> Result<bool, Fatal> {
    let from = inner.state.borrow().next_index();
    let to = inner.handle.committed();
    if from > to {
        inner.state.borrow_mut().committed_seen = to;
        return Ok(false);
    }
    let installed = inner.handle.installed();
    if installed >= from {
        return jump(inner, from, installed);
    }
    let entries = match inner.handle.read_cached(from, to, SLICE_BYTES) {
        Some(entries) => entries,
        None => {
            match inner.handle.read(from, to, SLICE_BYTES).await {
                Ok(entries) => entries,
                // A snapshot is being installed: its file is there, the log is cut, and that is on its way to the disk.
                // It is told of as installed only then.
                Err(ReadError::Purged(upto)) => return jump(inner, from, upto),
                Err(error) => return Err(Fatal::Read { from, error }),
            }
        }
    };
    if entries.is_empty() {
        return Err(Fatal::Nothing(from));
    }
    let now = inner.clock.boot();
    let mut state = inner.state.borrow_mut();
    state.committed_seen = to;
    for entry in &entries {
        if state.step(entry, now)? == Step::Emptied {
            inner.handle.report_ready(false);
            break;
        }
    }
    Ok(state.walked < inner.handle.committed())
}

/// The log is gone up to `upto`: memory goes on from a snapshot, if there is one; from a restore of this very position
/// it has come back here in vain.
fn jump(inner: &Inner, from: LogIndex, upto: LogIndex) -> Result<bool, Fatal> {
    let mut state = inner.state.borrow_mut();
    if state.jumped_to == upto && Plant::SnapshotsPassedOver.is_on() {
        state.applied = upto;
        state.walked = upto;
        return Ok(true);
    }
    if state.jumped_to == upto {
        return Err(Fatal::NoSnapshot { from, upto });
    }
    inner.handle.report_ready(false);
    state.meet_installed(upto);
    Ok(true)
}

impl State {
    /// Everything of a turn after the log.
    fn finish_turn(&mut self, inner: &Inner, behind: bool) -> Waits {
        let now = inner.now();
        if !behind && self.phase == Phase::Restoring {
            self.phase = Phase::Serving;
            if let Some(began) = self.undo_began.take() {
                self.undo_took = now.boot.since(began);
            }
            tracing::info!(shard = self.shard.0, index = self.applied.0, "memory is restored");
        }
        self.see_drain(inner, now);
        self.begin_tenure(now);
        if let Some(leader) = &mut self.leader {
            leader.stage.follow_format(inner.handle.format());
        }
        self.follow_desired_mode(now);
        self.follow_desired_lag_bound(&inner.handle, now);
        let expiry = self.expire(now);
        let time = self.keep_time(inner, now);
        let close = self.close_batch(inner, now.boot);
        let gate = self.look_at_lag(now.boot);
        let snapshot = if behind { None } else { self.follow_snapshot(inner, now.boot) };
        let opening = self.open_reads(inner, now.boot);
        let served = self.tell_served(inner, now.boot);
        let digest = if behind { None } else { self.follow_digest() };
        self.report(inner);
        self.wake(inner, now.boot);
        // A reading serves for a moment, so the turn that news of the clock leads to may still go by the one before.
        let clock = (matches!(self.role, SeenRole::Leader { .. }) && !now.trusted).then_some(CLOCK_LOOK_EVERY);
        let frees = self.free();
        let confirm = self.confirm_reads(inner, now.boot);
        let copies = self.look_at_waits(inner, now.boot);
        Waits {
            work: [expiry, time, close, snapshot, digest, clock, copies, opening, served, confirm, frees]
                .into_iter()
                .flatten()
                .min(),
            gate,
            follows_copies: self.waits.follow_copies(),
        }
    }

    fn see_drain(&mut self, inner: &Inner, now: Now) {
        match inner.handle.drain() {
            Drain::Requested => {
                self.draining.get_or_insert(now.boot);
            }
            Drain::None => self.draining = None,
        }
    }

    /// Removes keys past their time; gives when to look again.
    fn expire(&mut self, now: Now) -> Option<Duration> {
        let now = Now { wall: self.timestamp(now), ..now };
        if let Some((_, left)) = self.client_pause.state(now.boot) {
            return Some(left.min(EXPIRE_LOOK_MAX));
        }
        let may_stage = self.draining.is_none() && !self.is_pressed() && now.trusted;
        let leader = self.leader.as_mut().filter(|leader| may_stage && leader.may_act(now.boot))?;
        let bytes_max = leader.stage.unit_bytes_max();
        let effects = &mut leader.stage.effects;
        let before = effects.len();
        let savepoint = self.engine.begin_unit(effects, bytes_max);
        let removed = self.engine.expire_due(now.wall, limits::EXPIRY_UNIT_KEYS_MAX, effects);
        if effects.has_overflowed() {
            // A name that is longer than a unit may be: of a log in which an older version, or another limit, has
            // admitted it.
            self.engine.roll_back(savepoint, effects);
            tracing::error!(
                shard = self.shard.0,
                "the removal of an expired key is longer than a unit may be: the key stays"
            );
            return Some(EXPIRE_LOOK_MAX);
        }
        if self.stage(UnitKind::Expiry, before, now)
            && let Some(leader) = &mut self.leader
        {
            leader.stage.seal_cut();
        }
        let first = self.engine.first_deadline();
        if removed > 0 && first.is_some_and(|at| at < now.wall) {
            // The unit was full.
            return Some(Duration::ZERO);
        }
        let due = first.map(|at| Duration::from_millis((at.0 + 1).saturating_sub(now.wall.0)));
        // The wall clock may jump: looked at again after a while however far the deadline is.
        due.map(|due| due.min(EXPIRE_LOOK_MAX).max(self.batching.expire_every))
    }

    /// Closes the open batch if it is time and proposes what the window has room for; gives when to look again.
    fn close_batch(&mut self, inner: &Inner, now: BootNs) -> Option<Duration> {
        let mode = self.mode.in_force();
        let draining = self.draining.is_some();
        let leader = self.leader.as_mut()?;
        let stage = &mut leader.stage;
        if draining {
            stage.hurry();
        }
        stage.propose(&inner.handle, self.batching.in_flight_max);
        match stage.when(mode, &self.batching, now) {
            Close::Not => None,
            Close::At(at) => Some(at.since(now)),
            Close::Now => {
                stage.learn(mode, now);
                stage.seal(mode);
                stage.propose(&inner.handle, self.batching.in_flight_max);
                None
            }
        }
    }

    /// Slows, refuses or admits writes from here on; gives when to look again.
    fn look_at_lag(&mut self, now: BootNs) -> Option<Duration> {
        let lag = self.lag.now(self.oldest_open(), now);
        let was_shut = self.gate.is_shut();
        let next = self.gate.look(self.mode.in_force(), lag);
        let lag_ms = lag.as_millis() as u64;
        match (was_shut, self.gate.is_shut()) {
            (false, true) => {
                tracing::warn!(shard = self.shard.0, lag_ms, "the log is too far behind: writes are refused");
            }
            (true, false) => tracing::info!(shard = self.shard.0, lag_ms, "the log has caught up: writes are accepted"),
            _ => {}
        }
        next
    }

    fn report(&self, inner: &Inner) {
        let behind = inner.handle.committed().0.saturating_sub(self.applied.0);
        inner.handle.report_held(self.engine.keyspace_stats().keys, self.engine.memory_of_data());
        inner.handle.report_applied(self.applied);
        inner.handle.report_ready(self.phase == Phase::Serving && behind <= READY_BEHIND_MAX);
        inner.handle.report_serves_reads(self.leader.is_some() || self.served.is_open());
        inner.handle.report_drained(self.draining.is_some() && self.is_clean());
    }

    /// Wakes whoever may go on now.
    fn wake(&mut self, inner: &Inner, now: BootNs) {
        if !self.is_pressed() && !self.is_holding(now) {
            inner.unblocked.notify_waiters();
        }
        if !self.lacks_primary(now) {
            inner.primary_found.notify_waiters();
        }
        let mode = self.mode.in_force();
        let in_bound = mode != Durability::Async || self.gate.allows(self.oldest_open(), now);
        if let Some(leader) = &mut self.leader
            && mode != Durability::Sync
            && in_bound
            && leader.may_act(now)
        {
            // Replies that were held since the lease had run out or the log was behind: both are well again.
            leader.waiting.wake_early();
        }
    }
}

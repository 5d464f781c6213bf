//! The loop of a shard replica. Each turn does, in this order:
//!
//! 1. the role as consensus reports it now
//! 2. the log: entries committed since the last turn, in slices (a primary marks its batches as committed and releases
//!    replies; a replica applies them, or restores memory)
//! 3. a tenure starts, if it can, and the desired mode is staged, if the log has another
//! 4. expired keys are removed, or only a timestamp is staged, keys are evicted if memory is full, and old idempotency
//!    records leave (primary)
//! 5. the open batch is closed and proposed, if it is time
//! 6. the lag gate is moved
//! 7. a snapshot is cut, or a slice of one written
//! 8. reports to consensus: applied position, readiness, drained
//! 9. memory is freed for a moment, if there is any to free; another turn follows after a rest while there is more
//! 10. clients in WAIT are answered, and waits for keys whose time is over are ended
//!
//! Then it waits for consensus, for staged work, or for a point in time. A connection that stages into an empty batch
//! wakes the loop, which then runs after the connections that were woken before it, so that their writes share the
//! batch.
//!
//! Each turn is reported to the watchdog (`consensus/src/lease/watchdog.rs`), and so is each slice of a restore: a
//! primary whose loop does not turn loses its lease.
//!
//! The loop never waits for consensus to accept or commit anything. While it awaits old entries from disk, it borrows
//! no state, so commands run meanwhile (and are answered LOADING while memory is being restored).

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::{Drain, GroupHandle};
use fastness_events::Event;
use fastness_types::{BootNs, Durability};

use crate::edges::Edges;
use crate::inner::Inner;
use crate::lag;
use crate::log_walk::follow_log;
use crate::options::FollowCopies;
use crate::restore;
use crate::role::Phase;
use crate::stage::Close;
use crate::state::{Primary, Replica, State};

/// A replica that lags behind the committed index by at most this many entries could soon serve as primary.
const READY_BEHIND_MAX: u64 = 1024;
/// How often a leader with an untrusted wall clock checks the clock again.
const CLOCK_CHECK_EVERY: Duration = Duration::from_millis(10);

/// The loop of one shard replica; see the module. Ends when nothing can be served any more.
pub(crate) async fn run(inner: Rc<Inner>) {
    // The gate's alarm is normally seconds away. It has its own timer, so that the alarm of each batch does not replace
    // it.
    inner.edges.handle.name_work(inner.edges.commands.all().iter().map(|spec| spec.name));
    let (mut alarm, mut gate_alarm) = (Alarm::default(), Alarm::default());
    // Only while a client waits for acknowledgements.
    let mut copies: Option<Box<dyn FollowCopies>> = None;
    loop {
        inner.edges.handle.report_turn();
        let stopped = inner.state.borrow_mut().see_role(&inner.edges.handle);
        if let Some(reason) = stopped {
            return stop(&inner, reason);
        }
        restore::restore(&inner).await;
        let behind = match follow_log(&inner).await {
            Ok(behind) => behind,
            Err(fatal) => return stop(&inner, fatal.to_string().into()),
        };
        let wait = inner.state.borrow_mut().finish_turn(&inner.edges, behind);
        if behind || wait.work == Some(Duration::ZERO) {
            tokio::task::yield_now().await;
            continue;
        }
        if !wait.follows_copies {
            copies = None;
        } else if copies.is_none() {
            copies = Some(inner.edges.copies.follow());
            // Checks again for acknowledgements that arrived before the subscription.
            continue;
        }
        alarm.set(&inner, wait.work);
        gate_alarm.set(&inner, wait.gate);
        tokio::select! {
            // Every branch leads to the same turn, which checks everything.
            biased;
            () = inner.edges.handle.changed() => {}
            () = inner.edges.work.notified() => {}
            () = alarm.rings() => {}
            () = acknowledged(&mut copies) => {}
            () = gate_alarm.rings() => {}
        }
    }
}

/// How long the loop waits if nothing wakes it; `None`: without limit.
struct NextTurn {
    /// For expired keys, eviction, the open batch, memory to be freed and the next slice of a snapshot.
    work: Option<Duration>,
    /// For the lag gate.
    gate: Option<Duration>,
    /// Whether acknowledgements of replicas wake the loop.
    follows_copies: bool,
}

/// Resolves after an acknowledgement, if subscribed.
async fn acknowledged(copies: &mut Option<Box<dyn FollowCopies>>) {
    match copies {
        Some(copies) => copies.changed().await,
        None => std::future::pending().await,
    }
}

/// The next point in time at which the loop has work. A pause costs system calls, so a pause that ends early enough is
/// kept over several turns: consensus or staged work ends most turns.
#[derive(Default)]
struct Alarm(Option<(BootNs, Rest)>);

/// The pause until the time for which an alarm is set.
type Rest = Pin<Box<dyn Future<Output = ()>>>;

impl Alarm {
    /// Sets the alarm to resolve after `wait` or earlier; `None`: never.
    fn set(&mut self, inner: &Inner, wait: Option<Duration>) {
        let Some(wait) = wait else { return };
        let at = inner.edges.clock.boot().plus(wait);
        if self.0.as_ref().is_none_or(|(set, _)| *set > at) {
            self.0 = Some((at, inner.edges.pause.pause(wait)));
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

/// Stops serving, and wakes everything that waits.
fn stop(inner: &Inner, reason: Arc<str>) {
    let mut state = inner.state.borrow_mut();
    let recorder = &state.replica.recorder;
    recorder.record(Event::ReplicaStopped { shard: recorder.shard(), reason: reason.to_string() });
    state.stop(reason);
    inner.edges.handle.report_ready(false);
    inner.edges.unblocked.notify_waiters();
    inner.edges.room.notify_waiters();
    inner.edges.primary_found.notify_waiters();
}

impl State {
    /// The steps of a turn after the log.
    fn finish_turn(&mut self, edges: &Edges, behind: bool) -> NextTurn {
        let (now, handle) = (edges.now(), &edges.handle);
        if !behind {
            self.replica.end_restore(now.boot);
        }
        self.replica.flow.set_draining(handle.drain() == Drain::Requested, now.boot);
        self.start_tenure(now);
        if let Some(leader) = &mut self.leader {
            leader.stage.follow_format(handle.format());
        }
        self.follow_desired(handle, now);
        let expiry = self.expire(now);
        let time = self.keep_time(handle, now);
        let records = self.drop_old_records(now);
        let eviction = self.evict(now);
        let close = self.primary().and_then(|mut primary| primary.close_batch(handle, now.boot));
        let gate = self.move_gate(now.boot);
        let snapshot = if behind { None } else { self.follow_snapshot(edges, now.boot) };
        let opening = self.open_reads(handle, now.boot);
        let served = self.replica.served.report(handle, now.boot);
        let digest = if behind { None } else { self.follow_digest() };
        self.report(handle);
        self.wake(edges, now.boot);
        // Clock readings are reused for a short time, so this turn may still use a reading from before the clock
        // change.
        let clock = (self.replica.role.is_leader() && !now.trusted).then_some(CLOCK_CHECK_EVERY);
        let frees = self.replica.data.free(&*edges.clock);
        self.follow_overrun(now.boot);
        if !self.awaits_room(now.boot) {
            edges.room.notify_waiters();
        }
        let confirm = self.leader.as_mut().and_then(|leader| leader.confirm_reads(edges, now.boot));
        let copies = self.follow_waits(edges, now.boot);
        let keys = self.follow_key_waits(now.boot);
        NextTurn {
            work: [
                expiry, time, records, eviction, close, snapshot, digest, clock, copies, keys, opening, served,
                confirm, frees,
            ]
            .into_iter()
            .flatten()
            .min(),
            gate,
            follows_copies: self.replica.waits.follow_copies(),
        }
    }

    /// Moves the lag gate, which slows, refuses or admits writes; returns when to check again.
    fn move_gate(&mut self, now: BootNs) -> Option<Duration> {
        let (oldest_open, replica) = (self.oldest_open(), &mut self.replica);
        let (lag, bound) = (replica.flow.lag.now(oldest_open, now), replica.settings.lag_bound.in_force());
        let next = replica.flow.gate.follow(replica.settings.mode.in_force(), bound, lag);
        replica.recorder.follow_gate(replica.flow.gate.state(), lag, bound, now);
        next
    }

    /// Checks whether READONLY clients may be served after a start; returns when to check again.
    fn open_reads(&mut self, handle: &GroupHandle, now: BootNs) -> Option<Duration> {
        let Replica { phase: Phase::Serving, served, role, position, .. } = &mut self.replica else { return None };
        let role = self.leader.is_none().then_some(&*role);
        served.follow(role, position.applied, handle, now)
    }

    /// Computes a slice of a digest, if one is requested; returns when to continue.
    fn follow_digest(&mut self) -> Option<Duration> {
        let position = self.digest_position();
        let Replica { digests, data, records, snapshots, .. } = &mut self.replica;
        digests.follow((&mut data.engine, records), position, snapshots.is_in_progress())
    }

    fn report(&self, handle: &GroupHandle) {
        let Replica { data, position, phase, served, flow, .. } = &self.replica;
        let behind = handle.committed().0.saturating_sub(position.applied.0);
        handle.report_held(data.engine.keyspace_stats().keys, data.engine.memory_of_data());
        handle.report_applied(position.applied);
        handle.report_ready(*phase == Phase::Serving && behind <= READY_BEHIND_MAX);
        handle.report_serves_reads(self.leader.is_some() || served.is_open());
        handle.report_drained(flow.is_draining() && self.is_clean());
    }

    /// Wakes the commands and replies that may continue now.
    fn wake(&mut self, edges: &Edges, now: BootNs) {
        if !self.is_pressed() && !self.replica.flow.is_holding(now) {
            edges.unblocked.notify_waiters();
        }
        if !self.lacks_primary(now) {
            edges.primary_found.notify_waiters();
        }
        let (mode, bound) = (self.replica.settings.mode.in_force(), self.replica.settings.lag_bound.in_force());
        let in_bound = mode != Durability::Async || lag::is_within(bound, self.oldest_open(), now);
        if let Some(leader) = &mut self.leader
            && mode != Durability::Sync
            && in_bound
            && leader.may_act(now)
        {
            // Lease and lag have recovered: release the replies that were pending because of them.
            leader.waiting.wake_early();
        }
    }
}

impl Replica {
    /// Records that memory equals the committed log. If it was being restored, it is served from now on.
    fn end_restore(&mut self, now: BootNs) {
        if self.phase != Phase::Restoring {
            return;
        }
        self.phase = Phase::Serving;
        if let Some(started) = self.tenures.undo_started.take() {
            self.tenures.undo_took = now.since(started);
        }
        let (shard, index) = (self.recorder.shard(), self.position.applied);
        self.recorder.record(Event::MemoryRestored { shard, index });
    }
}

impl Primary<'_> {
    /// Closes the open batch if it is due, and proposes batches while the window has space; returns when to check
    /// again.
    fn close_batch(&mut self, handle: &GroupHandle, now: BootNs) -> Option<Duration> {
        let (mode, batching) = (self.replica.settings.mode.in_force(), &self.replica.batching);
        let stage = &mut self.leader.stage;
        if self.replica.flow.is_draining() {
            stage.hurry();
        }
        stage.propose(handle, batching.in_flight_max);
        let again = match stage.when(mode, batching, now) {
            Close::Not => None,
            Close::At(at) => Some(at.since(now)),
            Close::Now => {
                stage.learn(mode, now);
                stage.seal(mode);
                stage.propose(handle, batching.in_flight_max);
                None
            }
        };
        if !self.leader.probes.is_empty() {
            self.leader.note_proposed(self.replica.clock.boot());
        }
        again
    }
}

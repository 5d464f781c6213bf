//! The loop: what is done once per turn, in this order.
//!
//! 1. the role as consensus reports it now
//! 2. the log: entries committed since the last turn, in slices (commits are checked off and replies released on a
//!    primary, entries applied on a replica, memory restored)
//! 3. a tenure starts, if it can, and the desired mode is staged, if the log has another
//! 4. keys past their time are removed, or time alone is staged (primary)
//! 5. the open batch is closed and proposed, if it is time
//! 6. the lag gate is moved
//! 7. a snapshot is cut, or a slice of one written
//! 8. reports to consensus: applied position, readiness, drained
//! 9. memory is freed for a moment, if there is any to free; another turn follows after a rest while there is more
//! 10. clients in WAIT are answered
//!
//! Then it waits for consensus, for staged work, or for a point in time. A connection that stages into an empty batch
//! wakes it; it then runs after the connections that were woken before it, so that their writes share the batch.
//!
//! Each turn is reported to the watchdog (`consensus/src/lease/watchdog.rs`), and so is each slice of a restore: a
//! primary whose loop does not turn loses its lease.
//!
//! The loop never waits for consensus to accept or commit anything. Reading old entries from disk is awaited with
//! nothing borrowed: commands run meanwhile (and are answered LOADING while memory is being restored).

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::{Drain, GroupHandle};
use fastness_engine::command;
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

/// A replica this close to the committed index could serve as primary soon, entries.
const READY_BEHIND_MAX: u64 = 1024;
/// How often a leader whose wall clock is not trusted checks whether it is by now.
const CLOCK_CHECK_EVERY: Duration = Duration::from_millis(10);

/// Names what runs, for the watchdog's log.
fn command_name(index: usize) -> &'static str {
    command::table().all().get(index).map_or("?", |spec| spec.name)
}

/// The loop of one shard replica; see the module. Ends when nothing can be served any more.
pub(crate) async fn run(inner: Rc<Inner>) {
    // The gate's alarm is seconds away while all is well. It is kept apart, so that it is not replaced by each batch's.
    inner.edges.handle.name_work(command_name);
    let (mut alarm, mut gate_alarm) = (Alarm::default(), Alarm::default());
    // Only while somebody waits for acknowledgements.
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
            // What was acknowledged before is checked once more.
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

/// How long to wait if nobody wakes the loop; `None`: until somebody does.
struct NextTurn {
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
struct Alarm(Option<(BootNs, Rest)>);

/// Resolves at the point that it was made for.
type Rest = Pin<Box<dyn Future<Output = ()>>>;

impl Alarm {
    /// Rings after `wait`, or earlier; never without one.
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

/// Nothing is served any more; everybody who waits is woken.
fn stop(inner: &Inner, reason: Arc<str>) {
    let mut state = inner.state.borrow_mut();
    tracing::error!(shard = state.replica.shard.0, %reason, "the replica stops");
    state.stop(reason);
    inner.edges.handle.report_ready(false);
    inner.edges.unblocked.notify_waiters();
    inner.edges.primary_found.notify_waiters();
}

impl State {
    /// Everything of a turn after the log.
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
        let close = self.primary().and_then(|mut primary| primary.close_batch(handle, now.boot));
        let gate = self.move_gate(now.boot);
        let snapshot = if behind { None } else { self.follow_snapshot(edges, now.boot) };
        let opening = self.open_reads(handle, now.boot);
        let served = self.replica.served.report(handle, now.boot);
        let digest = if behind { None } else { self.follow_digest() };
        self.report(handle);
        self.wake(edges, now.boot);
        // A reading serves for a moment, so the turn that news of the clock leads to may still go by the one before.
        let clock = (self.replica.role.is_leader() && !now.trusted).then_some(CLOCK_CHECK_EVERY);
        let frees = self.replica.data.free(&*edges.clock);
        let confirm = self.leader.as_mut().and_then(|leader| leader.confirm_reads(edges, now.boot));
        let copies = self.follow_waits(edges, now.boot);
        NextTurn {
            work: [expiry, time, close, snapshot, digest, clock, copies, opening, served, confirm, frees]
                .into_iter()
                .flatten()
                .min(),
            gate,
            follows_copies: self.replica.waits.follow_copies(),
        }
    }

    /// Slows, refuses or admits writes from here on; returns when to check again.
    fn move_gate(&mut self, now: BootNs) -> Option<Duration> {
        let (oldest_open, replica) = (self.oldest_open(), &mut self.replica);
        let (shard, gate) = (replica.shard.0, &mut replica.flow.gate);
        let lag = replica.flow.lag.now(oldest_open, now);
        let was_closed = gate.is_closed();
        let next = gate.follow(replica.settings.mode.in_force(), replica.settings.lag_bound.in_force(), lag);
        let lag_ms = lag.as_millis() as u64;
        match (was_closed, gate.is_closed()) {
            (false, true) => tracing::warn!(shard, lag_ms, "the log is too far behind: writes are refused"),
            (true, false) => tracing::info!(shard, lag_ms, "the log has caught up: writes are accepted"),
            _ => {}
        }
        next
    }

    /// Serves READONLY clients after a start, if it is time; returns when to check again.
    fn open_reads(&mut self, handle: &GroupHandle, now: BootNs) -> Option<Duration> {
        let Replica { phase: Phase::Serving, served, role, position, .. } = &mut self.replica else { return None };
        let role = self.leader.is_none().then_some(&*role);
        served.follow(role, position.applied, handle, now)
    }

    /// Computes a slice of a digest, if somebody waits for one; returns when to continue.
    fn follow_digest(&mut self) -> Option<Duration> {
        let position = self.digest_position();
        let Replica { digests, data, snapshots, .. } = &mut self.replica;
        digests.follow(&mut data.engine, position, snapshots.is_in_progress())
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

    /// Wakes those who may resume now.
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
            // Replies that were held because the lease had lapsed or the log was behind: both have recovered.
            leader.waiting.wake_early();
        }
    }
}

impl Replica {
    /// Memory is what the log says. If it was being restored, it is served from now on.
    fn end_restore(&mut self, now: BootNs) {
        if self.phase != Phase::Restoring {
            return;
        }
        self.phase = Phase::Serving;
        if let Some(started) = self.tenures.undo_started.take() {
            self.tenures.undo_took = now.since(started);
        }
        tracing::info!(shard = self.shard.0, index = self.position.applied.0, "memory is restored");
    }
}

impl Primary<'_> {
    /// Closes the open batch if it is time and proposes what the window has space for; returns when to check again.
    fn close_batch(&mut self, handle: &GroupHandle, now: BootNs) -> Option<Duration> {
        let (mode, batching) = (self.replica.settings.mode.in_force(), &self.replica.batching);
        let stage = &mut self.leader.stage;
        if self.replica.flow.is_draining() {
            stage.hurry();
        }
        stage.propose(handle, batching.in_flight_max);
        match stage.when(mode, batching, now) {
            Close::Not => None,
            Close::At(at) => Some(at.since(now)),
            Close::Now => {
                stage.learn(mode, now);
                stage.seal(mode);
                stage.propose(handle, batching.in_flight_max);
                None
            }
        }
    }
}

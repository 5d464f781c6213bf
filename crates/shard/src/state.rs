//! Everything that the loop's thread owns: memory, and what it is to the log.
//!
//! Memory is in one of two relations to the log. Without a [`Leader`] it is exactly the committed log up to `applied`.
//! With one it runs ahead of that by what the leader part has staged. A leader part is made when its epoch's first
//! entry has been applied, and dropped whole when the tenure ends.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::ClockCheck;
use fastness_consensus::handle::{Lease, LoopStalls};
use fastness_engine::{EffectBuf, Engine, EngineOptions, Random};
use fastness_types::{BootNs, Clock, Epoch, LogIndex, NodeId, Plant, Seq, ShardId, WallMs};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use crate::batch::UnitKind;
use crate::client_pause::ClientPause;
use crate::confirm::Confirming;
use crate::digest::Digests;
use crate::dirty::DirtyKeys;
use crate::fragment::Fragments;
use crate::info::{ShardInfo, Standing};
use crate::lag::{Lag, LagGate};
use crate::lag_bound::LagBound;
use crate::loading::Loading;
use crate::mode::Mode;
use crate::options::{Batching, ShardOptions, SlotSet};
use crate::outcome::Tenure;
use crate::release::{EndedTenures, WaitQueue};
use crate::served::Served;
use crate::session::Session;
use crate::snapshot::Snapshots;
use crate::stage::Stage;
use crate::time::CommittedTime;
use crate::wait::Waits;

/// How old the reading is that [`Plant::StaleClock`] takes for a fresh one.
const PLANTED_STALENESS_NS: u64 = 3_000_000_000;

/// One reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub(crate) boot: BootNs,
    pub(crate) wall: WallMs,
    /// Whether the wall clock is near those of the other nodes: nothing is staged with one that is not.
    pub(crate) trusted: bool,
}

/// The role as the loop has last seen it.
#[derive(Debug, Clone)]
pub(crate) enum SeenRole {
    /// Leads under this lease; its epoch's first entry is `first`.
    Leader {
        lease: Arc<Lease>,
        first: LogIndex,
    },
    Follower {
        leader: Option<NodeId>,
    },
    Stopped {
        reason: Arc<str>,
    },
}

/// One tenure as primary: dropped whole when it ends.
pub(crate) struct Leader {
    pub(crate) tenure: Tenure,
    pub(crate) epoch: Epoch,
    pub(crate) lease: Arc<Lease>,
    /// The role has been lost; what is staged may still turn out to have committed.
    pub(crate) deposed: bool,
    pub(crate) stage: Stage,
    pub(crate) dirty: DirtyKeys,
    pub(crate) waiting: WaitQueue,
    pub(crate) confirming: Confirming,
    /// Everything up to this has committed.
    pub(crate) committed: Seq,
    /// Index of the entry before the epoch's first batch: batch `n` stands at `base + n` while no other entry of the
    /// epoch lies between.
    pub(crate) base: LogIndex,
    /// Where other entries of the epoch (membership) have moved the base: batches after `.0` stand `.1` further on.
    pub(crate) moved: Vec<(Seq, u64)>,
}

impl Leader {
    /// Whether commands may be served at `now`, a fresh reading.
    #[inline]
    pub(crate) fn may_act(&self, now: BootNs) -> bool {
        let now = if Plant::StaleClock.is_on() { BootNs(now.0.saturating_sub(PLANTED_STALENESS_NS)) } else { now };
        !self.deposed && (self.lease.holds(now) || Plant::NoLeaseCheck.is_on())
    }

    /// The index of a committed batch.
    pub(crate) fn index_of(&self, seq: Seq) -> LogIndex {
        let moved = self.moved.iter().rev().find(|(after, _)| seq > *after).map_or(0, |(_, by)| *by);
        LogIndex(self.base.0 + seq.0 + moved)
    }
}

/// What the data is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Replaying the log into new memory; nothing is served.
    Restoring,
    /// Memory is what the log says (or, on a primary, ahead of it).
    Serving,
    /// A fatal error.
    Stopped(Arc<str>),
}

/// Counts since the process started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) batches: u64,
    pub(crate) units: u64,
    /// Taken back since their effects were longer than a unit may be.
    pub(crate) units_too_large: u64,
    /// Taken back since they ran for too long.
    pub(crate) units_too_slow: u64,
    pub(crate) effect_bytes: u64,
    pub(crate) batches_applied: u64,
    pub(crate) undone: u64,
    pub(crate) undone_by_records: u64,
    pub(crate) undone_units: u64,
    pub(crate) unknown_replies: u64,
    /// Replies that wait for their commit since their clients ask for it, in a mode that does not.
    pub(crate) asked: u64,
    /// Timestamps staged alone.
    pub(crate) time_units: u64,
    pub(crate) restores: u64,
    /// Commands that waited for a primary, each pipeline once, and those that were refused after it.
    pub(crate) lease_waits: u64,
    pub(crate) lease_waits_refused: u64,
}

/// See the module.
pub(crate) struct State {
    pub(crate) shard: ShardId,
    /// To measure spans with; what is decided goes by the readings that the caller has.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) slots: SlotSet,
    pub(crate) engine: Engine,
    pub(crate) engine_options: EngineOptions,
    /// Changes whenever `engine` is replaced.
    pub(crate) generation: u64,
    pub(crate) phase: Phase,
    pub(crate) loading: Loading,
    pub(crate) role: SeenRole,
    pub(crate) leader: Option<Leader>,
    pub(crate) tenures: u64,
    /// The newest epoch that this process led.
    pub(crate) led: Option<Epoch>,
    pub(crate) ended: EndedTenures,
    /// When the undo began for which memory is being restored.
    pub(crate) undo_began: Option<BootNs>,
    /// How long the last undo took, until memory was what is committed.
    pub(crate) undo_took: Duration,
    /// Newest entry that memory holds; 0: none. Never within a batch.
    pub(crate) applied: LogIndex,
    /// Newest entry that was taken from the log: beyond `applied` within a batch of several entries.
    pub(crate) walked: LogIndex,
    /// What was taken beyond `applied`, of a batch of another primary or of the past.
    pub(crate) fragments: Fragments,
    pub(crate) committed_seen: LogIndex,
    /// The newest installed snapshot that memory was given up for; 0: none.
    pub(crate) jumped_to: LogIndex,
    /// The epoch of the newest applied entry, and its newest batch.
    pub(crate) log_epoch: Epoch,
    pub(crate) log_seq: Seq,
    pub(crate) committed_time: CommittedTime,
    /// What READONLY clients are shown after a start.
    pub(crate) served: Served,
    /// Of all entries up to `walked`: replicas that have the same log have the same.
    pub(crate) log_checksum: u64,
    /// The same up to `applied`, which is what is told of.
    pub(crate) applied_checksum: u64,
    pub(crate) mode: Mode,
    pub(crate) lag_bound: LagBound,
    pub(crate) snapshots: Snapshots,
    pub(crate) digests: Digests,
    pub(crate) lag: Lag,
    pub(crate) gate: LagGate,
    pub(crate) batching: Batching,
    /// How long commands wait while no primary is known.
    pub(crate) lease_wait_max: Duration,
    /// Since when a hand-over has been asking to drain.
    pub(crate) draining: Option<BootNs>,
    pub(crate) client_pause: ClientPause,
    /// What all connections hold, bytes.
    pub(crate) clients: Rc<Cell<u64>>,
    /// Clients in WAIT and WAITAOF.
    pub(crate) waits: Waits,
    pub(crate) counters: Counters,
    pub(crate) random: Choices,
    /// Given to commands that may not write; stays empty.
    pub(crate) no_effects: EffectBuf,
    /// Nothing is freed before.
    pub(crate) frees_from: BootNs,
    pub(crate) tokens: u64,
}

/// The primary's random choices; replicas make none.
pub(crate) struct Choices(SmallRng);

impl Random for Choices {
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

/// Empty memory.
pub(crate) fn new_engine(options: EngineOptions, slots: &SlotSet) -> Engine {
    let mut engine = Engine::new(options);
    engine.set_slots(slots.runs());
    engine
}

impl State {
    pub(crate) fn new(options: &ShardOptions) -> State {
        State {
            shard: options.shard,
            clock: options.clock.clone(),
            slots: options.slots.clone(),
            engine: new_engine(options.engine, &options.slots),
            engine_options: options.engine,
            generation: 1,
            phase: Phase::Restoring,
            loading: Loading::new(options.clock.boot(), options.clock.wall()),
            role: SeenRole::Follower { leader: None },
            leader: None,
            tenures: 0,
            led: None,
            ended: EndedTenures::default(),
            undo_began: None,
            undo_took: Duration::ZERO,
            applied: LogIndex(0),
            walked: LogIndex(0),
            fragments: Fragments::default(),
            committed_seen: LogIndex(0),
            jumped_to: LogIndex(0),
            log_epoch: Epoch::default(),
            log_seq: Seq(0),
            committed_time: CommittedTime::default(),
            served: Served::new(options.clock.boot()),
            log_checksum: 0,
            applied_checksum: 0,
            mode: Mode::new(options.desired),
            lag_bound: LagBound::new(options.max_lag),
            snapshots: Snapshots::new(options.snapshots.clone(), options.snapshot_log_bytes),
            digests: Digests::default(),
            lag: Lag::default(),
            gate: LagGate::new(options.max_lag),
            batching: options.batching,
            lease_wait_max: options.lease_wait_max,
            draining: None,
            client_pause: ClientPause::default(),
            clients: Rc::default(),
            waits: Waits::default(),
            counters: Counters { restores: 1, ..Counters::default() },
            random: Choices(SmallRng::seed_from_u64(options.random_seed)),
            no_effects: EffectBuf::new(),
            frees_from: BootNs(0),
            tokens: 0,
        }
    }

    /// Whether memory shows committed effects alone.
    #[inline]
    pub(crate) fn is_clean(&self) -> bool {
        self.leader.as_ref().is_none_or(|leader| leader.stage.is_clean())
    }

    /// Whether so much is open that writers have to wait. Behind a shut gate they are refused instead.
    #[inline]
    pub(crate) fn is_pressed(&self) -> bool {
        self.has_open_bytes_max() && !self.gate.is_shut()
    }

    /// Whether as much is open as may be.
    #[inline]
    pub(crate) fn has_open_bytes_max(&self) -> bool {
        self.leader.as_ref().map_or(0, |leader| leader.stage.open_bytes()) >= self.batching.open_bytes_max
    }

    /// When the oldest effect was staged that has not committed; `None`: there is none.
    #[inline]
    pub(crate) fn oldest_open(&self) -> Option<BootNs> {
        self.leader.as_ref().and_then(|leader| leader.stage.oldest_open())
    }

    /// Whether the log was walked up to between two fragments of a batch: memory stands before the first of them.
    #[inline]
    pub(crate) fn is_within_batch(&self) -> bool {
        self.walked != self.applied
    }

    /// Whether commands are held at the front end for a hand-over.
    pub(crate) fn is_holding(&self, now: BootNs) -> bool {
        self.draining.is_some_and(|since| now.since(since) < self.batching.drain_hold_max)
    }

    /// The time that commands and effects see: the wall clock, but never before what the log has seen.
    #[inline]
    pub(crate) fn timestamp(&self, now: Now) -> WallMs {
        now.wall.max(self.engine.newest_timestamp())
    }

    /// What was appended to the open batch since `before`, where a unit was begun, becomes that unit; false if nothing
    /// was.
    pub(crate) fn stage(&mut self, kind: UnitKind, before: usize, now: Now) -> bool {
        let Some(leader) = self.leader.as_mut().filter(|leader| leader.stage.effects.len() > before) else {
            return false;
        };
        leader.stage.stage(kind, before, now, self.mode.in_force(), &mut leader.dirty);
        self.engine.advance_timestamp(now.wall);
        self.engine.end_unit(leader.stage.last_staged());
        true
    }

    pub(crate) fn unwatch(&mut self, session: &mut Session) {
        session.data.unwatch(&mut self.engine);
    }

    pub(crate) fn info(&self, now: Now, clock: ClockCheck, stalls: LoopStalls) -> ShardInfo {
        let leader = self.leader.as_ref();
        let lease_holds = leader.is_some_and(|leader| leader.may_act(now.boot));
        let restoring = self.phase == Phase::Restoring;
        let reads_closed = restoring || leader.is_none() && !self.served.is_open();
        let entries_left = self.committed_seen.0.saturating_sub(self.walked.0);
        ShardInfo {
            shard: self.shard,
            standing: self.standing(),
            lease_holds,
            restoring,
            reads_closed,
            loading: reads_closed.then(|| self.loading.info(now.boot, entries_left)),
            stopped: self.stopped_reason(),
            epoch: leader.map_or(self.log_epoch, |leader| leader.epoch),
            durability: self.mode.in_force(),
            mode_version: self.mode.version(),
            max_lag_version: self.lag_bound.version(),
            lag: self.lag.now(self.oldest_open(), now.boot),
            lag_longest: self.lag.longest(),
            gate: self.gate.info(),
            snapshot: self.snapshots.info(),
            log_checksum: self.applied_checksum,
            committed: self.committed_seen.max(self.applied),
            applied: self.applied,
            staged_seq: leader.map_or(Seq(0), |leader| leader.stage.last_staged()),
            committed_seq: leader.map_or(Seq(0), |leader| leader.committed),
            open_batches: leader.map_or(0, |leader| leader.stage.open_batches()),
            memory: self.memory(),
            freeing: self.engine.freeing(),
            open_bytes: leader.map_or(0, |leader| leader.stage.open_bytes()),
            batches: self.counters.batches,
            units: self.counters.units,
            units_too_large: self.counters.units_too_large,
            units_too_slow: self.counters.units_too_slow,
            effect_bytes: self.counters.effect_bytes,
            batches_applied: self.counters.batches_applied,
            undone: self.counters.undone,
            undone_by_records: self.counters.undone_by_records,
            undo_took: self.undo_took,
            undo_bytes: self.engine.undo_bytes(),
            undone_units: self.counters.undone_units,
            unknown_replies: self.counters.unknown_replies,
            asked: self.counters.asked,
            time_units: self.counters.time_units,
            restores: self.counters.restores,
            lease_waits: self.counters.lease_waits,
            lease_waits_refused: self.counters.lease_waits_refused,
            stalls,
            clock,
        }
    }

    fn standing(&self) -> Standing {
        match (&self.role, &self.leader) {
            (SeenRole::Stopped { .. }, _) => Standing::Stopped,
            (SeenRole::Follower { leader }, _) => Standing::Replica { leader: *leader },
            (SeenRole::Leader { .. }, Some(leader)) if !leader.deposed && self.draining.is_none() => Standing::Primary,
            (SeenRole::Leader { .. }, _) => Standing::Waiting,
        }
    }

    fn stopped_reason(&self) -> Option<String> {
        match (&self.phase, &self.role) {
            (Phase::Stopped(reason), _) | (_, SeenRole::Stopped { reason }) => Some(reason.to_string()),
            _ => None,
        }
    }
}

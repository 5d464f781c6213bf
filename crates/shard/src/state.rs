//! The state that the loop's thread owns: memory, and its relation to the log.
//!
//! Memory is in one of two relations to the log. Without a [`Leader`] it is exactly the committed log up to
//! `position.applied`. With one it also has the effects that the leader part has staged. A leader part is created when
//! the first entry of its epoch has been applied, and dropped as a whole when the tenure ends.
//!
//! The parts of a [`Replica`] are modules of their own, which do not depend on each other unless they import each
//! other. Functions that need several parts are methods of [`State`], [`Replica`] or [`Primary`], in the module of
//! their concern: `admit`, `leadership`, `log_walk`, `release`, `restore`, `snapshot`, `undo`, `upkeep`.

use std::sync::Arc;
use std::time::Duration;

use fastness_consensus::handle::GroupHandle;
use fastness_engine::MemoryBeside;
use fastness_types::{BootNs, Clock, LogIndex, ShardId};

use crate::counters::{Counters, Peaks};
use crate::data::Data;
use crate::digest::{DigestError, Digests};
use crate::edges::Edges;
use crate::flow::FlowControl;
use crate::idempotency::records::{IdempotencyLimits, Records};
use crate::key_events::KeyEvents;
use crate::key_waits::KeyWaits;
use crate::leader::Leader;
use crate::loading::Loading;
use crate::memory::{ClientMemory, MemoryUse, Overrun};
use crate::now::Now;
use crate::options::{Batching, ShardOptions};
use crate::outcome::{WaitAnswer, WaitRequest};
use crate::position::LogPosition;
use crate::recorder::Recorder;
use crate::role::{Phase, SeenRole};
use crate::scripts::scripting::Scripting;
use crate::served::Served;
use crate::settings::Settings;
use crate::snapshots::Snapshots;
use crate::stage::StagedUnit;
use crate::tenures::Tenures;
use crate::time::CommittedTime;
use crate::tracking::Tracking;
use crate::waits::{Acknowledged, Waiting, Waits};

/// The state of one replica.
pub(crate) struct State {
    /// The leader part, during a tenure as primary.
    pub(crate) leader: Option<Leader>,
    pub(crate) replica: Replica,
}

/// The state of a replica, whether or not it is the primary.
pub(crate) struct Replica {
    pub(crate) shard: ShardId,
    pub(crate) recorder: Recorder,
    /// Only to measure durations. Decisions use the clock readings of the caller.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) batching: Batching,
    pub(crate) data: Data,
    /// What recognises writes that are sent again.
    pub(crate) records: Records,
    pub(crate) idempotency: IdempotencyLimits,
    pub(crate) phase: Phase,
    pub(crate) role: SeenRole,
    pub(crate) position: LogPosition,
    pub(crate) committed_time: CommittedTime,
    /// Whether READONLY clients are served after a start.
    pub(crate) served: Served,
    pub(crate) tenures: Tenures,
    pub(crate) settings: Settings,
    pub(crate) flow: FlowControl,
    /// DEBUG SET-ACTIVE-EXPIRE: whether a primary removes expired keys and fields that no command meets.
    pub(crate) expires_actively: bool,
    /// Scripts and functions.
    pub(crate) scripts: Scripting,
    pub(crate) snapshots: Snapshots,
    pub(crate) digests: Digests,
    pub(crate) loading: Loading,
    /// Clients in WAIT and WAITAOF.
    pub(crate) waits: Waits,
    /// Clients whose commands wait for keys.
    pub(crate) key_waits: KeyWaits,
    /// Keyspace notifications for the front end.
    pub(crate) key_events: KeyEvents,
    /// Who is informed of changed keys.
    pub(crate) tracking: Tracking,
    pub(crate) clients: ClientMemory,
    /// For how long memory was over its bound.
    pub(crate) overrun: Overrun,
    pub(crate) counters: Counters,
    pub(crate) peaks: Peaks,
    /// Number of sessions created so far. The engine identifies the watched keys of a session by its number.
    pub(crate) sessions: u64,
}

/// A replica that is the primary, with its leader part. A function that has one may read and change data and stage
/// effects.
///
/// Created only after the check that this is allowed ([`State::admit`], [`State::staging`]). It borrows the state, so a
/// tenure cannot end while it exists.
pub(crate) struct Primary<'a> {
    pub(crate) leader: &'a mut Leader,
    pub(crate) replica: &'a mut Replica,
}

impl Primary<'_> {
    /// Stages the effects that were appended to the open batch as one unit. False if there are none.
    #[inline]
    pub(crate) fn stage(&mut self, unit: StagedUnit, now: Now) -> bool {
        if self.leader.stage.effects.len() <= unit.before {
            return false;
        }
        let waited_for = self.replica.key_waits.touched(&self.leader.stage.effects);
        let mode = self.replica.settings.mode.in_force();
        self.leader.stage.stage(unit, now, mode, &mut self.leader.dirty);
        self.end_unit(now);
        if !waited_for.is_empty() {
            self.replica.serve_changed(&waited_for, self.leader.stage.last_staged());
        }
        if self.replica.data.engine.notes_changes() {
            self.report_staged();
        }
        true
    }

    /// Records that memory contains the unit that was just staged.
    #[inline]
    pub(crate) fn end_unit(&mut self, now: Now) {
        self.replica.data.engine.advance_timestamp(now.wall);
        self.replica.data.engine.end_unit(self.leader.stage.last_staged());
    }

    /// Whether writers must wait because too much is uncommitted. While the lag gate is closed they are refused
    /// instead.
    #[inline]
    pub(crate) fn is_pressed(&self) -> bool {
        self.replica.is_pressed(self.leader)
    }

    /// Whether the uncommitted effects have reached their bound in bytes.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.replica.is_full(self.leader)
    }
}

impl Replica {
    fn new(options: &ShardOptions, handle: GroupHandle) -> Replica {
        Replica {
            recorder: Recorder::new(handle),
            shard: options.shard,
            clock: options.clock.clone(),
            batching: options.batching,
            data: Data::new(options),
            records: Records::default(),
            idempotency: options.idempotency,
            phase: Phase::Restoring,
            role: SeenRole::Follower { leader: None },
            position: LogPosition::default(),
            committed_time: CommittedTime::default(),
            served: Served::new(options.clock.boot()),
            tenures: Tenures::default(),
            settings: Settings::new(options),
            flow: FlowControl::new(options),
            expires_actively: true,
            scripts: Scripting::default(),
            snapshots: Snapshots::new(options.snapshots.clone(), options.snapshot_log_bytes),
            digests: Digests::default(),
            loading: Loading::new(options.clock.boot(), options.clock.wall()),
            waits: Waits::default(),
            key_waits: KeyWaits::default(),
            key_events: KeyEvents::default(),
            tracking: Tracking::default(),
            clients: ClientMemory::default(),
            overrun: Overrun::default(),
            counters: Counters { restores: 1, ..Counters::default() },
            peaks: Peaks::default(),
            sessions: 0,
        }
    }

    #[inline]
    fn is_pressed(&self, leader: &Leader) -> bool {
        self.is_full(leader) && !self.flow.gate.is_closed()
    }

    #[inline]
    fn is_full(&self, leader: &Leader) -> bool {
        leader.stage.open_bytes() >= self.batching.open_bytes_max
    }

    /// The reading, with its wall time replaced by the time that commands and effects see.
    #[inline]
    pub(crate) fn stamped(&self, now: Now) -> Now {
        Now { wall: self.data.timestamp(now), ..now }
    }
}

impl State {
    pub(crate) fn new(options: &ShardOptions, handle: GroupHandle) -> State {
        State { leader: None, replica: Replica::new(options, handle) }
    }

    /// The replica with its leader part during a tenure. Does not check whether it may act at this moment.
    #[inline]
    pub(crate) fn primary(&mut self) -> Option<Primary<'_>> {
        let State { leader, replica } = self;
        leader.as_mut().map(|leader| Primary { leader, replica })
    }

    /// The primary, if it may stage effects of its own accord now: not while it holds a part of a unit.
    pub(crate) fn staging(&mut self, now: Now) -> Option<Primary<'_>> {
        let may_stage = !self.replica.flow.is_draining() && now.trusted;
        self.primary()
            .filter(|primary| may_stage && primary.leader.may_act(now.boot) && !primary.leader.stage.is_held())
    }

    /// Whether memory has only committed effects.
    #[inline]
    pub(crate) fn is_clean(&self) -> bool {
        self.leader.as_ref().is_none_or(|leader| leader.stage.is_clean())
    }

    /// See [`Primary::is_pressed`].
    #[inline]
    pub(crate) fn is_pressed(&self) -> bool {
        self.leader.as_ref().is_some_and(|leader| self.replica.is_pressed(leader))
    }

    /// When the oldest uncommitted effect was staged; `None`: all effects are committed.
    #[inline]
    pub(crate) fn oldest_open(&self) -> Option<BootNs> {
        self.leader.as_ref().and_then(|leader| leader.stage.oldest_open())
    }

    /// Passes the memory that counts against `maxmemory` besides the data to the engine.
    #[inline]
    pub(crate) fn count_memory(&mut self) {
        let Replica { data, records, position, snapshots, clients, key_events, tracking, .. } = &mut self.replica;
        let open = self.leader.as_ref().map_or(0, |leader| leader.stage.memory());
        let clients = clients.bytes() + key_events.bytes() as u64 + tracking.memory.bytes();
        let rest = position.fragments.bytes() as u64 + clients + records.bytes() as u64;
        let image = snapshots.waiting_bytes();
        data.engine.set_memory_beside(MemoryBeside { uncommitted: open as u64, image, rest });
    }

    pub(crate) fn memory(&self) -> MemoryUse {
        memory_use(self.leader.as_ref(), &self.replica)
    }

    /// The position at which a digest of memory can be taken now.
    pub(crate) fn digest_position(&self) -> Result<LogIndex, DigestError> {
        if self.replica.phase != Phase::Serving {
            return Err(DigestError::NotServing);
        }
        if !self.is_clean() {
            return Err(DigestError::Open);
        }
        Ok(self.replica.position.applied)
    }

    fn has_lost_its_role(&self) -> bool {
        !self.replica.role.is_leader() || matches!(self.replica.phase, Phase::Stopped(_))
    }

    /// Answers clients in WAIT that need not wait any longer; returns when to check again.
    pub(crate) fn follow_waits(&mut self, edges: &Edges, now: BootNs) -> Option<Duration> {
        if self.replica.waits.is_empty() {
            return None;
        }
        if self.has_lost_its_role() {
            self.replica.waits.end_all();
            return None;
        }
        let Replica { waits, tenures, .. } = &mut self.replica;
        waits.follow(Acknowledged { leader: self.leader.as_ref(), tenures, copies: &*edges.copies }, now)
    }

    /// Blocks a client in WAIT, unless it can be answered at once.
    pub(crate) fn start_wait(
        &mut self,
        edges: &Edges,
        request: WaitRequest,
    ) -> Result<std::rc::Rc<Waiting>, WaitAnswer> {
        if self.has_lost_its_role() {
            return Err(WaitAnswer::Unblocked);
        }
        let Replica { waits, tenures, .. } = &mut self.replica;
        let acknowledged = Acknowledged { leader: self.leader.as_ref(), tenures, copies: &*edges.copies };
        waits.start(acknowledged, request, &*edges.clock)
    }
}

/// Memory of a replica by purpose.
pub(crate) fn memory_use(leader: Option<&Leader>, replica: &Replica) -> MemoryUse {
    let Replica { data, records, position, snapshots, clients, key_events, tracking, .. } = replica;
    MemoryUse {
        data: data.engine.memory_of_data(),
        image: data.engine.memory_of_image() + snapshots.waiting_bytes(),
        open_effects: leader.map_or(0, |leader| leader.stage.memory()) as u64,
        undo: data.engine.undo_bytes(),
        fragments: position.fragments.bytes() as u64,
        clients: clients.bytes() + key_events.bytes() as u64,
        tracking: tracking.memory.bytes(),
        records: records.bytes() as u64,
    }
}

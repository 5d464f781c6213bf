//! Eviction on the primary: removes keys when memory is full, before a command that needs memory runs, and between
//! commands.
//!
//! - The engine says how much must leave ([`Engine::eviction_excess`]) and chooses the keys. What the commits of staged
//!   units will free does not count: otherwise eviction would go on until no key is left, because evicted values are
//!   in undo records until they have committed.
//! - The keys of one slice are one unit, as with expiry. Everything that is true of a unit is true of it: it is
//!   replicated, it may be undone, and a reply that has seen one of the keys missing depends on its commit.
//! - A slice is bounded in time (`maxmemory-eviction-tenacity`), keys and bytes. The loop continues with the next one
//!   in its next turn, and commands run meanwhile.
//! - A command that needs memory waits while enough was evicted and has not committed, and is refused if nothing can be
//!   evicted. While more must be evicted than one slice can, as after `maxmemory` was lowered, it runs, as in Valkey.
//! - Nothing is evicted whenever the primary stages nothing of its own accord, nor while too much is uncommitted, the
//!   lag gate is closed, or CLIENT PAUSE is in effect.
//!
//! [`Engine::eviction_excess`]: fastness_engine::Engine::eviction_excess

use std::time::Duration;

use fastness_engine::{Evicted, EvictionEnd, Room};
use fastness_types::{BootNs, limits};

use crate::batch::UnitKind;
use crate::execution::Execution;
use crate::memory_check::{MadeRoom, MemoryCheck};
use crate::now::Now;
use crate::session::WaitsFor;
use crate::stage::StagedUnit;
use crate::state::{Primary, State};

/// Keys after which the time of a slice is checked.
const KEYS_PER_CHECK: usize = 16;
/// While CLIENT PAUSE is in effect, how often the end of it is checked.
const PAUSE_CHECK_MAX: Duration = Duration::from_secs(1);

impl Execution<'_> {
    /// Evicts keys if that is necessary for a command, and says whether it may run. Records what it waits for.
    #[inline]
    pub(crate) fn make_room(&mut self, primary: &mut Primary<'_>, needs_memory: bool) -> MadeRoom {
        let engine = &primary.replica.data.engine;
        if !needs_memory || engine.maxmemory() == 0 || !engine.eviction().policy.evicts() {
            return MadeRoom::Runs(MemoryCheck::Needed);
        }
        match self.evict_before(primary) {
            Room::Enough => MadeRoom::Runs(MemoryCheck::Done),
            Room::Lacking => MadeRoom::Runs(MemoryCheck::Needed),
            Room::AfterCommit => {
                primary.leader.stage.hurry();
                self.session.waits_for = WaitsFor::Room;
                MadeRoom::Waits
            }
        }
    }

    fn evict_before(&mut self, primary: &mut Primary<'_>) -> Room {
        let engine = &primary.replica.data.engine;
        if engine.eviction_excess() == 0 {
            return engine.room(false);
        }
        let end = primary.evict(self.now);
        // The loop evicts more, and proposes what is staged.
        self.edges.work.notify_one();
        let engine = &primary.replica.data.engine;
        match end {
            EvictionEnd::Bounded => Room::Enough,
            EvictionEnd::NothingLeft => engine.room(false),
            EvictionEnd::Enough | EvictionEnd::AwaitsCommit => engine.room(true),
        }
    }
}

impl State {
    /// Evicts a slice of keys if memory is full; returns when to continue.
    pub(crate) fn evict(&mut self, now: Now) -> Option<Duration> {
        self.count_memory();
        let engine = &self.replica.data.engine;
        if !engine.eviction().policy.evicts() || engine.eviction_excess() == 0 {
            return None;
        }
        let now = self.replica.stamped(now);
        if let Some((_, left)) = self.replica.flow.client_pause.state(now.boot) {
            return Some(left.min(PAUSE_CHECK_MAX));
        }
        let end = self.staging(now)?.evict(now);
        // A commit wakes the loop, and so does whoever may open the gate.
        (end == EvictionEnd::Bounded).then_some(Duration::ZERO)
    }

    /// Whether a command that needs memory waits for room.
    pub(crate) fn awaits_room(&self, now: BootNs) -> bool {
        let engine = &self.replica.data.engine;
        let may_act = self.leader.as_ref().is_some_and(|leader| leader.may_act(now));
        may_act && engine.eviction().policy.evicts() && engine.room(engine.can_evict()) == Room::AfterCommit
    }

    /// Follows whether memory is over its bound, for INFO.
    pub(crate) fn follow_overrun(&mut self, now: BootNs) {
        self.count_memory();
        let is_over = self.replica.data.engine.is_out_of_memory();
        self.replica.overrun.follow(is_over, now);
    }
}

impl Primary<'_> {
    /// Stages one slice of evictions as a unit, and says why it has stopped.
    pub(crate) fn evict(&mut self, now: Now) -> EvictionEnd {
        if self.is_full() || self.replica.flow.gate.is_closed() {
            return EvictionEnd::AwaitsCommit;
        }
        let bytes_max = self.leader.stage.unit_bytes_max();
        let effects = &mut self.leader.stage.effects;
        let before = effects.len();
        let savepoint = self.replica.data.engine.begin_unit(effects, bytes_max);
        let end = self.evict_slice(now, before);
        let engine = &mut self.replica.data.engine;
        if self.leader.stage.effects.has_overflowed() {
            engine.roll_back(savepoint, &mut self.leader.stage.effects);
            tracing::error!(
                shard = self.replica.shard.0,
                "the eviction of a key is longer than a unit may be: the key stays"
            );
            return end;
        }
        if self.stage(StagedUnit { kind: UnitKind::Expiry, before, record: None }, now) {
            self.leader.stage.seal_cut();
        }
        self.pass_notifications(self.replica.settings.mode.in_force());
        end
    }

    fn evict_slice(&mut self, now: Now, before: usize) -> EvictionEnd {
        let (replica, effects) = (&mut *self.replica, &mut self.leader.stage.effects);
        let (engine, random) = (&mut replica.data.engine, &mut replica.data.random);
        let started = replica.clock.boot();
        let until = started.plus(engine.eviction().slice_time());
        let mut evicted = 0;
        let end = loop {
            let Evicted { keys, end } = engine.evict(now.wall, KEYS_PER_CHECK, random, effects);
            evicted += keys;
            let is_long = evicted + KEYS_PER_CHECK > limits::EXPIRY_UNIT_KEYS_MAX
                || effects.len() - before >= limits::EXPIRY_UNIT_BYTES_MAX;
            if end != EvictionEnd::Bounded || is_long || replica.clock.boot() >= until {
                break end;
            }
        };
        if evicted > 0 {
            let took = replica.clock.boot().since(started);
            replica.peaks.eviction = replica.peaks.eviction.max(took);
        }
        end
    }
}

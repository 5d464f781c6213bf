//! The options of a shard replica.

use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastness_engine::EngineOptions;
use fastness_engine::command::CommandTable;
use fastness_types::{Clock, LogIndex, NodeId, SLOTS, ShardId, Slot, limits};

use crate::idempotency::records::IdempotencyLimits;
use crate::mode::DesiredMode;
use crate::snapshot_store::SnapshotStore;

/// The arguments of [`crate::Shard::start`].
pub struct ShardOptions {
    /// The shard.
    pub shard: ShardId,
    /// This node.
    pub node: NodeId,
    /// The slots that the shard owns.
    pub slots: SlotSet,
    /// The mode that the cluster's map desires; [`crate::Shard::set_desired_mode`] sets later ones.
    pub desired: DesiredMode,
    /// The commands of the shard's front ends. One table for all of them: a command is known by its index.
    pub commands: &'static CommandTable,
    /// The data's options.
    pub engine: EngineOptions,
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// Pauses shorter than a millisecond; see [`Pause`].
    pub pause: Rc<dyn Pause>,
    /// Knows which replicas hold an entry on stable storage, for WAIT and WAITAOF.
    pub copies: Rc<dyn StableCopies>,
    /// Seed of the random choices that commands make (RANDOMKEY, SPOP).
    pub random_seed: u64,
    /// When batches are closed, and how many are in flight.
    pub batching: Batching,
    /// How many writes are recognised when they are sent again.
    pub idempotency: IdempotencyLimits,
    /// Where snapshots are kept; `None`: none are made, and memory is restored from the log alone.
    pub snapshots: Option<Rc<dyn SnapshotStore>>,
    /// A snapshot is cut after this many bytes of log, or after as many as the newest snapshot has, if that is more. 0:
    /// only on request.
    pub snapshot_log_bytes: u64,
    /// `async`: the durability lag at which writes are refused (`durability-max-lag`).
    pub max_lag: Duration,
    /// How long commands wait while the lease has lapsed and no other primary is known (`lease-wait-max`); zero: not at
    /// all.
    pub lease_wait_max: Duration,
}

/// When batches are closed, and how many are in flight.
#[derive(Debug, Clone, Copy)]
pub struct Batching {
    /// Log entries proposed and not committed; a full window keeps the batch open. At least 1.
    pub in_flight_max: usize,
    /// A batch is closed once its effects reach this many bytes.
    pub bytes_soft: usize,
    /// `sync`: how long a batch waits at most, after replies were released, for the next writes of the same clients.
    pub sync_wait: Duration,
    /// `sync`: how long a batch stays open at most while another one is in flight, so that one batch carries the writes
    /// of two groups of clients.
    pub sync_hold: Duration,
    /// `async`, `disabled`: the age at which a batch is closed.
    pub async_age: Duration,
    /// How often a primary checks for expired keys.
    pub expire_every: Duration,
    /// Effects of one unit, bytes: one that would be longer is rolled back and answered with an error.
    pub unit_bytes_max: usize,
    /// How long a transaction may have run when its next command is due; after that it is rolled back and answered with
    /// an error.
    pub unit_time_max: Duration,
    /// Payload of one log entry, bytes.
    pub entry_bytes_max: usize,
    /// Size of a fragment, in bytes. A larger batch is cut into fragments, if every member of the group can read them.
    pub fragment_bytes_max: usize,
    /// Bound on uncommitted effects, in bytes. At the bound the outcome of writes is [`crate::Outcome::Busy`].
    pub open_bytes_max: usize,
    /// Bound on the undo records of uncommitted effects, in bytes. Beyond it the records are dropped, and an undo is a
    /// restore from snapshot and log.
    pub undo_bytes_max: usize,
    /// During a hand-over commands are held at the front end for this long, then refused.
    pub drain_hold_max: Duration,
}

impl Default for Batching {
    fn default() -> Batching {
        Batching {
            in_flight_max: limits::BATCHES_IN_FLIGHT_MAX,
            bytes_soft: limits::BATCH_BYTES_SOFT,
            sync_wait: Duration::from_micros(1500),
            sync_hold: Duration::from_millis(3),
            async_age: Duration::from_millis(10),
            expire_every: Duration::from_millis(25),
            unit_bytes_max: limits::UNIT_BYTES_MAX,
            unit_time_max: limits::UNIT_TIME_MAX,
            entry_bytes_max: limits::ENTRY_BYTES_MAX,
            fragment_bytes_max: limits::FRAGMENT_BYTES_MAX,
            open_bytes_max: limits::OPEN_EFFECT_BYTES_MAX,
            undo_bytes_max: limits::UNDO_BYTES_MAX,
            drain_hold_max: Duration::from_secs(2),
        }
    }
}

/// Pauses with a better resolution than tokio's timers (one millisecond), where the platform supports it.
pub trait Pause {
    /// Resolves after `span`, not before.
    fn pause(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// Pauses by tokio's timers, as a simulation needs it.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioPause;

impl Pause for TokioPause {
    fn pause(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// Which replicas have an entry on stable storage. Implemented with the group's control.
pub trait StableCopies {
    /// Number of other replicas known to have everything up to `index` on stable storage. For `LogIndex(0)`: number of
    /// other replicas that answer.
    fn replicas(&self, index: LogIndex) -> u64;
    /// Whether the entry is on this node's own disk.
    fn local(&self, index: LogIndex) -> bool;
    /// Subscribes to changes of both answers.
    fn follow(&self) -> Box<dyn FollowCopies>;
}

/// Reports that the answers of [`StableCopies`] may have changed.
#[async_trait::async_trait(?Send)]
pub trait FollowCopies {
    /// Resolves after the next acknowledgement since the last call. May be dropped and called again.
    async fn changed(&mut self);
}

/// A set of slots.
#[derive(Clone)]
pub struct SlotSet(Box<[u64; SLOTS / 64]>);

impl SlotSet {
    /// No slot.
    #[must_use]
    pub fn none() -> SlotSet {
        SlotSet(Box::new([0; SLOTS / 64]))
    }

    /// Every slot.
    #[must_use]
    pub fn all() -> SlotSet {
        SlotSet(Box::new([u64::MAX; SLOTS / 64]))
    }

    /// Adds a range.
    pub fn insert(&mut self, range: RangeInclusive<u16>) {
        for slot in range {
            self.0[usize::from(slot) / 64] |= 1 << (slot % 64);
        }
    }

    /// The set as maximal ranges of slots, in order.
    #[must_use]
    pub fn runs(&self) -> Vec<RangeInclusive<u16>> {
        let mut runs: Vec<RangeInclusive<u16>> = Vec::new();
        for slot in (0..SLOTS as u16).filter(|slot| self.contains(Slot(*slot))) {
            match runs.last_mut() {
                Some(run) if *run.end() + 1 == slot => *run = *run.start()..=slot,
                _ => runs.push(slot..=slot),
            }
        }
        runs
    }

    /// Whether `slot` is in it.
    #[inline]
    #[must_use]
    pub fn contains(&self, slot: Slot) -> bool {
        self.0[usize::from(slot.0) / 64] >> (slot.0 % 64) & 1 == 1
    }
}

impl FromIterator<RangeInclusive<u16>> for SlotSet {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u16>>>(ranges: I) -> SlotSet {
        let mut set = SlotSet::none();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

impl std::fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SlotSet({} slots)", self.0.iter().map(|word| word.count_ones()).sum::<u32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_inclusive() {
        let set: SlotSet = [0..=1, 100..=200, 16_383..=16_383].into_iter().collect();
        for (slot, inside) in [(0, true), (1, true), (2, false), (99, false), (200, true), (201, false), (16_383, true)]
        {
            assert_eq!(set.contains(Slot(slot)), inside, "{slot}");
        }
        assert_eq!(set.runs(), [0..=1, 100..=200, 16_383..=16_383]);
        assert_eq!(SlotSet::all().runs(), [0..=16_383]);
    }
}

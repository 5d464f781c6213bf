//! Figures of one shard replica, for INFO, CLUSTER and metrics.

use std::time::Duration;

use fastness_consensus::ClockCheck;
use fastness_consensus::handle::LoopStalls;
use fastness_engine::Freeing;
use fastness_types::{Durability, Epoch, LogIndex, NodeId, Seq, ShardId, SpanCounts};

use crate::key_waits::KeyWaitCounts;
use crate::lag::GateInfo;
use crate::leader::Leader;
use crate::loading::LoadInfo;
use crate::memory::MemoryUse;
use crate::now::Now;
use crate::role::{Phase, SeenRole};
use crate::scripts::scripting::ScriptCounts;
use crate::snapshots::SnapshotInfo;
use crate::state::{Replica, memory_use};

/// What this replica is, as clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Leads and may serve while the lease holds.
    Primary,
    /// Leads, and has not yet applied its epoch's first entry, or is draining for a hand-over.
    Waiting,
    /// Follows `leader`, if known.
    Replica {
        /// The primary that clients are redirected to.
        leader: Option<NodeId>,
    },
    /// Stopped for good; see [`ShardInfo::stopped`].
    Stopped,
}

/// A snapshot of the figures. Counts are since the process started.
#[derive(Debug, Clone)]
pub struct ShardInfo {
    /// The shard.
    pub shard: ShardId,
    /// See [`Standing`].
    pub standing: Standing,
    /// Whether the lease holds now; always `false` on replicas.
    pub lease_holds: bool,
    /// Whether the data is being restored from snapshot and log; nothing is served meanwhile.
    pub restoring: bool,
    /// Whether READONLY clients are answered LOADING: memory is being restored, or is not yet as new as what was shown
    /// before a restart.
    pub reads_closed: bool,
    /// How far restoring is; `None` once reads are served.
    pub loading: Option<LoadInfo>,
    /// The fatal error that stopped this replica.
    pub stopped: Option<String>,
    /// The epoch this replica leads, or the one of the newest applied entry.
    pub epoch: Epoch,
    /// The mode in force.
    pub durability: Durability,
    /// The version of the newest desired mode that has committed here; 0: none.
    pub mode_version: u64,
    /// The version of the newest desired `durability-max-lag` that has committed here; 0: none.
    pub max_lag_version: u64,
    /// Age of the oldest effect that has not committed.
    pub lag: Duration,
    /// The longest such age seen at a commit.
    pub lag_longest: Duration,
    /// Of the batches that this primary has committed, the time from their first effect to the commit.
    pub commits: SpanCounts,
    /// The gate that bounds the lag in `async`.
    pub gate: GateInfo,
    /// Snapshots.
    pub snapshot: SnapshotInfo,
    /// Checksum of all log entries up to `applied`: equal on replicas that are at the same index.
    pub log_checksum: u64,
    /// Newest committed entry known here.
    pub committed: LogIndex,
    /// Newest entry that memory holds.
    pub applied: LogIndex,
    /// Sequence of the newest batch staged in this tenure.
    pub staged_seq: Seq,
    /// Sequence of the newest batch committed in this tenure.
    pub committed_seq: Seq,
    /// Batches that are staged and have not committed.
    pub open_batches: usize,
    /// Their effects, bytes.
    pub open_bytes: usize,
    /// Memory that is in use and counts against `maxmemory`.
    pub memory: MemoryUse,
    /// How long it has been over `maxmemory`; 0: it is not.
    pub over_maxmemory: Duration,
    /// How long it was in all.
    pub over_maxmemory_total: Duration,
    /// Memory of removed data that is not freed yet; it is freed in slices.
    pub freeing: Freeing,
    /// Scripts and functions.
    pub scripts: ScriptCounts,
    /// Batches committed by this replica as primary.
    pub batches: u64,
    /// Units in them.
    pub units: u64,
    /// Bytes of effects in them.
    pub effect_bytes: u64,
    /// Commands and transactions rolled back because their effects were longer than a unit may be.
    pub units_too_large: u64,
    /// Transactions rolled back because they ran for too long.
    pub units_too_slow: u64,
    /// Batches applied as replica or in a restore.
    pub batches_applied: u64,
    /// Number of undos of uncommitted effects.
    pub undone: u64,
    /// Of these, undos by undo records; the others were restores.
    pub undone_by_records: u64,
    /// Duration of the last undo, until memory contained only committed effects.
    pub undo_took: Duration,
    /// Memory of the undo records of uncommitted effects, bytes.
    pub undo_bytes: u64,
    /// Writes in the batches that were undone.
    pub undone_units: u64,
    /// Replies that were not sent because their outcome is unknown.
    pub unknown_replies: u64,
    /// Replies that waited for a commit because of an override, in a mode that does not require it.
    pub delayed_by_override: u64,
    /// Timestamps that were staged alone, because keys have deadlines and nobody wrote.
    pub time_units: u64,
    /// Idempotency records held.
    pub idempotency_records: usize,
    /// Writes that were sent again and answered from their record.
    pub repeated_writes: u64,
    /// Writes refused because of their idempotency key.
    pub keys_refused: u64,
    /// Restores from the log, the one at the start included.
    pub restores: u64,
    /// Commands that waited because the lease had lapsed and no other primary was known; a pipeline counts once.
    pub lease_waits: u64,
    /// Commands that were refused because that lasted longer than `lease-wait-max`.
    pub lease_waits_refused: u64,
    /// Clients whose commands wait for keys.
    pub key_waits: KeyWaitCounts,
    /// Stalls of the loop.
    pub stalls: LoopStalls,
    /// This node's wall clock against the median of all nodes'.
    pub clock: ClockCheck,
}

impl ShardInfo {
    /// The figures at `now`, together with the given ones of consensus.
    pub(crate) fn of(
        leader: Option<&Leader>,
        replica: &Replica,
        now: Now,
        clock: ClockCheck,
        stalls: LoopStalls,
    ) -> ShardInfo {
        let lease_holds = leader.is_some_and(|leader| leader.may_act(now.boot));
        let restoring = replica.phase == Phase::Restoring;
        let reads_closed = restoring || leader.is_none() && !replica.served.is_open();
        let counters = &replica.counters;
        ShardInfo {
            shard: replica.shard,
            standing: standing(leader, replica),
            lease_holds,
            restoring,
            reads_closed,
            loading: reads_closed.then(|| replica.loading.info(now.boot, replica.position.entries_left())),
            stopped: stopped_reason(replica),
            epoch: leader.map_or(replica.position.epoch, |leader| leader.epoch),
            durability: replica.settings.mode.in_force(),
            mode_version: replica.settings.mode.version(),
            max_lag_version: replica.settings.lag_bound.version(),
            lag: replica.flow.lag.now(leader.and_then(|leader| leader.stage.oldest_open()), now.boot),
            lag_longest: replica.flow.lag.longest(),
            commits: replica.flow.lag.commits(),
            gate: replica.flow.gate.info(replica.settings.lag_bound.in_force()),
            snapshot: replica.snapshots.info(),
            log_checksum: replica.position.applied_checksum,
            committed: replica.position.committed.max(replica.position.applied),
            applied: replica.position.applied,
            staged_seq: leader.map_or(Seq(0), |leader| leader.stage.last_staged()),
            committed_seq: leader.map_or(Seq(0), |leader| leader.committed),
            open_batches: leader.map_or(0, |leader| leader.stage.open_batches()),
            memory: memory_use(leader, replica),
            over_maxmemory: replica.overrun.current(now.boot),
            over_maxmemory_total: replica.overrun.total(now.boot),
            freeing: replica.data.engine.freeing(),
            scripts: replica.scripts.counts(),
            open_bytes: leader.map_or(0, |leader| leader.stage.open_bytes()),
            batches: counters.batches,
            units: counters.units,
            units_too_large: counters.units_too_large,
            units_too_slow: counters.units_too_slow,
            effect_bytes: counters.effect_bytes,
            batches_applied: counters.batches_applied,
            undone: counters.undone,
            undone_by_records: counters.undone_by_records,
            undo_took: replica.tenures.undo_took,
            undo_bytes: replica.data.engine.undo_bytes(),
            undone_units: counters.undone_units,
            unknown_replies: counters.unknown_replies,
            delayed_by_override: counters.delayed_by_override,
            time_units: counters.time_units,
            idempotency_records: replica.records.len(),
            repeated_writes: counters.repeated_writes,
            keys_refused: counters.keys_refused,
            restores: counters.restores,
            lease_waits: counters.lease_waits,
            lease_waits_refused: counters.lease_waits_refused,
            key_waits: replica.key_waits.counts(),
            stalls,
            clock,
        }
    }
}

fn standing(leader: Option<&Leader>, replica: &Replica) -> Standing {
    match (&replica.role, leader) {
        (SeenRole::Stopped { .. }, _) => Standing::Stopped,
        (SeenRole::Follower { leader }, _) => Standing::Replica { leader: *leader },
        (SeenRole::Leader { .. }, Some(leader)) if !leader.deposed && !replica.flow.is_draining() => Standing::Primary,
        (SeenRole::Leader { .. }, _) => Standing::Waiting,
    }
}

fn stopped_reason(replica: &Replica) -> Option<String> {
    match (&replica.phase, &replica.role) {
        (Phase::Stopped(reason), _) | (_, SeenRole::Stopped { reason }) => Some(reason.to_string()),
        _ => None,
    }
}

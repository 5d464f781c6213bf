//! The figures of each replica.

use std::collections::BTreeMap;
use std::time::Duration;

use fastness_shard::{GateState, Standing};
use fastness_types::{Durability, ShardId};

use super::exposition::Exposition;
use super::histogram::Histogram;
use crate::process::Usage;
use crate::resp_server::command;
use crate::resp_server::snapshot::Snapshot;
use crate::resp_server::stats::CommandStats;

/// The label of a shard's figures.
pub(super) fn label(shard: ShardId) -> [(&'static str, String); 1] {
    [("shard", shard.to_string())]
}

/// One figure of a replica.
struct Figure {
    name: &'static str,
    kind: &'static str,
    of: fn(&Snapshot, &Usage) -> f64,
}

const fn gauge(name: &'static str, of: fn(&Snapshot, &Usage) -> f64) -> Figure {
    Figure { name, kind: "gauge", of }
}

const fn counter(name: &'static str, of: fn(&Snapshot, &Usage) -> f64) -> Figure {
    Figure { name, kind: "counter", of }
}

/// Time since the replica's primary was heard, if it answers.
fn primary_heard(s: &Snapshot) -> Option<Duration> {
    s.primary_link.silent.filter(|_| s.primary_link.alive)
}

#[rustfmt::skip]
const FIGURES: &[Figure] = &[
    gauge("redis_connected_clients", |s, _| s.clients as f64),
    gauge("redis_slowlog_length", |s, _| s.logged_commands[0] as f64),
    gauge("redis_commandlog_slow_length", |s, _| s.logged_commands[0] as f64),
    gauge("redis_commandlog_large_request_length", |s, _| s.logged_commands[1] as f64),
    gauge("redis_commandlog_large_reply_length", |s, _| s.logged_commands[2] as f64),
    gauge("redis_instantaneous_ops_per_sec", |s, _| s.commands_per_second),
    gauge("redis_memory_used_peak_bytes", |s, _| s.memory_peak as f64),
    gauge("redis_pubsub_channels", |s, _| s.channels[0] as f64),
    gauge("redis_pubsub_patterns", |s, _| s.channels[1] as f64),
    gauge("redis_pubsubshard_channels", |s, _| s.channels[2] as f64),
    gauge("redis_pubsub_clients", |s, _| s.subscribers as f64),
    counter("fastness_channel_messages_delivered_total", |s, _| s.channel_messages as f64),
    gauge("redis_blocked_clients", |s, _| s.blocked as f64),
    gauge("redis_memory_used_bytes", |s, _| s.shard.memory.total() as f64),
    gauge("fastness_memory_data_bytes", |s, _| s.shard.memory.data as f64),
    gauge("fastness_memory_clients_bytes", |s, _| s.shard.memory.clients as f64),
    gauge("fastness_memory_client_tracking_bytes", |s, _| s.shard.memory.tracking as f64),
    gauge("fastness_memory_uncommitted_effects_bytes", |s, _| s.shard.memory.open_effects as f64),
    gauge("fastness_memory_idempotency_records_bytes", |s, _| s.shard.memory.records as f64),
    gauge("fastness_memory_snapshot_bytes", |s, _| s.shard.memory.image as f64),
    gauge("fastness_lazyfree_pending_objects", |s, _| s.shard.freeing.pending_objects as f64),
    gauge("redis_memory_max_bytes", |s, _| s.figures.maxmemory as f64),
    gauge("fastness_eviction_enabled", |s, _| f64::from(u8::from(s.figures.policy.evicts()))),
    gauge("redis_memory_fragmentation_ratio", |s, u| match s.shard.memory.total() { 0 => 0.0, used => u.resident_bytes as f64 / used as f64 }),
    counter("redis_commands_processed_total", |s, _| s.counters[0] as f64),
    counter("redis_connections_received_total", |s, _| s.counters[1] as f64),
    counter("redis_net_input_bytes_total", |s, _| s.counters[2] as f64),
    counter("redis_net_output_bytes_total", |s, _| s.counters[3] as f64),
    counter("redis_errors_total", |s, _| s.counters[4] as f64),
    counter("redis_keyspace_hits_total", |s, _| s.figures.lookups.hits as f64),
    counter("redis_keyspace_misses_total", |s, _| s.figures.lookups.misses as f64),
    counter("redis_expired_keys_total", |s, _| s.figures.lookups.expired as f64),
    counter("redis_evicted_keys_total", |s, _| s.figures.lookups.evicted as f64),
    counter("fastness_memory_over_bound_seconds_total", |s, _| s.shard.over_maxmemory_total.as_secs_f64()),
    gauge("redis_connected_slaves", |s, _| s.replicas as f64),
    gauge("redis_master_last_io_seconds_ago", |s, _| primary_heard(s).map_or(-1.0, |ago| ago.as_secs_f64().floor())),
    gauge("redis_master_link_up", |s, _| f64::from(u8::from(primary_heard(s).is_some()))),
    gauge("redis_loading_dump_file", |s, _| f64::from(u8::from(s.shard.reads_closed))),
    gauge("fastness_restore_total_bytes", |s, _| s.shard.loading.map_or(0, |loading| loading.total_bytes) as f64),
    gauge("fastness_restore_loaded_bytes", |s, _| s.shard.loading.map_or(0, |loading| loading.loaded_bytes) as f64),
    gauge("fastness_is_primary", |s, _| f64::from(u8::from(s.shard.standing == Standing::Primary))),
    gauge("fastness_lease_held", |s, _| f64::from(u8::from(s.shard.lease_holds))),
    gauge("fastness_term", |s, _| s.shard.epoch.term as f64),
    gauge("fastness_committed_index", |s, _| s.shard.committed.0 as f64),
    gauge("fastness_applied_index", |s, _| s.shard.applied.0 as f64),
    gauge("fastness_durability_lag_seconds", |s, _| if s.shard.durability == Durability::Sync { 0.0 } else { s.shard.lag.as_secs_f64() }),
    gauge("fastness_oldest_uncommitted_effect_seconds", |s, _| s.shard.lag.as_secs_f64()),
    gauge("fastness_durability_max_lag_seconds", |s, _| s.shard.gate.bound.as_secs_f64()),
    gauge("fastness_traffic_management_active", |s, _| f64::from(u8::from(s.shard.gate.state != GateState::Open))),
    gauge("fastness_lag_gate_closed", |s, _| f64::from(u8::from(s.shard.gate.state == GateState::Closed))),
    counter("fastness_lag_gate_closures_total", |s, _| s.shard.gate.closures as f64),
    counter("fastness_writes_slowed_total", |s, _| s.shard.gate.slowed as f64),
    counter("fastness_durability_buffer_exceeded_errors_total", |s, _| s.shard.gate.refused as f64),
    counter("fastness_lease_waits_total", |s, _| s.shard.lease_waits as f64),
    counter("fastness_lease_waits_refused_total", |s, _| s.shard.lease_waits_refused as f64),
    counter("fastness_event_loop_stalls_total", |s, _| s.shard.stalls.fenced as f64),
    gauge("fastness_event_loop_stall_max_seconds", |s, _| s.shard.stalls.longest.as_secs_f64()),
    gauge("fastness_snapshot_in_progress", |s, _| f64::from(u8::from(s.shard.snapshot.in_progress))),
    gauge("fastness_snapshot_index", |s, _| s.shard.snapshot.newest.0 as f64),
    gauge("fastness_snapshot_bytes", |s, _| s.shard.snapshot.bytes as f64),
    gauge("fastness_log_bytes_since_snapshot", |s, _| s.shard.snapshot.log_bytes as f64),
    counter("fastness_snapshots_written_total", |s, _| s.shard.snapshot.written as f64),
    counter("fastness_snapshots_received_total", |s, _| s.shard.snapshot.received as f64),
    gauge("fastness_snapshot_incoming_bytes", |s, _| s.shard.snapshot.incoming.map_or(0.0, |i| i.received as f64)),
    gauge("fastness_snapshot_incoming_total_bytes", |s, _| s.shard.snapshot.incoming.map_or(0.0, |i| i.total as f64)),
    counter("fastness_snapshots_aborted_total", |s, _| s.shard.snapshot.given_up as f64),
    counter("fastness_snapshots_refused_total", |s, _| s.shard.snapshot.refused as f64),
    gauge("fastness_clock_offset_seconds", |s, _| s.shard.clock.offset_ms as f64 / 1e3),
    gauge("fastness_clock_trusted", |s, _| f64::from(u8::from(s.shard.clock.trusted))),
    gauge("fastness_uncommitted_batches", |s, _| s.shard.open_batches as f64),
    gauge("fastness_uncommitted_effect_bytes", |s, _| s.shard.open_bytes as f64),
    counter("fastness_batches_committed_total", |s, _| s.shard.batches as f64),
    counter("fastness_units_committed_total", |s, _| s.shard.units as f64),
    counter("fastness_units_too_large_total", |s, _| s.shard.units_too_large as f64),
    counter("fastness_units_too_slow_total", |s, _| s.shard.units_too_slow as f64),
    counter("fastness_repeated_writes_total", |s, _| s.shard.repeated_writes as f64),
    counter("fastness_idempotency_keys_refused_total", |s, _| s.shard.keys_refused as f64),
    gauge("fastness_idempotency_records", |s, _| s.shard.idempotency_records as f64),
    counter("fastness_effect_bytes_committed_total", |s, _| s.shard.effect_bytes as f64),
    counter("fastness_batches_applied_total", |s, _| s.shard.batches_applied as f64),
    counter("fastness_restores_total", |s, _| s.shard.restores as f64),
    counter("fastness_undos_total", |s, _| s.shard.undone as f64),
    counter("fastness_undos_by_log_total", |s, _| s.shard.undone_by_records as f64),
    gauge("fastness_undo_last_duration_seconds", |s, _| s.shard.undo_took.as_secs_f64()),
    gauge("fastness_undo_log_bytes", |s, _| s.shard.undo_bytes as f64),
    counter("fastness_undone_writes_total", |s, _| s.shard.undone_units as f64),
    counter("fastness_replies_outcome_unknown_total", |s, _| s.shard.unknown_replies as f64),
    counter("fastness_replies_delayed_by_override_total", |s, _| s.shard.delayed_by_override as f64),
    counter("fastness_client_output_buffer_limit_disconnections_total", |s, _| s.closes[0] as f64),
    counter("fastness_client_query_buffer_limit_disconnections_total", |s, _| s.closes[1] as f64),
    counter("fastness_cross_protocol_disconnections_total", |s, _| s.closes[2] as f64),
    counter("fastness_log_wait_disconnections_total", |s, _| s.closes[3] as f64),
    counter("fastness_connection_panics_total", |s, _| s.closes[4] as f64),
];

/// Adds the figures of all replicas.
pub(super) fn write(text: &mut Exposition, snapshots: &[(ShardId, Snapshot)], usage: &Usage) {
    for figure in FIGURES {
        for (shard, snapshot) in snapshots {
            text.one(figure.name, figure.kind, &label(*shard), (figure.of)(snapshot, usage));
        }
    }
    for (shard, snapshot) in snapshots {
        write_commands(text, *shard, snapshot);
        text.histogram("fastness_commit_duration_seconds", &label(*shard), &snapshot.shard.commits.into());
        write_families(text, *shard, snapshot);
    }
}

/// Execution times of commands, a histogram for each family of commands that was used.
fn write_families(text: &mut Exposition, shard: ShardId, snapshot: &Snapshot) {
    let mut families: BTreeMap<&'static str, CommandStats> = BTreeMap::new();
    for (name, stats) in &snapshot.commands {
        let family = command::table().named(name.as_bytes()).map_or("other", |spec| spec.group.name());
        families.entry(family).or_default().add(stats);
    }
    for (family, stats) in families {
        let labels = [("shard", shard.to_string()), ("family", family.to_owned())];
        let histogram = Histogram::of(&stats.buckets, stats.nanos as f64 / 1e9);
        text.histogram("fastness_command_duration_seconds", &labels, &histogram);
    }
}

fn write_commands(text: &mut Exposition, shard: ShardId, snapshot: &Snapshot) {
    let data = [("shard", shard.to_string()), ("db", "db0".to_owned())];
    text.one("redis_db_keys", "gauge", &data, snapshot.figures.keyspace.keys as f64);
    text.one("redis_db_keys_expiring", "gauge", &data, snapshot.figures.keyspace.with_deadline as f64);
    for (name, stats) in &snapshot.commands {
        let labels = [("shard", shard.to_string()), ("cmd", (*name).to_owned())];
        text.one("redis_commands_total", "counter", &labels, stats.calls as f64);
        text.one("redis_commands_duration_seconds_total", "counter", &labels, stats.nanos as f64 / 1e9);
        text.one("redis_commands_rejected_calls_total", "counter", &labels, stats.rejected as f64);
        text.one("redis_commands_failed_calls_total", "counter", &labels, stats.failed as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = FIGURES.iter().map(|figure| figure.name).collect();
        assert_eq!(names.len(), FIGURES.len());
    }
}

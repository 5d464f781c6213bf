//! Figures of the node and of its replicas over gRPC.

use std::sync::atomic::Ordering;

use fastness_log::LogStats;
use fastness_shard::ShardInfo;
use fastness_types::limits::{FIGURES_SLOTS_MAX, FIGURES_SLOW_COMMANDS_MAX};
use fastness_types::{Clock as _, Durability, FormatLevel, ShardId, SystemClock};
use fastness_wire::admin::v1::{
    MachineFigures, ReplicaFigures, ShowFiguresRequest, ShowFiguresResponse, SlotFigures,
    SlowCommand as WireSlowCommand,
};
use futures::future::join_all;

use crate::process::{self, Usage};
use crate::replicas::{Replicas, Running};
use crate::resp_server::activity::{Activity, ActivityBounds};
use crate::resp_server::command_log::LoggedCommand;
use crate::shared::NodeShared;
use crate::space::Space;
use crate::{auth, descriptors};

/// Answers a request for figures. All replicas are asked at once, so that a stuck one delays the others only once.
pub(super) async fn show(
    node: &NodeShared,
    replicas: &Replicas,
    log: &LogStats,
    request: ShowFiguresRequest,
) -> ShowFiguresResponse {
    let bounds = ActivityBounds {
        slots_max: (request.slots_max as usize).min(FIGURES_SLOTS_MAX),
        slow_max: (request.slow_commands_max as usize).min(FIGURES_SLOW_COMMANDS_MAX),
    };
    let running = replicas.all();
    let reports = join_all(running.iter().map(|(_, running)| running.activity(bounds))).await;
    let answered: Vec<_> =
        running.iter().zip(reports).filter_map(|(replica, report)| Some((replica, report?))).collect();
    let machine = of_machine(node, log, answered.first().map(|(_, activity)| &activity.snapshot.shard));
    ShowFiguresResponse {
        node_id: node.node.0,
        run_id: node.run_id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: node.started.elapsed().as_millis() as u64,
        resident_bytes: Usage::now().resident_bytes,
        client_connections: node.connected.load(Ordering::Relaxed),
        client_connections_max: node.maxclients(),
        replicas: answered.into_iter().map(|((shard, running), report)| of_replica(*shard, running, report)).collect(),
        machine: Some(machine),
    }
}

/// What the process has of its machine. Any replica has measured the clock.
fn of_machine(node: &NodeShared, log: &LogStats, replica: Option<&ShardInfo>) -> MachineFigures {
    let certificates = &node.certificates;
    let (own, ca) = (certificates.own(), certificates.ca());
    let space = Space::of(&node.config.load().log_folder());
    MachineFigures {
        clock_ms: SystemClock.wall().0,
        clock_offset_ms: replica.map(|replica| replica.clock.offset_ms),
        clock_trusted: replica.map(|replica| replica.clock.trusted),
        open_files: descriptors::in_use(),
        open_files_max: descriptors::limit(),
        memory_max_bytes: process::memory_max(),
        sync_counts: log.sync_buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect(),
        certificate_expires_at_s: own.as_ref().map_or(0, |own| own.expires_at),
        ca_expires_at_s: ca.map_or(0, |ca| ca.expires_at),
        certificate_hosts: own.as_ref().map(|own| own.hosts.clone()).unwrap_or_default(),
        certificate_lab: own.is_some_and(|own| own.allows_lab(node.cluster)),
        certificate_failures: certificates.failures(),
        open_to_all: auth::lets_everybody_in(node),
        format_level: FormatLevel::CURRENT.0,
        disk_free_bytes: space.map_or(0, |space| space.free),
        disk_total_bytes: space.map_or(0, |space| space.total),
    }
}

fn of_replica(shard: ShardId, running: &Running, activity: Activity) -> ReplicaFigures {
    let Activity { snapshot, slots, slow } = activity;
    let ShardInfo { durability, lag, gate, commits, memory, .. } = &snapshot.shard;
    let lag_us = lag.as_micros() as u64;
    ReplicaFigures {
        shard: shard.0,
        durability_lag_us: if *durability == Durability::Sync { 0 } else { lag_us },
        oldest_uncommitted_effect_us: lag_us,
        durability_max_lag_us: gate.bound.as_micros() as u64,
        lag_gate: gate.state.name().to_owned(),
        lag_gate_closures: gate.closures,
        writes_slowed: gate.slowed,
        writes_refused: gate.refused,
        commit_counts: commits.counts.to_vec(),
        quorum_margin: running.control.status().quorum_margin(),
        commands: snapshot.counters[0],
        errors: snapshot.counters[4],
        clients: snapshot.clients as u64,
        keys: snapshot.figures.keyspace.keys,
        memory_bytes: memory.total(),
        memory_max_bytes: snapshot.figures.maxmemory,
        slots: slots
            .into_iter()
            .map(|(slot, keys)| SlotFigures { slot: u32::from(slot.0), keys: keys as u64 })
            .collect(),
        slow_commands: slow.into_iter().map(slow_command).collect(),
    }
}

/// Without its arguments, which are data of clients.
fn slow_command(slow: LoggedCommand) -> WireSlowCommand {
    WireSlowCommand {
        number: slow.id,
        at_s: slow.at,
        duration_us: slow.value,
        command: slow.command.to_owned(),
        arguments: slow.arg_count as u64,
        client: slow.client,
    }
}

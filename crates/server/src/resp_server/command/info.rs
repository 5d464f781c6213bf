//! INFO: the sections that clients and tools parse, and `# Durability`.
//!
//! A bare INFO stays cheap (some clients send it on every connection to learn the zone): it walks nothing that grows
//! with the data.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastness_engine::KeyspaceStats;
use fastness_shard::{LoadInfo, PauseKind, ShardInfo};
use fastness_types::Durability;

use super::call::{Call, ServerCommand};
use crate::access::Lacking;
use crate::allocator::{self, AllocatorFigures};
use crate::certificates::CertificateFacts;
use crate::config::{Config, OPTIONS};
use crate::master_key::age_s;
use crate::names;
use crate::node_disk::DiskInfo;
use crate::process::{Usage, human};
use crate::resp_server::pubsub::subscriptions::ChannelKind;
use crate::resp_server::snapshot::Figures;
use crate::resp_server::{ReplicaServer, replication};
use crate::shared::{REDIS_VERSION, VALKEY_VERSION};
use crate::sources::Excess;

pub(super) const INFO: ServerCommand =
    ServerCommand::reply("info", "[<section> ...]", "Returns information and statistics about the server.", info);

/// The sections in their order; `true`: part of a bare INFO.
const SECTIONS: [(&str, bool, Write); 16] = [
    ("server", true, server),
    ("clients", true, clients),
    ("memory", true, memory),
    ("persistence", true, persistence),
    ("durability", true, durability),
    ("stats", true, stats),
    ("replication", true, replication),
    ("tls", true, tls),
    ("cpu", true, cpu),
    ("modules", true, modules),
    ("commandstats", false, commandstats),
    ("errorstats", true, errorstats),
    ("latencystats", false, latencystats),
    ("cluster", true, cluster),
    ("keyspace", true, keyspace),
    ("fastness", false, settings),
];

type Write = fn(&Facts<'_>, &mut String);

/// What the sections are written from.
struct Facts<'a> {
    replica: &'a ReplicaServer,
    config: &'a Config,
    /// The mode that the cluster's map asks for.
    desired: Durability,
    shard: &'a ShardInfo,
    client_pause: Option<(PauseKind, Duration)>,
    figures: Figures,
    tls: bool,
    usage: Usage,
}

/// `INFO [section …]`.
fn info(call: Call<'_, '_>) {
    let wanted: Vec<String> =
        call.args.skip(1).iter().map(|arg| String::from_utf8_lossy(arg).to_ascii_lowercase()).collect();
    let config = call.replica.node.config.load();
    let facts = Facts {
        replica: call.replica,
        config: &config,
        desired: call.replica.node.map.load().as_ref().map_or(config.durability, |map| map.durability),
        shard: &call.shard.info(),
        client_pause: call.shard.client_pause(),
        figures: Figures::of(call.shard.engine()),
        tls: call.client.tls,
        usage: Usage::now(),
    };
    let mut text = String::with_capacity(6_000);
    for (name, default, write) in SECTIONS {
        let is_wanted =
            |w: &String| w == name || w == "all" && name != "modules" || w == "everything" || w == "default" && default;
        if (wanted.is_empty() && default) || wanted.iter().any(is_wanted) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            write(&facts, &mut text);
        }
    }
    call.out.verbatim(*b"txt", text.as_bytes());
}

/// Appends `name:value` lines.
macro_rules! lines {
    ($text:expr, $title:literal $(, $name:literal: $value:expr)* $(,)?) => {{
        let text: &mut String = $text;
        text.push_str(concat!("# ", $title, "\r\n"));
        $( let _ = write!(text, concat!($name, ":{}\r\n"), $value); )*
    }};
}

/// Appends more lines to a section.
macro_rules! more {
    ($text:expr $(, $name:literal: $value:expr)* $(,)?) => {{
        let text: &mut String = $text;
        $( let _ = write!(text, concat!($name, ":{}\r\n"), $value); )*
    }};
}

fn server(facts: &Facts<'_>, text: &mut String) {
    let node = &facts.replica.node;
    let uptime = node.started.elapsed().as_secs();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (port, tls_port) = facts.replica.ports;
    let executable = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    lines!(text, "Server",
        "redis_version": REDIS_VERSION,
        "server_name": "valkey",
        "valkey_version": VALKEY_VERSION,
        "valkey_release_stage": "ga",
        "redis_git_sha1": "00000000",
        "redis_git_dirty": 0,
        "redis_build_id": "0",
        "redis_mode": "cluster",
        "server_mode": "cluster",
        "fastness_version": env!("CARGO_PKG_VERSION"),
        "fastness_node_id": node.node,
        "fastness_shard_id": facts.replica.shard_id,
        "fastness_cluster_id": node.cluster,
        "os": system(),
        "arch_bits": usize::BITS,
        "multiplexing_api": "epoll",
        "process_id": std::process::id(),
        "process_supervised": "no",
        "run_id": node.run_id,
        "tcp_port": if port != 0 { port } else { tls_port },
        "tls_port": tls_port,
        "server_time_usec": now.as_micros(),
        "uptime_in_seconds": uptime,
        "uptime_in_days": uptime / 86_400,
        "hz": 10,
        "configured_hz": 10,
        "clients_hz": 10,
        "lru_clock": now.as_secs() & 0xff_ffff,
        "executable": executable,
        "config_file": "",
        "io_threads_active": 0,
        "consensus_nice": node.consensus_nice.load(Ordering::Relaxed),
        "shard_nice": node.shard_nice.load(Ordering::Relaxed),
        "availability_zone": node.az,
    );
}

fn system() -> String {
    let uname = rustix::system::uname();
    let part = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    format!("{} {} {}", part(uname.sysname()), part(uname.release()), part(uname.machine()))
}

fn clients(facts: &Facts<'_>, text: &mut String) {
    let clients = facts.replica.clients.all();
    let largest =
        |of: fn(&crate::resp_server::clients::Client) -> usize| clients.iter().map(|c| of(c)).max().unwrap_or(0);
    lines!(text, "Clients",
        "connected_clients": clients.len(),
        "cluster_connections": 0,
        "maxclients": facts.replica.node.maxclients(),
        "client_recent_max_input_buffer": largest(|client| client.query_bytes.get()),
        "client_recent_max_output_buffer": largest(|client| client.unsent_bytes.get()),
        "blocked_clients": clients.iter().filter(|client| client.blocked.get()).count(),
        "tracking_clients": facts.replica.tracking.figures().clients,
        "pubsub_clients": clients.iter().filter(|client| client.is_subscribed()).count(),
        "watching_clients": facts.figures.watches.0,
        "clients_in_timeout_table": facts.shard.key_waits.with_timeout,
        "total_watched_keys": facts.figures.watches.1,
        "total_blocking_keys": facts.shard.key_waits.keys,
        "total_blocking_keys_on_nokey": facts.shard.key_waits.keys_on_any_change,
        "paused_reason": if facts.client_pause.is_some() { "client_pause" } else { "none" },
        "paused_actions": match facts.client_pause {
            None => "none",
            Some((PauseKind::Writes, _)) => "write",
            Some((PauseKind::All, _)) => "all",
        },
        "paused_timeout_milliseconds": facts.client_pause.map_or(0, |(_, left)| left.as_millis()),
    );
}

fn memory(facts: &Facts<'_>, text: &mut String) {
    let (memory, resident) = (facts.shard.memory, facts.usage.resident_bytes);
    let used = memory.total();
    let peak = facts.replica.stats.memory_peak(used);
    let scripts = facts.shard.scripts;
    let lua = (scripts.lua_bytes_of_scripts + scripts.lua_bytes_of_functions) as u64;
    let code = (scripts.cached_bytes + scripts.library_bytes) as u64;
    let fragmentation = if used == 0 { 0.0 } else { resident as f64 / used as f64 };
    lines!(text, "Memory",
        "used_memory": used,
        "used_memory_human": human(used),
        "used_memory_rss": resident,
        "used_memory_rss_human": human(resident),
        "used_memory_peak": peak,
        "used_memory_peak_human": human(peak),
        "used_memory_peak_perc": format!("{:.2}%", 100.0 * used as f64 / peak.max(1) as f64),
        "used_memory_overhead": memory.overhead(),
        "used_memory_dataset": memory.data,
        "used_memory_dataset_perc": format!("{:.2}%", 100.0 * memory.data as f64 / used.max(1) as f64),
        "total_system_memory": facts.usage.machine_bytes,
        "total_system_memory_human": human(facts.usage.machine_bytes),
        "used_memory_vm_eval": scripts.lua_bytes_of_scripts,
        "used_memory_lua": scripts.lua_bytes_of_scripts,
        "used_memory_lua_human": human(scripts.lua_bytes_of_scripts as u64),
        "used_memory_vm_functions": scripts.lua_bytes_of_functions,
        "used_memory_vm_total": lua,
        "used_memory_vm_total_human": human(lua),
        "used_memory_functions": scripts.library_bytes,
        "used_memory_scripts_eval": scripts.cached_bytes,
        "used_memory_scripts": code,
        "used_memory_scripts_human": human(code),
        "number_of_cached_scripts": scripts.cached,
        "number_of_functions": scripts.functions,
        "number_of_libraries": scripts.libraries,
        "maxmemory": facts.figures.maxmemory,
        "maxmemory_human": human(facts.figures.maxmemory),
        "maxmemory_policy": facts.figures.policy.name(),
        "mem_fragmentation_ratio": format!("{fragmentation:.2}"),
        "mem_fragmentation_bytes": resident as i64 - used as i64,
        "mem_clients_normal": memory.clients,
        "mem_client_tracking": memory.tracking,
        "mem_uncommitted_effects": memory.open_effects,
        "mem_undo_log": memory.undo,
        "mem_log_fragments": memory.fragments,
        "mem_snapshot_in_progress": memory.image,
        "mem_allocator": "jemalloc",
        "active_defrag_running": 0,
        "lazyfree_pending_objects": facts.shard.freeing.pending_objects,
        "lazyfreed_objects": facts.shard.freeing.freed_objects,
        "mem_not_counted_for_evict": 0,
    );
    if let Some(of_allocator) = allocator::installed().and_then(|allocator| allocator.figures()) {
        allocator_lines(of_allocator, resident, text);
    }
}

/// Figures of the whole process, which may have several replicas.
fn allocator_lines(of: AllocatorFigures, resident: u64, text: &mut String) {
    let AllocatorFigures { allocated_bytes, active_bytes, resident_bytes } = of;
    let ratio = |above: u64, below: u64| format!("{:.2}", above as f64 / below.max(1) as f64);
    let more_than = |above: u64, below: u64| above as i64 - below as i64;
    more!(text,
        "allocator_allocated": allocated_bytes,
        "allocator_active": active_bytes,
        "allocator_resident": resident_bytes,
        "allocator_frag_ratio": ratio(active_bytes, allocated_bytes),
        "allocator_frag_bytes": more_than(active_bytes, allocated_bytes),
        "allocator_rss_ratio": ratio(resident_bytes, active_bytes),
        "allocator_rss_bytes": more_than(resident_bytes, active_bytes),
        "rss_overhead_ratio": ratio(resident, resident_bytes),
        "rss_overhead_bytes": more_than(resident, resident_bytes),
    );
}

fn persistence(facts: &Facts<'_>, text: &mut String) {
    let stats = &facts.replica.stats;
    stats.observe_snapshots(&facts.shard.snapshot, facts.shard.units);
    let snapshots = stats.snapshots();
    let seconds = |span: Option<Duration>| span.map_or(-1, |span| span.as_secs() as i64);
    lines!(text, "Persistence",
        "loading": u8::from(facts.shard.reads_closed),
        "async_loading": 0,
        "rdb_changes_since_last_save": snapshots.units_since(facts.shard.units),
        "rdb_bgsave_in_progress": u8::from(facts.shard.snapshot.in_progress),
        "rdb_last_save_time": snapshots.saved_at,
        "rdb_last_bgsave_status": if snapshots.succeeded { "ok" } else { "err" },
        "rdb_last_bgsave_time_sec": seconds(snapshots.took),
        "rdb_current_bgsave_time_sec": seconds(snapshots.began.map(|began| began.elapsed())),
        "rdb_saves": snapshots.saves,
        "rdb_last_size_bytes": facts.shard.snapshot.bytes,
        "aof_enabled": 0,
        "aof_rewrite_in_progress": 0,
        "aof_rewrite_scheduled": 0,
        "aof_last_bgrewrite_status": "ok",
        "aof_last_write_status": "ok",
    );
    if let Some(loading) = &facts.shard.loading {
        write_loading(loading, text);
    }
    if let Some(disk) = facts.replica.node.disk.get().map(|disk| disk.info()) {
        write_disk(&disk, text);
    }
    if let Some(keys) = facts.replica.node.keys.get() {
        more!(text,
            "master_key_fingerprint": keys.fingerprint(),
            "master_key_age_seconds": age_s(keys.since_s()).map_or(-1, |age_s| age_s as i64),
            "master_key_rotation_incomplete": u8::from(keys.retired().is_some()),
        );
    }
}

/// The node's disk: what it may use, and what each part of it takes.
fn write_disk(disk: &DiskInfo, text: &mut String) {
    more!(text,
        "disk_budget_bytes": disk.budget,
        "disk_used_bytes": disk.used.total(),
        "disk_used_log_bytes": disk.used.log,
        "disk_used_snapshots_bytes": disk.used.snapshots,
        "disk_used_partial_snapshots_bytes": disk.used.drafts,
        "disk_used_ballast_bytes": disk.used.ballast,
        "disk_pressure": disk.pressure.name(),
        "disk_log_budget_per_shard_bytes": disk.log_share,
        "disk_removals_for_space": disk.given_up,
    );
}

/// What Valkey adds while it loads; some clients wait as long as it says.
fn write_loading(loading: &LoadInfo, text: &mut String) {
    let LoadInfo { began, total_bytes, loaded_bytes, left } = loading;
    let percent = 100.0 * *loaded_bytes as f64 / (*total_bytes).max(1) as f64;
    // At least a second, as Valkey says while it does not know.
    let eta = left.map_or(1, |left| left.as_secs_f64().ceil().max(1.0) as u64);
    let _ = write!(
        text,
        "loading_start_time:{}\r\nloading_total_bytes:{total_bytes}\r\nloading_loaded_bytes:{loaded_bytes}\r\n\
         loading_loaded_perc:{percent:.2}\r\nloading_eta_seconds:{eta}\r\n",
        began.0 / 1_000
    );
}

fn durability(facts: &Facts<'_>, text: &mut String) {
    let shard = facts.shard;
    // As the CloudWatch metric of the same meaning: in sync nothing that was acknowledged is ever behind.
    let lag = if shard.durability == Durability::Sync { 0 } else { shard.lag.as_millis() };
    lines!(text, "Durability",
        "durability": shard.durability.name(),
        "durability_desired": facts.desired.name(),
        "durability_lag_ms": lag,
        "durability_oldest_uncommitted_ms": shard.lag.as_millis(),
        "durability_oldest_uncommitted_max_ms": shard.lag_longest.as_millis(),
        "durability_max_lag_ms": shard.gate.bound.as_millis(),
        "durability_lag_gate": shard.gate.state.name(),
        "durability_lag_gate_closures": shard.gate.closures,
        "durability_writes_slowed": shard.gate.slowed,
        "durability_writes_refused": shard.gate.refused,
        "durability_lease_held": u8::from(shard.lease_holds),
        "durability_lease_waits": shard.lease_waits,
        "durability_lease_waits_refused": shard.lease_waits_refused,
        "durability_event_loop_stalls": shard.stalls.fenced,
        "durability_event_loop_stall_max_ms": shard.stalls.longest.as_millis(),
        "durability_epoch": shard.epoch,
        "durability_committed_index": shard.committed.0,
        "durability_applied_index": shard.applied.0,
        "durability_uncommitted_batches": shard.open_batches,
        "durability_uncommitted_bytes": shard.open_bytes,
        "durability_batches_committed": shard.batches,
        "durability_units_committed": shard.units,
        "durability_units_too_large": shard.units_too_large,
        "durability_units_too_slow": shard.units_too_slow,
        "durability_repeated_writes": shard.repeated_writes,
        "durability_idempotency_keys_refused": shard.keys_refused,
        "durability_idempotency_records": shard.idempotency_records,
        "durability_idempotency_records_bytes": shard.memory.records,
        "durability_effect_bytes_committed": shard.effect_bytes,
        "durability_batches_applied": shard.batches_applied,
        "durability_restores": shard.restores,
        "durability_undos": shard.undone,
        "durability_undos_by_log": shard.undone_by_records,
        "durability_undos_by_restore": shard.undone - shard.undone_by_records,
        "durability_undo_last_duration_usec": shard.undo_took.as_micros(),
        "durability_undo_log_bytes": shard.undo_bytes,
        "durability_undone_writes": shard.undone_units,
        "durability_replies_outcome_unknown": shard.unknown_replies,
        "durability_replies_delayed_by_override": shard.delayed_by_override,
        "durability_log_checksum": format_args!("{:016x}", shard.log_checksum),
        "durability_snapshot_in_progress": u8::from(shard.snapshot.in_progress),
        "durability_snapshot_index": shard.snapshot.newest.0,
        "durability_snapshot_keys": shard.snapshot.keys,
        "durability_snapshot_bytes": shard.snapshot.bytes,
        "durability_snapshots_written": shard.snapshot.written,
        "durability_snapshots_aborted": shard.snapshot.given_up,
        "durability_log_bytes_since_snapshot": shard.snapshot.log_bytes,
        "durability_snapshots_received": shard.snapshot.received,
        "durability_snapshot_incoming_bytes": shard.snapshot.incoming.map_or(0, |incoming| incoming.received),
        "durability_snapshot_incoming_total_bytes": shard.snapshot.incoming.map_or(0, |incoming| incoming.total),
        "durability_clock_offset_ms": shard.clock.offset_ms,
        "durability_clock_trusted": u8::from(shard.clock.trusted),
        "durability_stop_reason": shard.stopped.as_deref().unwrap_or(""),
        "durability_lab_faults": facts.replica.node.lab.as_ref().map(|lab| lab.describe().join("; ")).unwrap_or_default(),
    );
}

fn stats(facts: &Facts<'_>, text: &mut String) {
    let stats = &facts.replica.stats;
    let access = &facts.replica.node.access;
    let tracked = facts.replica.tracking.figures();
    let [commands, bytes_in, bytes_out] = stats.per_second();
    lines!(text, "Stats",
        "total_connections_received": stats.connections.get(),
        "total_commands_processed": stats.commands.get(),
        "instantaneous_ops_per_sec": commands as u64,
        "total_net_input_bytes": stats.bytes_in.get(),
        "total_net_output_bytes": stats.bytes_out.get(),
        "instantaneous_input_kbps": format!("{:.2}", bytes_in / 1024.0),
        "instantaneous_output_kbps": format!("{:.2}", bytes_out / 1024.0),
        "rejected_connections": facts.replica.node.rejected.load(Ordering::Relaxed),
        "source_refused_connections": facts.replica.node.sources.refused(Excess::Connections),
        "source_refused_handshakes": facts.replica.node.sources.refused(Excess::Handshakes),
        "sync_full": facts.replica.node.outbound.started(),
        "sync_partial_ok": 0,
        "sync_partial_err": 0,
        "expired_keys": facts.figures.lookups.expired,
        "expired_fields": facts.figures.lookups.expired_fields,
        "evicted_keys": facts.figures.lookups.evicted,
        "evicted_clients": stats.evicted_clients.get(),
        "total_eviction_exceeded_time": facts.shard.over_maxmemory_total.as_millis(),
        "current_eviction_exceeded_time": facts.shard.over_maxmemory.as_millis(),
        "keyspace_hits": facts.figures.lookups.hits,
        "keyspace_misses": facts.figures.lookups.misses,
        "pubsub_channels": facts.replica.pubsub.channels.names_count(ChannelKind::Channel),
        "pubsub_patterns": facts.replica.pubsub.channels.names_count(ChannelKind::Pattern),
        "pubsubshard_channels": facts.replica.pubsub.channels.names_count(ChannelKind::Shard),
        "migrate_cached_sockets": 0,
        "latest_fork_usec": 0,
        "total_forks": 0,
        "tracking_total_keys": tracked.keys,
        "tracking_total_items": tracked.items,
        "tracking_total_prefixes": tracked.prefixes,
        "unexpected_error_replies": 0,
        "total_error_replies": stats.errors.get(),
        "total_reads_processed": stats.reads.get(),
        "total_writes_processed": stats.writes.get(),
        "client_query_buffer_limit_disconnections": stats.query_limit_closes.get(),
        "client_output_buffer_limit_disconnections": stats.output_limit_closes.get(),
        "cross_protocol_disconnections": stats.http_closes.get(),
        "log_wait_disconnections": stats.log_wait_closes.get(),
        "connection_panics": stats.panics.get(),
        "accept_errors": facts.replica.node.accept_errors.load(Ordering::Relaxed),
        "acl_access_denied_auth": access.count(Lacking::Auth),
        "acl_access_denied_cmd": access.count(Lacking::Command),
        "acl_access_denied_key": access.count(Lacking::Key),
        "acl_access_denied_channel": access.count(Lacking::Channel),
        "acl_access_denied_db": access.count(Lacking::Database),
    );
    let (total, (cycles_per_second, micros_each)) = (stats.event_loop.total(), stats.event_loop.rates());
    more!(text,
        "eventloop_cycles": total.cycles,
        "eventloop_duration_sum": total.busy.as_micros(),
        "eventloop_duration_cmd_sum": stats.command_nanos.get() / 1_000,
        "instantaneous_eventloop_cycles_per_sec": cycles_per_second,
        "instantaneous_eventloop_duration_usec": micros_each,
    );
}

fn replication(facts: &Facts<'_>, text: &mut String) {
    let (shard, offset) = (facts.shard, facts.shard.applied.0);
    if replication::is_primary(shard) {
        let replicas = replication::replicas(facts.replica, facts.tls);
        lines!(text, "Replication", "role": "master", "connected_slaves": replicas.len());
        for (i, replica) in replicas.iter().enumerate() {
            let _ = write!(
                text,
                "slave{i}:ip={},port={},state={},offset={},lag={},type=replica\r\n",
                replica.host,
                replica.port,
                if replica.online { "online" } else { "send_bulk" },
                replica.offset,
                replica.lag.as_secs()
            );
        }
    } else {
        let link = replication::primary_link(facts.replica, shard);
        let (host, port) = replication::primary(facts.replica, facts.tls).unwrap_or_default();
        let silent = link.silent.map_or(-1, |silent| silent.as_secs() as i64);
        lines!(text, "Replication",
            "role": "slave",
            "master_host": host,
            "master_port": port,
            "master_link_status": if link.alive { "up" } else { "down" },
            "master_last_io_seconds_ago": if link.alive { silent } else { -1 },
            "master_sync_in_progress": u8::from(shard.restoring),
            "slave_read_repl_offset": shard.committed.0,
            "slave_repl_offset": offset,
        );
        if !link.alive {
            let _ = write!(text, "master_link_down_since_seconds:{silent}\r\n");
        }
        more!(text,
            "slave_priority": 100,
            "slave_read_only": 1,
            "replica_announced": 1,
            "connected_slaves": 0,
        );
    }
    // Apart from the replicas: nothing that these have read is durable.
    let outbound = facts.replica.node.outbound.of_shard(facts.replica.shard_id);
    let _ = write!(text, "outbound_replicas:{}\r\n", outbound.len());
    for (i, reader) in outbound.iter().enumerate() {
        let (acknowledged, lag) =
            reader.acknowledged().map_or((0, -1), |(offset, at)| (offset, at.elapsed().as_secs() as i64));
        let _ = write!(
            text,
            "outbound_replica{i}:ip={},port={},state={},offset={},acknowledged={acknowledged},lag={lag}\r\n",
            reader.ip,
            reader.port,
            reader.state().name(),
            reader.offset(),
        );
    }
    let history = names::history(facts.replica.node.cluster, facts.replica.shard_id);
    let _ = write!(
        text,
        "master_failover_state:no-failover\r\nmaster_replid:{history}\r\nmaster_replid2:{:040}\r\n\
         master_repl_offset:{offset}\r\nsecond_repl_offset:-1\r\nrepl_backlog_active:0\r\nrepl_backlog_size:0\r\n\
         repl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n",
        0
    );
}

fn tls(facts: &Facts<'_>, text: &mut String) {
    let certificates = &facts.replica.node.certificates;
    // A node shows one certificate both to clients and to other nodes.
    let (own, ca) = (certificates.own(), certificates.ca());
    let serial = |facts: &Option<Arc<CertificateFacts>>| facts.as_ref().map_or("none".to_owned(), |f| f.serial.clone());
    let expires_in = |facts: &Option<Arc<CertificateFacts>>| facts.as_ref().map_or(0, |f| f.expires_in().max(0));
    lines!(text, "TLS",
        "tls_server_cert_serial": serial(&own),
        "tls_server_cert_expires_in_seconds": expires_in(&own),
        "tls_client_cert_serial": serial(&own),
        "tls_client_cert_expires_in_seconds": expires_in(&own),
        "tls_ca_cert_serial": serial(&ca),
        "tls_ca_cert_expires_in_seconds": expires_in(&ca),
        "tls_reloads": certificates.reloads(),
        "tls_reload_failures": certificates.failures(),
    );
}

fn cpu(facts: &Facts<'_>, text: &mut String) {
    lines!(text, "CPU",
        "used_cpu_sys": format!("{:.6}", facts.usage.cpu_system),
        "used_cpu_user": format!("{:.6}", facts.usage.cpu_user),
        "used_cpu_sys_children": "0.000000",
        "used_cpu_user_children": "0.000000",
    );
}

fn modules(_: &Facts<'_>, text: &mut String) {
    lines!(text, "Modules");
}

fn commandstats(facts: &Facts<'_>, text: &mut String) {
    lines!(text, "Commandstats");
    for (name, stats) in facts.replica.stats.by_command() {
        let micros = stats.micros();
        let each = if stats.calls == 0 { 0.0 } else { stats.nanos as f64 / 1_000.0 / stats.calls as f64 };
        let _ = write!(
            text,
            "cmdstat_{name}:calls={},usec={micros},usec_per_call={each:.2},rejected_calls={},failed_calls={}\r\n",
            stats.calls, stats.rejected, stats.failed
        );
    }
}

fn errorstats(facts: &Facts<'_>, text: &mut String) {
    lines!(text, "Errorstats");
    for (code, count) in facts.replica.stats.by_error() {
        let _ = write!(text, "errorstat_{code}:count={count}\r\n");
    }
}

fn latencystats(facts: &Facts<'_>, text: &mut String) {
    lines!(text, "Latencystats");
    let wanted = &facts.config.latency_percentiles.0;
    if wanted.is_empty() {
        return;
    }
    for (name, stats) in facts.replica.stats.by_command().into_iter().filter(|(_, stats)| stats.calls > 0) {
        let shares = wanted.iter().map(|percent| format!("p{percent}={:.3}", stats.percentile(percent / 100.0)));
        let _ = write!(text, "latency_percentiles_usec_{name}:{}\r\n", shares.collect::<Vec<_>>().join(","));
    }
}

fn cluster(_: &Facts<'_>, text: &mut String) {
    lines!(text, "Cluster", "cluster_enabled": 1);
}

fn keyspace(facts: &Facts<'_>, text: &mut String) {
    lines!(text, "Keyspace");
    let KeyspaceStats { keys, with_deadline, with_field_deadlines } = facts.figures.keyspace;
    if keys > 0 {
        let _ = write!(
            text,
            "db0:keys={keys},expires={with_deadline},avg_ttl=0,keys_with_volatile_items={with_field_deadlines}\r\n"
        );
    }
}

/// This node's options, for support.
fn settings(facts: &Facts<'_>, text: &mut String) {
    lines!(text, "Fastness");
    for option in OPTIONS.iter().filter(|option| option.name != "requirepass") {
        let _ = write!(text, "option_{}:{}\r\n", option.name.replace('-', "_"), option.get(facts.config));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastness_types::WallMs;

    #[test]
    fn loading_is_told_in_valkeys_words() {
        let mut text = String::new();
        let left = Some(Duration::from_millis(2_100));
        let info = LoadInfo { began: WallMs(1_700_000_000_999), total_bytes: 3_000, loaded_bytes: 1_000, left };
        write_loading(&info, &mut text);
        assert_eq!(
            text,
            "loading_start_time:1700000000\r\nloading_total_bytes:3000\r\nloading_loaded_bytes:1000\r\n\
             loading_loaded_perc:33.33\r\nloading_eta_seconds:3\r\n"
        );
        text.clear();
        write_loading(&LoadInfo { total_bytes: 0, loaded_bytes: 0, left: None, ..info }, &mut text);
        assert!(text.ends_with("loading_loaded_perc:0.00\r\nloading_eta_seconds:1\r\n"), "{text}");
    }

    #[test]
    fn the_allocator_is_described_in_valkeys_words() {
        let mut text = String::new();
        let figures = AllocatorFigures { allocated_bytes: 1_000, active_bytes: 1_500, resident_bytes: 3_000 };
        allocator_lines(figures, 2_400, &mut text);
        assert_eq!(
            text.replace("\r\n", " "),
            "allocator_allocated:1000 allocator_active:1500 allocator_resident:3000 allocator_frag_ratio:1.50 \
             allocator_frag_bytes:500 allocator_rss_ratio:2.00 allocator_rss_bytes:1500 rss_overhead_ratio:0.80 \
             rss_overhead_bytes:-600 "
        );
    }
}

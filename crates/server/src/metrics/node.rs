//! The figures of the node: process, disk, log, consensus and peers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fastness_consensus::RoleName;

use super::Metrics;
use super::exposition::Exposition;
use super::histogram::Histogram;
use crate::access::Lacking;
use crate::descriptors;
use crate::log_counts;
use crate::master_key::age_s;
use crate::process::Usage;
use crate::publications::message::Lost;
use crate::sources::Excess;
use crate::space::Space;
use crate::traces::tracer::DropReason;

impl Metrics {
    /// Adds the node's figures.
    pub(super) fn write_node(&self, usage: &Usage, text: &mut Exposition) {
        let node = &self.node;
        text.one("redis_up", "gauge", &[], 1.0);
        text.one("redis_start_time_seconds", "gauge", &[], node.started_at as f64);
        text.one("redis_config_maxclients", "gauge", &[], node.maxclients() as f64);
        text.one("redis_cluster_enabled", "gauge", &[], 1.0);
        text.one("redis_uptime_in_seconds", "gauge", &[], node.started.elapsed().as_secs() as f64);
        text.one("redis_memory_used_rss_bytes", "gauge", &[], usage.resident_bytes as f64);
        text.one("redis_cpu_sys_seconds_total", "counter", &[], usage.cpu_system);
        text.one("redis_cpu_user_seconds_total", "counter", &[], usage.cpu_user);
        text.one("redis_rejected_connections_total", "counter", &[], node.rejected.load(Ordering::Relaxed) as f64);
        for excess in Excess::ALL {
            let too_many = [("too_many", excess.name().to_owned())];
            text.one("fastness_source_refusals_total", "counter", &too_many, node.sources.refused(excess) as f64);
        }
        text.one("fastness_accept_errors_total", "counter", &[], node.accept_errors.load(Ordering::Relaxed) as f64);
        text.one("process_open_fds", "gauge", &[], descriptors::in_use() as f64);
        text.one("process_max_fds", "gauge", &[], descriptors::limit() as f64);
        text.one("fastness_client_connections", "gauge", &[], node.connected.load(Ordering::Relaxed) as f64);
        text.one("fastness_client_connections_max", "gauge", &[], node.maxclients() as f64);
        let (requests, replies) = node.messages.in_use();
        text.one("fastness_grpc_request_bytes", "gauge", &[], requests as f64);
        text.one("fastness_grpc_reply_bytes", "gauge", &[], replies as f64);
        text.one("fastness_grpc_messages_refused_total", "counter", &[], node.messages.refused() as f64);
        let watchers = &node.watchers;
        text.one("fastness_watchers", "gauge", &[], watchers.count() as f64);
        text.one("fastness_watch_units_total", "counter", &[], watchers.units() as f64);
        let outbound = &node.outbound;
        text.one("fastness_outbound_replicas", "gauge", &[], outbound.count() as f64);
        text.one("fastness_outbound_replicas_started_total", "counter", &[], outbound.started() as f64);
        text.one("fastness_outbound_replicas_cut_off_total", "counter", &[], outbound.cut_off() as f64);
        text.one("fastness_watchers_cut_off_total", "counter", &[], watchers.cut_off() as f64);
        text.one("fastness_log_suppressed_total", "counter", &[], log_counts::suppressed() as f64);
        text.one("fastness_traces_exported_total", "counter", &[], node.tracer.exported() as f64);
        for reason in DropReason::ALL {
            let label = [("reason", reason.name().to_owned())];
            text.one("fastness_traces_dropped_total", "counter", &label, node.tracer.dropped(reason) as f64);
        }
        for lacking in Lacking::ALL {
            let reason = [("reason", lacking.name().to_owned())];
            text.one("fastness_access_denied_total", "counter", &reason, node.access.count(lacking) as f64);
        }
        let identity = [
            ("node", node.node.to_string()),
            ("cluster", node.cluster.to_string()),
            ("availability_zone", node.az.to_string()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        text.one("fastness_node_info", "gauge", &identity, 1.0);
        for (kind, count) in node.journal.counts() {
            text.one("fastness_events_total", "counter", &[("kind", kind.to_owned())], count as f64);
        }
        for (reason, spans) in node.journal.failovers() {
            let reason = [("reason", reason.to_owned())];
            text.histogram("fastness_failover_duration_seconds", &reason, &spans.into());
        }
        self.write_publications(text);
        self.write_log(text);
        self.write_disk(text);
        self.write_faults(text);
        self.write_certificates(text);
        self.write_master_key(text);
        self.write_control(text);
    }

    fn write_publications(&self, text: &mut Exposition) {
        let publications = &self.node.publications;
        text.one("fastness_channel_messages_sent_total", "counter", &[], publications.sent() as f64);
        text.one("fastness_channel_messages_received_total", "counter", &[], publications.received() as f64);
        for why in Lost::ALL {
            let reason = [("reason", why.name().to_owned())];
            text.one("fastness_channel_messages_dropped_total", "counter", &reason, publications.lost(why) as f64);
        }
    }

    fn write_log(&self, text: &mut Exposition) {
        let stats = self.log.stats();
        let counters = [
            ("fastness_log_fsyncs_total", &stats.syncs),
            ("fastness_log_entries_total", &stats.entries),
            ("fastness_log_payload_bytes_total", &stats.payload_bytes),
            ("fastness_log_stored_bytes_total", &stats.stored_bytes),
            ("fastness_log_disk_reads_total", &stats.disk_reads),
        ];
        for (name, counter) in counters {
            text.one(name, "counter", &[], counter.load(Ordering::Relaxed) as f64);
        }
        text.one(
            "fastness_log_fsync_seconds_total",
            "counter",
            &[],
            stats.sync_us.load(Ordering::Relaxed) as f64 / 1e6,
        );
        let synced: Vec<u64> = stats.sync_buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let synced = Histogram::of(&synced, stats.sync_us.load(Ordering::Relaxed) as f64 / 1e6);
        text.histogram("fastness_log_fsync_duration_seconds", &[], &synced);
        text.one("fastness_log_queue_bytes", "gauge", &[], stats.queue_bytes.load(Ordering::Relaxed) as f64);
    }

    fn write_disk(&self, text: &mut Exposition) {
        if let Some(space) = Space::of(&self.node.config.load().log_folder()) {
            text.one("fastness_disk_free_bytes", "gauge", &[], space.free as f64);
            text.one("fastness_disk_total_bytes", "gauge", &[], space.total as f64);
        }
        if let Some(disk) = self.node.disk.get().map(|disk| disk.info()) {
            text.one("fastness_disk_budget_bytes", "gauge", &[], disk.budget as f64);
            let used = disk.used;
            for (part, bytes) in [
                ("log", used.log),
                ("snapshots", used.snapshots),
                ("partial_snapshots", used.drafts),
                ("ballast", used.ballast),
            ] {
                text.one("fastness_disk_used_bytes", "gauge", &[("part", part.to_owned())], bytes as f64);
            }
            text.one("fastness_disk_pressure", "gauge", &[], f64::from(disk.pressure as u8));
            text.one("fastness_disk_log_budget_per_shard_bytes", "gauge", &[], disk.log_share as f64);
            text.one("fastness_disk_removals_for_space_total", "counter", &[], disk.given_up as f64);
        }
    }

    /// Signs of a node that does not work as it should, and faults that were set on purpose.
    fn write_faults(&self, text: &mut Exposition) {
        let in_progress = self.log.write_under_way().unwrap_or_default();
        text.one("fastness_log_write_in_progress_seconds", "gauge", &[], in_progress.as_secs_f64());
        text.one("fastness_log_failed", "gauge", &[], f64::from(u8::from(self.log.failure().is_some())));
        let gaps = self.consensus.gaps();
        text.one("fastness_consensus_stalls_total", "counter", &[], gaps.count as f64);
        text.one("fastness_consensus_stall_max_seconds", "gauge", &[], gaps.longest.as_secs_f64());
        text.one("fastness_lab_enabled", "gauge", &[], f64::from(u8::from(self.node.lab.is_some())));
        for fault in self.node.lab.iter().flat_map(|lab| lab.describe()) {
            text.one("fastness_lab_fault", "gauge", &[("fault", fault)], 1.0);
        }
    }

    fn write_certificates(&self, text: &mut Exposition) {
        let certificates = &self.node.certificates;
        if let Some(own) = certificates.own() {
            text.one("fastness_tls_certificate_expires_seconds", "gauge", &[], own.expires_in() as f64);
        }
        text.one("fastness_tls_reloads_total", "counter", &[], certificates.reloads() as f64);
        text.one("fastness_tls_reload_failures_total", "counter", &[], certificates.failures() as f64);
    }

    fn write_master_key(&self, text: &mut Exposition) {
        let keys = self.log.keys();
        let fingerprint = [("fingerprint", keys.fingerprint().to_string())];
        text.one("fastness_master_key_info", "gauge", &fingerprint, 1.0);
        if let Some(age_s) = age_s(keys.since_s()) {
            text.one("fastness_master_key_age_seconds", "gauge", &[], age_s as f64);
        }
        let incomplete = f64::from(u8::from(keys.retired().is_some()));
        text.one("fastness_master_key_rotation_incomplete", "gauge", &[], incomplete);
    }

    fn write_control(&self, text: &mut Exposition) {
        let status = self.control.status();
        let leads = f64::from(u8::from(status.role == RoleName::Leader));
        text.one("fastness_control_is_leader", "gauge", &[], leads);
        text.one("fastness_control_term", "gauge", &[], status.term as f64);
        text.one("fastness_control_committed_index", "gauge", &[], status.committed.0 as f64);
        text.one("fastness_control_log_purged_index", "gauge", &[], self.control.purged().0 as f64);
        text.one("fastness_control_snapshot_index", "gauge", &[], self.control.snapshot().0 as f64);
        let outdated = f64::from(u8::from(self.node.accounts.is_outdated()));
        text.one("fastness_settings_outdated", "gauge", &[], outdated);
        for (peer, times) in self.consensus.observed().replication_times() {
            let peer = [("peer", peer.to_string())];
            text.histogram("fastness_replication_round_trip_seconds", &peer, &times.into());
        }
        let map = self.node.map.load();
        let replacing = map.as_ref().is_some_and(|map| map.replacement.is_some());
        text.one("fastness_node_replacement_in_progress", "gauge", &[], f64::from(u8::from(replacing)));
        for peer in map.iter().flat_map(|map| map.nodes.iter()).filter(|peer| peer.id != self.node.node) {
            let observed = self.node.peer(peer.id);
            let name = [("peer", peer.id.to_string())];
            text.one("fastness_peer_alive", "gauge", &name, f64::from(u8::from(observed.alive)));
            if observed.round_trip > Duration::ZERO {
                text.one("fastness_peer_round_trip_seconds", "gauge", &name, observed.round_trip.as_secs_f64());
            }
        }
    }
}

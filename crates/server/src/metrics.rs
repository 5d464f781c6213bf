//! The HTTP port: `/metrics` (Prometheus text), `/healthz` (the process works), `/readyz` (its replicas serve),
//! `/digest` (to compare replicas).
//!
//! The port asks for no password, so whatever it offers must be cheap. A digest reads every key: it is offered only
//! where the option `metrics-digest` says so, to callers on this machine, one at a time per replica
//! (`shard/src/digest.rs`), in slices between which clients are served, and it ends when its callers have gone.
//! Connections are bounded in number and in time.
//!
//! The `redis_*` names are those of redis_exporter, with its meanings, so that dashboards made for it work without it;
//! `fastness_*` is what only Fastness has. Every figure is labelled with its shard.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use fastness_consensus::{Consensus, GroupControl, RoleName};
use fastness_log::Log;
use fastness_shard::{GateState, ShardInfo, Standing};
use fastness_types::{Durability, ShardId};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::descriptors;
use crate::process::Usage;
use crate::replicas::Replicas;
use crate::resp_server::command::Snapshot;
use crate::shared::{NodeShared, Phase};
use crate::space::Space;

/// How long a client may take to send its request's head.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// How long a connection may last, with all of its requests: one that does not read its answers must not keep others
/// out.
const CONNECTION_MAX: Duration = Duration::from_secs(120);

/// What the answers are made from.
#[derive(Clone)]
pub struct Metrics {
    /// The node.
    pub node: Arc<NodeShared>,
    /// Its replicas.
    pub replicas: Arc<Replicas>,
    /// Its log.
    pub log: Log,
    /// Its consensus.
    pub consensus: Consensus,
    /// The control plane's group.
    pub control: GroupControl,
}

impl Metrics {
    /// Serves until the node closes.
    pub async fn serve(self, listener: TcpListener) {
        let slots = Arc::new(tokio::sync::Semaphore::new(descriptors::METRICS_CONNECTIONS_MAX));
        let closing = self.node.clone();
        let closing = closing.reached(Phase::Closing);
        tokio::pin!(closing);
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut closing => return,
            };
            let Ok((tcp, caller)) = accepted else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let metrics = self.clone();
            tokio::spawn(async move {
                let local = caller.ip().to_canonical().is_loopback();
                let service = hyper::service::service_fn(|request| metrics.answer(request, local));
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_MAX)
                    .serve_connection(TokioIo::new(tcp), service);
                // A connection that breaks, or lasts too long, concerns nobody.
                let _ = tokio::time::timeout(CONNECTION_MAX, served).await;
                drop(slot);
            });
        }
    }

    /// `local`: the caller is on this machine.
    async fn answer(&self, request: Request<Incoming>, local: bool) -> Result<Response<Full<Bytes>>, Infallible> {
        let (status, text) = match request.uri().path() {
            "/metrics" => (StatusCode::OK, self.exposition().await),
            "/healthz" => said(self.healthy()),
            "/readyz" => said(self.ready().await),
            "/digest" if !self.node.config.load().metrics_digest => {
                (StatusCode::NOT_FOUND, "/digest is offered with the option metrics-digest yes\n".to_owned())
            }
            "/digest" if !local => (StatusCode::FORBIDDEN, "/digest is for callers on this machine\n".to_owned()),
            "/digest" => (StatusCode::OK, self.digests().await),
            _ => (StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let kind = "text/plain; version=0.0.4; charset=utf-8";
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
        Ok(response)
    }

    fn healthy(&self) -> Result<(), String> {
        if let Some(reason) = self.consensus.stopped() {
            return Err(format!("consensus has stopped: {reason}"));
        }
        self.log.failure().map_or(Ok(()), |failure| Err(format!("the log has failed: {failure}")))
    }

    /// Ready: the cluster is created, and each replica here leads with a lease or follows a known leader.
    async fn ready(&self) -> Result<(), String> {
        self.healthy()?;
        if self.node.phase() != Phase::Running {
            return Err("the node is stopping".to_owned());
        }
        if self.consensus.log_stalls() {
            return Err("the log's disk stands still".to_owned());
        }
        let map = self.node.map.load_full().ok_or("the cluster is not created yet")?;
        for shard in map.shards_on(self.node.node) {
            let id = shard.id;
            let replica = self.replicas.get(id).ok_or_else(|| format!("shard {id} is not started yet"))?;
            let snapshot = replica.snapshot().await.ok_or_else(|| format!("shard {id} does not answer"))?;
            not_serving(&snapshot.shard).map_or(Ok(()), |why| Err(format!("shard {id} {why}")))?;
        }
        Ok(())
    }

    async fn exposition(&self) -> String {
        let mut text = Exposition::default();
        let node = &self.node;
        let usage = Usage::now();
        text.one("redis_up", "gauge", &[], 1.0);
        text.one("redis_uptime_in_seconds", "gauge", &[], node.started.elapsed().as_secs() as f64);
        text.one("redis_memory_used_rss_bytes", "gauge", &[], usage.resident_bytes as f64);
        text.one("redis_cpu_sys_seconds_total", "counter", &[], usage.cpu_system);
        text.one("redis_cpu_user_seconds_total", "counter", &[], usage.cpu_user);
        text.one("redis_rejected_connections_total", "counter", &[], node.rejected.load(Ordering::Relaxed) as f64);
        text.one("fastness_accept_errors_total", "counter", &[], node.accept_errors.load(Ordering::Relaxed) as f64);
        text.one("process_open_fds", "gauge", &[], descriptors::in_use() as f64);
        text.one("process_max_fds", "gauge", &[], descriptors::limit() as f64);
        text.one("fastness_client_connections", "gauge", &[], node.connected.load(Ordering::Relaxed) as f64);
        text.one("fastness_client_connections_max", "gauge", &[], node.maxclients() as f64);
        let identity = [
            ("node", node.node.to_string()),
            ("cluster", node.cluster.to_string()),
            ("availability_zone", node.az.to_string()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        text.one("fastness_node_info", "gauge", &identity, 1.0);
        self.log_figures(&mut text);
        self.disk_figures(&mut text);
        self.control_figures(&mut text);
        let mut snapshots = Vec::new();
        for (shard, replica) in self.replicas.all() {
            let purged = replica.control.purged().0 as f64;
            text.one("fastness_log_purged_index", "gauge", &label(shard), purged);
            if let Some(snapshot) = replica.snapshot().await {
                snapshots.push((shard, snapshot));
            }
        }
        for figure in FIGURES {
            for (shard, snapshot) in &snapshots {
                text.one(figure.name, figure.kind, &label(*shard), (figure.of)(snapshot, &usage));
            }
        }
        for (shard, snapshot) in &snapshots {
            text.commands(*shard, snapshot);
        }
        text.finish()
    }

    /// One line per replica: shard, applied index, digest of the data at that index (or why there is none now).
    /// Replicas with the same index have the same digest.
    async fn digests(&self) -> String {
        let mut text = String::new();
        for (shard, replica) in self.replicas.all() {
            let _ = match replica.digest().await {
                Some(Ok((index, digest))) => writeln!(text, "{shard} {} {:032x}", index.0, digest.0),
                Some(Err(error)) => writeln!(text, "{shard} - {error}"),
                None => writeln!(text, "{shard} - no answer in time"),
            };
        }
        text
    }

    fn control_figures(&self, text: &mut Exposition) {
        let status = self.control.status();
        let leads = f64::from(u8::from(status.role == RoleName::Leader));
        text.one("fastness_control_is_leader", "gauge", &[], leads);
        text.one("fastness_control_term", "gauge", &[], status.term as f64);
        text.one("fastness_control_committed_index", "gauge", &[], status.committed.0 as f64);
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

    fn disk_figures(&self, text: &mut Exposition) {
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
        let under_way = self.log.write_under_way().unwrap_or_default();
        text.one("fastness_log_write_in_progress_seconds", "gauge", &[], under_way.as_secs_f64());
        text.one("fastness_log_failed", "gauge", &[], f64::from(u8::from(self.log.failure().is_some())));
        let gaps = self.consensus.gaps();
        text.one("fastness_consensus_stalls_total", "counter", &[], gaps.count as f64);
        text.one("fastness_consensus_stall_max_seconds", "gauge", &[], gaps.longest.as_secs_f64());
        text.one("fastness_lab_enabled", "gauge", &[], f64::from(u8::from(self.node.lab.is_some())));
        for fault in self.node.lab.iter().flat_map(|lab| lab.told()) {
            text.one("fastness_lab_fault", "gauge", &[("fault", fault)], 1.0);
        }
    }

    fn log_figures(&self, text: &mut Exposition) {
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
        text.one("fastness_log_queue_bytes", "gauge", &[], stats.queue_bytes.load(Ordering::Relaxed) as f64);
    }
}

fn said(result: Result<(), String>) -> (StatusCode, String) {
    match result {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// Why a replica does not serve, if it does not.
fn not_serving(shard: &ShardInfo) -> Option<String> {
    if let Some(stopped) = &shard.stopped {
        return Some(format!("has stopped: {stopped}"));
    }
    match shard.standing {
        _ if shard.restoring => Some("is being restored from the log".to_owned()),
        Standing::Primary if shard.lease_holds => None,
        Standing::Primary | Standing::Waiting => Some("leads without a lease".to_owned()),
        Standing::Replica { leader: Some(_) } if shard.reads_closed => {
            Some("does not hold yet what its leader has committed".to_owned())
        }
        Standing::Replica { leader: Some(_) } => None,
        Standing::Replica { leader: None } => Some("knows no leader".to_owned()),
        Standing::Stopped => Some("has stopped".to_owned()),
    }
}

fn label(shard: ShardId) -> [(&'static str, String); 1] {
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

/// How long ago a replica's primary was heard, if it answers.
fn primary_heard(s: &Snapshot) -> Option<Duration> {
    s.primary_link.silent.filter(|_| s.primary_link.alive)
}

#[rustfmt::skip]
const FIGURES: &[Figure] = &[
    gauge("redis_connected_clients", |s, _| s.clients as f64),
    gauge("redis_blocked_clients", |s, _| s.blocked as f64),
    gauge("redis_memory_used_bytes", |s, _| s.shard.memory.total() as f64),
    gauge("fastness_memory_data_bytes", |s, _| s.shard.memory.data as f64),
    gauge("fastness_memory_clients_bytes", |s, _| s.shard.memory.clients as f64),
    gauge("fastness_memory_uncommitted_effects_bytes", |s, _| s.shard.memory.open_effects as f64),
    gauge("fastness_memory_snapshot_bytes", |s, _| s.shard.memory.image as f64),
    gauge("fastness_lazyfree_pending_objects", |s, _| s.shard.freeing.pending_objects as f64),
    gauge("redis_memory_max_bytes", |s, _| s.figures.maxmemory as f64),
    gauge("redis_memory_fragmentation_ratio", |s, u| match s.shard.memory.total() { 0 => 0.0, used => u.resident_bytes as f64 / used as f64 }),
    counter("redis_commands_processed_total", |s, _| s.counters[0] as f64),
    counter("redis_connections_received_total", |s, _| s.counters[1] as f64),
    counter("redis_net_input_bytes_total", |s, _| s.counters[2] as f64),
    counter("redis_net_output_bytes_total", |s, _| s.counters[3] as f64),
    counter("redis_errors_total", |s, _| s.counters[4] as f64),
    counter("redis_keyspace_hits_total", |s, _| s.figures.lookups.hits as f64),
    counter("redis_keyspace_misses_total", |s, _| s.figures.lookups.misses as f64),
    counter("redis_expired_keys_total", |s, _| s.figures.lookups.expired as f64),
    counter("redis_evicted_keys_total", |_, _| 0.0),
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
    gauge("fastness_lag_gate_closed", |s, _| f64::from(u8::from(s.shard.gate.state == GateState::Closed))),
    counter("fastness_lag_gate_closures_total", |s, _| s.shard.gate.closures as f64),
    counter("fastness_writes_slowed_total", |s, _| s.shard.gate.slowed as f64),
    counter("fastness_writes_refused_total", |s, _| s.shard.gate.refused as f64),
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
    counter("fastness_effect_bytes_committed_total", |s, _| s.shard.effect_bytes as f64),
    counter("fastness_batches_applied_total", |s, _| s.shard.batches_applied as f64),
    counter("fastness_restores_total", |s, _| s.shard.restores as f64),
    counter("fastness_undos_total", |s, _| s.shard.undone as f64),
    counter("fastness_undos_by_log_total", |s, _| s.shard.undone_by_records as f64),
    gauge("fastness_undo_last_duration_seconds", |s, _| s.shard.undo_took.as_secs_f64()),
    gauge("fastness_undo_log_bytes", |s, _| s.shard.undo_bytes as f64),
    counter("fastness_undone_writes_total", |s, _| s.shard.undone_units as f64),
    counter("fastness_replies_outcome_unknown_total", |s, _| s.shard.unknown_replies as f64),
    counter("fastness_replies_delayed_by_override_total", |s, _| s.shard.asked as f64),
    counter("fastness_client_output_buffer_limit_disconnections_total", |s, _| s.closes[0] as f64),
    counter("fastness_client_query_buffer_limit_disconnections_total", |s, _| s.closes[1] as f64),
    counter("fastness_cross_protocol_disconnections_total", |s, _| s.closes[2] as f64),
    counter("fastness_log_wait_disconnections_total", |s, _| s.closes[3] as f64),
    counter("fastness_connection_panics_total", |s, _| s.closes[4] as f64),
];

/// Prometheus' text format: the samples of one name stand together, below its type.
#[derive(Default)]
struct Exposition {
    families: Vec<(&'static str, &'static str, String)>,
}

impl Exposition {
    fn one(&mut self, name: &'static str, kind: &'static str, labels: &[(&str, String)], value: f64) {
        let family = match self.families.iter_mut().find(|family| family.0 == name) {
            Some(family) => family,
            None => {
                self.families.push((name, kind, String::new()));
                self.families.last_mut().expect("pushed above")
            }
        };
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(family.2, "{name}{labels} {value}");
    }

    fn commands(&mut self, shard: ShardId, snapshot: &Snapshot) {
        let data = [("shard", shard.to_string()), ("db", "db0".to_owned())];
        self.one("redis_db_keys", "gauge", &data, snapshot.figures.keyspace.keys as f64);
        self.one("redis_db_keys_expiring", "gauge", &data, snapshot.figures.keyspace.with_deadline as f64);
        for (name, stats) in &snapshot.commands {
            let labels = [("shard", shard.to_string()), ("cmd", (*name).to_owned())];
            self.one("redis_commands_total", "counter", &labels, stats.calls as f64);
            self.one("redis_commands_duration_seconds_total", "counter", &labels, stats.nanos as f64 / 1e9);
            self.one("redis_commands_rejected_calls_total", "counter", &labels, stats.rejected as f64);
            self.one("redis_commands_failed_calls_total", "counter", &labels, stats.failed as f64);
        }
    }

    fn finish(self) -> String {
        self.families.into_iter().map(|(name, kind, samples)| format!("# TYPE {name} {kind}\n{samples}")).collect()
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_name_stand_together() {
        let mut text = Exposition::default();
        text.one("b", "gauge", &[("x", "1\"".to_owned())], 2.0);
        text.one("a", "counter", &[], 0.5);
        text.one("b", "gauge", &[("x", "2".to_owned())], 3.0);
        assert_eq!(text.finish(), "# TYPE b gauge\nb{x=\"1\\\"\"} 2\nb{x=\"2\"} 3\n# TYPE a counter\na 0.5\n");
    }

    #[test]
    fn names_are_there_once() {
        let names: std::collections::BTreeSet<_> = FIGURES.iter().map(|figure| figure.name).collect();
        assert_eq!(names.len(), FIGURES.len());
    }
}

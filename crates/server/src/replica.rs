//! One shard replica's thread: its loop, its connections, and the mailbox through which the rest of the process
//! reaches it.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use fastness_consensus::Progress;
use fastness_consensus::handle::GroupHandle;
use fastness_control::{ClusterMap, LagBound};
use fastness_engine::EngineOptions;
use fastness_shard::{
    Batching, DesiredLagBound, DesiredMode, FollowCopies, IdempotencyLimits, Shard, ShardOptions, SlotSet,
    SnapshotStore, StableCopies,
};
use fastness_types::{Clock, HashSeed, LogIndex, ShardId};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::group_view::GroupView;
use crate::mailbox::{Incoming, MAILBOX_MAX, ToReplica, Transport};
use crate::pause::TimerPause;
use crate::process;
use crate::resp_server::activity::activity;
use crate::resp_server::latency::LatencyEvent;
use crate::resp_server::pubsub::publish;
use crate::resp_server::snapshot::snapshot;
use crate::resp_server::stream::{ClientStream, SocketStream};
use crate::resp_server::tracking::deliver;
use crate::resp_server::{ReplicaServer, serve};
use crate::settings::SettingsServer;
use crate::shared::{ModeReport, NodeShared};
use crate::snapshots::SnapshotFiles;

/// Period of the thread's housekeeping: idle connections, figures per second.
const TICK: Duration = Duration::from_secs(1);
/// How soon another desired mode is seen, and the mode in force reported.
const MODE_TICK: Duration = Duration::from_millis(50);
/// How long connections get at the end to send released replies.
const LAST_REPLIES_MAX: Duration = Duration::from_millis(500);

/// How a replica is started.
pub struct ReplicaOptions {
    /// The node.
    pub node: Arc<NodeShared>,
    /// The shard.
    pub shard: ShardId,
    /// Its slots.
    pub slots: SlotSet,
    /// The cluster's hash seed.
    pub seed: HashSeed,
    /// Both clocks.
    pub clock: Arc<dyn Clock>,
    /// The group's owner side.
    pub handle: GroupHandle,
    /// The group as seen from outside.
    pub group: Arc<dyn GroupView>,
    /// When batches are closed.
    pub batching: Batching,
    /// Where its snapshots are kept; `None`: it makes none.
    pub snapshots: Option<SnapshotFiles>,
    /// Plaintext and TLS port; 0: none.
    pub ports: (u16, u16),
    /// Changes the cluster's settings; `None`: there is no control plane, the node's own options are all there is.
    pub settings_server: Option<SettingsServer>,
}

/// A running replica.
pub struct Replica {
    /// Its mailbox.
    pub mailbox: mpsc::Sender<ToReplica>,
    /// Ends after [`ToReplica::Stop`], or when the shard's loop has ended.
    pub thread: JoinHandle<()>,
}

/// Starts a replica's thread.
///
/// # Errors
/// The system gives no thread or runtime.
pub fn start(options: ReplicaOptions) -> io::Result<Replica> {
    let (mailbox, messages) = mpsc::channel(MAILBOX_MAX);
    let usual = process::nice();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Threads that it starts for blocking work would inherit the priority.
        .on_thread_start(move || process::set_nice(usual))
        .build()?;
    let thread = std::thread::Builder::new().name(format!("shard-{}", options.shard)).spawn(move || {
        let config = options.node.config.load();
        // Heartbeats come first.
        let nice = process::prefer_this_thread(config.shard_nice.max(config.consensus_nice) as i32);
        options.node.shard_nice.store(nice, Ordering::Relaxed);
        drop(config);
        LocalSet::new().block_on(&runtime, run(options, messages));
    })?;
    Ok(Replica { mailbox, thread })
}

async fn run(options: ReplicaOptions, mut messages: mpsc::Receiver<ToReplica>) {
    let shard_id = options.shard;
    let (server, shard_loop) = open(options);
    let messages_of_others = server.node.publications.enter(shard_id);
    tokio::task::spawn_local(publish::run(server.clone(), messages_of_others));
    tokio::task::spawn_local(deliver::run(server.clone()));
    let mut shard_loop = tokio::task::spawn_local(shard_loop);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut mode_tick = tokio::time::interval(MODE_TICK);
    mode_tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(ToReplica::Stop) | None => break,
                Some(message) => answer(&server, message),
            },
            _ = tick.tick() => housekeeping(&server),
            due = mode_tick.tick() => {
                let late = &server.stats.loop_late;
                late.set(late.get().max(due.elapsed()));
                follow_mode(&server);
            }
            () = server.broken.notified() => {
                tracing::error!(shard = %shard_id, "replica stopped: a panic interrupted a command, so its data may be inconsistent");
                break;
            }
            ended = &mut shard_loop => {
                let reason = server.shard.info().stopped.unwrap_or_else(|| format!("{ended:?}"));
                tracing::error!(shard = %shard_id, reason, "replica stopped");
                break;
            }
        }
    }
    server.node.publications.leave(shard_id);
    close_connections(&server).await;
}

fn open(options: ReplicaOptions) -> (Rc<ReplicaServer>, impl Future<Output = ()>) {
    let config = options.node.config.load();
    let (maxmemory, max_lag) = (config.maxmemory, config.durability_max_lag);
    let (snapshot_log_bytes, lease_wait_max) = (config.snapshot_log_bytes, config.lease_wait_max);
    let eviction = config.eviction;
    drop(config);
    let copies = Copies { group: options.group.clone() };
    let snapshot_files = options.snapshots.clone();
    let shard_options = ShardOptions {
        shard: options.shard,
        node: options.node.node,
        slots: options.slots,
        desired: desired(&options.node).expect("a replica is started when the map names it"),
        commands: crate::resp_server::command::table(),
        engine: EngineOptions { seed: options.seed, maxmemory },
        clock: options.clock,
        pause: Rc::new(TimerPause::default()),
        copies: Rc::new(copies),
        random_seed: rand::random(),
        batching: options.batching,
        idempotency: IdempotencyLimits::default(),
        snapshots: options.snapshots.map(|files| Rc::new(files) as Rc<dyn SnapshotStore>),
        snapshot_log_bytes,
        max_lag,
        lease_wait_max,
    };
    let (shard, shard_loop) = Shard::start(shard_options, options.handle);
    shard.set_memory_bound(maxmemory, eviction);
    let server = ReplicaServer::new(options.node, options.shard, shard, options.group, options.ports)
        .with_settings_server(options.settings_server)
        .with_snapshot_files(snapshot_files);
    (Rc::new(server), shard_loop)
}

fn answer(server: &Rc<ReplicaServer>, message: ToReplica) {
    match message {
        ToReplica::Connection(Incoming { transport, arrival, slot }) => {
            let stream = match transport {
                Transport::Socket(tcp, tls) => SocketStream::new(tcp, tls).map(ClientStream::Socket),
                Transport::Memory(end) => Ok(ClientStream::Memory(end)),
            };
            match stream {
                Ok(stream) => {
                    tokio::task::spawn_local(serve::serve(server.clone(), stream, arrival, slot));
                }
                Err(error) => {
                    tracing::warn!(%error, "a client's socket cannot be registered: its connection is closed")
                }
            }
        }
        ToReplica::Digest(to) => server.shard.request_digest(to),
        // The caller may have stopped waiting.
        ToReplica::Snapshot(to) => drop(to.send(snapshot(server))),
        ToReplica::Activity(bounds, to) => drop(to.send(activity(server, bounds))),
        ToReplica::MakeSnapshot(to) => drop(to.send(server.shard.snapshot())),
        ToReplica::Values(keys, bytes_max, to) => drop(to.send(server.shard.committed_values(&keys, bytes_max))),
        ToReplica::Stop => {}
    }
}

fn housekeeping(server: &Rc<ReplicaServer>) {
    let config = server.node.config.load();
    server.stats.sample();
    server.clients.close_idle(config.timeout);
    server.evict_clients();
    server.close_stuck();
    server.tracking.set_bounds(&config);
    if server.tracking.is_any() {
        server.shard.check_tracking();
    }
    // CONFIG SET on any replica of the node counts for all of them; a restored engine starts with the old bounds.
    server.shard.with_engine(|engine| {
        engine.set_packed_limits(config.packed_limits);
        engine.set_notify_classes(config.notify_keyspace_events);
        if engine.notes_changes() && !server.tracking.is_any() {
            engine.note_changes(false);
        }
    });
    server.shard.set_memory_bound(config.maxmemory, config.eviction);
    if server.node.settings().max_lag.is_none() {
        server.shard.set_max_lag(config.durability_max_lag);
    }
    server.shard.set_lease_wait_max(config.lease_wait_max);
    server.shard.set_script_times(config.busy_reply_threshold, config.script_time_max);
    server.shard.set_snapshot_log_bytes(config.snapshot_log_bytes);
    let share = server.node.disk.get().map(|disk| disk.log_share());
    if let Some(share) = share {
        server.shard.set_log_share(share);
    }
    if let Some(group) = server.node.group(server.shard_id) {
        group.keep_log(config.watch_log_bytes.min(share.unwrap_or(u64::MAX)));
    }
    server.stats.memory_peak(server.shard.memory().total());
    let info = server.shard.info();
    server.stats.observe_snapshots(&info.snapshot, info.units);
    sample_latency(server, config.latency_monitor_threshold);
}

/// Passes the longest spans of the last second to LATENCY. They are taken while it is off, too, so that none is old
/// when it is switched on.
fn sample_latency(server: &ReplicaServer, threshold: Duration) {
    let peaks = server.shard.take_peaks();
    let late = server.stats.loop_late.take();
    let now = server.shard.boot_now().second();
    let seen = server.stats.fsyncs_seen.replace(now.saturating_sub(1));
    let fsync = server.node.log.get().and_then(|log| log.stats().sync_peaks.between(seen, now));
    for (event, span) in [
        (LatencyEvent::Commit, peaks.commit),
        (LatencyEvent::ExpireCycle, peaks.expiry),
        (LatencyEvent::EvictionCycle, peaks.eviction),
        (LatencyEvent::EventLoop, late),
        (LatencyEvent::LogFsync, fsync.unwrap_or_default()),
    ] {
        server.latency.note(event, span, threshold);
    }
}

/// Passes the desired mode to the shard, and reports the mode in force to the node.
fn follow_mode(server: &ReplicaServer) {
    if let Some(desired) = desired(&server.node) {
        server.shard.set_desired_mode(desired);
    }
    let settings = server.node.settings();
    // The replica goes by the settings once its log does: the bound of the lag is a unit in it, as the mode is.
    let mut follows = true;
    if let Some(LagBound { bound, version }) = settings.max_lag {
        server.shard.set_desired_lag_bound(DesiredLagBound { bound, version });
        follows = server.shard.max_lag().1 >= version;
    }
    server.clients.renew(&server.node.accounts);
    if !is_member(server) {
        server.lose_shard_channels();
    }
    if follows {
        server.node.report_settings(server.shard_id, settings.version);
    }
    let (in_force, version) = server.shard.mode();
    server.node.report_mode(server.shard_id, ModeReport { in_force, version });
}

/// Whether the map gives this node a replica of the shard. One that it takes away serves its connections for a while.
fn is_member(server: &ReplicaServer) -> bool {
    let map = server.node.map.load();
    let place = |map: &ClusterMap| map.place_of(server.node.node);
    map.as_ref().is_none_or(|map| map.shards_on(place(map)).any(|shard| shard.id == server.shard_id))
}

/// The mode that the cluster's map desires.
fn desired(node: &NodeShared) -> Option<DesiredMode> {
    let map = node.map.load();
    map.as_ref().map(|map| DesiredMode { mode: map.durability, version: map.durability_version })
}

/// Waits a limited time until released replies are sent, then closes.
async fn close_connections(server: &ReplicaServer) {
    let waited = tokio::time::Instant::now();
    while waited.elapsed() < LAST_REPLIES_MAX && server.clients.all().iter().any(|client| client.unsent_bytes.get() > 0)
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for client in server.clients.all() {
        client.kill();
    }
    while waited.elapsed() < 2 * LAST_REPLIES_MAX && !server.clients.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Which members have an entry on stable storage, as the group knows.
struct Copies {
    group: Arc<dyn GroupView>,
}

impl StableCopies for Copies {
    fn replicas(&self, index: LogIndex) -> u64 {
        self.group.stable_copies(index)
    }

    fn local(&self, index: LogIndex) -> bool {
        self.group.flushed() >= index
    }

    fn follow(&self) -> Box<dyn FollowCopies> {
        Box::new(Acknowledgements(self.group.progress()))
    }
}

struct Acknowledgements(Progress);

#[async_trait::async_trait(?Send)]
impl FollowCopies for Acknowledgements {
    async fn changed(&mut self) {
        self.0.changed().await;
    }
}

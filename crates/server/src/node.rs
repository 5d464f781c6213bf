//! One node: assembles its parts, starts and stops them.
//!
//! ```text
//! runtime of the caller: accepting clients, TLS handshakes, admin gRPC, metrics, this module's follower of the map
//! thread `consensus`:    Raft groups, the control plane, the peer front end (a current-thread runtime), high priority
//! thread `shard-N`:      one per replica: its loop and its connections
//! threads of the log:    writer, reader
//! ```
//!
//! Order at the start: options and certificates are checked, ports are bound, the log is opened and checked, consensus
//! starts with group 0; replicas start when the map names this node. Order at the end: leadership is handed over while
//! clients are still served, then nobody is accepted, replies leave, replicas end, consensus ends, the log is closed.

mod consensus;
mod error;
mod sockets;
mod storage;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fastness_consensus::Consensus;
use fastness_consensus::handle::GroupHandle;
use fastness_control::bootstrap::form_shard;
use fastness_control::{ClusterMap, Control, NodeInfo, ShardMap};
use fastness_events::{Event, HandOverReason};
use fastness_log::Log;
use fastness_log::faulty::DiskFault;
use fastness_log::store::StoreError;
use fastness_shard::{Batching, SlotSet};
use fastness_types::limits::{GRPC_CALLS_MAX, GRPC_CONNECTION_WINDOW_BYTES, GRPC_WINDOW_BYTES};
use fastness_types::{Clock, GroupId, ShardId, SystemClock};
use fastness_wire::lab::v1::lab_service_server;
use fastness_wire::peer::v1::channel_service_server;
use fastness_wire::v1::{kv_service_server, topology_service_server, watch_service_server};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Server};
use tonic::{Request, Status};
use tonic_health::pb::health_server;
use tonic_reflection::pb::v1::server_reflection_server;

use crate::admin::Admin;
use crate::api::gateway::Gateway;
use crate::api::health;
use crate::api::service::{KvServer, reflection};
use crate::api::topology::{Publisher, TopologyServer};
use crate::api::watch::WatchServer;
use crate::beside::Beside;
use crate::certificates::Certificates;
use crate::config::Config;
use crate::consensus_thread::ConsensusThread;
use crate::console::{self, MaybeTls};
use crate::descriptors;
use crate::disk_monitor::DiskMonitor;
use crate::grpc_accept::Guard;
use crate::lab::LabServer;
use crate::mailbox::ToReplica;
use crate::master_key::KeyRotation;
use crate::members;
use crate::metrics::Metrics;
use crate::peer_server::KEEP_ALIVE;
use crate::publications::links;
use crate::publications::service::ChannelServer;
use crate::replica::{self, ReplicaOptions};
use crate::replicas::{Replicas, Running};
use crate::resp_server::accept;
use crate::settings::{self, SettingsServer};
use crate::shared::{NodeShared, Phase};
use crate::space;
use crate::tls::lab_uri;
use crate::traces::export::{self, Exporter};
use consensus::start_consensus;
use sockets::{Sockets, bind, own_info, port_of};
use storage::{close_log, free_for_a_start, open_log, open_snapshots};

pub use error::NodeError;

/// How long replicas get to end after leadership was handed over; their replies are bounded by themselves.
const REPLICAS_END_MAX: Duration = Duration::from_secs(3);

/// How long Raft groups get to end; one that waits for its disk to store a vote does not.
const CONSENSUS_END_MAX: Duration = Duration::from_secs(3);
/// How long the disk monitor gets to finish its check.
const MONITOR_END_MAX: Duration = Duration::from_millis(500);
/// How long the log gets to write what is queued.
const LOG_END_MAX: Duration = Duration::from_secs(5);

/// A running node.
pub struct Node {
    inner: Arc<Inner>,
    failure: watch::Receiver<Option<String>>,
    consensus_thread: Option<ConsensusThread>,
}

struct Inner {
    shared: Arc<NodeShared>,
    log: Log,
    consensus: Consensus,
    control: Control,
    group_0: fastness_consensus::GroupControl,
    handle_0: GroupHandle,
    settings_server: SettingsServer,
    /// The options as the config file has them.
    file: Arc<Config>,
    replicas: Arc<Replicas>,
    threads: Mutex<Vec<(ShardId, JoinHandle<()>)>>,
    certificates: Arc<Certificates>,
    own: NodeInfo,
    /// Whether nothing was stored on the disk when the node started.
    pristine: bool,
    keys: Arc<KeyRotation>,
    clock: Arc<dyn Clock>,
    failure: watch::Sender<Option<String>>,
    disk: Arc<DiskMonitor>,
    /// The disk monitor's thread.
    monitor: Mutex<Option<JoinHandle<()>>>,
}

/// Lets every caller in: probes and tools have no password.
fn anybody(request: Request<()>) -> Result<Request<()>, Status> {
    Ok(request)
}

/// Raises the limit of file descriptors as far as the system allows, and checks that it suffices for one client.
fn raise_descriptors() -> Result<(), NodeError> {
    let limit = descriptors::raise();
    if descriptors::clients_max(limit, 1, 0) == 0 {
        return Err(NodeError::Descriptors { limit, needed: descriptors::reserve(limit, 1, 0) + 1 });
    }
    Ok(())
}

impl Node {
    /// Starts a node. Returns once it can be administrated; replicas start when the cluster's map names the node.
    ///
    /// # Errors
    /// See [`NodeError`]; nothing keeps running then.
    pub async fn start(mut config: Config) -> Result<Node, NodeError> {
        config.check()?;
        let collector = export::collector(&config)?;
        let table = crate::resp_server::command::table();
        let users = settings::first_users(table, &mut config)?;
        let certificates = Arc::new(Certificates::load(&config)?);
        let (cluster, node) = certificates.identity();
        if config.node_id != 0 && config.node_id != node.0 {
            return Err(NodeError::NodeId { option: config.node_id, certificate: node });
        }
        if config.lab && !certificates.is_lab() {
            return Err(NodeError::NoLab(lab_uri(cluster)));
        }
        raise_descriptors()?;
        let sockets = Sockets::bind(&config)?;
        let shared = NodeShared::with_users(node, cluster, config.clone(), users, table);
        shared.budget_descriptors(1, 0);
        let disk = DiskMonitor::measure(&config.dir, config.disk_budget, shared.events.clone());
        let _ = shared.disk.set(disk.disk().clone());
        let log = open_log(&config, &shared, &disk).await?;
        let _ = shared.keys.set(log.keys().clone());
        let _ = shared.log.set(log.clone());
        let keys = KeyRotation::new(shared.clone(), log.clone(), disk.clone());
        // They are small, and a node is of no use without the newest map: the budget counts them, and refuses none.
        let files_0 = open_snapshots(&config, &shared, GroupId::CONTROL, None).await?;
        let own = own_info(&config, log.identity(), &sockets);
        let pristine = log.groups().is_empty() && log.peers().is_empty();
        let (runtime, consensus_thread) = ConsensusThread::start(shared.clone())?;
        let started =
            start_consensus(&runtime, &shared, &certificates, log.clone(), sockets.peer, files_0.clone()).await;
        let (consensus, control, group_0, handle) = match started {
            Ok(started) => started,
            Err(error) => {
                consensus_thread.end().await;
                close_log(log).await;
                return Err(error);
            }
        };
        disk.add_group(GroupId::CONTROL, files_0, handle.clone());
        shared.set_observed(consensus.observed());
        let (to_nodes, group) = (certificates.to_nodes.clone(), handle.clone());
        let settings_server = SettingsServer::new(shared.clone(), control.clone(), group, to_nodes, table);
        let (failure, failed) = watch::channel(None);
        let inner = Arc::new(Inner {
            file: shared.config.load_full(),
            shared,
            log,
            consensus,
            control,
            group_0,
            handle_0: handle,
            settings_server,
            replicas: Arc::default(),
            threads: Mutex::default(),
            certificates,
            own,
            pristine,
            keys,
            clock: Arc::new(SystemClock),
            failure,
            disk: disk.clone(),
            monitor: Mutex::new(Some(disk.start()?)),
        });
        inner.serve_grpc(sockets.grpc);
        inner.serve_metrics(sockets.metrics);
        inner.spawn_followers(runtime, collector);
        tracing::info!(node = %inner.shared.node, cluster = %inner.shared.cluster, "the node can be administrated");
        inner.shared.events.record(Event::NodeStarted { version: env!("CARGO_PKG_VERSION") });
        Ok(Node { inner, failure: failed, consensus_thread: Some(consensus_thread) })
    }

    /// What this node announces of itself before there is a map.
    #[must_use]
    pub fn own(&self) -> &NodeInfo {
        &self.inner.own
    }

    /// What all parts of the node share.
    #[must_use]
    pub fn shared(&self) -> &Arc<NodeShared> {
        &self.inner.shared
    }

    /// Reads the TLS files now, and uses them for new connections if they have changed and are usable. Returns at once.
    pub fn reload_certificates(&self) {
        self.inner.certificates.reload();
    }

    /// Resolves with the reason once the node must stop.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Hands over what the node leads, lets replies leave, and ends everything.
    pub async fn shutdown(mut self) {
        let inner = self.inner.clone();
        inner.shared.enter(Phase::HandingOver);
        inner.shared.events.record(Event::NodeStops {});
        inner.hand_everything_over().await;
        inner.shared.enter(Phase::Closing);
        self.end("the node ends").await;
        tracing::info!("node stopped");
    }

    /// The folder that lacks space, if that is why the node has failed.
    #[must_use]
    pub fn lacks_space(&self) -> Option<PathBuf> {
        let full = matches!(self.inner.log.failure(), Some(StoreError::NoSpace { .. }));
        full.then(|| self.inner.shared.config.load().log_folder())
    }

    /// Leaves the cluster and waits until there is space. The process must restart afterwards: the log has to be opened
    /// and checked again.
    pub async fn wait_for_space(&mut self) {
        let inner = self.inner.clone();
        let Some(folder) = self.lacks_space() else { return };
        inner.shared.enter(Phase::Waiting);
        self.end("the disk is full").await;
        let faults = inner.shared.lab.as_ref().map(|lab| lab.disk.clone());
        let refused = || faults.as_ref().is_some_and(|faults| faults.get() == Some(DiskFault::Fill));
        let (config, disk) = (inner.shared.config.load_full(), inner.disk.clone());
        if !refused() && free_for_a_start(&config, &inner.shared, &disk).await && disk.can_open() {
            tracing::warn!("there is space again: the node restarts and opens its log");
            return;
        }
        space::until_there_is(&folder, refused).await;
    }

    /// Ends replicas, consensus and log. Each gets a limited time: a stalled disk must not keep the process alive.
    async fn end(&mut self, why: &str) {
        let inner = self.inner.clone();
        inner.disk.end();
        let monitor = inner.monitor.lock().take();
        if let Some(monitor) = monitor {
            // It may be reading a large snapshot: that is not waited for.
            let joined = tokio::task::spawn_blocking(move || monitor.join());
            if let Ok(Ok(Err(_))) = tokio::time::timeout(MONITOR_END_MAX, joined).await {
                tracing::error!("the disk monitor's thread has panicked");
            }
        }
        inner.end_replicas().await;
        if tokio::time::timeout(CONSENSUS_END_MAX, inner.consensus.shutdown(why)).await.is_err() {
            tracing::warn!("a Raft group did not stop in time: it may be waiting for the log disk");
        }
        if let Some(thread) = self.consensus_thread.take() {
            thread.end().await;
        }
        if tokio::time::timeout(LOG_END_MAX, close_log(inner.log.clone())).await.is_err() {
            tracing::warn!("log disk stalled: entries that are not acknowledged yet may be lost on this node");
        }
    }
}

impl Inner {
    /// Starts the background tasks that run as long as the node.
    fn spawn_followers(self: &Arc<Inner>, runtime: Handle, traces_to: Option<Channel>) {
        if self.shared.lab.is_some() {
            tracing::warn!("LAB: faults can be injected into this node's log disk and links");
        }
        let to_nodes = &self.certificates.to_nodes;
        tokio::spawn(self.certificates.clone().follow(self.shared.clone()));
        let keys = self.keys.clone();
        drop(tokio::task::spawn_blocking(move || keys.complete_interrupted()));
        runtime.spawn(members::follow(self.shared.clone(), self.group_0.clone()));
        tokio::spawn(members::finish(
            self.shared.clone(),
            self.control.clone(),
            self.group_0.clone(),
            to_nodes.clone(),
        ));
        tokio::spawn(settings::bring_in_first(self.settings_server.clone(), self.file.clone()));
        tokio::spawn(settings::refuse_if_outdated(self.shared.clone(), self.clock.clone()));
        tokio::spawn(self.clone().follow_map(runtime));
        tokio::spawn(crate::leaders::follow(self.shared.clone(), to_nodes.clone()));
        tokio::spawn(links::follow(self.shared.clone(), to_nodes.clone()));
        tokio::spawn(self.clone().watch_consensus());
        tokio::spawn(self.clone().watch_control());
        if let Some(collector) = traces_to {
            let queue = self.shared.tracer.switch_on();
            tokio::spawn(Exporter::new(self.shared.clone(), collector).run(queue));
        }
    }

    fn fail(&self, reason: String) {
        // When consensus stops, all replicas stop, and one of them may be noticed first: the reason of consensus helps
        // more.
        let consensus = self.consensus.stopped().map(|why| format!("consensus has stopped: {why}"));
        let reason = consensus.unwrap_or(reason);
        self.shared.events.record(Event::NodeFailed { reason: reason.clone() });
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert(reason);
            first
        });
    }

    async fn watch_consensus(self: Arc<Self>) {
        let reason = self.consensus.until_stopped().await;
        if self.shared.phase() == Phase::Running {
            self.fail(format!("consensus has stopped: {reason}"));
        }
    }

    async fn watch_control(self: Arc<Self>) {
        let mut status = self.control.status();
        let reason = match status.wait_for(|status| status.failure.is_some()).await {
            Ok(status) => status.failure.clone(),
            Err(_) => return,
        };
        if self.shared.phase() == Phase::Running {
            self.fail(format!("the control plane has stopped: {}", reason.as_deref().unwrap_or("")));
        }
    }

    fn admin(&self) -> Admin {
        Admin {
            node: self.shared.clone(),
            control: self.control.clone(),
            group: self.group_0.clone(),
            handle: self.handle_0.clone(),
            replicas: self.replicas.clone(),
            log: self.log.clone(),
            own: self.own.clone(),
            client_tls: self.certificates.to_nodes.clone(),
            pristine: self.pristine,
            keys: self.keys.clone(),
        }
    }

    fn serve_grpc(self: &Arc<Self>, listeners: Vec<std::net::TcpListener>) {
        let publisher = Publisher::new(self.shared.clone());
        tokio::spawn(publisher.clone().follow());
        for listener in listeners {
            let admin = self.admin();
            let lab = LabServer::service(self.shared.clone());
            let to_nodes = self.certificates.to_nodes.clone();
            let gateway = Gateway::new(self.shared.clone(), self.replicas.clone(), to_nodes);
            let data = KvServer::service(gateway.clone(), self.clock.clone());
            let watch = WatchServer::service(gateway, self.clock.clone());
            let topology = TopologyServer::service(publisher.clone(), self.clock.clone());
            let channels = ChannelServer::service(self.shared.clone());
            let (reporter, health) = tonic_health::server::health_reporter();
            tokio::spawn(health::follow(self.shared.clone(), self.replicas.clone(), reporter));
            let (inner, tls) = (self.clone(), self.certificates.grpc.clone());
            tokio::spawn(async move {
                let shared = inner.shared.clone();
                let served = async {
                    let reflection = reflection()?;
                    let guard = Guard::for_clients("grpc-port", tls, descriptors::bounds(), shared.clone());
                    let incoming = ReceiverStream::new(guard.accept(TcpListener::from_std(listener)?));
                    let server = Server::builder().http2_keepalive_interval(Some(KEEP_ALIVE.0));
                    let server = server.http2_keepalive_timeout(Some(KEEP_ALIVE.1));
                    let server = server.max_concurrent_streams(Some(GRPC_CALLS_MAX));
                    let server = server.initial_stream_window_size(GRPC_WINDOW_BYTES);
                    let server = server.initial_connection_window_size(GRPC_CONNECTION_WINDOW_BYTES);
                    let closing = shared.reached(Phase::Closing);
                    let other = admin.service();
                    let other = Beside { name: lab_service_server::SERVICE_NAME, named: lab, other };
                    let other = Beside {
                        name: health_server::SERVICE_NAME,
                        named: InterceptedService::new(health, anybody),
                        other,
                    };
                    let other = Beside {
                        name: server_reflection_server::SERVICE_NAME,
                        named: InterceptedService::new(reflection, anybody),
                        other,
                    };
                    let other = Beside { name: watch_service_server::SERVICE_NAME, named: watch, other };
                    let other = Beside { name: topology_service_server::SERVICE_NAME, named: topology, other };
                    let other = Beside { name: channel_service_server::SERVICE_NAME, named: channels, other };
                    let services = Beside { name: kv_service_server::SERVICE_NAME, named: data, other };
                    server.serve_with_incoming_shutdown(services, incoming, closing).await?;
                    Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
                };
                if let Err(error) = served.await {
                    inner.fail(format!("grpc-port: {error}"));
                }
            });
        }
    }

    fn serve_metrics(self: &Arc<Self>, listeners: Vec<std::net::TcpListener>) {
        let console = console::router(Arc::new(self.admin()), self.clock.clone());
        let opener = Arc::new(MaybeTls { tls: self.certificates.metrics.clone() });
        for listener in listeners {
            let metrics = Metrics {
                node: self.shared.clone(),
                replicas: self.replicas.clone(),
                log: self.log.clone(),
                consensus: self.consensus.clone(),
                control: self.group_0.clone(),
            };
            match TcpListener::from_std(listener) {
                Ok(listener) => drop(tokio::spawn(metrics.serve(listener, opener.clone(), console.clone()))),
                Err(error) => self.fail(format!("metrics-port: {error}")),
            }
        }
    }

    /// Starts the replicas that the map gives this node, now and whenever it changes.
    async fn follow_map(self: Arc<Self>, runtime: Handle) {
        let mut maps = self.control.changed();
        let mut started = BTreeSet::new();
        loop {
            let map = maps.borrow_and_update().clone();
            if let Some(map) = map {
                settings::follow(&self.shared, &map, &self.file);
                let peers = map.nodes.iter().chain(map.leaving());
                self.consensus.set_peers(&peers.map(fastness_control::create::member).collect::<Vec<_>>());
                let replicas = map.shards_on(map.place_of(self.shared.node)).count();
                self.shared.budget_descriptors(replicas, map.nodes.len().saturating_sub(1));
                let replaced: Vec<_> = map.replaced.iter().map(|gone| (gone.node, gone.by)).collect();
                self.consensus.set_replaced(&replaced);
                // A leaving node that returns is still needed until every group has replaced it.
                for shard in map.shards_on(map.place_of(self.shared.node)) {
                    if !started.insert(shard.id) {
                        continue;
                    }
                    if let Err(error) = self.start_replica(&map, shard, &runtime).await {
                        return self.fail(format!("shard {}: {error}", shard.id));
                    }
                }
            }
            let ended = tokio::select! {
                changed = maps.changed() => changed.is_err(),
                () = self.shared.reached(Phase::HandingOver) => true,
            };
            if ended {
                return;
            }
        }
    }

    async fn start_replica(
        self: &Arc<Self>,
        map: &Arc<ClusterMap>,
        shard: &ShardMap,
        runtime: &Handle,
    ) -> Result<(), NodeError> {
        let id = shard.id;
        let config = self.shared.config.load_full();
        let files = open_snapshots(&config, &self.shared, GroupId::from(id), Some(self.disk.disk().clone())).await?;
        let (consensus, exchange) = (self.consensus.clone(), Arc::new(files.clone()));
        // On consensus' own thread: a group's tasks run where it was started, and talk to each other all the time.
        let started = runtime.spawn(async move { consensus.start_group(GroupId::from(id), Some(exchange)).await });
        let (handle, control) = started.await.map_err(std::io::Error::other)??;
        self.shared.add_group(id, handle.clone());
        self.disk.add_group(GroupId::from(id), files.clone(), handle.clone());
        let ports = (port_of(config.port, id), port_of(config.tls_port, id));
        let plain = bind("port", &config.plaintext_addresses(), ports.0, config.tcp_backlog)?;
        let tls = bind("tls-port", &config.addresses(), ports.1, config.tcp_backlog)?;
        let options = ReplicaOptions {
            node: self.shared.clone(),
            shard: id,
            slots: [shard.first.0..=shard.last.0].into_iter().collect::<SlotSet>(),
            seed: map.hash_seed,
            clock: self.clock.clone(),
            handle,
            group: Arc::new(control.clone()),
            batching: Batching { unit_time_max: config.loop_stall_max / 2, ..Batching::default() },
            snapshots: Some(files),
            ports,
            settings_server: Some(self.settings_server.clone()),
        };
        let replica = replica::start(options)?;
        self.replicas.add(id, Running { mailbox: replica.mailbox.clone(), control: control.clone() });
        self.threads.lock().push((id, replica.thread));
        for (listeners, tls) in [(plain, None), (tls, Some(self.certificates.clients.clone()))] {
            for listener in listeners {
                let listener = TcpListener::from_std(listener)?;
                tokio::spawn(accept::accept(listener, tls.clone(), self.shared.clone(), replica.mailbox.clone()));
            }
        }
        runtime.spawn(members::follow(self.shared.clone(), control.clone()));
        let (inner, map) = (self.clone(), map.clone());
        runtime.spawn(async move {
            if let Err(error) = form_shard(&map, id, inner.shared.node, &control).await {
                inner.fail(format!("shard {id} could not be formed: {error}"));
            }
        });
        let inner = self.clone();
        tokio::spawn(async move {
            replica.mailbox.closed().await;
            if inner.shared.phase() == Phase::Running {
                inner.fail(format!("the replica of shard {id} has stopped"));
            }
        });
        tracing::info!(shard = %id, port = ports.0, tls_port = ports.1, "replica started");
        Ok(())
    }

    async fn hand_everything_over(&self) {
        let patience = self.shared.config.load().shutdown_timeout;
        let mut controls: Vec<_> = self.replicas.all().into_iter().map(|(_, running)| running.control).collect();
        controls.push(self.group_0.clone());
        let leading = controls.into_iter().filter(|control| control.status().leader == Some(self.shared.node));
        // The outcome is recorded as an event. Where it fails, clients wait for an election.
        let handed = leading.map(|control| async move {
            let _ = control.hand_over(None, patience, HandOverReason::Shutdown).await;
        });
        if tokio::time::timeout(patience, futures::future::join_all(handed)).await.is_err() {
            tracing::warn!(
                "leadership was not handed over within shutdown-timeout: clients of the remaining shards wait for an election"
            );
        }
    }

    async fn end_replicas(&self) {
        for (_, running) in self.replicas.all() {
            // It may have ended by itself.
            let _ = running.mailbox.send(ToReplica::Stop).await;
        }
        let threads = std::mem::take(&mut *self.threads.lock());
        let joined = tokio::task::spawn_blocking(move || {
            for (shard, thread) in threads {
                if thread.join().is_err() {
                    tracing::error!(%shard, "the replica's thread has panicked");
                }
            }
        });
        if tokio::time::timeout(REPLICAS_END_MAX, joined).await.is_err() {
            tracing::warn!("a replica's thread did not stop in time: its clients may miss replies");
        }
    }
}

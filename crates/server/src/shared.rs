//! What all threads of one node share: who it is, its options, the newest map, who leads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use fastness_consensus::handle::{GroupHandle, Role};
use fastness_consensus::observed::{Observed, PeerObservation, ReplicaReport};
use fastness_control::{ClusterMap, ClusterSettings, Password, Users};
use fastness_engine::command::CommandTable;
use fastness_events::Events;
use fastness_log::{Log, MasterKeys};
use fastness_types::limits::SETTINGS_SILENCE_MAX;
use fastness_types::{Az, BootNs, Clock as _, ClusterId, Durability, GroupId, NodeId, ShardId, SystemClock, WallMs};
use parking_lot::RwLock;
use tokio::sync::{Semaphore, watch};

use crate::access::{AccessLog, Refused};
use crate::accounts::AccountBook;
use crate::api::memory::MessageMemory;
use crate::api::watch::watchers::Watchers;
use crate::attempts::Attempts;
use crate::certificates::CertificateStatus;
use crate::config::Config;
use crate::descriptors;
use crate::journal::Journal;
use crate::lab::Lab;
use crate::node_disk::NodeDisk;
use crate::publications::Publications;
use crate::replication_out::readers::OutboundReaders;
use crate::settings;
use crate::sources::Sources;
use crate::throttle::Throttles;
use crate::topology::{Health, Observation};
use crate::traces::tracer::Tracer;

/// The version reported to clients (`valkey_version`): the one whose behaviour is followed.
pub const VALKEY_VERSION: &str = "9.1.0";
/// The version that older client libraries read (`redis_version`), as Valkey itself reports it.
pub const REDIS_VERSION: &str = "7.2.4";

/// See the module.
pub struct NodeShared {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its AZ.
    pub az: Az,
    /// The options as they are now: CONFIG SET replaces them.
    pub config: ArcSwap<Config>,
    /// The newest map; `None` until the cluster is created.
    pub map: ArcSwapOption<ClusterMap>,
    /// When the process started.
    pub started: Instant,
    /// The same on the wall, seconds since the Unix epoch.
    pub started_at: u64,
    /// Random, one per process, 40 hexadecimal digits.
    pub run_id: String,
    /// Nice value of the consensus thread.
    pub consensus_nice: AtomicI32,
    /// Nice value of the shards' threads.
    pub shard_nice: AtomicI32,
    /// Connections of clients now, all replicas together: the [`ClientSlot`]s that exist.
    pub connected: AtomicU64,
    /// Client connections that the budget of descriptors allows, see [`crate::descriptors`].
    clients_max: AtomicU64,
    /// Connections that were refused because `maxclients` was reached.
    pub rejected: AtomicU64,
    /// Where connections come from, and those that were refused because one source has opened too many.
    pub sources: Sources,
    /// Connections that the system could not accept, as when it has no descriptor left.
    pub accept_errors: AtomicU64,
    /// Log lines that clients can cause.
    pub throttles: Throttles,
    /// Takes what sampled writes leave.
    pub tracer: Tracer,
    /// Permits for sending TLS clients the error that `maxclients` is reached.
    pub(crate) refusals: Arc<Semaphore>,
    clients: AtomicU64,
    groups: RwLock<BTreeMap<ShardId, GroupHandle>>,
    /// Leaders of shards that this node has no replica of, as their members have reported.
    remote_leaders: RwLock<BTreeMap<ShardId, NodeId>>,
    /// Of this node's replicas, as they have reported last.
    modes: RwLock<BTreeMap<ShardId, ModeReport>>,
    /// What messages of the data API over gRPC may take.
    pub messages: Arc<MessageMemory>,
    /// Operations that this node has passed on to others.
    pub forwarded: AtomicU64,
    /// Streams of changes.
    pub watchers: Watchers,
    /// Streams to readers outside of the cluster.
    pub outbound: OutboundReaders,
    /// Messages of channels between replicas and nodes.
    pub publications: Publications,
    /// The users that this node's files define: it goes by them until the cluster has users of its own.
    first_users: Arc<Users>,
    /// The users that this node knows.
    pub accounts: AccountBook,
    /// Who has failed to authenticate.
    pub attempts: Attempts,
    /// What was refused to clients for want of rights.
    pub access: AccessLog,
    /// What consensus has observed of peers; `None` until it has started: they count as failed.
    observed: OnceLock<Arc<Observed>>,
    /// The disk and its budget, once it was measured.
    pub disk: OnceLock<Arc<NodeDisk>>,
    /// The master keys of the disk, once the log was opened.
    pub keys: OnceLock<MasterKeys>,
    /// The log, once it was opened: for its figures.
    pub log: OnceLock<Log>,
    /// The version of the cluster's settings that each replica of this node applies.
    replica_settings: RwLock<BTreeMap<ShardId, u64>>,
    /// The node's own certificate and the exchanges of TLS files.
    pub certificates: CertificateStatus,
    /// The faults that can be commanded, if this node is a lab.
    pub lab: Option<Arc<Lab>>,
    /// Takes what happens on this node.
    pub events: Events,
    /// What was recorded.
    pub(crate) journal: Arc<Journal>,
    phase: watch::Sender<Phase>,
}

/// One connection's place among `maxclients`, from its accept to its close, whichever way it ends: dropping it gives it
/// back.
pub struct ClientSlot {
    pub(crate) node: Arc<NodeShared>,
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        self.node.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The durability mode of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeReport {
    /// The mode that its commands follow.
    pub in_force: Durability,
    /// The version of the newest desired mode that has committed there; never falls while the process runs, but for
    /// the time of a restore.
    pub version: u64,
}

/// The stages of a node's life. A node only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serves.
    Running,
    /// Hands over what it leads; clients are served or redirected.
    HandingOver,
    /// Serves no client any more and has left consensus because its disk is full. Administration and metrics still
    /// work.
    Waiting,
    /// Accepts no connections any more, sends pending replies, closes.
    Closing,
}

impl NodeShared {
    /// At the start of a node, whose commands are those of `table`.
    #[must_use]
    pub fn new(node: NodeId, cluster: ClusterId, config: Config, table: &'static CommandTable) -> Arc<NodeShared> {
        NodeShared::with_users(node, cluster, config, Users::default(), table)
    }

    /// The same with the users that the node's files define.
    #[must_use]
    pub fn with_users(
        node: NodeId,
        cluster: ClusterId,
        config: Config,
        first_users: Users,
        table: &'static CommandTable,
    ) -> Arc<NodeShared> {
        let run_id = (0..20).map(|_| format!("{:02x}", rand::random::<u8>())).collect();
        let lab = config.lab.then(Arc::default);
        let journal = Arc::new(Journal::new(Arc::new(SystemClock)));
        let messages = MessageMemory::new(config.grpc_memory);
        let accounts = AccountBook::new(table, &first_users, &settings::password(&config.requirepass));
        Arc::new(NodeShared {
            node,
            cluster,
            az: Az::from(config.availability_zone.as_str()),
            config: ArcSwap::from_pointee(config),
            map: ArcSwapOption::empty(),
            started: Instant::now(),
            started_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            run_id,
            connected: AtomicU64::new(0),
            forwarded: AtomicU64::new(0),
            consensus_nice: AtomicI32::new(0),
            shard_nice: AtomicI32::new(0),
            clients_max: AtomicU64::new(u64::MAX),
            rejected: AtomicU64::new(0),
            sources: Sources::default(),
            accept_errors: AtomicU64::new(0),
            throttles: Throttles::default(),
            tracer: Tracer::default(),
            refusals: Arc::new(Semaphore::new(descriptors::REFUSALS_MAX)),
            clients: AtomicU64::new(0),
            groups: RwLock::default(),
            remote_leaders: RwLock::default(),
            modes: RwLock::default(),
            observed: OnceLock::new(),
            disk: OnceLock::new(),
            keys: OnceLock::new(),
            log: OnceLock::new(),
            messages,
            watchers: Watchers::default(),
            outbound: OutboundReaders::default(),
            publications: Publications::default(),
            first_users: Arc::new(first_users),
            accounts,
            attempts: Attempts::default(),
            access: AccessLog::default(),
            certificates: CertificateStatus::default(),
            replica_settings: RwLock::default(),
            lab,
            events: Events::to(journal.clone()),
            journal,
            phase: watch::Sender::new(Phase::Running),
        })
    }

    /// Connections of clients that this node takes, all replicas together: `maxclients`, or fewer if descriptors are
    /// few.
    #[must_use]
    pub fn maxclients(&self) -> u64 {
        self.config.load().maxclients.min(self.clients_max())
    }

    /// Client connections that the descriptors suffice for.
    #[must_use]
    pub fn clients_max(&self) -> u64 {
        self.clients_max.load(Ordering::Relaxed)
    }

    /// Computes how many clients the descriptors suffice for, on a node with so many replicas and other nodes.
    pub fn budget_descriptors(&self, replicas: usize, peers: usize) {
        let limit = descriptors::limit();
        // At least one client: an operator must be able to connect.
        let affordable = descriptors::clients_max(limit, replicas, peers).max(1);
        let before = self.clients_max.swap(affordable, Ordering::Relaxed);
        let configured = self.config.load().maxclients;
        if affordable < configured && affordable != before {
            let reserved = descriptors::reserve(limit, replicas, peers);
            tracing::warn!(
                configured,
                maxclients = affordable,
                limit,
                reserved,
                "maxclients is lowered because this process may open too few files: raise the limit (ulimit -n)"
            );
        }
    }

    /// A place for one more connection, if there is one.
    #[must_use]
    pub fn take_client_slot(self: &Arc<Self>) -> Option<ClientSlot> {
        let max = self.maxclients();
        if self.connected.fetch_add(1, Ordering::Relaxed) >= max {
            self.connected.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(ClientSlot { node: self.clone() })
    }

    /// Whether the source of this connection may open it now; over TLS (`tls`) it costs a handshake, too. A refusal is
    /// counted and logged.
    #[must_use]
    pub fn admits(&self, address: SocketAddr, tls: bool) -> bool {
        let rates = self.config.load().source_rates();
        let Err(excess) = self.sources.admit(address.ip(), tls, rates, SystemClock.boot()) else { return true };
        if let Some(others) = self.throttles.sources.permit() {
            let too_many = excess.name();
            tracing::warn!(client = %address, too_many, others, "client refused: its address opens connections too fast");
        }
        false
    }

    /// The next client's number, from 1.
    #[must_use]
    pub fn next_client(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Enters the group of a replica on this node: it knows who leads.
    pub fn add_group(&self, shard: ShardId, handle: GroupHandle) {
        self.groups.write().insert(shard, handle);
    }

    /// The group of this node's replica of a shard.
    #[must_use]
    pub fn group(&self, shard: ShardId) -> Option<GroupHandle> {
        self.groups.read().get(&shard).cloned()
    }

    /// Notes the leader that a member of a remote shard has reported.
    pub fn report_leader(&self, shard: ShardId, leader: NodeId) {
        self.remote_leaders.write().insert(shard, leader);
    }

    /// Who leads a shard, as far as this node knows.
    #[must_use]
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        match self.groups.read().get(&shard) {
            Some(handle) => match &**handle.role() {
                Role::Leader { .. } => Some(self.node),
                Role::Follower { leader } => *leader,
                Role::Stopped { .. } => None,
            },
            None => self.remote_leaders.read().get(&shard).copied(),
        }
    }

    /// Sets where observations of peers are found.
    pub fn set_observed(&self, observed: Arc<Observed>) {
        observed.set_known_settings(self.settings().version);
        // Consensus starts once.
        let _ = self.observed.set(observed);
    }

    /// What was observed of a peer.
    #[must_use]
    pub fn peer(&self, node: NodeId) -> PeerObservation {
        self.observed.get().map_or_else(PeerObservation::default, |observed| observed.peer(node))
    }

    /// What was observed of a node's replica of a shard. Of this node's own replicas it is what they have reported
    /// last.
    #[must_use]
    pub fn observe(&self, node: NodeId, shard: ShardId) -> Observation {
        let loading = ReplicaReport::default();
        let health = |alive: bool, report: ReplicaReport| match (alive, report.ready) {
            (false, _) => Health::Failed,
            (true, true) => Health::Online,
            (true, false) => Health::Loading,
        };
        if node == self.node {
            let groups = self.groups.read();
            let report = |group: &GroupHandle| ReplicaReport { applied: group.applied(), ready: group.serves_reads() };
            let report = groups.get(&shard).map_or(loading, report);
            let offset = report.applied.0;
            return Observation {
                health: health(true, report),
                offset,
                connected: true,
                ping_sent: 0,
                pong_received: 0,
            };
        }
        let peer = self.peer(node);
        let report = self.observed.get().and_then(|observed| observed.replica(node, GroupId::from(shard)));
        let report = report.unwrap_or(loading);
        Observation {
            health: health(peer.alive, report),
            offset: report.applied.0,
            connected: peer.connected,
            ping_sent: peer.ping_sent.0,
            pong_received: peer.pong_received.0,
        }
    }

    /// The cluster's settings, as this node's map has them.
    #[must_use]
    pub fn settings(&self) -> ClusterSettings {
        self.map.load().as_ref().map_or_else(ClusterSettings::default, |map| map.settings.clone())
    }

    /// Goes by the users in the map from now on.
    pub fn follow_users(&self) {
        self.accounts.follow(&self.users(), &self.password());
    }

    /// The users that this node's files define.
    #[must_use]
    pub fn first_users(&self) -> &Arc<Users> {
        &self.first_users
    }

    /// The users that this node goes by: the cluster's, or those of its files while the cluster has none.
    #[must_use]
    pub fn users(&self) -> Arc<Users> {
        let users = self.settings().users;
        if users.version == 0 { self.first_users.clone() } else { users }
    }

    /// Notes what was refused to a client for want of rights, in ACL LOG and its counters.
    pub fn note_refused(&self, refused: Refused) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let now = WallMs(now as _);
        self.access.note(refused, now, self.config.load().acllog_max_len as usize);
    }

    /// The password of the user `default` while the cluster has no rules for it.
    #[must_use]
    pub fn password(&self) -> Password {
        self.settings().password.unwrap_or_else(|| settings::password(&self.config.load().requirepass))
    }

    /// Whether this node has recently known the newest settings: only then may it accept a password. One that has just
    /// started, or was partitioned, waits until it hears group 0's leader.
    #[must_use]
    pub fn is_sure_of_settings(&self, now: BootNs) -> bool {
        self.heard_control().is_none_or(|heard| heard.is_some_and(|at| now.since(at) <= SETTINGS_SILENCE_MAX))
    }

    /// When this node was told of newer settings than it has, if it does not have them yet.
    #[must_use]
    pub fn settings_behind_since(&self) -> Option<BootNs> {
        self.observed.get()?.behind_since()
    }

    /// Whether this node has heard group 0's leader since it was started.
    #[must_use]
    pub fn has_heard_control(&self) -> bool {
        self.heard_control().is_none_or(|heard| heard.is_some())
    }

    /// The outer `None`: there is no control plane.
    fn heard_control(&self) -> Option<Option<BootNs>> {
        let observed = self.observed.get().filter(|_| self.map.load().is_some())?;
        Some(observed.control_heard())
    }

    /// Notes that a replica on this node applies this version of the cluster's settings.
    pub fn report_settings(&self, shard: ShardId, version: u64) {
        if self.replica_settings.read().get(&shard) != Some(&version) {
            self.replica_settings.write().insert(shard, version);
        }
        self.confirm_settings();
    }

    /// Announces to peers which version of the settings this node knows, and which one it applies once all of its
    /// replicas do.
    pub fn confirm_settings(&self) {
        let Some(observed) = self.observed.get() else { return };
        let version = self.settings().version;
        observed.set_known_settings(version);
        let applied = self.replica_settings.read();
        let followed =
            self.groups.read().keys().all(|shard| applied.get(shard).is_some_and(|applied| *applied >= version));
        if followed {
            observed.set_own_settings(version);
        }
    }

    /// The version of the settings that a node has confirmed to apply.
    #[must_use]
    pub fn confirmed_settings(&self, node: NodeId) -> Option<u64> {
        let observed = self.observed.get()?;
        if node == self.node { Some(observed.own_settings()) } else { observed.settings(node) }
    }

    /// Notes the mode of a replica on this node.
    pub fn report_mode(&self, shard: ShardId, mode: ModeReport) {
        if self.mode(shard) != Some(mode) {
            self.modes.write().insert(shard, mode);
        }
    }

    /// The mode of this node's replica of `shard`, as of a moment ago; `None`: it has no replica, or none that runs.
    #[must_use]
    pub fn mode(&self, shard: ShardId) -> Option<ModeReport> {
        self.modes.read().get(&shard).copied()
    }

    /// Stops the node: leadership is handed over, pending replies are sent, then the process ends.
    pub fn stop(&self) {
        self.enter(Phase::HandingOver);
    }

    /// Moves to a later phase.
    pub(crate) fn enter(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let on = next > *phase;
            *phase = next.max(*phase);
            on
        });
    }

    /// The phase it is in.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Resolves once it is in `phase` or a later one.
    pub async fn reached(&self, phase: Phase) {
        // Fails only without a sender, which `self` holds.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }
}

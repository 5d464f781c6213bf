//! The front end for Valkey's clients: one per shard replica, on the thread of the replica's loop.
//!
//! ```text
//! accept (other thread: accept, TLS handshake) ─▶ connection (loop's thread): read ─▶ parse ─▶ Shard::run ─▶ send
//! ```
//!
//! - [`serve`]: a connection's task. [`connection`]: one connection's life, and the order in which its replies leave.
//! - [`command`]: the commands that need more than the data (HELLO, CLIENT, CLUSTER, INFO, …).
//! - [`clients`], [`stats`], [`command_log`], [`latency`], [`event_loop`]: what those commands show.
//! - [`pubsub`]: channels and their subscribers. [`tracking`]: client-side caching.
//! - [`eviction`]: what all connections may take together.
//! - `outbound`: a connection that has become that of a replica outside of the cluster.
//! - [`pipe`]: connections in memory, for other front ends of the node.

pub mod accept;
pub mod activity;
mod blocked;
pub mod clients;
pub mod command;
pub mod command_log;
pub mod connection;
pub mod event_loop;
pub mod eviction;
mod evictor;
pub mod latency;
mod outbound;
pub mod pipe;
pub mod pubsub;
pub mod received;
mod replication;
pub mod serve;
pub mod snapshot;
pub mod stats;
pub mod stream;
pub mod tracking;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use fastness_shard::Shard;
use fastness_types::{BootNs, NodeId, ShardId};
use tokio::sync::Notify;

use crate::auth::{self, AuthRefusal};
use crate::group_view::GroupView;
use crate::settings::SettingsServer;
use crate::shared::NodeShared;
use crate::snapshots::SnapshotFiles;
use crate::topology::View;
use clients::{Client, Clients, Stuck};
use command_log::CommandLogs;
use eviction::Eviction;
use latency::LatencyMonitor;
use pubsub::Pubsub;
use stats::{RespStats, add};
use tracking::Tracking;

/// One replica's front end: what its connections share. On the loop's thread.
pub struct ReplicaServer {
    /// The node.
    pub node: Arc<NodeShared>,
    /// The shard of which this is a replica.
    pub shard_id: ShardId,
    /// The data that the front end serves.
    pub shard: Shard,
    /// The connections.
    pub clients: Clients,
    /// What the connections may take together.
    pub eviction: Eviction,
    /// Channels and their subscribers.
    pub pubsub: Pubsub,
    /// Client-side caching.
    pub tracking: Rc<Tracking>,
    /// The counters.
    pub stats: RespStats,
    /// The newest commands that were slow or large.
    pub command_logs: CommandLogs,
    /// What took longer than `latency-monitor-threshold`.
    pub latency: LatencyMonitor,
    /// The Raft group as this node sees it.
    pub group: Arc<dyn GroupView>,
    /// Ports this replica listens on: plaintext, TLS; 0: none.
    pub ports: (u16, u16),
    /// Changes the cluster's settings; `None`: there is no control plane, the node's own options are all there is.
    pub settings_server: Option<SettingsServer>,
    /// Where the replica's snapshots are kept; `None`: it makes none.
    pub(crate) snapshot_files: Option<SnapshotFiles>,
    /// A command is being run: a panic of a connection's task leaves the data in a state that nobody knows.
    pub(crate) executing: Cell<bool>,
    /// Such a panic has happened: the replica ends.
    pub(crate) broken: Notify,
    /// A read buffer for the connection whose turn it is; one that has nothing left over needs none of its own.
    pub(crate) read_buffer: Cell<Vec<u8>>,
    /// When the last DEBUG SLEEP ended.
    pub(crate) slept_until: Cell<BootNs>,
}

impl ReplicaServer {
    /// Makes a front end.
    #[must_use]
    pub fn new(
        node: Arc<NodeShared>,
        shard_id: ShardId,
        shard: Shard,
        group: Arc<dyn GroupView>,
        ports: (u16, u16),
    ) -> ReplicaServer {
        let tracking = Rc::new(Tracking::new(shard.tracker_share()));
        shard.set_key_tracker(tracking.clone());
        ReplicaServer {
            node,
            shard_id,
            shard,
            clients: Clients::default(),
            eviction: Eviction::default(),
            pubsub: Pubsub::default(),
            tracking,
            stats: RespStats::default(),
            command_logs: CommandLogs::default(),
            latency: LatencyMonitor::default(),
            group,
            ports,
            settings_server: None,
            snapshot_files: None,
            executing: Cell::new(false),
            broken: Notify::new(),
            read_buffer: Cell::default(),
            slept_until: Cell::new(BootNs(0)),
        }
    }

    /// Lets CONFIG SET change the cluster's settings.
    #[must_use]
    pub fn with_settings_server(self, settings_server: Option<SettingsServer>) -> ReplicaServer {
        ReplicaServer { settings_server, ..self }
    }

    /// Lets replicas outside of the cluster attach, which start with a snapshot.
    #[must_use]
    pub fn with_snapshot_files(self, snapshot_files: Option<SnapshotFiles>) -> ReplicaServer {
        ReplicaServer { snapshot_files, ..self }
    }

    /// Lets a client in that needs no password.
    ///
    /// # Errors
    /// It needs one, or this node cannot say.
    pub(crate) fn let_in(&self, client: &Client) -> Result<(), AuthRefusal> {
        let (now, address) = (self.shard.boot_now(), client.address.ip());
        let account = auth::without_password(&self.node, now, address, &client.origin)?;
        client.authenticate(account);
        Ok(())
    }

    /// Counts and logs that a connection is closed because its client does not read.
    pub(crate) fn note_unread(&self, client: &Client, why: &str) {
        add(&self.stats.output_limit_closes, 1);
        if let Some(others) = self.node.throttles.unread.permit() {
            let (address, unsent) = (client.address, client.unsent_bytes.get());
            tracing::warn!(client = %address, unsent, why, others, "client disconnected: it does not read its replies");
        }
    }

    /// Closes the connections that make no progress, with a log line and a counter. About once a second.
    pub(crate) fn close_stuck(&self) {
        let limits = self.node.config.load().client_output_buffer_limit;
        let soft_time = |client: &Client| limits.of(client.is_subscribed()).soft_time;
        self.clients.close_stuck(soft_time, |client, stuck| match stuck {
            Stuck::OverSoftLimit => self.note_unread(client, "soft limit of client-output-buffer-limit exceeded"),
            Stuck::Unread => self.note_unread(client, "limit of pending replies exceeded"),
            Stuck::Log => {
                add(&self.stats.log_wait_closes, 1);
                if let Some(others) = self.node.throttles.held.permit() {
                    let (address, command) = (client.address, client.command.get());
                    tracing::warn!(client = %address, command, others, "client disconnected: its command waited too long for a commit");
                }
            }
        });
    }

    /// Passes the cluster, as clients see it, to `read`; `None` before the cluster is created.
    pub(crate) fn with_view<T>(
        &self,
        tls: bool,
        offset: u64,
        healthy: bool,
        read: impl FnOnce(&View<'_>) -> T,
    ) -> Option<T> {
        let map = self.node.map.load();
        let map = map.as_deref()?;
        let leader = |shard: ShardId| -> Option<NodeId> { self.node.leader(shard) };
        let own = (self.node.node, self.shard_id);
        let durability = self.node.mode(self.shard_id).map_or(map.durability, |mode| mode.in_force);
        let observe = |node: NodeId, shard: ShardId| self.node.observe(node, shard);
        let config = self.node.config.load();
        let host = config.announced_to(tls);
        Some(read(&View { map, leader: &leader, observe: &observe, own, durability, tls, host, offset, healthy }))
    }
}

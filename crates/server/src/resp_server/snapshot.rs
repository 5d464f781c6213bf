//! The figures of one replica, as INFO and metrics show them.

use fastness_consensus::observed::PeerObservation;
use fastness_engine::{Engine, EvictionPolicy, KeyspaceStats, Stats};
use fastness_shard::ShardInfo;

use super::ReplicaServer;
use super::command_log::LogKind;
use super::pubsub::subscriptions::ChannelKind;
use super::replication;
use super::stats::CommandStats;

/// Figures of the data.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Keys.
    pub keyspace: KeyspaceStats,
    /// Look-ups.
    pub lookups: Stats,
    /// The bound of the memory in use; 0: none.
    pub maxmemory: u64,
    /// Which keys leave when memory is full.
    pub policy: EvictionPolicy,
    /// Sessions that watch, and keys they watch.
    pub watches: (usize, usize),
}

impl Figures {
    /// As the data is now.
    #[must_use]
    pub fn of(engine: &Engine) -> Figures {
        Figures {
            keyspace: engine.keyspace_stats(),
            lookups: engine.stats(),
            maxmemory: engine.maxmemory(),
            policy: engine.eviction().policy,
            watches: engine.watch_counts(),
        }
    }
}

/// All figures of one replica for metrics, to be sent off the loop's thread.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The shard replica.
    pub shard: ShardInfo,
    /// The data.
    pub figures: Figures,
    /// Connections.
    pub clients: usize,
    /// Of these, waiting in WAIT or WAITAOF, or for keys.
    pub blocked: usize,
    /// Commands, connections, bytes in, bytes out, errors: since the start.
    pub counters: [u64; 5],
    /// Connections closed: the client did not read, sent too much, spoke HTTP; the log kept it waiting; its task has
    /// panicked.
    pub closes: [u64; 5],
    /// Per command.
    pub commands: Vec<(&'static str, CommandStats)>,
    /// Entries of the command logs: slow, large requests, large replies.
    pub logged_commands: [usize; 3],
    /// Commands run per second, lately.
    pub commands_per_second: f64,
    /// Channels, patterns and channels of the shard that have subscribers.
    pub channels: [usize; 3],
    /// Connections with subscriptions.
    pub subscribers: usize,
    /// Messages of channels that were passed to subscribers, one for each.
    pub channel_messages: u64,
    /// Largest memory usage of the data, bytes.
    pub memory_peak: u64,
    /// Replicas that follow this primary.
    pub replicas: usize,
    /// On a replica: whether its primary answers, and how long ago it did.
    pub primary_link: PeerObservation,
}

/// Collects the figures. On the loop's thread.
#[must_use]
pub fn snapshot(replica: &ReplicaServer) -> Snapshot {
    let stats = &replica.stats;
    let shard = replica.shard.info();
    let clients = replica.clients.all();
    Snapshot {
        replicas: if replication::is_primary(&shard) { replication::followers(replica) } else { 0 },
        primary_link: replication::primary_link(replica, &shard),
        shard,
        figures: replica.shard.with_engine(|engine| Figures::of(engine)),
        clients: clients.len(),
        blocked: clients.iter().filter(|client| client.blocked.get()).count(),
        counters: [
            stats.commands.get(),
            stats.connections.get(),
            stats.bytes_in.get(),
            stats.bytes_out.get(),
            stats.errors.get(),
        ],
        closes: [
            stats.output_limit_closes.get(),
            stats.query_limit_closes.get(),
            stats.http_closes.get(),
            stats.log_wait_closes.get(),
            stats.panics.get(),
        ],
        commands: stats.by_command().into_iter().collect(),
        logged_commands: LogKind::ALL.map(|kind| replica.command_logs.len(kind)),
        commands_per_second: stats.per_second()[0],
        channels: ChannelKind::ALL.map(|kind| replica.pubsub.channels.names_count(kind)),
        subscribers: clients.iter().filter(|client| client.is_subscribed()).count(),
        channel_messages: stats.channel_messages.get(),
        memory_peak: stats.memory_peak(0),
    }
}

//! The shard's primary and replicas, as INFO and ROLE show them.

use std::time::Duration;

use fastness_consensus::observed::PeerObservation;
use fastness_shard::{ShardInfo, Standing};
use fastness_types::NodeId;

use super::ReplicaServer;
use crate::topology::Health;

/// Whether clients see this replica as primary.
pub(super) fn is_primary(info: &ShardInfo) -> bool {
    matches!(info.standing, Standing::Primary | Standing::Waiting)
}

/// What this node has observed of the primary of one of its replicas.
pub(super) fn primary_link(replica: &ReplicaServer, shard: &ShardInfo) -> PeerObservation {
    match shard.standing {
        Standing::Replica { leader: Some(leader) } => replica.node.peer(leader),
        _ => PeerObservation::default(),
    }
}

/// A replica, as its primary shows it.
pub(super) struct Follower {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether it reports that it can serve; if not, it is still loading.
    pub(super) online: bool,
    /// Time since it was last heard.
    pub(super) lag: Duration,
    /// Log position it is known to hold on stable storage.
    pub(super) offset: u64,
}

/// The other members of this shard that answer. As in Valkey, one that does not is no replica until it reconnects.
pub(super) fn replicas(replica: &ReplicaServer, tls: bool) -> Vec<Follower> {
    let status = replica.group.status();
    let map = replica.node.map.load();
    let Some(map) = map.as_deref() else { return Vec::new() };
    let offset = |node: NodeId| status.as_ref().and_then(|s| s.matched.get(&node)).map_or(0, |index| index.0);
    map.members_of(replica.shard_id)
        .filter(|node| node.id != replica.node.node)
        .filter_map(|node| {
            let port = port(node, replica, tls)?;
            let seen = replica.node.observe(node.id, replica.shard_id);
            let lag = replica.node.peer(node.id).silent.filter(|_| seen.health != Health::Failed)?;
            let (host, online) = (host(node, replica, tls), seen.health == Health::Online);
            Some(Follower { host, port, online, lag, offset: offset(node.id) })
        })
        .collect()
}

/// How many replicas follow this primary, whatever ports they have.
pub(super) fn followers(replica: &ReplicaServer) -> usize {
    replicas(replica, false).len().max(replicas(replica, true).len())
}

/// Host and port of this shard's primary.
pub(super) fn primary(replica: &ReplicaServer, tls: bool) -> Option<(String, u16)> {
    let map = replica.node.map.load();
    let map = map.as_deref()?;
    let node = map.node(replica.node.leader(replica.shard_id)?)?;
    Some((host(node, replica, tls), port(node, replica, tls)?))
}

fn host(node: &fastness_control::NodeInfo, replica: &ReplicaServer, tls: bool) -> String {
    replica.node.config.load().announced_to(tls).unwrap_or(&node.announce_host).to_owned()
}

fn port(node: &fastness_control::NodeInfo, replica: &ReplicaServer, tls: bool) -> Option<u16> {
    if tls { node.resp_tls_port_of(replica.shard_id) } else { node.resp_port_of(replica.shard_id) }
}

//! The cluster as clients see it: CLUSTER SLOTS, SHARDS, NODES, INFO and the addresses in redirections, written from
//! this node's own copy of the map and from what its replicas know about who leads.
//!
//! - To a client each replica is one cluster node with one role, one name and one port.
//! - A TLS client is told TLS ports, any other one plaintext ports; a replica without such a port is left out of what
//!   that client is told.
//! - A replica that takes another one's place and does not have all data yet is not named in CLUSTER SLOTS, which clients choose
//!   replicas from; CLUSTER SHARDS calls it loading.
//! - All nodes with the same map and the same leaders write the same view, in the same order.

use std::fmt::Write as _;

use fastness_control::{ClusterMap, NodeInfo, ShardMap};
use fastness_resp::ReplyBuf;
use fastness_types::{Durability, NodeId, SLOTS, ShardId, Slot};

use crate::names;

/// What one client is told, from one replica's point of view.
pub struct View<'a> {
    /// The map.
    pub map: &'a ClusterMap,
    /// Who leads a shard as far as this node knows.
    pub leader: &'a dyn Fn(ShardId) -> Option<NodeId>,
    /// The replica that is asked.
    pub own: (NodeId, ShardId),
    /// The mode in force on the asked replica.
    pub durability: Durability,
    /// Whether the client came through the TLS door.
    pub tls: bool,
    /// Log position of the asked replica.
    pub offset: u64,
    /// Whether the asked replica serves.
    pub healthy: bool,
}

/// One replica, as one cluster node.
struct Replica<'a> {
    node: &'a NodeInfo,
    shard: &'a ShardMap,
    primary: bool,
}

impl View<'_> {
    /// The replicas of a shard, the primary first.
    fn replicas<'v>(&'v self, shard: &'v ShardMap) -> Vec<Replica<'v>> {
        let primary = self.primary_of(shard);
        let mut replicas: Vec<_> = self
            .map
            .members_of(shard.id)
            .map(|node| Replica { node, shard, primary: Some(node.id) == primary })
            .collect();
        // Stable: the others stay in the map's order.
        replicas.sort_by_key(|replica| !replica.primary);
        replicas
    }

    /// Who leads, or who should: clients need somebody to ask, and are redirected from there.
    fn primary_of(&self, shard: &ShardMap) -> Option<NodeId> {
        let settled = || shard.members.iter().copied().find(|node| !self.map.is_arriving(*node));
        (self.leader)(shard.id).filter(|node| shard.has(*node)).or_else(settled)
    }

    /// Whether the replica may be without part of its data still.
    fn is_arriving(&self, replica: &Replica<'_>) -> bool {
        !replica.primary && self.map.is_arriving(replica.node.id)
    }

    fn port(&self, replica: &Replica<'_>) -> Option<u16> {
        if self.tls { replica.tls_port() } else { replica.plain_port() }
    }

    fn is_own(&self, replica: &Replica<'_>) -> bool {
        self.own == (replica.node.id, replica.shard.id)
    }

    fn name(&self, replica: &Replica<'_>) -> String {
        names::replica(self.map.cluster_id, replica.node.id, replica.shard.id)
    }

    /// `host:port` of the replica that serves `slot`; `primary` if the caller knows it better than the map.
    #[must_use]
    pub fn address(&self, slot: Slot, primary: Option<NodeId>) -> Option<String> {
        let shard = self.map.shard_of(slot)?;
        let primary = primary.or_else(|| self.primary_of(shard))?;
        // One that is leaving may lead for a moment still.
        let leaving = || self.map.leaving().iter().find(|node| node.id == primary);
        let node = self.map.node(primary).or_else(leaving)?;
        let port = self.port(&Replica { node, shard, primary: true })?;
        Some(format!("{}:{port}", node.announce_host))
    }

    /// CLUSTER SLOTS.
    pub fn write_slots(&self, out: &mut ReplyBuf) {
        out.array(self.map.shards.len());
        for shard in &self.map.shards {
            let named = |r: &Replica<'_>| self.port(r).is_some() && !self.is_arriving(r);
            let replicas: Vec<_> = self.replicas(shard).into_iter().filter(named).collect();
            out.array(2 + replicas.len());
            out.integer(i64::from(shard.first.0));
            out.integer(i64::from(shard.last.0));
            for replica in &replicas {
                out.array(4);
                out.bulk(&replica.node.announce_host);
                out.integer(i64::from(self.port(replica).unwrap_or_default()));
                out.bulk(self.name(replica));
                let mut metadata = vec![("availability-zone", replica.node.az.0.as_ref())];
                if !replica.node.announce_hostname.is_empty() {
                    metadata.insert(0, ("hostname", replica.node.announce_hostname.as_str()));
                }
                out.map(metadata.len());
                for (name, value) in metadata {
                    out.bulk(name);
                    out.bulk(value);
                }
            }
        }
    }

    /// CLUSTER SHARDS.
    pub fn write_shards(&self, out: &mut ReplyBuf) {
        out.array(self.map.shards.len());
        for shard in &self.map.shards {
            out.map(3);
            out.bulk("slots");
            out.array(2);
            out.integer(i64::from(shard.first.0));
            out.integer(i64::from(shard.last.0));
            out.bulk("nodes");
            let replicas = self.replicas(shard);
            out.array(replicas.len());
            for replica in &replicas {
                self.write_shard_node(replica, out);
            }
            out.bulk("id");
            out.bulk(names::shard(self.map.cluster_id, shard.id));
        }
    }

    fn write_shard_node(&self, replica: &Replica<'_>, out: &mut ReplyBuf) {
        let place = out.defer();
        let mut pairs = 0;
        let mut text = |out: &mut ReplyBuf, name: &str, value: &str| {
            out.bulk(name);
            out.bulk(value);
            pairs += 1;
        };
        text(out, "id", &self.name(replica));
        text(out, "ip", &replica.node.announce_host);
        text(out, "endpoint", &replica.node.announce_host);
        if !replica.node.announce_hostname.is_empty() {
            text(out, "hostname", &replica.node.announce_hostname);
        }
        text(out, "role", if replica.primary { "master" } else { "replica" });
        let loading = self.is_arriving(replica) || self.is_own(replica) && !self.healthy;
        text(out, "health", if loading { "loading" } else { "online" });
        text(out, "availability-zone", &replica.node.az.0);
        for (name, port) in [("port", replica.plain_port()), ("tls-port", replica.tls_port())] {
            if let Some(port) = port {
                out.bulk(name);
                out.integer(i64::from(port));
                pairs += 1;
            }
        }
        out.bulk("replication-offset");
        out.integer(if self.is_own(replica) { self.offset as i64 } else { 0 });
        out.finish_map(place, pairs + 1);
    }

    /// CLUSTER NODES: one line per replica.
    #[must_use]
    pub fn nodes(&self) -> String {
        let mut text = String::new();
        for shard in &self.map.shards {
            for replica in self.replicas(shard) {
                text.push_str(&self.node_line(&replica));
                text.push('\n');
            }
        }
        text
    }

    /// CLUSTER REPLICAS: the lines of the replicas of the shard whose primary has this name; `None` if there is no
    /// such primary.
    #[must_use]
    pub fn replicas_of(&self, name: &str) -> Option<Result<Vec<String>, NotAPrimary>> {
        for shard in &self.map.shards {
            let replicas = self.replicas(shard);
            let Some(found) = replicas.iter().find(|replica| self.name(replica).eq_ignore_ascii_case(name)) else {
                continue;
            };
            if !found.primary {
                return Some(Err(NotAPrimary));
            }
            return Some(Ok(replicas.iter().filter(|r| !r.primary).map(|r| self.node_line(r)).collect()));
        }
        None
    }

    fn node_line(&self, replica: &Replica<'_>) -> String {
        let peer_port = replica.node.peer_address.rsplit_once(':').map_or("0", |(_, port)| port);
        let mut line = format!(
            "{} {}:{}@{peer_port}",
            self.name(replica),
            replica.node.announce_host,
            self.port(replica).unwrap_or_default(),
        );
        if !replica.node.announce_hostname.is_empty() {
            let _ = write!(line, ",{}", replica.node.announce_hostname);
        }
        line.push(' ');
        if self.is_own(replica) {
            line.push_str("myself,");
        }
        let epoch = replica.shard.config_epoch;
        if replica.primary {
            let (first, last) = (replica.shard.first.0, replica.shard.last.0);
            let _ = write!(line, "master - 0 0 {epoch} connected {first}-{last}");
        } else {
            let primary = self.primary_of(replica.shard).unwrap_or_default();
            let primary = names::replica(self.map.cluster_id, primary, replica.shard.id);
            let _ = write!(line, "slave {primary} 0 0 {epoch} connected");
        }
        line
    }

    /// CLUSTER INFO.
    #[must_use]
    pub fn info(&self) -> String {
        let replicas: usize = self.map.shards.iter().map(|shard| shard.members.len()).sum();
        let epoch = self.map.shards.iter().map(|shard| shard.config_epoch).max().unwrap_or_default();
        let own_epoch = self.map.shard(self.own.1).map_or(0, |shard| shard.config_epoch);
        format!(
            "cluster_state:{}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{SLOTS}\r\n\
             cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_nodes_pfail:0\r\ncluster_nodes_fail:0\r\n\
             cluster_voting_nodes_pfail:0\r\ncluster_voting_nodes_fail:0\r\ncluster_known_nodes:{replicas}\r\n\
             cluster_size:{}\r\ncluster_current_epoch:{epoch}\r\ncluster_my_epoch:{own_epoch}\r\n\
             cluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n\
             total_cluster_links_buffer_limit_exceeded:0\r\ncluster_durability:{}\r\ncluster_durability_wished:{}\r\n",
            if self.is_ok() { "ok" } else { "fail" },
            self.map.shards.len(),
            self.durability,
            self.map.durability,
        )
    }

    /// Whether the asked replica's shard has a primary. Slow commits change nothing about it: reads go on.
    fn is_ok(&self) -> bool {
        (self.leader)(self.own.1).is_some()
    }
}

/// The named node is a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAPrimary;

impl Replica<'_> {
    fn plain_port(&self) -> Option<u16> {
        self.node.resp_port_of(self.shard.id)
    }

    fn tls_port(&self) -> Option<u16> {
        self.node.resp_tls_port_of(self.shard.id)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use fastness_resp::{Protocol, Value, value};
    use fastness_types::{Az, ClusterId, DiskId, Durability, HashSeed};

    use super::*;

    pub(crate) fn map() -> ClusterMap {
        let node = |id: u64, az: &str| NodeInfo {
            id: NodeId(id),
            disk: DiskId([id as u8; 16]),
            az: Az::from(az),
            peer_address: format!("127.0.0.1:{}", 9000 + id),
            grpc_address: format!("127.0.0.1:{}", 9100 + id),
            announce_host: format!("10.0.0.{id}"),
            announce_hostname: String::new(),
            resp_port: 7000,
            resp_tls_port: if id == 3 { 0 } else { 7100 },
        };
        let shard = |id: u32, first: u16, last: u16, members: [u64; 3]| ShardMap {
            id: ShardId(id),
            first: Slot(first),
            last: Slot(last),
            members: members.map(NodeId).to_vec(),
            config_epoch: u64::from(id),
        };
        ClusterMap {
            cluster_id: ClusterId([1; 16]),
            hash_seed: HashSeed([2; 16]),
            version: 1,
            durability: Durability::Sync,
            durability_version: 1,
            replicas: 2,
            nodes: vec![node(1, "a"), node(2, "b"), node(3, "c")],
            shards: vec![shard(1, 0, 8191, [1, 2, 3]), shard(2, 8192, 16383, [2, 3, 1])],
            control_voters: vec![NodeId(1), NodeId(2), NodeId(3)],
            replacement: None,
            replaced: Vec::new(),
        }
    }

    fn with_view<T>(tls: bool, look: impl Fn(&View<'_>) -> T) -> T {
        with_view_of(&map(), tls, look)
    }

    fn with_view_of<T>(map: &ClusterMap, tls: bool, look: impl Fn(&View<'_>) -> T) -> T {
        let leader = |shard: ShardId| (shard == ShardId(1)).then_some(NodeId(3));
        let own = (NodeId(1), ShardId(1));
        let durability = Durability::Async;
        look(&View { map, leader: &leader, own, durability, tls, offset: 5, healthy: true })
    }

    fn decoded(write: impl Fn(&mut ReplyBuf)) -> Value {
        let mut out = ReplyBuf::new(Protocol::Resp2);
        write(&mut out);
        let (value, consumed) = value::parse(&out.bytes).unwrap().unwrap();
        assert_eq!(consumed, out.bytes.len());
        value
    }

    fn items(value: &Value) -> &[Value] {
        match value {
            Value::Array(values) => values,
            other => panic!("not an array: {other:?}"),
        }
    }

    #[test]
    fn slots_name_the_leader_first_with_its_zone() {
        let slots = with_view(false, |view| decoded(|out| view.write_slots(out)));
        let first = items(&items(&slots)[0]);
        assert_eq!(first[..2], [Value::Integer(0), Value::Integer(8191)]);
        let primary = items(&first[2]);
        assert_eq!(primary[..2], [Value::Bulk(b"10.0.0.3".to_vec()), Value::Integer(7000)]);
        assert_eq!(items(&primary[3]), [Value::Bulk(b"availability-zone".to_vec()), Value::Bulk(b"c".to_vec())]);
        assert_eq!(first.len(), 5);
        // No leader known: the preferred one.
        let second = items(&items(&slots)[1]);
        assert_eq!(items(&second[2])[..2], [Value::Bulk(b"10.0.0.2".to_vec()), Value::Integer(7001)]);
    }

    #[test]
    fn tls_clients_are_told_tls_ports_of_nodes_that_have_one() {
        let slots = with_view(true, |view| decoded(|out| view.write_slots(out)));
        let first = items(&items(&slots)[0]);
        assert_eq!(first.len(), 4);
        assert!(first[2..].iter().all(|replica| items(replica)[1] == Value::Integer(7100)));
    }

    #[test]
    fn shards_read_as_maps() {
        let shards = with_view(false, |view| decoded(|out| view.write_shards(out)));
        let nodes = items(&items(&items(&shards)[0])[3]);
        assert_eq!(nodes.len(), 3);
        let field = |node: &Value, name: &str| {
            let node = items(node);
            let at = node.iter().position(|v| v == &Value::Bulk(name.into())).unwrap();
            node[at + 1].clone()
        };
        assert_eq!(field(&nodes[0], "role"), Value::Bulk(b"master".to_vec()));
        assert_eq!(field(&nodes[1], "role"), Value::Bulk(b"replica".to_vec()));
        assert_eq!(field(&nodes[1], "replication-offset"), Value::Integer(5));
        assert_eq!(field(&nodes[1], "availability-zone"), Value::Bulk(b"a".to_vec()));
    }

    #[test]
    fn a_replica_that_is_arriving_is_not_offered_to_clients() {
        let new = NodeInfo { id: NodeId(4), disk: DiskId([4; 16]), ..map().nodes[1].clone() };
        let replacing = map().with_replacement(NodeId(2), &new).unwrap();
        let hosts = |slots: &Value, shard: usize| items(&items(slots)[shard])[2..].len();
        let slots = with_view_of(&replacing, false, |view| decoded(|out| view.write_slots(out)));
        // Without a known leader, and with the preferred primary replaced, somebody is named who can tell.
        assert_eq!((hosts(&slots, 0), hosts(&slots, 1)), (2, 2));
        assert_eq!(items(&items(&items(&slots)[1])[2])[0], Value::Bulk(b"10.0.0.3".to_vec()));
        let text = with_view_of(&replacing, false, |view| view.nodes());
        assert_eq!(text.lines().count(), 6);
        let shards = with_view_of(&replacing, false, |view| decoded(|out| view.write_shards(out)));
        assert_eq!(format!("{shards:?}").matches(&format!("{:?}", Value::Bulk(b"loading".to_vec()))).count(), 2);
        let replaced = replacing.with_replacement_finished(NodeId(4)).unwrap();
        let slots = with_view_of(&replaced, false, |view| decoded(|out| view.write_slots(out)));
        assert_eq!((hosts(&slots, 0), hosts(&slots, 1)), (3, 3));
    }

    #[test]
    fn nodes_lines() {
        let text = with_view(false, |view| view.nodes());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 6);
        let own = lines.iter().find(|line| line.contains("myself")).unwrap();
        let primary = lines[0].split(' ').next().unwrap();
        assert!(lines[0].contains("10.0.0.3:7000@9003 master - 0 0 1 connected 0-8191"), "{}", lines[0]);
        assert!(own.contains(&format!("10.0.0.1:7000@9001 myself,slave {primary} 0 0 1 connected")), "{own}");
        let replicas = with_view(false, |view| view.replicas_of(primary).unwrap().unwrap());
        assert_eq!(replicas.len(), 2);
        assert!(with_view(false, |view| view.replicas_of("0").is_none()));
    }

    #[test]
    fn redirections() {
        assert_eq!(with_view(false, |v| v.address(Slot(1), None)), Some("10.0.0.3:7000".into()));
        assert_eq!(with_view(false, |v| v.address(Slot(1), Some(NodeId(2)))), Some("10.0.0.2:7000".into()));
        assert_eq!(with_view(false, |v| v.address(Slot(9000), None)), Some("10.0.0.2:7001".into()));
        assert_eq!(with_view(true, |v| v.address(Slot(1), Some(NodeId(3)))), None);
    }
}

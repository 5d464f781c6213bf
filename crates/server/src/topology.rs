//! The cluster as clients see it: CLUSTER SLOTS, SHARDS, NODES, INFO and the addresses in redirections, written from
//! this node's own copy of the map and from what its replicas know about who leads.
//!
//! - To a client each replica is one cluster node with one role, one name and one port.
//! - TLS clients get TLS ports, others plaintext ports; a replica without such a port is left out of the reply.
//! - Clients of the plaintext port may be told another host for all nodes than the map has: one machine to which all
//!   plaintext ports are mapped.
//! - The state of a replica is what this node has observed of it ([`Observation`]), as in Valkey: CLUSTER SLOTS, from
//!   which clients choose replicas to read from, names a primary and those replicas that report that they can serve.
//!   CLUSTER SHARDS and NODES name all, with those that have failed and those that are loading (including one that
//!   replaces another).
//! - All nodes with the same map, the same leaders and the same observations write the same view, in the same order.
//! - A node decides alone whether another one has failed. So nothing is ever `pfail`, which in Valkey is a suspicion
//!   that others have to share.

use std::fmt::Write as _;

use fastness_control::{ClusterMap, NodeInfo, ShardMap};
use fastness_resp::ReplyBuf;
use fastness_types::{Durability, NodeId, SLOTS, ShardId, Slot};

use crate::names;

/// The state of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It reports that it can serve.
    Online,
    /// Its node answers, and it cannot serve yet.
    Loading,
    /// Its node does not answer.
    Failed,
}

impl Health {
    /// The name in CLUSTER SHARDS.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Health::Online => "online",
            Health::Loading => "loading",
            Health::Failed => "fail",
        }
    }
}

/// What was observed of a replica and its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Its state.
    pub health: Health,
    /// Up to where it reports to have applied the log.
    pub offset: u64,
    /// Whether this node has a connection to it.
    pub connected: bool,
    /// When the ping was sent that its node has not answered, ms since the Unix epoch; 0: none.
    pub ping_sent: u64,
    /// When its node answered last, likewise.
    pub pong_received: u64,
}

/// The topology that one client gets, from one replica's point of view.
pub struct View<'a> {
    /// The map.
    pub map: &'a ClusterMap,
    /// Who leads a shard as far as this node knows.
    pub leader: &'a dyn Fn(ShardId) -> Option<NodeId>,
    /// What was observed of a node's replica of a shard.
    pub observe: &'a dyn Fn(NodeId, ShardId) -> Observation,
    /// The replica that answers.
    pub own: (NodeId, ShardId),
    /// The mode in force on the answering replica.
    pub durability: Durability,
    /// Whether the client came through the TLS front end.
    pub tls: bool,
    /// The host that this client is told for every node; `None`: that of the map.
    pub host: Option<&'a str>,
    /// Log position of the answering replica.
    pub offset: u64,
    /// Whether the answering replica serves.
    pub healthy: bool,
}

/// One replica, as one cluster node.
struct ReplicaView<'a> {
    node: &'a NodeInfo,
    shard: &'a ShardMap,
    primary: bool,
    seen: Observation,
}

impl View<'_> {
    /// The replicas of a shard, the primary first.
    fn replicas<'v>(&'v self, shard: &'v ShardMap) -> Vec<ReplicaView<'v>> {
        let primary = self.primary_of(shard);
        let mut replicas: Vec<_> =
            self.map.members_of(shard.id).map(|node| self.replica(node, shard, Some(node.id) == primary)).collect();
        // Stable: the others stay in the map's order.
        replicas.sort_by_key(|replica| !replica.primary);
        replicas
    }

    fn replica<'v>(&self, node: &'v NodeInfo, shard: &'v ShardMap, primary: bool) -> ReplicaView<'v> {
        let mut seen = (self.observe)(node.id, shard.id);
        if self.own == (node.id, shard.id) {
            seen.offset = self.offset;
            seen.health = if self.healthy { seen.health } else { Health::Loading };
        }
        // It may be without part of its data still.
        if !primary && self.map.is_arriving(node.id) && seen.health == Health::Online {
            seen.health = Health::Loading;
        }
        ReplicaView { node, shard, primary, seen }
    }

    /// The leader, or who should lead: clients need a node to turn to, which redirects them.
    fn primary_of(&self, shard: &ShardMap) -> Option<NodeId> {
        let settled = || shard.members.iter().copied().filter(|node| !self.map.is_arriving(*node));
        let alive = |node: &NodeId| (self.observe)(*node, shard.id).health != Health::Failed;
        let leader = (self.leader)(shard.id).filter(|node| shard.has(*node));
        leader.or_else(|| settled().find(alive)).or_else(|| settled().next())
    }

    /// Whether a shard has a primary that answers.
    fn is_led(&self, shard: &ShardMap) -> bool {
        let leader = (self.leader)(shard.id).filter(|node| shard.has(*node));
        leader.is_some_and(|node| (self.observe)(node, shard.id).health != Health::Failed)
    }

    fn port(&self, replica: &ReplicaView<'_>) -> Option<u16> {
        if self.tls { replica.tls_port() } else { replica.plain_port() }
    }

    /// The host of a node.
    fn host<'v>(&'v self, node: &'v NodeInfo) -> &'v str {
        self.host.unwrap_or(&node.announce_host)
    }

    /// The host name beside it.
    fn hostname<'v>(&'v self, node: &'v NodeInfo) -> Option<&'v str> {
        let announced = Some(node.announce_hostname.as_str());
        announced.filter(|name| !name.is_empty() && self.host.is_none())
    }

    fn is_own(&self, replica: &ReplicaView<'_>) -> bool {
        self.own == (replica.node.id, replica.shard.id)
    }

    fn name(&self, replica: &ReplicaView<'_>) -> String {
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
        let port = self.port(&self.replica(node, shard, true))?;
        Some(format!("{}:{port}", self.host(node)))
    }

    /// CLUSTER SLOTS.
    pub fn write_slots(&self, out: &mut ReplyBuf) {
        out.array(self.map.shards.len());
        for shard in &self.map.shards {
            let named = |r: &ReplicaView<'_>| self.port(r).is_some() && (r.primary || r.seen.health == Health::Online);
            let replicas: Vec<_> = self.replicas(shard).into_iter().filter(named).collect();
            out.array(2 + replicas.len());
            out.integer(i64::from(shard.first.0));
            out.integer(i64::from(shard.last.0));
            for replica in &replicas {
                out.array(4);
                out.bulk(self.host(replica.node));
                out.integer(i64::from(self.port(replica).unwrap_or_default()));
                out.bulk(self.name(replica));
                let mut metadata = vec![("availability-zone", replica.node.az.0.as_ref())];
                if let Some(name) = self.hostname(replica.node) {
                    metadata.insert(0, ("hostname", name));
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

    fn write_shard_node(&self, replica: &ReplicaView<'_>, out: &mut ReplyBuf) {
        let place = out.defer();
        let mut pairs = 0;
        let mut text = |out: &mut ReplyBuf, name: &str, value: &str| {
            out.bulk(name);
            out.bulk(value);
            pairs += 1;
        };
        text(out, "id", &self.name(replica));
        text(out, "ip", self.host(replica.node));
        text(out, "endpoint", self.host(replica.node));
        if let Some(name) = self.hostname(replica.node) {
            text(out, "hostname", name);
        }
        text(out, "role", if replica.primary { "master" } else { "replica" });
        text(out, "health", replica.seen.health.name());
        text(out, "availability-zone", &replica.node.az.0);
        for (name, port) in [("port", replica.plain_port()), ("tls-port", replica.tls_port())] {
            if let Some(port) = port {
                out.bulk(name);
                out.integer(i64::from(port));
                pairs += 1;
            }
        }
        out.bulk("replication-offset");
        out.integer(replica.seen.offset as i64);
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

    fn node_line(&self, replica: &ReplicaView<'_>) -> String {
        let peer_port = replica.node.peer_address.rsplit_once(':').map_or("0", |(_, port)| port);
        let mut line = format!(
            "{} {}:{}@{peer_port}",
            self.name(replica),
            self.host(replica.node),
            self.port(replica).unwrap_or_default(),
        );
        if let Some(name) = self.hostname(replica.node) {
            let _ = write!(line, ",{name}");
        }
        line.push(' ');
        if self.is_own(replica) {
            line.push_str("myself,");
        }
        let (epoch, seen) = (replica.shard.config_epoch, replica.seen);
        let fail = if seen.health == Health::Failed { ",fail" } else { "" };
        let role = if replica.primary { "master" } else { "slave" };
        let primary = match replica.primary {
            true => "-".to_owned(),
            false => {
                let primary = self.primary_of(replica.shard).unwrap_or_default();
                names::replica(self.map.cluster_id, primary, replica.shard.id)
            }
        };
        let link = if seen.connected { "connected" } else { "disconnected" };
        let (ping, pong) = (seen.ping_sent, seen.pong_received);
        let _ = write!(line, "{role}{fail} {primary} {ping} {pong} {epoch} {link}");
        if replica.primary {
            let _ = write!(line, " {}-{}", replica.shard.first.0, replica.shard.last.0);
        }
        line
    }

    /// CLUSTER INFO.
    #[must_use]
    pub fn info(&self) -> String {
        let replicas: Vec<_> = self.map.shards.iter().flat_map(|shard| self.replicas(shard)).collect();
        let failed = || replicas.iter().filter(|replica| replica.seen.health == Health::Failed);
        let (failed, failed_primaries) = (failed().count(), failed().filter(|replica| replica.primary).count());
        let slots = |shard: &ShardMap| usize::from(shard.last.0 - shard.first.0) + 1;
        let slots_ok: usize = self.map.shards.iter().filter(|shard| self.is_led(shard)).map(slots).sum();
        let epoch = self.map.shards.iter().map(|shard| shard.config_epoch).max().unwrap_or_default();
        let own_epoch = self.map.shard(self.own.1).map_or(0, |shard| shard.config_epoch);
        format!(
            "cluster_state:{}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{slots_ok}\r\n\
             cluster_slots_pfail:0\r\ncluster_slots_fail:{}\r\ncluster_nodes_pfail:0\r\ncluster_nodes_fail:{failed}\r\n\
             cluster_voting_nodes_pfail:0\r\ncluster_voting_nodes_fail:{failed_primaries}\r\ncluster_known_nodes:{}\r\n\
             cluster_size:{}\r\ncluster_current_epoch:{epoch}\r\ncluster_my_epoch:{own_epoch}\r\n\
             cluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n\
             total_cluster_links_buffer_limit_exceeded:0\r\ndurability:{}\r\ndurability_desired:{}\r\n",
            if self.is_ok() { "ok" } else { "fail" },
            SLOTS - slots_ok,
            replicas.len(),
            self.map.shards.len(),
            self.durability,
            self.map.durability,
        )
    }

    /// Whether the answering replica's shard has a primary. Slow commits do not matter: reads are still served.
    fn is_ok(&self) -> bool {
        (self.leader)(self.own.1).is_some()
    }
}

/// The named node is a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAPrimary;

impl ReplicaView<'_> {
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

    use fastness_control::fixtures;
    use fastness_resp::{Protocol, Value, value};
    use fastness_types::{ClusterId, DiskId};

    use super::*;

    pub(crate) fn map() -> ClusterMap {
        let map = fixtures::three_nodes();
        let nodes = map.nodes.iter().cloned().map(|node| NodeInfo {
            peer_address: format!("127.0.0.1:{}", 9000 + node.id.0),
            announce_host: format!("10.0.0.{}", node.id),
            resp_port: 7000,
            resp_tls_port: if node.id == NodeId(3) { 0 } else { 7100 },
            ..node
        });
        ClusterMap { cluster_id: ClusterId([1; 16]), nodes: nodes.collect(), ..map }
    }

    fn with_view<T>(tls: bool, read: impl Fn(&View<'_>) -> T) -> T {
        with_view_of(&map(), tls, read)
    }

    fn with_view_of<T>(map: &ClusterMap, tls: bool, read: impl Fn(&View<'_>) -> T) -> T {
        let leader = |shard: ShardId| (shard == ShardId(1)).then_some(NodeId(3));
        let own = (NodeId(1), ShardId(1));
        let durability = Durability::Async;
        let observe = |_: NodeId, _: ShardId| ONLINE;
        let (host, offset, healthy) = (None, 5, true);
        read(&View { map, leader: &leader, observe: &observe, own, durability, tls, host, offset, healthy })
    }

    const ONLINE: Observation =
        Observation { health: Health::Online, offset: 4, connected: true, ping_sent: 0, pong_received: 77 };

    /// As node 1 sees it, which leads shard 1, while node 2 does not answer and node 3 is as `health` says.
    fn with_failures<T>(health: Health, read: impl Fn(&View<'_>) -> T) -> T {
        let map = map();
        let leader = |shard: ShardId| Some(NodeId(u64::from(shard.0)));
        let observe = |node: NodeId, _: ShardId| match node.0 {
            1 => Observation { pong_received: 0, ..ONLINE },
            2 => Observation { health: Health::Failed, offset: 3, connected: false, ping_sent: 99, ..ONLINE },
            _ => Observation { health, ..ONLINE },
        };
        let own = (NodeId(1), ShardId(1));
        let durability = Durability::Sync;
        read(&View {
            map: &map,
            leader: &leader,
            observe: &observe,
            own,
            durability,
            tls: false,
            host: None,
            offset: 5,
            healthy: true,
        })
    }

    #[test]
    fn slots_leave_out_replicas_that_have_failed_or_cannot_serve_and_keep_every_primary() {
        let named = |health| {
            let slots = with_failures(health, |view| decoded(|out| view.write_slots(out)));
            let hosts = |shard: &Value| -> Vec<Value> {
                items(shard)[2..].iter().map(|replica| items(replica)[0].clone()).collect()
            };
            items(&slots).iter().map(hosts).collect::<Vec<_>>()
        };
        let hosts = |ids: &[u64]| ids.iter().map(|id| Value::Bulk(format!("10.0.0.{id}").into())).collect::<Vec<_>>();
        // Node 2 is the last known leader of shard 2: clients have to be sent somewhere.
        assert_eq!(named(Health::Online), [hosts(&[1, 3]), hosts(&[2, 3, 1])]);
        assert_eq!(named(Health::Loading), [hosts(&[1]), hosts(&[2, 1])]);
        assert_eq!(named(Health::Failed), [hosts(&[1]), hosts(&[2, 1])]);
    }

    #[test]
    fn shards_and_nodes_say_who_has_failed_as_valkey_does() {
        let shards = with_failures(Health::Loading, |view| decoded(|out| view.write_shards(out)));
        let text = format!("{shards:?}");
        let count = |word: &str| text.matches(&format!("{:?}", Value::Bulk(word.into()))).count();
        assert_eq!((count("online"), count("loading"), count("fail")), (2, 2, 2));
        let nodes = with_failures(Health::Online, |view| view.nodes());
        let line = |at: &str| nodes.lines().find(|line| line.contains(at)).unwrap().splitn(3, ' ').nth(2).unwrap();
        let one = nodes.lines().next().unwrap().split(' ').next().unwrap();
        assert_eq!(line("10.0.0.1:7000"), "myself,master - 0 0 1 connected 0-8191");
        assert_eq!(line("10.0.0.2:7000"), format!("slave,fail {one} 99 77 1 disconnected"));
        assert_eq!(line("10.0.0.3:7000"), format!("slave {one} 0 77 1 connected"));
        assert_eq!(line("10.0.0.2:7001"), "master,fail - 99 77 2 disconnected 8192-16383");
    }

    #[test]
    fn info_counts_failed_nodes_and_the_slots_without_a_primary() {
        let info = with_failures(Health::Online, |view| view.info());
        for line in [
            "cluster_state:ok",
            "cluster_slots_ok:8192",
            "cluster_slots_fail:8192",
            "cluster_nodes_fail:2",
            "cluster_voting_nodes_fail:1",
            "cluster_known_nodes:6",
        ] {
            assert!(info.lines().any(|l| l == line), "{line}: {info}");
        }
    }

    #[test]
    fn without_a_known_leader_somebody_who_answers_is_named_as_primary() {
        let map = map();
        let (leader, own, durability) = (|_: ShardId| None, (NodeId(1), ShardId(1)), Durability::Sync);
        let observe = |node: NodeId, _: ShardId| match node.0 {
            2 => Observation { health: Health::Failed, ..ONLINE },
            _ => ONLINE,
        };
        let view = View {
            map: &map,
            leader: &leader,
            observe: &observe,
            own,
            durability,
            tls: false,
            host: None,
            offset: 5,
            healthy: true,
        };
        assert_eq!(view.address(Slot(9000), None), Some("10.0.0.3:7001".into()));
        assert!(view.info().contains("cluster_slots_ok:0\r\n"));
    }

    fn decoded(write: impl Fn(&mut ReplyBuf)) -> Value {
        let mut out = ReplyBuf::new(Protocol::Resp2);
        write(&mut out);
        let (value, consumed) = value::parse(&out.to_vec()).unwrap().unwrap();
        assert_eq!(consumed, out.len());
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
        // Without a known leader, and with the preferred primary replaced, another node is named that can redirect.
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
        assert!(lines[0].contains("10.0.0.3:7000@9003 master - 0 77 1 connected 0-8191"), "{}", lines[0]);
        assert!(own.contains(&format!("10.0.0.1:7000@9001 myself,slave {primary} 0 77 1 connected")), "{own}");
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

    #[test]
    fn one_host_can_stand_for_all() {
        let mut map = map();
        map.nodes.iter_mut().for_each(|node| node.announce_hostname = "db.example.com".to_owned());
        let texts = |host: Option<&str>| {
            with_view_of(&map, false, |view| {
                let view = View { host, ..*view };
                let mut out = ReplyBuf::new(Protocol::Resp2);
                view.write_slots(&mut out);
                view.write_shards(&mut out);
                let replies = String::from_utf8(out.to_vec()).unwrap();
                format!("{replies} {} {}", view.address(Slot(1), None).unwrap(), view.nodes())
            })
        };
        let (own, mapped) = (texts(None), texts(Some("127.0.0.1")));
        assert!(
            own.contains("10.0.0.3:7000") && own.contains("db.example.com") && !own.contains("127.0.0.1:7"),
            "{own}"
        );
        assert!(mapped.contains("127.0.0.1:7000") && !mapped.contains("10.0.0."), "{mapped}");
        assert!(!mapped.contains("db.example.com"), "a client would prefer it: {mapped}");
    }
}

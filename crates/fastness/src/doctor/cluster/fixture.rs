//! A made-up cluster of three nodes in three AZs with two shards, in which all is well; tests change one thing.

use fastness_wire::admin::v1::{
    DescribeClusterResponse, GroupMember, MachineFigures, NodeSpec, ReplicaFigures, ReplicaStatus, ShardStatus,
    ShowFiguresResponse,
};

use super::access::ClusterAccess;
use super::facts::{ClusterFacts, NodeAnswer, NodeFacts, Silence};

/// When the made-up certificates expire.
const FAR: i64 = 4_000_000_000;
const NODES: [u64; 3] = [1, 2, 3];

/// A cluster that a folder has.
pub fn of_folder() -> ClusterAccess {
    let arguments = vec!["--dir".to_owned(), "d".to_owned()];
    ClusterAccess { dir: Some("d".into()), arguments }
}

/// A cluster that is reached by addresses.
pub fn by_address() -> ClusterAccess {
    let arguments = ["--address", "a:1", "--ca", "c", "--admin-cert", "a.crt", "--admin-key", "a.key"];
    ClusterAccess { dir: None, arguments: arguments.map(str::to_owned).to_vec() }
}

fn spec(id: u64) -> NodeSpec {
    NodeSpec {
        id,
        az: ["a", "b", "c"][id as usize - 1].to_owned(),
        announce_host: format!("10.0.{id}.1"),
        grpc_address: format!("10.0.{id}.1:17379"),
        resp_tls_port: 6379,
        ..NodeSpec::default()
    }
}

fn map() -> DescribeClusterResponse {
    let shard = |id| ShardStatus { id, members: NODES.to_vec(), ..ShardStatus::default() };
    DescribeClusterResponse {
        durability: "sync".to_owned(),
        nodes: NODES.map(spec).to_vec(),
        shards: vec![shard(1), shard(2)],
        map_version: 4,
        ..DescribeClusterResponse::default()
    }
}

/// Node 1 leads shard 1 and the control plane, node 2 leads shard 2.
fn replica(node: u64, shard: u32) -> ReplicaStatus {
    let leads = node == u64::from(shard.max(1));
    let member =
        |node| GroupMember { node, voted: true, votes: true, matched: 100, answers: true, ..GroupMember::default() };
    ReplicaStatus {
        shard,
        role: if leads { "leader" } else { "follower" }.to_owned(),
        term: 2,
        leader_node: u64::from(shard.max(1)),
        committed: 100,
        applied: 100,
        last_log: 100,
        ready: true,
        lease_held: leads,
        durability: "sync".to_owned(),
        members: if leads { NODES.map(member).to_vec() } else { Vec::new() },
        ..ReplicaStatus::default()
    }
}

fn figures(node: u64) -> ShowFiguresResponse {
    let replica = |shard| ReplicaFigures {
        shard,
        durability_max_lag_us: 10_000_000,
        lag_gate: "open".to_owned(),
        quorum_margin: (node == u64::from(shard)).then_some(1),
        memory_bytes: 10 << 20,
        memory_max_bytes: 1 << 30,
        ..ReplicaFigures::default()
    };
    let mut sync_counts = vec![0; 24];
    sync_counts[10] = 1_000;
    ShowFiguresResponse {
        node_id: node,
        version: "0.1.0".to_owned(),
        resident_bytes: 200 << 20,
        client_connections: 10,
        client_connections_max: 10_000,
        replicas: vec![replica(1), replica(2)],
        machine: Some(MachineFigures {
            clock_ms: 1_800_000_000_000,
            clock_offset_ms: Some(2),
            clock_trusted: Some(true),
            open_files: 300,
            open_files_max: 20_000,
            memory_max_bytes: 8 << 30,
            sync_counts,
            certificate_expires_at_s: FAR,
            ca_expires_at_s: FAR,
            certificate_hosts: vec![format!("10.0.{node}.1")],
            format_level: 5,
            disk_free_bytes: 50 << 30,
            disk_total_bytes: 100 << 30,
            ..MachineFigures::default()
        }),
        ..ShowFiguresResponse::default()
    }
}

/// All is well.
pub fn healthy() -> ClusterFacts {
    let answer = |node: u64| NodeAnswer {
        view: DescribeClusterResponse {
            node_id: node,
            replicas: (0..=2).map(|shard| replica(node, shard)).collect(),
            ..map()
        },
        figures: Some(figures(node)),
        clock: Some((3, 2)),
    };
    let nodes = NODES.map(|id| NodeFacts { spec: spec(id), answer: Ok(answer(id)) });
    ClusterFacts::new(map(), nodes.to_vec(), by_address())
}

/// Changes what a node has answered.
pub fn with(node: u64, change: impl FnOnce(&mut NodeAnswer)) -> ClusterFacts {
    let mut facts = healthy();
    let changed = facts.nodes.iter_mut().find(|facts| facts.spec.id == node);
    change(changed.unwrap().answer.as_mut().unwrap());
    facts
}

/// Changes what a node reports of its machine.
pub fn with_machine(node: u64, change: impl FnOnce(&mut MachineFigures)) -> ClusterFacts {
    with(node, |answer| change(answer.figures.as_mut().unwrap().machine.as_mut().unwrap()))
}

/// Changes what a node reports of a replica.
pub fn with_figures(node: u64, shard: u32, change: impl FnOnce(&mut ReplicaFigures)) -> ClusterFacts {
    with(node, |answer| {
        let replicas = &mut answer.figures.as_mut().unwrap().replicas;
        change(replicas.iter_mut().find(|replica| replica.shard == shard).unwrap());
    })
}

/// Changes the state of a replica.
pub fn with_replica(node: u64, shard: u32, change: impl FnOnce(&mut ReplicaStatus)) -> ClusterFacts {
    with(node, |answer| change(answer.view.replicas.iter_mut().find(|replica| replica.shard == shard).unwrap()))
}

/// These nodes do not answer.
pub fn without(silent: &[u64], hangs: bool) -> ClusterFacts {
    let mut facts = healthy();
    for node in facts.nodes.iter_mut().filter(|node| silent.contains(&node.spec.id)) {
        node.answer = Err(Silence { reason: "connection refused".to_owned(), hangs });
    }
    facts
}

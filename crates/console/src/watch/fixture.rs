//! Clusters as their nodes would report them, for tests.

use fastness_wire::admin::v1::event_field::Value;
use fastness_wire::admin::v1::{
    DescribeClusterResponse, EventField, NodeSpec, RecordedEvent, ReplicaFigures, ReplicaStatus, ShardStatus,
    ShowFiguresResponse, SlotFigures, SlowCommand,
};

use super::journal_cursor::NodeEvent;
use super::sample::{NodeReport, NodeSample, Polled};
use super::watched::ClusterWatch;

/// 2026-11-29T14:03:07Z.
pub const START_MS: u64 = 1_795_960_987_000;
/// Time between two rounds of samples.
pub const ROUND_MS: u64 = 1_000;

/// A cluster with a node in each of these AZs, from node 1 on, and so many shards, of which all nodes are members.
pub struct Fixture {
    /// What it reports.
    pub map: DescribeClusterResponse,
    /// What is known of it.
    pub watched: ClusterWatch,
    /// The mode in force.
    pub durability: &'static str,
    rounds: u64,
    silent: Vec<u64>,
}

impl Fixture {
    /// A cluster of which nothing was polled yet.
    pub fn new(zones: &[&str], shards: u32) -> Fixture {
        let node = |(id, az): (u64, &&str)| NodeSpec {
            id,
            az: (*az).to_owned(),
            grpc_address: format!("10.0.{id}.1:17379"),
            ..NodeSpec::default()
        };
        let nodes: Vec<_> = (1..).zip(zones).map(node).collect();
        let members: Vec<_> = nodes.iter().map(|node| node.id).collect();
        let width = 16_384 / shards.max(1);
        let shard =
            |id| ShardStatus { id, slot_first: (id - 1) * width, slot_last: id * width - 1, members: members.clone() };
        let map = DescribeClusterResponse {
            cluster_id: "0123456789abcdef0123456789abcdef".to_owned(),
            durability: "async".to_owned(),
            nodes,
            shards: (1..=shards).map(shard).collect(),
            map_version: 3,
            ..DescribeClusterResponse::default()
        };
        Fixture { watched: ClusterWatch::new(map.clone()), map, durability: "async", rounds: 0, silent: Vec::new() }
    }

    /// The time of the newest round.
    pub fn now_ms(&self) -> u64 {
        START_MS + self.rounds * ROUND_MS
    }

    /// The node that leads a shard while these answer: the next of them in turn.
    fn leader(&self, shard: u32, answering: &[u64]) -> u64 {
        answering.get(shard as usize % answering.len().max(1)).copied().unwrap_or(0)
    }

    /// The nodes that have answered in the newest round.
    fn answering(&self) -> Vec<u64> {
        self.map.nodes.iter().map(|node| node.id).filter(|id| !self.silent.contains(id)).collect()
    }

    /// A round of samples, in which these nodes do not answer.
    pub fn poll(&mut self, silent: &[u64]) {
        self.rounds += 1;
        self.silent = silent.to_vec();
        let answering = self.answering();
        let ids: Vec<u64> = self.map.nodes.iter().map(|node| node.id).collect();
        for node in ids {
            let sample = answering.contains(&node).then(|| self.sample(node, &answering));
            let polled = match sample {
                Some(sample) => Polled::Answered(Box::new(sample)),
                None => Polled::Silent { reason: "cannot reach it: connection refused".to_owned() },
            };
            self.watched.take(NodeReport { node, at_ms: self.now_ms(), polled });
        }
    }

    /// What a node reports in this round.
    pub fn sample(&self, node: u64, answering: &[u64]) -> NodeSample {
        let replica = |shard: &ShardStatus| {
            let leads = self.leader(shard.id, answering) == node;
            ReplicaStatus {
                shard: shard.id,
                role: if leads { "leader" } else { "follower" }.to_owned(),
                term: 7,
                applied: 1_000 - node,
                ready: true,
                lease_held: leads,
                durability: self.durability.to_owned(),
                ..ReplicaStatus::default()
            }
        };
        let replicas = self.map.shards.iter().map(replica).collect();
        let view = DescribeClusterResponse { node_id: node, replicas, ..self.map.clone() };
        NodeSample { view, figures: Some(self.figures(node, answering)), events: Vec::new() }
    }

    fn figures(&self, node: u64, answering: &[u64]) -> ShowFiguresResponse {
        let replica = |shard: &ShardStatus| {
            let leads = self.leader(shard.id, answering) == node;
            let mut commit_counts = vec![0; 32];
            // 98 of 100 commits of a round take less than 1.024 ms, the others less than 8.192 ms.
            (commit_counts[10], commit_counts[13]) = (98 * self.rounds, 2 * self.rounds);
            let slow = SlowCommand {
                number: 1,
                at_s: START_MS / 1_000,
                duration_us: 12_000,
                command: "hgetall".to_owned(),
                arguments: 2,
                client: "10.0.0.9:50123".to_owned(),
            };
            ReplicaFigures {
                shard: shard.id,
                durability_lag_us: 2_500_000,
                oldest_uncommitted_effect_us: 2_500_000,
                durability_max_lag_us: 10_000_000,
                lag_gate: "open".to_owned(),
                commit_counts,
                quorum_margin: leads.then(|| answering.len() as i64 - self.map.nodes.len() as i64 / 2 - 1),
                commands: 500 * self.rounds,
                keys: 1_234,
                memory_bytes: 64 << 20,
                memory_max_bytes: 1 << 30,
                slots: if leads { vec![SlotFigures { slot: shard.slot_first, keys: 617 }] } else { Vec::new() },
                slow_commands: vec![slow],
                ..ReplicaFigures::default()
            }
        };
        ShowFiguresResponse {
            node_id: node,
            run_id: format!("run-{node}"),
            version: "0.1.0".to_owned(),
            uptime_ms: self.rounds * ROUND_MS,
            resident_bytes: 200 << 20,
            client_connections: 12,
            client_connections_max: 10_000,
            replicas: self.map.shards.iter().map(replica).collect(),
            machine: None,
        }
    }

    /// Lets a node report an event at a time after the start.
    pub fn event(&mut self, node: u64, after_ms: u64, kind: &str, fields: &[(&str, u64)]) {
        let mut sample = self.sample(node, &self.answering());
        let field = |(name, number): &(&str, u64)| EventField {
            name: (*name).to_owned(),
            value: Some(Value::UnsignedValue(*number)),
        };
        let event = RecordedEvent {
            number: after_ms,
            at_ms: START_MS + after_ms,
            kind: kind.to_owned(),
            level: "WARN".to_owned(),
            text: String::new(),
            fields: fields.iter().map(field).collect(),
        };
        sample.events = vec![NodeEvent { node, az: String::new(), event }];
        self.watched.take(NodeReport { node, at_ms: self.now_ms(), polled: Polled::Answered(Box::new(sample)) });
    }
}

//! What the checks of a cluster go by: the map, and what each node has reported within its time limit.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use fastness_wire::admin::v1::{
    DescribeClusterResponse, MachineFigures, NodeSpec, ReplicaFigures, ReplicaStatus, ShardStatus, ShowFiguresRequest,
    ShowFiguresResponse,
};
use futures::future::join_all;
use tokio::time::timeout;

use super::access::ClusterAccess;
use crate::admin::Admin;
use fastness_console::watch::views;

/// Time limit of connecting to a node and describing the cluster.
const DESCRIPTION_TIME_MAX: Duration = Duration::from_secs(3);
/// Time limit of its figures. The node itself waits up to 2 s for a stuck replica.
const FIGURES_TIME_MAX: Duration = Duration::from_secs(4);

/// What a node has reported.
#[derive(Debug, Clone, Default)]
pub struct NodeAnswer {
    /// The cluster as it sees it, and its own replicas.
    pub view: DescribeClusterResponse,
    /// Its figures, if it has answered.
    pub figures: Option<ShowFiguresResponse>,
    /// How far its wall clock is ahead of this machine's, in ms, and how far that may be off.
    pub clock: Option<(i64, i64)>,
}

impl NodeAnswer {
    /// What it reports of its machine.
    pub fn machine(&self) -> Option<&MachineFigures> {
        self.figures.as_ref()?.machine.as_ref()
    }
}

/// One node of the map.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// As in the map.
    pub spec: NodeSpec,
    /// What it has reported, or why it has not.
    pub answer: std::result::Result<NodeAnswer, Silence>,
}

/// Why a node has not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Silence {
    /// For humans.
    pub reason: String,
    /// Its machine takes connections, and its process does not answer: it is paused, or stuck.
    pub hangs: bool,
}

impl NodeFacts {
    /// As the subject of a finding.
    pub fn name(&self) -> String {
        format!("node {}", self.spec.id)
    }
}

/// All that is known.
#[derive(Debug, Clone)]
pub struct ClusterFacts {
    /// The newest map that a node has.
    pub map: DescribeClusterResponse,
    /// All nodes of the map.
    pub nodes: Vec<NodeFacts>,
    /// How commands reach the cluster.
    pub access: ClusterAccess,
}

impl ClusterFacts {
    /// Asks all nodes at once.
    pub async fn gather(admin: &Admin, map: DescribeClusterResponse, access: ClusterAccess) -> ClusterFacts {
        let asked = map.nodes.iter().map(|spec| async move {
            NodeFacts {
                spec: spec.clone(),
                answer: ask(admin, &spec.grpc_address).await.map_err(|error| silence(&error)),
            }
        });
        let nodes = join_all(asked).await;
        ClusterFacts::new(map, nodes, access)
    }

    /// From what the nodes have answered; their newest map replaces an older one.
    pub fn new(map: DescribeClusterResponse, nodes: Vec<NodeFacts>, access: ClusterAccess) -> ClusterFacts {
        let views = nodes.iter().filter_map(|node| node.answer.as_ref().ok()).map(|answer| &answer.view);
        let newest = views.max_by_key(|view| view.map_version).filter(|view| view.map_version > map.map_version);
        let map = newest.cloned().unwrap_or(map);
        ClusterFacts { map, nodes, access }
    }

    /// The nodes that have answered.
    pub fn answers(&self) -> impl Iterator<Item = (&NodeFacts, &NodeAnswer)> {
        self.nodes.iter().filter_map(|node| Some((node, node.answer.as_ref().ok()?)))
    }

    /// The node of this id.
    pub fn node(&self, id: u64) -> Option<&NodeFacts> {
        self.nodes.iter().find(|node| node.spec.id == id)
    }

    /// The AZ of a node; empty if the map does not have it.
    pub fn az(&self, node: u64) -> &str {
        self.map.nodes.iter().find(|spec| spec.id == node).map_or("", |spec| spec.az.as_str())
    }

    /// What each replica of a shard reports, by its node.
    pub fn replicas(&self, shard: u32) -> impl Iterator<Item = (u64, &ReplicaStatus)> {
        let all = self.answers().map(|(node, answer)| (node.spec.id, &answer.view.replicas));
        all.flat_map(|(node, replicas)| replicas.iter().map(move |replica| (node, replica)))
            .filter(move |(_, replica)| replica.shard == shard)
    }

    /// The node of the primary of a shard.
    pub fn primary(&self, shard: u32) -> Option<u64> {
        let views: Vec<_> = self.nodes.iter().map(|node| (node.spec.id, self.view(node))).collect();
        views::primary_of(shard, &views)
    }

    fn view(&self, node: &NodeFacts) -> Option<DescribeClusterResponse> {
        node.answer.as_ref().ok().map(|answer| answer.view.clone())
    }

    /// The status of the primary of a shard.
    pub fn primary_status(&self, shard: u32) -> Option<&ReplicaStatus> {
        let primary = self.primary(shard)?;
        self.replicas(shard).find(|(node, _)| *node == primary).map(|(_, status)| status)
    }

    /// The figures of the primary of a shard.
    pub fn primary_figures(&self, shard: u32) -> Option<&ReplicaFigures> {
        let answer = self.node(self.primary(shard)?)?.answer.as_ref().ok()?;
        answer.figures.as_ref()?.replicas.iter().find(|figures| figures.shard == shard)
    }

    /// The shards of the map.
    pub fn shards(&self) -> &[ShardStatus] {
        &self.map.shards
    }

    /// Whether acknowledged writes are promised to survive.
    pub fn is_durable(&self) -> bool {
        self.map.durability != "disabled"
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

async fn ask(admin: &Admin, address: &str) -> Result<NodeAnswer> {
    let describe = async {
        let client = admin.node(address).await?;
        let view = client.describe().await?;
        Ok::<_, anyhow::Error>((client, view))
    };
    let late = |_| anyhow::anyhow!("{address} did not answer in time");
    let (client, view) = timeout(DESCRIPTION_TIME_MAX, describe).await.map_err(late)??;
    let before = now_ms();
    let figures = timeout(FIGURES_TIME_MAX, client.show_figures(ShowFiguresRequest::default())).await;
    let after = now_ms();
    let figures = figures.ok().and_then(Result::ok);
    let clock = figures.as_ref().and_then(|figures| figures.machine.as_ref()).map(|machine| {
        let (middle, half) = (before + (after - before) / 2, (after - before).abs() / 2 + 1);
        (i64::try_from(machine.clock_ms).unwrap_or(i64::MAX) - middle, half)
    });
    Ok(NodeAnswer { view, figures, clock })
}

fn silence(error: &anyhow::Error) -> Silence {
    let reason = format!("{error:#}");
    let hangs = reason.contains("in time") || reason.contains("no TLS handshake");
    Silence { reason, hangs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_hangs_is_told_from_one_that_is_gone() {
        assert!(!silence(&anyhow::anyhow!("cannot reach h:1: tcp connect error: Connection refused")).hangs);
        assert!(silence(&anyhow::anyhow!("cannot reach h:1: it answers no TLS handshake")).hangs);
        assert!(silence(&anyhow::anyhow!("h:1 did not answer in time")).hangs);
    }

    #[test]
    fn the_newest_map_counts() {
        let map = |map_version| DescribeClusterResponse { map_version, ..DescribeClusterResponse::default() };
        let node = |version| NodeFacts {
            spec: NodeSpec::default(),
            answer: Ok(NodeAnswer { view: map(version), ..NodeAnswer::default() }),
        };
        let access = super::super::fixture::of_folder();
        assert_eq!(ClusterFacts::new(map(3), vec![node(2), node(5)], access.clone()).map.map_version, 5);
        assert_eq!(ClusterFacts::new(map(3), vec![node(2)], access).map.map_version, 3);
    }
}

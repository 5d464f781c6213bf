//! Who leads the shards of which this node has no replica: their members are asked, so that every node reports the same
//! topology to clients.
//!
//! The answer is a hint that may be out of date: a former primary redirects the clients that are sent to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastness_control::{ClusterMap, NodeInfo, ShardMap};
use fastness_types::{NodeId, ShardId};
use fastness_wire::admin::v1::admin_service_client::AdminServiceClient;
use fastness_wire::admin::v1::{DescribeClusterRequest, DescribeClusterResponse, ReplicaStatus};
use tonic::transport::{Channel, ClientTlsConfig};

use crate::certificates::Newest;
use crate::node_channels::NodeChannels;
use crate::shared::{NodeShared, Phase};

/// Time between two rounds of questions.
const EVERY: Duration = Duration::from_millis(500);
/// Longest time for an answer; then the next member is asked.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// Asks until the node stops.
pub async fn follow(node: Arc<NodeShared>, tls: Newest<ClientTlsConfig>) {
    let mut members = Members::new(&node, tls);
    let mut round = 0;
    while node.phase() == Phase::Running {
        tokio::time::sleep(EVERY).await;
        let Some(map) = node.map.load_full() else { continue };
        let elsewhere = map.shards.iter().filter(|shard| !shard.has(node.node));
        for (target, shards) in poll_targets(&map, elsewhere, round) {
            let led = members.poll(target).await.into_iter().filter(|replica| replica.leader_node != 0);
            for replica in led.filter(|replica| shards.contains(&ShardId(replica.shard))) {
                node.report_leader(ShardId(replica.shard), NodeId(replica.leader_node));
            }
        }
        round += 1;
    }
}

/// The nodes to ask about these shards: for each shard another member every round, each node once.
pub fn poll_targets<'a>(
    map: &'a ClusterMap,
    shards: impl Iterator<Item = &'a ShardMap>,
    round: usize,
) -> Vec<(&'a NodeInfo, Vec<ShardId>)> {
    let mut questions: BTreeMap<NodeId, Vec<ShardId>> = BTreeMap::new();
    for shard in shards {
        questions.entry(member(shard, round)).or_default().push(shard.id);
    }
    questions.into_iter().filter_map(|(id, shards)| Some((map.node(id)?, shards))).collect()
}

fn member(shard: &ShardMap, round: usize) -> NodeId {
    shard.members[round % shard.members.len()]
}

/// Connections to other nodes' administration services.
pub struct Members {
    channels: NodeChannels,
}

impl Members {
    /// `tls` has this node's certificate.
    #[must_use]
    pub fn new(node: &NodeShared, tls: Newest<ClientTlsConfig>) -> Members {
        Members { channels: NodeChannels::new(node, tls, ANSWER_MAX, Some(ANSWER_MAX)) }
    }

    /// The replicas that a node reports; empty if it does not answer in time.
    pub async fn poll(&mut self, node: &NodeInfo) -> Vec<ReplicaStatus> {
        let Some(channel) = self.channels.channel(node) else { return Vec::new() };
        describe(channel).await.map_or_else(Vec::new, |described| described.replicas)
    }

    /// The descriptions that these nodes give, all asked at once; those that do not answer in time are left out.
    pub async fn poll_all<'n>(
        &mut self,
        nodes: impl Iterator<Item = &'n NodeInfo>,
    ) -> Vec<(NodeId, DescribeClusterResponse)> {
        let channels: Vec<_> = nodes.filter_map(|node| Some((node.id, self.channels.channel(node)?))).collect();
        let requests = channels.into_iter().map(|(id, channel)| async move { Some((id, describe(channel).await?)) });
        futures::future::join_all(requests).await.into_iter().flatten().collect()
    }
}

async fn describe(channel: Channel) -> Option<DescribeClusterResponse> {
    let mut client = AdminServiceClient::new(channel);
    let request = client.describe_cluster(DescribeClusterRequest {});
    tokio::time::timeout(ANSWER_MAX, request).await.ok()?.ok().map(tonic::Response::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_members_of_a_remote_shard_are_polled_in_turn() {
        let map = crate::topology::tests::map();
        let elsewhere = |map: &ClusterMap| map.shards.iter().filter(|shard| !shard.has(NodeId(1))).count();
        assert_eq!(elsewhere(&map), 0, "node 1 has a replica of every shard");
        let mut fewer = map;
        fewer.shards[1].members = vec![NodeId(2), NodeId(3)];
        let polled = |round| -> Vec<_> {
            poll_targets(&fewer, fewer.shards[1..].iter(), round)
                .into_iter()
                .map(|(node, shards)| (node.id, shards))
                .collect()
        };
        assert_eq!(polled(0), vec![(NodeId(2), vec![ShardId(2)])]);
        assert_eq!(polled(1), vec![(NodeId(3), vec![ShardId(2)])]);
    }
}

//! Who leads the shards of which this node has no replica: asked of their members, so that every node tells clients the
//! same topology.
//!
//! What it tells is a hint that may be a moment old: a client that is sent to a former primary is sent on from there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fastness_control::{ClusterMap, NodeInfo, ShardMap};
use fastness_types::{NodeId, ShardId};
use fastness_wire::admin::v1::DescribeClusterRequest;
use fastness_wire::admin::v1::admin_service_client::AdminServiceClient;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use crate::shared::{NodeShared, Phase};

/// How often members are asked.
const EVERY: Duration = Duration::from_millis(500);
/// How long an answer may take; then the next member is asked.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// Asks until the node stops.
pub async fn follow(node: Arc<NodeShared>, tls: ClientTlsConfig) {
    let mut channels: BTreeMap<NodeId, Channel> = BTreeMap::new();
    let source = node.config.load().source_address();
    let mut round = 0;
    while node.phase() == Phase::Running {
        tokio::time::sleep(EVERY).await;
        let Some(map) = node.map.load_full() else { continue };
        for (asked, shards) in to_ask(&map, node.node, round) {
            let Some(channel) = channel(&mut channels, asked, &tls, source) else { continue };
            for (shard, leader) in ask(channel).await {
                if shards.contains(&shard) {
                    node.tell_leader(shard, leader);
                }
            }
        }
        round += 1;
    }
}

/// Whom to ask about which shards: of each shard another member every round, each node once.
fn to_ask(map: &ClusterMap, own: NodeId, round: usize) -> Vec<(&NodeInfo, Vec<ShardId>)> {
    let mut questions: BTreeMap<NodeId, Vec<ShardId>> = BTreeMap::new();
    for shard in map.shards.iter().filter(|shard| !shard.has(own)) {
        questions.entry(member(shard, round)).or_default().push(shard.id);
    }
    questions.into_iter().filter_map(|(id, shards)| Some((map.node(id)?, shards))).collect()
}

fn member(shard: &ShardMap, round: usize) -> NodeId {
    shard.members[round % shard.members.len()]
}

fn channel<'a>(
    channels: &'a mut BTreeMap<NodeId, Channel>,
    node: &NodeInfo,
    tls: &ClientTlsConfig,
    source: Option<IpAddr>,
) -> Option<&'a Channel> {
    match channels.entry(node.id) {
        Entry::Occupied(known) => Some(known.into_mut()),
        Entry::Vacant(place) => {
            let endpoint = Endpoint::from_shared(format!("https://{}", node.grpc_address)).ok()?;
            let endpoint = endpoint.tls_config(tls.clone()).ok()?.connect_timeout(ANSWER_MAX).timeout(ANSWER_MAX);
            let endpoint = endpoint.local_address(source);
            Some(place.insert(endpoint.connect_lazy()))
        }
    }
}

/// The leaders that a node knows.
async fn ask(channel: &Channel) -> Vec<(ShardId, NodeId)> {
    let asked = async { AdminServiceClient::new(channel.clone()).describe_cluster(DescribeClusterRequest {}).await };
    let Ok(Ok(described)) = tokio::time::timeout(ANSWER_MAX, asked).await else { return Vec::new() };
    let replicas = described.into_inner().replicas.into_iter();
    replicas
        .filter(|replica| replica.leader_node != 0)
        .map(|replica| (ShardId(replica.shard), NodeId(replica.leader_node)))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_member_of_a_shard_elsewhere_gets_its_turn() {
        let map = crate::topology::tests::map();
        assert_eq!(to_ask(&map, NodeId(1), 0).len(), 0, "node 1 has a replica of every shard");
        let mut fewer = map;
        fewer.shards[1].members = vec![NodeId(2), NodeId(3)];
        let asked = |round| -> Vec<_> {
            to_ask(&fewer, NodeId(1), round).into_iter().map(|(node, shards)| (node.id, shards)).collect()
        };
        assert_eq!(asked(0), vec![(NodeId(2), vec![ShardId(2)])]);
        assert_eq!(asked(1), vec![(NodeId(3), vec![ShardId(2)])]);
    }
}

//! The shards of a cluster, as watches need them.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use fastness_wire::v1;
use fastness_wire::v1::topology_service_client::TopologyServiceClient;
use tokio::time::{Instant, timeout_at};

use crate::calls::ClientCore;
use crate::error::{CONNECTION_LOST, ClientError};
use crate::verdict::{CallKind, Disposition, disposition};

/// How long a node may take to accept a stream, and may send nothing of it: it sends a response every second.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A shard, and where it can be watched.
pub(super) struct ShardReplicas {
    pub(super) shard: u32,
    /// First and last one included.
    pub(super) slots: RangeInclusive<u32>,
    /// The nodes that have a replica, the primary first if one is known.
    pub(super) addresses: Vec<Arc<str>>,
}

impl ShardReplicas {
    fn of(topology: &v1::Topology, shard: &v1::TopologyShard) -> ShardReplicas {
        let mut members: Vec<u64> = shard.members.iter().map(|member| member.node).collect();
        members.sort_by_key(|node| *node != shard.primary);
        let address = |id: &u64| topology.nodes.iter().find(|node| node.id == *id).map(|node| &*node.address);
        let addresses = members.iter().filter_map(address).map(Arc::from).collect();
        ShardReplicas { shard: shard.id, slots: shard.first_slot..=shard.last_slot, addresses }
    }
}

/// The shards of the cluster, from any node.
pub(super) async fn list_shards(core: &ClientCore, until: Instant) -> Result<Vec<ShardReplicas>, ClientError> {
    let mut retries = 0;
    loop {
        let address = core.pool.any();
        let mut service = TopologyServiceClient::new(core.pool.channel(&address)?);
        let call = async {
            let request = core.authorized(v1::WatchTopologyRequest {});
            // The first response has it; the stream is not followed.
            service.watch_topology(request).await?.into_inner().message().await
        };
        let (after, error) = match timeout_at(until.min(Instant::now() + SILENCE_MAX), call).await {
            Ok(Ok(response)) => {
                let topology = response.and_then(|response| response.topology).unwrap_or_default();
                if !topology.shards.is_empty() {
                    return Ok(topology.shards.iter().map(|shard| ShardReplicas::of(&topology, shard)).collect());
                }
                // A node that ends closes the stream; one that is new knows no cluster.
                (Duration::ZERO, ClientError::unavailable(CONNECTION_LOST, format!("{address} knows no shards")))
            }
            Ok(Err(status)) => match disposition(CallKind::Read, &status) {
                Disposition::Again { after, error } => (after, error),
                other => return Err(other.into_error()),
            },
            Err(_) => (Duration::ZERO, silent(&address)),
        };
        core.pool.failed(&address);
        let wait = core.retries.wait(retries, rand::random::<f64>(), after);
        if wait >= until.saturating_duration_since(Instant::now()) {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        retries += 1;
    }
}

/// The node has sent nothing for too long.
pub(super) fn silent(address: &str) -> ClientError {
    ClientError::unavailable(CONNECTION_LOST, format!("{address} has sent nothing for {} s", SILENCE_MAX.as_secs()))
}

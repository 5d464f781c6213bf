//! Finds the primaries of a cluster's shards.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fastness_load::{Connection, Endpoint};

use super::Cluster;
use super::file::NodeFile;
use crate::observe::Figures;

impl Cluster {
    /// The node whose replica of `shard` is the primary and holds the lease.
    pub async fn primary(&self, shard: u32, patience: Duration) -> Result<u64> {
        self.primary_outside(&[], shard, patience).await
    }

    /// As [`Cluster::primary`], among the nodes other than `node`.
    pub async fn primary_other_than(&self, node: u64, shard: u32, patience: Duration) -> Result<u64> {
        self.primary_outside(&[node], shard, patience).await
    }

    /// As [`Cluster::primary`], among the nodes outside of `nodes`.
    pub async fn primary_outside(&self, nodes: &[u64], shard: u32, patience: Duration) -> Result<u64> {
        let until = Instant::now() + patience;
        loop {
            for node in self.file()?.nodes.into_iter().filter(|other| !nodes.contains(&other.id)) {
                let Some(front_end) = node.resp.iter().find(|r| r.shard == shard) else { continue };
                if calls_itself_primary(&Endpoint::new(&front_end.host, front_end.port)).await
                    && holds_lease(&node, shard).await
                {
                    return Ok(node.id);
                }
            }
            ensure!(Instant::now() < until, "shard {shard} has no primary after {patience:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whether a replica leads under a lease. Without a lease it may be a former primary that has not heard of its
/// successor.
async fn holds_lease(node: &NodeFile, shard: u32) -> bool {
    let held = Figures::of(node).await.and_then(|figures| figures.shard("fastness_lease_held", shard));
    held.is_ok_and(|held| held == 1)
}

/// Sent to the RESP listener, where a stalled node is detected soon.
async fn calls_itself_primary(endpoint: &Endpoint) -> bool {
    let timeout = Duration::from_millis(500);
    let Ok(mut connection) = Connection::open(endpoint, None, timeout).await else { return false };
    match connection.call(&[b"ROLE"]).await {
        Ok(fastness_resp::value::Value::Array(parts)) => {
            matches!(parts.first(), Some(fastness_resp::value::Value::Bulk(role)) if role == b"master")
        }
        _ => false,
    }
}

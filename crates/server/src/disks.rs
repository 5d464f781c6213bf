//! Determines which disk each node has, before a cluster is created.
//!
//! The node that creates the cluster asks the others, whatever the request says: from its first entry on, the control
//! plane's log names the disk of each member, so that a wiped one is detected (`consensus/src/peer/identity.rs`). Once
//! there is a map, it has the disks; repeating a creation asks nobody.

use std::time::Duration;

use fastness_control::{ClusterMap, NodeInfo};
use fastness_types::{DiskId, NodeId};
use fastness_wire::admin::v1::admin_service_client::AdminServiceClient;
use fastness_wire::admin::v1::{DescribeClusterRequest, DescribeClusterResponse};
use tokio::time::Instant;
use tonic::transport::{ClientTlsConfig, Endpoint};

/// All nodes must have answered within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest time for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Time before a node is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Why a node's disk is unknown.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No usable answer.
    #[error(
        "node {node} does not answer at its gRPC address {address} ({reason}): all nodes must run while the cluster is \
         created, because its map names their disks; start it and repeat the command"
    )]
    NoAnswer {
        /// The node.
        node: NodeId,
        /// Where it was asked.
        address: String,
        /// The result of the last attempt.
        reason: DescribeError,
    },
    /// The address is another node's.
    #[error("node {found} answers at {address}, the gRPC address given for node {node}")]
    OtherNode {
        /// The node.
        node: NodeId,
        /// Where it was asked.
        address: String,
        /// Who answers.
        found: u64,
    },
}

/// Why a node does not describe itself.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The address is malformed, or nobody listens there.
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
    /// It refuses to answer.
    #[error("{0}")]
    Refused(String),
    /// It does not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// Its answer is malformed.
    #[error("its disk is {found:?}: {why}")]
    Disk {
        /// What it calls its disk.
        found: String,
        /// What is wrong with that.
        why: String,
    },
}

/// Fills in the disks of `nodes`: from `map`, if there is one, else by asking; `own` is this node.
///
/// # Errors
/// See [`DiskError`].
pub async fn learn(
    nodes: &mut [NodeInfo],
    own: &NodeInfo,
    map: Option<&ClusterMap>,
    tls: &ClientTlsConfig,
) -> Result<(), DiskError> {
    if let Some(map) = map {
        // A node that is not in the map is found by the comparison with the map.
        for node in nodes {
            node.disk = map.node(node.id).map_or(node.disk, |known| known.disk);
        }
        return Ok(());
    }
    let until = Instant::now() + PATIENCE;
    let requests = nodes.iter_mut().map(|node| async move {
        node.disk = if node.id == own.id { own.disk } else { fetch_disk(node, tls, until).await? };
        Ok(())
    });
    futures::future::try_join_all(requests).await.map(drop)
}

async fn fetch_disk(node: &NodeInfo, tls: &ClientTlsConfig, until: Instant) -> Result<DiskId, DiskError> {
    loop {
        let reason = match describe(&node.grpc_address, tls).await {
            Ok(answer) if answer.node_id != node.id.0 => {
                let (node, address) = (node.id, node.grpc_address.clone());
                return Err(DiskError::OtherNode { node, address, found: answer.node_id });
            }
            Ok(answer) => match answer.disk.parse::<DiskId>() {
                Ok(disk) => return Ok(disk),
                Err(error) => DescribeError::Disk { found: answer.disk, why: error.to_string() },
            },
            Err(reason) => reason,
        };
        if Instant::now() + PAUSE >= until {
            return Err(DiskError::NoAnswer { node: node.id, address: node.grpc_address.clone(), reason });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The description that the node at this gRPC address gives of itself and of the cluster.
///
/// # Errors
/// See [`DescribeError`].
pub(crate) async fn describe(address: &str, tls: &ClientTlsConfig) -> Result<DescribeClusterResponse, DescribeError> {
    let endpoint = Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls.clone())?;
    let request = async {
        let channel = endpoint.connect_timeout(ANSWER_MAX).connect().await?;
        let answer = AdminServiceClient::new(channel).describe_cluster(DescribeClusterRequest {}).await;
        answer.map(tonic::Response::into_inner).map_err(|status| DescribeError::Refused(status.message().to_owned()))
    };
    tokio::time::timeout(ANSWER_MAX, request).await.unwrap_or(Err(DescribeError::Timeout))
}

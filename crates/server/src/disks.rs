//! Before a cluster is created: which disk each of its nodes has.
//!
//! The asked node asks the others, whatever the request says: from its first entry on, the control plane's log names
//! the disk of each member, so that a wiped one is found out (`consensus/src/peer/identity.rs`). Where there is a map
//! already it says it; so a creation that is asked for again needs nobody.

use std::time::Duration;

use fastness_control::{ClusterMap, NodeInfo};
use fastness_types::{DiskId, NodeId};
use fastness_wire::admin::v1::admin_service_client::AdminServiceClient;
use fastness_wire::admin::v1::{DescribeClusterRequest, DescribeClusterResponse};
use tokio::time::Instant;
use tonic::transport::{ClientTlsConfig, Endpoint};

/// All nodes must have answered within this.
const PATIENCE: Duration = Duration::from_secs(10);
/// One answer may take so long.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Before a node is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Why the disk of a node is not known.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// No answer.
    #[error(
        "node {node} does not answer at its gRPC address {address} ({reason}): all nodes must run when the cluster is \
         created, since its map names their disks; ask again to continue"
    )]
    NoAnswer {
        /// The node.
        node: NodeId,
        /// Where it was asked.
        address: String,
        /// The last attempt's end.
        reason: String,
    },
    /// The address is another node's.
    #[error("at {address}, the gRPC address given for node {node}, node {found} answers")]
    OtherNode {
        /// The node.
        node: NodeId,
        /// Where it was asked.
        address: String,
        /// Who answers.
        found: u64,
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
        // A node that the map does not have is told apart by the comparison with the map.
        for node in nodes {
            node.disk = map.node(node.id).map_or(node.disk, |known| known.disk);
        }
        return Ok(());
    }
    let until = Instant::now() + PATIENCE;
    let asked = nodes.iter_mut().map(|node| async move {
        node.disk = if node.id == own.id { own.disk } else { ask(node, tls, until).await? };
        Ok(())
    });
    futures::future::try_join_all(asked).await.map(drop)
}

async fn ask(node: &NodeInfo, tls: &ClientTlsConfig, until: Instant) -> Result<DiskId, DiskError> {
    loop {
        let reason = match describe(&node.grpc_address, tls).await {
            Ok(answer) if answer.node_id != node.id.0 => {
                let (node, address) = (node.id, node.grpc_address.clone());
                return Err(DiskError::OtherNode { node, address, found: answer.node_id });
            }
            Ok(answer) => match answer.disk.parse() {
                Ok(disk) => return Ok(disk),
                Err(error) => format!("its disk is {:?}: {error}", answer.disk),
            },
            Err(reason) => reason,
        };
        if Instant::now() + PAUSE >= until {
            return Err(DiskError::NoAnswer { node: node.id, address: node.grpc_address.clone(), reason });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What the node at this gRPC address tells of itself and the cluster; the error is for people.
pub(crate) async fn describe(address: &str, tls: &ClientTlsConfig) -> Result<DescribeClusterResponse, String> {
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(|error| error.to_string())?;
    let endpoint = endpoint.tls_config(tls.clone()).map_err(|error| error.to_string())?;
    let asked = async {
        let channel = endpoint.connect_timeout(ANSWER_MAX).connect().await.map_err(|error| error.to_string())?;
        let answer = AdminServiceClient::new(channel).describe_cluster(DescribeClusterRequest {}).await;
        answer.map(tonic::Response::into_inner).map_err(|status| status.message().to_owned())
    };
    tokio::time::timeout(ANSWER_MAX, asked).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

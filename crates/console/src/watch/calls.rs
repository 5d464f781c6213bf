//! How the nodes of a cluster are called: with an admin certificate by the program, with its own by a node.

use async_trait::async_trait;
use fastness_wire::admin::v1::{
    DescribeClusterResponse, ListEventsRequest, ListEventsResponse, NodeSpec, ShowFiguresRequest, ShowFiguresResponse,
};

/// Why a node did not answer a call: for humans.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CallFailed(pub String);

/// A connection to one node, for calls that only read.
#[async_trait]
pub trait NodeCalls: Send + Sync {
    /// The cluster as the node sees it.
    async fn describe(&self) -> Result<DescribeClusterResponse, CallFailed>;

    /// Figures of the node and of its replicas.
    async fn show_figures(&self, request: ShowFiguresRequest) -> Result<ShowFiguresResponse, CallFailed>;

    /// A page of the node's journal.
    async fn list_events(&self, request: ListEventsRequest) -> Result<ListEventsResponse, CallFailed>;
}

/// Reaches the nodes of one cluster.
#[async_trait]
pub trait ClusterCalls: Send + Sync {
    /// The cluster's map, from whichever node gives it first.
    async fn map(&self) -> Result<DescribeClusterResponse, CallFailed>;

    /// A connection to a node of the map.
    async fn connect(&self, node: &NodeSpec) -> Result<Box<dyn NodeCalls>, CallFailed>;
}

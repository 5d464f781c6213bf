//! Reaches the nodes of a cluster with an admin certificate, for `top`, `cluster events` and the console of a lab.

use async_trait::async_trait;
use fastness_console::watch::calls::{CallFailed, ClusterCalls, NodeCalls};
use fastness_wire::admin::v1::{
    DescribeClusterResponse, ListEventsRequest, ListEventsResponse, NodeSpec, ShowFiguresRequest, ShowFiguresResponse,
};

use crate::admin::{Admin, NodeAdmin};

/// The client, and the addresses of nodes that may give the map.
pub struct AdminCluster {
    admin: Admin,
    addresses: Vec<String>,
}

impl AdminCluster {
    /// The addresses are tried all at once.
    pub fn new(admin: Admin, addresses: Vec<String>) -> AdminCluster {
        AdminCluster { admin, addresses }
    }
}

fn failed(error: anyhow::Error) -> CallFailed {
    CallFailed(format!("{error:#}"))
}

#[async_trait]
impl ClusterCalls for AdminCluster {
    async fn map(&self) -> Result<DescribeClusterResponse, CallFailed> {
        self.admin.describe_first(&self.addresses).await.map_err(failed)
    }

    async fn connect(&self, node: &NodeSpec) -> Result<Box<dyn NodeCalls>, CallFailed> {
        Ok(Box::new(self.admin.node(&node.grpc_address).await.map_err(failed)?))
    }
}

#[async_trait]
impl NodeCalls for NodeAdmin {
    async fn describe(&self) -> Result<DescribeClusterResponse, CallFailed> {
        NodeAdmin::describe(self).await.map_err(failed)
    }

    async fn show_figures(&self, request: ShowFiguresRequest) -> Result<ShowFiguresResponse, CallFailed> {
        NodeAdmin::show_figures(self, request).await.map_err(failed)
    }

    async fn list_events(&self, request: ListEventsRequest) -> Result<ListEventsResponse, CallFailed> {
        NodeAdmin::list_events(self, request).await.map_err(failed)
    }
}

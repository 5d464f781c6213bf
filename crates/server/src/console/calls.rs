//! Reaches the nodes of the cluster for the console.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fastness_console::watch::calls::{CallFailed, ClusterCalls, NodeCalls};
use fastness_types::NodeId;
use fastness_wire::admin::v1::admin_service_client::AdminServiceClient;
use fastness_wire::admin::v1::{
    DescribeClusterRequest, DescribeClusterResponse, ListEventsRequest, ListEventsResponse, NodeSpec,
    ShowFiguresRequest, ShowFiguresResponse,
};
use parking_lot::Mutex;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::admin::Admin;
use crate::node_channels::NodeChannels;

/// How long a connection to another node may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long an answer may take. The caller has shorter limits for some.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// The cluster as this node reaches it.
pub(super) struct ClusterOfNode {
    admin: Arc<Admin>,
    channels: Mutex<NodeChannels>,
}

impl ClusterOfNode {
    pub(super) fn new(admin: Arc<Admin>) -> ClusterOfNode {
        let channels = NodeChannels::new(&admin.node, admin.client_tls.clone(), CONNECT_MAX, Some(ANSWER_MAX));
        ClusterOfNode { admin, channels: Mutex::new(channels) }
    }
}

#[async_trait]
impl ClusterCalls for ClusterOfNode {
    async fn map(&self) -> Result<DescribeClusterResponse, CallFailed> {
        Ok(self.admin.description())
    }

    async fn connect(&self, node: &NodeSpec) -> Result<Box<dyn NodeCalls>, CallFailed> {
        if node.id == self.admin.node.node.0 {
            return Ok(Box::new(OwnNode(self.admin.clone())));
        }
        let map = self.admin.node.map.load_full();
        let info = map.as_ref().and_then(|map| map.node(NodeId(node.id)));
        let channel = info.and_then(|info| self.channels.lock().channel(info));
        let unknown = || CallFailed(format!("node {} has no address that this node can use", node.id));
        let client = AdminServiceClient::new(channel.ok_or_else(unknown)?);
        Ok(Box::new(OtherNode { address: node.grpc_address.clone(), client }))
    }
}

/// This node, without a connection.
struct OwnNode(Arc<Admin>);

#[async_trait]
impl NodeCalls for OwnNode {
    async fn describe(&self) -> Result<DescribeClusterResponse, CallFailed> {
        Ok(self.0.description())
    }

    async fn show_figures(&self, request: ShowFiguresRequest) -> Result<ShowFiguresResponse, CallFailed> {
        Ok(self.0.figures(request).await)
    }

    async fn list_events(&self, request: ListEventsRequest) -> Result<ListEventsResponse, CallFailed> {
        self.0.events(request).map_err(|status| CallFailed(status.message().to_owned()))
    }
}

/// Another node.
struct OtherNode {
    address: String,
    client: AdminServiceClient<Channel>,
}

impl OtherNode {
    fn answer<T>(&self, answer: Result<Response<T>, Status>) -> Result<T, CallFailed> {
        answer.map(Response::into_inner).map_err(|status| match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => CallFailed(format!("{} did not answer in time", self.address)),
            Code::Unavailable => CallFailed(format!("cannot reach {}: {}", self.address, cause(&status))),
            _ => CallFailed(format!("{}: {}", self.address, status.message())),
        })
    }
}

/// What has failed in the end, such as a refused connection.
fn cause(status: &Status) -> String {
    let mut cause = status.message().to_owned();
    let mut next = status.source();
    while let Some(error) = next {
        cause = error.to_string();
        next = error.source();
    }
    cause
}

#[async_trait]
impl NodeCalls for OtherNode {
    async fn describe(&self) -> Result<DescribeClusterResponse, CallFailed> {
        let mut client = self.client.clone();
        self.answer(client.describe_cluster(DescribeClusterRequest {}).await)
    }

    async fn show_figures(&self, request: ShowFiguresRequest) -> Result<ShowFiguresResponse, CallFailed> {
        let mut client = self.client.clone();
        self.answer(client.show_figures(request).await)
    }

    async fn list_events(&self, request: ListEventsRequest) -> Result<ListEventsResponse, CallFailed> {
        let mut client = self.client.clone();
        self.answer(client.list_events(request).await)
    }
}

//! The topology as a stream: `fastness.v1.TopologyService`.
//!
//! - One publisher per node compares the topology with the published one every `CHECK_EVERY`, as long as there are
//!   streams. All streams share what it publishes; one whose client reads slowly skips to the newest.
//! - What is published is this node's own view: the map, who leads as far as the node knows, and which replicas have
//!   reported that they serve reads.
//! - Rights are checked when a stream is opened and before each message, so that a user who loses them gets at most one
//!   more.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fastness_control::{ClusterMap, ShardMap};
use fastness_resp::Args;
use fastness_types::limits::TOPOLOGY_STREAMS_MAX;
use fastness_types::{Clock, ClusterId};
use fastness_wire::v1::topology_service_server::{TopologyService, TopologyServiceServer};
use fastness_wire::v1::{
    Topology, TopologyMember, TopologyNode, TopologyShard, WatchTopologyRequest, WatchTopologyResponse,
};
use futures::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TlsConnectInfo;
use tonic::{Code, Request, Response, Status};

use super::guard::{ApiGuard, addresses};
use super::refusal::{ApiRefusal, reason};
use crate::access::{Lacking, Refused};
use crate::accounts::Account;
use crate::grpc_accept::GrpcConnectInfo;
use crate::shared::{NodeShared, Phase};
use crate::topology::Health;

/// How often the topology is compared with the published one, while there are streams.
const CHECK_EVERY: Duration = Duration::from_millis(100);
/// How long a stream is silent at most.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// Longest request, bytes: it is empty.
const REQUEST_BYTES_MAX: usize = 1024;

/// The command whose right a stream needs.
const COMMAND: [&[u8]; 2] = [b"CLUSTER", b"SHARDS"];

/// What all streams of a node share.
pub struct Publisher {
    node: Arc<NodeShared>,
    /// `None`: the cluster is not created yet.
    newest: watch::Sender<Option<Arc<Topology>>>,
    /// One permit for each stream that may be opened.
    streams: Arc<Semaphore>,
}

impl Publisher {
    /// Of a node that starts.
    #[must_use]
    pub fn new(node: Arc<NodeShared>) -> Arc<Publisher> {
        let streams = Arc::new(Semaphore::new(TOPOLOGY_STREAMS_MAX));
        Arc::new(Publisher { node, newest: watch::Sender::new(None), streams })
    }

    /// Publishes changes until the node ends.
    pub async fn follow(self: Arc<Publisher>) {
        while self.node.phase() < Phase::Closing {
            if self.newest.receiver_count() > 0 {
                self.publish();
            }
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }

    fn publish(&self) {
        let Some(map) = self.node.map.load_full() else { return };
        let topology = observed(&self.node, &map);
        self.newest.send_if_modified(|newest| {
            let is_new = newest.as_deref() != Some(&topology);
            if is_new {
                *newest = Some(Arc::new(topology));
            }
            is_new
        });
    }
}

/// The topology as this node sees it.
fn observed(node: &NodeShared, map: &ClusterMap) -> Topology {
    let ClusterId(cluster) = map.cluster_id;
    let nodes = map.nodes.iter().map(|of| TopologyNode {
        id: of.id.0,
        address: of.grpc_address.clone(),
        availability_zone: of.az.0.to_string(),
    });
    let shard = |shard: &ShardMap| {
        let serves = |member| node.observe(member, shard.id).health == Health::Online && !map.is_arriving(member);
        let primary = node.leader(shard.id).filter(|leader| shard.has(*leader));
        TopologyShard {
            id: shard.id.0,
            first_slot: u32::from(shard.first.0),
            last_slot: u32::from(shard.last.0),
            members: map
                .members_of(shard.id)
                .map(|of| TopologyMember { node: of.id.0, serves_reads: serves(of.id) })
                .collect(),
            primary: primary.map_or(0, |primary| primary.0),
        }
    };
    Topology {
        cluster: cluster.to_vec().into(),
        map_version: map.version,
        nodes: nodes.collect(),
        shards: map.shards.iter().map(shard).collect(),
    }
}

/// The service.
pub struct TopologyServer {
    publisher: Arc<Publisher>,
}

impl TopologyServer {
    /// As a tonic service that checks every caller.
    #[must_use]
    pub fn service(
        publisher: Arc<Publisher>,
        clock: Arc<dyn Clock>,
    ) -> InterceptedService<TopologyServiceServer<TopologyServer>, ApiGuard> {
        let guard = ApiGuard::new(publisher.node.clone(), clock);
        let server = TopologyServiceServer::new(TopologyServer { publisher });
        InterceptedService::new(server.max_decoding_message_size(REQUEST_BYTES_MAX), guard)
    }
}

/// One client's stream.
struct TopologyWatch {
    node: Arc<NodeShared>,
    newest: watch::Receiver<Option<Arc<Topology>>>,
    /// Name and connection of the user.
    user: (String, String),
    _permit: OwnedSemaphorePermit,
}

impl TopologyWatch {
    /// The next message, or the status that ends the stream.
    async fn next(&mut self) -> Result<WatchTopologyResponse, Status> {
        let topology = tokio::select! {
            biased;
            () = self.node.reached(Phase::HandingOver) => {
                return Err(ApiRefusal::unavailable(reason::NOT_SERVED, "the node stops").into());
            }
            changed = self.newest.changed() => match changed {
                Ok(()) => self.newest.borrow_and_update().clone(),
                Err(_) => return Err(ApiRefusal::unavailable(reason::NOT_SERVED, "the node stops").into()),
            },
            () = tokio::time::sleep(PROGRESS_EVERY) => None,
        };
        self.check_rights()?;
        Ok(WatchTopologyResponse { topology: topology.map(|topology| Topology::clone(&topology)) })
    }

    /// Whether the user, as it is now, may run [`COMMAND`].
    fn check_rights(&self) -> Result<(), Status> {
        let (name, client) = &self.user;
        let args = Args::slices(&COMMAND);
        let accounts = &self.node.accounts;
        let spec = accounts.table().look_up(args).map_err(|error| ApiRefusal::from_reply(error.as_ref()))?;
        let users = accounts.load();
        let Some(account) = users.get(name.as_bytes()) else {
            return Err(ApiRefusal::new(Code::PermissionDenied, "NOPERM", "the user was removed").into());
        };
        let Err(denied) = account.user.check(spec, args) else { return Ok(()) };
        self.node.note_refused(Refused {
            lacking: Lacking::Command,
            context: "toplevel",
            object: denied.object(spec, args).to_vec(),
            user: name.clone().into_bytes(),
            client: client.clone().into_bytes(),
        });
        Err(ApiRefusal::from_reply(denied.reply(name.as_bytes(), spec).as_ref()).into())
    }
}

type Topologies = Pin<Box<dyn Stream<Item = Result<WatchTopologyResponse, Status>> + Send>>;

#[tonic::async_trait]
impl TopologyService for TopologyServer {
    type WatchTopologyStream = Topologies;

    async fn watch_topology(&self, request: Request<WatchTopologyRequest>) -> Result<Response<Topologies>, Status> {
        let info = request.extensions().get::<TlsConnectInfo<GrpcConnectInfo>>().map(TlsConnectInfo::get_ref);
        let account = request.extensions().get::<Arc<Account>>();
        let account = account.ok_or_else(|| Status::internal("the call has no user"))?;
        let Publisher { node, newest, streams } = &*self.publisher;
        let Ok(permit) = streams.clone().try_acquire_owned() else {
            let text = format!("this node has {TOPOLOGY_STREAMS_MAX} streams of the topology");
            return Err(ApiRefusal::new(Code::ResourceExhausted, reason::MAX_STREAMS, text).into());
        };
        let user = (account.name.clone(), format!("addr={} cmd=grpc", addresses(info).0));
        let mut watch = TopologyWatch { node: node.clone(), newest: newest.subscribe(), user, _permit: permit };
        watch.check_rights()?;
        // Nobody may have listened until now.
        self.publisher.publish();
        watch.newest.mark_changed();
        let responses = stream::unfold(Some(watch), |watch| async {
            let mut watch = watch?;
            Some(match watch.next().await {
                Ok(response) => (Ok(response), Some(watch)),
                Err(status) => (Err(status), None),
            })
        });
        Ok(Response::new(Box::pin(responses)))
    }
}

//! Administration over gRPC: create the cluster, describe it, hand a shard's primary over, change the durability mode,
//! rotate a node's master key; replacing a node is in `replace.rs`.
//!
//! Every call needs a certificate that names an administrator of this cluster ([`crate::tls::Identity::Admin`]); a
//! client's is refused. A node of the cluster may request the description, figures and events, for its web console, and
//! a change of the cluster's settings, on behalf of one of its clients. A node that does not lead
//! answers FAILED_PRECONDITION with the leader's address in the metadata [`LEADER_METADATA`].

mod events;
mod figures;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastness_consensus::handle::GroupHandle;
use fastness_consensus::{GroupControl, HandOverError};
use fastness_control::command::Command;
use fastness_control::{
    ClusterMap, Control, CreateError, CreateRequest, LEADER_METADATA, NodeInfo, ProposeError, Requirements, ShardMap,
};
use fastness_events::HandOverReason;
use fastness_log::Log;
use fastness_types::{Az, DiskId, Durability, GroupId, HashSeed, NodeId, ShardId};
use fastness_wire::admin::v1::admin_service_server::{AdminService, AdminServiceServer};
use fastness_wire::admin::v1::{
    ChangeUsersRequest, ChangeUsersResponse, CreateClusterRequest, CreateClusterResponse, DescribeClusterRequest,
    DescribeClusterResponse, HandOverRequest, HandOverResponse, ListEventsRequest, ListEventsResponse,
    MakeSnapshotsRequest, MakeSnapshotsResponse, NodeSpec, ReplaceNodeRequest, ReplaceNodeResponse, Replaced,
    Replacement, ReplicaStatus, RotateMasterKeyRequest, RotateMasterKeyResponse, SetDurabilityRequest,
    SetDurabilityResponse, SetSettingsRequest, SetSettingsResponse, ShardStatus, ShowFiguresRequest,
    ShowFiguresResponse, ShowMasterKeyRequest, ShowMasterKeyResponse,
};
use tonic::transport::ClientTlsConfig;
use tonic::{Request, Response, Status};

use crate::admin_guard::{AdminGuard, require_administrator};
use crate::certificates::Newest;
use crate::disks;
use crate::leaders::{self, Members};
use crate::master_key::{KeyRotation, RotationError};
use crate::members;
use crate::replicas::Replicas;
use crate::settings::{self, Proposed};
use crate::shared::NodeShared;

/// How long the owner of a shard may take to drain before a hand-over.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a change of the mode is waited for.
const IN_FORCE_PATIENCE: Duration = Duration::from_secs(20);
/// Time between two checks of the shards meanwhile.
const IN_FORCE_CHECK_EVERY: Duration = Duration::from_millis(50);

/// The service.
pub struct Admin {
    /// The node.
    pub node: Arc<NodeShared>,
    /// Its part in the control plane.
    pub control: Control,
    /// Group 0.
    pub group: GroupControl,
    /// Its owner's side.
    pub handle: GroupHandle,
    /// Its replicas.
    pub replicas: Arc<Replicas>,
    /// Its log.
    pub log: Log,
    /// What this node announces of itself.
    pub own: NodeInfo,
    /// TLS for requests to other nodes.
    pub client_tls: Newest<ClientTlsConfig>,
    /// Whether nothing was stored on the disk when the node started.
    pub pristine: bool,
    /// Its master key.
    pub keys: Arc<KeyRotation>,
}

impl Admin {
    /// As a tonic service that checks every caller's certificate.
    pub fn service(self) -> tonic::service::interceptor::InterceptedService<AdminServiceServer<Admin>, AdminGuard> {
        let guard = AdminGuard::new(self.node.clone());
        AdminServiceServer::with_interceptor(self, guard)
    }

    /// The cluster's map as this node knows it, and its own replicas.
    pub(crate) fn description(&self) -> DescribeClusterResponse {
        let map = self.control.map();
        let shards = map.iter().flat_map(|map| &map.shards).map(|shard| ShardStatus {
            id: shard.id.0,
            slot_first: u32::from(shard.first.0),
            slot_last: u32::from(shard.last.0),
            members: shard.members.iter().map(|node| node.0).collect(),
        });
        let durability = map.as_ref().map_or_else(|| self.node.config.load().durability, |map| map.durability);
        DescribeClusterResponse {
            cluster_id: self.node.cluster.to_string(),
            durability: durability.name().to_owned(),
            nodes: match &map {
                Some(map) => map.nodes.iter().map(node_spec).collect(),
                None => vec![node_spec(&self.own)],
            },
            shards: shards.collect(),
            node_id: self.node.node.0,
            replicas: self.own_replicas(),
            map_version: map.as_ref().map_or(0, |map| map.version),
            disk: self.own.disk.to_string(),
            durability_version: map.as_ref().map_or(0, |map| map.durability_version),
            lab_faults: self.node.lab.as_ref().map_or_else(Vec::new, |lab| lab.describe()),
            pristine: self.pristine && map.is_none() && !self.group.is_initialized(),
            replacement: map.as_ref().and_then(|map| map.replacement.as_ref()).map(|replacement| Replacement {
                leaving: replacement.leaving.iter().map(|node| node.id.0).collect(),
                by: replacement.by.0,
            }),
            replaced: map
                .iter()
                .flat_map(|map| &map.replaced)
                .map(|gone| Replaced { node: gone.node.0, by: gone.by.0 })
                .collect(),
        }
    }

    /// A page of this node's journal.
    pub(crate) fn events(&self, request: ListEventsRequest) -> Result<ListEventsResponse, Status> {
        events::list(&self.node, request)
    }

    /// Figures of this node and of its replicas.
    pub(crate) async fn figures(&self, request: ShowFiguresRequest) -> ShowFiguresResponse {
        figures::show(&self.node, &self.replicas, self.log.stats(), request).await
    }

    fn require_administrator<T>(&self, request: &Request<T>) -> Result<(), Status> {
        require_administrator(&self.node, request)
    }

    pub(crate) fn map(&self) -> Result<Arc<ClusterMap>, Status> {
        self.control.map().ok_or_else(|| Status::failed_precondition("the cluster is not created yet"))
    }

    /// The refusal that names the leader, which the caller can turn to.
    pub(crate) fn not_leader(&self, leader: Option<NodeId>, what: &str) -> Status {
        let address = leader.and_then(|leader| Some(self.control.map()?.node(leader)?.grpc_address.clone()));
        match (leader, address) {
            (Some(leader), Some(address)) => elsewhere(&format!("node {leader} leads {what}"), &address),
            _ => Status::unavailable(format!("this node knows no leader of {what}")),
        }
    }

    fn replica_status(&self, shard: u32, control: &GroupControl) -> ReplicaStatus {
        let status = control.status();
        let mode = self.node.mode(ShardId(shard));
        ReplicaStatus {
            shard,
            role: status.role.name().to_owned(),
            term: status.term,
            leader_node: status.leader.map_or(0, |leader| leader.0),
            committed: status.committed.0,
            applied: status.applied.0,
            ready: status.ready,
            lease_held: status.lease_held,
            durability: mode.map_or_else(String::new, |mode| mode.in_force.name().to_owned()),
            durability_version: mode.map_or(0, |mode| mode.version),
            members: members::report(&status),
            joint: status.halves.len() > 1,
            members_since: status.members_since.0,
            last_log: status.last_log.0,
        }
    }

    /// Runs something that may wait for the disk.
    async fn with_keys<T: Send + 'static>(&self, work: fn(&KeyRotation) -> T) -> Result<T, Status> {
        let keys = self.keys.clone();
        let worked = tokio::task::spawn_blocking(move || work(&keys)).await;
        worked.map_err(|error| Status::internal(format!("the master key: {error}")))
    }

    /// This node's replicas, including that of group 0.
    pub(crate) fn own_replicas(&self) -> Vec<ReplicaStatus> {
        let shards = self.replicas.all();
        let shards = shards.iter().map(|(shard, running)| self.replica_status(shard.0, &running.control));
        [self.replica_status(0, &self.group)].into_iter().chain(shards).collect()
    }
}

impl Admin {
    /// Brings the desired mode into the map; returns the map that has it. Even a mode that the map has already is
    /// proposed: this node's map may be outdated, and only what was proposed and applied here is known to be current.
    async fn desire(&self, mode: Durability) -> Result<Arc<ClusterMap>, Status> {
        let map = self.map()?;
        if !map.may_become(mode) {
            return Err(Status::failed_precondition(format!(
                "the cluster is '{}', which cannot become '{mode}': a cluster is created as durable (sync or async) or as disabled, and stays so",
                map.durability
            )));
        }
        match self.control.propose(Command::SetDurability(mode)).await {
            Ok(_) => {}
            Err(ProposeError::NotLeader(leader)) => return Err(self.not_leader(leader, "the control plane")),
            Err(error) => return Err(Status::unavailable(error.to_string())),
        }
        let map = self.map()?;
        if map.durability == mode {
            Ok(map)
        } else {
            Err(Status::aborted("another mode was requested at the same time"))
        }
    }

    /// Waits until the map's mode is committed in the log of every shard.
    async fn until_in_force(&self, map: &ClusterMap) -> Result<(), Status> {
        let mut members = Members::new(&self.node, self.client_tls.clone());
        let until = Instant::now() + IN_FORCE_PATIENCE;
        let mut waiting: Vec<_> = map.shards.iter().collect();
        for round in 0.. {
            // One replica's report suffices: what has committed stays in the log.
            waiting.retain(|shard| self.node.mode(shard.id).is_none_or(|mode| mode.version < map.durability_version));
            for (node, _) in leaders::poll_targets(map, waiting.iter().copied(), round) {
                let replicas = members.poll(node).await;
                let has = |shard: &ShardMap| {
                    replicas.iter().any(|r| r.shard == shard.id.0 && r.durability_version >= map.durability_version)
                };
                waiting.retain(|shard| !has(shard));
            }
            if waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until {
                break;
            }
            tokio::time::sleep(IN_FORCE_CHECK_EVERY).await;
        }
        let names: Vec<_> = waiting.iter().map(|shard| shard.id.to_string()).collect();
        Err(Status::deadline_exceeded(format!(
            "'{}' is the desired mode, but shard {} has not committed it yet: check that it has a primary; the mode \
             comes into force by itself, and repeating the command waits for it",
            map.durability,
            names.join(", ")
        )))
    }
}

fn elsewhere(message: &str, address: &str) -> Status {
    let mut status = Status::failed_precondition(message);
    if let Ok(address) = address.parse() {
        status.metadata_mut().insert(LEADER_METADATA, address);
    }
    status
}

fn refused(error: CreateError) -> Status {
    let text = error.to_string();
    match error {
        CreateError::Invalid(_) => Status::invalid_argument(text),
        CreateError::Unmet { .. } | CreateError::Placement(_) => Status::failed_precondition(text),
        CreateError::Exists(_) => Status::already_exists(text),
        CreateError::NotLeader { address, .. } => elsewhere(&text, &address),
        CreateError::Group(_) | CreateError::Stopped(_) => Status::unavailable(text),
        CreateError::TimedOut { .. } => Status::deadline_exceeded(text),
    }
}

fn not_handed_over(error: HandOverError) -> Status {
    let text = error.to_string();
    match error {
        HandOverError::NotLeader(_) | HandOverError::BadTarget(_) | HandOverError::NoTarget => {
            Status::failed_precondition(text)
        }
        HandOverError::UnderWay => Status::aborted(text),
        _ => Status::unavailable(text),
    }
}

fn not_rotated(error: RotationError) -> Status {
    let text = error.to_string();
    match error {
        RotationError::NoNewKey(_) | RotationError::NewKey(_) | RotationError::Same { .. } => {
            Status::failed_precondition(text)
        }
        RotationError::InProgress => Status::aborted(text),
        RotationError::Log(_) | RotationError::Snapshots { .. } => Status::unavailable(text),
    }
}

fn port(port: u32, node: u64) -> Result<u16, Status> {
    u16::try_from(port).map_err(|_| Status::invalid_argument(format!("node {node}: {port} is not a port")))
}

pub(crate) fn node_info(spec: NodeSpec) -> Result<NodeInfo, Status> {
    Ok(NodeInfo {
        id: NodeId(spec.id),
        // Not from the request: the node itself reports it.
        disk: DiskId::default(),
        az: Az::from(spec.az.as_str()),
        peer_address: spec.peer_address,
        grpc_address: spec.grpc_address,
        announce_host: spec.announce_host,
        announce_hostname: spec.announce_hostname,
        resp_port: port(spec.resp_port, spec.id)?,
        resp_tls_port: port(spec.resp_tls_port, spec.id)?,
    })
}

fn node_spec(node: &NodeInfo) -> NodeSpec {
    NodeSpec {
        id: node.id.0,
        az: node.az.to_string(),
        peer_address: node.peer_address.clone(),
        grpc_address: node.grpc_address.clone(),
        announce_host: node.announce_host.clone(),
        resp_port: u32::from(node.resp_port),
        resp_tls_port: u32::from(node.resp_tls_port),
        announce_hostname: node.announce_hostname.clone(),
        disk: node.disk.to_string(),
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn create_cluster(
        &self,
        request: Request<CreateClusterRequest>,
    ) -> Result<Response<CreateClusterResponse>, Status> {
        self.require_administrator(&request)?;
        let request = request.into_inner();
        let durability: Durability =
            request.durability.parse().map_err(|e| Status::invalid_argument(format!("durability: {e}")))?;
        let mut nodes = request.nodes.into_iter().map(node_info).collect::<Result<Vec<_>, _>>()?;
        disks::learn(&mut nodes, &self.own, self.control.map().as_deref(), &self.client_tls.load())
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let wanted = CreateRequest {
            cluster_id: self.node.cluster,
            hash_seed: HashSeed(rand::random()),
            nodes,
            shards: request.shards,
            replicas: request.replicas,
            durability,
            // A node does not start without any of these (`Config::check`), but for the port for clients.
            requirements: Requirements {
                client_tls: self.own.resp_tls_port != 0,
                peer_tls: true,
                encryption_at_rest: true,
            },
        };
        let warnings = self.control.create(&wanted).await.map_err(refused)?;
        Ok(Response::new(CreateClusterResponse { warnings }))
    }

    async fn describe_cluster(
        &self,
        _: Request<DescribeClusterRequest>,
    ) -> Result<Response<DescribeClusterResponse>, Status> {
        Ok(Response::new(self.description()))
    }

    async fn hand_over(&self, request: Request<HandOverRequest>) -> Result<Response<HandOverResponse>, Status> {
        self.require_administrator(&request)?;
        let HandOverRequest { shard, target_node } = request.into_inner();
        let target = (target_node != 0).then_some(NodeId(target_node));
        let (control, leader, what) = if GroupId(shard) == GroupId::CONTROL {
            (Some(self.group.clone()), self.group.status().leader, "the control plane".to_owned())
        } else {
            let id = ShardId(shard);
            if self.map()?.shard(id).is_none() {
                return Err(Status::not_found(format!("there is no shard {shard}")));
            }
            (self.replicas.get(id).map(|running| running.control), self.node.leader(id), format!("shard {shard}"))
        };
        let control = match control {
            Some(control) if leader == Some(self.node.node) => control,
            _ => return Err(self.not_leader(leader, &what)),
        };
        let new =
            control.hand_over(target, HAND_OVER_PATIENCE, HandOverReason::Requested).await.map_err(not_handed_over)?;
        Ok(Response::new(HandOverResponse { new_primary_node: new.0 }))
    }

    async fn replace_node(
        &self,
        request: Request<ReplaceNodeRequest>,
    ) -> Result<Response<ReplaceNodeResponse>, Status> {
        self.require_administrator(&request)?;
        self.replace(request.into_inner()).await.map(Response::new)
    }

    async fn make_snapshots(
        &self,
        request: Request<MakeSnapshotsRequest>,
    ) -> Result<Response<MakeSnapshotsResponse>, Status> {
        self.require_administrator(&request)?;
        let wanted = request.into_inner().shard;
        let mut shards = Vec::new();
        for (shard, running) in self.replicas.all() {
            if (wanted == 0 || wanted == shard.0) && running.make_snapshot().await == Some(true) {
                shards.push(shard.0);
            }
        }
        if shards.is_empty() {
            return Err(Status::not_found("there is no such replica on this node, or it does not answer"));
        }
        Ok(Response::new(MakeSnapshotsResponse { shards }))
    }

    async fn show_master_key(
        &self,
        request: Request<ShowMasterKeyRequest>,
    ) -> Result<Response<ShowMasterKeyResponse>, Status> {
        self.require_administrator(&request)?;
        let status = self.with_keys(KeyRotation::status).await?;
        let (new, refusal) = match status.new {
            Ok(new) => (new.to_string(), String::new()),
            Err(_) if status.is_incomplete => (String::new(), String::new()),
            Err(error) => (String::new(), error.to_string()),
        };
        Ok(Response::new(ShowMasterKeyResponse {
            node_id: self.node.node.0,
            fingerprint: status.fingerprint.to_string(),
            since_s: status.since_s,
            new_fingerprint: new,
            refusal,
            retired_fingerprint: status.retired.map_or_else(String::new, |retired| retired.to_string()),
            warnings: status.misplaced.into_iter().collect(),
        }))
    }

    async fn rotate_master_key(
        &self,
        request: Request<RotateMasterKeyRequest>,
    ) -> Result<Response<RotateMasterKeyResponse>, Status> {
        self.require_administrator(&request)?;
        // A caller that goes away does not stop it.
        let rotated = self.with_keys(KeyRotation::rotate).await?.map_err(not_rotated)?;
        let status = self.with_keys(KeyRotation::status).await?;
        Ok(Response::new(RotateMasterKeyResponse {
            node_id: self.node.node.0,
            fingerprint: status.fingerprint.to_string(),
            previous_fingerprint: rotated.from.map_or_else(String::new, |from| from.to_string()),
            data_keys: self.keys.data_keys(),
            snapshot_files: rotated.snapshots,
            warnings: rotated.warnings,
        }))
    }

    async fn set_durability(
        &self,
        request: Request<SetDurabilityRequest>,
    ) -> Result<Response<SetDurabilityResponse>, Status> {
        self.require_administrator(&request)?;
        let mode: Durability = request
            .into_inner()
            .durability
            .parse()
            .map_err(|e| Status::invalid_argument(format!("durability: {e}")))?;
        let map = self.desire(mode).await?;
        let version = map.durability_version;
        self.until_in_force(&map).await?;
        Ok(Response::new(SetDurabilityResponse { durability_version: version }))
    }

    async fn set_settings(
        &self,
        request: Request<SetSettingsRequest>,
    ) -> Result<Response<SetSettingsResponse>, Status> {
        // A node forwards what one of its clients was let in for.
        let change = settings::change_from(&request.into_inner())?;
        let change = Proposed::Settings(change);
        let settings_version = settings::propose_here(&self.control, &self.handle, &change).await?;
        Ok(Response::new(SetSettingsResponse { settings_version }))
    }

    async fn change_users(
        &self,
        request: Request<ChangeUsersRequest>,
    ) -> Result<Response<ChangeUsersResponse>, Status> {
        let change = settings::users_change_from(request.into_inner())?;
        let settings_version = settings::propose_here(&self.control, &self.handle, &Proposed::Users(change)).await?;
        Ok(Response::new(ChangeUsersResponse { settings_version }))
    }

    async fn list_events(&self, request: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        self.events(request.into_inner()).map(Response::new)
    }

    async fn show_figures(
        &self,
        request: Request<ShowFiguresRequest>,
    ) -> Result<Response<ShowFiguresResponse>, Status> {
        Ok(Response::new(self.figures(request.into_inner()).await))
    }
}

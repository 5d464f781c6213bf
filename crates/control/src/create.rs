//! Creates a cluster: from a request to a running group 0 that has the map.
//!
//! Each step checks by itself whether it is done already, so that a repeated request continues an interrupted creation:
//! 1. The request is checked and the map planned ([`CreateRequest::plan`]).
//! 2. Group 0 gets its voters, unless it has voters.
//! 3. The leader of group 0 proposes the map. The first map in the log is the cluster's, whichever request proposed it.
//! 4. The leader adds the other nodes as followers without a vote.
//!
//! A node that does not lead group 0 returns [`CreateError::NotLeader`] with the leader's address.

use std::collections::BTreeSet;
use std::time::Duration;

use fastness_types::{ClusterId, Durability, HashSeed, NodeId, SLOTS};

use crate::command::Command;
use crate::follow::{Control, ControlRole, ProposeError};
use crate::group::{GroupError, Member};
use crate::map::{ClusterMap, MapError, NodeInfo};
use crate::placement::{self, PlacementError, Site};

/// How long a creation may take before it is reported as unfinished. It may continue by itself or be requested again.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause before the next attempt after an election has interrupted one.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Largest number of shards: each needs a port and a thread on every node that has a replica of it.
pub const SHARDS_MAX: u32 = 1000;
/// Largest number of nodes.
pub const NODES_MAX: usize = 1000;

/// The requirements of a durable cluster, as the called node's config meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirements {
    /// Clients can connect over TLS.
    pub client_tls: bool,
    /// Peers connect over mTLS.
    pub peer_tls: bool,
    /// The log is encrypted.
    pub encryption_at_rest: bool,
}

/// The cluster that the operator requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// Id of the cluster, which the certificates name.
    pub cluster_id: ClusterId,
    /// New and random. Ignored when two requests are compared.
    pub hash_seed: HashSeed,
    /// All nodes, including the called one.
    pub nodes: Vec<NodeInfo>,
    /// Number of shards; fixed for the life of the cluster.
    pub shards: u32,
    /// Copies of each shard besides the primary.
    pub replicas: u32,
    /// The durability mode.
    pub durability: Durability,
    /// The requirements that the called node meets.
    pub requirements: Requirements,
}

/// Why no cluster was created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The request itself is invalid.
    #[error("{0}")]
    Invalid(String),
    /// A durable cluster needs something that is missing.
    #[error("a durable cluster ({durability}) needs {requirement}; a cluster without it can only be `disabled`")]
    Unmet {
        /// The requested mode.
        durability: Durability,
        /// What is missing, and how to provide it.
        requirement: &'static str,
    },
    /// The copies cannot be placed.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// A different cluster exists already.
    #[error("this node belongs to a cluster already, which differs from the requested one: {0}")]
    Exists(String),
    /// Another node leads the control plane and must be called instead.
    #[error("node {node} leads the control plane: send the request to {address}")]
    NotLeader {
        /// The leader.
        node: NodeId,
        /// Its gRPC address.
        address: String,
    },
    /// Consensus refused to form the group.
    #[error("the control plane could not be formed: {0}")]
    Group(#[from] GroupError),
    /// The control plane of the called node has stopped.
    #[error("{0}")]
    Stopped(String),
    /// The creation did not finish in time; nothing is undone.
    #[error(
        "not finished within {} s, still waiting for {waiting_for}: check that all nodes are running and reach each other's peer \
         addresses, then repeat the request to continue", CREATE_TIMEOUT.as_secs()
    )]
    TimedOut {
        /// The unfinished step.
        waiting_for: &'static str,
    },
}

impl CreateRequest {
    /// Checks the request and plans the map. Returns it with warnings for the operator.
    ///
    /// # Errors
    /// The first requirement that is not met.
    pub fn plan(&self) -> Result<(ClusterMap, Vec<String>), CreateError> {
        self.check_numbers()?;
        self.check_nodes()?;
        if self.durability.is_durable() {
            self.check_durable()?;
        }
        let mut nodes = self.nodes.clone();
        nodes.sort_by_key(|node| node.id);
        let sites: Vec<_> = nodes.iter().map(|node| Site { node: node.id, az: node.az.clone() }).collect();
        let placed = placement::place(&sites, self.shards, self.replicas, self.durability.is_durable())?;
        let map = ClusterMap {
            cluster_id: self.cluster_id,
            hash_seed: self.hash_seed,
            version: 1,
            durability: self.durability,
            durability_version: 1,
            replicas: self.replicas,
            nodes,
            shards: placed.shards,
            control_voters: placed.control_voters,
            replacement: None,
            replaced: Vec::new(),
            settings: crate::map::ClusterSettings::default(),
        };
        map.check().map_err(|e: MapError| CreateError::Invalid(e.to_string()))?;
        Ok((map, placed.warnings))
    }

    fn check_numbers(&self) -> Result<(), CreateError> {
        if !(1..=SHARDS_MAX).contains(&self.shards) || self.shards as usize > SLOTS {
            return Err(CreateError::Invalid(format!("shards must be 1 to {SHARDS_MAX}, not {}", self.shards)));
        }
        if self.nodes.is_empty() || self.nodes.len() > NODES_MAX {
            return Err(CreateError::Invalid(format!(
                "a cluster has 1 to {NODES_MAX} nodes, not {}",
                self.nodes.len()
            )));
        }
        Ok(())
    }

    fn check_nodes(&self) -> Result<(), CreateError> {
        let invalid = |text: String| Err(CreateError::Invalid(text));
        let mut ids = BTreeSet::new();
        let mut addresses = BTreeSet::new();
        for node in &self.nodes {
            if node.id == NodeId(0) || !ids.insert(node.id) {
                return invalid(format!("node id {} is 0 or given twice", node.id));
            }
            for address in [&node.peer_address, &node.grpc_address] {
                if !is_host_and_port(address) {
                    return invalid(format!("node {}: {address:?} is not host:port", node.id));
                }
                if !addresses.insert(address) {
                    return invalid(format!("address {address} is given twice"));
                }
            }
            self.check_ports(node)?;
        }
        Ok(())
    }

    fn check_ports(&self, node: &NodeInfo) -> Result<(), CreateError> {
        if node.resp_port == 0 && node.resp_tls_port == 0 {
            return Err(CreateError::Invalid(format!("node {} has no RESP port", node.id)));
        }
        for base in [node.resp_port, node.resp_tls_port] {
            if base != 0 && u32::from(base) + self.shards - 1 > u32::from(u16::MAX) {
                let text =
                    format!("node {}: {} shards from port {base} on need ports above 65535", node.id, self.shards);
                return Err(CreateError::Invalid(text));
            }
        }
        Ok(())
    }

    fn check_durable(&self) -> Result<(), CreateError> {
        let azs: BTreeSet<_> = self.nodes.iter().map(|node| &node.az).collect();
        let tls_ports = self.nodes.iter().all(|node| node.resp_tls_port != 0);
        let needs = [
            (self.replicas >= 1, "at least 1 replica of each shard besides the primary (`--replicas 1` or more)"),
            (azs.len() >= 2, "nodes in at least 2 AZs (`availability-zone` of each node)"),
            (
                self.requirements.client_tls && tls_ports,
                "TLS for clients (`tls-port`, `tls-cert-file`, `tls-key-file`)",
            ),
            (self.requirements.peer_tls, "mutual TLS between nodes (the peer certificate, its key and the CA)"),
            (self.requirements.encryption_at_rest, "encryption at rest (a master key file)"),
        ];
        match needs.into_iter().find(|(met, _)| !met) {
            None => Ok(()),
            Some((_, requirement)) => Err(CreateError::Unmet { durability: self.durability, requirement }),
        }
    }
}

fn is_host_and_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p != 0))
}

/// Describes for an operator how two maps differ; `None` if they describe the same cluster.
fn difference(existing: &ClusterMap, wanted: &ClusterMap) -> Option<String> {
    if existing.cluster_id != wanted.cluster_id {
        return Some(format!("its id is {}", existing.cluster_id));
    }
    if existing.nodes != wanted.nodes {
        return Some("it has other nodes, disks or addresses (see `fastness cluster describe`)".into());
    }
    if existing.shards.len() != wanted.shards.len() {
        return Some(format!("it has {} shards", existing.shards.len()));
    }
    if existing.replicas != wanted.replicas {
        return Some(format!("it has {} replicas", existing.replicas));
    }
    (existing.durability != wanted.durability).then(|| format!("its durability is {}", existing.durability))
}

/// The member that a node is in its Raft groups.
#[must_use]
pub fn member(node: &NodeInfo) -> Member {
    Member { node: node.id, az: node.az.clone(), address: node.peer_address.clone(), disk: node.disk }
}

impl Control {
    /// Creates the cluster, continues an interrupted creation, or finds that the cluster exists. Returns warnings for
    /// the operator.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub async fn create(&self, request: &CreateRequest) -> Result<Vec<String>, CreateError> {
        let (wanted, warnings) = request.plan()?;
        if wanted.node(self.node()).is_none() {
            let text = format!("the called node has id {}, which is not among the given nodes", self.node());
            return Err(CreateError::Invalid(text));
        }
        let mut step = "the members of the control plane";
        match tokio::time::timeout(CREATE_TIMEOUT, self.create_steps(&wanted, &mut step)).await {
            Ok(result) => result.map(|()| warnings),
            Err(_) => Err(CreateError::TimedOut { waiting_for: step }),
        }
    }

    async fn create_steps(&self, wanted: &ClusterMap, step: &mut &'static str) -> Result<(), CreateError> {
        self.form_group_0(wanted).await?;
        loop {
            *step = "the election of the control plane's leader";
            self.be_leader(wanted).await?;
            *step = "the commit of the cluster map";
            if self.map().is_none() {
                match self.propose(Command::Create(wanted.clone())).await {
                    Ok(_) => {}
                    Err(ProposeError::Stopped(why)) => return Err(CreateError::Stopped(why.to_string())),
                    Err(_) => {
                        tokio::time::sleep(RETRY_PAUSE).await;
                        continue;
                    }
                }
            }
            let Some(map) = self.map() else { continue };
            if let Some(difference) = difference(&map, wanted) {
                return Err(CreateError::Exists(difference));
            }
            *step = "the nodes that follow the control plane without a vote";
            match self.add_followers(&map).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::info!(%error, "could not add a follower of the control plane; it is tried again")
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    async fn form_group_0(&self, wanted: &ClusterMap) -> Result<(), CreateError> {
        if let Some(difference) = self.map().and_then(|map| difference(&map, wanted)) {
            return Err(CreateError::Exists(difference));
        }
        if self.group().is_initialized().await? {
            return Ok(());
        }
        let voters = &wanted.control_voters;
        if !voters.contains(&self.node()) {
            return Err(not_leader(wanted, voters[0]));
        }
        let members = voters.iter().filter_map(|id| wanted.node(*id)).map(member).collect();
        self.group().initialize(members, wanted.az_rule()).await?;
        Ok(())
    }

    /// Waits until this node leads group 0; returns an error that names the leader if another node leads.
    async fn be_leader(&self, wanted: &ClusterMap) -> Result<(), CreateError> {
        let mut status = self.status();
        loop {
            let now = status.borrow_and_update().clone();
            match (now.role, now.failure) {
                (_, Some(failure)) => return Err(CreateError::Stopped(failure.to_string())),
                (ControlRole::Leader { .. }, _) => return Ok(()),
                (ControlRole::Follower { leader: Some(leader) }, _) if leader != self.node() => {
                    return Err(not_leader(wanted, leader));
                }
                _ => {}
            }
            if status.changed().await.is_err() {
                return Err(CreateError::Stopped("the node is shutting down".into()));
            }
        }
    }

    async fn add_followers(&self, map: &ClusterMap) -> Result<(), GroupError> {
        for node in map.nodes.iter().filter(|node| !map.control_voters.contains(&node.id)) {
            self.group().add_learner(member(node)).await?;
        }
        Ok(())
    }
}

fn not_leader(wanted: &ClusterMap, node: NodeId) -> CreateError {
    match wanted.node(node) {
        Some(info) => CreateError::NotLeader { node, address: info.grpc_address.clone() },
        None => CreateError::Exists(format!("node {node}, which is not among the given nodes, leads it")),
    }
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;

//! `cluster.json`, in which `fastness dev` records the nodes of its cluster and their addresses.

use std::path::PathBuf;

use serde::Deserialize;

/// Content of `DIR/cluster.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct ClusterFile {
    /// The nodes, by rising id.
    pub nodes: Vec<NodeFile>,
    /// PEM file of the CA.
    pub ca: PathBuf,
    /// PEM file of the admin certificate.
    pub admin_cert: PathBuf,
    /// The durability mode.
    pub durability: String,
    /// Number of shards.
    pub shards: u32,
}

/// One node of `cluster.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeFile {
    /// Node id.
    pub id: u64,
    /// Its AZ.
    pub az: String,
    /// Process id; absent or null while the node does not run.
    pub pid: Option<i32>,
    /// The RESP listeners of its replicas.
    pub resp: Vec<RespFile>,
    /// host:port of the listener for peers.
    pub peer: String,
    /// Source address of its connections to other nodes.
    pub peer_source: String,
    /// host:port of the admin listener.
    pub grpc: String,
    /// host:port of the metrics listener.
    pub metrics: String,
}

/// The RESP listeners of one replica.
#[derive(Debug, Clone, Deserialize)]
pub struct RespFile {
    /// The replica's shard.
    pub shard: u32,
    /// Host.
    pub host: String,
    /// Plaintext port.
    pub port: u16,
    /// TLS port.
    pub tls_port: u16,
}

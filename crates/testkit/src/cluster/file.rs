//! `cluster.json`, where `fastness dev` notes the nodes of its cluster and their addresses.

use std::path::PathBuf;

use serde::Deserialize;

/// What `DIR/cluster.json` holds.
#[derive(Debug, Clone, Deserialize)]
pub struct ClusterFile {
    /// The nodes, by rising id.
    pub nodes: Vec<NodeFile>,
    /// PEM file of the CA.
    pub ca: PathBuf,
    /// PEM file of the admin certificate.
    pub admin_cert: PathBuf,
    /// The mode.
    pub durability: String,
    /// Shards.
    pub shards: u32,
}

/// One node of `cluster.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeFile {
    /// Node id.
    pub id: u64,
    /// Its AZ.
    pub az: String,
    /// Process id; absent or null while it is not running.
    pub pid: Option<i32>,
    /// The RESP front end of each of its replicas.
    pub resp: Vec<RespFile>,
    /// host:port of the peer front end.
    pub peer: String,
    /// Address that its connections to other nodes come from.
    pub peer_source: String,
    /// host:port of the admin front end.
    pub grpc: String,
    /// host:port of the metrics front end.
    pub metrics: String,
}

/// One RESP front end.
#[derive(Debug, Clone, Deserialize)]
pub struct RespFile {
    /// Shard.
    pub shard: u32,
    /// Host.
    pub host: String,
    /// Plaintext port.
    pub port: u16,
    /// TLS port.
    pub tls_port: u16,
}

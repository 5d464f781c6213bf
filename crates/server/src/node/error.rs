//! Why a node does not start.

use std::net::IpAddr;

use fastness_consensus::StartError;
use fastness_log::store::StoreError;
use fastness_log::{KeyFileError, OpenError, SnapshotError};
use fastness_types::NodeId;
use tokio::task::JoinError;

use crate::config::Unmet;
use crate::settings::FirstUsersError;
use crate::tls::TlsError;
use crate::traces::export::TraceError;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A requirement is not met.
    #[error(transparent)]
    Config(#[from] Unmet),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The collector of traces.
    #[error(transparent)]
    Traces(#[from] TraceError),
    /// The option and the certificate name different nodes.
    #[error("node-id is {option}, but the certificate of tls-cert-file names node {certificate}")]
    NodeId {
        /// What the option says.
        option: u64,
        /// What the certificate says.
        certificate: NodeId,
    },
    /// A port.
    #[error("{option} {address}:{port}: {error}")]
    Listen {
        /// The option.
        option: &'static str,
        /// The address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// Why not.
        error: std::io::Error,
    },
    /// The master key.
    #[error("master-key-file: {0}")]
    MasterKey(KeyFileError),
    /// The folder of a shard's snapshots cannot be used.
    #[error("snapshots: {0}")]
    Snapshots(SnapshotError),
    /// The transaction log cannot be opened.
    #[error("the transaction log: {0}")]
    Log(OpenError),
    /// There is no space for the transaction log; it may be tried again.
    #[error("the transaction log: {0}")]
    Full(StoreError),
    /// A thread that opens files has panicked, or was cancelled.
    #[error("opening files: {0}")]
    Interrupted(#[from] JoinError),
    /// The option `lab` on a node whose certificate does not allow it.
    #[error(
        "lab is yes, but the certificate of tls-cert-file does not name {0}: faults can be injected only on nodes whose \
         certificate allows it; set lab to no, or use a lab certificate"
    )]
    NoLab(String),
    /// The users that the config file or `aclfile` defines.
    #[error("{0}")]
    Users(#[from] FirstUsersError),
    /// The leases that this node may have granted before cannot be read or written.
    #[error("failover-timeout: {0}")]
    Promise(std::io::Error),
    /// The system allows too few descriptors.
    #[error("this process may open {limit} files and needs at least {needed}: raise the limit (ulimit -n)")]
    Descriptors {
        /// How many it may open.
        limit: u64,
        /// What it needs with one replica, one client and no other node.
        needed: u64,
    },
    /// Consensus.
    #[error("consensus: {0}")]
    Consensus(#[from] StartError),
    /// The system refuses to start a thread.
    #[error("threads: {0}")]
    Threads(#[from] std::io::Error),
}

//! The sockets that a node listens on, and the addresses that it announces.

use std::net::IpAddr;

use fastness_control::NodeInfo;
use fastness_log::Identity;
use fastness_types::{Az, ShardId};

use super::error::NodeError;
use crate::config::Config;
use crate::resp_server::accept;

/// The sockets that are bound before anything else starts.
pub(super) struct Sockets {
    pub(super) peer: Vec<std::net::TcpListener>,
    pub(super) grpc: Vec<std::net::TcpListener>,
    pub(super) metrics: Vec<std::net::TcpListener>,
}

impl Sockets {
    pub(super) fn bind(config: &Config) -> Result<Sockets, NodeError> {
        let addresses = config.addresses();
        let all = |option, port| bind_any(option, &addresses, port, config.tcp_backlog);
        Ok(Sockets {
            peer: all("peer-port", config.peer_port)?,
            grpc: all("grpc-port", config.grpc_port)?,
            metrics: bind("metrics-port", &addresses, config.metrics_port, config.tcp_backlog)?,
        })
    }
}

/// One socket per address; none for port 0.
pub(super) fn bind(
    option: &'static str,
    addresses: &[IpAddr],
    port: u16,
    backlog: u64,
) -> Result<Vec<std::net::TcpListener>, NodeError> {
    if port == 0 { Ok(Vec::new()) } else { bind_any(option, addresses, port, backlog) }
}

/// One socket per address; the system chooses a port for port 0.
fn bind_any(
    option: &'static str,
    addresses: &[IpAddr],
    port: u16,
    backlog: u64,
) -> Result<Vec<std::net::TcpListener>, NodeError> {
    let listen = |address: &IpAddr| {
        accept::listen(*address, port, backlog).map_err(|error| NodeError::Listen {
            option,
            address: *address,
            port,
            error,
        })
    };
    addresses.iter().map(listen).collect()
}

/// The port of `shard`'s replica; 0: it listens on none.
pub(super) fn port_of(base: u16, shard: ShardId) -> u16 {
    if base == 0 { 0 } else { base.saturating_add(u16::try_from(shard.0 - 1).unwrap_or(u16::MAX)) }
}

/// What this node reports of itself before there is a map.
pub(super) fn own_info(config: &Config, identity: Identity, sockets: &Sockets) -> NodeInfo {
    let host = config.announced_host();
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let port = |listeners: &[std::net::TcpListener]| {
        listeners.first().and_then(|listener| listener.local_addr().ok()).map_or(0, |address| address.port())
    };
    let announced = |announced: u16, own: u16| if announced != 0 { announced } else { own };
    NodeInfo {
        id: identity.node,
        disk: identity.disk,
        az: Az::from(config.availability_zone.as_str()),
        peer_address: format!("{host}:{}", port(&sockets.peer)),
        grpc_address: format!("{host}:{}", port(&sockets.grpc)),
        announce_host: config.announced_host(),
        announce_hostname: config.cluster_announce_hostname.clone(),
        resp_port: announced(config.cluster_announce_port, config.port),
        resp_tls_port: announced(config.cluster_announce_tls_port, config.tls_port),
    }
}

//! File descriptors: one budget per node.
//!
//! A node that runs out of descriptors cannot open the next file of its log, and ends. So those that log, snapshots,
//! peers, administration and metrics need are reserved, and clients get the rest: `maxclients` is lowered to it, for
//! all replicas of the node together. Everything that is set aside for has a bound of its own, and the sum of these is
//! [`reserve`].

use std::time::Duration;

use fastness_types::limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Standard streams, the log file, the runtimes' own, what libraries open for a moment.
const BASE: u64 = 32;
/// Beside the files that the log keeps open: its write-ahead log, its list of files, files being written and compacted.
const LOG_BESIDE: u64 = 32;
/// Per replica: its runtime and timer, its listeners, a snapshot being written, read, sent and received.
const REPLICA: u64 = 32;
/// Per other node: streams to it, also while they are being re-established.
const PEER: u64 = 16;
/// Fewest connections that the ports for nodes and for administrators take, each, and the most.
const PORT_CONNECTIONS: (u64, u64) = (64, limits::PEER_CONNECTIONS_MAX as u64);

/// TLS clients over `maxclients` that are sent the reason at a time; further ones are closed without it.
pub const REFUSALS_MAX: usize = 32;
/// Connections to the metrics port at a time; further ones wait to be accepted.
pub(crate) const METRICS_CONNECTIONS_MAX: usize = 64;

/// Fewest files that the log keeps open, and the most.
const LOG_FILES: (u64, u64) = (64, 512);

/// What a port for nodes, administrators and clients of gRPC may cost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Longest handshake.
    pub handshake_time_max: Duration,
    /// Handshakes under way.
    pub handshakes_max: usize,
    /// Connections, handshakes included.
    pub connections_max: usize,
}

impl Bounds {
    /// How many of them may be clients': the rest is for administrators and nodes, who can do something about it.
    pub(crate) fn clients_max(&self) -> usize {
        self.connections_max - self.connections_max / 4
    }
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            handshake_time_max: limits::PEER_HANDSHAKE_TIME_MAX,
            handshakes_max: limits::PEER_HANDSHAKES_MAX,
            connections_max: limits::PEER_CONNECTIONS_MAX,
        }
    }
}

/// Raises the number of descriptors that this process may have to what the system allows it, and returns that.
#[must_use]
pub fn raise() -> u64 {
    let allowed = getrlimit(Resource::Nofile);
    if allowed.current != allowed.maximum {
        let raised = Rlimit { current: allowed.maximum, maximum: allowed.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot raise the limit of open files: fewer clients can connect");
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The limit as it is.
#[must_use]
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many are in use; 0 where the system does not report it.
#[must_use]
pub fn in_use() -> u64 {
    // The folder is open itself while it is read.
    std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1) as u64)
}

/// Files that the log may keep open.
#[must_use]
pub fn log_files(limit: u64) -> u64 {
    (limit / 8).clamp(LOG_FILES.0, LOG_FILES.1)
}

/// Connections that the port for nodes and the one for administrators take, each.
#[must_use]
pub fn port_connections(limit: u64) -> u64 {
    (limit / 16).clamp(PORT_CONNECTIONS.0, PORT_CONNECTIONS.1)
}

/// The same as these ports take it.
#[must_use]
pub fn bounds() -> Bounds {
    Bounds { connections_max: port_connections(limit()) as usize, ..Bounds::default() }
}

/// What is set aside on a node with so many replicas and other nodes.
#[must_use]
pub fn reserve(limit: u64, replicas: usize, peers: usize) -> u64 {
    let log = log_files(limit) + LOG_BESIDE;
    let clients_beside = REFUSALS_MAX as u64;
    let metrics = METRICS_CONNECTIONS_MAX as u64;
    let ports = 2 * port_connections(limit);
    BASE + log + REPLICA * replicas.max(1) as u64 + PEER * peers as u64 + ports + metrics + clients_beside
}

/// How many clients the remaining descriptors suffice for.
#[must_use]
pub fn clients_max(limit: u64, replicas: usize, peers: usize) -> u64 {
    limit.saturating_sub(reserve(limit, replicas, peers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_is_left() {
        assert_eq!(log_files(1_024), 128);
        let left = clients_max(1_024, 3, 2);
        assert!((350..700).contains(&left), "{left}");
        assert_eq!(left + reserve(1_024, 3, 2), 1_024);
        assert!(clients_max(20_000, 3, 2) > 10_000, "the default of maxclients fits");
        assert_eq!(clients_max(64, 1, 0), 0);
        assert!(clients_max(1_024, 4, 2) < left && clients_max(1_024, 3, 3) < left);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let limit = raise();
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
        assert_eq!(limit, super::limit());
        assert!(in_use() >= 3 && in_use() < limit);
    }
}

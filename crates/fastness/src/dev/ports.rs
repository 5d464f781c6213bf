//! Assigns the hundred ports from `--port` on.
//!
//! With N nodes and S shards, from the first port P: N×S plaintext ports (node 1's shards, then node 2's, …), N×S TLS
//! ports in the same order, then one peer, one gRPC and one metrics port per node. So P is always shard 1 on node 1,
//! and shard s of a node is at the node's first port + s − 1, as in the cluster map. A node that is added later has its
//! ports after all others, in sequence: S plaintext, S TLS, peer, gRPC, metrics.

use anyhow::{Result, ensure};

/// Number of ports that one dev cluster may use.
pub const PORTS_MAX: u32 = 100;

/// The ports of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePorts {
    /// Plaintext port of shard 1.
    pub plaintext: u16,
    /// TLS port of shard 1.
    pub tls: u16,
    /// Peer port.
    pub peer: u16,
    /// Admin (gRPC) port.
    pub grpc: u16,
    /// Port of `/metrics`, `/healthz`, `/readyz`.
    pub metrics: u16,
}

impl NodePorts {
    /// All ports of the node.
    pub fn all(&self, shards: u32) -> impl Iterator<Item = u16> {
        let shards = u16::try_from(shards).unwrap_or(u16::MAX);
        let listeners = (0..shards).flat_map(move |s| [self.plaintext + s, self.tls + s]);
        listeners.chain([self.peer, self.grpc, self.metrics])
    }
}

/// The ports of each of `all` nodes, in the order of their ids; the cluster was created with `nodes` of them.
pub fn plan(first: u16, nodes: u32, all: u32, shards: u32) -> Result<Vec<NodePorts>> {
    let each = 2 * u64::from(shards) + 3;
    let wanted = u64::from(all) * each;
    ensure!(
        all == nodes || wanted <= u64::from(PORTS_MAX),
        "{all} nodes (including replaced ones) with {shards} shards need {wanted} ports, but a dev cluster has \
         {PORTS_MAX}: no more can be added"
    );
    ensure!(
        wanted <= u64::from(PORTS_MAX),
        "{nodes} nodes with {shards} shards need {wanted} ports, but a dev cluster has {PORTS_MAX}: use at most {} shards",
        (PORTS_MAX / nodes.max(1)).saturating_sub(3) / 2
    );
    ensure!(first >= 1024, "--port {first}: use 1024 or higher");
    ensure!(u32::from(first) + PORTS_MAX - 1 <= 65_535, "--port {first}: ports up to {first} + 99 must exist");
    let (nodes, shards) = (nodes as u16, shards as u16);
    let listeners = nodes * shards;
    let rest = first + 2 * listeners;
    let ports = (0..nodes).map(|n| NodePorts {
        plaintext: first + n * shards,
        tls: first + listeners + n * shards,
        peer: rest + n,
        grpc: rest + nodes + n,
        metrics: rest + 2 * nodes + n,
    });
    let added = (0..(all as u16 - nodes)).map(|n| {
        let own = first + nodes * each as u16 + n * each as u16;
        let rest = own + 2 * shards;
        NodePorts { plaintext: own, tls: own + shards, peer: rest, grpc: rest + 1, metrics: rest + 2 }
    });
    Ok(ports.chain(added).collect())
}

/// The first of these ports that is in use.
pub fn taken(mut ports: impl Iterator<Item = u16>) -> Option<(u16, std::io::Error)> {
    ports.find_map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).err().map(|error| (port, error)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_default_layout() {
        let ports = plan(7400, 3, 3, 3).unwrap();
        let first = NodePorts { plaintext: 7400, tls: 7409, peer: 7418, grpc: 7421, metrics: 7424 };
        assert_eq!(ports[0], first);
        assert_eq!(ports[2], NodePorts { plaintext: 7406, tls: 7415, peer: 7420, grpc: 7423, metrics: 7426 });
    }

    #[test]
    fn every_layout_that_fits_has_distinct_ports_in_the_range() {
        let mut fitting = 0;
        for (nodes, all) in (1..=20).flat_map(|nodes| (nodes..nodes + 4).map(move |all| (nodes, all))) {
            for shards in 1..=48 {
                let Ok(ports) = plan(20_000, nodes, all, shards) else {
                    assert!(all * (2 * shards + 3) > PORTS_MAX);
                    continue;
                };
                fitting += 1;
                let used: Vec<_> = ports.iter().flat_map(|p| p.all(shards)).collect();
                assert_eq!(used.len() as u32, all * (2 * shards + 3));
                assert_eq!(used.iter().collect::<BTreeSet<_>>().len(), used.len());
                assert!(used.iter().all(|p| (20_000..20_100).contains(p)));
            }
        }
        assert!(fitting > 90, "{fitting}");
    }

    #[test]
    fn refusals_name_the_number_of_shards_that_fits() {
        let text = plan(7400, 3, 3, 16).unwrap_err().to_string();
        assert!(text.contains("at most 15 shards"), "{text}");
        assert!(plan(7400, 3, 3, 15).is_ok());
        assert!(plan(80, 3, 3, 1).is_err());
        assert!(plan(65_437, 3, 3, 1).is_err());
        assert!(plan(65_436, 3, 3, 1).is_ok());
    }

    #[test]
    fn a_port_in_use_is_found() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(taken([port].into_iter()).unwrap().0, port);
        drop(listener);
        assert!(taken([port].into_iter()).is_none());
    }
}

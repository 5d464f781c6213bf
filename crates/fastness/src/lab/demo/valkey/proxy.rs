//! The network between the nodes of a Valkey cluster: every node is reached through a proxy, which knows the sender by
//! its source address, and can cut a node off from the others without cutting it off from clients.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Source address of the connections of node 0; the next nodes have the next addresses.
const FIRST_SOURCE: u8 = 201;

/// The source address of a node's connections to other nodes.
pub fn source(node: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, FIRST_SOURCE + node as u8).into()
}

/// The node that connects from this address; `None`: a client.
fn node_at(address: IpAddr, nodes: usize) -> Option<usize> {
    (0..nodes).find(|node| source(*node) == address)
}

/// All proxies of a cluster.
pub struct Proxies {
    nodes: usize,
    /// The node that is cut off.
    cut: Arc<watch::Sender<Option<usize>>>,
    accepting: Vec<JoinHandle<()>>,
}

impl Proxies {
    /// The network of this many nodes.
    pub fn new(nodes: usize) -> Proxies {
        Proxies { nodes, cut: Arc::new(watch::Sender::new(None)), accepting: Vec::new() }
    }

    /// Forwards a port to a port of a node.
    pub async fn forward(&mut self, node: usize, from: u16, to: u16) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, from)).await;
        let listener = listener.with_context(|| format!("port {from}"))?;
        let (nodes, cut) = (self.nodes, self.cut.clone());
        self.accepting.push(tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let (sender, cut) = (node_at(peer.ip(), nodes), cut.subscribe());
                tokio::spawn(carry(stream, to, move |off| separates(off, sender, node), cut));
            }
        }));
        Ok(())
    }

    /// Cuts a node off from all other nodes.
    pub fn cut_off(&self, node: usize) {
        self.cut.send_replace(Some(node));
    }

    /// Heals the network.
    pub fn heal(&self) {
        self.cut.send_replace(None);
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

/// Whether the node that is cut off is on one side of a connection. Clients are on no side.
fn separates(off: Option<usize>, sender: Option<usize>, receiver: usize) -> bool {
    off.is_some_and(|off| sender.is_some_and(|sender| sender != receiver && (sender == off || receiver == off)))
}

/// Copies both ways until either side ends or the network is cut between them.
async fn carry(
    mut stream: TcpStream,
    to: u16,
    is_cut: impl Fn(Option<usize>) -> bool,
    mut cut: watch::Receiver<Option<usize>>,
) {
    if is_cut(*cut.borrow_and_update()) {
        return;
    }
    let Ok(mut target) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else { return };
    // Without effect on what is carried if it fails.
    let _ = (stream.set_nodelay(true), target.set_nodelay(true));
    tokio::select! {
        // Which side ended, and how, is told to the other side by closing.
        _ = tokio::io::copy_bidirectional(&mut stream, &mut target) => {}
        _ = cut.wait_for(|off| is_cut(*off)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_cut_off_from_nodes_and_not_from_clients() {
        assert_eq!(node_at(source(2), 3), Some(2));
        assert_eq!(node_at(Ipv4Addr::LOCALHOST.into(), 3), None);
        assert!(separates(Some(1), Some(1), 2) && separates(Some(1), Some(0), 1));
        assert!(!separates(Some(1), Some(0), 2) && !separates(Some(1), None, 1) && !separates(None, Some(1), 2));
    }
}

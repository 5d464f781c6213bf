//! Partitions on one machine: packets between nodes are dropped, while clients still reach every node.
//!
//! A node's connections to other nodes have their own source address (`bind-source-addr`) and go to the peer and admin
//! ports, so addresses and ports of a packet identify its sender and its receiver. An iptables chain of the cluster
//! drops packets on loopback, without a notice to the sender, as in a broken network.
//!
//! The chain is removed when the [`Cut`] is dropped, also in a panic. The chain of a killed test is removed by the next
//! test that gets the same ports: the ports are part of the chain's name, and they are reserved.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::{Cluster, NodeFile};

/// Smallest ring in which some nodes are not neighbours.
pub const RING_MIN: usize = 4;

/// A partition. Packets are dropped while this exists; a cluster has one at a time.
#[derive(Debug)]
pub struct Cut {
    chain: String,
    mended: bool,
}

/// Why packets cannot be dropped on this machine; `None` if they can.
#[must_use]
pub fn lacking() -> Option<String> {
    match iptables(&["-n", "-L", "INPUT"]) {
        Ok(_) => None,
        Err(error) => Some(format!("packets cannot be dropped here (iptables as root can): {error:#}")),
    }
}

fn port_of(address: &str) -> Result<&str> {
    Ok(address.rsplit_once(':').with_context(|| format!("{address} has no port"))?.1)
}

/// Patterns for packets from one node to another: four of them, for connections opened by either side.
fn patterns(from: &NodeFile, to: &NodeFile) -> Result<Vec<Vec<String>>> {
    let mut patterns = Vec::new();
    for front_end in [&to.peer, &to.grpc] {
        patterns.push(["-s", from.peer_source.as_str(), "--dport", port_of(front_end)?].map(str::to_owned).to_vec());
    }
    for front_end in [&from.peer, &from.grpc] {
        patterns.push(["-d", to.peer_source.as_str(), "--sport", port_of(front_end)?].map(str::to_owned).to_vec());
    }
    Ok(patterns)
}

impl Cut {
    /// Drops packets between `node` and all others, in both directions.
    ///
    /// # Errors
    /// If a rule cannot be created; then no rule remains.
    pub fn off(cluster: &Cluster, node: u64) -> Result<Cut> {
        Cut::apart(cluster, &[node])
    }

    /// Drops packets between the nodes in `side` and all others; nodes on the same side reach each other.
    ///
    /// # Errors
    /// As [`Cut::off`].
    pub fn apart(cluster: &Cluster, side: &[u64]) -> Result<Cut> {
        let (side, rest): (Vec<u64>, Vec<u64>) = cluster.node_ids()?.into_iter().partition(|node| side.contains(node));
        Cut::between(cluster, &both_ways(&side, &rest))
    }

    /// Creates two halves that do not reach each other, and `middle`, which reaches both.
    ///
    /// # Errors
    /// As [`Cut::off`].
    pub fn bridge(cluster: &Cluster, middle: u64) -> Result<Cut> {
        Cut::between(cluster, &bridge(&cluster.node_ids()?, middle))
    }

    /// Lets each node reach only its two neighbours in a ring: of five nodes each sees a majority, and no two see the
    /// same one.
    ///
    /// # Errors
    /// As [`Cut::off`]; and with fewer than [`RING_MIN`] nodes, where all nodes would be neighbours.
    pub fn ring(cluster: &Cluster) -> Result<Cut> {
        let nodes = cluster.node_ids()?;
        ensure!(nodes.len() >= RING_MIN, "{} nodes in a ring are all neighbours", nodes.len());
        Cut::between(cluster, &ring(&nodes))
    }

    /// Drops packets from others to `node`: it receives nothing.
    ///
    /// # Errors
    /// As [`Cut::off`].
    pub fn deafen(cluster: &Cluster, node: u64) -> Result<Cut> {
        let pairs: Vec<_> = cluster.others(node)?.into_iter().map(|other| (other, node)).collect();
        Cut::between(cluster, &pairs)
    }

    /// Drops packets from `node` to others: no other node receives anything from it.
    ///
    /// # Errors
    /// As [`Cut::off`].
    pub fn mute(cluster: &Cluster, node: u64) -> Result<Cut> {
        let pairs: Vec<_> = cluster.others(node)?.into_iter().map(|other| (node, other)).collect();
        Cut::between(cluster, &pairs)
    }

    /// Drops packets from the first to the second node of each pair.
    ///
    /// # Errors
    /// As [`Cut::off`].
    pub fn between(cluster: &Cluster, pairs: &[(u64, u64)]) -> Result<Cut> {
        let nodes = cluster.file()?.nodes;
        let find = |id: u64| nodes.iter().find(|node| node.id == id).with_context(|| format!("there is no node {id}"));
        let chain = format!("FASTNESS-TEST-{}", cluster.first_port());
        let mut cut = Cut { chain, mended: true };
        cut.remove_left_over();
        iptables(&["-N", &cut.chain])?;
        cut.mended = false;
        for &(from, to) in pairs {
            for pattern in patterns(find(from)?, find(to)?)? {
                let mut rule = vec!["-A", &cut.chain, "-p", "tcp"];
                rule.extend(pattern.iter().map(String::as_str));
                rule.extend(["-j", "DROP"]);
                iptables(&rule)?;
            }
        }
        // From here on all rules act at once.
        iptables(&["-I", "INPUT", "-i", "lo", "-p", "tcp", "-j", &cut.chain])?;
        Ok(cut)
    }

    /// Number of dropped packets.
    ///
    /// # Errors
    /// If the chain cannot be read.
    pub fn dropped(&self) -> Result<u64> {
        let listed = iptables(&["-n", "-v", "-x", "-L", &self.chain])?;
        let rules = listed.lines().filter(|line| line.contains("DROP"));
        let packets = rules.map(|line| line.split_whitespace().next().and_then(|count| count.parse::<u64>().ok()));
        packets.map(|count| count.with_context(|| format!("no counts in: {listed}"))).sum()
    }

    /// Removes the partition.
    ///
    /// # Errors
    /// If a rule cannot be removed.
    pub fn mend(mut self) -> Result<()> {
        self.mended = true;
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        iptables(&["-D", "INPUT", "-i", "lo", "-p", "tcp", "-j", &self.chain])?;
        iptables(&["-F", &self.chain])?;
        iptables(&["-X", &self.chain]).map(drop)
    }

    fn remove_left_over(&self) {
        while iptables(&["-D", "INPUT", "-i", "lo", "-p", "tcp", "-j", &self.chain]).is_ok() {}
        if iptables(&["-F", &self.chain]).is_ok() {
            let _ = iptables(&["-X", &self.chain]);
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if !self.mended {
            self.remove_left_over();
        }
    }
}

/// Pairs of sender and receiver.
type NodePairs = Vec<(u64, u64)>;

fn both_ways(side: &[u64], rest: &[u64]) -> NodePairs {
    side.iter().flat_map(|one| rest.iter().flat_map(|other| [(*one, *other), (*other, *one)])).collect()
}

fn bridge(nodes: &[u64], middle: u64) -> NodePairs {
    let banks: Vec<u64> = nodes.iter().copied().filter(|node| *node != middle).collect();
    let (left, right) = banks.split_at(banks.len() / 2);
    both_ways(left, right)
}

fn ring(nodes: &[u64]) -> NodePairs {
    let count = nodes.len();
    let is_neighbour = |i: usize, j: usize| (i + 1) % count == j || (j + 1) % count == i;
    let pairs = (0..count).flat_map(|i| (0..count).map(move |j| (i, j)));
    pairs.filter(|&(i, j)| i != j && !is_neighbour(i, j)).map(|(i, j)| (nodes[i], nodes[j])).collect()
}

/// Runs iptables and returns its output. It waits for other processes that change rules.
fn iptables(arguments: &[&str]) -> Result<String> {
    let output = Command::new("iptables").args(["-w", "10"]).args(arguments).output().context("iptables")?;
    if !output.status.success() {
        bail!("iptables {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nodes that a node reaches in both directions.
    fn talks_to(nodes: &[u64], cut: &NodePairs, node: u64) -> Vec<u64> {
        let is_cut = |a, b| cut.contains(&(a, b)) || cut.contains(&(b, a));
        nodes.iter().copied().filter(|other| *other != node && !is_cut(node, *other)).collect()
    }

    #[test]
    fn a_bridge_leaves_the_middle_whole_and_the_halves_apart() {
        let nodes = [1, 2, 3, 4, 5];
        let cut = bridge(&nodes, 3);
        assert_eq!(talks_to(&nodes, &cut, 3), [1, 2, 4, 5]);
        assert_eq!(talks_to(&nodes, &cut, 1), [2, 3]);
        assert_eq!(talks_to(&nodes, &cut, 5), [3, 4]);
        assert_eq!(bridge(&[1, 2, 3], 1), [(2, 3), (3, 2)]);
    }

    #[test]
    fn in_a_ring_of_five_each_node_has_two_neighbours_and_of_three_nobody_is_cut() {
        let nodes = [1, 2, 3, 4, 5];
        let cut = ring(&nodes);
        assert_eq!(talks_to(&nodes, &cut, 1), [2, 5]);
        assert_eq!(talks_to(&nodes, &cut, 3), [2, 4]);
        assert_eq!(ring(&[1, 2, 3]), []);
    }

    #[test]
    fn two_sides_are_cut_in_both_directions() {
        assert_eq!(both_ways(&[1], &[2, 3]), [(1, 2), (2, 1), (1, 3), (3, 1)]);
    }
}

//! Packets between nodes that vanish, while clients still reach every node: a partition on one machine.
//!
//! A node's connections to others come from an address of its own (`bind-source-addr`) and go to their peer and admin
//! ports, so a packet's addresses and ports tell from which node to which it is under way. What is to vanish is dropped by
//! a chain of iptables of this cluster's own, on loopback, without a word to the sender, as in a broken network.
//!
//! The chain is removed when the [`Cut`] is dropped, a panic included. What a killed test has left behind is removed by the
//! next one that gets the same ports: the chain is named by them, and they are reserved.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::{Cluster, NodeFile};

/// Some packets between nodes are dropped as long as this exists.
#[derive(Debug)]
pub struct Cut {
    chain: String,
    mended: bool,
}

/// Why this machine has no means to drop packets; `None` if it has.
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

/// What tells packets from one node to another: four patterns, for connections that either side has made.
fn patterns(from: &NodeFile, to: &NodeFile) -> Result<Vec<Vec<String>>> {
    let mut patterns = Vec::new();
    for door in [&to.peer, &to.grpc] {
        patterns.push(["-s", from.peer_source.as_str(), "--dport", port_of(door)?].map(str::to_owned).to_vec());
    }
    for door in [&from.peer, &from.grpc] {
        patterns.push(["-d", to.peer_source.as_str(), "--sport", port_of(door)?].map(str::to_owned).to_vec());
    }
    Ok(patterns)
}

impl Cut {
    /// Drops what is under way between `node` and all others.
    ///
    /// # Errors
    /// If a rule cannot be made; nothing is left behind then.
    pub fn off(cluster: &Cluster, node: u64) -> Result<Cut> {
        let others = others(cluster, node)?;
        let pairs: Vec<_> = others.iter().flat_map(|other| [(node, *other), (*other, node)]).collect();
        Cut::between(cluster, &pairs)
    }

    /// Drops what others send to `node`: it hears nobody.
    ///
    /// # Errors
    /// As [`Cut::off`].
    pub fn deafen(cluster: &Cluster, node: u64) -> Result<Cut> {
        let pairs: Vec<_> = others(cluster, node)?.into_iter().map(|other| (other, node)).collect();
        Cut::between(cluster, &pairs)
    }

    /// Drops what `node` sends to others: nobody hears it.
    ///
    /// # Errors
    /// As [`Cut::off`].
    pub fn mute(cluster: &Cluster, node: u64) -> Result<Cut> {
        let pairs: Vec<_> = others(cluster, node)?.into_iter().map(|other| (node, other)).collect();
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
        // All rules act from this moment on.
        iptables(&["-I", "INPUT", "-i", "lo", "-p", "tcp", "-j", &cut.chain])?;
        Ok(cut)
    }

    /// How many packets have vanished.
    ///
    /// # Errors
    /// If the chain cannot be read.
    pub fn dropped(&self) -> Result<u64> {
        let listed = iptables(&["-n", "-v", "-x", "-L", &self.chain])?;
        let rules = listed.lines().filter(|line| line.contains("DROP"));
        let packets = rules.map(|line| line.split_whitespace().next().and_then(|count| count.parse::<u64>().ok()));
        packets.map(|count| count.with_context(|| format!("no counts in: {listed}"))).sum()
    }

    /// Lets packets pass again.
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

fn others(cluster: &Cluster, node: u64) -> Result<Vec<u64>> {
    let ids: Vec<u64> = cluster.file()?.nodes.iter().map(|other| other.id).collect();
    ensure!(ids.contains(&node), "there is no node {node}");
    Ok(ids.into_iter().filter(|id| *id != node).collect())
}

/// Runs iptables and returns what it prints. It waits for others who are changing rules.
fn iptables(arguments: &[&str]) -> Result<String> {
    let output = Command::new("iptables").args(["-w", "10"]).args(arguments).output().context("iptables")?;
    if !output.status.success() {
        bail!("iptables {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

//! What can be done to the nodes of a cluster: kills, pauses, power losses, and faults of disks, links and clocks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::Cluster;
use super::clock::set_ahead;
use super::process::{state_of, wait_gone};

impl Cluster {
    /// Sends a signal to a node.
    ///
    /// # Errors
    /// If it is not running.
    pub fn signal(&self, node: u64, signal: Signal) -> Result<()> {
        kill_process(self.pid(node)?, signal).with_context(|| format!("signal to node {node}"))
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Errors
    /// If it was not running.
    pub fn kill(&self, node: u64) -> Result<()> {
        let pid = self.pid(node)?;
        kill_process(pid, Signal::KILL)?;
        wait_gone(pid)
    }

    /// `kill -9` to all running nodes at once.
    ///
    /// # Errors
    /// If a process does not go.
    pub fn kill_all(&self) -> Result<()> {
        let pids: Vec<Pid> = self.file()?.nodes.iter().filter_map(|n| n.pid.and_then(Pid::from_raw)).collect();
        for &pid in &pids {
            kill_process(pid, Signal::KILL)?;
        }
        pids.into_iter().try_for_each(wait_gone)
    }

    /// Whether all threads of a node stand still, stopped by a signal.
    ///
    /// # Errors
    /// If it is not running.
    pub fn is_stopped(&self, node: u64) -> Result<bool> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid(node)?.as_raw_nonzero()))?;
        let mut states = threads.filter_map(|thread| state_of(&thread.ok()?.path()));
        Ok(states.all(|state| state == 'T'))
    }

    /// Stops a node with SIGSTOP, and waits until its process stands still.
    ///
    /// # Errors
    /// If it is not running.
    pub fn pause(&self, node: u64) -> Result<()> {
        self.signal(node, Signal::STOP)?;
        let until = Instant::now() + Duration::from_secs(10);
        while !self.is_stopped(node)? {
            ensure!(Instant::now() < until, "node {node} does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets a node that stands still go on.
    ///
    /// # Errors
    /// If it is not running.
    pub fn resume(&self, node: u64) -> Result<()> {
        self.signal(node, Signal::CONT)
    }

    /// A fault of a node's disk on command, in the words of `fastness lab disk`.
    ///
    /// # Errors
    /// If it is refused.
    pub fn disk_fault(&self, node: u64, fault: &str) -> Result<()> {
        let node = node.to_string();
        self.fastness("lab", ["disk", "--node", &node].into_iter().chain(fault.split(' '))).map(drop)
    }

    /// A fault of the link from one node to another, in the words of `fastness lab link`.
    ///
    /// # Errors
    /// If it is refused.
    pub fn link_fault(&self, from: u64, to: u64, fault: &str) -> Result<()> {
        let (from, to) = (from.to_string(), to.to_string());
        let words = ["link", "--from", &from, "--to", &to].into_iter().chain(fault.split(' '));
        self.fastness("lab", words).map(drop)
    }

    /// How many writes of a node have met the fault of its disk that is set, and frames those of its links that are or
    /// were.
    ///
    /// # Errors
    /// If a node cannot be asked.
    pub fn faults_met(&self, node: u64) -> Result<u64> {
        let shown: serde_json::Value = serde_json::from_str(&self.fastness("lab", ["show", "--json"])?)?;
        let shown = shown.as_array().into_iter().flatten().find(|shown| shown["node"] == node);
        let shown = shown.with_context(|| format!("node {node} is not among them"))?;
        let links = shown["links"].as_array().into_iter().flatten().filter_map(|link| link["met"].as_u64());
        Ok(shown["disk"]["met"].as_u64().unwrap_or(0) + links.sum::<u64>())
    }

    /// Cuts the power of these nodes at the same moment: their processes die, and what they had not synced is gone.
    /// Their file systems are mounted again; the nodes are dead.
    ///
    /// # Errors
    /// If the cluster's file systems do not lose data ([`ClusterOptions::loses_unsynced`](super::ClusterOptions)), or a canary was
    /// not lost.
    pub fn lose_power(&self, nodes: &[u64]) -> Result<()> {
        let mut images = self.images.lock();
        let Some(images) = images.as_mut() else { bail!("the file systems of this cluster keep what was not synced") };
        let file = self.file()?;
        let running = file.nodes.iter().filter(|node| nodes.contains(&node.id));
        let pids: Vec<Pid> = running.filter_map(|node| node.pid.and_then(Pid::from_raw)).collect();
        images.lose_power(nodes, &pids)
    }

    /// Sets a node's wall clock so far ahead of the machine's, or behind it, from its next look within a second on; it
    /// stays so when the node is started again.
    ///
    /// # Errors
    /// If clocks of this cluster cannot be set ([`ClusterOptions::sets_clocks`](super::ClusterOptions)).
    pub fn set_clock(&self, node: u64, ahead_s: i64) -> Result<()> {
        ensure!(self.faketime.is_some(), "the clocks of this cluster cannot be set");
        let folder = self.dir().join(format!("nodes/{node}"));
        set_ahead(&folder, ahead_s)
    }
}

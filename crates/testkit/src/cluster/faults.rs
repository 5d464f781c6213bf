//! Faults of a cluster's nodes: kills, pauses, power losses, and faults of disks, links and clocks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::Cluster;
use super::clock::set_ahead;
use super::process::{state_of, wait_for_exit};

impl Cluster {
    /// Sends a signal to a node.
    ///
    /// # Errors
    /// If the node does not run.
    pub fn signal(&self, node: u64, signal: Signal) -> Result<()> {
        kill_process(self.pid(node)?, signal).with_context(|| format!("signal to node {node}"))
    }

    /// Kills a node with SIGKILL, and waits until the process has ended.
    ///
    /// # Errors
    /// If the node does not run.
    pub fn kill(&self, node: u64) -> Result<()> {
        let pid = self.pid(node)?;
        kill_process(pid, Signal::KILL)?;
        wait_for_exit(pid)
    }

    /// Kills all running nodes at once.
    ///
    /// # Errors
    /// If a process does not end.
    pub fn kill_all(&self) -> Result<()> {
        let pids: Vec<Pid> = self.file()?.nodes.iter().filter_map(|n| n.pid.and_then(Pid::from_raw)).collect();
        for &pid in &pids {
            kill_process(pid, Signal::KILL)?;
        }
        pids.into_iter().try_for_each(wait_for_exit)
    }

    /// Whether a signal has stopped all threads of a node.
    ///
    /// # Errors
    /// If the node does not run.
    pub fn is_stopped(&self, node: u64) -> Result<bool> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid(node)?.as_raw_nonzero()))?;
        let mut states = threads.filter_map(|thread| state_of(&thread.ok()?.path()));
        Ok(states.all(|state| state == 'T'))
    }

    /// Stops a node with SIGSTOP, and waits until all its threads are stopped.
    ///
    /// # Errors
    /// If the node does not run.
    pub fn pause(&self, node: u64) -> Result<()> {
        self.signal(node, Signal::STOP)?;
        let until = Instant::now() + Duration::from_secs(10);
        while !self.is_stopped(node)? {
            ensure!(Instant::now() < until, "node {node} does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Resumes a node that was stopped with SIGSTOP.
    ///
    /// # Errors
    /// If the node does not run.
    pub fn resume(&self, node: u64) -> Result<()> {
        self.signal(node, Signal::CONT)
    }

    /// Sets a fault of a node's disk, in the words of `fastness lab disk`.
    ///
    /// # Errors
    /// If the command is refused.
    pub fn disk_fault(&self, node: u64, fault: &str) -> Result<()> {
        let node = node.to_string();
        self.fastness("lab", ["disk", "--no-wait", "--node", &node].into_iter().chain(fault.split(' '))).map(drop)
    }

    /// Sets a fault of the link from one node to another, in the words of `fastness lab link`.
    ///
    /// # Errors
    /// If the command is refused.
    pub fn link_fault(&self, from: u64, to: u64, fault: &str) -> Result<()> {
        let (from, to) = (from.to_string(), to.to_string());
        let words = ["link", "--no-wait", "--from", &from, "--to", &to].into_iter().chain(fault.split(' '));
        self.fastness("lab", words).map(drop)
    }

    /// Number of a node's writes that the current fault of its disk has affected, and of frames that the faults of its
    /// links have affected; 0 if it does not answer.
    ///
    /// # Errors
    /// If the cluster has no such node.
    pub fn faults_met(&self, node: u64) -> Result<u64> {
        let shown: serde_json::Value = serde_json::from_str(&self.fastness("lab", ["status", "--json"])?)?;
        let shown = shown["nodes"].as_array().into_iter().flatten().find(|shown| shown["node"] == node);
        let shown = shown.with_context(|| format!("node {node} is not among them"))?;
        let links = shown["links"].as_array().into_iter().flatten().filter_map(|link| link["met"].as_u64());
        Ok(shown["disk"]["met"].as_u64().unwrap_or(0) + links.sum::<u64>())
    }

    /// Cuts the power of these nodes at the same moment: their processes die, and unsynced data is lost. Their file
    /// systems are mounted again; the nodes stay stopped.
    ///
    /// # Errors
    /// If the cluster's file systems do not lose data ([`ClusterOptions::loses_unsynced`](super::ClusterOptions)), or a
    /// canary was not lost.
    pub fn lose_power(&self, nodes: &[u64]) -> Result<()> {
        let mut images = self.images.lock();
        let Some(images) = images.as_mut() else { bail!("the file systems of this cluster do not lose unsynced data") };
        let file = self.file()?;
        let running = file.nodes.iter().filter(|node| nodes.contains(&node.id));
        let pids: Vec<Pid> = running.filter_map(|node| node.pid.and_then(Pid::from_raw)).collect();
        images.lose_power(nodes, &pids)
    }

    /// Sets how far a node's wall clock is ahead of the machine's, or behind it if negative. The node reads it within a
    /// second, and keeps it over restarts.
    ///
    /// # Errors
    /// If the clocks of this cluster cannot be set ([`ClusterOptions::sets_clocks`](super::ClusterOptions)).
    pub fn set_clock(&self, node: u64, ahead_s: i64) -> Result<()> {
        ensure!(self.faketime.is_some(), "the clocks of this cluster cannot be set");
        let folder = self.dir().join(format!("nodes/{node}"));
        set_ahead(&folder, ahead_s)
    }
}
